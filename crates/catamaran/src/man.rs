//! `catamaran man`: the manual pages, made from the command line's own definition and from the
//! table of keys, so that they cannot say anything else than the program does.
//!
//! Each command has a page, `catamaran-ctl-server-drain(1)` as well as `catamaran(1)`. What the
//! definition does not know (signals, files, variables) is added by [`NOTES`].

use crate::args::{Args, ManArgs};
use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

/// A file of the manual.
struct Page {
    /// Its name and section, as `catamaran.1`.
    file: String,
    text: Vec<u8>,
}

/// Writes all pages below the directory that `args` name.
pub(crate) fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    let pages = pages(&args.date)?;
    for page in &pages {
        write(&args.directory, page)?;
    }
    let directory = args.directory.display();
    writeln!(io::stdout(), "{} pages below {directory}", pages.len())?;
    Ok(ExitCode::SUCCESS)
}

fn write(directory: &Path, page: &Page) -> anyhow::Result<()> {
    let section = page.file.rsplit('.').next().unwrap_or_default();
    let directory = directory.join(format!("man{section}"));
    let path = directory.join(&page.file);
    std::fs::create_dir_all(&directory)
        .and_then(|()| std::fs::write(&path, &page.text))
        .with_context(|| format!("{}: cannot be written", path.display()))
}

fn pages(date: &str) -> io::Result<Vec<Page>> {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(&command, date, &mut pages)?;
    pages.push(Page {
        file: "catamaran.toml.5".to_owned(),
        text: catamaran_config::reference::man(date).into_bytes(),
    });
    Ok(pages)
}

fn collect(command: &Command, date: &str, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(page(command, date)?);
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        collect(sub, date, pages)?;
    }
    Ok(())
}

fn page(command: &Command, date: &str) -> io::Result<Page> {
    let name = command.get_display_name().unwrap_or("catamaran");
    let man = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(date)
        .source(concat!("catamaran ", env!("CARGO_PKG_VERSION")))
        .manual("Catamaran");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    let mut rest = Roff::new();
    for note in NOTES.iter().filter(|note| note.page == name) {
        definitions(&mut rest, note);
    }
    if let Some(help) = command.get_after_help() {
        after_help(&mut rest, &help.to_string());
    }
    see_also(&mut rest, name);
    rest.to_writer(&mut text)?;
    Ok(Page {
        file: man.get_filename(),
        text: once(&text),
    })
}

/// The text with what every part of it begins with kept at its beginning only, and without blanks at
/// the ends of lines.
fn once(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    let preamble = Roff::new().render();
    let mut whole = preamble.clone();
    for line in text.replace(&preamble, "").lines() {
        whole.push_str(line.trim_end());
        whole.push('\n');
    }
    whole.into_bytes()
}

/// What stands below the options of `--help`: a line that ends in a colon heads the indented ones
/// that follow it, which are shown as they are.
fn after_help(out: &mut Roff, text: &str) {
    let mut is_open = false;
    for line in text.lines() {
        let is_indented = line.starts_with("  ");
        if is_open != is_indented && !line.is_empty() {
            is_open = is_indented;
            out.control(if is_open { "RS" } else { "fi" }, is_open.then_some("4"));
            out.control(if is_open { "nf" } else { "RE" }, []);
        }
        match line {
            "" => {}
            "Example:" | "Examples:" => {
                out.control("SH", ["EXAMPLES"]);
            }
            "Exit codes:" => {
                out.control("SH", ["EXIT STATUS"]);
            }
            _ if is_indented => {
                out.text([roman(line.trim_start())]);
            }
            _ => {
                out.control("PP", []);
                out.text([roman(line)]);
            }
        }
    }
    if is_open {
        out.control("fi", []);
        out.control("RE", []);
    }
}

fn definitions(out: &mut Roff, note: &Note) {
    out.control("SH", [note.heading]);
    for (term, meaning) in note.items {
        out.control("TP", []);
        out.text([bold(*term)]);
        out.text([roman(*meaning)]);
    }
}

/// The page of the command above, that of the whole, and that of the file.
fn see_also(out: &mut Roff, name: &str) {
    let mut pages = vec![("catamaran.toml", "(5)")];
    if name != "catamaran" {
        pages.insert(0, ("catamaran", "(1)"));
    }
    if let Some((above, _)) = name.rsplit_once('-')
        && above != "catamaran"
    {
        pages.insert(0, (above, "(1)"));
    }
    out.control("SH", ["SEE ALSO"]);
    let last = pages.len() - 1;
    let line: Vec<Inline> = pages
        .iter()
        .enumerate()
        .flat_map(|(at, (page, section))| {
            let comma = if at < last { ", " } else { "" };
            [bold(*page), roman(format!("{section}{comma}"))]
        })
        .collect();
    out.text(line);
}

/// A section that a page has besides what its command's definition says.
struct Note {
    /// The page, without its section of the manual.
    page: &'static str,
    heading: &'static str,
    /// Terms with their meaning.
    items: &'static [(&'static str, &'static str)],
}

const NOTES: &[Note] = &[
    Note {
        page: "catamaran",
        heading: "ENVIRONMENT",
        items: &[
            (
                "CATAMARAN_LOG",
                "What is logged to standard error, where --log does not say so.",
            ),
            (
                "NO_COLOR",
                "Anything in it: no colours, whatever the terminal can show.",
            ),
        ],
    },
    Note {
        page: "catamaran-run",
        heading: "SIGNALS",
        items: &[
            (
                "SIGHUP",
                "Reload: the file is read anew and put in place while everything goes on. A file \
                 with errors changes nothing. Without a file, as SIGTERM.",
            ),
            (
                "SIGTERM, SIGINT",
                "Drain and end: no new clients, and those there are have the time of `drain` to \
                 finish. A second one ends at once.",
            ),
            ("SIGUSR1", "Open access logs anew, after they were rotated."),
        ],
    },
    Note {
        page: "catamaran-run",
        heading: "FILES",
        items: &[
            (
                "./catamaran.toml, /etc/catamaran/catamaran.toml",
                "The configuration, where --config names none: the first that exists.",
            ),
            (
                "/run/catamaran/admin.sock, $XDG_RUNTIME_DIR/catamaran/admin.sock",
                "The admin socket, at the first of the two that can be made.",
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn text(file: &str) -> String {
        let pages = pages("").unwrap();
        let page = pages.into_iter().find(|page| page.file == file).unwrap();
        String::from_utf8(page.text).unwrap()
    }

    #[test]
    fn every_command_has_a_page_and_a_hidden_one_has_none() {
        let pages = pages("2026-01-31").unwrap();
        let files: Vec<_> = pages.iter().map(|page| page.file.as_str()).collect();
        for file in [
            "catamaran.1",
            "catamaran-ctl-server-drain.1",
            "catamaran.toml.5",
        ] {
            assert!(files.contains(&file), "{file} is missing of {files:?}");
        }
        assert!(!files.contains(&"catamaran-data.1"));
        for page in &pages {
            let text = String::from_utf8_lossy(&page.text);
            assert!(text.contains("2026\\-01\\-31") || text.contains("2026-01-31"));
            assert_eq!(text.matches(".TH ").count(), 1, "{}", page.file);
        }
    }

    #[test]
    fn examples_are_shown_line_by_line() {
        let text = text("catamaran-demo.1");
        let (_, examples) = text.split_once(".SH EXAMPLES\n").unwrap();
        assert!(
            examples.starts_with(
                ".RS 4\n.nf\ncatamaran demo \\-\\-servers 3 \\-\\-for 30s\ncatamaran demo \\-\\-api\n.fi\n.RE\n\
                 .PP\nThen, in another terminal:\n.RS 4\n.nf\n"
            ),
            "{examples}"
        );
    }

    #[test]
    fn every_note_belongs_to_a_page() {
        let pages = pages("").unwrap();
        for note in NOTES {
            let file = format!("{}.1", note.page);
            assert!(pages.iter().any(|page| page.file == file), "{file}");
        }
        assert!(text("catamaran-run.1").contains(".SH SIGNALS"));
    }

    #[test]
    fn a_page_leads_to_those_around_it() {
        let text = text("catamaran-ctl-server.1");
        let line = "\\fBcatamaran\\-ctl\\fR(1), \\fBcatamaran\\fR(1), \\fBcatamaran.toml\\fR(5)";
        assert!(text.contains(line), "{text}");
    }
}
