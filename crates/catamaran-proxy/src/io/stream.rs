//! One byte stream, to a client or to a server, whatever its family.
//!
//! Reads and writes go through tokio's readiness: a read that does not fill the buffer counts as
//! having emptied the socket, so that no second read is spent on finding that out.
//!
//! A socket is entered with the reactor when somebody first has to wait for it, not before. A client
//! that connects, asks, is answered and closes is never entered at all, which saves two `epoll_ctl`
//! and their memory: a twentieth of the CPU time of such a connection.

use super::Buffer;
use catamaran_sys::socket::{PeekResult, peek, take_error};
use catamaran_sys::splice::{More, Pipe};
use catamaran_sys::watched::Watched;
use rustix::net::{RecvFlags, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;

/// A connected stream socket, or one that connects: TCP over IPv4 or IPv6, or a socket in the file
/// system.
#[derive(Debug)]
pub(crate) struct Stream(Watched);

impl Stream {
    /// A stream over a socket that does not block.
    pub(crate) const fn new(socket: OwnedFd) -> Self {
        Self(Watched::new(socket))
    }

    /// Enters the socket with the reactor of this thread, if it is not there yet.
    ///
    /// # Errors
    /// The kernel has no room for another one (epoll_ctl(2), ENOMEM and ENOSPC): ours, not the
    /// peer's.
    pub(crate) fn enter(&self) -> io::Result<()> {
        self.0.enter().map(|_| ())
    }

    /// Whether the reactor knows the socket.
    pub(crate) fn is_entered(&self) -> bool {
        self.0.view().is_some()
    }

    /// Reads into the free room of `buffer`; zero is the end of the stream.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buffer: &mut Buffer,
    ) -> Poll<io::Result<usize>> {
        loop {
            // Of a socket that is not entered nothing is known: a read will tell.
            if self.is_entered() {
                ready!(self.poll_read_ready(cx))?;
            }
            if let Some(count) = self.read_now(buffer)? {
                return Poll::Ready(Ok(count));
            }
            self.enter()?;
        }
    }

    /// Reads into the free room of `buffer` once [`Self::poll_read_ready`] has said that there is
    /// something; `None` if there was nothing after all, and readiness is to be asked for again.
    pub(crate) fn read_now(&self, buffer: &mut Buffer) -> io::Result<Option<usize>> {
        let spare = buffer.spare();
        let room = spare.len();
        let mut read = 0;
        let result = self.try_io(Interest::READABLE, || {
            // Not through the C library, whose calls are cancellation points: in a process with
            // threads that costs each of them two atomic operations.
            read = rustix::net::recv(self.as_fd(), spare, RecvFlags::empty())?.1;
            no_more(0 < read && read < room)
        });
        let read = outcome(result, read)?;
        buffer.fill(read.unwrap_or_default());
        Ok(read)
    }

    /// Whether a read would find something; says nothing of what.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.enter()?.poll_read_ready(cx).map_ok(|_| ())
    }

    /// Whether the reactor has seen something to read. Without an answer to whoever waits for it:
    /// a look, which costs neither a lock nor a place in tokio's budget.
    pub(crate) fn is_readable(&self) -> bool {
        self.is_entered() && self.try_io(Interest::READABLE, || Ok(())).is_ok()
    }

    /// Whether the socket takes bytes again.
    pub(crate) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.enter()?.poll_write_ready(cx).map_ok(|_| ())
    }

    /// Writes some of `bytes`.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bytes.len(), || {
            Ok(rustix::net::send(self.as_fd(), bytes, SendFlags::NOSIGNAL)?)
        })
    }

    /// Sends by `send`, which would like to send `wanted` bytes.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        wanted: usize,
        send: impl Fn() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            // The socket nearly always takes bytes, so that readiness is asked for only after a
            // send that did not go. This leaves sends out of tokio's budget; reads are in it.
            let mut sent = 0;
            let result = self.try_io(Interest::WRITABLE, || {
                sent = send()?;
                no_more(0 < sent && sent < wanted)
            });
            if let Some(sent) = outcome(result, sent)? {
                return Poll::Ready(Ok(sent));
            }
            ready!(self.poll_write_ready(cx))?;
        }
    }

    /// Writes some of the pieces, in their order, in one call.
    pub(crate) fn poll_write_pieces(
        &self,
        cx: &mut Context<'_>,
        pieces: [&[u8]; 3],
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(b""); 3];
        let mut count = 0;
        for piece in pieces.into_iter().filter(|piece| !piece.is_empty()) {
            slices[count] = IoSlice::new(piece);
            count += 1;
        }
        if count <= 1 {
            return self.poll_write(cx, &slices[0]);
        }
        let wanted: usize = slices.iter().map(|slice| slice.len()).sum();
        self.poll_send(cx, wanted, || {
            Ok(rustix::io::writev(self.as_fd(), &slices[..count])?)
        })
    }

    /// Moves up to `length` bytes from the socket into `pipe`, which must be empty: only then does
    /// "would block" mean that the socket is.
    pub(crate) fn poll_splice_in(
        &self,
        cx: &mut Context<'_>,
        pipe: &Pipe,
        length: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            match self.try_io(Interest::READABLE, || pipe.splice_in(self.as_fd(), length)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Moves up to `length` bytes, which `pipe` must hold, into the socket.
    pub(crate) fn poll_splice_out(
        &self,
        cx: &mut Context<'_>,
        pipe: &Pipe,
        length: usize,
        more: More,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match self.try_io(Interest::WRITABLE, || {
                pipe.splice_out(self.as_fd(), length, more)
            }) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// What has become of an idle connection: closed, or sent what nobody asked for, or nothing.
    ///
    /// What the reactor has seen decides. Only where it has not seen the socket empty since the last
    /// bytes, as after a splice or a read that filled its buffer, the socket itself is looked at.
    pub(crate) fn seen(&self) -> Seen {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if self.poll_read_ready(&mut cx).is_pending() {
            return Seen::Nothing;
        }
        let looked = self.try_io(Interest::READABLE, || match peek(self.as_fd()) {
            PeekResult::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
            PeekResult::Data | PeekResult::Eof | PeekResult::Error(_) => Ok(()),
        });
        match looked {
            Ok(()) => Seen::Something,
            Err(_) => Seen::Nothing,
        }
    }

    /// Waits until the other end has closed, in order or by a reset, however much that it sent before
    /// is left unread. Returns at once if the reactor cannot watch the socket.
    pub(crate) async fn closed(&self) {
        // The reactor counts the end of the other side among what is urgent.
        self.until(Interest::PRIORITY | Interest::ERROR).await;
    }

    /// As [`Self::closed`], but for a close in order, after which the other end may still read.
    pub(crate) async fn broken(&self) {
        self.until(Interest::ERROR).await;
    }

    async fn until(&self, end: Interest) {
        if let Ok(view) = self.0.enter() {
            // An error of the reactor's ends the wait as well: it is being shut down.
            let _ = view.ready(end).await;
        }
    }

    /// What waits to be read, once the reactor has heard of something; `None` while the connection
    /// stands and is empty. Takes nothing.
    pub(crate) fn poll_peek(&self, cx: &mut Context<'_>) -> Poll<PeekResult> {
        loop {
            if let Err(error) = ready!(self.poll_read_ready(cx)) {
                return Poll::Ready(PeekResult::Error(error));
            }
            let looked = self.try_io(Interest::READABLE, || match peek(self.as_fd()) {
                // What the reactor knew was of bytes that have been read since.
                PeekResult::WouldBlock => Err(io::ErrorKind::WouldBlock.into()),
                seen => Ok(seen),
            });
            if let Ok(seen) = looked {
                return Poll::Ready(seen);
            }
        }
    }

    /// A view of the socket by itself, which sees it break while bytes wait in it unread.
    ///
    /// # Errors
    /// No descriptor is left for it, or the reactor has no room.
    pub(crate) fn breakage(&self) -> io::Result<Breakage> {
        let copy = self.as_fd().try_clone_to_owned()?;
        let copy = Watched::new(copy);
        copy.enter()?;
        Ok(Breakage(copy))
    }

    /// Has the kernel send what it holds back because more was expected (tcp(7), TCP_NODELAY).
    pub(crate) fn push(&self) {
        // A socket that refuses the option shows why at its next write; one in the file system has no
        // need of it.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&self.0, true);
    }

    /// Says that no more bytes will be written.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        catamaran_sys::socket::shutdown_write(self.as_fd())
    }

    /// Makes the coming close a reset, as the other side's end was one.
    pub(crate) fn reset_on_close(&self) {
        // Without effect on a Unix socket; a socket that refuses the option is closed all the same.
        let _ = catamaran_sys::socket::set_linger_zero(self.as_fd());
    }

    /// Makes the coming close tell the other side nothing, as far as may be.
    pub(crate) fn drop_silently(&self) {
        // A Unix socket is on this machine: its peer hears the close.
        let _ = catamaran_sys::socket::set_silent(self.as_fd());
    }

    /// Waits until the connection attempt is decided.
    pub(crate) fn poll_connected(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_ready(cx))?;
        Poll::Ready(match take_error(self.as_fd())? {
            Some(error) => Err(error),
            None => Ok(()),
        })
    }

    /// The socket itself.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    fn try_io<R>(
        &self,
        interest: Interest,
        operation: impl FnOnce() -> io::Result<R>,
    ) -> io::Result<R> {
        match self.0.view() {
            Some(view) => view.try_io(interest, |_| operation()),
            None => operation(),
        }
    }
}

/// Sees a socket break that nobody reads from; see [`Stream::breakage`].
///
/// What the reactor knows of the stream itself stays as it is: there it is readable all the time.
#[derive(Debug)]
pub(crate) struct Breakage(Watched);

impl Breakage {
    /// Whether the connection is broken. Bytes, or the end of the other side in order, are no break.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Ok(view) = self.0.enter() else {
                return Poll::Pending;
            };
            let Ok(mut news) = ready!(view.poll_read_ready(cx)) else {
                return Poll::Pending;
            };
            // A look at what is to be read would find bytes still, before the error.
            if !matches!(take_error(self.0.as_fd()), Ok(None)) {
                return Poll::Ready(());
            }
            news.clear_ready();
        }
    }
}

/// Tells the reactor whether the socket is known to be empty, or full, after a move of bytes: a
/// read that left room, or a write that left bytes, saves the call that would find that out.
fn no_more(is_so: bool) -> io::Result<()> {
    if is_so {
        Err(io::ErrorKind::WouldBlock.into())
    } else {
        Ok(())
    }
}

/// What came of a move of `count` bytes; `None` if it has to be tried again.
fn outcome(result: io::Result<()>, count: usize) -> io::Result<Option<usize>> {
    match result {
        Ok(()) => Ok(Some(count)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok((count > 0).then_some(count)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the reactor has seen of an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It is as it was left.
    Nothing,
    /// It was closed, or bytes came.
    Something,
}
