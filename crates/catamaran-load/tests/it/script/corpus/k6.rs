//! A script of the corpus, played by a real k6.

use std::path::Path;
use std::process::Command;

use catamaran_testkit::TempDir;

use super::server::Server;
use super::{Case, Played, read_lines};

/// Plays a script.
pub(super) fn play(k6: &Path, case: &Case) -> Played {
    let dir = TempDir::create().unwrap();
    let server = Server::start();
    let exported = dir.path().join("summary.json");
    let samples = dir.path().join("samples.json");
    let mut command = Command::new(k6);
    command.args(["run", "--quiet", "--no-usage-report"]);
    command.arg("--summary-export").arg(&exported);
    command
        .arg("--out")
        .arg(format!("json={}", samples.display()));
    command.arg("--env").arg(format!("URL={}", server.url()));
    for (name, value) in case.cli.as_object().unwrap() {
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        command.arg(format!("--{name}")).arg(value);
    }
    command.arg(&case.path);
    command.env_remove("K6");
    command.envs(case.env.iter().cloned());
    let output = command.output().unwrap();
    let summary = std::fs::read(exported).unwrap_or_default();
    Played {
        code: u8::try_from(output.status.code().unwrap()).unwrap(),
        asked: server.asked(),
        summary: serde_json::from_slice(&summary).unwrap_or_default(),
        samples: read_lines(&samples, &server),
        stdout: server.unnamed(&String::from_utf8_lossy(&output.stdout)),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
