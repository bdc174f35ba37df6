//! The opening of a relay: the client's first bytes, kept until the server's first byte.
//!
//! ```text
//!   client's bytes -> kept -> sent to a server
//!     | the server says something, or more comes than is kept -> an ordinary relay, nothing kept
//!     +- the server ends in silence --------------------------> sent to another, if that is allowed
//! ```

use super::{Half, Pools, Relay, RelayEnd};
use crate::io::{Buffer, Stream};
use crate::worker::{Alarm, Deadline, Worker};
use catamaran_core::retry::{Client, SilentEnd};
use catamaran_sys::socket::{PeekResult, peek};
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// The first bytes of a client.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Grows with what comes, up to `max`.
    kept: Vec<u8>,
    max: usize,
    /// Whether the client has ended its side.
    is_ended: bool,
    /// Bytes of `kept` that this server was sent.
    sent: usize,
    /// Whether this server was told the client's end.
    is_end_told: bool,
    /// Whether bytes came that were not read yet when a server closed.
    is_more_waiting: bool,
}

/// What became of an opening at one server.
#[derive(Debug)]
pub(crate) enum Opened {
    /// The relay goes on; nothing is kept any more.
    Relay(Relay),
    /// The server ended without a byte.
    Silent(SilentEnd),
    /// The connection is over for another reason.
    Over(RelayEnd),
}

/// The two ends of a relay, and what moves its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    pub(crate) pools: Pools<'a>,
    pub(crate) client: &'a Stream,
    pub(crate) server: &'a Stream,
}

impl Opening {
    /// Keeps up to `max` bytes.
    pub(crate) const fn new(max: usize) -> Self {
        Self {
            kept: Vec::new(),
            max,
            is_ended: false,
            sent: 0,
            is_end_told: false,
            is_more_waiting: false,
        }
    }

    /// Bytes of the client that this server was sent.
    pub(crate) const fn sent(&self) -> u64 {
        self.sent as u64
    }

    /// Bytes that the client has sent.
    pub(crate) const fn received(&self) -> u64 {
        self.kept.len() as u64
    }

    /// Whether the client has said anything.
    pub(crate) const fn client(&self) -> Client {
        if self.kept.is_empty() && !self.is_more_waiting {
            Client::Silent
        } else {
            Client::Spoke
        }
    }

    /// Sends what is kept and what comes, until it is clear how it goes on.
    pub(crate) async fn run(
        &mut self,
        way: Way<'_>,
        deadline: &Deadline,
        idle: Duration,
    ) -> Opened {
        self.sent = 0;
        self.is_end_told = false;
        self.is_more_waiting = false;
        deadline.set(Worker::now() + idle);
        let opened = poll_fn(|cx| {
            match deadline.alarm() {
                Some(Alarm::Late) => return Poll::Ready(Opened::Over(RelayEnd::Idle)),
                Some(Alarm::ServerDown) => {
                    return Poll::Ready(Opened::Silent(SilentEnd::MarkedDown));
                }
                None => {}
            }
            let before = self.sent;
            if let Poll::Ready(opened) = self.poll_server(cx, way) {
                return Poll::Ready(opened);
            }
            if let Poll::Ready(opened) = self.poll_client(cx, way) {
                return Poll::Ready(opened);
            }
            if self.sent > before {
                deadline.set(Worker::now() + idle);
            }
            Poll::Pending
        })
        .await;
        if matches!(opened, Opened::Silent(SilentEnd::Closed)) && self.kept.is_empty() {
            self.is_more_waiting = is_about_to_speak(way.client, deadline).await;
        }
        opened
    }

    /// The relay from here on; what this server was not yet sent goes first.
    pub(crate) fn relay(&mut self, pools: Pools<'_>) -> Relay {
        let mut rest = pools.buffers.large();
        let bytes = &self.kept[self.sent..];
        // No more is kept than a large buffer takes.
        rest.spare()[..bytes.len()].copy_from_slice(bytes);
        rest.fill(bytes.len());
        self.relay_after(rest)
    }

    /// The relay from here on; `first` goes to the server first.
    fn relay_after(&mut self, first: Buffer) -> Relay {
        let mut up = Half::with_bytes(first);
        up.moved = self.sent();
        if self.is_ended {
            up.end();
        }
        self.kept = Vec::new();
        Relay {
            up,
            down: Half::default(),
        }
    }

    fn poll_server(&mut self, cx: &mut Context<'_>, way: Way<'_>) -> Poll<Opened> {
        loop {
            if ready!(way.server.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Opened::Silent(SilentEnd::Reset));
            }
            let mut buffer = way.pools.buffers.large();
            let end = match way.server.read_now(&mut buffer) {
                Ok(Some(1..)) => {
                    let down = Half::with_bytes(buffer);
                    let relay = self.relay(way.pools);
                    return Poll::Ready(Opened::Relay(Relay { down, ..relay }));
                }
                Ok(None) => None,
                Ok(Some(0)) => Some(SilentEnd::Closed),
                Err(_) => Some(SilentEnd::Reset),
            };
            way.pools.buffers.give_back(buffer);
            if let Some(end) = end {
                return Poll::Ready(Opened::Silent(end));
            }
        }
    }

    fn poll_client(&mut self, cx: &mut Context<'_>, way: Way<'_>) -> Poll<Opened> {
        loop {
            if ready!(self.poll_send(cx, way)).is_err() {
                // It may have answered before it broke.
                return match self.poll_server(cx, way) {
                    Poll::Pending => Poll::Ready(Opened::Silent(SilentEnd::Reset)),
                    opened @ Poll::Ready(_) => opened,
                };
            }
            if self.is_ended {
                return Poll::Pending;
            }
            if ready!(way.client.poll_read_ready(cx)).is_err() {
                return Poll::Ready(client_reset(way));
            }
            let mut buffer = way.pools.buffers.large();
            match way.client.read_now(&mut buffer) {
                Ok(Some(count)) if self.kept.len() + count > self.max => {
                    return Poll::Ready(Opened::Relay(self.relay_after(buffer)));
                }
                Ok(Some(0)) => self.is_ended = true,
                Ok(Some(_)) => self.kept.extend_from_slice(buffer.bytes()),
                Ok(None) => {}
                Err(_) => {
                    way.pools.buffers.give_back(buffer);
                    return Poll::Ready(client_reset(way));
                }
            }
            way.pools.buffers.give_back(buffer);
        }
    }

    /// Sends what this server has not had yet, and the client's end after that.
    fn poll_send(&mut self, cx: &mut Context<'_>, way: Way<'_>) -> Poll<std::io::Result<()>> {
        while self.sent < self.kept.len() {
            self.sent += ready!(way.server.poll_write(cx, &self.kept[self.sent..]))?;
        }
        if self.is_ended && !self.is_end_told {
            self.is_end_told = true;
            way.server.shutdown_write()?;
        }
        Poll::Ready(Ok(()))
    }
}

/// Whether bytes of a client come within a moment. A server that is killed between a client's
/// connection and its first bytes must not pass for one that closed on a silent client.
async fn is_about_to_speak(client: &Stream, deadline: &Deadline) -> bool {
    deadline.set(Worker::now() + MOMENT);
    poll_fn(|cx| {
        if client.poll_read_ready(cx).is_ready() {
            return Poll::Ready(matches!(peek(client.as_fd()), PeekResult::Data));
        }
        match deadline.alarm() {
            Some(_) => Poll::Ready(false),
            None => Poll::Pending,
        }
    })
    .await
}

fn client_reset(way: Way<'_>) -> Opened {
    way.server.reset_on_close();
    Opened::Over(RelayEnd::ClientReset)
}

/// Chosen: longer than a client on this side of the world takes from its connection to its first
/// bytes, and too short to be missed by one that has none.
const MOMENT: Duration = Duration::from_millis(300);
