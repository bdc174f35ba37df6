//! The store that a fleet shares.

use super::Secret;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An etcd cluster, and what this node is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etcd {
    /// Its nodes; at least one. All speak TLS, or none.
    pub endpoints: Vec<EtcdEndpoint>,
    /// What every key begins with; starts with `/`, ends without.
    pub prefix: String,
    /// The name of this node, under which its override stands; `None` is the host's name.
    pub node: Option<String>,
    /// How nodes are spoken to over TLS; `None` if they are not.
    pub tls: Option<EtcdTls>,
    /// Who this node is to etcd, if that asks.
    pub user: Option<EtcdUser>,
    /// Time for one request. Default 2 s.
    pub timeout: Duration,
    /// How often it is asked whether the cluster is still there and the same. Default 5 s.
    pub interval: Duration,
    /// How long a server stays whose registration vanished, at least. Default 30 s.
    pub grace: Duration,
    /// Where the last good state is kept.
    pub state: PathBuf,
}

/// A node of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EtcdEndpoint {
    /// A name or an address, the latter without brackets.
    pub host: String,
    /// Its port for clients.
    pub port: u16,
}

/// How TLS is spoken with etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdTls {
    /// Certificates that vouch for the nodes', in PEM.
    pub ca: Arc<str>,
    /// Our certificate and its key, in PEM, if etcd asks for one.
    pub identity: Option<EtcdIdentity>,
}

/// What this node shows over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdIdentity {
    /// Our certificate and those between it and one that etcd trusts, in PEM.
    pub certificate: Arc<str>,
    /// Its private key, in PEM.
    pub key: Secret,
}

/// A user of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdUser {
    /// The name.
    pub name: String,
    /// The password.
    pub password: Secret,
}

impl Etcd {
    /// An etcd at these nodes, with every default.
    #[must_use]
    pub fn new(endpoints: Vec<EtcdEndpoint>) -> Self {
        Self {
            endpoints,
            prefix: "/catamaran".to_owned(),
            node: None,
            tls: None,
            user: None,
            timeout: Duration::from_secs(2),
            interval: Duration::from_secs(5),
            grace: Duration::from_secs(30),
            state: PathBuf::from(STATE_FILE),
        }
    }
}

/// Where the last good state is kept unless written: beside the configuration file.
pub const STATE_FILE: &str = "catamaran-etcd.json";

impl std::fmt::Display for EtcdEndpoint {
    /// `host:port`, with brackets around an IPv6 address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
