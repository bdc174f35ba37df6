//! `ctl peers` and `ctl config push`: the cluster.

use super::table::without_controls;
use super::{Ctl, Failure, show};
use serde_json::{Value, json};
use std::io::{self, Write as _};
use std::process::ExitCode;

impl Ctl {
    pub(super) fn peers(&self) -> Result<(), Failure> {
        let cluster = self.client.get("/v1/peers")?;
        if self.json {
            return self.print_json(&cluster);
        }
        let mut out = io::stdout().lock();
        writeln!(out, "{}", show::cluster_line(&cluster))?;
        show::peers(&cluster["peers"]).print(&mut out, self.colour)?;
        Ok(())
    }

    /// Has one peer, or all, serve this node's configuration.
    pub(super) fn push(&self, peer: Option<&str>) -> Result<ExitCode, Failure> {
        let body = json!({ "peer": peer });
        let pushed = self.client.change("POST", "/v1/config/push", Some(&body))?;
        let each = || pushed["peers"].as_array().into_iter().flatten();
        if self.json {
            self.print_json(&pushed)?;
        }
        for one in each().filter(|_| !self.json) {
            let word = match one["applied"] == true {
                true => "in place",
                false => "not in place",
            };
            let text = |value: &Value| without_controls(value.as_str().unwrap_or_default());
            let (name, message) = (text(&one["peer"]), text(&one["message"]));
            writeln!(io::stdout(), "{name}: {word}: {message}")?;
        }
        Ok(match each().all(|one| one["applied"] == true) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }
}
