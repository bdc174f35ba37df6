//! Where a configuration comes from, before it is read.
//!
//! The supervisor reads the file once and hands the text on; a reload gives it the text that is
//! served from then on. So a data process that is restarted in the middle of an edit gets the
//! configuration that was serving.

use crate::fleet;
use anyhow::Context as _;
use catamaran_config::{Beside, Errors, Loaded, ReadFile};
use catamaran_control::reload::Text;
use catamaran_core::model::Protocol;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A configuration that was found but not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A text and the file that it stands in.
    Text(Text),
    /// Flags of the command line.
    AdHoc(AdHoc),
}

/// A balancer that is described by flags alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdHoc {
    /// What is spoken with clients.
    pub(crate) protocol: Protocol,
    /// Where they are listened for.
    pub(crate) listen: Vec<SocketAddr>,
    /// Servers as the configuration would write them.
    pub(crate) servers: Vec<String>,
}

impl Source {
    /// The file that it stands in, if in one.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::Text(text) => Some(&text.path),
            Self::AdHoc(_) => None,
        }
    }

    /// Reads the file at `path`, else the first of the usual places that exists.
    pub(crate) fn read(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = match path {
            Some(path) => path,
            None => PLACES
                .iter()
                .map(Path::new)
                .find(|path| path.exists())
                .with_context(|| {
                    format!(
                        "no configuration: neither {} nor {} exists; name a file with `-c FILE`, \
                         or balance without one: `catamaran run --listen ADDR --server ADDR`",
                        PLACES[0], PLACES[1]
                    )
                })?,
        };
        let text = std::fs::read(path)
            .with_context(|| format!("{}: the file cannot be read", path.display()))?;
        let text = String::from_utf8(text)
            .map_err(|_| anyhow::anyhow!("{}: the file is not UTF-8", path.display()))?;
        let source = Self::Text(Text {
            path: path.to_owned(),
            text,
        });
        source.with_fleet()
    }

    /// On a node of a fleet: the file with what the fleet said when it last was heard, so that a
    /// start without etcd serves.
    fn with_fleet(self) -> anyhow::Result<Self> {
        let Self::Text(file) = &self else {
            return Ok(self);
        };
        // What is wrong with the file is said when it is loaded.
        let Some(etcd) = self.load().ok().and_then(|loaded| loaded.config.etcd) else {
            return Ok(self);
        };
        let Some(text) = fleet::last_good(&etcd, file)? else {
            return Ok(self);
        };
        let path = file.path.clone();
        Ok(Self::Text(Text { path, text }))
    }

    /// Turns the source into a valid configuration.
    pub(crate) fn load(&self) -> Result<Loaded, Errors> {
        self.load_with(None)
    }

    /// The files that the configuration names, of those that are read with it.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let files = RefCell::default();
        // What is wrong with it was said when it was loaded.
        let _ = self.load_with(Some(&files));
        files.into_inner()
    }

    fn load_with(&self, files: Option<&RefCell<Vec<PathBuf>>>) -> Result<Loaded, Errors> {
        match self {
            Self::Text(Text { path, text }) => {
                let directory = path.parent().unwrap_or_else(|| Path::new(""));
                catamaran_config::parse(
                    text,
                    &path.display().to_string(),
                    &|name| std::env::var(name).ok(),
                    &Noted(directory, files),
                )
            }
            Self::AdHoc(flags) => {
                let listen = flags.listen.clone();
                catamaran_config::ad_hoc(flags.protocol, listen, &flags.servers).map(|config| {
                    Loaded {
                        config,
                        warnings: Vec::new(),
                    }
                })
            }
        }
    }

    /// As [`Source::load`], with all errors in one message.
    pub(crate) fn load_valid(&self) -> anyhow::Result<Loaded> {
        self.load().map_err(|errors| {
            anyhow::anyhow!("{} is not a valid configuration\n{errors}", self.name())
        })
    }

    /// As [`Source::load_valid`], with warnings logged.
    pub(crate) fn load_logged(&self) -> anyhow::Result<catamaran_core::model::Config> {
        let loaded = self.load_valid()?;
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        Ok(loaded.config)
    }

    /// The text, if it is one.
    pub(crate) const fn text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            Self::AdHoc(_) => None,
        }
    }

    /// What messages call it.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Text(text) => text.path.display().to_string(),
            Self::AdHoc(_) => "the command line".to_owned(),
        }
    }
}

/// Reads files beside the configuration, and notes which.
struct Noted<'a>(&'a Path, Option<&'a RefCell<Vec<PathBuf>>>);

impl ReadFile for Noted<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if let Some(files) = self.1 {
            files.borrow_mut().push(self.0.join(path));
        }
        Beside(self.0).read(path)
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        Beside(self.0).mode(path)
    }
}

/// Where a configuration is looked for when none is named, in this order.
const PLACES: [&str; 2] = ["./catamaran.toml", "/etc/catamaran/catamaran.toml"];
