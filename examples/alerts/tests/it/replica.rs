//! The `alerts` program as a process of a test.

use std::net::SocketAddr;
use std::time::Duration;

use catamaran_testkit::{Process, Program};

/// An `alerts` process and where it listens.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Replica {
    /// Starts `alerts` with these arguments, on a port of the kernel's choice if they say port 0.
    pub(crate) fn start(args: &[&str]) -> Self {
        let process = Program::new(env!("CARGO_BIN_EXE_alerts")).unwrap();
        let process = process.args(args.iter().copied()).start().unwrap();
        process.wait_for_stderr(READY, PATIENCE).unwrap();
        let log = process.stderr();
        let line = log.split_once(READY).unwrap().1.lines().next().unwrap();
        let address = line.split(',').next().unwrap().parse().unwrap();
        Self { process, address }
    }

    /// Where a sink shows its mails.
    pub(crate) fn mails_url(&self) -> String {
        let log = self.process.stderr();
        let url = log.split_once("mails on ").unwrap().1;
        url.lines().next().unwrap().to_owned()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

/// Begins the line that says where it listens.
const READY: &str = "alerts: ready on ";
/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
