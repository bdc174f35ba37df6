//! What supervisor and data process tell each other.
//!
//! ```text
//! supervisor -> data   H: configuration and sockets   d: drain   s: stop   r: reload
//!                      p: sockets that were asked for, or why not   k: noted   D: the door
//! data -> supervisor   R: ready   O: open sockets   K: keep configuration and sockets
//!                      b: every thread turns   c: the control thread does not
//!                      w: a worker, whose number u16 follows, does not
//!                      f: a reload is over   e: was asked to end   z: end everything
//! at the door          i: there is a supervisor, of process u32   o: there is none; all it needs
//!                      A: took over
//! ```
//! In bodies texts carry their length in bytes as u32, lists their number of elements.

use crate::channel::{Channel, Raw};
use crate::engine::ListenerSockets;
use crate::source::{AdHoc, Source};
use anyhow::{Context as _, bail, ensure};
use catamaran_control::reload::Text;
use catamaran_core::model::{ListenerKey, Name, Protocol};
use catamaran_proxy::WantedListener;
use catamaran_sys::memory;
use std::fs::File;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a data process needs to serve.
#[derive(Debug)]
pub(crate) struct Handover {
    /// Where its configuration comes from.
    pub(crate) source: Source,
    /// The sockets of every listener.
    pub(crate) listeners: Vec<ListenerSockets>,
    /// What the process before has left, and where this one is to leave its own.
    pub(crate) state: Option<File>,
}

/// A process that lost its supervisor, and what it gives to the next.
#[derive(Debug)]
pub(crate) struct Orphan {
    /// Its process id.
    pub(crate) pid: u32,
    /// Where the configuration that it serves comes from.
    pub(crate) source: Source,
    /// Copies of its listening sockets.
    pub(crate) listeners: Vec<ListenerSockets>,
    /// Where it leaves what is to outlive it.
    pub(crate) state: Option<File>,
    /// How long a drain may take.
    pub(crate) drain: Duration,
    /// A copy of the door.
    pub(crate) door: OwnedFd,
}

/// What another data process is to begin with.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The configuration; `None` leaves the one before.
    pub(crate) text: Option<Text>,
    /// Its listeners; sockets of others are to be closed.
    pub(crate) listeners: Vec<ListenerKey>,
    /// How long a drain may take.
    pub(crate) drain: Duration,
}

/// A message of one process to the other.
#[derive(Debug)]
pub(crate) enum Message {
    /// Serve this.
    Handover(Handover),
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
    /// Read the configuration anew.
    Reload,
    /// Open sockets, that many for each listener.
    Open(usize, Vec<WantedListener>),
    /// Those asked for, or what to tell the operator.
    Opened(Result<Vec<ListenerSockets>, String>),
    /// What another data process is to begin with.
    Keep(Keep),
    /// That was noted.
    Kept,
    /// Answer at this door when the supervisor is gone.
    Door(OwnedFd),
    /// The configuration was read anew; whether it is served.
    Reloaded(bool),
    /// The data process ends: it was asked to by a signal.
    Ending,
    /// An operator asks for the end of everything.
    EndAll,
    /// The process of this id serves the configuration.
    Busy(u32),
    /// Nobody supervises the process that serves it.
    Orphan(Box<Orphan>),
    /// An operator asks for another binary: the one at this path, else the one at the usual place.
    Upgrade(Option<PathBuf>),
    /// What came of it.
    Upgraded(Result<String, String>),
    /// Begin no reload: another data process is being started.
    Hold,
    /// None is under way.
    Held,
    /// The data process could begin to serve at once.
    Prepared,
    /// Take no more clients, and leave everything to the other.
    Leave,
    /// That is done; where pages and API are served.
    Left(Doors),
    /// Go on as if nothing had been: the other has come to nothing.
    Resume,
    /// Serve, with these doors; the predecessor reports on this line.
    Take(Doors, OwnedFd),
    /// Serve whom you have to the end, and report on this line.
    Retire(OwnedFd),
    /// Another supervisor comes presently, in place of this one.
    Expect,
    /// What a predecessor has to tell.
    Report(Vec<u8>),
    /// Another supervisor has all it needs; with the line to its vrrp process, if it has one.
    Adopt(Option<OwnedFd>),
}

/// The sockets of pages and API, which are nobody else's business.
#[derive(Debug, Default)]
pub(crate) struct Doors {
    /// Of the API on a unix socket, of the API over TCP, of the pages.
    pub(crate) sockets: [Option<OwnedFd>; 3],
}

impl Doors {
    /// Copies, as far as there are descriptors.
    pub(crate) fn copy(&self) -> Self {
        let copy = |socket: &Option<OwnedFd>| socket.as_ref()?.try_clone().ok();
        Self {
            sockets: self.sockets.each_ref().map(copy),
        }
    }
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

impl Handover {
    /// For the first of processes that follow each other.
    pub(crate) fn new(source: Source, listeners: Vec<ListenerSockets>) -> Self {
        let state = memory::anonymous_file("catamaran-state").inspect_err(|error| {
            tracing::error!(%error, "nothing is kept for the next data process");
        });
        Self {
            source,
            listeners,
            state: state.ok(),
        }
    }

    /// Sends it, keeping the originals of its sockets.
    pub(crate) async fn send(&self, channel: &Channel) -> anyhow::Result<()> {
        let (mut body, mut fds) = (Vec::new(), Vec::new());
        put_source(&mut body, &self.source)?;
        put_sockets(&mut body, &mut fds, &self.listeners)?;
        body.push(u8::from(self.state.is_some()));
        fds.extend(self.state.iter().map(|state| state.as_fd()));
        channel.send(b'H', &body, &fds).await
    }
}

impl Message {
    /// Sends the message, keeping the originals of its sockets.
    pub(crate) async fn send(&self, channel: &Channel) -> anyhow::Result<()> {
        let mut body = Vec::new();
        let mut fds: Vec<BorrowedFd<'_>> = Vec::new();
        let kind = match self {
            Self::Hung(Part::Worker(number)) => {
                body.extend_from_slice(&number.to_le_bytes());
                b'w'
            }
            Self::Handover(handover) => return handover.send(channel).await,
            Self::Open(count, wanted) => {
                put_len(&mut body, *count)?;
                put_wanted(&mut body, wanted)?;
                b'O'
            }
            Self::Opened(Ok(listeners)) => {
                body.push(1);
                put_sockets(&mut body, &mut fds, listeners)?;
                b'p'
            }
            Self::Opened(Err(reason)) => {
                body.push(0);
                put_text(&mut body, reason)?;
                b'p'
            }
            Self::Keep(keep) => {
                put_keep(&mut body, keep)?;
                b'K'
            }
            Self::Door(door) => {
                fds.push(door.as_fd());
                b'D'
            }
            Self::Reloaded(is_applied) => {
                body.push(u8::from(*is_applied));
                b'f'
            }
            Self::Busy(pid) => {
                body.extend_from_slice(&pid.to_le_bytes());
                b'i'
            }
            Self::Orphan(orphan) => {
                put_orphan(&mut body, &mut fds, orphan)?;
                b'o'
            }
            Self::Adopt(link) => {
                fds.extend(link.iter().map(|link| link.as_fd()));
                b'A'
            }
            other => other.put_succession(&mut body, &mut fds)?,
        };
        channel.send(kind, &body, &fds).await
    }

    /// Puts what is said when one process takes another's place; returns the kind.
    fn put_succession<'a>(
        &'a self,
        body: &mut Vec<u8>,
        fds: &mut Vec<BorrowedFd<'a>>,
    ) -> anyhow::Result<u8> {
        Ok(match self {
            Self::Upgrade(path) => {
                body.push(u8::from(path.is_some()));
                if let Some(path) = path {
                    put_text(body, path.to_str().context("the path is not UTF-8")?)?;
                }
                b'u'
            }
            Self::Upgraded(outcome) => {
                body.push(u8::from(outcome.is_ok()));
                let (Ok(told) | Err(told)) = outcome;
                put_text(body, told)?;
                b'U'
            }
            Self::Left(doors) => {
                put_doors(body, fds, doors);
                b'L'
            }
            Self::Take(doors, reports) => {
                put_doors(body, fds, doors);
                fds.push(reports.as_fd());
                b'T'
            }
            Self::Retire(reports) => {
                fds.push(reports.as_fd());
                b'x'
            }
            Self::Report(report) => {
                body.extend_from_slice(report);
                b'v'
            }
            bare => bare.kind_without_body(),
        })
    }

    /// The kind of a message that says all by itself.
    fn kind_without_body(&self) -> u8 {
        match self {
            Self::Ready => b'R',
            Self::Drain => b'd',
            Self::Stop => b's',
            Self::Reload => b'r',
            Self::Kept => b'k',
            Self::Beat => b'b',
            Self::Hung(_) => b'c',
            Self::Ending => b'e',
            Self::EndAll => b'z',
            Self::Hold => b'h',
            Self::Held => b'q',
            Self::Prepared => b'P',
            Self::Leave => b'l',
            Self::Resume => b'm',
            Self::Expect => b'X',
            other => unreachable!("{other:?} has a body"),
        }
    }

    /// Reads a message.
    pub(crate) fn read(raw: Raw) -> anyhow::Result<Self> {
        let Raw { kind, body, fds } = raw;
        let mut fields = Fields(&body);
        let mut fds = fds.into_iter();
        Ok(match kind {
            b'R' => Self::Ready,
            b'd' => Self::Drain,
            b's' => Self::Stop,
            b'r' => Self::Reload,
            b'k' => Self::Kept,
            b'b' => Self::Beat,
            b'c' => Self::Hung(Part::Control),
            b'w' => Self::Hung(Part::Worker(u16::from_le_bytes(fields.array()?))),
            b'H' => Self::Handover(Handover {
                source: fields.source()?,
                listeners: fields.sockets(&mut fds)?,
                state: match fields.byte()? {
                    0 => None,
                    _ => Some(fds.next().context("a descriptor is missing")?.into()),
                },
            }),
            b'O' => Self::Open(fields.len()?, fields.wanted()?),
            b'p' => Self::Opened(match fields.byte()? {
                0 => Err(fields.text()?),
                _ => Ok(fields.sockets(&mut fds)?),
            }),
            b'K' => Self::Keep(fields.keep()?),
            b'D' => Self::Door(fds.next().context("the door is missing")?),
            b'f' => Self::Reloaded(fields.byte()? == 1),
            b'e' => Self::Ending,
            b'z' => Self::EndAll,
            b'i' => Self::Busy(u32::from_le_bytes(fields.array()?)),
            b'o' => Self::Orphan(Box::new(fields.orphan(&mut fds)?)),
            b'A' => Self::Adopt(fds.next()),
            b'u' => Self::Upgrade(match fields.byte()? {
                0 => None,
                _ => Some(PathBuf::from(fields.text()?)),
            }),
            b'U' => Self::Upgraded(match fields.byte()? {
                0 => Err(fields.text()?),
                _ => Ok(fields.text()?),
            }),
            b'h' => Self::Hold,
            b'q' => Self::Held,
            b'P' => Self::Prepared,
            b'l' => Self::Leave,
            b'L' => Self::Left(fields.doors(&mut fds)?),
            b'm' => Self::Resume,
            b'T' => Self::Take(fields.doors(&mut fds)?, next_fd(&mut fds)?),
            b'x' => Self::Retire(next_fd(&mut fds)?),
            b'X' => Self::Expect,
            b'v' => Self::Report(body),
            unknown => bail!("unknown kind {unknown} of message"),
        })
    }
}

fn put_source(out: &mut Vec<u8>, source: &Source) -> anyhow::Result<()> {
    match source {
        Source::Text(text) => {
            out.push(SOURCE_TEXT);
            put_config(out, text)?;
        }
        Source::AdHoc(flags) => {
            out.push(SOURCE_AD_HOC);
            out.push(protocol_byte(flags.protocol));
            put_len(out, flags.listen.len())?;
            for address in &flags.listen {
                put_text(out, &address.to_string())?;
            }
            put_len(out, flags.servers.len())?;
            for server in &flags.servers {
                put_text(out, server)?;
            }
        }
    }
    Ok(())
}

fn put_config(out: &mut Vec<u8>, text: &Text) -> anyhow::Result<()> {
    let path = text.path.to_str().context("the path is not UTF-8")?;
    put_text(out, path)?;
    put_text(out, &text.text)
}

fn put_sockets<'a>(
    out: &mut Vec<u8>,
    fds: &mut Vec<BorrowedFd<'a>>,
    listeners: &'a [ListenerSockets],
) -> anyhow::Result<()> {
    put_len(out, listeners.len())?;
    for listener in listeners {
        put_text(out, listener.key.as_str())?;
        put_len(out, listener.sockets.len())?;
        fds.extend(listener.sockets.iter().map(|fd| fd.as_fd()));
    }
    Ok(())
}

fn put_doors<'a>(out: &mut Vec<u8>, fds: &mut Vec<BorrowedFd<'a>>, doors: &'a Doors) {
    for socket in &doors.sockets {
        out.push(u8::from(socket.is_some()));
        fds.extend(socket.iter().map(|socket| socket.as_fd()));
    }
}

fn next_fd(fds: &mut impl Iterator<Item = OwnedFd>) -> anyhow::Result<OwnedFd> {
    fds.next().context("a descriptor is missing")
}

fn put_wanted(out: &mut Vec<u8>, wanted: &[WantedListener]) -> anyhow::Result<()> {
    put_len(out, wanted.len())?;
    for listener in wanted {
        put_text(out, listener.key.as_str())?;
        put_text(out, listener.frontend.as_str())?;
        put_text(out, &listener.address.to_string())?;
        out.push(protocol_byte(listener.protocol));
    }
    Ok(())
}

fn put_keep(out: &mut Vec<u8>, keep: &Keep) -> anyhow::Result<()> {
    out.push(u8::from(keep.text.is_some()));
    if let Some(text) = &keep.text {
        put_config(out, text)?;
    }
    put_len(out, keep.listeners.len())?;
    for key in &keep.listeners {
        put_text(out, key.as_str())?;
    }
    put_duration(out, keep.drain);
    Ok(())
}

/// The door comes first among the descriptors, the sockets follow.
fn put_orphan<'a>(
    out: &mut Vec<u8>,
    fds: &mut Vec<BorrowedFd<'a>>,
    orphan: &'a Orphan,
) -> anyhow::Result<()> {
    out.extend_from_slice(&orphan.pid.to_le_bytes());
    put_source(out, &orphan.source)?;
    put_duration(out, orphan.drain);
    fds.push(orphan.door.as_fd());
    out.push(u8::from(orphan.state.is_some()));
    fds.extend(orphan.state.iter().map(|state| state.as_fd()));
    put_sockets(out, fds, &orphan.listeners)
}

fn put_duration(out: &mut Vec<u8>, duration: Duration) {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    out.extend_from_slice(&millis.to_le_bytes());
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

/// What is left to read of a body.
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

    fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> anyhow::Result<T>,
    ) -> anyhow::Result<Vec<T>> {
        (0..self.len()?).map(|_| one(self)).collect()
    }

    fn config(&mut self) -> anyhow::Result<Text> {
        Ok(Text {
            path: PathBuf::from(self.text()?),
            text: self.text()?,
        })
    }

    fn source(&mut self) -> anyhow::Result<Source> {
        Ok(match self.byte()? {
            SOURCE_TEXT => Source::Text(self.config()?),
            SOURCE_AD_HOC => Source::AdHoc(AdHoc {
                protocol: protocol(self.byte()?)?,
                listen: self.list(|fields| Ok(fields.text()?.parse()?))?,
                servers: self.list(Self::text)?,
            }),
            unknown => bail!("unknown kind {unknown} of configuration source"),
        })
    }

    fn sockets(
        &mut self,
        fds: &mut impl Iterator<Item = OwnedFd>,
    ) -> anyhow::Result<Vec<ListenerSockets>> {
        self.list(|fields| {
            let key = ListenerKey::from_text(&fields.text()?);
            let expected = fields.len()?;
            let sockets: Vec<OwnedFd> = fds.by_ref().take(expected).collect();
            ensure!(sockets.len() == expected, "sockets are missing");
            Ok(ListenerSockets { key, sockets })
        })
    }

    fn doors(&mut self, fds: &mut impl Iterator<Item = OwnedFd>) -> anyhow::Result<Doors> {
        let mut doors = Doors::default();
        for socket in &mut doors.sockets {
            if self.byte()? != 0 {
                *socket = Some(next_fd(fds)?);
            }
        }
        Ok(doors)
    }

    fn wanted(&mut self) -> anyhow::Result<Vec<WantedListener>> {
        self.list(|fields| {
            Ok(WantedListener {
                key: ListenerKey::from_text(&fields.text()?),
                frontend: Name::new(&fields.text()?),
                address: fields.text()?.parse()?,
                protocol: protocol(fields.byte()?)?,
            })
        })
    }

    fn keep(&mut self) -> anyhow::Result<Keep> {
        let text = match self.byte()? {
            0 => None,
            _ => Some(self.config()?),
        };
        Ok(Keep {
            text,
            listeners: self.list(|fields| Ok(ListenerKey::from_text(&fields.text()?)))?,
            drain: self.duration()?,
        })
    }

    fn orphan(&mut self, fds: &mut impl Iterator<Item = OwnedFd>) -> anyhow::Result<Orphan> {
        Ok(Orphan {
            pid: u32::from_le_bytes(self.array()?),
            source: self.source()?,
            drain: self.duration()?,
            door: fds.next().context("the door is missing")?,
            state: match self.byte()? {
                0 => None,
                _ => Some(next_fd(fds)?.into()),
            },
            listeners: self.sockets(fds)?,
        })
    }

    fn duration(&mut self) -> anyhow::Result<Duration> {
        Ok(Duration::from_millis(u64::from_le_bytes(self.array()?)))
    }
}

const SOURCE_TEXT: u8 = 0;
const SOURCE_AD_HOC: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_sys::{fd_passing, socket};
    use std::os::unix::fs::MetadataExt as _;

    fn listener(name: &str, n: usize) -> ListenerSockets {
        ListenerSockets {
            key: ListenerKey::from_text(name),
            sockets: socket::listen_group("127.0.0.1:0".parse().unwrap(), n, 1).unwrap(),
        }
    }

    async fn pass(message: &Message) -> Message {
        let (ours, theirs) = fd_passing::seqpacket_pair().unwrap();
        let (ours, theirs) = (Channel::new(ours).unwrap(), Channel::new(theirs).unwrap());
        let (sent, received) = tokio::join!(message.send(&ours), theirs.receive());
        sent.unwrap();
        Message::read(received.unwrap().unwrap()).unwrap()
    }

    fn addresses(listeners: &[ListenerSockets]) -> Vec<(ListenerKey, String)> {
        let mut out = Vec::new();
        for group in listeners {
            for fd in &group.sockets {
                let address = socket::local_addr(fd.as_fd()).unwrap();
                out.push((group.key.clone(), address.to_string()));
            }
        }
        out
    }

    #[tokio::test]
    async fn sockets_arrive_under_the_listener_they_belong_to() {
        let source = || {
            Source::AdHoc(AdHoc {
                protocol: Protocol::Udp,
                listen: vec!["[::1]:80".parse().unwrap()],
                servers: vec!["a:1".to_owned(), "unix:/b".to_owned()],
            })
        };
        let message = Message::Handover(Handover {
            source: source(),
            listeners: vec![listener("a", 2), listener("b", 300)],
            state: Some(memory::anonymous_file("test").unwrap()),
        });
        let (Message::Handover(given), Message::Handover(taken)) = (&message, pass(&message).await)
        else {
            panic!("another message");
        };
        assert_eq!(taken.source, source());
        assert_eq!(addresses(&taken.listeners), addresses(&given.listeners));
        let inode =
            |handover: &Handover| handover.state.as_ref().unwrap().metadata().unwrap().ino();
        assert_eq!(inode(&taken), inode(given));
    }

    #[tokio::test]
    async fn what_is_asked_of_the_supervisor_arrives_as_it_was_asked() {
        let wanted = vec![WantedListener {
            key: ListenerKey::from_text("udp [::1]:80"),
            frontend: "web".into(),
            address: "[::1]:80".parse().unwrap(),
            protocol: Protocol::Udp,
        }];
        match pass(&Message::Open(3, wanted.clone())).await {
            Message::Open(3, taken) => assert_eq!(taken, wanted),
            other => panic!("{other:?}"),
        }
        let keep = || Keep {
            text: Some(Text {
                path: PathBuf::from("/etc/long.toml"),
                text: "# é\n".repeat(100_000),
            }),
            listeners: vec![ListenerKey::from_text("tcp 127.0.0.1:80")],
            drain: Duration::from_millis(1500),
        };
        match pass(&Message::Keep(keep())).await {
            Message::Keep(taken) => assert_eq!(taken, keep()),
            other => panic!("{other:?}"),
        }
        match pass(&Message::Opened(Err("in use".to_owned()))).await {
            Message::Opened(Err(reason)) => assert_eq!(reason, "in use"),
            other => panic!("{other:?}"),
        }
    }
}
