//! Relays of bytes between a client and a server: TCP connections and upgraded HTTP ones.
//!
//! Both directions run independently. A half-close is passed on and the other direction goes on; a
//! reset is passed on as a reset. Without a byte in either direction for the idle time the relay
//! ends.

mod half;
mod opening;

pub(crate) use half::{Half, HalfError, MAX_TURN, Pools};
pub(crate) use opening::{Opened, Opening, Way};

use crate::io::Stream;
use crate::worker::{Alarm, Deadline};
use catamaran_core::Timestamp;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelayEnd {
    /// Both sides closed in order.
    Closed,
    /// The client broke the connection.
    ClientReset,
    /// The server broke the connection.
    ServerReset,
    /// No byte for the idle time.
    Idle,
    /// The server was marked down and its backend does not keep such connections.
    ServerDown,
}

/// A relay between a client and a server.
#[derive(Debug, Default)]
pub(crate) struct Relay {
    /// From the client to the server.
    pub(crate) up: Half,
    /// From the server to the client.
    pub(crate) down: Half,
}

impl Relay {
    /// Relays until both directions have ended or one of them broke.
    pub(crate) async fn run(
        &mut self,
        pools: Pools<'_>,
        client: &Stream,
        server: &Stream,
        deadline: &Deadline,
        idle: Duration,
    ) -> RelayEnd {
        let now = || Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
        deadline.set(now() + idle);
        let mut ends = Ends::default();
        let end = poll_fn(|cx| {
            match deadline.alarm() {
                Some(Alarm::Late) => return Poll::Ready(RelayEnd::Idle),
                Some(Alarm::ServerDown) => return Poll::Ready(RelayEnd::ServerDown),
                None => {}
            }
            let before = self.moved();
            if ends.up.is_none()
                && let Poll::Ready(result) = self.up.poll(cx, pools, client, server)
            {
                ends.up = Some(result);
            }
            if ends.down.is_none()
                && let Poll::Ready(result) = self.down.poll(cx, pools, server, client)
            {
                ends.down = Some(result);
            }
            if let Some(end) = ends.verdict() {
                return Poll::Ready(end);
            }
            if self.moved() > before {
                deadline.set(now() + idle);
            }
            Poll::Pending
        })
        .await;
        self.up.release(pools);
        self.down.release(pools);
        match end {
            RelayEnd::Closed | RelayEnd::Idle => {}
            RelayEnd::ClientReset => server.reset_on_close(),
            RelayEnd::ServerReset | RelayEnd::ServerDown => client.reset_on_close(),
        }
        end
    }

    fn moved(&self) -> u64 {
        self.up.moved + self.down.moved
    }
}

/// How each direction ended so far.
#[derive(Debug, Default)]
struct Ends {
    up: Option<Result<(), HalfError>>,
    down: Option<Result<(), HalfError>>,
}

impl Ends {
    /// How the relay ended, once it has.
    ///
    /// A socket that cannot be read is broken. One that cannot be written may still hold what the
    /// other side sent before it closed, so that direction goes on until it ends by itself.
    fn verdict(&self) -> Option<RelayEnd> {
        use HalfError::{Read, Write};
        match (&self.up, &self.down) {
            (Some(Err(Read(_))), _) | (Some(Ok(())), Some(Err(Write(_)))) => {
                Some(RelayEnd::ClientReset)
            }
            (_, Some(Err(Read(_)))) | (Some(Err(Write(_))), Some(_)) => Some(RelayEnd::ServerReset),
            (Some(Ok(())), Some(Ok(()))) => Some(RelayEnd::Closed),
            (None, _) | (_, None) => None,
        }
    }
}
