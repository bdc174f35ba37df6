//! One connection to the target.

use std::fmt;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use catamaran_sys::clock::now_nanos;
use catamaran_sys::socket::LocalEnd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio::task::coop::consume_budget;

use super::tls::TlsStream;
use super::{Alpn, Failure, ProxyHeader, TlsClient};

/// Where connections go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address and port.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(Arc<PathBuf>),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

/// A connection. It holds no buffer, and nothing of an answer.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: Stream,
}

/// A new connection and what it took.
#[derive(Debug)]
pub struct Opened {
    /// The connection.
    pub connection: Connection,
    /// Nanoseconds that connecting took.
    pub connecting_nanos: u64,
    /// Nanoseconds that the handshake of TLS took.
    pub handshaking_nanos: u64,
    /// Bytes of the PROXY header that went out first.
    pub sent: u64,
}

impl Connection {
    /// Connects, and sends a PROXY header if one is asked for. TCP comes from the address `source` of this
    /// machine, or from the one that the system chooses.
    pub async fn open(
        endpoint: &Endpoint,
        source: Option<IpAddr>,
        proxy: ProxyHeader,
    ) -> Result<Opened, Failure> {
        let begin = now_nanos();
        let failed = |error: io::Error| Failure::connecting(&error);
        let stream = match endpoint {
            Endpoint::Tcp(addr) => {
                let stream = match source {
                    None => TcpStream::connect(addr).await,
                    Some(source) => connect_from(source, *addr).await,
                };
                let stream = stream.map_err(failed)?;
                stream.set_nodelay(true).map_err(failed)?;
                Stream::Tcp(stream)
            }
            Endpoint::Unix(path) => {
                Stream::Unix(UnixStream::connect(&**path).await.map_err(failed)?)
            }
        };
        let connecting_nanos = now_nanos() - begin;
        let connection = Self { stream };
        let header = proxy.bytes(connection.local_addr(), connection.remote_addr());
        connection.write(&header, &[]).await?;
        Ok(Opened {
            connection,
            connecting_nanos,
            handshaking_nanos: 0,
            sent: header.len() as u64,
        })
    }

    /// Speaks TLS from here on with the host of this name. Only TCP connections can.
    pub async fn secure(
        mut self,
        client: &TlsClient,
        host: &str,
        alpn: Alpn,
    ) -> Result<Self, Failure> {
        self.stream = match self.stream {
            Stream::Tcp(stream) => {
                let stream = TlsStream::connect(stream, client, host, alpn).await?;
                Stream::Tls(Box::new(stream))
            }
            other => other,
        };
        Ok(self)
    }

    /// Whether HTTP/2 was agreed on over TLS.
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        match &self.stream {
            Stream::Tls(stream) => stream.speaks_http2(),
            _ => false,
        }
    }

    /// The version of TLS and its cipher suite; empty of a plain connection.
    #[must_use]
    pub fn agreed(&self) -> (&'static str, String) {
        match &self.stream {
            Stream::Tls(stream) => stream.agreed(),
            _ => ("", String::new()),
        }
    }

    /// The address of the target, of a TCP connection.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.peer_addr().ok(),
            Stream::Tls(stream) => stream.tcp().peer_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match &self.stream {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Tls(stream) => stream.tcp().local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Whether the target has closed it, as far as the runtime has heard: nothing is asked of the kernel.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.stream {
            Stream::Tcp(stream) => is_ended(
                stream.try_io(Interest::READABLE, || Ok(())).is_ok(),
                stream.ready(Interest::READABLE),
            ),
            Stream::Tls(stream) => is_ended(
                stream.tcp().try_io(Interest::READABLE, || Ok(())).is_ok(),
                stream.tcp().ready(Interest::READABLE),
            ),
            Stream::Unix(stream) => is_ended(
                stream.try_io(Interest::READABLE, || Ok(())).is_ok(),
                stream.ready(Interest::READABLE),
            ),
        }
    }

    /// Writes both parts, in one call if the kernel takes them.
    pub async fn write(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        self.stream.write(head, body).await
    }

    /// Waits until something can be read, and hands what one read brings to `take`; nothing at the
    /// end of the connection.
    pub async fn read<T>(&self, take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        self.stream.read(take).await
    }
}

/// Whether a stream has ended: `has_event` where something was heard of it, and `ready` says what.
fn is_ended(has_event: bool, ready: impl Future<Output = io::Result<Ready>>) -> bool {
    if !has_event {
        return false;
    }
    let mut context = Context::from_waker(Waker::noop());
    match pin!(ready).poll(&mut context) {
        Poll::Ready(Ok(ready)) => ready.is_read_closed(),
        Poll::Ready(Err(_)) => true,
        Poll::Pending => false,
    }
}

/// Connects from an address of this machine.
async fn connect_from(source: IpAddr, addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    let from = LocalEnd {
        address: Some(source),
        interface: None,
    };
    from.bind(socket.as_fd())
        .map_err(|error| io::Error::new(error.kind(), format!("from {source}: {error}")))?;
    socket.connect(addr).await
}

impl Stream {
    pub(super) async fn write(&self, head: &[u8], body: &[u8]) -> io::Result<()> {
        if let Self::Tls(stream) = self {
            return stream.write([head, body]).await;
        }
        let mut done = 0;
        while done < head.len() + body.len() {
            let parts = [
                IoSlice::new(head.get(done..).unwrap_or_default()),
                IoSlice::new(&body[done.saturating_sub(head.len())..]),
            ];
            // An empty body leaves one part, for which `write` is the cheaper call.
            let result = match (self, body.is_empty()) {
                (Self::Tcp(stream), true) => stream.try_write(&head[done..]),
                (Self::Tcp(stream), false) => stream.try_write_vectored(&parts),
                (Self::Unix(stream), _) => stream.try_write_vectored(&parts),
                (Self::Tls(_), _) => return Ok(()),
            };
            match result {
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self {
                    Self::Tcp(stream) => stream.writable().await?,
                    Self::Unix(stream) => stream.writable().await?,
                    Self::Tls(_) => return Ok(()),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The buffer is the thread's: an idle connection holds none.
    pub(super) async fn read<T>(&self, mut take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        // A server that sends faster than this reads must not have the thread to itself: timers and others
        // get their turn now and then.
        consume_budget().await;
        if let Self::Tls(stream) = self {
            let mut buf = vec![0; TLS_READ_BYTES];
            let len = stream.read(&mut buf).await?;
            return Ok(take(&buf[..len]));
        }
        loop {
            match self {
                Self::Tcp(stream) => stream.readable().await?,
                Self::Unix(stream) => stream.readable().await?,
                Self::Tls(_) => {}
            }
            let taken = SCRATCH.with_borrow_mut(|buf| {
                let result = match self {
                    Self::Tcp(stream) => stream.try_read(buf),
                    Self::Unix(stream) => stream.try_read(buf),
                    Self::Tls(_) => Ok(0),
                };
                result.map(|len| (take(&buf[..len]), 0 < len && len < buf.len()))
            });
            match taken {
                Ok((taken, is_all)) => {
                    if is_all {
                        self.note_empty();
                    }
                    return Ok(taken);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Stream {
    /// Notes that all was read that had come: a read that brings less than there was room for says so, and
    /// the next one need not ask the kernel for nothing.
    fn note_empty(&self) {
        let empty = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
        // What it returns is what it is told.
        let _ = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, empty),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, empty),
            Self::Tls(_) => Ok(()),
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buf),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(context, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

thread_local! {
    /// Where a thread reads to; what is kept is copied from here at once.
    static SCRATCH: std::cell::RefCell<Box<[u8]>> =
        std::cell::RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Bytes taken by one read: large answers in few calls, within a processor's second cache.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of one record of TLS.
const TLS_READ_BYTES: usize = 16 * 1024;
