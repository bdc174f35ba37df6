//! The body of one message on its way from one socket to another.
//!
//! Bytes come framed one way and leave framed another: a length stays a length, chunks are taken
//! apart and made anew, a body that ends with its connection leaves in chunks. What is at hand goes
//! out in one call together with the head before it; small pieces are gathered, large ones are sent
//! from where they were read, and what is larger still is spliced where the framing lets it.

use crate::io::{Buffer, Stream, splice_from};
use crate::throttle::Throttle;
use crate::tunnel::{MAX_TURN, Pools};
use catamaran_http1::{BodyReader, ChunkError, ResponseFraming};
use catamaran_http1::{encode_chunk_head, write_last_chunk};
use catamaran_sys::splice::{More, Pipe};
use std::io;
use std::task::{Context, Poll, ready};

/// Data below this many bytes is copied behind the head instead of being sent from the buffer: a
/// copy of it costs less than a second element in the send.
const GATHER: usize = 4 * 1024;
/// Gathered bytes that are sent before more is gathered.
const MAX_GATHERED: usize = 32 * 1024;
/// A body with this much still to come is spliced. Beside copying that takes 0.70 of the time at
/// bodies of 192 KiB and 0.40 at 4 MiB, but not everywhere; smaller values were not measured: see
/// docs/benchmarks.md.
const SPLICE_FROM: u64 = splice_from(128 * 1024);

/// How the body leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// As it is: its length was announced, or the end of the connection ends it.
    #[default]
    Plain,
    /// In chunks.
    Chunked(AtEnd),
}

/// What follows the last chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtEnd {
    /// The trailers that came, those that may be sent on.
    Trailers,
    /// Nothing.
    Nothing,
}

impl AtEnd {
    /// Trailers, if they may pass at all.
    pub(crate) const fn passing(trailers: bool) -> Self {
        if trailers {
            Self::Trailers
        } else {
            Self::Nothing
        }
    }
}

/// Whether bytes that were sent stay in the buffer, for sending them again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Retention {
    /// They are dropped.
    None,
    /// They stay for as long as the buffer can hold the whole message.
    #[default]
    WhileRoom,
}

/// One body on its way.
#[derive(Debug, Default)]
pub(crate) struct Transfer {
    pub(crate) reader: BodyReader,
    leaving: Leaving,
    retention: Retention,
    /// Bytes at the start of the input that are dealt with but retained.
    at: usize,
    /// Bytes of the input from `at` that go out as they are.
    direct: usize,
    /// Bytes of `out` that have gone out.
    sent_of_out: usize,
    /// Whether the CRLF that ends the chunk of `direct` is still owed.
    owes_crlf: bool,
    pipe: Option<(Pipe, usize)>,
    /// Whether the last splice took all that it could.
    fills_pipe: bool,
    /// Whether the kernel may hold back what was sent last, for more to come.
    is_held_back: bool,
    is_flushed: bool,
    /// Bytes of body data received.
    pub(crate) data_bytes: u64,
    /// Bytes that the kernel accepted, heads and framing included.
    pub(crate) sent_bytes: u64,
    /// Whether the last poll moved anything.
    pub(crate) progress: bool,
    /// Where bytes are limited.
    pub(crate) throttle: Option<Box<Throttle>>,
}

/// Why a body did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransferError {
    /// The socket it comes from broke.
    #[error("the connection it comes from broke")]
    Read(#[source] io::Error),
    /// The socket it goes to broke.
    #[error("the connection it goes to broke")]
    Write(#[source] io::Error),
    /// The connection it comes from ended too early.
    #[error("cut before its end")]
    Truncated,
    /// Its framing is malformed.
    #[error("malformed framing")]
    Malformed(#[source] ChunkError),
}

/// The sockets and buffers of a transfer.
pub(crate) struct Ends<'a> {
    pub(crate) pools: Pools<'a>,
    /// Where the body comes from.
    pub(crate) from: &'a mut Stream,
    /// What was read from there; the body begins at its start (or where retention has got to).
    pub(crate) input: &'a mut Buffer,
    /// What goes out first: the head. Becomes the place where small pieces are gathered.
    pub(crate) out: &'a mut Vec<u8>,
    /// Where it goes.
    pub(crate) to: &'a mut Stream,
}

impl Transfer {
    /// Begins: the reader must have been begun, `skip` bytes of the input precede the body.
    pub(crate) fn begin(&mut self, leaving: Leaving, retention: Retention, skip: usize) {
        debug_assert!(self.pipe.is_none());
        self.leaving = leaving;
        self.retention = retention;
        self.at = skip;
        self.direct = 0;
        self.sent_of_out = 0;
        self.owes_crlf = false;
        self.fills_pipe = false;
        self.is_held_back = false;
        self.is_flushed = false;
        self.data_bytes = 0;
        self.sent_bytes = 0;
        self.progress = false;
    }

    /// Forgets the body before: nothing has been received, sent or dropped.
    pub(crate) fn reset(&mut self) {
        debug_assert!(self.pipe.is_none());
        self.reader.begin(ResponseFraming::None);
        self.begin(Leaving::Plain, Retention::WhileRoom, 0);
    }

    /// Whether everything, the head included, has been received and sent.
    pub(crate) fn is_done(&self) -> bool {
        self.is_flushed && self.reader.is_finished()
    }

    /// Bytes at the start of the input that belong to this message and were not consumed.
    pub(crate) fn retained(&self) -> usize {
        self.at
    }

    /// Whether the message could be sent again from the input.
    pub(crate) fn is_retained(&self) -> bool {
        self.retention == Retention::WhileRoom
    }

    /// Moves what can be moved in one turn; ready when the body has arrived whole.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<'_>,
    ) -> Poll<Result<(), TransferError>> {
        self.progress = false;
        let turn_ends = self.sent_bytes + MAX_TURN;
        loop {
            if let Some(throttle) = &mut self.throttle {
                ready!(throttle.poll_turn(cx));
            }
            self.gather(ends).map_err(TransferError::Malformed)?;
            ready!(self.poll_send(cx, ends)).map_err(TransferError::Write)?;
            if self.reader.is_finished() {
                self.is_flushed = true;
                return Poll::Ready(Ok(()));
            }
            // A large piece went out alone: what lies behind it comes before anything new.
            if ends.input.len() > self.at {
                continue;
            }
            if self.sent_bytes >= turn_ends {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            match self.poll_receive(cx, ends) {
                Poll::Ready(result) => result?,
                Poll::Pending if self.owes_crlf => self.write_owed(ends.out),
                Poll::Pending => {
                    if std::mem::take(&mut self.is_held_back) {
                        ends.to.push();
                    }
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether bytes wait for the socket they go to; `out` is the buffer for gathered ones.
    pub(crate) fn has_unsent(&self, out: &[u8]) -> bool {
        self.direct > 0
            || self.sent_of_out < out.len()
            || self.pipe.as_ref().is_some_and(|(_, bytes)| *bytes > 0)
    }

    /// Drops what is left of a transfer that ended badly.
    pub(crate) fn abandon(&mut self) {
        self.pipe = None;
        self.direct = 0;
        self.throttle = None;
    }

    /// Gives back what was borrowed, when the transfer is abandoned or done.
    pub(crate) fn release(&mut self, pools: Pools<'_>) {
        match self.pipe.take() {
            Some((pipe, 0)) => pools.pipes.give_back_empty(pipe),
            // What is left in it must never reach another connection.
            Some((pipe, _)) => drop(pipe),
            None => {}
        }
    }

    /// Frames what is at hand, up to a piece that is worth sending from where it lies.
    fn gather(&mut self, ends: &mut Ends<'_>) -> Result<(), ChunkError> {
        while self.direct == 0 && !self.reader.is_finished() && ends.out.len() < MAX_GATHERED {
            let input = &ends.input.bytes()[self.at..];
            if input.is_empty() {
                break;
            }
            let step = self.reader.advance(input)?;
            let data = step.data;
            self.data_bytes += data.len() as u64;
            if matches!(self.leaving, Leaving::Chunked(_)) && !data.is_empty() {
                self.write_chunk_head(ends.out, data.len() as u64);
            }
            let framing = data.start;
            if data.len() >= GATHER {
                self.pass(ends.input, framing);
                self.direct = data.len();
                debug_assert_eq!(step.consumed, data.end);
            } else {
                ends.out.extend_from_slice(&input[data]);
                self.pass(ends.input, step.consumed);
                self.write_owed(ends.out);
            }
            if step.finished {
                self.finish(ends.out);
            }
        }
        Ok(())
    }

    fn write_chunk_head(&mut self, out: &mut Vec<u8>, len: u64) {
        self.write_owed(out);
        out.extend_from_slice(encode_chunk_head(len, &mut [0; 18]));
        self.owes_crlf = true;
    }

    /// Frames the end of the body, once all data before it has gone out or is gathered.
    fn finish(&mut self, out: &mut Vec<u8>) {
        if let Leaving::Chunked(at_end) = self.leaving {
            self.write_owed(out);
            let trailers = (at_end == AtEnd::Trailers).then(|| self.reader.trailers());
            write_last_chunk(out, trailers);
        }
    }

    fn write_owed(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.owes_crlf) {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Is done with `count` bytes of the input.
    fn pass(&mut self, input: &mut Buffer, count: usize) {
        match self.retention {
            Retention::WhileRoom => self.at += count,
            Retention::None => input.consume(count),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, ends: &mut Ends<'_>) -> Poll<io::Result<()>> {
        loop {
            if let Some((pipe, bytes)) = &mut self.pipe
                && *bytes > 0
            {
                // Only a full pipe speaks for more at once: the kernel holds the last packet back.
                self.is_held_back = self.fills_pipe && !self.reader.is_finished();
                let more = if self.is_held_back {
                    More::Expected
                } else {
                    More::No
                };
                let sent = ready!(ends.to.poll_splice_out(cx, pipe, *bytes, more))?;
                if sent == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                *bytes -= sent;
                self.sent_bytes += sent as u64;
                self.progress = true;
                if let Some(throttle) = &mut self.throttle {
                    throttle.moved(sent);
                }
                continue;
            }
            let head = &ends.out[self.sent_of_out..];
            if head.is_empty() && self.direct == 0 {
                break;
            }
            let direct = &ends.input.bytes()[self.at..self.at + self.direct];
            let tail: &[u8] = if self.owes_crlf { b"\r\n" } else { b"" };
            let head_len = head.len();
            let sent = ready!(ends.to.poll_write_pieces(cx, [head, direct, tail]))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.progress = true;
            self.sent_bytes += sent as u64;
            if let Some(throttle) = &mut self.throttle {
                throttle.moved(sent);
            }
            let of_head = sent.min(head_len);
            self.sent_of_out += of_head;
            let of_direct = (sent - of_head).min(self.direct);
            self.direct -= of_direct;
            self.pass(ends.input, of_direct);
            match sent - of_head - of_direct {
                0 => {}
                1 => {
                    self.owes_crlf = false;
                    ends.out.clear();
                    ends.out.push(b'\n');
                    self.sent_of_out = 0;
                }
                _ => self.owes_crlf = false,
            }
        }
        ends.out.clear();
        self.sent_of_out = 0;
        self.release(ends.pools);
        Poll::Ready(Ok(()))
    }

    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<'_>,
    ) -> Poll<Result<(), TransferError>> {
        ready!(ends.from.poll_read_ready(cx)).map_err(TransferError::Read)?;
        // Without descriptors for a pipe the body goes on through buffers.
        if self.may_splice(ends)
            && let Ok(pipe) = ends.pools.pipes.take()
        {
            return self.poll_splice(cx, ends, pipe);
        }
        self.make_room(ends);
        match ends.from.read_now(ends.input) {
            Ok(Some(0)) => self.end_of_input(ends),
            Ok(Some(_)) => {
                self.progress = true;
                Poll::Ready(Ok(()))
            }
            Ok(None) => {
                if self.retention == Retention::None && ends.input.is_empty() {
                    ends.pools.buffers.give_back(std::mem::take(ends.input));
                }
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(TransferError::Read(error))),
        }
    }

    fn end_of_input(&mut self, ends: &mut Ends<'_>) -> Poll<Result<(), TransferError>> {
        if self.reader.on_eof().is_err() {
            return Poll::Ready(Err(TransferError::Truncated));
        }
        self.finish(ends.out);
        Poll::Ready(Ok(()))
    }

    /// Sees to it that there is room to read into; stops retaining what no longer fits.
    fn make_room(&mut self, ends: &mut Ends<'_>) {
        if ends.input.capacity() == 0 {
            *ends.input = ends.pools.buffers.large();
        }
        if !ends.input.is_full() {
            return;
        }
        if ends.input.capacity() < crate::io::LARGE {
            ends.pools.buffers.grow(ends.input);
            return;
        }
        if self.retention == Retention::WhileRoom {
            self.retention = Retention::None;
            ends.input.consume(self.at);
            self.at = 0;
        }
        ends.input.compact();
    }

    fn may_splice(&self, ends: &Ends<'_>) -> bool {
        self.leaving == Leaving::Plain
            && self.reader.remaining_length() >= SPLICE_FROM
            && self.retention == Retention::None
            && ends.input.is_empty()
    }

    fn poll_splice(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<'_>,
        pipe: Pipe,
    ) -> Poll<Result<(), TransferError>> {
        if ends.input.capacity() > 0 {
            ends.pools.buffers.give_back(std::mem::take(ends.input));
        }
        let wanted = usize::try_from(self.reader.remaining_length())
            .unwrap_or(usize::MAX)
            .min(pipe.capacity())
            .min(self.throttle.as_ref().map_or(usize::MAX, |t| t.piece()));
        match ends.from.poll_splice_in(cx, &pipe, wanted) {
            Poll::Ready(Ok(count)) if count > 0 => {
                self.reader.skip(count as u64);
                self.data_bytes += count as u64;
                self.fills_pipe = count == wanted;
                self.pipe = Some((pipe, count));
                self.progress = true;
                Poll::Ready(Ok(()))
            }
            other => {
                ends.pools.pipes.give_back_empty(pipe);
                match ready!(other) {
                    Ok(_) => self.end_of_input(ends),
                    Err(error) => Poll::Ready(Err(TransferError::Read(error))),
                }
            }
        }
    }
}
