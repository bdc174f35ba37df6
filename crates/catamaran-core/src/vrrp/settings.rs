//! What is configured of one virtual router, and the times that follow from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// RFC 3768: IPv4 only, whole seconds.
    V2,
    /// RFC 9568 (and RFC 5798 before it).
    V3,
}

/// The address family of a virtual router: one has addresses of one family only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How often the active sends adverts: hundredths of a second, 1 to 25,500.
///
/// The field of a packet holds 1 to 4095 hundredths (version 3) or 1 to 255 seconds (version 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdvertInterval(u16);

/// One virtual router as this node is to play it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The number that all nodes of the virtual router share, 1 to 255.
    pub router_id: u8,
    /// Of the adverts sent; those of the other version are refused.
    pub version: Version,
    /// The family of all addresses.
    pub family: Family,
    /// Who wins, 1 to 254; 255 is for the owner of the address.
    pub priority: u8,
    /// Time between adverts.
    pub interval: AdvertInterval,
    /// Whether a node of lower priority that is active and well is relieved.
    pub preempt: bool,
    /// How long such a node must have been heard first.
    pub preempt_delay: Duration,
    /// The virtual addresses, in the order of the packet.
    pub addresses: Vec<IpAddr>,
    /// Other nodes, if adverts go to them one by one; empty for multicast.
    pub peers: Vec<IpAddr>,
    /// Routers of the same number move together.
    pub group: Option<usize>,
}

impl Family {
    /// The family of `address`.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// The group that adverts are sent to (RFC 9568 §5.1.1.2, §5.1.2.2).
    #[must_use]
    pub const fn multicast(self) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18)),
            Self::V6 => IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12)),
        }
    }

    /// As labels and log lines say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

impl AdvertInterval {
    /// An interval of so many hundredths of a second; `None` for 0 and above 25,500.
    #[must_use]
    pub const fn from_centisecs(centisecs: u16) -> Option<Self> {
        match centisecs {
            1..=25_500 => Some(Self(centisecs)),
            _ => None,
        }
    }

    /// An interval that a packet of `version` can say; `None` if it cannot.
    #[must_use]
    pub fn try_new(interval: Duration, version: Version) -> Option<Self> {
        let millis = u32::try_from(interval.as_millis()).ok()?;
        let (unit, max) = match version {
            Version::V2 => (1000, 255 * 1000),
            Version::V3 => (10, MAX_V3_CENTISECS * 10),
        };
        let fits = Duration::from_millis(millis.into()) == interval
            && millis.is_multiple_of(unit)
            && (unit..=max).contains(&millis);
        let centisecs = u16::try_from(millis / 10).ok()?;
        fits.then_some(Self(centisecs))
    }

    /// Hundredths of a second.
    #[must_use]
    pub const fn as_centisecs(self) -> u16 {
        self.0
    }

    /// As a span of time.
    #[must_use]
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(u64::from(self.0) * 10)
    }
}

impl Version {
    /// How much longer than three intervals a backup of `priority` waits, so that the highest wakes
    /// first (RFC 9568 §6.1, RFC 3768 §6.1).
    #[must_use]
    pub fn skew(self, priority: u8, interval: AdvertInterval) -> Duration {
        let share = 256 - u32::from(priority);
        match self {
            Self::V2 => Duration::from_secs(1) * share / 256,
            Self::V3 => interval.as_duration() * share / 256,
        }
    }

    /// The silence of an active after which a backup of `priority` takes over.
    #[must_use]
    pub fn down_interval(self, priority: u8, interval: AdvertInterval) -> Duration {
        interval.as_duration() * 3 + self.skew(priority, interval)
    }

    /// As packets and log lines say it.
    #[must_use]
    pub const fn as_number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

/// Twelve bits.
const MAX_V3_CENTISECS: u32 = 4095;

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(millis: u64, version: Version) -> Option<u16> {
        AdvertInterval::try_new(Duration::from_millis(millis), version)
            .map(AdvertInterval::as_centisecs)
    }

    #[test]
    fn an_interval_is_what_a_packet_can_say() {
        assert_eq!(interval(100, Version::V3), Some(10));
        assert_eq!(interval(40_950, Version::V3), Some(4095));
        assert_eq!(interval(255_000, Version::V2), Some(25_500));
        for wrong in [0, 5, 105, 40_960] {
            assert_eq!(interval(wrong, Version::V3), None, "{wrong}");
        }
        for wrong in [0, 100, 1500, 256_000] {
            assert_eq!(interval(wrong, Version::V2), None, "{wrong}");
        }
        let fine = Duration::from_micros(100_001);
        assert_eq!(AdvertInterval::try_new(fine, Version::V3), None);
    }

    #[test]
    fn the_times_are_those_of_the_rfcs() {
        let second = AdvertInterval::from_centisecs(100).unwrap();
        let tenth = AdvertInterval::from_centisecs(10).unwrap();
        let micros = |d: Duration| d.as_micros();
        assert_eq!(micros(Version::V3.down_interval(100, second)), 3_609_375);
        assert_eq!(micros(Version::V3.down_interval(100, tenth)), 360_937);
        assert_eq!(micros(Version::V3.skew(254, tenth)), 781);
        let ten = AdvertInterval::from_centisecs(1000).unwrap();
        assert_eq!(micros(Version::V2.down_interval(128, ten)), 30_500_000);
    }
}
