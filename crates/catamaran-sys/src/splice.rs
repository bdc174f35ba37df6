//! Moving bytes between sockets through a pipe, without copying them to user space.
//!
//! `EAGAIN` of [`Pipe::splice_in`] means an empty socket *or* a full pipe. Only a caller that knows
//! how much lies in the pipe can tell, so that accounting is the caller's. A pipe that may hold
//! bytes must never serve another connection: drop it.

use crate::check;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A pipe whose ends do not block and are closed on exec.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
    capacity: usize,
}

/// Whether more bytes follow those of a [`Pipe::splice_out`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum More {
    /// The kernel may wait for more to fill a packet (`SPLICE_F_MORE`).
    Expected,
    /// What is there is sent now.
    No,
}

impl Pipe {
    /// Opens a pipe and asks for room for `capacity` bytes.
    ///
    /// The kernel rounds up to a power of two of pages and gives less to a user that holds many
    /// pipes (`pipe(7)`, pipe-user-pages-soft); see [`Pipe::capacity`] for what came of it.
    ///
    /// # Errors
    /// When the process or the system is out of descriptors.
    pub fn new(capacity: usize) -> io::Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: `ends` has room for the two descriptors that the call writes.
        check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) })?;
        // SAFETY: pipe2 succeeded, so this descriptor is open and nobody else's.
        let reader = unsafe { OwnedFd::from_raw_fd(ends[0]) };
        // SAFETY: as above, and it differs from the first.
        let writer = unsafe { OwnedFd::from_raw_fd(ends[1]) };
        let asked = libc::c_int::try_from(capacity).unwrap_or(libc::c_int::MAX);
        // The pipe works at any size, so a refusal (EPERM above pipe-max-size) is no error.
        // SAFETY: F_SETPIPE_SZ takes an integer and touches no memory of ours.
        unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_SETPIPE_SZ, asked) };
        // SAFETY: F_GETPIPE_SZ takes no argument.
        let granted = check(unsafe { libc::fcntl(writer.as_raw_fd(), libc::F_GETPIPE_SZ) })?;
        Ok(Self {
            reader,
            writer,
            capacity: usize::try_from(granted).expect("check lets no negative number pass"),
        })
    }

    /// Bytes that fit when they arrive in whole pages; short segments take a page each.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Moves up to `len` bytes from the socket `from` into the pipe; 0 is the end of the stream.
    ///
    /// # Errors
    /// `WouldBlock` when the socket is empty or the pipe full, else what the socket reports.
    pub fn splice_in(&self, from: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
        splice(from, self.writer.as_fd(), len, 0)
    }

    /// Moves up to `len` bytes from the pipe into the socket `to`.
    ///
    /// # Errors
    /// `WouldBlock` when the socket takes no more or the pipe is empty, else what the socket
    /// reports. A socket closed for writing raises SIGPIPE besides `BrokenPipe`: Rust programs
    /// ignore that signal unless told otherwise.
    pub fn splice_out(&self, to: BorrowedFd<'_>, len: usize, more: More) -> io::Result<usize> {
        let flags = match more {
            More::Expected => libc::SPLICE_F_MORE,
            More::No => 0,
        };
        splice(self.reader.as_fd(), to, len, flags)
    }
}

fn splice(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    len: usize,
    flags: libc::c_uint,
) -> io::Result<usize> {
    // SAFETY: both descriptors are borrowed, thus open; null offsets are what pipes and sockets
    // demand; no memory of ours is touched.
    let moved = unsafe {
        libc::splice(
            from.as_raw_fd(),
            std::ptr::null_mut(),
            to.as_raw_fd(),
            std::ptr::null_mut(),
            len,
            flags | libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
        )
    };
    crate::check_len(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read, Write};
    use std::net::{Shutdown, TcpListener, TcpStream};

    fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn bytes_pass_through_the_pipe_in_order_and_the_end_is_zero() {
        let pipe = Pipe::new(65_536).unwrap();
        let (mut source, source_far) = connected();
        let (sink, mut sink_far) = connected();
        source.write_all(b"hello").unwrap();
        source.shutdown(Shutdown::Write).unwrap();
        source_far.peek(&mut [0]).unwrap();
        assert_eq!(pipe.splice_in(source_far.as_fd(), 65_536).unwrap(), 5);
        assert_eq!(pipe.splice_out(sink.as_fd(), 5, More::No).unwrap(), 5);
        let mut buf = [0; 5];
        sink_far.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"hello");
        assert_eq!(source_far.peek(&mut [0]).unwrap(), 0);
        assert_eq!(pipe.splice_in(source_far.as_fd(), 65_536).unwrap(), 0);
    }

    #[test]
    fn an_empty_socket_and_an_empty_pipe_would_block() {
        let pipe = Pipe::new(65_536).unwrap();
        let (_client, far) = connected();
        far.set_nonblocking(true).unwrap();
        let error = pipe.splice_in(far.as_fd(), 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let error = pipe.splice_out(far.as_fd(), 1, More::No).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn the_capacity_is_at_least_a_page() {
        assert!(Pipe::new(1).unwrap().capacity() >= 4096);
        assert!(Pipe::new(256 * 1024).unwrap().capacity() >= 4096);
    }
}
