//! The life of a process: one of our own, or one that a supervisor before us started.

use catamaran_sys::{pidfd, process};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use tokio::net::UnixStream;
use tokio::process::Child;

/// How the end of a process is heard of.
#[derive(Debug)]
pub(crate) enum Life {
    /// We started it.
    Child(Child),
    /// A supervisor before us did, so that nobody tells us how it ends.
    Adopted {
        pid: u32,
        /// No socket: only the readiness of this type is used.
        held: UnixStream,
    },
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(Option<ExitStatus>);

impl Life {
    /// Takes hold of the process `pid`, whoever started it.
    pub(super) fn adopt(pid: u32) -> io::Result<Self> {
        let held = UnixStream::from_std(pidfd::open(pid)?.into())?;
        Ok(Self::Adopted { pid, held })
    }

    /// Whether another supervisor started it.
    pub(super) const fn is_adopted(&self) -> bool {
        matches!(self, Self::Adopted { .. })
    }

    /// Its process id; 0 once it has been waited for.
    pub(super) fn pid(&self) -> u32 {
        match self {
            Self::Child(child) => child.id().unwrap_or(0),
            Self::Adopted { pid, .. } => *pid,
        }
    }

    /// Waits for its end.
    pub(super) async fn wait(&mut self) -> io::Result<Ended> {
        match self {
            Self::Child(child) => child.wait().await.map(|status| Ended(Some(status))),
            Self::Adopted { held, .. } => {
                held.readable().await?;
                // It is a child of ours if the supervisor before us was this very process.
                Ok(Ended(pidfd::reap(held.as_fd()).unwrap_or(None)))
            }
        }
    }

    /// Whether it has ended.
    pub(super) fn has_ended(&mut self) -> bool {
        match self {
            Self::Child(child) => !matches!(child.try_wait(), Ok(None)),
            Self::Adopted { held, .. } => match pidfd::reap(held.as_fd()) {
                Ok(status) => status.is_some(),
                Err(_) => pidfd::send_signal(held.as_fd(), 0).is_err(),
            },
        }
    }

    /// Asks it to end; one that has ended needs no asking, and nobody else is asked in its place.
    pub(super) fn ask_to_end(&self) {
        let _ = match self {
            Self::Child(_) => process::send_signal(self.pid(), libc::SIGTERM),
            Self::Adopted { held, .. } => pidfd::send_signal(held.as_fd(), libc::SIGTERM),
        };
    }

    /// Kills it and waits for its end.
    pub(super) async fn kill(&mut self) -> io::Result<Ended> {
        match self {
            Self::Child(child) => child.kill().await?,
            Self::Adopted { held, .. } => {
                // It may have ended this moment.
                let _ = pidfd::send_signal(held.as_fd(), libc::SIGKILL);
            }
        }
        self.wait().await
    }
}

impl Ended {
    /// The exit code that stands for it: its own, or 128 and the signal's number as in a shell.
    pub(super) fn exit_code(self) -> ExitCode {
        let Self(Some(status)) = self else {
            return ExitCode::SUCCESS;
        };
        let code = status
            .code()
            .or_else(|| status.signal().map(|signal| 128 + signal));
        ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("unknown: another supervisor had started it"),
        }
    }
}
