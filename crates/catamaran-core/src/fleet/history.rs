//! Whether a cluster is the one that was known.
//!
//! A store that comes back empty has another cluster id, unless it was made with the same names and
//! the same token: then its revisions begin anew. One that wrote as much as the old one had before
//! anybody looked is told by a key that was, by its revision, not written when it had been.

use std::fmt;

/// A cluster at a point of its history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which cluster.
    pub cluster_id: u64,
    /// Changes that it has seen.
    pub revision: u64,
}

/// A cluster that is not the one that was known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// What it said of itself last.
    pub found: Mark,
    /// How it is told.
    pub reason: Reason,
}

/// How a cluster is told from the one that was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It has another id.
    Cluster,
    /// It has seen fewer changes.
    Revision,
    /// Something was written at another revision.
    Rewritten,
}

impl Mark {
    /// Whether `self` can be the cluster of `before` at a later time.
    #[must_use]
    pub const fn follows(self, before: Self) -> bool {
        self.cluster_id == before.cluster_id && self.revision >= before.revision
    }
}

/// Why `found` is not the cluster of `known` at a later time.
pub(super) const fn broken(known: Mark, found: Mark) -> Option<Reason> {
    if known.cluster_id != found.cluster_id {
        Some(Reason::Cluster)
    } else if found.revision < known.revision {
        Some(Reason::Revision)
    } else {
        None
    }
}

/// The revision that wrote something; 0 if that is not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen(pub(super) u64);

impl Seen {
    /// Whether this is no later writing of what was `before`, but one that was not there when all
    /// was known up to `processed`.
    pub(super) const fn is_another_past(self, before: Self, processed: u64) -> bool {
        before.0 != 0 && self.0 != before.0 && self.0 <= processed
    }
}

impl Reason {
    /// The word for programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cluster => "cluster",
            Self::Revision => "revision",
            Self::Rewritten => "rewritten",
        }
    }

    /// The reason of that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Cluster, Self::Revision, Self::Rewritten];
        all.into_iter().find(|reason| reason.as_str() == word)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "it has another cluster id",
            Self::Revision => "its revision is lower than what was seen before",
            Self::Rewritten => "its keys were written at other revisions than what was seen before",
        })
    }
}
