//! Every sample as a line for other programs: JSON as of k6's `-o json`, or CSV as of its `-o csv`.
//!
//! A worker writes lines into a [`Tap`] of its own and gives them away in bulk; a thread writes them to
//! the file. When that cannot follow, samples are left out and counted: the load test must not wait for
//! a disk.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use catamaran_sys::clock::now_nanos;
use serde_json::{Map, Value, json};

use crate::metric::{MetricId, Registry};
use crate::tags::TagsId;
use crate::threshold::Guarded;
use crate::time_text::rfc3339_nanos;

/// Where samples go, and how they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How.
    pub format: Format,
    /// A file; without one, standard output.
    pub path: Option<PathBuf>,
}

/// How samples are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A JSON document on each line.
    Json,
    /// Comma-separated values below a line of names.
    Csv,
}

impl Target {
    /// Reads `json=FILE`, `csv=FILE`, `json` or `csv`.
    pub fn read(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').unwrap_or((text, ""));
        let format = match name {
            "json" => Format::Json,
            "csv" => Format::Csv,
            _ => {
                return Err(format!(
                    "no output is called `{name}`; there are json=FILE, csv=FILE and experimental-prometheus-rw"
                ));
            }
        };
        if path.ends_with(".gz") {
            return Err(format!("`{path}`: compress the file after the run"));
        }
        Ok(Self {
            format,
            path: (!path.is_empty()).then(|| PathBuf::from(path)),
        })
    }
}

/// A file that samples go to.
#[derive(Debug)]
pub struct Samples {
    source: TapSource,
    thread: JoinHandle<io::Result<()>>,
}

/// Makes taps.
#[derive(Clone, Debug)]
pub struct TapSource {
    format: Format,
    registry: Arc<Registry>,
    columns: Arc<Vec<String>>,
    /// Nothing is the end: a tap that was left behind must not keep the file open.
    chunks: SyncSender<Option<Chunk>>,
    lost: Arc<AtomicU64>,
    /// Nanoseconds from the monotonic clock to the time since 1970.
    offset: u64,
}

/// Lines, and the metrics that are in them.
#[derive(Debug, Default)]
struct Chunk {
    lines: String,
    metrics: BTreeSet<MetricId>,
}

/// Where one worker writes its samples.
#[derive(Debug)]
pub struct Tap {
    source: TapSource,
    chunk: Chunk,
    /// By set of tags: its text.
    tags: HashMap<TagsId, String>,
}

impl Samples {
    /// Opens the file and begins to write. `system_tags` are the columns of CSV.
    ///
    /// # Errors
    /// When file or thread cannot be had.
    pub fn open(
        target: &Target,
        registry: &Arc<Registry>,
        thresholds: &[Guarded],
        system_tags: &BTreeSet<String>,
    ) -> io::Result<Self> {
        let out: Box<dyn Write + Send> = match &target.path {
            Some(path) => Box::new(BufWriter::new(File::create(path)?)),
            None => Box::new(io::stdout()),
        };
        let (chunks, incoming) = sync_channel(MAX_CHUNKS);
        let unix = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let unix = u64::try_from(unix.as_nanos()).unwrap_or(0);
        let source = TapSource {
            format: target.format,
            registry: Arc::clone(registry),
            columns: Arc::new(system_tags.iter().cloned().collect()),
            chunks,
            lost: Arc::default(),
            offset: unix.saturating_sub(now_nanos()),
        };
        let head = source.head();
        let metrics = match target.format {
            Format::Json => metric_lines(registry, thresholds),
            Format::Csv => HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("load-samples".to_owned())
            .spawn(move || write(out, &head, &metrics, &incoming))?;
        Ok(Self { source, thread })
    }

    /// What makes the taps of this file.
    #[must_use]
    pub fn source(&self) -> TapSource {
        self.source.clone()
    }

    /// Writes what is left. Returns how many samples were left out.
    ///
    /// # Errors
    /// When something could not be written.
    pub fn close(self) -> io::Result<u64> {
        let Self { source, thread } = self;
        // One that has gone says so when it is joined.
        let _ = source.chunks.send(None);
        match thread.join() {
            Ok(result) => result.map(|()| source.lost.load(Ordering::Relaxed)),
            Err(_) => Err(io::Error::other("the thread that writes samples panicked")),
        }
    }
}

impl TapSource {
    /// Makes a tap.
    #[must_use]
    pub fn tap(&self) -> Tap {
        Tap {
            source: self.clone(),
            chunk: Chunk::default(),
            tags: HashMap::new(),
        }
    }

    fn head(&self) -> String {
        match self.format {
            Format::Json => String::new(),
            Format::Csv => format!(
                "metric_name,timestamp,metric_value,{},extra_tags,metadata\n",
                self.columns.join(",")
            ),
        }
    }

    fn tags_text(&self, tags: &[(String, String)]) -> String {
        match self.format {
            Format::Json => {
                let pairs = tags.iter();
                let map: Map<String, Value> = pairs
                    .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                    .collect();
                Value::Object(map).to_string()
            }
            Format::Csv => {
                let mut text = String::new();
                for column in &*self.columns {
                    let found = tags.iter().find(|(name, _)| name == column);
                    text.push_str(&quoted(found.map_or("", |(_, value)| value)));
                    text.push(',');
                }
                let extra = tags.iter();
                let extra = extra.filter(|(name, _)| !self.columns.contains(name));
                let extra: Vec<String> = extra
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                text.push_str(&quoted(&extra.join("&")));
                text.push(',');
                text
            }
        }
    }
}

impl Tap {
    /// Writes a sample; `set` gives the tags of `tags`.
    pub fn sample<'a>(
        &mut self,
        metric: MetricId,
        tags: TagsId,
        set: impl FnOnce() -> &'a [(String, String)],
        value: f64,
        at_nanos: u64,
    ) {
        if self.chunk.lines.len() >= MAX_CHUNK_BYTES {
            self.source.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let source = &self.source;
        let tags = self
            .tags
            .entry(tags)
            .or_insert_with(|| source.tags_text(set()));
        let name = &source.registry.metric(metric).name;
        let at = at_nanos + source.offset;
        let lines = &mut self.chunk.lines;
        // Writing to a text cannot fail.
        let _ = match source.format {
            Format::Json => writeln!(
                lines,
                "{{\"metric\":\"{name}\",\"type\":\"Point\",\"data\":{{\"time\":\"{}\",\"value\":{value},\"tags\":{tags}}}}}",
                rfc3339_nanos(at)
            ),
            Format::Csv => writeln!(lines, "{name},{},{value:.6},{tags}", at / 1_000_000_000),
        };
        self.chunk.metrics.insert(metric);
        if self.chunk.lines.len() >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// Gives away what was written.
    pub fn flush(&mut self) {
        if self.chunk.lines.is_empty() {
            return;
        }
        let chunk = std::mem::take(&mut self.chunk);
        if let Err(TrySendError::Full(Some(chunk))) = self.source.chunks.try_send(Some(chunk)) {
            self.chunk = chunk;
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        // At the end there is time to wait.
        let chunk = std::mem::take(&mut self.chunk);
        let _ = self.source.chunks.send(Some(chunk));
    }
}

/// Writes chunks until the end is told.
fn write(
    mut out: Box<dyn Write + Send>,
    head: &str,
    metrics: &HashMap<MetricId, String>,
    chunks: &Receiver<Option<Chunk>>,
) -> io::Result<()> {
    let mut seen = BTreeSet::new();
    out.write_all(head.as_bytes())?;
    while let Ok(Some(chunk)) = chunks.recv() {
        for metric in chunk.metrics {
            if seen.insert(metric)
                && let Some(line) = metrics.get(&metric)
            {
                out.write_all(line.as_bytes())?;
            }
        }
        out.write_all(chunk.lines.as_bytes())?;
        out.flush()?;
    }
    out.flush()
}

/// By metric: the line that says what it is.
fn metric_lines(registry: &Registry, thresholds: &[Guarded]) -> HashMap<MetricId, String> {
    let ids = (0..).map_while(|number| registry.at(number));
    let line = |id: MetricId| {
        let metric = registry.metric(id);
        let own = thresholds
            .iter()
            .filter(|guarded| guarded.sink == metric.sink);
        let own = own.flat_map(|guarded| &guarded.thresholds);
        let own: Vec<&str> = own.map(|threshold| threshold.source.as_str()).collect();
        let part = |part: &crate::metric::Part| {
            let tags: Map<String, Value> = part
                .tags
                .iter()
                .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
                .collect();
            json!({"name": part.name, "suffix": part.suffix, "tags": tags})
        };
        let parts: Vec<Value> = metric.parts.iter().map(part).collect();
        let parts = if parts.is_empty() {
            Value::Null
        } else {
            Value::Array(parts)
        };
        let line = json!({
            "type": "Metric",
            "data": {
                "name": metric.name, "type": metric.kind.name(), "contains": metric.contains.name(),
                "thresholds": own, "submetrics": parts,
            },
            "metric": metric.name,
        });
        (id, format!("{line}\n"))
    };
    ids.map(line).collect()
}

/// A field of CSV (RFC 4180 §2).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Bytes that a worker gathers before it gives them away.
const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes that a worker keeps while the disk does not follow.
const MAX_CHUNK_BYTES: usize = 64 * 1024 * 1024;
/// Chunks that wait to be written.
const MAX_CHUNKS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_read_and_others_named() {
        let json = Target::read("json=a.json").unwrap();
        assert_eq!(json.path, Some(PathBuf::from("a.json")));
        assert_eq!(Target::read("csv").unwrap().path, None);
        assert!(Target::read("cloud").unwrap_err().contains("json=FILE"));
        assert!(Target::read("json=a.gz").unwrap_err().contains("compress"));
    }

    #[test]
    fn fields_with_commas_and_quotes_are_quoted() {
        assert_eq!(quoted("a b"), "a b");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
