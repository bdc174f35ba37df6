//! Connections that have not said who they are: so many, and which of them gives way to the next.
//!
//! Anybody may connect and be silent. Those of whoever has most of them give way, so that a peer, which
//! has one, is not kept away by somebody who has many.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use tokio::task::AbortHandle;

/// The connections, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Nameless(VecDeque<(IpAddr, AbortHandle)>);

impl Nameless {
    /// Makes room for one more. Returns whether another had to give way.
    pub(crate) fn make_room(&mut self) -> bool {
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() < MAX {
            return false;
        }
        let networks: Vec<IpAddr> = self.0.iter().map(|(network, _)| *network).collect();
        let least = gives_way(&networks).and_then(|at| self.0.remove(at));
        if let Some((_, task)) = least {
            task.abort();
        }
        true
    }

    /// Takes in one from this address, which `task` speaks with.
    pub(crate) fn push(&mut self, from: IpAddr, task: AbortHandle) {
        self.0.push_back((network_of(from), task));
    }
}

/// Which of the connections from these networks gives way: the oldest of the network with most.
fn gives_way(networks: &[IpAddr]) -> Option<usize> {
    let count = |of: &IpAddr| networks.iter().filter(|one| *one == of).count();
    let most = networks.iter().map(count).max()?;
    networks.iter().position(|one| count(one) == most)
}

/// What one host may be taken to have: an address, or a network of IPv6 (/64).
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
    }
}

/// Connections at once. Chosen: many times what peers need who all connect at once.
pub(crate) const MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_oldest_of_whoever_has_most_gives_way() {
        let from = |texts: &[&str]| {
            let networks: Vec<IpAddr> = texts.iter().map(|text| address(text)).collect();
            gives_way(&networks)
        };
        assert_eq!(from(&[]), None);
        assert_eq!(from(&["10.0.0.1", "10.0.0.2", "10.0.0.2"]), Some(1));
        assert_eq!(from(&["10.0.0.1", "10.0.0.2", "10.0.0.3"]), Some(0));
    }

    #[test]
    fn a_host_is_known_by_its_address_or_its_network_of_ipv6() {
        for (one, other, is_same) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "10.0.0.1", true),
            ("2001:db8::1", "2001:db8::2:3", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
        ] {
            let networks = (network_of(address(one)), network_of(address(other)));
            assert_eq!(networks.0 == networks.1, is_same, "{one} {other}");
        }
    }
}
