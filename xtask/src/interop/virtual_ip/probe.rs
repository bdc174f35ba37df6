//! The client of the cases: asks again and again, each time over a new connection, and tells the
//! longest time without an answer. It runs in the namespace of its machine.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::shell;

/// `xtask interop-probe ADDRESS SECONDS`: prints `asked N lost N gap MILLISECONDS`.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [address, seconds] = arguments else {
        anyhow::bail!("interop-probe ADDRESS SECONDS");
    };
    let address: SocketAddr = address.parse().context("an address and port")?;
    let end = Instant::now() + Duration::from_secs(seconds.parse()?);
    let (mut asked, mut lost, mut gap) = (0, 0, Duration::ZERO);
    let mut answered: Option<Instant> = None;
    let mut failure = None;
    while Instant::now() < end {
        asked += 1;
        let outcome = ask(address);
        if let (Err(error), None) = (&outcome, answered) {
            failure = Some(format!("{error:#}"));
        }
        if outcome.is_ok() {
            let now = Instant::now();
            gap = gap.max(answered.map_or(Duration::ZERO, |last| now - last));
            answered = Some(now);
        } else {
            lost += 1;
        }
        std::thread::sleep(PAUSE);
    }
    if let (Some(failure), None) = (failure, answered) {
        anyhow::bail!("never an answer: {failure}");
    }
    // An outage that lasts to the end is one as well.
    gap = gap.max(answered.map_or(Duration::MAX, |last| last.elapsed()));
    shell::say(&format!(
        "asked {asked} lost {lost} gap {}",
        gap.as_millis()
    ));
    Ok(())
}

fn ask(address: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let status = answer.lines().next().unwrap_or_default();
    anyhow::ensure!(status.contains(" 200"), "the answer is `{status}`");
    Ok(())
}

/// Short, so that a lost try costs little of what is measured.
const CONNECT: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_millis(2);
