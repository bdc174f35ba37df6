//! TypeScript: types are blanked out, so that what is left is JavaScript with the same lines and columns.
//!
//! Nothing is checked: that is the business of an editor. Enums and parameter properties, which are more
//! than types, become JavaScript on the line where they begin. Imports of which only types are used fall
//! away, as with every compiler of TypeScript.

mod edits;
mod enums;
mod imports;
mod shared_names;
mod sharing;
mod strip;

use oxc_allocator::Allocator;
use oxc_parser::Parser;
use oxc_span::SourceType;

pub(super) use sharing::obstacle_in;

/// The JavaScript of a TypeScript module called `name`.
///
/// An error begins with `name:line:column`.
pub(super) fn to_javascript(name: &str, source: &str) -> Result<String, String> {
    let allocator = Allocator::default();
    let parsed = Parser::new(&allocator, source, SourceType::ts()).parse();
    let place = |offset: u32| {
        let (line, column) = position(source, offset as usize);
        format!("{name}:{line}:{column}")
    };
    if let Some(first) = parsed.diagnostics.errors().next() {
        let offset = first.labels.first().map_or(0, |label| label.span().start);
        let help = first.help.as_ref();
        let help = help.map_or_else(String::new, |help| format!(" ({help})"));
        return Err(format!("{}: {}{help}", place(offset), first.message));
    }
    strip::strip(source, &parsed.program)
        .map_err(|problem| format!("{}: {}", place(problem.offset), problem.why))
}

/// Line and column of an offset, both from 1; columns count characters.
fn position(source: &str, offset: usize) -> (usize, usize) {
    let before = source.get(..offset.min(source.len())).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (line, before[start..].chars().count() + 1)
}

#[cfg(test)]
mod tests;
