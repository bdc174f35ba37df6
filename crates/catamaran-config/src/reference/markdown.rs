//! The reference as Markdown: `docs/configuration.md`.

use super::{Absent, Key, Kind, ROOT, Scope, Section, sections, slug};
use crate::unit::{duration_text, size_text};
use std::fmt::Write;

/// The reference of every key, as Markdown: the text of `docs/configuration.md`.
#[must_use]
pub fn markdown() -> String {
    let mut out = String::from(INTRO);
    let all = sections();
    out.push_str("## Contents\n\n");
    for section in &all {
        let indent = if is_top(section) { "" } else { "  " };
        write(
            &mut out,
            format_args!(
                "{indent}- [`{}`](#{})\n",
                section.title,
                slug(section.title)
            ),
        );
    }
    for section in &all {
        let level = if is_top(section) { "##" } else { "###" };
        write(
            &mut out,
            format_args!("\n{level} `{}`\n\n{}\n\n", section.title, section.doc),
        );
        table(&mut out, section);
        if !section.example.is_empty() {
            write(
                &mut out,
                format_args!("\n```toml\n{}```\n", section.example),
            );
        }
    }
    later(&mut out);
    out
}

fn is_top(section: &Section) -> bool {
    section.title.starts_with('[') && !section.title.starts_with("[[")
}

fn table(out: &mut String, section: &Section) {
    out.push_str("| key | value | without it | what it does |\n| --- | --- | --- | --- |\n");
    for key in section.keys {
        let absent = match key.absent {
            Absent::Required => "**must be written**".to_owned(),
            Absent::Default(literal) => format!("`{literal}`"),
            Absent::Means(words) => words.to_owned(),
            Absent::Later(_) => continue,
        };
        let scope = match key.scope {
            Scope::Any => "",
            Scope::Http => " HTTP only.",
        };
        let Key { name, doc, .. } = key;
        let link = |section: &Section| format!("[table](#{})", slug(section.title));
        let value = value(&key.kind, &link);
        write(
            out,
            format_args!("| `{name}` | {value} | {absent} | {doc}{scope} |\n"),
        );
    }
}

/// What a value is; `see` says how a table of a section is referred to.
pub(super) fn value(kind: &Kind, see: &dyn Fn(&Section) -> String) -> String {
    match kind {
        Kind::Text(words) => format!("*{words}*"),
        Kind::Bool => "`true` or `false`".to_owned(),
        Kind::Only(value) => format!("`{value}`"),
        Kind::Integer(min, max) => format!("number, {min} to {max}"),
        Kind::Duration(min, max) => {
            format!(
                "duration, {} to {}",
                duration_text(*min),
                duration_text(*max)
            )
        }
        Kind::Size(min, max) => format!("size, {} to {}", size_text(*min), size_text(*max)),
        Kind::Percent(min, max) => format!("percentage, {min}% to {max}%"),
        Kind::Share => "percentage with up to 4 decimals, 0% to 100%".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
            words.join(", ")
        }
        Kind::Table(section) => see(section),
        Kind::List(item) => format!("list of: {}", value(item, see)),
        Kind::OneOrMany(item) => format!("{}; or a list of such", value(item, see)),
        Kind::Map(keys, item) => format!("table of *{keys}* = {}", value(item, see)),
        Kind::Either(kinds) => {
            let kinds: Vec<String> = kinds.iter().map(|kind| value(kind, see)).collect();
            kinds.join(" or ")
        }
    }
}

/// What later versions bring, so that nobody looks for it in vain.
fn later(out: &mut String) {
    out.push_str("\n## Not in this version yet\n\n");
    let all = std::iter::once(&ROOT).chain(sections());
    for section in all {
        for key in section.keys {
            if let Absent::Later(brings) = key.absent {
                let place = if std::ptr::eq(section, &raw const ROOT) {
                    String::new()
                } else {
                    format!(" of `{}`", section.title)
                };
                write(out, format_args!("- `{}`{place}: {brings}\n", key.name));
            }
        }
    }
}

fn write(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text)
        .expect("a string takes all that is written");
}

const INTRO: &str = r#"# Configuration

<!-- Generated from the table that the program reads by. Change it in
     crates/catamaran-config/src/reference and run
     UPDATE_DOCS=1 cargo test -p catamaran-config -->

catamaran reads one TOML file: `catamaran run -c catamaran.toml`. A useful one is short:

```toml
[frontend.web]
listen  = ["0.0.0.0:80"]
backend = "api"

[backend.api]
servers = ["10.0.0.1:8080", "10.0.0.2:8080"]
health  = { http = "/health" }
stick   = { on = "source-ip", for = "10m" }
```

A **frontend** says what comes in: it listens, limits and routes. A **backend** is a group of
**servers** with one policy: how one is chosen, when it counts as down, what is tried again.
Everything has a safe default; longer files to start from are in [examples](examples).

`catamaran check -c catamaran.toml` tells everything that is wrong in one run, with its place and
remedy:

```text
catamaran.toml:3:11: unknown backend `apl`; did you mean `api`?
```

Rules that hold everywhere:

- **Durations** carry a unit: `"500ms"`, `"1.5s"`, `"10m"`, `"1h"`, `"1d"`; so do **sizes**
  (`"64KiB"`, `"1MB"`) and **percentages** (`"50%"`).
- **`${NAME}`** in a string is replaced by the environment variable; write `$${` for a plain `${`.
  A variable that is not set is an error.
- **Unknown keys** are errors: a slip never means a default.
- Editors complete and check the file with the JSON Schema `docs/catamaran.schema.json`: those
  that use Taplo take its place from a first line such as `#:schema catamaran.schema.json`.

"#;
