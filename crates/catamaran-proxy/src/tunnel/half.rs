//! One direction of a relay: bytes of one socket to another, and the end of them.
//!
//! ```text
//!   Buffered --- two full buffers in a row ---> Spliced
//!   Buffered <-- eight small moves in a row --- Spliced
//! ```
//! A flow is copied through a pooled buffer while it is interactive and moved by splice(2) once it
//! proves bulky: a splice costs two calls per move and pays only when each moves much. Where the
//! switch pays best is measured in part only, see `BULKY_AFTER`. Neither buffer nor pipe is held while no bytes are in
//! flight.

use crate::io::{Buffer, BufferPool, LARGE, PipePool, Stream, splice_from};
use crate::throttle::Throttle;
use catamaran_sys::splice::{More, Pipe};
use std::io;
use std::task::{Context, Poll, ready};

/// Full buffers in a row after which a flow counts as bulky: two of 64 KiB. Chosen to agree with
/// bodies of HTTP, for which see docs/benchmarks.md; not measured in tunnels.
const BULKY_AFTER: u64 = splice_from(128 * 1024) / LARGE as u64;
/// Small moves in a row after which a bulky flow counts as interactive again.
const INTERACTIVE_AFTER: u64 = 8;
/// A move below this many bytes is small.
const SMALL_MOVE: usize = 8 * 1024;
/// Most bytes moved by one splice call; the pipe bounds it further.
const MAX_SPLICE: usize = 1024 * 1024;

/// Bytes moved in one turn, where neither socket ever blocks: then come the other direction and
/// other connections. Chosen: some tenths of a millisecond of work.
pub(crate) const MAX_TURN: u64 = 1024 * 1024;

/// One direction of a relay.
#[derive(Debug, Default)]
pub(crate) struct Half {
    held: Held,
    mode: Mode,
    /// Moves in a row that speak for the other mode.
    streak: u64,
    stage: Stage,
    /// Whether the reactor was asked to wake the task when the source has something, and has not
    /// done so since.
    is_awaited: bool,
    /// Bytes passed on so far.
    pub(crate) moved: u64,
    /// Where bytes are limited.
    pub(crate) throttle: Option<Box<Throttle>>,
}

#[derive(Debug, Default)]
enum Held {
    #[default]
    Nothing,
    Buffer(Buffer),
    Pipe {
        pipe: Pipe,
        bytes: usize,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    #[default]
    Buffered,
    Spliced,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Flowing,
    /// The source has ended; what is held must still go out.
    Ending,
    Ended,
}

/// Which socket failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HalfError {
    /// The one that is read.
    #[error("the connection read from broke")]
    Read(#[source] io::Error),
    /// The one that is written.
    #[error("the connection written to broke")]
    Write(#[source] io::Error),
}

/// Where a half borrows what it holds bytes in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pools<'a> {
    /// Buffers of the worker.
    pub(crate) buffers: &'a BufferPool,
    /// Pipes of the worker.
    pub(crate) pipes: &'a PipePool,
}

impl Half {
    /// A half that first sends what `buffer` holds.
    pub(crate) fn with_bytes(buffer: Buffer) -> Self {
        Self {
            held: Held::Buffer(buffer),
            ..Self::default()
        }
    }

    /// Takes note that the source has ended: nothing is read from it any more.
    pub(crate) const fn end(&mut self) {
        self.stage = Stage::Ending;
    }

    /// Moves bytes until a socket would block or its turn is over; ready when the source has ended
    /// and the end was passed on.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        pools: Pools<'_>,
        from: &Stream,
        to: &Stream,
    ) -> Poll<Result<(), HalfError>> {
        let turn_ends = self.moved + MAX_TURN;
        loop {
            if let Some(throttle) = &mut self.throttle {
                ready!(throttle.poll_turn(cx));
            }
            ready!(self.poll_send(cx, pools, to)).map_err(HalfError::Write)?;
            match self.stage {
                Stage::Flowing => {}
                Stage::Ending => {
                    to.shutdown_write().map_err(HalfError::Write)?;
                    self.stage = Stage::Ended;
                }
                Stage::Ended => return Poll::Ready(Ok(())),
            }
            if self.stage == Stage::Flowing {
                if self.moved >= turn_ends {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                ready!(self.poll_source(cx, from)).map_err(HalfError::Read)?;
                ready!(self.poll_receive(cx, pools, from)).map_err(HalfError::Read)?;
            }
        }
    }

    /// Gives back what was borrowed. Bytes still held are lost: the connections are being closed.
    pub(crate) fn release(&mut self, pools: Pools<'_>) {
        match std::mem::take(&mut self.held) {
            Held::Nothing => {}
            Held::Buffer(buffer) => pools.buffers.give_back(buffer),
            Held::Pipe { pipe, bytes: 0 } => pools.pipes.give_back_empty(pipe),
            Held::Pipe { pipe, .. } => drop(pipe),
        }
    }

    /// Whether the source has something. A half that already waits is polled whenever the other
    /// one has something to do: it must not be entered with the reactor again each time.
    fn poll_source(&mut self, cx: &mut Context<'_>, from: &Stream) -> Poll<io::Result<()>> {
        if from.is_readable() {
            self.is_awaited = false;
            return Poll::Ready(Ok(()));
        }
        if self.is_awaited {
            return Poll::Pending;
        }
        let ready = from.poll_read_ready(cx);
        self.is_awaited = ready.is_pending();
        ready
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        pools: Pools<'_>,
        from: &Stream,
    ) -> Poll<io::Result<()>> {
        let count = match self.mode {
            Mode::Buffered => self.read(pools, from)?,
            Mode::Spliced => ready!(self.poll_splice_in(cx, pools, from))?,
        };
        if count == Some(0) {
            self.stage = Stage::Ending;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what the socket was said to have; `None` if it has nothing after all.
    fn read(&mut self, pools: Pools<'_>, from: &Stream) -> io::Result<Option<usize>> {
        let mut buffer = match self.piece() {
            LARGE.. => pools.buffers.large(),
            _ => pools.buffers.small(),
        };
        let read = from.read_now(&mut buffer);
        if let Ok(Some(1..)) = read {
            self.note(buffer.is_full(), BULKY_AFTER, Mode::Spliced);
            self.held = Held::Buffer(buffer);
        } else {
            pools.buffers.give_back(buffer);
        }
        read
    }

    fn poll_splice_in(
        &mut self,
        cx: &mut Context<'_>,
        pools: Pools<'_>,
        from: &Stream,
    ) -> Poll<io::Result<Option<usize>>> {
        let Ok(pipe) = pools.pipes.take() else {
            // No descriptor for a pipe: the flow goes on through buffers.
            self.mode = Mode::Buffered;
            return Poll::Ready(Ok(None));
        };
        match from.poll_splice_in(cx, &pipe, self.piece()) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.note(count < SMALL_MOVE, INTERACTIVE_AFTER, Mode::Buffered);
                self.held = Held::Pipe { pipe, bytes: count };
                Poll::Ready(Ok(Some(count)))
            }
            other => {
                pools.pipes.give_back_empty(pipe);
                other.map_ok(Some)
            }
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        pools: Pools<'_>,
        to: &Stream,
    ) -> Poll<io::Result<()>> {
        loop {
            let sent = match &mut self.held {
                Held::Nothing => return Poll::Ready(Ok(())),
                Held::Buffer(buffer) if !buffer.is_empty() => {
                    let sent = ready!(to.poll_write(cx, buffer.bytes()))?;
                    buffer.consume(sent);
                    sent
                }
                Held::Pipe { pipe, bytes } if *bytes > 0 => {
                    let sent = ready!(to.poll_splice_out(cx, pipe, *bytes, More::No))?;
                    *bytes -= sent;
                    sent
                }
                Held::Buffer(_) | Held::Pipe { .. } => {
                    self.release(pools);
                    return Poll::Ready(Ok(()));
                }
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved += sent as u64;
            if let Some(throttle) = &mut self.throttle {
                throttle.moved(sent);
            }
        }
    }

    /// Most bytes to take in at once.
    fn piece(&self) -> usize {
        let throttle = self.throttle.as_ref();
        throttle.map_or(MAX_SPLICE, |throttle| throttle.piece())
    }

    /// Counts a move for or against changing to `other`.
    fn note(&mut self, speaks_for_other: bool, needed: u64, other: Mode) {
        self.streak = if speaks_for_other { self.streak + 1 } else { 0 };
        if self.streak >= needed {
            self.streak = 0;
            self.mode = other;
        }
    }
}
