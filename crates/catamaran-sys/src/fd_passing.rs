//! Handing open descriptors to another process over a unix socket (`unix(7)`, SCM_RIGHTS).

use crate::check;
use crate::control::{Control, space};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Descriptors that fit in one message: the kernel's SCM_MAX_FD.
pub const MAX_FDS: usize = 253;

/// What one [`recv_with_fds`] delivered.
#[derive(Debug)]
pub struct Received {
    /// Bytes written to the buffer; 0 when the other end is closed.
    pub len: usize,
    /// The descriptors, closed on exec, in the order they were sent.
    pub fds: Vec<OwnedFd>,
}

/// A connected pair of sockets that keep message boundaries; non-blocking, closed on exec.
///
/// # Errors
/// When the process or the system is out of descriptors.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: `ends` has room for the two descriptors that the call writes.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) })?;
    // SAFETY: socketpair succeeded, so this descriptor is open and nobody else's.
    let first = unsafe { OwnedFd::from_raw_fd(ends[0]) };
    // SAFETY: as above, and it differs from the first.
    let second = unsafe { OwnedFd::from_raw_fd(ends[1]) };
    Ok((first, second))
}

/// Sends `bytes`, of which there must be at least one, and copies of at most [`MAX_FDS`]
/// descriptors as one message. Returns how many bytes went, which for a stream may be fewer; the
/// descriptors go with the first.
///
/// # Errors
/// `InvalidInput` on too many descriptors or no byte, else what `sendmsg(2)` reports. Never raises
/// SIGPIPE.
pub fn send_with_fds(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    if fds.len() > MAX_FDS || bytes.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control::<CONTROL_LEN>::new();
    if !fds.is_empty() {
        let numbers: Vec<u8> = fds
            .iter()
            .flat_map(|fd| fd.as_raw_fd().to_ne_bytes())
            .collect();
        control.push(libc::SOL_SOCKET, libc::SCM_RIGHTS, &numbers);
    }
    control.send(socket, bytes, None, libc::MSG_NOSIGNAL)
}

/// Receives bytes into `buf` and the descriptors that came with them.
///
/// # Errors
/// `InvalidData` when descriptors or bytes of the message were cut off (too many open files, or a
/// `buf` too small for the packet): what did arrive is closed. Else what `recvmsg(2)` reports.
pub fn recv_with_fds(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Received> {
    let mut control = Control::<CONTROL_LEN>::new();
    let (delivery, _) = control.recv(socket, buf, None, libc::MSG_CMSG_CLOEXEC)?;
    let mut fds = Vec::new();
    for (level, kind, data) in control.messages() {
        if (level, kind) != (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            continue;
        }
        for number in data.as_chunks::<{ size_of::<RawFd>() }>().0 {
            let number = RawFd::from_ne_bytes(*number);
            // SAFETY: the kernel has just opened this descriptor for us; nobody else knows it.
            fds.push(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    if delivery.control_truncated || delivery.truncated {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "message with descriptors was cut off",
        ));
    }
    Ok(Received {
        len: delivery.len,
        fds,
    })
}

const CONTROL_LEN: usize = space(MAX_FDS * size_of::<RawFd>());

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Seek, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_passed_descriptor_is_the_same_open_file() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let (mut near, far) = UnixStream::pair().unwrap();
        assert_eq!(
            send_with_fds(ours.as_fd(), b"one", &[far.as_fd()]).unwrap(),
            3
        );
        drop(far);
        let mut buf = [0; 16];
        let mut received = recv_with_fds(theirs.as_fd(), &mut buf).unwrap();
        assert_eq!(&buf[..received.len], b"one");
        let mut passed = UnixStream::from(received.fds.remove(0));
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        passed.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn as_many_descriptors_pass_as_the_kernel_allows_and_no_more() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let many = vec![null.as_fd(); MAX_FDS];
        send_with_fds(ours.as_fd(), b"many", &many).unwrap();
        let received = recv_with_fds(theirs.as_fd(), &mut [0; 4]).unwrap();
        assert_eq!(received.fds.len(), MAX_FDS);
        let too_many = vec![null.as_fd(); MAX_FDS + 1];
        assert!(send_with_fds(ours.as_fd(), b"many", &too_many).is_err());
    }

    #[test]
    fn a_packet_larger_than_the_buffer_is_an_error() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        send_with_fds(ours.as_fd(), b"long", &[]).unwrap();
        let error = recv_with_fds(theirs.as_fd(), &mut [0; 2]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_closed_end_reads_as_nothing() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        drop(ours);
        // A child that another test forks this moment holds a copy until it executes its program.
        let received = loop {
            match recv_with_fds(theirs.as_fd(), &mut [0; 2]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::yield_now();
                }
                outcome => break outcome.unwrap(),
            }
        };
        assert_eq!(received.len, 0);
        assert!(send_with_fds(theirs.as_fd(), b"x", &[]).is_err());
    }

    #[test]
    fn a_passed_file_shares_its_position() {
        let (ours, theirs) = seqpacket_pair().unwrap();
        let mut file = std::fs::File::open("/proc/self/exe").unwrap();
        file.seek(io::SeekFrom::Start(7)).unwrap();
        send_with_fds(ours.as_fd(), b"f", &[file.as_fd()]).unwrap();
        let mut received = recv_with_fds(theirs.as_fd(), &mut [0; 2]).unwrap();
        let mut passed = std::fs::File::from(received.fds.remove(0));
        assert_eq!(passed.stream_position().unwrap(), 7);
    }
}
