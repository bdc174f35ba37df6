//! What is wrong with a configuration, and where.

use std::fmt;

/// All that was found wrong in one run, in the order of the file.
///
/// Displays one line for each: ``catamaran.toml:14:9: unknown backend `apl`; did you mean `api`?``
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Finding>);

/// One thing to tell the operator, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file as it was named, or the flag of a command line.
    pub file: String,
    /// Where in the file; `None` if it is about the file as a whole.
    pub place: Option<Place>,
    /// What was found, what is allowed and the remedy; one line.
    pub message: String,
}

/// A place in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl Place {
    /// The place of byte `offset` of `text`; past the end is the end.
    pub(crate) fn of(text: &str, offset: usize) -> Self {
        Lines::new(text).place(offset)
    }
}

/// The start of every line of a text, to turn offsets into places.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl Errors {
    /// Errors of `findings`, which must not be empty.
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        debug_assert!(!findings.is_empty(), "errors hold at least one finding");
        Self(findings)
    }

    /// A single error about `file` as a whole.
    pub(crate) fn about(file: &str, message: String) -> Self {
        Self(vec![Finding {
            file: file.to_owned(),
            place: None,
            message,
        }])
    }

    /// What was found; at least one.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            finding.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl<'a> Lines<'a> {
    /// Indexes the lines of `text`.
    pub(crate) fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    /// The place of byte `offset`; past the end is the end.
    pub(crate) fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .copied()
            .unwrap_or(0);
        let before = self.text.as_bytes().get(start..offset);
        let before = before.unwrap_or_else(|| &self.text.as_bytes()[start..]);
        // Bytes that continue a character do not count as columns.
        let column = before.iter().filter(|&&byte| byte & 0xC0 != 0x80).count();
        Place {
            line: line.max(1),
            column: column + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_counts_lines_and_characters_from_one() {
        let lines = Lines::new("a\nß = x\n");
        assert_eq!(lines.place(0), Place { line: 1, column: 1 });
        assert_eq!(lines.place(7), Place { line: 2, column: 5 });
        assert_eq!(lines.place(99).line, 3);
        assert_eq!(Lines::new("").place(0), Place { line: 1, column: 1 });
    }
}
