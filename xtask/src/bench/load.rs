//! The load of a benchmark: one epoll loop, closed (each connection sends when it has its answer)
//! or open (requests fall due at a fixed rate).
//!
//! It reads the proxy's CPU time itself at both ends of the measured window, so that nothing
//! but the window counts. Several proxies take turns: each has its connections all the time, and
//! one of them at a time gets load.

use std::cmp::Ordering;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catamaran_testkit::{Usage, descendants};
use rustix::net::{RecvFlags, recv};
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use super::cores::CoreTime;
use super::poller::{Interest, Poller};

/// How connections are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Pattern {
    /// HTTP requests one after another on kept connections.
    KeepAlive,
    /// A connection for each HTTP request.
    Close,
    /// Like `KeepAlive`, but each connection reads a little at fixed times only.
    SlowReaders,
    /// One request on each connection, then silence.
    Idle,
    /// HTTP requests due at a fixed rate, over kept connections.
    Open,
    /// A message sent and received back, over and over.
    PingPong,
    /// Bytes received without end.
    Bulk,
}

/// A proxy that gets load.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) addr: SocketAddr,
    /// The proxy's process; its descendants count too.
    pub(super) pid: u32,
}

/// The order for one run, passed as JSON on the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub(super) targets: Vec<Target>,
    pub(super) pattern: Pattern,
    /// With each target.
    pub(super) connections: usize,
    /// Requests per second, for `Open`.
    pub(super) rate: f64,
    pub(super) warmup: Duration,
    pub(super) window: Duration,
    /// How many windows each target gets, in turns.
    pub(super) rounds: usize,
}

/// What one window gave, printed as JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) requests: u64,
    pub(super) bytes: u64,
    pub(super) errors: u64,
    pub(super) seconds: f64,
    pub(super) user_seconds: f64,
    pub(super) system_seconds: f64,
    /// By the scheduler's count; user and system together.
    pub(super) cpu_seconds: f64,
    /// Time that the host gave the machine's cores to others, of all their time; 0 to 1.
    pub(super) stolen: f64,
    /// Growth of the resident memory over the window.
    pub(super) resident_bytes: u64,
    /// Latency in seconds that 50 % and 99 % did not exceed, for `Open`.
    pub(super) p50: f64,
    pub(super) p99: f64,
}

/// Bytes that slow readers take at a time, and how often.
const SLOW_PIECE: usize = 64 * 1024;
const SLOW_EVERY: Duration = Duration::from_millis(200);

/// How long a slow reader takes for a body of 1 MiB, and so the time over which they start.
const SLOW_CYCLE: Duration = Duration::from_millis(3200);

/// Bytes that one system call may drop, and that one may copy.
const DISCARD: usize = 1024 * 1024;
const READ: usize = 64 * 1024;

/// Size of a ping-pong message.
const PING: usize = 64;

const KEPT: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\
    Accept: */*\r\n\r\n";
const CLOSED: &[u8] = b"GET / HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\n\
    Accept: */*\r\nConnection: close\r\n\r\n";

/// How long a target has load before its window, when others had it before.
const SETTLE: Duration = Duration::from_millis(50);

/// Makes the load that the order asks for and returns what it gave: for each round, by target.
pub(super) fn run(order: &Order) -> Result<Vec<Vec<Outcome>>> {
    let mut loads = Vec::new();
    for target in &order.targets {
        let mut load = Load::new(order, *target)?;
        if order.pattern == Pattern::Idle {
            return Ok(vec![vec![load.idle()?]]);
        }
        load.open_connections()?;
        load.spin(order.warmup)?;
        loads.push(load);
    }
    let count = loads.len();
    let mut rounds = Vec::new();
    for round in 0..order.rounds {
        let mut outcomes = vec![Outcome::default(); count];
        // Whoever begins has another before it each time.
        for at in (0..count).map(|turn| (round + turn) % count) {
            let load = &mut loads[at];
            if count > 1 {
                load.spin(SETTLE)?;
            }
            let before = load.snapshot()?;
            load.latencies.clear();
            load.spin(order.window)?;
            outcomes[at] = load.outcome(&before)?;
        }
        rounds.push(outcomes);
    }
    Ok(rounds)
}

struct Load {
    order: Order,
    target: Target,
    poller: Poller,
    connections: Vec<Connection>,
    buf: Vec<u8>,
    requests: u64,
    bytes: u64,
    errors: u64,
    /// Open loop: when the requests that wait for a connection were due.
    due: VecDeque<Instant>,
    /// Open loop: connections without a request.
    idle: Vec<usize>,
    /// Open loop: seconds from due to answered.
    latencies: Vec<f32>,
    /// Slow readers: how often a connection has been looked at, over all of them.
    visits: usize,
}

struct Connection {
    stream: TcpStream,
    /// The head received so far, while it is not whole.
    head: Vec<u8>,
    /// Bytes of the body still to come; `None` while the head is not whole.
    left: Option<usize>,
    /// The answer is whole, only the end of the stream is missing.
    is_closing: bool,
    due: Instant,
}

struct Snapshot {
    at: Instant,
    usage: Usage,
    cores: CoreTime,
    requests: u64,
    bytes: u64,
    errors: u64,
}

enum Progress {
    /// More must come.
    Partial,
    /// An answer is whole.
    Whole,
    /// The connection has ended in order after its answer.
    Closed,
}

impl Load {
    fn new(order: &Order, target: Target) -> Result<Self> {
        Ok(Self {
            poller: Poller::new()?,
            connections: Vec::new(),
            buf: vec![0; DISCARD],
            requests: 0,
            bytes: 0,
            errors: 0,
            due: VecDeque::new(),
            idle: Vec::new(),
            latencies: Vec::new(),
            visits: 0,
            order: order.clone(),
            target,
        })
    }

    fn open_connections(&mut self) -> Result<()> {
        for key in 0..self.order.connections {
            let connection = self.connect(key)?;
            self.connections.push(connection);
            match self.order.pattern {
                Pattern::Open => self.idle.push(key),
                // They begin in `spin_slowly`.
                Pattern::SlowReaders => {}
                _ => self.send(key)?,
            }
        }
        Ok(())
    }

    fn connect(&self, key: usize) -> Result<Connection> {
        let stream = TcpStream::connect(self.target.addr)
            .with_context(|| format!("connection {key} to {}", self.target.addr))?;
        if self.order.pattern == Pattern::SlowReaders {
            SockRef::from(&stream).set_recv_buffer_size(2 * SLOW_PIECE)?;
        } else {
            self.poller.add(&stream, key, Interest::Read)?;
        }
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            head: Vec::new(),
            left: None,
            is_closing: false,
            due: Instant::now(),
        })
    }

    fn send(&mut self, key: usize) -> io::Result<()> {
        let request = match self.order.pattern {
            Pattern::Close => CLOSED,
            Pattern::PingPong => &[b'p'; PING],
            Pattern::Bulk => b"s",
            Pattern::KeepAlive | Pattern::SlowReaders | Pattern::Idle | Pattern::Open => KEPT,
        };
        // A request is far below a socket's buffer, which is empty between requests.
        self.connections[key].stream.write_all(request)
    }

    /// Makes load for this long.
    fn spin(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        match self.order.pattern {
            Pattern::SlowReaders => self.spin_slowly(end),
            Pattern::Open => self.spin_open(end),
            _ => {
                let mut ready = Vec::new();
                while Instant::now() < end {
                    self.poller.wait(Duration::from_millis(100), &mut ready)?;
                    for &key in &ready {
                        self.advance(key)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// Visits the connections in turn; a connection sends its first request at a visit that
    /// depends on its number, so that at any time the bodies are at all stages.
    fn spin_slowly(&mut self, end: Instant) -> Result<()> {
        let count = self.connections.len();
        let pause = SLOW_EVERY / u32::try_from(count)?;
        let visits = SLOW_CYCLE.as_millis() / SLOW_EVERY.as_millis();
        let mut next = Instant::now();
        while next < end {
            let now = Instant::now();
            // Sleeping for each of thousands of readers would cost more than reading.
            if next > now + Duration::from_millis(5) {
                thread::sleep(next - now);
            }
            next += pause;
            let (round, key) = (self.visits / count, self.visits % count);
            self.visits += 1;
            match round.cmp(&(key % usize::try_from(visits)?)) {
                Ordering::Less => {}
                Ordering::Equal => self.send(key)?,
                Ordering::Greater => self.advance(key)?,
            }
        }
        Ok(())
    }

    fn spin_open(&mut self, end: Instant) -> Result<()> {
        let gap = Duration::from_secs_f64(1.0 / self.order.rate);
        let mut next = Instant::now();
        let mut ready = Vec::new();
        while next < end {
            let now = Instant::now();
            while next <= now {
                self.due.push_back(next);
                next += gap;
            }
            self.begin_due()?;
            let wait = next.saturating_duration_since(Instant::now());
            self.poller.wait(wait, &mut ready)?;
            for &key in &ready {
                self.advance(key)?;
            }
        }
        Ok(())
    }

    fn begin_due(&mut self) -> io::Result<()> {
        while let Some(&due) = self.due.front() {
            let Some(key) = self.idle.pop() else { break };
            self.due.pop_front();
            self.connections[key].due = due;
            self.send(key)?;
        }
        Ok(())
    }

    /// Reads what there is on a connection and does what follows from it.
    fn advance(&mut self, key: usize) -> Result<()> {
        let pattern = self.order.pattern;
        let connection = &mut self.connections[key];
        let progress = connection.read(pattern, &mut self.buf, &mut self.bytes);
        match progress {
            Ok(Progress::Partial) => return Ok(()),
            Ok(Progress::Whole) => {
                self.requests += 1;
                if pattern == Pattern::Open {
                    let latency = self.connections[key].due.elapsed();
                    self.latencies.push(latency.as_secs_f32());
                    self.idle.push(key);
                    self.begin_due()?;
                } else if pattern != Pattern::Idle {
                    self.send(key)?;
                }
                return Ok(());
            }
            Ok(Progress::Closed) => self.requests += 1,
            Err(_) => {
                self.errors += 1;
                if self.errors > 10_000 {
                    bail!("more than 10000 errors");
                }
            }
        }
        self.connections[key] = self.connect(key)?;
        self.send(key)?;
        Ok(())
    }

    /// Opens the connections one by one, each with one request, and measures the memory.
    fn idle(&mut self) -> Result<Outcome> {
        // The same number of short connections first, so that pools and heaps have their size.
        let all = self.order.connections;
        self.order.connections = 64;
        self.order.pattern = Pattern::KeepAlive;
        self.open_connections()?;
        self.spin(self.order.warmup)?;
        self.connections.clear();
        thread::sleep(Duration::from_millis(500));
        self.order.pattern = Pattern::Idle;
        let before = self.snapshot()?;
        let mut ready = Vec::new();
        for key in 0..all {
            let connection = self.connect(key)?;
            self.connections.push(connection);
            self.send(key)?;
            let wanted = before.requests + key as u64 + 1;
            let patience = Instant::now() + Duration::from_secs(5);
            while self.requests < wanted {
                self.poller.wait(Duration::from_millis(100), &mut ready)?;
                for &key in &ready {
                    self.advance(key)?;
                }
                if Instant::now() > patience {
                    bail!("connection {key} got no answer");
                }
            }
        }
        thread::sleep(Duration::from_secs(1));
        self.outcome(&before)
    }

    fn snapshot(&self) -> Result<Snapshot> {
        let mut usage = Usage::of(self.target.pid)?;
        for pid in descendants(self.target.pid) {
            usage += Usage::of(pid)?;
        }
        Ok(Snapshot {
            at: Instant::now(),
            usage,
            cores: CoreTime::now()?,
            requests: self.requests,
            bytes: self.bytes,
            errors: self.errors,
        })
    }

    fn outcome(&mut self, before: &Snapshot) -> Result<Outcome> {
        let after = self.snapshot()?;
        let used = after.usage - before.usage;
        self.latencies.sort_unstable_by(f32::total_cmp);
        let quantile = |percent: usize| {
            let index = self.latencies.len() * percent / 100;
            self.latencies.get(index).copied().map_or(0.0, f64::from)
        };
        Ok(Outcome {
            requests: after.requests - before.requests,
            bytes: after.bytes - before.bytes,
            errors: after.errors - before.errors,
            seconds: (after.at - before.at).as_secs_f64(),
            user_seconds: used.user.as_secs_f64(),
            system_seconds: used.system.as_secs_f64(),
            cpu_seconds: used.on_cpu.as_secs_f64(),
            stolen: after.cores.stolen_since(&before.cores),
            resident_bytes: used.resident_bytes,
            p50: quantile(50),
            p99: quantile(99),
        })
    }
}

impl Connection {
    fn read(&mut self, pattern: Pattern, buf: &mut [u8], bytes: &mut u64) -> io::Result<Progress> {
        match pattern {
            Pattern::Bulk => self.discard(buf, bytes).map(|_| Progress::Partial),
            Pattern::PingPong => {
                let len = self.receive(buf, bytes)?;
                let left = self.left.unwrap_or(PING).saturating_sub(len);
                self.left = (left > 0).then_some(left);
                Ok(if left > 0 {
                    Progress::Partial
                } else {
                    Progress::Whole
                })
            }
            _ if self.is_closing => match self.stream.read(buf) {
                Ok(0) => Ok(Progress::Closed),
                Ok(_) => Err(io::ErrorKind::InvalidData.into()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::Partial),
                Err(error) => Err(error),
            },
            _ => self.read_http(pattern, buf, bytes),
        }
    }

    fn read_http(
        &mut self,
        pattern: Pattern,
        buf: &mut [u8],
        bytes: &mut u64,
    ) -> io::Result<Progress> {
        let limit = if pattern == Pattern::SlowReaders {
            SLOW_PIECE
        } else {
            DISCARD
        };
        let left = match self.left {
            // The content of large bodies is of no interest: it is dropped without a copy.
            Some(left) => left - self.discard(&mut buf[..left.min(limit)], bytes)?,
            None => {
                let len = self.receive(buf, bytes)?;
                self.head.extend_from_slice(&buf[..len]);
                let Some((head_len, body_len)) = framing(&self.head)? else {
                    return Ok(Progress::Partial);
                };
                let have = self.head.len() - head_len;
                self.head.clear();
                body_len
                    .checked_sub(have)
                    .ok_or(io::ErrorKind::InvalidData)?
            }
        };
        self.left = Some(left);
        if left > 0 {
            return Ok(Progress::Partial);
        }
        self.left = None;
        if pattern == Pattern::Close {
            self.is_closing = true;
            return Ok(Progress::Partial);
        }
        Ok(Progress::Whole)
    }

    fn receive(&mut self, buf: &mut [u8], bytes: &mut u64) -> io::Result<usize> {
        match self.stream.read(&mut buf[..READ]) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                *bytes += len as u64;
                Ok(len)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Drops received bytes inside the kernel, at most as many as `buf` is long (`MSG_TRUNC`,
    /// tcp(7)); `buf` itself is not written.
    fn discard(&self, buf: &mut [u8], bytes: &mut u64) -> io::Result<usize> {
        match recv(&self.stream, buf, RecvFlags::TRUNC) {
            Ok((_, 0)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, len)) => {
                *bytes += len as u64;
                Ok(len)
            }
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

/// Lengths of the head and of the body that it announces; `None` while the head is not whole.
fn framing(bytes: &[u8]) -> io::Result<Option<(usize, usize)>> {
    const NAME: &[u8] = b"\r\ncontent-length:";
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    if bytes.get(9..12) != Some(b"200") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let head = &bytes[..end];
    let at = head
        .windows(NAME.len())
        .position(|window| window.eq_ignore_ascii_case(NAME))
        .ok_or(io::ErrorKind::InvalidData)?;
    let value = &head[at + NAME.len()..];
    let mut body_len: usize = 0;
    for &byte in value.trim_ascii_start() {
        if !byte.is_ascii_digit() {
            break;
        }
        body_len = body_len * 10 + usize::from(byte - b'0');
    }
    Ok(Some((end + 4, body_len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_framing_is_known_once_the_head_is_whole() {
        let response = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length:  12\r\nC: d\r\n\r\nbody";
        let head_len = response.len() - 4;
        assert_eq!(framing(response).unwrap(), Some((head_len, 12)));
        assert_eq!(framing(&response[..head_len - 1]).unwrap(), None);
    }

    #[test]
    fn another_status_is_an_error() {
        assert!(framing(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n").is_err());
    }
}
