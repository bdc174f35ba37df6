//! The reference as a manual page: `catamaran.toml(5)`.

use super::markdown::value;
use super::{Absent, Key, Scope, Section, sections};

/// The reference of every key, as the source of a manual page that bears `date`, or no date if that
/// is empty.
#[must_use]
pub fn man(date: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let mut page = Page(format!(
        ".\\\" Made from the table that the program reads by.\n\
         .TH CATAMARAN.TOML 5 \"{}\" \"catamaran {version}\" \"Catamaran\"\n{INTRO}",
        date.replace(['"', '\\', '\n'], "")
    ));
    for section in sections() {
        page.section(section);
    }
    page.0.push_str(END);
    page.0
}

/// The source of a page so far.
struct Page(String);

impl Page {
    fn section(&mut self, section: &Section) {
        self.line(".SH", &format!("\"{}\"", section.title));
        self.text(section.doc);
        for key in section.keys {
            self.key(key);
        }
        if !section.example.is_empty() {
            self.line(".PP", "");
            self.0.push_str("Example:\n.RS 4\n.nf\n");
            for line in section.example.lines() {
                self.verbatim(line);
            }
            self.0.push_str(".fi\n.RE\n");
        }
    }

    fn key(&mut self, key: &Key) {
        let absent = match key.absent {
            Absent::Required => "must be written".to_owned(),
            Absent::Default(literal) => format!("without it `{literal}`"),
            Absent::Means(words) => format!("without it: {words}"),
            Absent::Later(_) => return,
        };
        let scope = match key.scope {
            Scope::Any => "",
            Scope::Http => " HTTP only.",
        };
        self.line(".TP", "");
        let see = |section: &Section| format!("table, see {}", section.title);
        let head = format!("`{}` = {}", key.name, value(&key.kind, &see));
        self.text(&head);
        self.text(&format!("{}{scope} ({absent})", key.doc));
    }

    /// A macro with its argument.
    fn line(&mut self, name: &str, argument: &str) {
        self.0.push_str(name);
        if !argument.is_empty() {
            self.0.push(' ');
            self.0.push_str(argument);
        }
        self.0.push('\n');
    }

    /// A paragraph of the reference's little Markdown.
    fn text(&mut self, markdown: &str) {
        for line in markdown.lines().filter(|line| !line.is_empty()) {
            let line = inline(line);
            self.start(&line);
            self.0.push_str(&line);
            self.0.push('\n');
        }
    }

    /// A line of an example.
    fn verbatim(&mut self, line: &str) {
        let line = escaped(line);
        self.start(&line);
        self.0.push_str(&line);
        self.0.push('\n');
    }

    /// Keeps a line of text from being taken for a macro.
    fn start(&mut self, line: &str) {
        if line.starts_with(['.', '\'']) {
            self.0.push_str("\\&");
        }
    }
}

/// Code becomes bold, emphasis italic, a link its text.
fn inline(markdown: &str) -> String {
    let mut out = String::new();
    for (at, part) in markdown.split('`').enumerate() {
        if at % 2 == 1 {
            out.push_str(&format!("\\fB{}\\fR", escaped(part)));
        } else {
            out.push_str(&emphasis(&without_links(part)));
        }
    }
    out
}

/// The text with single and double asterisks turned into italic.
fn emphasis(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.replace("**", "*").split('*').enumerate() {
        if at % 2 == 1 {
            out.push_str(&format!("\\fI{}\\fR", escaped(part)));
        } else {
            out.push_str(&escaped(part));
        }
    }
    out
}

/// The text without brackets around links, and without where they lead.
///
/// Code was taken out before, so that a link around code comes in two pieces: `[` at the end of the
/// first, `](target)` at the start of the second.
fn without_links(text: &str) -> String {
    let mut out = text.strip_suffix('[').unwrap_or(text).to_owned();
    while let Some(start) = out.find("](") {
        let Some(length) = out[start..].find(')') else {
            break;
        };
        out.replace_range(start..=start + length, "");
        if let Some(open) = out[..start].rfind('[') {
            out.remove(open);
        }
    }
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\e")
        .replace('-', "\\-")
        .replace('\'', "\\(aq")
        .replace('^', "\\(ha")
        .replace('~', "\\(ti")
        .replace('"', "\\(dq")
        .replace('…', "...")
        .replace('→', "\\(->")
        .replace('≥', "\\(>=")
}

const INTRO: &str = r#".SH NAME
catamaran.toml \- configuration of catamaran
.SH SYNOPSIS
.I ./catamaran.toml
.br
.I /etc/catamaran/catamaran.toml
.SH DESCRIPTION
A file in TOML.
A \fIfrontend\fR says what comes in: it listens, limits and routes.
A \fIbackend\fR is a group of \fIservers\fR with one policy: how one is chosen,
when it counts as down, what is tried again.
Everything has a safe default.
A useful file is short:
.PP
.RS 4
.nf
[frontend.web]
listen  = ["0.0.0.0:80"]
backend = "api"

[backend.api]
servers = ["10.0.0.1:8080", "10.0.0.2:8080"]
health  = { http = "/health" }
.fi
.RE
.PP
.B catamaran check
tells everything that is wrong with a file in one run.
Durations carry a unit (\fB500ms\fR, \fB10m\fR), so do sizes (\fB64KiB\fR) and
percentages (\fB50%\fR).
\fB${NAME}\fR in a string is replaced by the environment variable; \fB$${\fR stands for a plain
\fB${\fR.
Unknown keys are errors.
"#;

const END: &str =
    ".SH \"SEE ALSO\"\n.BR catamaran (1),\n.BR catamaran\\-check (1),\n.BR catamaran\\-run (1)\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_this_version_is_on_the_page() {
        let page = man("2026-01-31");
        for section in sections() {
            for key in section.keys {
                let line = format!("\n\\fB{}\\fR = ", escaped(key.name));
                let is_later = matches!(key.absent, Absent::Later(_));
                assert_eq!(page.contains(&line), !is_later, "{}", key.name);
            }
        }
    }

    #[test]
    fn the_little_markdown_becomes_fonts() {
        assert_eq!(inline("a `b-c` *d*"), "a \\fBb\\-c\\fR \\fId\\fR");
        assert_eq!(inline("see [here](#x), [`y`](#z)."), "see here, \\fBy\\fR.");
        assert_eq!(inline("a [b] (c)"), "a [b] (c)");
    }

    #[test]
    fn nothing_but_a_macro_begins_with_a_dot() {
        for line in man("").lines().filter(|line| line.starts_with('.')) {
            let name = line.split(' ').next().unwrap_or_default();
            let known = [
                ".\\\"", ".TH", ".SH", ".PP", ".TP", ".RS", ".RE", ".nf", ".fi", ".br", ".I", ".B",
                ".BR",
            ];
            assert!(known.contains(&name), "{line}");
        }
        let mut page = Page(String::new());
        page.text(".5 of it\n'tis");
        assert_eq!(page.0, "\\&.5 of it\n\\(aqtis\n");
    }
}
