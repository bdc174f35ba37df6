//! The clients of the cases: ask again and again, each time over a new connection, and tell the
//! longest time without an answer. They run in the namespace of their machine.

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
    let mut tries = std::thread::scope(|scope| {
        let client = || scope.spawn(|| client(address, end));
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        let all = clients
            .into_iter()
            .flat_map(|one| one.join().unwrap_or_default());
        all.collect::<Vec<_>>()
    });
    tries.sort_by_key(|(at, _)| *at);
    let answered: Vec<Instant> = tries
        .iter()
        .filter(|(_, e)| e.is_none())
        .map(|t| t.0)
        .collect();
    let (Some(last), lost) = (answered.last(), tries.len() - answered.len()) else {
        let error = tries.into_iter().find_map(|(_, error)| error);
        anyhow::bail!("never an answer: {}", error.unwrap_or_default());
    };
    let gaps = answered.windows(2).map(|two| two[1] - two[0]);
    // An outage that lasts to the end is one as well.
    let gap = gaps
        .max()
        .unwrap_or_default()
        .max(end.saturating_duration_since(*last));
    let asked = tries.len();
    shell::say(&format!(
        "asked {asked} lost {lost} gap {}",
        gap.as_millis()
    ));
    Ok(())
}

/// Asks until `end`: when each try was over, and what went wrong with it.
fn client(address: SocketAddr, end: Instant) -> Vec<(Instant, Option<String>)> {
    let mut tries = Vec::new();
    while Instant::now() < end {
        let error = ask(address).err().map(|error| format!("{error:#}"));
        tries.push((Instant::now(), error));
        std::thread::sleep(PAUSE);
    }
    tries
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
const PAUSE: Duration = Duration::from_millis(10);
/// So many that one which waits in vain for its answer hides nothing.
const CLIENTS: usize = 8;
