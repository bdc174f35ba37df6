//! Files and modules of a script: from this machine, or those that came with the job of an agent.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Where they are read.
#[derive(Debug)]
pub(super) enum Files {
    /// From this machine.
    Here,
    /// From this machine; what was read is kept, to be sent to agents.
    Kept(Mutex<BTreeMap<String, Vec<u8>>>),
    /// From what was sent, and nowhere else.
    Sent(Arc<BTreeMap<String, Vec<u8>>>),
}

impl Files {
    /// The file or module of this name, read here with `read`.
    pub(super) fn get(
        &self,
        name: &str,
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) -> io::Result<Vec<u8>> {
        match self {
            Self::Here => read(),
            Self::Kept(kept) => {
                let bytes = read()?;
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.insert(name.to_owned(), bytes.clone());
                Ok(bytes)
            }
            Self::Sent(sent) => {
                let found = sent.get(name).cloned();
                found.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, NOT_SENT))
            }
        }
    }

    /// A file.
    pub(super) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.get(&path.to_string_lossy(), || read_file(path))
    }

    /// A file or module with text, read here with `read`.
    pub(super) fn text(
        &self,
        name: &str,
        read: impl FnOnce() -> io::Result<String>,
    ) -> io::Result<String> {
        let bytes = self.get(name, || read().map(String::into_bytes))?;
        String::from_utf8(bytes).map_err(|_| io::Error::other("the file is no text (UTF-8)"))
    }

    /// What was read so far, if it was kept.
    pub(super) fn kept(&self) -> BTreeMap<String, Vec<u8>> {
        match self {
            Self::Kept(kept) => kept.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            Self::Here | Self::Sent(_) => BTreeMap::new(),
        }
    }
}

/// A file, unless it is too large: some devices never end.
pub(super) fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    read_most(path, MAX_FILE_BYTES)
}

fn read_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let text = format!("the file is larger than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// A module, which is text.
pub(super) fn read_module(path: &Path) -> io::Result<String> {
    let text = String::from_utf8(read_most(path, MAX_MODULE_BYTES)?);
    text.map_err(|_| io::Error::other("the file is no text (UTF-8)"))
}

/// What a script may open: more than an engine holds.
const MAX_FILE_BYTES: u64 = 1024 * 1024 * 1024;
const MAX_MODULE_BYTES: u64 = 64 * 1024 * 1024;
const NOT_SENT: &str = "agents have what the script opened at its top level when it was read with `__VU` 0; \
    open it there, whatever `__VU` is";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_end_is_refused() {
        let told = read_module(Path::new("/dev/zero")).unwrap_err();
        assert!(told.to_string().contains("larger than"), "{told}");
        assert!(read_file(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn what_was_read_here_is_all_that_is_read_there() {
        let here = Files::Kept(Mutex::default());
        let read = here.text("a", || Ok("one".to_owned())).unwrap();
        let missing = here.get("b", || Err(io::ErrorKind::NotFound.into()));
        assert!(read == "one" && missing.is_err());
        let there = Files::Sent(Arc::new(here.kept()));
        let never = || -> io::Result<String> { panic!("nothing is read there") };
        assert_eq!(there.text("a", never).unwrap(), "one");
        let told = there.text("b", never).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::NotFound);
        assert!(told.to_string().contains("top level"), "{told}");
    }
}
