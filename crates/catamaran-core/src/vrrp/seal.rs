//! The seal at the end of an advert: proof that its sender knows the secret, and that it is new.
//!
//! ```text
//! | the packet of the RFC | "ctm1" | time u64, microseconds since 1970 | tag of 32 bytes |
//! ```
//! The tag is an HMAC-SHA-256, which the shell computes, over source, destination, and everything
//! before the tag with a checksum of zero. The checksum of the packet covers the seal as well.
//!
//! A seal is heeded once: [`Freshness`] remembers the last time of each sender, and refuses what is
//! not later than that, or further than [`TOLERANCE`] from the clock of this node. So it need not
//! remember senders for longer, and a node that has just started takes nothing older either.

use super::settings::Family;
use super::status::Dropped;
use std::net::IpAddr;
use std::time::Duration;

/// An HMAC-SHA-256.
pub type Tag = [u8; 32];

/// The seal of an advert that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// When it was made: microseconds since 1970, by the clock of its sender.
    pub time_micros: u64,
    /// What proves that.
    pub tag: Tag,
    /// What the tag is computed over.
    pub covered: Vec<u8>,
}

/// The times of a sender's seals: each is later than the one before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stamps {
    last: u64,
}

/// The seals that were heeded lately.
#[derive(Clone, Debug, Default)]
pub struct Freshness {
    /// Senders and the time of their last seal; at most [`MAX_SENDERS`].
    senders: Vec<(IpAddr, u64)>,
}

impl Seal {
    /// The seal of a packet from `source` to `destination` that [`super::Advert::decode`] has read;
    /// `None` if it has none.
    #[must_use]
    pub fn of(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Option<Self> {
        let start = super::packet::len_without_seal(bytes, Family::of(source))?;
        let seal = bytes.get(start..).filter(|seal| is_seal(seal))?;
        let tag_at = bytes.len() - size_of::<Tag>();
        Some(Self {
            time_micros: u64::from_be_bytes(*seal[MAGIC.len()..].first_chunk()?),
            tag: *bytes.last_chunk()?,
            covered: covered(&bytes[..tag_at], source, destination),
        })
    }
}

impl Stamps {
    /// The time of the next seal, at `now_micros`.
    pub fn next(&mut self, now_micros: u64) -> u64 {
        let is_far_ahead = self.last > now_micros + tolerance_micros();
        // Behind a clock that was set back by a little, the last time goes on; by more, it would be
        // refused.
        self.last = if is_far_ahead {
            now_micros
        } else {
            now_micros.max(self.last + 1)
        };
        self.last
    }
}

impl Freshness {
    /// Takes the time of a seal whose tag is right.
    ///
    /// # Errors
    /// Why the advert is not heeded.
    pub fn take(&mut self, from: IpAddr, time_micros: u64, now_micros: u64) -> Result<(), Dropped> {
        if time_micros.abs_diff(now_micros) > tolerance_micros() {
            return Err(Dropped::Clock);
        }
        let oldest = now_micros.saturating_sub(tolerance_micros());
        self.senders.retain(|(_, last)| *last >= oldest);
        match self.senders.iter_mut().find(|(known, _)| *known == from) {
            Some((_, last)) if time_micros <= *last => return Err(Dropped::Replayed),
            Some((_, last)) => *last = time_micros,
            None => {
                if self.senders.len() >= MAX_SENDERS {
                    // All of them know the secret: this is a crowd, not an attack.
                    self.senders.remove(0);
                }
                self.senders.push((from, time_micros));
            }
        }
        Ok(())
    }
}

/// Appends a seal to a packet whose checksum is still zero.
pub(super) fn append(
    bytes: &mut Vec<u8>,
    source: IpAddr,
    destination: IpAddr,
    time_micros: u64,
    sign: &dyn Fn(&[u8]) -> Tag,
) {
    bytes.extend(MAGIC);
    bytes.extend(time_micros.to_be_bytes());
    let tag = sign(&covered(bytes, source, destination));
    bytes.extend(tag);
}

/// Whether `bytes` have the form of a seal.
pub(super) fn is_seal(bytes: &[u8]) -> bool {
    bytes.len() == SEAL && bytes.starts_with(&MAGIC)
}

fn covered(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Vec<u8> {
    let mut out = Vec::with_capacity(32 + bytes.len());
    for address in [source, destination] {
        match address {
            IpAddr::V4(address) => out.extend(address.octets()),
            IpAddr::V6(address) => out.extend(address.octets()),
        }
    }
    let start = out.len();
    out.extend(bytes);
    if let Some(checksum) = out.get_mut(start + 6..start + 8) {
        checksum.fill(0);
    }
    out
}

const fn tolerance_micros() -> u64 {
    TOLERANCE.as_secs() * 1_000_000
}

/// How far the clocks of nodes may be apart, and how long an advert could be kept and played again
/// to a node that has not heard its sender since.
pub const TOLERANCE: Duration = Duration::from_secs(30);
/// More nodes than anybody has on one link.
const MAX_SENDERS: usize = 64;
const MAGIC: [u8; 4] = *b"ctm1";
const SEAL: usize = MAGIC.len() + size_of::<u64>() + size_of::<Tag>();

#[cfg(test)]
mod tests {
    use super::super::{Advert, AdvertInterval, ChecksumStyle, PacketError, Version};
    use super::*;

    const NOW: u64 = 1_700_000_000_000_000;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    /// Stands in for the HMAC: something that depends on every byte.
    fn sign(bytes: &[u8]) -> Tag {
        let mut tag = [0; 32];
        for (at, byte) in bytes.iter().enumerate() {
            tag[at % 32] ^= byte.rotate_left(u32::try_from(at % 7).unwrap());
        }
        tag
    }

    fn sealed(version: Version, destination: IpAddr) -> (Advert, Vec<u8>) {
        let advert = Advert {
            version,
            router_id: 51,
            priority: 150,
            interval: AdvertInterval::from_centisecs(100).unwrap(),
            addresses: vec![ip(100)],
        };
        let style = ChecksumStyle::Message;
        let bytes = advert.encode_sealed(ip(2), destination, style, NOW, &sign);
        (advert, bytes)
    }

    #[test]
    fn a_sealed_advert_is_read_and_its_seal_covers_packet_and_ends() {
        for version in [Version::V2, Version::V3] {
            let (advert, bytes) = sealed(version, ip(9));
            assert_eq!(Advert::decode(&bytes, ip(2), ip(9)), Ok(advert));
            let seal = Seal::of(&bytes, ip(2), ip(9)).unwrap();
            assert_eq!(seal.time_micros, NOW);
            assert_eq!(sign(&seal.covered), seal.tag);
            for (source, destination) in [(ip(3), ip(9)), (ip(2), ip(8))] {
                let other = Seal::of(&bytes, source, destination).unwrap();
                assert_ne!(sign(&other.covered), other.tag);
            }
        }
    }

    #[test]
    fn no_byte_but_the_checksum_can_be_changed() {
        let (_, bytes) = sealed(Version::V3, ip(9));
        for at in (0..bytes.len() - 32).filter(|at| !(6..8).contains(at)) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let seal = Seal::of(&changed, ip(2), ip(9));
            assert!(
                seal.is_none_or(|seal| sign(&seal.covered) != seal.tag),
                "{at}"
            );
        }
    }

    #[test]
    fn an_advert_without_a_seal_has_none_and_half_a_seal_is_malformed() {
        let (advert, bytes) = sealed(Version::V3, ip(9));
        let plain = advert.encode(ip(2), ip(9), ChecksumStyle::Message);
        assert_eq!(Seal::of(&plain, ip(2), ip(9)), None);
        let cut = Advert::decode(&bytes[..bytes.len() - 1], ip(2), ip(9));
        assert_eq!(cut, Err(PacketError::WrongLength(1)));
    }

    #[test]
    fn a_seal_is_heeded_once_and_only_near_its_time() {
        let mut freshness = Freshness::default();
        let second = 1_000_000;
        assert_eq!(freshness.take(ip(1), NOW, NOW), Ok(()));
        assert_eq!(freshness.take(ip(1), NOW, NOW + 1), Err(Dropped::Replayed));
        assert_eq!(
            freshness.take(ip(1), NOW - 1, NOW + 1),
            Err(Dropped::Replayed)
        );
        assert_eq!(freshness.take(ip(2), NOW - 1, NOW + 1), Ok(()));
        assert_eq!(freshness.take(ip(1), NOW + 1, NOW + 2), Ok(()));
        let later = NOW + 31 * second;
        assert_eq!(freshness.take(ip(1), NOW + 1, later), Err(Dropped::Clock));
        assert_eq!(
            freshness.take(ip(1), later + 31 * second, later),
            Err(Dropped::Clock)
        );
    }

    #[test]
    fn a_node_that_forgot_a_sender_still_takes_nothing_again() {
        let mut freshness = Freshness::default();
        freshness.take(ip(1), NOW, NOW).unwrap();
        for step in 0..200 {
            let now = NOW + step * 1_000_000;
            // Ever new senders, so that the first is forgotten.
            let from = ip(u8::try_from(step + 2).unwrap());
            freshness.take(from, now, now).unwrap();
            assert!(freshness.take(ip(1), NOW, now).is_err(), "after {step} s");
        }
        assert!(freshness.senders.len() <= 32);
    }

    #[test]
    fn times_only_rise_unless_the_clock_was_set_back_by_far() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.next(NOW), NOW);
        assert_eq!(stamps.next(NOW), NOW + 1);
        assert_eq!(stamps.next(NOW - 5_000_000), NOW + 2);
        assert_eq!(stamps.next(NOW - 60_000_000), NOW - 60_000_000);
    }
}
