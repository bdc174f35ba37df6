//! `ctl events --follow`: events as the process tells them.

use super::failure::Failure;
use super::table::{Colour, coloured, without_controls};
use super::{Ctl, show};
use serde_json::Value;
use std::io::{self, Write as _};

impl Ctl {
    /// Shows events, those that are kept first, until the process or the user ends.
    pub(super) fn follow(&self) -> Result<(), Failure> {
        self.client.stream("/v1/stream?only=events", |line| {
            let Some(data) = line.strip_prefix("data: ") else {
                return Ok(());
            };
            let mut out = io::stdout().lock();
            if self.json {
                writeln!(out, "{data}")?;
            } else {
                let event: Value = serde_json::from_str(data).unwrap_or_default();
                writeln!(out, "{}", line_of(&event, self.colour))?;
            }
            out.flush()
        })
    }
}

/// An event on a line.
fn line_of(event: &Value, colour: Colour) -> String {
    let kind = without_controls(event["kind"].as_str().unwrap_or_default());
    let shown = match colour {
        Colour::Plain => kind,
        Colour::Ansi => coloured(&kind),
    };
    let facts = [show::about(event), show::message(event), show::by(event)];
    let facts = facts.iter().filter(|fact| !fact.is_empty());
    let facts: Vec<String> = facts.map(|fact| without_controls(fact)).collect();
    format!(
        "{}  {shown}  {}",
        show::time_of_day(event),
        facts.join("  ")
    )
    .trim_end()
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_is_one_line_whatever_it_holds() {
        let event = json!({
            "at": 1_700_000_000.0, "kind": "server-down", "backend": "api", "server": "b",
            "message": "status 500\nand\u{1b}[2J",
        });
        let line = line_of(&event, Colour::Plain);
        assert_eq!(line, "22:13:20  server-down  api/b  status 500; and?[2J");
    }
}
