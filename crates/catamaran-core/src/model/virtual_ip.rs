//! Virtual addresses that move between nodes.

use super::{BackendId, IpNet, Name};
use crate::vrrp::{AdvertInterval, ChecksumStyle, Family, Settings, Version};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A `[virtual-ip.NAME]`: one virtual router, or one of each family, which then move together.
#[derive(Clone, Debug, PartialEq)]
pub struct VirtualIp {
    /// Its name in logs, metrics and hooks.
    pub name: Name,
    /// The virtual addresses; at least one, at most 255 of a family.
    pub addresses: Vec<VirtualAddress>,
    /// The interface that they are on and that adverts go over.
    pub interface: String,
    /// Whether they have a MAC address of their own, which moves with them.
    pub virtual_mac: bool,
    /// Routes that come and go with them.
    pub routes: Vec<VirtualRoute>,
    /// The number that all nodes share, 1 to 255.
    pub router_id: u8,
    /// Who wins, 1 to 254.
    pub priority: u8,
    /// Version of the protocol; 2 only with IPv4.
    pub version: Version,
    /// Time between adverts; one that the version can say.
    pub interval: AdvertInterval,
    /// Whether a weaker node that is active and well is relieved.
    pub preempt: bool,
    /// How long it must have been heard first.
    pub preempt_delay: Duration,
    /// Other nodes that adverts are sent to one by one; empty for multicast.
    pub peers: Vec<IpAddr>,
    /// What the checksum of version 3 over IPv4 covers.
    pub checksum: ChecksumStyle,
    /// How adverts are proved to be genuine, if they are.
    pub authentication: Option<Authentication>,
    /// Whether short intervals are allowed without real-time scheduling.
    pub allow_jitter: bool,
    /// All of the same group move together.
    pub sync_group: Option<Name>,
    /// What lowers the priority.
    pub track: Vec<Track>,
    /// A command to run on each change.
    pub on_change: Option<Hook>,
}

/// An address and the length of its network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualAddress {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network, at most 32 or 128.
    pub prefix: u8,
}

/// A route that is there while the addresses are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualRoute {
    /// Where it leads; of a family that the addresses have.
    pub to: IpNet,
    /// Next hop, of the same family; without one the network is on the link.
    pub via: Option<IpAddr>,
    /// Routing table; 254 is the main one.
    pub table: u32,
    /// Lower ones come first; 0 is the kernel's default.
    pub metric: u32,
}

/// The secret of the nodes of a virtual address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// The file that holds it; an absolute path.
    pub secret_file: PathBuf,
    /// Whether adverts without a seal are dropped.
    pub is_required: bool,
}

/// Something that lowers the priority while it fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// What is watched.
    pub what: Tracked,
    /// What the priority loses, 1 to 254; for a file, what its number is multiplied by.
    pub weight: u8,
}

/// What is watched.
#[derive(Clone, Debug, PartialEq)]
pub enum Tracked {
    /// A backend fails while it has no usable server.
    Backend(BackendId),
    /// An interface fails while it is missing or down.
    Interface(String),
    /// Replication fails while this node does not have all that its peers know.
    Replication,
    /// A command fails when it does not exit with 0 in time.
    Command {
        /// Program and arguments; at least the program.
        argv: Vec<String>,
        /// Time from start to start.
        interval: Duration,
        /// After which it is killed and has failed.
        timeout: Duration,
    },
    /// A file holds a number that is added to the priority; 0 without the file.
    File {
        /// The file; an absolute path.
        path: PathBuf,
        /// Time between reads.
        interval: Duration,
    },
}

/// A command that is told of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Program and arguments; at least the program.
    pub argv: Vec<String>,
    /// After which it is killed.
    pub timeout: Duration,
}

impl VirtualIp {
    /// The families of its addresses, IPv4 first.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        [Family::V4, Family::V6]
            .into_iter()
            .filter(|&family| self.addresses_of(family).next().is_some())
            .collect()
    }

    /// Its addresses of one family. Link-local ones come first, as RFC 9568 §5.2.9 wants it.
    pub fn addresses_of(&self, family: Family) -> impl Iterator<Item = VirtualAddress> {
        let is_link_local = |a: &VirtualAddress| matches!(a.address, IpAddr::V6(address) if address.is_unicast_link_local());
        let of_family = move |a: &&VirtualAddress| Family::of(a.address) == family;
        let first = self
            .addresses
            .iter()
            .filter(of_family)
            .filter(move |a| is_link_local(a));
        let rest = self
            .addresses
            .iter()
            .filter(of_family)
            .filter(move |a| !is_link_local(a));
        first.chain(rest).copied()
    }

    /// What the virtual router of `family` is to do; `group` is the number of its group.
    #[must_use]
    pub fn settings(&self, family: Family, group: Option<usize>) -> Settings {
        let of_family = |peer: &&IpAddr| Family::of(**peer) == family;
        Settings {
            router_id: self.router_id,
            version: self.version,
            family,
            priority: self.priority,
            interval: self.interval,
            preempt: self.preempt,
            preempt_delay: self.preempt_delay,
            addresses: self.addresses_of(family).map(|a| a.address).collect(),
            peers: self.peers.iter().filter(of_family).copied().collect(),
            group,
        }
    }
}
