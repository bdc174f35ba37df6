//! Who may come, and what becomes of who may not; lists and maps that files hold.

use super::{BackendId, HashKey, IpNet, ListId, Name};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Who may come.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Access {
    /// If written, nobody else may.
    pub allow: Option<Addresses>,
    /// Who may not, even if allowed.
    pub deny: Option<Addresses>,
    /// What becomes of who may not. Default [`Denial::Forbid`].
    pub denial: Denial,
}

/// Addresses, written out or by lists.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Addresses {
    /// Networks written out.
    pub networks: Vec<IpNet>,
    /// Lists, as indices into [`Config::lists`](super::Config::lists).
    pub lists: Vec<ListId>,
}

/// What becomes of a client that is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Hash)]
pub enum Denial {
    /// It is told so: 403, or 429 above a rate limit. Connections (TCP) are reset.
    #[default]
    Forbid,
    /// Its connection is reset without an answer.
    Close,
    /// Its connection is given up without a packet that would tell it, as far as the kernel lets us.
    SilentDrop,
    /// It is kept waiting, then refused.
    Tarpit,
}

/// How clients are kept waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tarpit {
    /// How long. Default 10 s.
    pub hold: Duration,
    /// How many at once, of a frontend; more are refused at once. Default 1,000.
    pub max: usize,
}

impl Default for Tarpit {
    fn default() -> Self {
        Self {
            hold: Duration::from_secs(10),
            max: 1000,
        }
    }
}

/// A list of networks with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressList {
    /// The key under `[list]`.
    pub name: Name,
    /// Where it stands; `None` for one that is filled at run time only.
    pub file: Option<PathBuf>,
    /// The networks, canonical, each once.
    pub entries: Arc<[IpNet]>,
}

/// A map from a part of requests to backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The key under `[map]`.
    pub name: Name,
    /// Where it stands; `None` for one that is filled at run time only.
    pub file: Option<PathBuf>,
    /// What of a request is looked up.
    pub key: HashKey,
    /// How keys are matched. Default [`MapMatch::Exact`].
    pub how: MapMatch,
    /// The entries, each key once.
    pub entries: Arc<[(Box<str>, BackendId)]>,
}

/// How the keys of a map are matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MapMatch {
    /// The whole value.
    #[default]
    Exact,
    /// The longest key that the value begins with.
    Prefix,
    /// A host: the longest key that is it, or a domain above it.
    Domain,
    /// An address: the longest network that holds it.
    Network,
}

impl Access {
    /// Whether everybody may come.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.allow.is_none() && self.deny.is_none()
    }
}
