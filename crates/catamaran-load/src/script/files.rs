//! Files and modules of a script: from this machine, or those that came with the job of an agent.

use std::collections::BTreeMap;
use std::io;
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
        self.get(&path.to_string_lossy(), || std::fs::read(path))
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

const NOT_SENT: &str = "agents have what the script opened at its top level when it was read with `__VU` 0; \
    open it there, whatever `__VU` is";

#[cfg(test)]
mod tests {
    use super::*;

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
