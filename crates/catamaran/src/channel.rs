//! The line between supervisor and data process: whole messages over a socket of packets.
//!
//! ```text
//! a message     begin: version u16 | kind u8 | length of the body u32 | number of descriptors u32
//!               body, in packets of at most 32 KiB
//!               one byte and up to 253 descriptors a packet
//! ```
//! Numbers are little-endian. What bodies hold is told where they are made.

use anyhow::{Context as _, ensure};
use catamaran_sys::fd_passing::{self, MAX_FDS, Received};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::Arc;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, mpsc};

/// A message as it goes over the line.
#[derive(Debug)]
pub(crate) struct Raw {
    pub(crate) kind: u8,
    pub(crate) body: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// One end of the line between supervisor and data process.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Not a stream but a socket of packets, on which only the readiness of this type is used.
    socket: UnixStream,
    /// Held while a message goes out, so that none gets between the parts of another.
    sending: Mutex<()>,
}

impl Channel {
    /// Wraps a non-blocking SOCK_SEQPACKET socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            socket: UnixStream::from_std(socket.into())?,
            sending: Mutex::default(),
        }))
    }

    /// Sends a message with copies of descriptors.
    pub(crate) async fn send(
        &self,
        kind: u8,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> anyhow::Result<()> {
        let _whole = self.sending.lock().await;
        let mut begin = VERSION.to_le_bytes().to_vec();
        begin.push(kind);
        for len in [body.len(), fds.len()] {
            let len = u32::try_from(len).context("more than 4 GiB to hand over")?;
            begin.extend_from_slice(&len.to_le_bytes());
        }
        self.send_packet(&begin, &[]).await?;
        for part in body.chunks(PACKET) {
            self.send_packet(part, &[]).await?;
        }
        for part in fds.chunks(MAX_FDS) {
            self.send_packet(&[DESCRIPTORS], part).await?;
        }
        Ok(())
    }

    /// Receives a message; `None` when the other end is gone. Must not be dropped half-way.
    pub(crate) async fn receive(&self) -> anyhow::Result<Option<Raw>> {
        let mut buf = vec![0; PACKET];
        let begin = match self.receive_packet(&mut buf).await {
            Ok(begin) => begin,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (kind, body_len, fd_count) = read_begin(&buf[..begin.len])?;
        let mut body = Vec::new();
        while body.len() < body_len {
            let part = self.receive_packet(&mut buf).await?;
            body.extend_from_slice(&buf[..part.len]);
        }
        let mut fds = Vec::new();
        while fds.len() < fd_count {
            fds.extend(self.receive_packet(&mut buf).await?.fds);
        }
        Ok(Some(Raw { kind, body, fds }))
    }

    /// Receives messages from now on; ends when the other end is gone.
    pub(crate) fn listen(self: &Arc<Self>) -> mpsc::Receiver<Raw> {
        let (tx, rx) = mpsc::channel(MESSAGES);
        let channel = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                match channel.receive().await {
                    Ok(Some(message)) => {
                        if tx.send(message).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => return,
                    Err(error) => {
                        tracing::error!("the other process cannot be understood: {error:#}");
                        return;
                    }
                }
            }
        });
        rx
    }

    async fn send_packet(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = || fd_passing::send_with_fds(self.socket.as_fd(), bytes, fds);
        self.socket.async_io(Interest::WRITABLE, send).await?;
        Ok(())
    }

    async fn receive_packet(&self, buf: &mut [u8]) -> io::Result<Received> {
        let recv = || fd_passing::recv_with_fds(self.socket.as_fd(), buf);
        let received = self.socket.async_io(Interest::READABLE, recv).await?;
        if received.len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(received)
    }
}

fn read_begin(packet: &[u8]) -> anyhow::Result<(u8, usize, usize)> {
    let (version, rest) = packet.split_first_chunk().context("message is too short")?;
    let version = u16::from_le_bytes(*version);
    ensure!(
        version == VERSION,
        "the other process speaks version {version}, this binary speaks {VERSION}"
    );
    let (kind, rest) = rest.split_first().context("message is too short")?;
    let (body, rest) = rest.split_first_chunk().context("message is too short")?;
    let fds = rest.first_chunk().context("message is too short")?;
    let (body, fds) = (u32::from_le_bytes(*body), u32::from_le_bytes(*fds));
    Ok((*kind, usize::try_from(body)?, usize::try_from(fds)?))
}

/// Raised with every change of the messages.
pub(crate) const VERSION: u16 = 3;
/// Largest packet, in bytes; well under the kernel's default socket buffer of 208 KiB.
const PACKET: usize = 32 * 1024;
const DESCRIPTORS: u8 = b'f';
/// Messages that may wait to be looked at; more wait in the socket.
const MESSAGES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Arc<Channel>, Arc<Channel>) {
        let (ours, theirs) = fd_passing::seqpacket_pair().unwrap();
        (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap())
    }

    #[tokio::test]
    async fn another_version_is_refused() {
        let (ours, theirs) = pair();
        ours.send_packet(&[9, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[])
            .await
            .unwrap();
        let error = theirs.receive().await.unwrap_err().to_string();
        assert!(error.contains("version 2313"), "{error}");
    }

    #[tokio::test]
    async fn messages_longer_than_the_socket_buffer_arrive_whole_and_apart() {
        let (ours, theirs) = pair();
        let long = vec![7; 2_000_000];
        let sending = async {
            let (first, second) =
                tokio::join!(ours.send(1, &long, &[]), ours.send(2, b"short", &[]));
            first.and(second).unwrap();
        };
        let receiving = async {
            let first = theirs.receive().await.unwrap().unwrap();
            let second = theirs.receive().await.unwrap().unwrap();
            (first, second)
        };
        let ((), (first, second)) = tokio::join!(sending, receiving);
        assert_eq!((first.kind, first.body.len()), (1, long.len()));
        assert_eq!((second.kind, second.body.as_slice()), (2, &b"short"[..]));
    }

    #[tokio::test]
    async fn the_end_of_the_other_process_ends_the_messages() {
        let (ours, theirs) = pair();
        ours.send(3, b"", &[]).await.unwrap();
        let mut messages = theirs.listen();
        assert_eq!(messages.recv().await.unwrap().kind, 3);
        drop(ours);
        assert!(messages.recv().await.is_none());
    }
}
