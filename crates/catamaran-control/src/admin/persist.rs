//! Changes written into the configuration file.

use super::config::no_file;
use super::error::Refused;
use super::{Kept, Plane};
use crate::reload::{Applied, Text};
use catamaran_core::model::Edit;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

impl Plane {
    /// Writes `edit` into the file and puts that in place.
    pub(super) async fn persist(&self, edit: Edit) -> Result<Kept, Refused> {
        let _alone = self.persisting.lock().await;
        let served = self.reloader.text().ok_or_else(no_file)?;
        let text = catamaran_config::edit::edited(&served.text, &edit);
        let text = Text {
            path: served.path.clone(),
            text: text.map_err(Refused::conflict)?,
        };
        let judged = self.reloader.check(&text);
        judged.map_err(|errors| Refused::conflict(errors.to_string()))?;
        self.write(&served, &text).await?;
        let applied = self.reloader.apply(text).await;
        applied.map_err(|error| Refused::conflict(error.to_string()))?;
        Ok(Kept::InFile)
    }

    /// Writes `text` into the file, which must still hold `served`, and puts it in place; a text
    /// that cannot serve is not written.
    ///
    /// # Errors
    /// What is in the way, in words.
    pub(crate) async fn put_in_file(
        &self,
        served: &Arc<Text>,
        text: Text,
    ) -> Result<Applied, Refused> {
        let (reloader, judged) = (Arc::clone(&self.reloader), text.clone());
        let judged = self.aside(move || reloader.check(&judged).map(drop));
        let judged = judged.await?;
        judged.map_err(|errors| Refused::conflict(errors.to_string()))?;
        self.write(served, &text).await?;
        let applied = self.reloader.apply(text).await;
        applied.map_err(|error| Refused::conflict(error.to_string()))
    }

    /// Writes `text` into the file, which must still hold `served`. Beside the control thread, which
    /// a slow disk must not hold up.
    pub(super) async fn write(&self, served: &Text, text: &Text) -> Result<(), Refused> {
        let layers = self.reloader.layers();
        if layers.is_some_and(|layers| !layers.is_file_alone()) {
            return Err(Refused::conflict(
                "this node's configuration is in etcd: change it there with `catamaran ctl config \
                 put`",
            ));
        }
        let (served, text) = (served.clone(), text.clone());
        self.aside(move || replace(&served, &text))
            .await?
            .map_err(Refused::conflict)
    }
}

/// Puts `new` in the place of `served` in one step: whoever reads the file sees the old text or the
/// new one, even if the power fails. Mode and owner stay.
fn replace(served: &Text, new: &Text) -> Result<(), String> {
    let shown = served.path.display();
    let now =
        fs::read(&served.path).map_err(|error| format!("{shown}: cannot be read: {error}"))?;
    if now != served.text.as_bytes() {
        return Err(format!(
            "{shown} was changed since it was loaded; `catamaran ctl reload` loads it, then the \
             change can be kept"
        ));
    }
    write_whole(&served.path, &new.text).map_err(|error| {
        format!(
            "{shown}: cannot be written: {error}; change the file by hand and reload, or let the \
             user of the process write it and its directory"
        )
    })
}

/// Puts the text of `file` in the place of what it holds, in one step.
pub(super) fn write_file(file: &Text) -> io::Result<()> {
    write_whole(&file.path, &file.text)
}

fn write_whole(path: &Path, text: &str) -> io::Result<()> {
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
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (like.uid(), like.gid()) {
        fchown(&file, Some(like.uid()), Some(like.gid()))?;
    }
    file.set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn file(text: &str) -> Text {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("catamaran-persist-{}-{next}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir(&directory).unwrap();
        let path = directory.join("c.toml");
        fs::write(&path, text).unwrap();
        let text = text.to_owned();
        Text { path, text }
    }

    fn with(served: &Text, text: &str) -> Text {
        Text {
            path: served.path.clone(),
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_leaves_no_other() {
        let served = file("old");
        fs::set_permissions(&served.path, fs::Permissions::from_mode(0o640)).unwrap();
        replace(&served, &with(&served, "new")).unwrap();
        assert_eq!(fs::read_to_string(&served.path).unwrap(), "new");
        assert_eq!(fs::metadata(&served.path).unwrap().mode() & 0o777, 0o640);
        let directory = served.path.parent().unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_was_changed_meanwhile_is_not_overwritten() {
        let served = file("old");
        fs::write(&served.path, "edited").unwrap();
        let refused = replace(&served, &with(&served, "new")).unwrap_err();
        assert!(refused.contains("was changed since"), "{refused}");
        assert_eq!(fs::read_to_string(&served.path).unwrap(), "edited");
        fs::remove_dir_all(served.path.parent().unwrap()).unwrap();
    }
}
