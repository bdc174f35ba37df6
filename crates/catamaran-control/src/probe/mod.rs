//! One active check of a server: connect, perhaps ask, judge.
//!
//! It decides only how a single check went; what a run of results means for the server is decided
//! by the policy in `catamaran_core`. Whatever goes wrong on our own side ([`Fault`]) is told apart,
//! because it must never count against the server.
//!
//! # How connections are closed
//! A check every second from each node must not fill tables of either side.
//! - TCP: the last packet of the handshake is held back (`TCP_QUICKACK` off) and the connection
//!   is closed with a linger time of zero: SYN, SYN-ACK, RST, as HAProxy's checks do. The server's
//!   kernel drops the half-open connection, so that its process neither wakes nor logs, and no
//!   side is left in TIME-WAIT.
//! - HTTP: the request says `Connection: close` and the server closes first; a server that goes on
//!   sending after its head gets a reset. Closing with a reset always would show up as an error
//!   in the logs of servers that wrote everything correctly.
//! - UDP has no connections; an empty datagram is sent.

mod script;

use catamaran_core::Timestamp;
use catamaran_core::health::{Blame, ProbeResult};
use catamaran_core::model::{Check, HttpCheck, ServerAddr, Source};
use catamaran_http1::{Limits, Parsed, RequestKind, ResponseError, ResponseHead};
use catamaran_sys::socket::{LocalEnd, connect_udp_from};

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Interest};
use tokio::net::{TcpSocket, TcpStream, UdpSocket, UnixStream};
use tokio::time::{Instant, sleep_until};

/// Where a check connects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// An address and port.
    Ip(SocketAddr),
    /// A stream socket in the file system.
    Unix(PathBuf),
}

/// How one check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The server answered as expected.
    Pass,
    /// It did not.
    Fail(Failure),
    /// Nothing was learned about the server.
    Inconclusive(Fault),
}

/// What the server did wrong; its text is the reason in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was refused, reset or could not be made.
    Io(io::ErrorKind),
    /// Its queue of connections to accept is full (EAGAIN from a unix socket, where over IP the
    /// connection would be kept waiting).
    QueueFull,
    /// No (whole) answer came within this time.
    Timeout(Duration),
    /// The answer has a status that was not expected.
    Status(u16),
    /// The connection was closed before the head of the answer was whole.
    Cut,
    /// Something else was answered than a script expects; holds its beginning.
    Unexpected(String),
    /// The head of the answer is no HTTP/1 response head, or exceeds 16 KiB.
    Invalid(ResponseError),
}

/// What was wrong with ourselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No local port is free (EADDRNOTAVAIL, and EAGAIN from connect(2) over IP).
    NoPort,
    /// No descriptor is free (EMFILE, ENFILE).
    NoDescriptor,
    /// The kernel has no memory for the connection (ENOBUFS, ENOMEM).
    NoMemory,
    /// The check itself panicked.
    Bug,
    /// This thread did not run for so long that the answer may have been there in time.
    Starved(Duration),
}

/// Checks `target` once, in at most `timeout` (plus the time that this thread did not run).
pub async fn probe(target: &Target, check: &Check, timeout: Duration) -> Finding {
    probe_from(target, None, check, timeout).await
}

/// As [`probe`], from where connections to the server come from.
pub async fn probe_from(
    target: &Target,
    source: Option<&Source>,
    check: &Check,
    timeout: Duration,
) -> Finding {
    let attempt = async {
        match check {
            Check::Tcp => connect_only(target, source).await,
            Check::Http(http) => ask(target, source, http).await,
            Check::Script(steps) => script::ask(target, source, steps).await,
            Check::Udp => send_nothing(target, source).await,
        }
    };
    tokio::select! {
        biased;
        result = attempt => result.unwrap_or_else(|stop| stop.into_result()),
        worst_delay = run_out(timeout) => {
            let due_at = Timestamp::ZERO;
            match Blame::of_timeout(due_at, due_at + worst_delay) {
                Blame::Ours => Finding::Inconclusive(Fault::Starved(worst_delay)),
                Blame::Server => Finding::Fail(Failure::Timeout(timeout)),
            }
        }
    }
}

impl Target {
    /// Where a server at `address` is; `None` for a name, which has to be resolved first.
    #[must_use]
    pub fn new(address: &ServerAddr) -> Option<Self> {
        match address {
            ServerAddr::Ip(address) => Some(Self::Ip(*address)),
            ServerAddr::Unix(path) => Some(Self::Unix(path.clone())),
            ServerAddr::Dns { .. } | ServerAddr::Srv { .. } | ServerAddr::Etcd { .. } => None,
        }
    }

    /// The same place at another port, if one is given and the place has ports.
    #[must_use]
    pub fn with_port(&self, port: Option<u16>) -> Self {
        let mut target = self.clone();
        if let (Self::Ip(address), Some(port)) = (&mut target, port) {
            address.set_port(port);
        }
        target
    }
}

impl Finding {
    /// Why it is no pass; empty for a pass.
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Pass => String::new(),
            Self::Fail(failure) => failure.to_string(),
            Self::Inconclusive(fault) => fault.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(kind) => write!(f, "{kind}"),
            Self::QueueFull => f.write_str("accept queue is full"),
            Self::Timeout(after) => write!(f, "timeout after {after:?}"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::Unexpected(found) => write!(f, "unexpected answer \"{found}\""),
            Self::Cut => f.write_str("closed before the answer was whole"),
            Self::Invalid(error) => write!(f, "invalid response: {error}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoPort => f.write_str("no local port is free"),
            Self::NoDescriptor => f.write_str("no file descriptor is free"),
            Self::NoMemory => f.write_str("the kernel has no memory for a connection"),
            Self::Bug => f.write_str("the check panicked"),
            Self::Starved(delay) => write!(f, "the control thread did not run for {delay:?}"),
        }
    }
}

impl From<&Finding> for ProbeResult {
    fn from(finding: &Finding) -> Self {
        match finding {
            Finding::Pass => Self::Pass,
            Finding::Fail(_) => Self::Fail,
            Finding::Inconclusive(_) => Self::Inconclusive,
        }
    }
}

/// Why an attempt ended without a result.
enum Stop {
    Io(io::Error),
    Failure(Failure),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl Stop {
    fn into_result(self) -> Finding {
        let error = match self {
            Self::Failure(failure) => return Finding::Fail(failure),
            Self::Io(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EADDRNOTAVAIL | libc::EAGAIN) => Finding::Inconclusive(Fault::NoPort),
            Some(libc::EMFILE | libc::ENFILE) => Finding::Inconclusive(Fault::NoDescriptor),
            Some(libc::ENOBUFS | libc::ENOMEM) => Finding::Inconclusive(Fault::NoMemory),
            _ => Finding::Fail(Failure::Io(error.kind())),
        }
    }
}

/// Waits for `timeout` in slices and returns by how much the latest of them was too late.
///
/// A thread that stood still through most of the timeout but ran again at its end would wake on
/// time; slices, each planned when the one before has ended, see that and give the server the
/// time that the thread lost.
async fn run_out(timeout: Duration) -> Duration {
    let mut worst_delay = Duration::ZERO;
    for _ in 0..SLICES {
        let planned = Instant::now() + timeout / SLICES;
        sleep_until(planned).await;
        worst_delay = worst_delay.max(Instant::now().saturating_duration_since(planned));
    }
    worst_delay
}

async fn connect_only(target: &Target, source: Option<&Source>) -> Result<Finding, Stop> {
    match target {
        Target::Ip(address) => {
            let socket = socket_from(*address, source)?;
            // See "How connections are closed" above.
            socket2::SockRef::from(&socket).set_tcp_quickack(false)?;
            socket.set_zero_linger()?;
            socket.connect(*address).await?;
        }
        Target::Unix(path) => {
            connect_unix(path).await?;
        }
    }
    Ok(Finding::Pass)
}

/// Sends an empty datagram and waits a while for its refusal.
async fn send_nothing(target: &Target, source: Option<&Source>) -> Result<Finding, Stop> {
    let Target::Ip(address) = target else {
        return connect_only(target, source).await;
    };
    let socket =
        UdpSocket::from_std(connect_udp_from(*address, local_end(*address, source))?.into())?;
    socket.send(&[]).await?;
    // Linux reports a refusal as an error alone, not as something to read.
    let event = socket.ready(Interest::READABLE | Interest::ERROR);
    match tokio::time::timeout(SILENCE, event).await {
        Ok(_) => socket
            .take_error()?
            .map_or(Ok(Finding::Pass), |error| Err(error.into())),
        Err(_) => Ok(Finding::Pass),
    }
}

async fn ask(target: &Target, source: Option<&Source>, check: &HttpCheck) -> Result<Finding, Stop> {
    match target {
        Target::Ip(address) => {
            let socket = socket_from(*address, source)?;
            let stream: TcpStream = socket.connect(*address).await?;
            exchange(stream, check, &address.to_string()).await
        }
        Target::Unix(path) => exchange(connect_unix(path).await?, check, "localhost").await,
    }
}

async fn connect_unix(path: &Path) -> Result<UnixStream, Stop> {
    let connected = UnixStream::connect(path).await;
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => Failure::QueueFull.into(),
        _ => error.into(),
    })
}

/// Where a connection to `address` comes from.
fn local_end(address: SocketAddr, source: Option<&Source>) -> LocalEnd<'_> {
    let Some(source) = source else {
        return LocalEnd::default();
    };
    LocalEnd {
        // Any of them shows whether the server answers.
        address: source.address_for(address, 0),
        interface: source.interface.as_deref(),
    }
}

pub(crate) fn socket_from(address: SocketAddr, source: Option<&Source>) -> io::Result<TcpSocket> {
    let socket = socket_for(address)?;
    local_end(address, source).bind(socket.as_fd())?;
    Ok(socket)
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    check: &HttpCheck,
    address: &str,
) -> Result<Finding, Stop> {
    let request = format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: catamaran-check\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n",
        check.method,
        check.path,
        check.host.as_deref().unwrap_or(address),
    );
    stream.write_all(request.as_bytes()).await?;
    let request = RequestKind {
        head: check.method == "HEAD",
        ..RequestKind::default()
    };
    let status = read_status(&mut stream, request).await?;
    if check.expect.iter().any(|range| range.contains(status)) {
        Ok(Finding::Pass)
    } else {
        Err(Failure::Status(status).into())
    }
}

/// Reads up to the end of the final response's head and returns its status.
async fn read_status(
    stream: &mut (impl AsyncRead + Unpin),
    request: RequestKind,
) -> Result<u16, Stop> {
    let limits = Limits {
        max_head_bytes: MAX_HEAD_BYTES,
        ..Limits::default()
    };
    let mut head = ResponseHead::new();
    let mut buf = vec![0; MAX_HEAD_BYTES];
    let mut filled = 0;
    loop {
        // A head that fills the buffer without an end was refused by the parser.
        let read = stream.read(&mut buf[filled..]).await?;
        if read == 0 {
            return Err(Failure::Cut.into());
        }
        filled += read;
        while filled > 0 {
            let parsed = head.parse(&buf[..filled], &limits, request);
            match parsed.map_err(Failure::Invalid)? {
                Parsed::Partial => break,
                Parsed::Complete if !head.is_interim() => return Ok(head.status),
                // An interim response (RFC 9110 §15.2): the final one follows.
                Parsed::Complete => {
                    buf.copy_within(head.head_len..filled, 0);
                    filled -= head.head_len;
                }
            }
        }
    }
}

/// Bytes of a response's head. Chosen: twice what common servers allow themselves.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// How long a datagram's refusal is waited for. Chosen: above the round trip to a server far away,
/// below the timeout of a check.
const SILENCE: Duration = Duration::from_millis(300);
/// Slices of a timeout, see [`run_out`].
const SLICES: u32 = 4;

#[cfg(test)]
mod tests;
