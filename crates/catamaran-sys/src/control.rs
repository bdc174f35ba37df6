//! Control messages of `sendmsg(2)` and `recvmsg(2)`, read and written as bytes.
//!
//! ```text
//! | length, header included (usize) | level (i32) | type (i32) | data … | padding to usize |
//! ```
//! The layout is the kernel's own (`cmsg(3)`); working on byte slices needs no pointer arithmetic.

use crate::check_len;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Room for the control messages of one call, at most `N` bytes of them.
#[repr(C, align(8))]
#[derive(Debug)]
pub(crate) struct Control<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

/// What one `recvmsg` delivered besides bytes and control messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Bytes written to the buffer.
    pub(crate) len: usize,
    /// Whether control messages were cut off.
    pub(crate) control_truncated: bool,
    /// Whether the datagram was longer than the buffer.
    pub(crate) truncated: bool,
}

impl<const N: usize> Control<N> {
    pub(crate) const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// Appends a message. `data` and [`HEADER`] bytes must fit.
    pub(crate) fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let message = &mut self.bytes[self.len..];
        let used = HEADER + data.len();
        message[..LENGTH].copy_from_slice(&used.to_ne_bytes());
        message[LENGTH..LENGTH + 4].copy_from_slice(&level.to_ne_bytes());
        message[LENGTH + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
        message[HEADER..used].copy_from_slice(data);
        self.len += used.next_multiple_of(LENGTH);
    }

    /// The messages as level, type and data.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (i32, i32, &[u8])> {
        let mut rest = &self.bytes[..self.len];
        std::iter::from_fn(move || {
            let used = usize::from_ne_bytes(rest.get(..LENGTH)?.try_into().ok()?);
            let level = i32::from_ne_bytes(rest.get(LENGTH..LENGTH + 4)?.try_into().ok()?);
            let kind = i32::from_ne_bytes(rest.get(LENGTH + 4..HEADER)?.try_into().ok()?);
            let data = rest.get(HEADER..used)?;
            rest = rest.get(used.next_multiple_of(LENGTH)..).unwrap_or(&[]);
            Some((level, kind, data))
        })
    }

    /// Sends `bytes` with these messages, to `address` if the socket is not connected.
    pub(crate) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        bytes: &[u8],
        address: Option<&socket2::SockAddr>,
        flags: i32,
    ) -> io::Result<usize> {
        let mut part = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let mut header = self.header(&mut part);
        header.msg_controllen = controllen(self.len);
        if let Some(address) = address {
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
        }
        // SAFETY: every pointer in `header` leads to memory borrowed for this call, of the length
        // beside it, and sendmsg writes through none of them.
        check_len(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, flags) })
    }

    /// Receives into `buf`, replacing the messages held; the sender goes to `source`.
    pub(crate) fn recv(
        &mut self,
        socket: BorrowedFd<'_>,
        buf: &mut [u8],
        source: Option<&mut socket2::SockAddrStorage>,
        flags: i32,
    ) -> io::Result<(Delivery, libc::socklen_t)> {
        let mut part = libc::iovec {
            iov_base: buf.as_mut_ptr().cast(),
            iov_len: buf.len(),
        };
        let mut header = self.header(&mut part);
        header.msg_controllen = controllen(N);
        if let Some(source) = source {
            header.msg_namelen = source.size_of();
            header.msg_name = std::ptr::from_mut(source).cast();
        }
        // SAFETY: every pointer in `header` leads to memory borrowed mutably for this call, of the
        // length beside it.
        let len = check_len(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) })?;
        #[allow(
            clippy::useless_conversion,
            reason = "the field is a usize with glibc and a u32 with musl"
        )]
        let control_len = usize::try_from(header.msg_controllen).unwrap_or(0);
        self.len = control_len.min(N);
        let delivery = Delivery {
            len,
            control_truncated: header.msg_flags & libc::MSG_CTRUNC != 0,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
        };
        Ok((delivery, header.msg_namelen))
    }

    fn header(&mut self, part: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: msghdr is plain integers and pointers, for which all zeroes is a valid value.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = part;
        header.msg_iovlen = 1;
        header.msg_control = self.bytes.as_mut_ptr().cast();
        header
    }
}

/// The room that a message with `data` bytes takes.
pub(crate) const fn space(data: usize) -> usize {
    (HEADER + data).next_multiple_of(LENGTH)
}

#[allow(
    clippy::useless_conversion,
    clippy::missing_const_for_fn,
    reason = "the field is a usize with glibc and a u32 with musl"
)]
fn controllen<T: TryFrom<usize>>(len: usize) -> T {
    T::try_from(len)
        .ok()
        .expect("control buffers are a few kilobytes")
}

/// Size of the length that opens a message, and its alignment.
const LENGTH: usize = size_of::<usize>();
/// Size of a message's header.
const HEADER: usize = LENGTH + 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_were_written() {
        let mut control = Control::<128>::new();
        control.push(1, 2, b"abc");
        control.push(3, 4, b"12345678");
        let read: Vec<_> = control.messages().collect();
        assert_eq!(
            read,
            [(1, 2, b"abc".as_slice()), (3, 4, b"12345678".as_slice())]
        );
    }

    #[test]
    fn the_layout_is_that_of_the_c_library() {
        let data = u32::try_from(5).unwrap();
        // SAFETY: CMSG_SPACE only computes.
        let theirs = unsafe { libc::CMSG_SPACE(data) };
        assert_eq!(space(5), theirs as usize);
    }
}
