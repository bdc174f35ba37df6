//! Where the samples of a run go while it runs: files of lines, or a Prometheus.
//!
//! Each worker has a [`Tap`] of its own; what is behind it never makes a worker wait.

pub mod remote_write;

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::metric::{MetricId, Registry};
use crate::samples::{self, Samples};
use crate::tags::TagsId;
use crate::threshold::Guarded;
use remote_write::{RemoteWrite, Settings};

/// Where samples go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Each as a line.
    Lines(samples::Target),
    /// Added up, to a Prometheus; the environment says where it is.
    RemoteWrite,
}

impl Target {
    /// Reads `json=FILE`, `csv=FILE` or `experimental-prometheus-rw`.
    pub fn read(text: &str) -> Result<Self, String> {
        if REMOTE_WRITE.contains(&text) {
            return Ok(Self::RemoteWrite);
        }
        samples::Target::read(text).map(Self::Lines)
    }

    /// What it is called when something is told of it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Lines(target) => {
                let path = target
                    .path
                    .as_deref()
                    .unwrap_or_else(|| Path::new("samples"));
                path.display().to_string()
            }
            Self::RemoteWrite => REMOTE_WRITE[0].to_owned(),
        }
    }
}

/// An open target.
#[derive(Debug)]
pub enum Output {
    /// Lines of a file.
    Lines(Samples),
    /// A Prometheus.
    RemoteWrite(RemoteWrite),
}

impl Output {
    /// Opens a target.
    ///
    /// # Errors
    /// When file or thread cannot be had, or the environment makes no sense.
    pub fn open(
        target: &Target,
        registry: &Arc<Registry>,
        thresholds: &[Guarded],
        system_tags: &BTreeSet<String>,
        environment: &[(String, String)],
    ) -> io::Result<Self> {
        match target {
            Target::Lines(target) => {
                Samples::open(target, registry, thresholds, system_tags).map(Self::Lines)
            }
            Target::RemoteWrite => {
                let settings = Settings::from_environment(environment.iter().cloned())
                    .map_err(io::Error::other)?;
                RemoteWrite::start(settings, registry).map(Self::RemoteWrite)
            }
        }
    }

    /// What makes its taps.
    #[must_use]
    pub fn source(&self) -> TapSource {
        match self {
            Self::Lines(samples) => TapSource::Lines(samples.source()),
            Self::RemoteWrite(writer) => TapSource::RemoteWrite(writer.source()),
        }
    }

    /// Writes what is left. Returns what was lost, if anything was, and why.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(self) -> io::Result<Option<String>> {
        match self {
            Self::Lines(samples) => {
                let lost = samples.close()?;
                Ok((lost > 0).then(|| format!("{lost} samples left out: the disk did not follow")))
            }
            Self::RemoteWrite(writer) => writer.close(),
        }
    }
}

/// Opens all targets. An error says which cannot be had, and why.
pub(crate) fn open_all(
    targets: &[Target],
    registry: &Arc<Registry>,
    thresholds: &[Guarded],
    system_tags: &BTreeSet<String>,
    environment: &[(String, String)],
) -> Result<Vec<Output>, String> {
    let open = |target: &Target| {
        Output::open(target, registry, thresholds, system_tags, environment)
            .map_err(|error| format!("{}: {error}", target.name()))
    };
    targets.iter().map(open).collect()
}

/// Closes what was opened for `targets`, and tells what is missing there.
pub(crate) fn close_all(
    targets: &[Target],
    outputs: Vec<Output>,
    err: &mut dyn io::Write,
) -> io::Result<()> {
    for (target, output) in targets.iter().zip(outputs) {
        let name = target.name();
        match output.close() {
            Ok(None) => {}
            Ok(Some(lost)) => writeln!(err, "warning: {name}: {lost}")?,
            Err(error) => writeln!(err, "error: {name}: {error}")?,
        }
    }
    Ok(())
}

/// Makes taps.
#[derive(Clone, Debug)]
pub enum TapSource {
    /// Of lines.
    Lines(samples::TapSource),
    /// Of series.
    RemoteWrite(remote_write::TapSource),
}

impl TapSource {
    /// Makes a tap.
    #[must_use]
    pub fn tap(&self) -> Tap {
        match self {
            Self::Lines(source) => Tap::Lines(source.tap()),
            Self::RemoteWrite(source) => Tap::RemoteWrite(source.tap()),
        }
    }
}

/// Where one worker puts its samples.
#[derive(Debug)]
pub enum Tap {
    /// As lines.
    Lines(samples::Tap),
    /// Into series.
    RemoteWrite(remote_write::Tap),
}

impl Tap {
    /// Takes a sample `times` times; `set` gives the tags of `tags`.
    pub fn sample<'a>(
        &mut self,
        metric: MetricId,
        tags: TagsId,
        set: impl Fn() -> &'a [(String, String)],
        value: f64,
        times: u64,
        at_nanos: u64,
    ) {
        match self {
            Self::Lines(tap) => {
                for _ in 0..times {
                    tap.sample(metric, tags, &set, value, at_nanos);
                }
            }
            Self::RemoteWrite(tap) => tap.sample(metric, tags, set, value, times, at_nanos),
        }
    }

    /// Gives on what was gathered.
    pub fn flush(&mut self) {
        match self {
            Self::Lines(tap) => tap.flush(),
            Self::RemoteWrite(tap) => tap.flush(),
        }
    }
}

/// What k6 calls it, and shorter.
const REMOTE_WRITE: [&str; 2] = ["experimental-prometheus-rw", "prometheus-rw"];
