//! The process as the admin API sees it: its log, its configuration, its end.

use crate::logging;
use crate::source::Source;
use catamaran_control::admin::{ConfigFacts, Host, Verdict};
use catamaran_core::model::{Edit, Server};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// This process.
#[derive(Debug)]
pub(crate) struct ProcessHost {
    source: Mutex<Source>,
    /// The supervisor's process id.
    supervisor: Option<u32>,
}

/// Whether a supervisor would start another process in place of this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Supervisor {
    /// None would.
    None,
    /// The parent of this process would.
    Parent,
}

impl ProcessHost {
    /// A process that serves what `source` says.
    pub(crate) fn new(source: Source, supervisor: Supervisor) -> Self {
        let is_supervised = supervisor == Supervisor::Parent;
        Self {
            source: Mutex::new(source),
            supervisor: is_supervised.then(std::os::unix::process::parent_id),
        }
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host for ProcessHost {
    fn log_level(&self) -> String {
        logging::level()
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        logging::set_level(level).map_err(|error| error.to_string())
    }

    fn config(&self) -> ConfigFacts {
        let source = self.source();
        ConfigFacts {
            source: source.name(),
            digest: source.digest(),
            generation: 1,
            last_error: None,
        }
    }

    fn config_text(&self) -> Option<String> {
        match &*self.source() {
            Source::Text { text, .. } => Some(text.clone()),
            Source::AdHoc(_) => None,
        }
    }

    fn check(&self, text: &str, name: Option<&str>) -> Verdict {
        let source = self.source().clone();
        let lines = |findings: &[catamaran_config::Finding]| {
            findings.iter().map(ToString::to_string).collect()
        };
        match source.judge(text, name) {
            Ok(loaded) => Verdict {
                valid: true,
                errors: Vec::new(),
                warnings: lines(&loaded.warnings),
            },
            Err(errors) => Verdict {
                valid: false,
                errors: lines(errors.findings()),
                warnings: Vec::new(),
            },
        }
    }

    fn persist(&self, edit: &Edit) -> Result<(), String> {
        // Held until the file is written: two changes at once would undo one.
        let mut source = self.source();
        let Source::Text { path, text } = &*source else {
            return Err(
                "the configuration comes from the command line; there is no file to keep \
                        a change in"
                    .to_owned(),
            );
        };
        let shown = path.display();
        let now = fs::read(path).map_err(|error| format!("{shown} cannot be read: {error}"))?;
        if now != text.as_bytes() {
            return Err(format!(
                "{shown} was changed since it was loaded; load it first, or make the change there"
            ));
        }
        let edited = catamaran_config::edit::edited(text, edit)?;
        let changed = Source::Text {
            path: path.clone(),
            text: edited,
        };
        changed.load().map_err(|errors| errors.to_string())?;
        if let Source::Text { path, text } = &changed {
            replace(path, text).map_err(|error| format!("{shown} cannot be written: {error}"))?;
        }
        *source = changed;
        Ok(())
    }

    fn server(&self, address: &str, name: Option<&str>) -> Result<Server, String> {
        catamaran_config::server(address, name)
    }

    fn drain(&self) -> Result<(), String> {
        // As a service manager would: the supervisor knows then that no other process is wanted.
        let parent = std::os::unix::process::parent_id();
        let pid = match self.supervisor {
            Some(supervisor) if supervisor == parent => supervisor,
            _ => std::process::id(),
        };
        tracing::info!("an operator asks for a drain");
        catamaran_sys::process::send_signal(pid, libc::SIGTERM)
            .map_err(|error| format!("the process cannot be asked to drain: {error}"))
    }
}

/// Puts `text` in the place of the file at `path` in one step: whoever reads it sees the old text
/// or the new one, even if the power fails. Mode and owner stay.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays one; what it leads to is replaced.
    let path = fs::canonicalize(path)?;
    let before = fs::metadata(&path)?;
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let written = write(&fresh, &before, text).and_then(|()| fs::rename(&fresh, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    fs::File::open(directory)?.sync_all()
}

fn write(path: &Path, like: &fs::Metadata, text: &str) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    // Until it has the mode of the old one, nobody else may read it.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (like.uid(), like.gid()) {
        std::os::unix::fs::fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::Weight;

    fn host(text: &str) -> (ProcessHost, PathBuf) {
        let directory = std::env::temp_dir().join(format!("catamaran-host-{}", fastrand_name()));
        fs::create_dir(&directory).unwrap();
        let path = directory.join("c.toml");
        fs::write(&path, text).unwrap();
        let text = text.to_owned();
        let source = Source::Text {
            path: path.clone(),
            text,
        };
        (ProcessHost::new(source, Supervisor::None), path)
    }

    fn fastrand_name() -> String {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        format!("{}-{next}", std::process::id())
    }

    const TEXT: &str = "# mine\n[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [\"10.0.0.1:80\"] # one\n";

    fn weight() -> Edit {
        Edit::Weight {
            backend: "b".into(),
            server: "10.0.0.1:80".into(),
            weight: Weight::new(9).unwrap(),
        }
    }

    #[test]
    fn a_kept_change_leaves_mode_and_comments_and_no_other_file() {
        let (host, path) = host(TEXT);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let before = host.config().digest;
        host.persist(&weight()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("weight = 9"), "{text}");
        assert!(
            text.starts_with("# mine") && text.contains("# one"),
            "{text}"
        );
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_ne!(host.config().digest, before);
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_not_overwritten() {
        let (host, path) = host(TEXT);
        fs::write(&path, format!("{TEXT}# edited\n")).unwrap();
        let refused = host.persist(&weight()).unwrap_err();
        assert!(refused.contains("was changed since"), "{refused}");
        assert!(fs::read_to_string(&path).unwrap().ends_with("# edited\n"));
        fs::remove_dir_all(path.parent().unwrap()).unwrap();
    }
}
