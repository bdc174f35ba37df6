//! The door of a configuration: a name that one instance at a time holds, and at which another that
//! is started learns who serves.
//!
//! ```text
//! the name is free                  -> ours: keep it, with a copy in the data process
//! a supervisor answers              -> there is one already: the second ends with a message
//! its orphaned data process answers -> what it has is taken over
//! ```
//! The name stands for the directory and the file of the configuration, and for the user; it lies in
//! the network namespace (`unix(7)`, abstract), so that nothing is left behind on disk, and containers
//! know nothing of each other.

use crate::channel::Channel;
use crate::handover::{Message, Orphan};
use crate::source::Source;
use anyhow::{Context as _, bail};
use catamaran_control::reload::Text;
use catamaran_sys::{abstract_socket, process};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;

/// What a door is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DoorName(String);

/// A door that is held.
#[derive(Debug)]
pub(crate) struct Door {
    /// Not of streams but of packets; what it accepts is only taken for a stream.
    socket: UnixListener,
    /// Whose questions are answered, besides those of root.
    user: u32,
}

/// What came of knocking at a door.
#[derive(Debug)]
pub(crate) enum Claim {
    /// Nobody was there: it is ours.
    Held(Door),
    /// Somebody serves: the process of this id.
    Taken(u32),
    /// Somebody serves and has lost its supervisor.
    Orphaned(Arc<Channel>, Box<Orphan>),
}

impl DoorName {
    /// The door of `source`; none for flags with ports that the kernel is to choose, of which any
    /// number of instances may run.
    pub(crate) fn of(source: &Source) -> Option<Self> {
        let identity = match source {
            Source::Text(text) => identity_of(&text.path),
            Source::AdHoc(flags) => {
                if flags.listen.iter().any(|address| address.port() == 0) {
                    return None;
                }
                format!("{flags:?}")
            }
        };
        let text = Text {
            path: PathBuf::new(),
            text: identity,
        };
        let user = process::effective_user();
        Some(Self(format!("catamaran/{user}/{}", text.digest())))
    }

    /// The door of the vrrp process of the same configuration.
    pub(crate) fn of_vrrp(&self) -> Self {
        Self(format!("{}/vrrp", self.0))
    }

    /// Takes the door, or finds out who has it, which may take 10 seconds.
    ///
    /// # Errors
    /// As [`Self::claim_within`].
    pub(crate) async fn claim(&self) -> anyhow::Result<Claim> {
        self.claim_within(PATIENCE).await
    }

    /// As [`Self::claim`], for one who may ask for `patience` and again for as long as one answer may
    /// take.
    ///
    /// # Errors
    /// When somebody has it who does not answer in time, cannot be understood or is not ours.
    pub(crate) async fn claim_within(&self, patience: Duration) -> anyhow::Result<Claim> {
        let until = Instant::now() + patience;
        loop {
            match abstract_socket::listen(&self.0) {
                Ok(socket) => return Ok(Claim::Held(Door::new(socket)?)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => return Err(error).context("the name of this instance"),
            }
            if let Some(claim) = self.knock().await? {
                return Ok(claim);
            }
            // Whoever had it is gone this moment, or is about to be.
            if Instant::now() > until {
                bail!(
                    "another catamaran seems to serve this configuration, but it does not say so: \
                     `ss -xlp | grep catamaran` shows which process it is; end that one"
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks whoever has the door; `None` when nobody has it any more.
    pub(crate) async fn knock(&self) -> anyhow::Result<Option<Claim>> {
        let Ok(socket) = abstract_socket::connect(&self.0) else {
            return Ok(None);
        };
        let (them, us) = (
            abstract_socket::peer_of(socket.as_fd())?,
            process::effective_user(),
        );
        if them.uid != us && them.uid != 0 {
            bail!(
                "user {} holds the name by which instances of this configuration know each other: \
                 end its process {}",
                them.uid,
                them.pid
            );
        }
        let channel = Channel::new(socket)?;
        let answer = tokio::time::timeout(PATIENCE, channel.receive()).await;
        let Ok(answer) = answer else {
            return Ok(None);
        };
        let Some(answer) = answer? else {
            return Ok(None);
        };
        Ok(Some(match Message::read(answer)? {
            Message::Busy(pid) => Claim::Taken(pid),
            Message::Orphan(orphan) => Claim::Orphaned(channel, orphan),
            _ => bail!("another catamaran serves this configuration, and answers strangely"),
        }))
    }
}

impl Door {
    /// Takes a door that this process or the one before it has opened.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: UnixListener::from_std(socket.into())?,
            user: process::effective_user(),
        })
    }

    /// A copy for another process.
    pub(crate) fn copy(&self) -> io::Result<OwnedFd> {
        self.socket.as_fd().try_clone_to_owned()
    }

    /// Waits for one who asks and may.
    pub(crate) async fn accept(&self) -> Arc<Channel> {
        loop {
            let accepted = self.socket.accept().await;
            let admitted = accepted.and_then(|(socket, _)| {
                let peer = socket.peer_cred()?.uid();
                if peer != self.user && peer != 0 {
                    return Err(io::ErrorKind::PermissionDenied.into());
                }
                Channel::new(socket.into_std()?.into())
            });
            match admitted {
                Ok(channel) => return channel,
                Err(error) => {
                    tracing::warn!(%error, "another process asked who serves, and got no answer");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Tells everyone who asks that this process serves, for as long as it is polled.
    pub(crate) async fn answer_busy(&self) {
        loop {
            let channel = self.accept().await;
            let pid = std::process::id();
            // Who asked may have ended; the message is small enough never to wait.
            let _ = tokio::time::timeout(PATIENCE, Message::Busy(pid).send(&channel)).await;
        }
    }
}

/// What a second instance ends with.
pub(crate) fn is_taken(pid: u32) -> anyhow::Error {
    anyhow::anyhow!(
        "another catamaran (pid {pid}) serves this configuration; `catamaran ctl reload` has it \
         read the file anew, `kill {pid}` ends it"
    )
}

/// What a file is told from others by: that of its directory, which stays when an editor or an
/// orchestrator puts another file in its place.
fn identity_of(path: &Path) -> String {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().display();
    match std::fs::metadata(directory) {
        Ok(data) => format!("{}:{}/{name}", data.dev(), data.ino()),
        Err(_) => path.display().to_string(),
    }
}

/// How long somebody who has the door may take to answer: a data process finds out within
/// moments that its supervisor is gone, on a busy machine within seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::AdHoc;
    use catamaran_core::model::Protocol;

    fn flags(port: u16) -> Source {
        Source::AdHoc(AdHoc {
            protocol: Protocol::Tcp,
            listen: vec![([127, 0, 0, 1], port).into()],
            servers: vec![format!("127.0.0.1:{}", std::process::id())],
        })
    }

    #[tokio::test]
    async fn a_second_instance_learns_of_the_first() {
        let name = DoorName::of(&flags(1)).unwrap();
        let Claim::Held(door) = name.claim().await.unwrap() else {
            panic!("nobody else can hold it");
        };
        let second = tokio::select! {
            second = name.claim() => second.unwrap(),
            () = door.answer_busy() => unreachable!("it answers for ever"),
        };
        assert!(matches!(second, Claim::Taken(pid) if pid == std::process::id()));
    }

    #[tokio::test]
    async fn whoever_is_patient_asks_until_there_is_an_answer() {
        let name = DoorName::of(&flags(2)).unwrap();
        let Claim::Held(door) = name.claim().await.unwrap() else {
            panic!("nobody else can hold it");
        };
        let turn_away = async || {
            for _ in 0..3 {
                drop(door.accept().await);
            }
            door.answer_busy().await;
        };
        let hasty = tokio::select! {
            hasty = name.claim_within(Duration::ZERO) => hasty,
            () = turn_away() => unreachable!("it answers for ever"),
        };
        assert!(hasty.unwrap_err().to_string().contains("does not say so"));
        let patient = tokio::select! {
            patient = name.claim_within(Duration::from_secs(3600)) => patient.unwrap(),
            () = turn_away() => unreachable!("it answers for ever"),
        };
        assert!(matches!(patient, Claim::Taken(_)));
    }

    #[test]
    fn a_door_belongs_to_one_configuration() {
        assert_eq!(DoorName::of(&flags(1)), DoorName::of(&flags(1)));
        assert_ne!(DoorName::of(&flags(1)), DoorName::of(&flags(2)));
        assert_eq!(DoorName::of(&flags(0)), None);
        let file = |path: &str| {
            DoorName::of(&Source::Text(Text {
                path: path.into(),
                text: String::new(),
            }))
        };
        assert_eq!(file("a.toml"), file("./a.toml"));
        assert_ne!(file("a.toml"), file("/a.toml"));
        assert_ne!(file("a.toml"), file("b.toml"));
    }
}
