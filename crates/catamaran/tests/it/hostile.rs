//! What the tests of bad input share: a balancer with short timeouts, and a good client beside.

use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, Process, Program};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A running balancer with one HTTP frontend and one backend.
#[derive(Debug)]
pub(crate) struct Balancer {
    pub(crate) process: Process,
    pub(crate) addr: SocketAddr,
    /// A frontend with the limits of time as they are without a word, whatever the other one has.
    patient: SocketAddr,
}

impl Balancer {
    /// A balancer before one origin.
    pub(crate) fn before(origin: &Origin) -> Self {
        Self::with(&[origin.addr()], "", "")
    }

    /// A balancer before these servers, with more lines for its frontend and its backend.
    pub(crate) fn with(servers: &[SocketAddr], frontend: &str, backend: &str) -> Self {
        Self::start(servers, frontend, backend, |program| program)
    }

    /// The same, the program changed before it starts.
    pub(crate) fn start(
        servers: &[SocketAddr],
        frontend: &str,
        backend: &str,
        change: impl FnOnce(Program) -> Program,
    ) -> Self {
        let config = config(servers, frontend, backend);
        let program = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &config).unwrap();
        let process = change(program).start().unwrap();
        process.wait_for_stderr(" serving", PATIENCE).unwrap();
        let addr_of = |name| listens_at(&process, name);
        let (addr, patient) = (addr_of("web"), addr_of("patient"));
        Self {
            process,
            addr,
            patient,
        }
    }

    /// A connection.
    pub(crate) fn client(&self) -> Client {
        let client = Client::connect(self.addr).unwrap();
        client.set_patience(PATIENCE).unwrap();
        client
    }

    /// A connection of a client that is given all the time it needs.
    pub(crate) fn patient_client(&self) -> Client {
        Client::connect(self.patient).unwrap()
    }

    /// How long a GET on a connection of its own takes, of a client that is given its time.
    pub(crate) fn time_of_a_get(&self) -> Duration {
        let began = Instant::now();
        let response = self.patient_client().get("/good");
        let told = || self.process.stderr();
        let response = response.unwrap_or_else(|error| panic!("{error}: {}", told()));
        assert_eq!(response.status, 200, "{}{}", response.text(), told());
        began.elapsed()
    }

    /// Resident memory of all its processes, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.process.usage().unwrap().resident_bytes
    }
}

/// Where the frontend of this name listens.
fn listens_at(process: &Process, frontend: &str) -> SocketAddr {
    let log = process.stderr();
    let wanted = format!("listening frontend=\"{frontend}\" address=");
    let (_, rest) = log.split_once(&wanted).unwrap();
    rest.split_whitespace().next().unwrap().parse().unwrap()
}

/// A configuration: two workers, no limit on 5xx so that bad servers stay in use.
pub(crate) fn config(servers: &[SocketAddr], frontend: &str, backend: &str) -> String {
    let servers: Vec<_> = servers.iter().map(|one| format!("\"{one}\"")).collect();
    format!(
        "[process]\nworkers = 2\n\n[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"api\"\n{frontend}\n\
        \n[frontend.patient]\nlisten = \"127.0.0.1:0\"\nbackend = \"api\"\n\
        \n[backend.api]\nservers = [{}]\noutlier = false\n{backend}\n",
        servers.join(", ")
    )
}

/// Waits until the origin has recorded all that was sent to it before.
pub(crate) fn settled(origin: &Origin, balancer: &Balancer) {
    // What was sent before this request was sent on is with the origin's threads by now; each
    // records within moments. Requests of two looks apart would differ if one were still at it.
    balancer.client().get("/settled").unwrap();
    let mut before = usize::MAX;
    eventually("the origin's records", || {
        let now: usize = origin.recordings().iter().map(|one| one.bytes.len()).sum();
        let is_still = now == before;
        before = now;
        is_still.then_some(())
    });
}
