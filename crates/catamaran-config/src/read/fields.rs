//! A table with known keys.

use super::{Node, Reader};
use crate::reference::{Absent, Kind, Section};
use catamaran_core::nearest::{nearest, remedy};
use std::time::Duration;
use toml::de::DeTable;

/// A table of the file, read by the keys of its section.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'a>,
    at: usize,
    section: &'static Section,
}

/// Puts what was read in the place of the default.
pub(crate) fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

impl<'a> Fields<'a> {
    /// Opens the table that starts at `at`; keys that `section` does not know are noted.
    pub(crate) fn open(
        reader: &'a Reader<'a>,
        table: &'a DeTable<'a>,
        at: usize,
        section: &'static Section,
    ) -> Self {
        for (key, _) in table {
            let (name, key_at): (&str, usize) = (key.get_ref(), key.span().start);
            match section.key(name).map(|known| known.absent) {
                Some(Absent::Later(brings)) => reader.error(
                    reader.header_start(key_at),
                    format!(
                        "`{name}` is not supported by this version yet; remove it (a later \
                         version brings {brings})"
                    ),
                ),
                Some(_) => {}
                None => reader.error(
                    key_at,
                    format!(
                        "unknown key `{name}` in {}; {}",
                        in_words(section),
                        remedy(name, &section.names())
                    ),
                ),
            }
        }
        Self {
            reader,
            table,
            at,
            section,
        }
    }

    /// What all readers of the file share.
    pub(crate) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    /// Notes a mistake about the table as a whole.
    pub(crate) fn error(&self, message: impl Into<String>) {
        self.reader.error(self.at, message.into());
    }

    /// The value of `key`, if written.
    pub(crate) fn node(&self, key: &'static str) -> Option<Node<'a>> {
        debug_assert!(
            self.section.key(key).is_some(),
            "`{key}` is missing from the reference of `{}`",
            self.section.name
        );
        let value = self.table.get(key)?;
        Some(Node::new(self.reader, value, key))
    }

    /// Where `key` is written.
    pub(crate) fn key_at(&self, key: &str) -> Option<usize> {
        let (key, _) = self.table.get_key_value(key)?;
        Some(key.span().start)
    }

    /// Whether some unknown key was probably meant to be `key`, so that its absence is no news.
    pub(crate) fn is_misspelt(&self, key: &str) -> bool {
        let names = self.section.names();
        self.unknown()
            .any(|found| nearest(found, names.iter().copied()) == Some(key))
    }

    /// Whether there are unknown keys, one of which may have been meant to be a missing one.
    pub(crate) fn has_unknown(&self) -> bool {
        self.unknown().next().is_some()
    }

    fn unknown(&self) -> impl Iterator<Item = &'a str> {
        let section = self.section;
        let names = self.table.keys().map(|key| -> &'a str { key.get_ref() });
        names.filter(move |name| section.key(name).is_none())
    }

    /// The value of a key that must be written; `example` shows how.
    pub(crate) fn required(&self, key: &'static str, example: &str) -> Option<Node<'a>> {
        let node = self.node(key);
        if node.is_none() && !self.is_misspelt(key) {
            self.error(format!(
                "{} has no `{key}`; add `{key} = {example}`",
                in_words(self.section)
            ));
        }
        node
    }

    /// `true` or `false`.
    pub(crate) fn bool(&self, key: &'static str) -> Option<bool> {
        self.node(key)?.bool()
    }

    /// A whole number in the range of the reference.
    pub(crate) fn integer(&self, key: &'static str) -> Option<u64> {
        let node = self.node(key)?;
        match self.kind(key) {
            Kind::Integer(min, max) => node.integer(*min, *max),
            _ => unreachable!("the reference says that `{key}` is no number"),
        }
    }

    /// As [`Fields::integer`], in the type of the model.
    pub(crate) fn number<T: TryFrom<u64>>(&self, key: &'static str) -> Option<T> {
        T::try_from(self.integer(key)?).ok()
    }

    /// A duration in the range of the reference.
    pub(crate) fn duration(&self, key: &'static str) -> Option<Duration> {
        let node = self.node(key)?;
        match self.kind(key) {
            Kind::Duration(min, max) => node.duration(*min, *max),
            _ => unreachable!("the reference says that `{key}` is no duration"),
        }
    }

    /// A size in the range of the reference.
    pub(crate) fn size(&self, key: &'static str) -> Option<usize> {
        let node = self.node(key)?;
        match self.kind(key) {
            Kind::Size(min, max) => usize::try_from(node.size(*min, *max)?).ok(),
            _ => unreachable!("the reference says that `{key}` is no size"),
        }
    }

    /// A percentage in the range of the reference, as a number of the model's type.
    pub(crate) fn percent<T: TryFrom<u64>>(&self, key: &'static str) -> Option<T> {
        let node = self.node(key)?;
        match self.kind(key) {
            Kind::Percent(min, max) => T::try_from(node.percent(*min, *max)?).ok(),
            _ => unreachable!("the reference says that `{key}` is no percentage"),
        }
    }

    /// A percentage up to 100%, in millionths.
    pub(crate) fn share(&self, key: &'static str) -> Option<u64> {
        let node = self.node(key)?;
        debug_assert!(matches!(self.kind(key), Kind::Share), "`{key}`");
        node.share()
    }

    fn kind(&self, key: &str) -> &'static Kind {
        self.section
            .key(key)
            .map_or(&Kind::Bool, |known| &known.kind)
    }
}

/// A section in the words of a message.
fn in_words(section: &Section) -> String {
    if section.name.contains(' ') {
        section.name.to_owned()
    } else {
        format!("`{}`", section.name)
    }
}
