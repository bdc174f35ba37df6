//! What the supervisor gives a new data process, and how the two talk after that.
//!
//! ```text
//! supervisor -> data   begin: version u16 | length of the body u32 | number of descriptors u32
//!                      body, in packets of at most 32 KiB
//!                      one byte and up to 253 descriptors a packet, in the order of the groups
//! data -> supervisor   'r': ready, every listener is served
//!                      'b': every thread turns   'c': the control thread does not
//!                      'w' and its number u16: a worker does not
//! supervisor -> data   'd': drain   's': stop at once
//! ```
//! The body holds the configuration's source and, for each listener, how many of the descriptors
//! are its sockets. Numbers are little-endian; texts carry their length in bytes as u32.

use crate::engine::ListenerSockets;
use crate::source::{AdHoc, Source};
use anyhow::{Context as _, bail, ensure};
use catamaran_core::model::{FrontendId, Protocol};
use catamaran_sys::fd_passing::{self, MAX_FDS, Received};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Everything that a data process needs to serve.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Where its configuration comes from.
    pub(crate) source: Source,
    /// The sockets of every listener.
    pub(crate) listeners: Vec<ListenerSockets>,
}

/// What one process tells the other once the data process has its sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The data process serves.
    Ready,
    /// Every thread of the data process turns.
    Beat,
    /// A thread of it does not.
    Hung(Part),
    /// Take no new clients and end when those in flight are served.
    Drain,
    /// End at once.
    Stop,
}

/// A thread of the data process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The worker of this number.
    Worker(u16),
    /// The control plane.
    Control,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Worker(number) => write!(f, "worker {number}"),
            Self::Control => f.write_str("the control thread"),
        }
    }
}

/// One end of the line between supervisor and data process.
#[derive(Debug)]
pub(crate) struct Channel {
    /// Not a stream but a socket of packets, on which only the readiness of this type is used.
    socket: UnixStream,
}

impl Channel {
    /// Wraps a non-blocking SOCK_SEQPACKET socket.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: UnixStream::from_std(socket.into())?,
        })
    }

    /// Gives `handover` to the other end, keeping the originals of its sockets.
    pub(crate) async fn give(&self, handover: &Handover) -> anyhow::Result<()> {
        let body = encode_body(handover)?;
        let fds: Vec<BorrowedFd<'_>> = handover
            .listeners
            .iter()
            .flat_map(|listener| listener.sockets.iter().map(|fd| fd.as_fd()))
            .collect();
        let mut begin = VERSION.to_le_bytes().to_vec();
        put_len(&mut begin, body.len())?;
        put_len(&mut begin, fds.len())?;
        self.send(&begin, &[]).await?;
        for part in body.chunks(PACKET) {
            self.send(part, &[]).await?;
        }
        for part in fds.chunks(MAX_FDS) {
            self.send(&[SOCKETS], part).await?;
        }
        Ok(())
    }

    /// Takes what the other end gives.
    pub(crate) async fn take(&self) -> anyhow::Result<Handover> {
        let mut buf = vec![0; PACKET];
        let begin = self.recv(&mut buf).await?;
        let mut fields = Fields(&buf[..begin.len]);
        let version = u16::from_le_bytes(fields.array()?);
        ensure!(
            version == VERSION,
            "the supervisor hands over in version {version}, this binary takes {VERSION}"
        );
        let (body_len, fd_count) = (fields.len()?, fields.len()?);
        let mut body = Vec::new();
        while body.len() < body_len {
            let part = self.recv(&mut buf).await?;
            body.extend_from_slice(&buf[..part.len]);
        }
        let mut fds = Vec::new();
        while fds.len() < fd_count {
            fds.extend(self.recv(&mut buf).await?.fds);
        }
        decode_body(&body, fds)
    }

    /// Tells the other end.
    pub(crate) async fn tell(&self, notice: Notice) -> io::Result<()> {
        self.send(&notice.encode(), &[]).await
    }

    /// Waits for what the other end tells; `None` when it is gone.
    pub(crate) async fn hear(&self) -> Option<Notice> {
        let mut packet = [0; 3];
        let received = self.recv(&mut packet).await.ok()?;
        Notice::decode(&packet[..received.len])
    }

    async fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let send = || fd_passing::send_with_fds(self.socket.as_fd(), bytes, fds);
        self.socket.async_io(Interest::WRITABLE, send).await?;
        Ok(())
    }

    async fn recv(&self, buf: &mut [u8]) -> io::Result<Received> {
        let recv = || fd_passing::recv_with_fds(self.socket.as_fd(), buf);
        let received = self.socket.async_io(Interest::READABLE, recv).await?;
        if received.len == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(received)
    }
}

impl Notice {
    fn encode(self) -> Vec<u8> {
        match self {
            Self::Ready => vec![b'r'],
            Self::Beat => vec![b'b'],
            Self::Hung(Part::Control) => vec![b'c'],
            Self::Hung(Part::Worker(number)) => {
                let [low, high] = number.to_le_bytes();
                vec![b'w', low, high]
            }
            Self::Drain => vec![b'd'],
            Self::Stop => vec![b's'],
        }
    }

    const fn decode(packet: &[u8]) -> Option<Self> {
        match packet {
            b"r" => Some(Self::Ready),
            b"b" => Some(Self::Beat),
            b"c" => Some(Self::Hung(Part::Control)),
            [b'w', low, high] => {
                let number = u16::from_le_bytes([*low, *high]);
                Some(Self::Hung(Part::Worker(number)))
            }
            b"d" => Some(Self::Drain),
            b"s" => Some(Self::Stop),
            _ => None,
        }
    }
}

fn encode_body(handover: &Handover) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    match &handover.source {
        Source::Text { path, text } => {
            out.push(SOURCE_TEXT);
            put_text(&mut out, path.to_str().context("the path is not UTF-8")?)?;
            put_text(&mut out, text)?;
        }
        Source::AdHoc(flags) => {
            out.push(SOURCE_AD_HOC);
            out.push(protocol_byte(flags.protocol));
            put_len(&mut out, flags.listen.len())?;
            for address in &flags.listen {
                put_text(&mut out, &address.to_string())?;
            }
            put_len(&mut out, flags.servers.len())?;
            for server in &flags.servers {
                put_text(&mut out, server)?;
            }
        }
    }
    put_len(&mut out, handover.listeners.len())?;
    for listener in &handover.listeners {
        out.extend_from_slice(&listener.frontend.0.to_le_bytes());
        put_len(&mut out, listener.listener)?;
        put_len(&mut out, listener.sockets.len())?;
    }
    Ok(out)
}

fn decode_body(body: &[u8], fds: Vec<OwnedFd>) -> anyhow::Result<Handover> {
    let mut fields = Fields(body);
    let source = match fields.byte()? {
        SOURCE_TEXT => Source::Text {
            path: PathBuf::from(fields.text()?),
            text: fields.text()?,
        },
        SOURCE_AD_HOC => Source::AdHoc(AdHoc {
            protocol: protocol(fields.byte()?)?,
            listen: fields
                .texts()?
                .iter()
                .map(|text| text.parse())
                .collect::<Result<_, _>>()?,
            servers: fields.texts()?,
        }),
        unknown => bail!("unknown kind {unknown} of configuration source"),
    };
    let mut fds = fds.into_iter();
    let count = fields.len()?;
    let mut listeners = Vec::new();
    for _ in 0..count {
        let frontend = FrontendId(u32::from_le_bytes(fields.array()?));
        let (listener, expected) = (fields.len()?, fields.len()?);
        let sockets: Vec<OwnedFd> = fds.by_ref().take(expected).collect();
        ensure!(sockets.len() == expected, "sockets are missing");
        listeners.push(ListenerSockets {
            frontend,
            listener,
            sockets,
        });
    }
    Ok(Handover { source, listeners })
}

const fn protocol_byte(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Http => b'h',
        Protocol::Tcp => b't',
        Protocol::Udp => b'u',
    }
}

fn protocol(byte: u8) -> anyhow::Result<Protocol> {
    match byte {
        b'h' => Ok(Protocol::Http),
        b't' => Ok(Protocol::Tcp),
        b'u' => Ok(Protocol::Udp),
        _ => bail!("unknown protocol {byte}"),
    }
}

fn put_len(out: &mut Vec<u8>, len: usize) -> anyhow::Result<()> {
    let len = u32::try_from(len).context("more than 4 GiB to hand over")?;
    out.extend_from_slice(&len.to_le_bytes());
    Ok(())
}

fn put_text(out: &mut Vec<u8>, text: &str) -> anyhow::Result<()> {
    put_len(out, text.len())?;
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

/// What is left to read of a message.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn array<const N: usize>(&mut self) -> anyhow::Result<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk().context("message is too short")?;
        self.0 = rest;
        Ok(*array)
    }

    fn byte(&mut self) -> anyhow::Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    fn len(&mut self) -> anyhow::Result<usize> {
        Ok(usize::try_from(u32::from_le_bytes(self.array()?))?)
    }

    fn text(&mut self) -> anyhow::Result<String> {
        let len = self.len()?;
        let (text, rest) = self
            .0
            .split_at_checked(len)
            .context("message is too short")?;
        self.0 = rest;
        Ok(String::from_utf8(text.to_vec())?)
    }

    fn texts(&mut self) -> anyhow::Result<Vec<String>> {
        (0..self.len()?).map(|_| self.text()).collect()
    }
}

/// Raised with every change of the messages above.
const VERSION: u16 = 2;
/// Largest packet, in bytes; well under the kernel's default socket buffer of 208 KiB.
const PACKET: usize = 32 * 1024;
const SOCKETS: u8 = b'f';
const SOURCE_TEXT: u8 = 0;
const SOURCE_AD_HOC: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_sys::socket;

    fn listener(id: u32, n: usize) -> ListenerSockets {
        ListenerSockets {
            frontend: FrontendId(id),
            listener: 0,
            sockets: socket::listen_group("127.0.0.1:0".parse().unwrap(), n, 1).unwrap(),
        }
    }

    async fn pass(handover: &Handover) -> anyhow::Result<Handover> {
        let (ours, theirs) = fd_passing::seqpacket_pair()?;
        let (ours, theirs) = (Channel::new(ours)?, Channel::new(theirs)?);
        let (given, taken) = tokio::join!(ours.give(handover), theirs.take());
        given?;
        taken
    }

    fn addresses(handover: &Handover) -> Vec<(u32, String)> {
        let mut out = Vec::new();
        for group in &handover.listeners {
            for fd in &group.sockets {
                let address = socket::local_addr(fd.as_fd()).unwrap();
                out.push((group.frontend.0, address.to_string()));
            }
        }
        out
    }

    #[tokio::test]
    async fn sockets_arrive_under_the_listener_they_belong_to() {
        let handover = Handover {
            source: Source::AdHoc(AdHoc {
                protocol: Protocol::Udp,
                listen: vec!["[::1]:80".parse().unwrap()],
                servers: vec!["a:1".to_owned(), "unix:/b".to_owned()],
            }),
            listeners: vec![listener(0, 2), listener(7, 3)],
        };
        let taken = pass(&handover).await.unwrap();
        assert_eq!(taken.source, handover.source);
        assert_eq!(addresses(&taken), addresses(&handover));
    }

    #[tokio::test]
    async fn a_configuration_longer_than_the_socket_buffer_arrives_whole() {
        let handover = Handover {
            source: Source::Text {
                path: PathBuf::from("/etc/long.toml"),
                text: "# é\n".repeat(400_000),
            },
            listeners: vec![listener(1, 300)],
        };
        let taken = pass(&handover).await.unwrap();
        assert_eq!(taken.source, handover.source);
        assert_eq!(taken.listeners[0].sockets.len(), 300);
    }

    #[tokio::test]
    async fn another_version_is_refused() {
        let (ours, theirs) = fd_passing::seqpacket_pair().unwrap();
        let (ours, theirs) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        ours.send(&[9, 9, 0, 0, 0, 0, 0, 0, 0, 0], &[])
            .await
            .unwrap();
        let error = theirs.take().await.unwrap_err().to_string();
        assert!(error.contains("version 2313"), "{error}");
    }

    #[tokio::test]
    async fn notices_pass_and_the_end_of_the_other_process_is_heard() {
        let (ours, theirs) = fd_passing::seqpacket_pair().unwrap();
        let (ours, theirs) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        for notice in [
            Notice::Drain,
            Notice::Beat,
            Notice::Hung(Part::Control),
            Notice::Hung(Part::Worker(300)),
        ] {
            ours.tell(notice).await.unwrap();
            assert_eq!(theirs.hear().await, Some(notice));
        }
        drop(ours);
        assert_eq!(theirs.hear().await, None);
    }
}
