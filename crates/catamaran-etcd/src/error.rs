//! What can go wrong with etcd.

use catamaran_core::model::EtcdEndpoint;
use std::io;
use std::time::Duration;

/// Why a request to etcd failed.
#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    /// A node cannot be reached.
    #[error("{node}: cannot be reached: {source}")]
    Unreachable {
        /// The node.
        node: EtcdEndpoint,
        /// What is in the way.
        source: io::Error,
    },
    /// A node, or the majority behind it, did not answer in time.
    #[error("{node}: no answer within {after:?}; the cluster may have no majority")]
    Timeout {
        /// The node.
        node: EtcdEndpoint,
        /// How long it had.
        after: Duration,
    },
    /// A node broke the connection off.
    #[error("{node}: {source}")]
    Broken {
        /// The node.
        node: EtcdEndpoint,
        /// How.
        source: hyper::Error,
    },
    /// etcd refused the request.
    #[error("{node}: {message}")]
    Refused {
        /// The node that said so.
        node: EtcdEndpoint,
        /// The code of gRPC.
        code: i64,
        /// The words of etcd.
        message: String,
    },
    /// What to watch from is no longer kept: it is to be listed again.
    #[error("{node}: the history before revision {revision} is compacted")]
    Compacted {
        /// The node.
        node: EtcdEndpoint,
        /// The first revision that is kept.
        revision: u64,
    },
    /// A node answered something else than etcd does.
    #[error("{node}: {what}; is it etcd 3.4 or later, with its gateway on?")]
    Strange {
        /// The node.
        node: EtcdEndpoint,
        /// What it did.
        what: String,
    },
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The certificates that vouch for etcd are none.
    #[error("`ca` holds no certificate that can be used: {0}")]
    Ca(String),
    /// Our certificate or its key cannot be used.
    #[error("`certificate` and `key` cannot be used: {0}")]
    Identity(String),
}

impl EtcdError {
    /// Whether the token that was shown is no longer good.
    pub(crate) fn is_stale_token(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: UNAUTHENTICATED,
                ..
            }
        ) || matches!(self, Self::Refused { message, .. }
            if STALE.iter().any(|words| message.contains(words)))
    }

    /// Whether a lease that was named is no more.
    #[must_use]
    pub fn is_lost_lease(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("lease not found"))
    }

    /// Whether another node may do better: it is not the request that is wrong.
    pub(crate) const fn is_of_node(&self) -> bool {
        match self {
            Self::Refused { code, .. } => matches!(*code, UNAVAILABLE | DEADLINE | UNKNOWN),
            Self::Compacted { .. } => false,
            _ => true,
        }
    }
}

/// Words of etcd about a token that is no longer good: it ran out, or users and roles were changed
/// since it was given.
const STALE: [&str; 2] = ["auth token", "revision of auth store is old"];
/// Codes of gRPC (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const UNKNOWN: i64 = 2;
const DEADLINE: i64 = 4;
const UNAVAILABLE: i64 = 14;
const UNAUTHENTICATED: i64 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_from_before_a_change_of_roles_is_no_longer_good() {
        let refused = |code, message: &str| EtcdError::Refused {
            node: EtcdEndpoint {
                host: "a".to_owned(),
                port: 1,
            },
            code,
            message: message.to_owned(),
        };
        for (code, message) in [
            (3, "etcdserver: revision of auth store is old"),
            (16, "etcdserver: invalid auth token"),
            (2, "etcdserver: invalid auth token"),
        ] {
            assert!(refused(code, message).is_stale_token(), "{message}");
        }
        assert!(!refused(7, "etcdserver: permission denied").is_stale_token());
    }
}
