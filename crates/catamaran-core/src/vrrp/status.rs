//! What can be told of a virtual router: its state and its counters.

use super::packet::PacketError;
use super::router::{Reason, State};
use super::settings::Family;
use crate::model::Name;
use std::net::IpAddr;

/// A virtual router as metrics and the admin plane show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The name in the configuration.
    pub name: Name,
    /// The family: one name may stand for a router of each.
    pub family: Family,
    /// The state.
    pub state: State,
    /// The priority that holds now.
    pub priority: u8,
    /// The active as far as this node knows: the sender of the last advert, or itself.
    pub active: Option<IpAddr>,
    /// Whether another active is heard beside this one.
    pub is_in_conflict: bool,
    /// Whether a peer is active elsewhere while its adverts do not arrive.
    pub is_path_dead: bool,
    /// The number that all nodes share.
    pub router_id: u8,
    /// What was counted since the vrrp process started.
    pub counters: Counters,
}

/// What is counted of a virtual router.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Adverts sent, one for each peer in unicast.
    pub adverts_sent: u64,
    /// Adverts received and heeded.
    pub adverts_received: u64,
    /// Adverts dropped, by [`Dropped::index`].
    pub adverts_dropped: [u64; Dropped::ALL.len()],
    /// Times it became active.
    pub became_active: u64,
    /// Times it became backup after having been active.
    pub became_backup: u64,
    /// Conflicts with another active that began.
    pub conflicts: u64,
    /// Times the own timer was so late that the addresses were given up.
    pub late: u64,
    /// Gratuitous ARP and unsolicited neighbour advertisements sent.
    pub announcements: u64,
    /// Sends and changes of addresses that failed.
    pub failures: u64,
    /// Neighbours who asked for an address and were answered.
    pub answers: u64,
    /// Times a peer was active elsewhere while its adverts did not arrive.
    pub path_deaths: u64,
}

/// Why an advert was not heeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dropped {
    /// It is malformed; see [`super::PacketError`].
    Malformed,
    /// Its checksum does not fit.
    Checksum,
    /// It came over a router: its TTL or hop limit is not 255.
    Ttl,
    /// It has the version that is not configured.
    Version,
    /// Its sender is not among the configured peers.
    UnknownPeer,
    /// It claims to come from this node.
    OwnAddress,
    /// Version 2 with another interval than the configured one (RFC 3768 §7.1).
    Interval,
    /// It has no seal, and one is required.
    Unsealed,
    /// Its seal was not made with the secret.
    Forged,
    /// Its seal was heeded before, or a later one of its sender.
    Replayed,
    /// Its seal is of another time than this node's.
    Clock,
}

impl Counters {
    /// Counts an event.
    pub fn count(&mut self, event: &super::Event) {
        match event {
            super::Event::StateChanged { from, to, reason } => {
                self.became_active += u64::from(*to == State::Active);
                let yields = (*from, *to) == (State::Active, State::Backup);
                self.became_backup += u64::from(yields);
                self.late += u64::from(matches!(reason, Reason::Late(_)));
            }
            super::Event::ConflictBegan { .. } => self.conflicts += 1,
            super::Event::WentOn { .. } => self.late += 1,
            super::Event::PathDied => self.path_deaths += 1,
            super::Event::ConflictEnded { .. }
            | super::Event::PathHealed
            | super::Event::OtherYielded { .. }
            | super::Event::PriorityChanged { .. } => {}
        }
    }
}

impl Dropped {
    /// All, in the order of [`Dropped::index`].
    pub const ALL: [Self; 11] = [
        Self::Malformed,
        Self::Checksum,
        Self::Ttl,
        Self::Version,
        Self::UnknownPeer,
        Self::OwnAddress,
        Self::Interval,
        Self::Unsealed,
        Self::Forged,
        Self::Replayed,
        Self::Clock,
    ];

    /// Its place in [`Counters::adverts_dropped`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// As labels say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Checksum => "checksum",
            Self::Ttl => "ttl",
            Self::Version => "version",
            Self::UnknownPeer => "unknown-peer",
            Self::OwnAddress => "own-address",
            Self::Interval => "interval",
            Self::Unsealed => "unsealed",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::Clock => "clock",
        }
    }
}

impl From<PacketError> for Dropped {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::WrongChecksum => Self::Checksum,
            PacketError::TooShort
            | PacketError::UnknownVersion(_)
            | PacketError::UnknownType(_)
            | PacketError::Version2OverIpv6
            | PacketError::WrongLength(_)
            | PacketError::AuthenticationType(_)
            | PacketError::NoRouterId
            | PacketError::IntervalZero
            | PacketError::NoAddresses => Self::Malformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_in_the_list_is_the_variant_s_number() {
        for (place, dropped) in Dropped::ALL.iter().enumerate() {
            assert_eq!(dropped.index(), place);
        }
    }
}
