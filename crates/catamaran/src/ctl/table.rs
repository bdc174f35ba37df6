//! Tables for a terminal: columns aligned, words of state in colour.

use std::io::{self, IsTerminal as _, Write};

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table {
    headings: &'static [Heading],
    rows: Vec<Vec<String>>,
}

/// What stands over a column, and to which side it is aligned.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heading {
    /// Text.
    Left(&'static str),
    /// Numbers.
    Right(&'static str),
}

/// Whether words are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Ansi,
}

impl Colour {
    /// Colours on a terminal whose user has not turned them off (<https://no-color.org>).
    pub(crate) fn of_stdout() -> Self {
        let is_off = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if io::stdout().is_terminal() && !is_off {
            Self::Ansi
        } else {
            Self::Plain
        }
    }
}

impl Table {
    pub(crate) const fn new(headings: &'static [Heading]) -> Self {
        Self {
            headings,
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each heading.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| without_controls(&cell))
            .collect();
        debug_assert_eq!(cells.len(), self.headings.len());
        self.rows.push(cells);
    }

    /// Writes the table.
    pub(crate) fn print(&self, out: &mut impl Write, colour: Colour) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells
                .max()
                .unwrap_or(0)
                .max(self.headings[column].text().len())
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let headings = self
            .headings
            .iter()
            .map(|heading| heading.text().to_owned());
        let headings: Vec<String> = headings.collect();
        for (index, row) in std::iter::once(&headings).chain(&self.rows).enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
                let shown = match colour {
                    Colour::Plain => cell.clone(),
                    Colour::Ansi if index == 0 => format!("\x1b[1m{cell}\x1b[0m"),
                    Colour::Ansi => coloured(cell),
                };
                match self.headings[column] {
                    Heading::Left(_) => line.extend([shown, padding]),
                    Heading::Right(_) => line.extend([padding, shown]),
                }
                line.push_str("  ");
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl Heading {
    const fn text(self) -> &'static str {
        match self {
            Self::Left(text) | Self::Right(text) => text,
        }
    }
}

/// A word of state in its colour.
pub(crate) fn coloured(cell: &str) -> String {
    let code = match cell.split(' ').next().unwrap_or_default() {
        "up" | "ready" | "active" | "http" | "tcp" | "udp" | "server-up" | "server-accepting" => 32,
        "drain" | "draining" | "maintenance" | "ejected" | "starting" => 33,
        "down" | "refusing" | "server-down" | "server-refusing" | "reload-failed" => 31,
        _ => return cell.to_owned(),
    };
    format!("\x1b[{code}m{cell}\x1b[0m")
}

/// Text from elsewhere must not steer the terminal; the end of a line is shown as `\n`.
pub(crate) fn without_controls(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            c if c.is_control() => shown.push('?'),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADINGS: &[Heading] = &[Heading::Left("name"), Heading::Right("n")];

    fn printed(colour: Colour) -> String {
        let mut table = Table::new(HEADINGS);
        table.row(["a".to_owned(), "10".to_owned()]);
        table.row(["lönger".to_owned(), "5".to_owned()]);
        table.row(["up\x1b[2J".to_owned(), String::new()]);
        let mut out = Vec::new();
        table.print(&mut out, colour).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let expected = "name     n\na       10\nlönger   5\nup?[2J\n";
        assert_eq!(printed(Colour::Plain), expected);
    }

    #[test]
    fn only_our_own_colours_reach_the_terminal() {
        assert!(!printed(Colour::Plain).contains('\x1b'));
        assert!(!printed(Colour::Ansi).contains("\x1b[2J"));
        assert_eq!(coloured("down (checks)"), "\x1b[31mdown (checks)\x1b[0m");
        assert_eq!(coloured("upper"), "upper");
    }

    #[test]
    fn the_lines_of_a_value_can_be_told_apart() {
        assert_eq!(without_controls("a = 1\nb = 2\u{1b}"), "a = 1\\nb = 2?");
    }
}
