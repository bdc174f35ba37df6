//! A raw TCP client that can send any bytes and break off in any way.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::net::RecvFlags;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::message::Response;
use crate::wire::{WireError, WireReader};

/// How long a client waits for bytes unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// One TCP connection.
#[derive(Debug)]
pub struct Client {
    reader: WireReader<TcpStream>,
}

impl Client {
    /// Connects, waiting at most a minute, the time it also waits for bytes.
    pub fn connect(addr: SocketAddr) -> io::Result<Self> {
        Self::from_stream(TcpStream::connect_timeout(&addr, PATIENCE)?)
    }

    /// Connects from a given local address, such as 127.0.0.2.
    pub fn connect_from(source: IpAddr, addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        Self::from_stream(socket.into())
    }

    /// Connects with little room: what is sent to it and not read soon stays with the sender.
    ///
    /// On loopback an ordinary connection takes in several MiB that nobody reads.
    pub fn connect_narrow(addr: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        make_narrow(&socket)?;
        socket.connect_timeout(&addr.into(), PATIENCE)?;
        Self::from_stream(socket.into())
    }

    /// Opens `count` connections at the same moment, one thread each, and returns them in the
    /// order they were started.
    #[must_use]
    pub fn connect_many(addr: SocketAddr, count: usize) -> Vec<io::Result<Self>> {
        let barrier = std::sync::Barrier::new(count);
        thread::scope(|scope| {
            let threads: Vec<_> = (0..count)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        Self::connect(addr)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("connecting does not panic"))
                .collect()
        })
    }

    /// Wraps a connection that already stands.
    pub fn from_stream(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: WireReader::new(stream),
        })
    }

    /// Waits this long for bytes from now on.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        self.stream().set_read_timeout(Some(patience))
    }

    /// Lets the kernel hold only so much that was not yet received, instead of growing with it.
    pub fn limit_receive_buffer(&self, bytes: usize) -> io::Result<()> {
        SockRef::from(self.stream()).set_recv_buffer_size(bytes)
    }

    /// The socket itself.
    #[must_use]
    pub const fn stream(&self) -> &TcpStream {
        self.reader.inner()
    }

    /// Our side of the connection.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream().local_addr()
    }

    /// Sends all bytes.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        Ok(self.stream().write_all(bytes)?)
    }

    /// Sends the bytes in pieces with a pause between them.
    pub fn send_slowly(
        &mut self,
        bytes: &[u8],
        piece: usize,
        pause: Duration,
    ) -> Result<(), WireError> {
        for piece in bytes.chunks(piece) {
            self.send(piece)?;
            thread::sleep(pause);
        }
        Ok(())
    }

    /// Receives exactly `len` bytes.
    pub fn receive(&mut self, len: usize) -> Result<Vec<u8>, WireError> {
        self.reader.read_exact(len)
    }

    /// Receives up to and including the delimiter.
    pub fn receive_until(&mut self, delimiter: &[u8]) -> Result<Vec<u8>, WireError> {
        self.reader.read_until(delimiter)
    }

    /// Receives the next bytes, `None` at the end of the stream.
    pub fn receive_some(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        self.reader.read_some()
    }

    /// Receives up to the end of the stream.
    pub fn receive_to_end(&mut self) -> Result<Vec<u8>, WireError> {
        self.reader.read_to_end()
    }

    /// Receives the response to a request of this method that was sent before.
    pub fn receive_response(&mut self, method: &str) -> Result<Response, WireError> {
        Response::read(&mut self.reader, method)
    }

    /// Sends a request with a body (framed by Content-Length unless empty) and receives the
    /// response. `fields` are whole lines without CRLF.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &[&str],
        body: &[u8],
    ) -> Result<Response, WireError> {
        self.send(&request_bytes(method, target, fields, body))?;
        self.receive_response(method)
    }

    /// Sends a GET and receives the response.
    pub fn get(&mut self, target: &str) -> Result<Response, WireError> {
        self.request("GET", target, &[], b"")
    }

    /// Sends the requests one after another in one write and receives all responses.
    pub fn pipeline(&mut self, targets: &[&str]) -> Result<Vec<Response>, WireError> {
        let bytes: Vec<u8> = targets
            .iter()
            .flat_map(|target| request_bytes("GET", target, &[], b""))
            .collect();
        self.send(&bytes)?;
        targets
            .iter()
            .map(|_| self.receive_response("GET"))
            .collect()
    }

    /// Ends our direction; the other stays open.
    pub fn half_close(&self) -> io::Result<()> {
        self.stream().shutdown(Shutdown::Write)
    }

    /// Breaks the connection off with a reset.
    pub fn reset(self) -> io::Result<()> {
        reset_on_close(self.stream())
    }

    /// Whether the other side has closed or reset by now. Takes nothing of what it sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let looked = rustix::net::recv(self.stream(), &mut [0; 1][..], flags);
        match looked {
            Ok((_, count)) => count == 0,
            Err(error) => error != rustix::io::Errno::AGAIN,
        }
    }

    /// Whether the other side has closed or reset without sending anything more.
    ///
    /// Waits for that at most as long as given.
    pub fn is_closed_within(&mut self, patience: Duration) -> io::Result<bool> {
        self.set_patience(patience)?;
        let closed = matches!(
            self.receive_some(),
            Ok(None) | Err(WireError::Reset | WireError::Closed)
        );
        self.set_patience(PATIENCE)?;
        Ok(closed)
    }

    /// Reads and throws away at most `len` bytes at a time with a pause between them, up to the
    /// end of the stream; returns how many came. A reader slower than its sender.
    pub fn drain_slowly(&mut self, len: usize, pause: Duration) -> Result<u64, WireError> {
        let mut piece = vec![0; len];
        let mut total = 0;
        loop {
            match self.stream().read(&mut piece)? {
                0 => return Ok(total),
                got => total += got as u64,
            }
            thread::sleep(pause);
        }
    }
}

/// Gives a socket that is not connected yet the smallest receive buffer, and segments so short that
/// the other side's send buffer, which the kernel sizes by them, is small too.
pub(crate) fn make_narrow(socket: &Socket) -> io::Result<()> {
    socket.set_recv_buffer_size(4096)?;
    socket.set_tcp_mss(1000)
}

/// Makes the coming close of this socket a reset.
pub(crate) fn reset_on_close(stream: &TcpStream) -> io::Result<()> {
    SockRef::from(stream).set_linger(Some(Duration::ZERO))
}

/// The bytes of a request with `Host: test`, framed by Content-Length unless the body is empty.
#[must_use]
pub fn request_bytes(method: &str, target: &str, fields: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n");
    if !fields
        .iter()
        .any(|line| line.to_ascii_lowercase().starts_with("host:"))
    {
        head.push_str("Host: test\r\n");
    }
    for line in fields {
        head.push_str(line);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Sends one GET on a connection of its own.
pub fn http_get(addr: SocketAddr, target: &str) -> Result<Response, WireError> {
    Client::connect(addr)?.request("GET", target, &["Connection: close"], b"")
}

/// Sends these bytes on a connection of its own, ends our direction, and returns all that came.
pub fn tcp_exchange(addr: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut client = Client::connect(addr)?;
    client.send(bytes)?;
    client.half_close()?;
    client.receive_to_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_names_a_host_once() {
        let bytes = request_bytes("POST", "/", &["Host: a"], b"xy");
        assert_eq!(
            bytes,
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxy"
        );
    }
}
