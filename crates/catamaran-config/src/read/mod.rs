//! Reading values out of a parsed file: what was found is checked against what is allowed, every
//! mistake is noted with its place, and reading goes on.
//!
//! Readers return `None` after a mistake. Since one mistake refuses the whole file, what is built
//! from the rest never leaves the crate.

mod fields;
mod node;
mod text;

pub(crate) use fields::{Fields, set};
pub(crate) use node::{Entry, Node};

use crate::error::{Finding, Lines, Place};
use std::cell::RefCell;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Looks up an environment variable.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How files are read that a configuration names.
pub trait ReadFile {
    /// What the file at `path` holds; a relative path is as it was written.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// The permission bits of the file at `path`; `None` if they are not known.
    fn mode(&self, path: &Path) -> Option<u32> {
        let _ = path;
        None
    }
}

impl<F: Fn(&Path) -> io::Result<Vec<u8>>> ReadFile for F {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self(path)
    }
}

/// Reads files with paths relative to a directory: that of the configuration file.
#[derive(Clone, Copy, Debug)]
pub struct Beside<'a>(pub &'a Path);

impl ReadFile for Beside<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(self.0.join(path))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        let facts = std::fs::metadata(self.0.join(path)).ok()?;
        Some(facts.mode() & 0o7777)
    }
}

/// What all readers of one file share.
pub(crate) struct Reader<'a> {
    text: &'a str,
    lines: Lines<'a>,
    env: Env<'a>,
    read_file: &'a dyn ReadFile,
    errors: RefCell<Vec<(usize, String)>>,
    warnings: RefCell<Vec<(usize, String)>>,
    /// Mistakes in files that the text names.
    elsewhere: RefCell<Vec<Finding>>,
    /// Servers that come from etcd, and where they are written.
    from_etcd: RefCell<Vec<(usize, String)>>,
}

impl<'a> Reader<'a> {
    /// A reader of `text`.
    pub(crate) fn new(text: &'a str, env: Env<'a>, read_file: &'a dyn ReadFile) -> Self {
        Self {
            text,
            lines: Lines::new(text),
            env,
            read_file,
            errors: RefCell::default(),
            warnings: RefCell::default(),
            elsewhere: RefCell::default(),
            from_etcd: RefCell::default(),
        }
    }

    /// Notes a mistake at byte `at`.
    pub(crate) fn error(&self, at: usize, message: impl AsRef<str>) {
        self.errors
            .borrow_mut()
            .push((at, one_line(message.as_ref())));
    }

    /// Notes a mistake in a file that the text names.
    pub(crate) fn error_in(&self, file: &Path, place: Place, message: impl AsRef<str>) {
        self.elsewhere.borrow_mut().push(Finding {
            file: file.display().to_string(),
            place: Some(place),
            message: one_line(message.as_ref()),
        });
    }

    /// Notes something doubtful at byte `at`.
    pub(crate) fn warn(&self, at: usize, message: impl AsRef<str>) {
        self.warnings
            .borrow_mut()
            .push((at, one_line(message.as_ref())));
    }

    /// Notes that `address`, written at byte `at`, takes servers from etcd.
    pub(crate) fn note_etcd(&self, at: usize, address: String) {
        self.from_etcd.borrow_mut().push((at, address));
    }

    /// Refuses servers from etcd in a configuration that has none.
    pub(crate) fn refuse_etcd(&self) {
        for (at, address) in &*self.from_etcd.borrow() {
            self.error(
                *at,
                format!("`{address}` takes servers from etcd; add `[etcd]` with its `endpoints`"),
            );
        }
    }

    /// Whether no mistake was noted.
    pub(crate) fn is_clean(&self) -> bool {
        self.errors.borrow().is_empty() && self.elsewhere.borrow().is_empty()
    }

    /// Reads a file that the configuration names.
    pub(crate) fn read_file(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_file.read(path)
    }

    /// The permission bits of a file that the configuration names.
    pub(crate) fn mode(&self, path: &Path) -> Option<u32> {
        self.read_file.mode(path)
    }

    /// Why a file with a secret cannot be read, with the remedy; `missing` is that for a file that is
    /// not there.
    pub(crate) fn unreadable(&self, path: &Path, error: &io::Error, missing: &str) -> String {
        let user = catamaran_sys::identity::own_name();
        let is_seen = self.mode(path).is_some();
        let why = catamaran_core::unreadable(path, error, (&user, is_seen), missing);
        format!("`{}` {why}", path.display())
    }

    /// The line of byte `at`, for messages that name a second place.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.place(at).line
    }

    /// The start of the table header whose first key is at `at`, or `at` if it is in none.
    pub(crate) fn header_start(&self, at: usize) -> usize {
        let before = self.text.as_bytes().get(..at).unwrap_or_default();
        let brackets = before.iter().rev().take_while(|&&byte| byte == b'[');
        at - brackets.count()
    }

    /// The mistakes and the doubts, each in the order of the file.
    pub(crate) fn into_findings(self, file: &str) -> (Vec<Finding>, Vec<Finding>) {
        let lines = self.lines;
        let findings = |mut noted: Vec<(usize, String)>| {
            noted.sort();
            noted.dedup();
            noted
                .into_iter()
                .map(|(at, message)| Finding {
                    file: file.to_owned(),
                    place: Some(lines.place(at)),
                    message,
                })
                .collect()
        };
        let mut errors: Vec<Finding> = findings(self.errors.into_inner());
        errors.extend(self.elsewhere.into_inner());
        (errors, findings(self.warnings.into_inner()))
    }
}

/// `message` with line ends and other control characters that it quotes made visible.
fn one_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len());
    for c in message.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
