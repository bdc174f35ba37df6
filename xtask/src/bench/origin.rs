//! The origins of a benchmark: one epoll loop, answers prepared beforehand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::poller::{Interest, Poller};

/// What an origin does with its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Answers each HTTP/1.1 request head with the prepared response.
    Http,
    /// Sends back what comes.
    Echo,
    /// Sends without end once a byte has come.
    Bulk,
}

/// Serves on the addresses until killed.
///
/// Arguments: `http|echo|bulk|spin`, the body's size in bytes, addresses. `spin` is `http` that never
/// sleeps: to wake a sleeping core costs the sender some microseconds on a virtual machine, the slower it
/// sends the more often.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    let [mode, size, addrs @ ..] = arguments else {
        bail!("bench-origin takes a mode, a size and addresses");
    };
    let mode_name = mode.as_str();
    let mode = match mode_name {
        "http" | "spin" => Mode::Http,
        "echo" => Mode::Echo,
        "bulk" => Mode::Bulk,
        other => bail!("unknown mode `{other}`"),
    };
    let size: usize = size.parse().context("the size is a number of bytes")?;
    let mut listeners = Vec::new();
    for addr in addrs {
        let addr: SocketAddr = addr.parse()?;
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        listeners.push(listener);
    }
    Origins {
        mode,
        patience: match mode_name {
            "spin" => Duration::ZERO,
            _ => Duration::from_secs(60),
        },
        answer: answer(mode, size),
        listeners,
        poller: Poller::new()?,
        connections: Vec::new(),
        free: Vec::new(),
        buf: vec![0; 64 * 1024],
    }
    .run()
}

fn answer(mode: Mode, size: usize) -> Vec<u8> {
    if mode != Mode::Http {
        return vec![b'x'; 256 * 1024];
    }
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

struct Origins {
    mode: Mode,
    /// How long it sleeps while nothing happens.
    patience: Duration,
    /// The whole response, or the block that is sent over and over.
    answer: Vec<u8>,
    listeners: Vec<TcpListener>,
    poller: Poller,
    /// Slots; a connection's key is its slot plus the number of listeners.
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    buf: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Answers owed, the one being sent included.
    owed: usize,
    /// Bytes of the current answer already sent.
    sent: usize,
    /// How much of the empty line that ends a head has been seen, 0 to 3 bytes.
    matched: usize,
    waits_to_write: bool,
}

impl Origins {
    fn run(mut self) -> Result<()> {
        for (key, listener) in self.listeners.iter().enumerate() {
            self.poller.add(listener, key, Interest::Read)?;
        }
        let mut ready = Vec::new();
        loop {
            self.poller.wait(self.patience, &mut ready)?;
            for &key in &ready {
                match key.checked_sub(self.listeners.len()) {
                    None => self.accept(key)?,
                    Some(slot) => self.serve(slot)?,
                }
            }
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<()> {
        loop {
            let stream = match self.listeners[listener].accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let slot = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            let key = slot + self.listeners.len();
            self.poller.add(&stream, key, Interest::Read)?;
            self.connections[slot] = Some(Connection {
                stream,
                owed: 0,
                sent: 0,
                matched: 0,
                waits_to_write: false,
            });
        }
    }

    fn serve(&mut self, slot: usize) -> io::Result<()> {
        let Some(connection) = &mut self.connections[slot] else {
            return Ok(());
        };
        let before = connection.waits_to_write;
        if connection
            .serve(self.mode, &self.answer, &mut self.buf)
            .is_err()
        {
            // Closing the socket takes it out of epoll.
            self.connections[slot] = None;
            self.free.push(slot);
            return Ok(());
        }
        if connection.waits_to_write != before {
            let interest = if connection.waits_to_write {
                Interest::ReadWrite
            } else {
                Interest::Read
            };
            let key = slot + self.listeners.len();
            self.poller.modify(&connection.stream, key, interest)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Reads what there is and answers; an error means that the connection is over.
    fn serve(&mut self, mode: Mode, answer: &[u8], buf: &mut [u8]) -> io::Result<()> {
        if !self.waits_to_write || mode != Mode::Echo {
            match self.stream.read(buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => match mode {
                    Mode::Http => self.owed += self.heads(&buf[..len]),
                    // Ping-pong messages are far below a socket's buffer.
                    Mode::Echo => return self.stream.write_all(&buf[..len]),
                    Mode::Bulk => self.owed = usize::MAX,
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.send(answer)
    }

    fn send(&mut self, answer: &[u8]) -> io::Result<()> {
        while self.owed > 0 {
            match self.stream.write(&answer[self.sent..]) {
                Ok(len) => self.sent += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.waits_to_write = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
            if self.sent == answer.len() {
                self.sent = 0;
                self.owed -= 1;
            }
        }
        self.waits_to_write = false;
        Ok(())
    }

    /// Counts the empty lines, each of which ends the head of a request without a body.
    fn heads(&mut self, bytes: &[u8]) -> usize {
        const END: &[u8; 4] = b"\r\n\r\n";
        let mut count = 0;
        for &byte in bytes {
            if byte == END[self.matched] {
                self.matched += 1;
            } else {
                self.matched = usize::from(byte == b'\r');
            }
            if self.matched == END.len() {
                self.matched = 0;
                count += 1;
            }
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_counted_however_they_are_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection {
            stream: TcpStream::connect(listener.local_addr().unwrap()).unwrap(),
            owed: 0,
            sent: 0,
            matched: 0,
            waits_to_write: false,
        };
        let bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n\r\n";
        assert_eq!(connection.heads(bytes), 2);
        let count: usize = bytes.chunks(1).map(|one| connection.heads(one)).sum();
        assert_eq!(count, 2);
    }
}
