//! The fleet on etcd: what this node sees of it, and configurations put there.

use super::args::EtcdAction;
use super::failure::Failure;
use super::table::Heading::{Left, Right};
use super::table::{Table, without_controls};
use super::{Ctl, Judged, count_changes, read, show, told, unix_now};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

impl Ctl {
    pub(super) fn etcd(&self, action: Option<EtcdAction>) -> Result<(), Failure> {
        match action {
            None | Some(EtcdAction::Status) => {
                let status = self.client.get("/v1/etcd")?;
                if self.json {
                    return self.print_json(&status);
                }
                let mut out = io::stdout().lock();
                write!(out, "{}", lines(&status))?;
                if status["servers"] != json!([]) {
                    writeln!(out)?;
                    servers(&status["servers"]).print(&mut out, self.colour)?;
                }
                Ok(())
            }
            Some(EtcdAction::Accept) => {
                let accepted = self
                    .client
                    .change("POST", "/v1/etcd/accept", Some(&json!({})))?;
                self.say(
                    &accepted,
                    "accepted: what this cluster says counts from now on",
                )
            }
        }
    }

    /// Tells what a file would change as a configuration of the fleet.
    pub(super) fn diff_etcd(&self, file: &Path, node: Option<&str>) -> Result<ExitCode, Failure> {
        let body = json!({ "text": read(file)?, "node": node });
        let verdict = self
            .client
            .change("POST", "/v1/etcd/config/diff", Some(&body))?;
        self.show_verdict(file, &verdict, Judged::Compared)
    }

    /// Puts a file into etcd.
    pub(super) fn put(
        &self,
        file: &Path,
        node: Option<&str>,
        note: &str,
    ) -> Result<ExitCode, Failure> {
        let body = json!({ "text": read(file)?, "node": node, "note": note });
        let put = self.client.change("PUT", "/v1/etcd/config", Some(&body))?;
        self.was_put(&put)
    }

    pub(super) fn rollback(&self, revision: u64) -> Result<ExitCode, Failure> {
        let body = json!({ "revision": revision });
        let put = self
            .client
            .change("POST", "/v1/etcd/config/rollback", Some(&body))?;
        self.was_put(&put)
    }

    pub(super) fn history(&self, revision: Option<u64>) -> Result<(), Failure> {
        let Some(revision) = revision else {
            let entries = self.client.get("/v1/etcd/history")?;
            return self.show(&entries, || history(&entries));
        };
        let entry = self.client.get(&format!("/v1/etcd/history/{revision}"))?;
        match entry["text"].as_str() {
            Some(text) if !self.json => io::stdout().write_all(text.as_bytes())?,
            _ => self.print_json(&entry)?,
        }
        Ok(())
    }

    /// Tells what became of a text that was put.
    fn was_put(&self, put: &Value) -> Result<ExitCode, Failure> {
        let failed = put["error"].as_str();
        if self.json {
            self.print_json(put)?;
        } else {
            told(put)?;
            let mut out = io::stdout().lock();
            if count_changes(put) > 0 {
                show::changes(&put["changes"]).print(&mut out, self.colour)?;
            }
            let revision = &put["revision"];
            let what = match failed {
                Some(error) => format!("does not serve here:\n{}", without_controls(error)),
                None if put["held"] == true => {
                    "waits: the cluster is not the one that is known; see `catamaran ctl etcd`"
                        .to_owned()
                }
                None if put["serves"] == true => "serves here".to_owned(),
                None => "is on its way to its node".to_owned(),
            };
            writeln!(out, "revision {revision} is in etcd; it {what}")?;
        }
        Ok(match failed {
            None => ExitCode::SUCCESS,
            Some(_) => ExitCode::FAILURE,
        })
    }
}

/// What is known of the store.
fn lines(status: &Value) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => without_controls(text),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let mut lines = vec![
        ("state", text(&status["state"])),
        ("node", text(&status["node"])),
        ("prefix", text(&status["prefix"])),
        ("endpoint", text(&status["endpoint"])),
        ("cluster", text(&status["cluster_id"])),
        ("revision", text(&status["revision"])),
        ("config", text(&status["config"]["fleet_revision"])),
        ("node config", text(&status["config"]["node_revision"])),
    ];
    let foreign = &status["foreign"];
    if !foreign.is_null() {
        let (why, id) = (text(&foreign["message"]), text(&foreign["cluster_id"]));
        let revision = text(&foreign["revision"]);
        lines.push((
            "foreign",
            format!("cluster {id}, revision {revision}: {why}"),
        ));
        lines.push(("waiting", text(&foreign["waiting"])));
        lines.push((
            "remedy",
            "`catamaran ctl etcd accept` if this is meant to be so".to_owned(),
        ));
    }
    for (name, value) in [
        ("error", &status["last_error"]),
        ("config error", &status["config"]["error"]),
        ("state error", &status["state_error"]),
    ] {
        if !value.is_null() {
            lines.push((name, text(value)));
        }
    }
    let lines = lines
        .into_iter()
        .map(|(name, value)| format!("{name:12} {value}\n"));
    lines.collect()
}

fn servers(all: &Value) -> Table {
    let mut table = Table::new(&[
        Left("SERVICE"),
        Left("NAME"),
        Left("ADDRESS"),
        Right("WEIGHT"),
        Left("STATE"),
    ]);
    for server in all.as_array().into_iter().flatten() {
        let text = |key: &str| server[key].as_str().unwrap_or_default().to_owned();
        let weight = server["weight"]
            .as_u64()
            .map_or_else(|| "-".to_owned(), |w| w.to_string());
        let state = match server["registered"] == true {
            true => "registered",
            false => "missing",
        };
        table.row([
            text("service"),
            text("name"),
            text("address"),
            weight,
            state.to_owned(),
        ]);
    }
    table
}

fn history(entries: &Value) -> Table {
    let mut table = Table::new(&[
        Right("REVISION"),
        Right("AGO"),
        Left("FOR"),
        Right("BYTES"),
        Left("BY"),
        Left("NOTE"),
    ]);
    let now = unix_now();
    for entry in entries.as_array().into_iter().flatten() {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let number = |key: &str| entry[key].as_u64().unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century fit")]
        let ago = (now - number("at") as f64).max(0.0);
        let whose = entry["node"].as_str().unwrap_or("all").to_owned();
        table.row([
            number("revision").to_string(),
            show::duration(&json!(ago)),
            whose,
            number("bytes").to_string(),
            text("by"),
            text("note"),
        ]);
    }
    table
}
