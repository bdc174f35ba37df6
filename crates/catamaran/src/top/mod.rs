//! `catamaran top`: a live view of a balancer in the terminal, over its admin API.
//!
//! ```text
//!  keys, sizes ──┐
//!  states ───────┼──> Message ──> update(model) ──> view on the screen
//!  signals ──────┘                   │
//!        ^                           └──> Command ──> a change over the API
//!        └─────────────────────────────────────────────────┘
//! ```
//! `model`, `update` and `view` do no I/O; the threads of `outside` feed them.

mod model;
mod outside;
#[cfg(test)]
mod sample;
mod update;
mod view;

use crate::args::TopArgs;
use crate::ctl::{Client, Failure};
use model::Model;
use outside::Outside;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use update::{Command, Message, update};
use view::Palette;

/// Shows the balancer until the user has seen enough.
pub(crate) fn run(args: &TopArgs) -> ExitCode {
    match show(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Nobody is left to tell when standard error is closed.
            let _ = writeln!(io::stderr(), "catamaran: {failure}");
            failure.exit_code()
        }
    }
}

fn show(args: &TopArgs) -> Result<(), Failure> {
    let client = Client::open(&args.door)?;
    let mut model = Model::default();
    // Whether anybody answers, and lets us in, is told before the screen is taken.
    model.take(&client.get("/v1/state")?);
    if args.once {
        return print_once(&mut model, args.width, args.height);
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Failure::Other(anyhow::anyhow!(
            "`top` needs a terminal; `--once` prints one screen, `catamaran ctl status` the numbers"
        )));
    }
    let palette = Palette::of_environment();
    // Restores the screen should we panic, too.
    let mut terminal = ratatui::try_init()?;
    let outside = Outside::start(Arc::new(client), args.interval)?;
    let ended = turn(&mut terminal, &mut model, &outside, palette);
    ratatui::restore();
    Ok(ended?)
}

/// Draws, waits for what comes, takes it in; until the end is asked for.
fn turn(
    terminal: &mut ratatui::DefaultTerminal,
    model: &mut Model,
    outside: &Outside,
    palette: Palette,
) -> io::Result<()> {
    loop {
        terminal.draw(|frame| view::draw(frame, model, palette))?;
        let mut next = Some(outside.wait());
        // What has piled up is taken in before it is drawn again.
        while let Some(message) = next {
            // Keys of one who goes on answer what was told.
            if matches!(message, Message::Key(_)) {
                model.note = None;
            }
            match update(model, message) {
                Some(Command::Quit) => return Ok(()),
                Some(Command::Change(change)) => outside.change(change),
                None => {}
            }
            next = outside.pending();
        }
    }
}

/// Prints one screen as text.
fn print_once(model: &mut Model, width: u16, height: u16) -> Result<(), Failure> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| view::draw(frame, model, Palette::Plain));
    let buffer = terminal.backend().buffer();
    let mut out = io::stdout().lock();
    for row in buffer.content.chunks(usize::from(width)) {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
