//! The clients of the failover: short requests at a fixed rate, whatever became of the earlier ones.
//!
//! Each request has a connection of its own, and 250 ms from connect to the last byte; nothing is
//! tried again. It runs in the namespace of the client and tells how each request went.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::bench::poller::{Interest, Poller};
use crate::shell;

/// What to do, as JSON on the command line of `xtask interop-load`.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Order {
    /// Where the requests go in turn.
    pub(super) targets: Vec<SocketAddr>,
    /// Requests per second.
    pub(super) rate: u32,
    /// How long.
    pub(super) seconds: u32,
    /// Whether the neighbour table forgets the targets each second.
    pub(super) flushes: bool,
}

/// How it went, as JSON.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Outcome {
    /// When the first request was due: microseconds since 1970.
    pub(super) start_micros: u64,
    /// For each request when it was due, in microseconds from the start, and whether it was answered.
    pub(super) requests: Vec<(u64, bool)>,
}

impl Outcome {
    /// How long after `event` the last request was begun that failed; nothing if none did. `None` if
    /// less than [`STEADY`] requests succeeded after it: it is not over.
    pub(super) fn recovery(&self, event: SystemTime) -> Option<Duration> {
        let event = self.since_start(event);
        let after: Vec<&(u64, bool)> = self.requests.iter().filter(|r| r.0 >= event).collect();
        let Some(last) = after.iter().rposition(|request| !request.1) else {
            return Some(Duration::ZERO);
        };
        let is_over = after.len() - last > STEADY;
        is_over.then(|| Duration::from_micros(after[last].0 - event))
    }

    /// How many requests failed of those that were under way at `event` or came later.
    pub(super) fn lost(&self, event: SystemTime) -> usize {
        let from = self.since_start(event).saturating_sub(micros(PATIENCE));
        let failed = |r: &&(u64, bool)| r.0 >= from && !r.1;
        self.requests.iter().filter(failed).count()
    }

    fn since_start(&self, at: SystemTime) -> u64 {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        micros(at).saturating_sub(self.start_micros)
    }
}

/// The load part of this program.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [order] = arguments else {
        anyhow::bail!("interop-load takes one order as JSON");
    };
    let outcome = Load::new(serde_json::from_str(order)?)?.run()?;
    shell::say(&serde_json::to_string(&outcome)?);
    Ok(())
}

struct Load {
    order: Order,
    poller: Poller,
    start: Instant,
    requests: Vec<(u64, bool)>,
    /// The connection of each request that is under way.
    connections: Vec<Option<Connection>>,
    /// Requests under way, the oldest first.
    waiting: VecDeque<usize>,
}

struct Connection {
    socket: Socket,
    is_asked: bool,
    answer: Vec<u8>,
}

impl Load {
    fn new(order: Order) -> Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            start: Instant::now(),
            requests: Vec::new(),
            connections: Vec::new(),
            waiting: VecDeque::new(),
            order,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        let start_micros = micros(SystemTime::now().duration_since(UNIX_EPOCH)?);
        self.start = Instant::now();
        let end = Duration::from_secs(self.order.seconds.into());
        let count = usize::try_from(self.order.rate * self.order.seconds)?;
        let mut flush_at = Duration::ZERO;
        let mut ready = Vec::new();
        loop {
            let now = self.start.elapsed();
            if self.order.flushes && now >= flush_at && now < end {
                self.flush_neighbours();
                flush_at += Duration::from_secs(1);
            }
            while self.requests.len() < count && self.due(self.requests.len()) <= now {
                self.begin();
            }
            self.give_up(now);
            if self.requests.len() == count && self.waiting.is_empty() {
                break;
            }
            let next = self.due(self.requests.len()).saturating_sub(now);
            self.poller.wait(next.min(TICK), &mut ready)?;
            for key in ready.clone() {
                self.go_on(key);
            }
        }
        Ok(Outcome {
            start_micros,
            requests: self.requests,
        })
    }

    fn due(&self, index: usize) -> Duration {
        Duration::from_secs_f64(index as f64 / f64::from(self.order.rate))
    }

    fn begin(&mut self) {
        let index = self.requests.len();
        let target = self.order.targets[index % self.order.targets.len()];
        self.requests.push((micros(self.due(index)), false));
        let connection = connect(target).and_then(|socket| {
            self.poller.add(&socket, index, Interest::ReadWrite)?;
            Ok(Connection {
                socket,
                is_asked: false,
                answer: Vec::new(),
            })
        });
        // One that cannot even be begun has failed.
        self.connections.push(connection.ok());
        self.waiting.push_back(index);
    }

    /// Ends what has had its time, and forgets what is over.
    fn give_up(&mut self, now: Duration) {
        while let Some(&oldest) = self.waiting.front() {
            let is_over = self.connections[oldest].is_none();
            if !is_over && self.due(oldest) + PATIENCE > now {
                return;
            }
            self.connections[oldest] = None;
            self.waiting.pop_front();
        }
    }

    fn go_on(&mut self, index: usize) {
        let Some(connection) = &mut self.connections[index] else {
            return;
        };
        let is_late =
            self.start.elapsed() > Duration::from_micros(self.requests[index].0) + PATIENCE;
        match connection.go_on() {
            _ if is_late => self.connections[index] = None,
            Ok(None) => {
                if connection.is_asked {
                    let socket = &connection.socket;
                    // A socket that is only written to once need not be watched for it.
                    let _ = self.poller.modify(socket, index, Interest::Read);
                }
            }
            Ok(Some(is_right)) => {
                self.requests[index].1 = is_right;
                self.connections[index] = None;
            }
            Err(_) => self.connections[index] = None,
        }
    }

    fn flush_neighbours(&self) {
        for target in &self.order.targets {
            let ip = target.ip().to_string();
            let mut command = Command::new("ip");
            command.args(["neigh", "flush", "to", &ip, "dev", "eth0"]);
            // It says so when there was nothing to flush.
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

impl Connection {
    /// Writes and reads what is possible; whether the answer is right, once it is whole.
    fn go_on(&mut self) -> Result<Option<bool>> {
        if !self.is_asked {
            if let Some(error) = self.socket.take_error()? {
                return Err(error.into());
            }
            match self.socket.write(REQUEST) {
                Ok(len) if len == REQUEST.len() => self.is_asked = true,
                Ok(_) => anyhow::bail!("cut off"),
                Err(error) if is_early(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
        let mut buf = [0; 2048];
        loop {
            match self.socket.read(&mut buf) {
                Ok(0) => return Ok(Some(self.answer.starts_with(RIGHT))),
                Ok(len) => self.answer.extend(&buf[..len]),
                Err(error) if is_early(&error) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn is_early(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock | ErrorKind::NotConnected
    )
}

fn connect(target: SocketAddr) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Closed with a reset: no port waits a minute to be used again.
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&target.into()) {
        Err(error)
            if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) =>
        {
            Err(error).context("connect")
        }
        _ => Ok(socket),
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
const RIGHT: &[u8] = b"HTTP/1.1 200";
/// What a request may take.
const PATIENCE: Duration = Duration::from_millis(250);
/// How often requests that had their time are looked for.
const TICK: Duration = Duration::from_millis(5);
/// So many requests that succeed say that it is over: 50 ms of them.
const STEADY: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovery_is_the_time_until_the_last_failure() {
        let requests = (0..1000).map(|at| {
            let is_lost = (300..400).contains(&at) || at == 420;
            (at * 1000, !is_lost)
        });
        let outcome = Outcome {
            start_micros: 5_000_000,
            requests: requests.collect(),
        };
        let event = UNIX_EPOCH + Duration::from_micros(5_300_000);
        assert_eq!(outcome.recovery(event), Some(Duration::from_millis(120)));
        assert_eq!(outcome.lost(event), 101);
        let later = UNIX_EPOCH + Duration::from_millis(5500);
        assert_eq!(outcome.recovery(later), Some(Duration::ZERO));
        let cut = Outcome {
            requests: outcome.requests[..450].to_vec(),
            ..outcome
        };
        assert_eq!(cut.recovery(event), None);
    }
}
