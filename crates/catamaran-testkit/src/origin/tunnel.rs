//! Ready-made scripts for raw TCP connections.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::reply::Tunnel;
use crate::client::reset_on_close;
use crate::tagged::TaggedStream;

/// Sends back what comes, and ends when the other side has ended.
#[must_use]
pub fn echo() -> Tunnel {
    Arc::new(|mut stream: TcpStream| {
        let mut buf = vec![0; 64 * 1024];
        while let Ok(len @ 1..) = stream.read(&mut buf) {
            if stream.write_all(&buf[..len]).is_err() {
                return;
            }
        }
        // The other side may be gone already; there is nobody left to tell.
        stream.shutdown(Shutdown::Write).ok();
    })
}

/// Sends these bytes at once, ends its direction, then reads to the end.
#[must_use]
pub fn banner(bytes: impl Into<Vec<u8>>) -> Tunnel {
    let bytes = bytes.into();
    Arc::new(move |mut stream: TcpStream| {
        if stream.write_all(&bytes).is_ok() && stream.shutdown(Shutdown::Write).is_ok() {
            drain(stream);
        }
    })
}

/// Reads everything, sends nothing.
#[must_use]
pub fn sink() -> Tunnel {
    Arc::new(drain)
}

/// Sends `len` bytes of a tagged stream. Connection `n` (from 0) gets owner `first + n`, told in
/// front of the stream as four big-endian bytes so that its reader knows whose it is.
#[must_use]
pub fn tagged(first: u32, len: u64) -> Tunnel {
    let next = AtomicU32::new(first);
    Arc::new(move |mut stream: TcpStream| {
        let owner = next.fetch_add(1, Ordering::Relaxed);
        let mut tagged = TaggedStream::new(owner);
        let mut left = len;
        let mut buf = vec![0; 64 * 1024];
        if stream.write_all(&owner.to_be_bytes()).is_err() {
            return;
        }
        while left > 0 {
            let piece = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            tagged.fill(&mut buf[..piece]);
            if stream.write_all(&buf[..piece]).is_err() {
                return;
            }
            left -= piece as u64;
        }
        if stream.shutdown(Shutdown::Write).is_ok() {
            drain(stream);
        }
    })
}

/// Resets every connection as soon as it has been accepted.
#[must_use]
pub fn reset() -> Tunnel {
    Arc::new(|stream: TcpStream| {
        // A socket that is already broken needs no reset.
        reset_on_close(&stream).ok();
    })
}

fn drain(mut stream: TcpStream) {
    let mut buf = vec![0; 64 * 1024];
    while let Ok(1..) = stream.read(&mut buf) {}
}
