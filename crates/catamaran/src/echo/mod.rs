//! `catamaran echo`: a server that answers one message, whatever it is asked in.
//!
//! The client's first bytes decide between HTTP and raw TCP; UDP is answered on the same port.

mod connection;
mod request;

use crate::args::EchoArgs;
use crate::bind::{self, BindError};
use crate::stop::Signals;
use anyhow::Context as _;
use catamaran_core::model::Protocol;
use catamaran_sys::socket;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// What is answered.
#[derive(Debug)]
struct Answers {
    /// The message and a line end: the answer to raw TCP and UDP.
    line: Vec<u8>,
    /// The body of HTTP responses.
    body: Vec<u8>,
    /// How long the server takes over each answer.
    delay: Duration,
}

/// Serves until a signal asks for the end, then answers those who had connected.
pub(crate) async fn run(args: &EchoArgs) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::new()?;
    let (listener, datagrams) = open(args.listen)?;
    let address = socket::local_addr(listener.as_fd())?;
    let listener = TcpListener::from_std(listener.into()).context("listening socket")?;
    let datagrams = UdpSocket::from_std(datagrams.into()).context("datagram socket")?;
    let answers = Arc::new(Answers::new(args));
    // Whoever started us may wait for this line, and may have gone since.
    let _ = writeln!(io::stdout(), "{READY}{address}");
    tokio::spawn(serve_datagrams(datagrams, Arc::clone(&answers)));
    // Closes once every connection has ended.
    let (open, mut ended) = mpsc::channel::<()>(1);
    loop {
        tokio::select! {
            // A client that has connected is served whatever signal has come.
            biased;
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => serve_stream(stream, Arc::clone(&answers), open.clone()),
                Err(error) => {
                    tracing::warn!(%error, "connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            _ = signals.recv() => break,
        }
    }
    drop((listener, open));
    // Those that are still open then hold a connection without asking.
    let _ = tokio::time::timeout(END_GRACE, ended.recv()).await;
    Ok(ExitCode::SUCCESS)
}

/// Serves one connection, holding `open` until its end.
fn serve_stream(stream: TcpStream, answers: Arc<Answers>, open: mpsc::Sender<()>) {
    tokio::spawn(async move {
        if let Err(error) = connection::serve(stream, &answers).await {
            tracing::debug!(%error, "connection failed");
        }
        drop(open);
    });
}

/// Opens the same port for TCP and UDP.
fn open(address: SocketAddr) -> Result<(OwnedFd, OwnedFd), BindError> {
    let mut tries = PORT_TRIES;
    loop {
        let listener = one(address, Protocol::Tcp)?;
        let chosen = socket::local_addr(listener.as_fd()).unwrap_or(address);
        match one(chosen, Protocol::Udp) {
            // The port that the kernel chose for TCP is taken for UDP.
            Err(error) if error.is_in_use() && address.port() == 0 && tries > 0 => tries -= 1,
            outcome => return Ok((listener, outcome?)),
        }
    }
}

fn one(address: SocketAddr, protocol: Protocol) -> Result<OwnedFd, BindError> {
    let mut sockets = bind::open(address, protocol, 1)?;
    Ok(sockets.pop().expect("a group of one holds one"))
}

async fn serve_datagrams(socket: UdpSocket, answers: Arc<Answers>) {
    let mut buf = vec![0; MAX_DATAGRAM];
    loop {
        let received = socket.async_io(Interest::READABLE, || {
            socket::recv_with_dst(socket.as_fd(), &mut buf)
        });
        match received.await {
            Ok(datagram) => {
                tokio::time::sleep(answers.delay).await;
                let sent = socket.async_io(Interest::WRITABLE, || {
                    let (to, from) = (datagram.source, datagram.destination);
                    socket::send_to_from(socket.as_fd(), &answers.line, to, from)
                });
                if let Err(error) = sent.await {
                    tracing::debug!(%error, "datagram could not be sent");
                }
            }
            Err(error) => {
                tracing::debug!(%error, "datagram could not be received");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Answers {
    fn new(args: &EchoArgs) -> Self {
        let line = format!("{}\n", args.message).into_bytes();
        let body = match args.body_size {
            Some(size) => line.iter().copied().cycle().take(size).collect(),
            None => line.clone(),
        };
        Self {
            line,
            body,
            delay: args.delay,
        }
    }
}

/// What opens the line that says where the server listens.
pub(crate) const READY: &str = "listening on ";
/// Pause after a failed accept, which most often means too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
/// How long open connections may take for their end after a signal.
const END_GRACE: Duration = Duration::from_secs(1);
/// Longest payload of a datagram over IPv4, rounded up.
const MAX_DATAGRAM: usize = 64 * 1024;
const PORT_TRIES: u32 = 8;
