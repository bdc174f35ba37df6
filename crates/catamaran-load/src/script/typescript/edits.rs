//! Changes to a text that keep its lines where they are.

use oxc_span::Span;

/// Changes of one text.
#[derive(Debug, Default)]
pub(super) struct Edits {
    all: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    start: usize,
    end: usize,
    /// In place of what was there; its lines are kept behind it.
    text: String,
    /// Whether lines are kept: not where a line break would end a statement.
    keeps_lines: bool,
}

impl Edits {
    /// Takes something out.
    pub(super) fn blank(&mut self, start: u32, end: u32) {
        self.replace(start, end, String::new());
    }

    /// Takes a statement out. A semicolon stays, so that its neighbours do not become one.
    pub(super) fn blank_statement(&mut self, span: Span) {
        self.replace(span.start, span.end, ";".to_owned());
    }

    /// Puts a text in place of another.
    pub(super) fn replace(&mut self, start: u32, end: u32, text: String) {
        self.push(start, end, text, true);
    }

    /// Takes something out with its line breaks.
    pub(super) fn blank_lines(&mut self, start: u32, end: u32) {
        self.push(start, end, String::new(), false);
    }

    /// Puts a text in.
    pub(super) fn insert(&mut self, at: u32, text: String) {
        self.push(at, at, text, true);
    }

    fn push(&mut self, start: u32, end: u32, text: String, keeps_lines: bool) {
        self.all.push(Edit {
            start: start as usize,
            end: end as usize,
            text,
            keeps_lines,
        });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The part `span` of `source` with the changes in it.
    pub(super) fn apply(&self, source: &str, span: Span) -> String {
        let (from, to) = (span.start as usize, span.end as usize);
        let within = self.all.iter();
        let mut within: Vec<&Edit> = within
            .filter(|edit| from <= edit.start && edit.end <= to)
            .collect();
        // Of two that begin at one place the wider comes first and swallows the other.
        within.sort_by_key(|edit| (edit.start, std::cmp::Reverse(edit.end)));
        let mut out = String::with_capacity(to - from);
        let mut at = from;
        for edit in within {
            if edit.start < at {
                continue;
            }
            out.push_str(&source[at..edit.start]);
            edit.write(&source[edit.start..edit.end], &mut out);
            at = edit.end;
        }
        out.push_str(&source[at..to]);
        out
    }
}

impl Edit {
    fn write(&self, old: &str, out: &mut String) {
        out.push_str(&self.text);
        // Spaces in place of what was there keep columns; what was put in takes some of them.
        let taken = self.text.chars().count();
        for (index, c) in old.chars().enumerate() {
            match c {
                '\n' if self.keeps_lines => out.push('\n'),
                _ if index < taken => {}
                _ => out.push(' '),
            }
        }
    }
}
