//! One value of the file, with its place.

use super::text::expand;
use super::{Fields, Reader};
use crate::reference::Section;
use crate::unit;
use catamaran_core::nearest::remedy;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

/// A value with what is needed to complain about it.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) value: &'a Spanned<DeValue<'a>>,
    /// What messages call it: its key.
    pub(super) label: &'a str,
    /// Whether it is an item of the list of that key.
    item: bool,
}

/// A key that the operator chose, and its value.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The key.
    pub(crate) name: &'a str,
    /// Where the key stands.
    pub(crate) at: usize,
    /// Its value.
    pub(crate) node: Node<'a>,
}

impl<'a> Node<'a> {
    /// The value of the key `label`.
    pub(super) fn new(
        reader: &'a Reader<'a>,
        value: &'a Spanned<DeValue<'a>>,
        label: &'a str,
    ) -> Self {
        Self {
            reader,
            value,
            label,
            item: false,
        }
    }

    /// Where the value starts.
    pub(crate) fn at(&self) -> usize {
        self.value.span().start
    }

    /// Notes a mistake here.
    pub(crate) fn error(&self, message: impl Into<String>) {
        self.reader.error(self.at(), message.into());
    }

    /// The reader it came from.
    pub(crate) fn reader(&self) -> &'a Reader<'a> {
        self.reader
    }

    /// Whether it is a string.
    pub(crate) fn is_text(&self) -> bool {
        self.value.get_ref().is_str()
    }

    /// Whether it is a table.
    pub(crate) fn is_table(&self) -> bool {
        self.value.get_ref().is_table()
    }

    /// Whether it is a whole number.
    pub(crate) fn is_integer(&self) -> bool {
        self.value.get_ref().is_integer()
    }

    /// Its value, if it is `true` or `false`; notes nothing.
    pub(crate) fn as_bool(&self) -> Option<bool> {
        self.value.get_ref().as_bool()
    }

    /// A string, with environment variables put in. `expected` words what it should hold.
    pub(crate) fn text(&self, expected: &str) -> Option<String> {
        let Some(text) = self.value.get_ref().as_str() else {
            self.mismatch(expected);
            return None;
        };
        match expand(text, self.reader.env) {
            Ok(text) => Some(text.into_owned()),
            Err(message) => {
                self.error(message);
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn bool(&self) -> Option<bool> {
        let value = self.as_bool();
        if value.is_none() {
            self.mismatch("`true` or `false`");
        }
        value
    }

    /// A whole number in an inclusive range.
    pub(crate) fn integer(&self, min: u64, max: u64) -> Option<u64> {
        let expected = format!("a number from {min} to {max}");
        let DeValue::Integer(integer) = self.value.get_ref() else {
            self.mismatch(&expected);
            return None;
        };
        let value = whole(integer).filter(|value| (min..=max).contains(value));
        if value.is_none() {
            self.mismatch(&expected);
        }
        value
    }

    /// A duration in an inclusive range.
    pub(crate) fn duration(&self, min: Duration, max: Duration) -> Option<Duration> {
        self.quantity(&DURATION, min, max)
    }

    /// A size in bytes in an inclusive range.
    pub(crate) fn size(&self, min: u64, max: u64) -> Option<u64> {
        self.quantity(&SIZE, min, max)
    }

    /// A percentage in an inclusive range.
    pub(crate) fn percent(&self, min: u64, max: u64) -> Option<u64> {
        self.quantity(&PERCENT, min, max)
    }

    /// A percentage up to 100%, in millionths.
    pub(crate) fn share(&self) -> Option<u64> {
        self.quantity(&SHARE, 0, 1_000_000)
    }

    /// The value that stands beside the word found.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Option<T> {
        let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
        let found = self.text(&format!(
            "one of {}",
            catamaran_core::nearest::quoted(&names)
        ))?;
        let value = choices.iter().find(|&&(name, _)| name == found);
        if value.is_none() {
            self.error(format!(
                "unknown value `{found}` of `{}`; {}",
                self.label,
                remedy(&found, &names)
            ));
        }
        value.map(|&(_, value)| value)
    }

    /// The items of an array.
    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        let Some(items) = self.value.get_ref().as_array() else {
            self.mismatch("a list (`[…]`)");
            return None;
        };
        let item = |value| Self {
            value,
            item: true,
            ..*self
        };
        Some(items.iter().map(item).collect())
    }

    /// Whether it is an array without items.
    pub(crate) fn is_empty_list(&self) -> bool {
        let list = self.value.get_ref().as_array();
        list.is_some_and(|items| items.is_empty())
    }

    /// The items of an array, or the value itself.
    pub(crate) fn one_or_many(&self) -> Vec<Self> {
        if self.value.get_ref().is_array() {
            self.list().unwrap_or_default()
        } else {
            vec![*self]
        }
    }

    /// A table with the keys of `section`; unknown ones are noted.
    pub(crate) fn fields(&self, section: &'static Section) -> Option<Fields<'a>> {
        let table = self.table()?;
        Some(Fields::open(self.reader, table, self.at(), section))
    }

    /// A table whose keys the operator chose, in the order of the file.
    pub(crate) fn entries(&self) -> Option<Vec<Entry<'a>>> {
        let table = self.table()?;
        let mut entries: Vec<Entry<'a>> = table
            .iter()
            .map(|(key, value)| Entry {
                name: key.get_ref(),
                at: key.span().start,
                node: Self::new(self.reader, value, key.get_ref()),
            })
            .collect();
        entries.sort_by_key(|entry| entry.at);
        Some(entries)
    }

    /// Notes that something else was `expected` here.
    pub(crate) fn mismatch(&self, expected: &str) {
        let (subject, found) = (self.subject(), self.found());
        self.error(format!("{subject} must be {expected}, found {found}"));
    }

    fn table(&self) -> Option<&'a DeTable<'a>> {
        let table = self.value.get_ref().as_table();
        if table.is_none() {
            self.mismatch("a table (`{ … }`)");
        }
        table
    }

    /// A string that holds a number with a unit.
    fn quantity<T: PartialOrd + Copy>(&self, kind: &Quantity<T>, min: T, max: T) -> Option<T> {
        let subject = self.subject();
        let expected = format!("a {} such as `\"{}\"`", kind.noun, kind.example);
        if let DeValue::Integer(number) = self.value.get_ref() {
            let with_unit = |unit| format!("`\"{number}{unit}\"`");
            let written: Vec<String> = kind.units.iter().map(with_unit).collect();
            self.error(format!(
                "{subject} needs a unit, found {number}; write {}",
                written.join(" or ")
            ));
            return None;
        }
        let text = self.text(&expected)?;
        let Some(value) = (kind.parse)(&text) else {
            self.error(format!("{subject} must be {expected}, found `\"{text}\"`"));
            return None;
        };
        if value < min || value > max {
            let (min, max) = ((kind.write)(min), (kind.write)(max));
            self.error(format!(
                "{subject} must be {min} to {max}, found `\"{text}\"`"
            ));
            return None;
        }
        Some(value)
    }

    fn subject(&self) -> String {
        if self.item {
            format!("an item of `{}`", self.label)
        } else {
            format!("`{}`", self.label)
        }
    }

    fn found(&self) -> String {
        match self.value.get_ref() {
            DeValue::String(text) => format!("{:?}", shortened(text)),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => format!("`{value}`"),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "a list".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        }
    }
}

/// A kind of number with a unit, in the words of messages.
struct Quantity<T> {
    noun: &'static str,
    example: &'static str,
    /// What is proposed for a number without one.
    units: &'static [&'static str],
    parse: fn(&str) -> Option<T>,
    write: fn(T) -> String,
}

const DURATION: Quantity<Duration> = Quantity {
    noun: "duration",
    example: "2s",
    units: &["ms", "s"],
    parse: unit::duration,
    write: unit::duration_text,
};

const SIZE: Quantity<u64> = Quantity {
    noun: "size",
    example: "64KiB",
    units: &["B"],
    parse: unit::size,
    write: unit::size_text,
};

const PERCENT: Quantity<u64> = Quantity {
    noun: "percentage",
    example: "50%",
    units: &["%"],
    parse: unit::percent,
    write: |percent| format!("{percent}%"),
};

const SHARE: Quantity<u64> = Quantity {
    noun: "percentage",
    example: "0.5%",
    units: &["%"],
    parse: unit::share,
    write: unit::share_text,
};

/// `text`, cut if it is too long for a message.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The value of a TOML integer; `None` if negative or too large.
fn whole(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}
