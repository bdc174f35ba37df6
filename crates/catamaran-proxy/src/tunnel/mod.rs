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
use crate::state::Meters;
use crate::throttle::Throttle;
use crate::worker::{Alarm, Deadline, Worker};
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
        let mut silence = Silence::begin(deadline, idle);
        let mut ends = Ends::default();
        let end = poll_fn(|cx| {
            match deadline.alarm() {
                // One whose listener is gone ends even if bytes move.
                Some(Alarm::Late)
                    if deadline.is_over() || silence.is_over(self.moved(), deadline) =>
                {
                    return Poll::Ready(RelayEnd::Idle);
                }
                Some(Alarm::ServerDown) => return Poll::Ready(RelayEnd::ServerDown),
                Some(Alarm::Late) | None => {}
            }
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
            ends.verdict().map_or(Poll::Pending, Poll::Ready)
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

    /// Has bytes wait for their turn where `meters` limit them.
    pub(crate) fn throttle(&mut self, meters: &Meters) {
        self.up.throttle = meters.inbound.as_ref().map(Throttle::new);
        self.down.throttle = meters.outbound.as_ref().map(Throttle::new);
    }

    fn moved(&self) -> u64 {
        self.up.moved + self.down.moved
    }
}

/// For how long nothing has moved.
///
/// Reading the clock for each move was 7 % of an interactive flow's time in user space. Instead it
/// is looked now and then whether anything has moved since the last look, so that
/// a relay ends at the earliest after the idle time, at the latest an eighth of it later.
#[derive(Debug)]
struct Silence {
    idle: Duration,
    /// Bytes moved at the last look that found something moved.
    moved: u64,
    /// When that was.
    since: Timestamp,
}

impl Silence {
    /// Looks while there is traffic, in each idle time.
    const LOOKS: u32 = 8;

    fn begin(deadline: &Deadline, idle: Duration) -> Self {
        let since = Worker::now();
        deadline.set(since + idle / Self::LOOKS);
        Self {
            idle,
            moved: 0,
            since,
        }
    }

    /// Whether nothing has moved for the idle time; otherwise sets when to look next.
    fn is_over(&mut self, moved: u64, deadline: &Deadline) -> bool {
        let now = Worker::now();
        if moved > self.moved {
            self.moved = moved;
            self.since = now;
            deadline.set(now + self.idle / Self::LOOKS);
            return false;
        }
        let end = self.since + self.idle;
        deadline.set(end);
        end <= now
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
