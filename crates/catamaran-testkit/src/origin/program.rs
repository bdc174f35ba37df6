//! An origin as a process of its own, to be killed and stopped by tests.
//!
//! A test binary plays both parts, so that no second program has to be found. It holds one hook:
//!
//! ```text
//! #[test]
//! fn origin_hook() {
//!     catamaran_testkit::OriginProcess::serve_if_asked().unwrap();
//! }
//! ```
//! and its tests call `OriginProcess::start("origin_hook", &["--body", "Coucou"])`, which runs
//! that one test in a child, where it serves until killed.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Builder, Origin, Reply, tunnel};
use crate::process::{Process, Program};

/// The variable that asks a child to serve; its lines are the arguments.
const ASKED: &str = "CATAMARAN_TESTKIT_ORIGIN";

/// How long a child may take to listen.
const PATIENCE: Duration = Duration::from_secs(60);

/// An origin in a process of its own.
#[derive(Debug)]
pub struct OriginProcess {
    /// The process: kill it, hang it, read its usage.
    pub process: Process,
    addr: SocketAddr,
    hook: String,
    arguments: Vec<String>,
}

impl OriginProcess {
    /// Starts the running test binary again with only the hook test, as an origin.
    ///
    /// Arguments: `--listen ADDR`, `--body TEXT` or `--size BYTES`, `--delay-ms N`, `--idle-ms N`,
    /// `--mode http|echo|tagged` (`tagged` sends `--size` bytes).
    pub fn start(hook: &str, arguments: &[&str]) -> Result<Self> {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        Self::start_owned(hook.to_owned(), arguments.collect())
    }

    fn start_owned(hook: String, arguments: Vec<String>) -> Result<Self> {
        let process = Program::new(std::env::current_exe()?)?
            .args([hook.as_str(), "--exact", "--nocapture"])
            .env(ASKED, &arguments.join("\n"))
            .start()?;
        process.wait_for_stdout("listening on ", PATIENCE)?;
        let stdout = process.stdout();
        let (_, rest) = stdout
            .split_once("listening on ")
            .context("the address was just seen")?;
        let addr = rest.lines().next().unwrap_or_default().parse()?;
        Ok(Self {
            process,
            addr,
            hook,
            arguments,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Starts it again on the same address after it was killed.
    pub fn restart(&mut self) -> Result<()> {
        self.process.kill()?;
        let mut arguments = self.arguments.clone();
        arguments.extend(["--listen".to_owned(), self.addr.to_string()]);
        let again = Self::start_owned(self.hook.clone(), arguments)?;
        self.process = again.process;
        Ok(())
    }

    /// In the child: serves and never returns. Elsewhere: returns at once.
    pub fn serve_if_asked() -> Result<()> {
        let Ok(arguments) = std::env::var(ASKED) else {
            return Ok(());
        };
        let origin = builder(arguments.lines().map(str::to_owned))?.start()?;
        announce(&origin);
        loop {
            std::thread::park();
        }
    }
}

#[expect(
    clippy::print_stdout,
    reason = "the parent reads the address from here"
)]
fn announce(origin: &Origin) {
    println!("listening on {}", origin.addr());
}

fn builder(mut words: impl Iterator<Item = String>) -> Result<Builder> {
    let mut listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut mode = "http".to_owned();
    let mut body = b"ok".to_vec();
    let mut delay = Duration::ZERO;
    let mut idle = None;
    while let Some(name) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("`{name}` needs a value"))?;
        match name.as_str() {
            "--listen" => listen = value.parse()?,
            "--mode" => mode = value,
            "--body" => body = value.into_bytes(),
            "--size" => body = vec![b'x'; value.parse()?],
            "--delay-ms" => delay = Duration::from_millis(value.parse()?),
            "--idle-ms" => idle = Some(Duration::from_millis(value.parse()?)),
            _ => bail!("unknown argument `{name}`"),
        }
    }
    let builder = match mode.as_str() {
        "http" => {
            let reply = Reply::new(200, body).delay(delay);
            Origin::http(move |_| reply.clone())
        }
        "echo" => Origin::tcp(tunnel::echo()),
        "tagged" => Origin::tcp(tunnel::tagged(0, body.len() as u64)),
        other => bail!("unknown mode `{other}`; there are http, echo and tagged"),
    };
    let builder = builder.at(listen).without_records();
    Ok(match idle {
        Some(idle) => builder.idle_timeout(idle),
        None => builder,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{Client, http_get};
    use crate::wire::WireError;

    const HOOK: &str = "origin::program::tests::origin_hook";

    #[test]
    fn origin_hook() {
        OriginProcess::serve_if_asked().unwrap();
    }

    #[test]
    fn a_killed_process_breaks_its_connections_and_comes_back_on_the_same_port() {
        let mut origin = OriginProcess::start(HOOK, &["--body", "Coucou"]).unwrap();
        let mut client = Client::connect(origin.addr()).unwrap();
        assert_eq!(client.get("/").unwrap().text(), "Coucou");
        origin.process.kill().unwrap();
        assert!(client.is_closed_within(PATIENCE).unwrap());
        assert!(Client::connect(origin.addr()).is_err());
        origin.restart().unwrap();
        assert_eq!(http_get(origin.addr(), "/").unwrap().text(), "Coucou");
    }

    #[test]
    fn a_hung_process_accepts_and_says_nothing_until_resumed() {
        let origin = OriginProcess::start(HOOK, &[]).unwrap();
        origin.process.hang().unwrap();
        let mut client = Client::connect(origin.addr()).unwrap();
        client.set_patience(Duration::from_millis(50)).unwrap();
        assert_eq!(client.get("/"), Err(WireError::Timeout));
        origin.process.resume().unwrap();
        client.set_patience(PATIENCE).unwrap();
        assert_eq!(client.receive_response("GET").unwrap().status, 200);
    }
}
