//! A balancer under test: the real program with a configuration, on ports that the kernel chose.

use crate::{PATIENCE, eventually, in_time};
use catamaran_testkit::{Client, Process, Program, Signal};
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::LazyLock;

/// A balancer that serves.
pub(crate) struct Balancer {
    pub(crate) process: Process,
}

impl Balancer {
    /// Starts with this configuration, whose frontends listen on port 0, and waits until it serves.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(config: &str, more: &[&str]) -> Self {
        let process = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), config)
            .unwrap()
            .args(more.iter().copied())
            .start()
            .unwrap();
        process.wait_for_stderr(" serving", PATIENCE).unwrap();
        Self { process }
    }

    /// An HTTP frontend `web` before a backend `app` with these servers. `frontend` and `backend`
    /// are further lines of each.
    pub(crate) fn http(servers: &[SocketAddr], frontend: &str, backend: &str) -> Self {
        Self::start(&config(2, servers, frontend, backend))
    }

    /// The same with one worker: every request finds the idle connections of the one before.
    pub(crate) fn one_worker(servers: &[SocketAddr], frontend: &str, backend: &str) -> Self {
        Self::start(&config(1, servers, frontend, backend))
    }

    /// The same for TCP.
    pub(crate) fn tcp(servers: &[SocketAddr], frontend: &str, backend: &str) -> Self {
        let frontend = format!("protocol = \"tcp\"\n{frontend}");
        Self::start(&config(2, servers, &frontend, backend))
    }

    /// Puts `config` in the place of the file, and waits until so many reloads were put in place.
    pub(crate) fn reload(&self, config: &str, count: usize) {
        let path = self.process.config_path();
        // As editors do it: a reader sees the old file or the new one.
        let new = path.with_extension("new");
        std::fs::write(&new, config).unwrap();
        std::fs::rename(new, path).unwrap();
        self.process.signal(Signal::HUP).unwrap();
        let is_done = || {
            let log = self.process.stderr();
            assert!(!log.contains("reload failed"), "{log}");
            (log.matches("reloaded changes=").count() >= count).then_some(())
        };
        if in_time(is_done).is_none() {
            panic!("reload {count} did not come: {}", self.process.stderr());
        }
    }

    /// Where the frontend of this name listens.
    pub(crate) fn addr_of(&self, frontend: &str) -> SocketAddr {
        let wanted = format!("listening frontend=\"{frontend}\" address=");
        eventually("the address of a frontend", || {
            let log = self.process.stderr();
            let (_, rest) = log.split_once(&wanted)?;
            rest.split_whitespace().next()?.parse().ok()
        })
    }

    /// Where the frontend `web` listens.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr_of("web")
    }

    /// A new connection to the frontend `web`.
    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.addr()).unwrap()
    }
}

fn config(workers: u32, servers: &[SocketAddr], frontend: &str, backend: &str) -> String {
    format!(
        "[process]\nworkers = {workers}\n[backend.app]\nservers = {}\n{backend}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n{frontend}\n",
        quoted(servers)
    )
}

/// A list of strings as TOML writes it.
pub(crate) fn quoted<T: Display>(items: &[T]) -> String {
    let items: Vec<_> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}

/// `len` bytes in which a lost, repeated or misplaced piece shows: the pattern's length is a prime
/// near 1 MiB, so that no buffer or chunk size divides it.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = || {
            // Xorshift: cheap, and without short periods in any byte.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[0]
        };
        (0..1_048_573).map(|_| next()).collect()
    });
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let piece = BLOCK.len().min(len - bytes.len());
        bytes.extend_from_slice(&BLOCK[..piece]);
    }
    bytes
}
