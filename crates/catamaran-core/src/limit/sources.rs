//! Connections open at once per source address.
//!
//! [`Sources`] is one shard; the shell guards it with a lock and finds it by [`Key::shard`]. A
//! source is an IPv4 address or an IPv6 /64, as for rate limits: a client of IPv6 may use any
//! address of its /64. A source without connections takes no memory.

use crate::key::Key;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::num::NonZeroU32;

/// Open connections by source.
#[derive(Debug)]
pub struct Sources {
    /// Never zero.
    open: HashMap<Key, NonZeroU32, RandomState>,
    max_per_source: u32,
    max_sources: usize,
}

/// Why a connection may not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourcesError {
    /// The source has as many as it may.
    #[error("too many connections from this source")]
    SourceFull,
    /// As many sources as the table holds have connections open.
    #[error("too many sources")]
    TooManySources,
}

impl Sources {
    /// Allows `max_per_source` connections from each of at most `max_sources` sources. Every source
    /// held has a connection, so `max_sources` is not reached if it is the limit on all connections.
    #[must_use]
    pub fn new(max_per_source: u32, max_sources: usize) -> Self {
        Self {
            open: HashMap::default(),
            max_per_source,
            max_sources,
        }
    }

    /// Changes the cap. Connections above a lower one stay open; no more come.
    pub fn set_max_per_source(&mut self, max_per_source: u32) {
        self.max_per_source = max_per_source;
    }

    /// Counts a connection from `ip`. Each one counted must be given back by [`Self::close`].
    ///
    /// # Errors
    /// A [`SourcesError`] if it may not be opened; it is then not counted.
    pub fn try_open(&mut self, ip: IpAddr) -> Result<(), SourcesError> {
        let has_room = self.open.len() < self.max_sources;
        match self.open.entry(Key::of_network(ip)) {
            Entry::Occupied(entry) if entry.get().get() >= self.max_per_source => {
                return Err(SourcesError::SourceFull);
            }
            Entry::Occupied(mut entry) => {
                *entry.get_mut() = entry.get().saturating_add(1);
            }
            Entry::Vacant(_) if self.max_per_source == 0 => return Err(SourcesError::SourceFull),
            Entry::Vacant(_) if !has_room => return Err(SourcesError::TooManySources),
            Entry::Vacant(entry) => {
                entry.insert(NonZeroU32::MIN);
            }
        }
        Ok(())
    }

    /// Gives back a connection from `ip`.
    pub fn close(&mut self, ip: IpAddr) {
        let Entry::Occupied(mut entry) = self.open.entry(Key::of_network(ip)) else {
            debug_assert!(false, "only connections that were opened are closed");
            return;
        };
        match NonZeroU32::new(entry.get().get() - 1) {
            Some(left) => *entry.get_mut() = left,
            None => {
                entry.remove();
            }
        }
    }

    /// Sources with a connection open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no connection is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_source_at_its_cap_is_refused_until_one_of_its_connections_closes() {
        let mut sources = Sources::new(2, 10);
        let client = ip("192.0.2.1");
        assert_eq!(sources.try_open(client), Ok(()));
        assert_eq!(sources.try_open(client), Ok(()));
        assert_eq!(sources.try_open(client), Err(SourcesError::SourceFull));
        assert_eq!(sources.try_open(ip("192.0.2.2")), Ok(()));
        sources.close(client);
        assert_eq!(sources.try_open(client), Ok(()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_the_cap() {
        let mut sources = Sources::new(1, 10);
        assert_eq!(sources.try_open(ip("2001:db8::1")), Ok(()));
        let neighbour = sources.try_open(ip("2001:db8::2"));
        assert_eq!(neighbour, Err(SourcesError::SourceFull));
    }

    #[test]
    fn sources_whose_connections_closed_leave_nothing_behind() {
        let mut sources = Sources::new(5, 1000);
        for round in 0..10u8 {
            for host in 0..100u8 {
                sources
                    .try_open(IpAddr::from([10, 0, round, host]))
                    .unwrap();
                sources
                    .try_open(IpAddr::from([10, 0, round, host]))
                    .unwrap();
            }
        }
        assert_eq!(sources.len(), 1000);
        for round in 0..10u8 {
            for host in 0..100u8 {
                sources.close(IpAddr::from([10, 0, round, host]));
                sources.close(IpAddr::from([10, 0, round, host]));
            }
        }
        assert!(sources.is_empty());
    }

    #[test]
    fn more_sources_than_the_table_holds_are_refused() {
        let mut sources = Sources::new(5, 1);
        sources.try_open(ip("192.0.2.1")).unwrap();
        let other = sources.try_open(ip("192.0.2.2"));
        assert_eq!(other, Err(SourcesError::TooManySources));
        assert_eq!(sources.try_open(ip("192.0.2.1")), Ok(()));
    }

    #[test]
    fn a_cap_of_zero_lets_nobody_in() {
        let refused = Sources::new(0, 10).try_open(ip("192.0.2.1"));
        assert_eq!(refused, Err(SourcesError::SourceFull));
    }
}
