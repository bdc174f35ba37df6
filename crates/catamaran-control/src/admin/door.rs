//! By which door a request came in: what the log and the events say of who made a change.

use std::fmt;
use std::net::SocketAddr;

/// The door of a request, and who stands in it as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// The unix socket, with the process id of the client if the kernel told it.
    Unix(Option<i32>),
    /// TCP, with the client's address.
    Tcp(SocketAddr),
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(pid)) => write!(f, "admin socket, pid {pid}"),
            Self::Unix(None) => f.write_str("admin socket"),
            Self::Tcp(client) => write!(f, "tcp {client}"),
        }
    }
}

tokio::task_local! {
    /// The door of the request that this task answers. Of the task, so that every event that the
    /// answer notes bears it, whatever makes it, and none can forget it.
    static OPEN: Door;
}

/// The door of the request that is being answered; `None` for what nobody asked for.
pub(crate) fn current() -> Option<Door> {
    OPEN.try_with(|door| *door).ok()
}

/// Answers a request that came in by `door`.
pub(crate) async fn within<T>(door: Option<Door>, answer: impl Future<Output = T>) -> T {
    match door {
        Some(door) => OPEN.scope(door, answer).await,
        None => answer.await,
    }
}
