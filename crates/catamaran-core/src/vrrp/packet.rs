//! Adverts on the wire.
//!
//! ```text
//! version 3 (RFC 9568 §5.1)                       version 2 (RFC 3768 §5.1)
//! | 3 and type 1 | router id | priority | count | | 2 and type 1 | router id | priority | count |
//! | 0 and interval, 12 bits  |     checksum     | | auth type 0  | interval  |     checksum     |
//! | count addresses of 4 or 16 bytes            | | count addresses of 4 bytes                  |
//!                                                 | 8 bytes of authentication data              |
//! ```
//! After either there may be a [seal](super::Seal).

use super::checksum::Sum;
use super::seal::{self, Tag};
use super::settings::{AdvertInterval, Family, Version};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One advertisement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advert {
    /// Version of the packet.
    pub version: Version,
    /// The virtual router it speaks for, 1 to 255.
    pub router_id: u8,
    /// Priority of the sender; 0 says that it gives up.
    pub priority: u8,
    /// How often the sender sends.
    pub interval: AdvertInterval,
    /// The virtual addresses; at most 255, all of one family.
    pub addresses: Vec<IpAddr>,
}

/// What the checksum of a version 3 packet over IPv4 covers. Received packets may have either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumStyle {
    /// The message alone, as RFC 9568 §5.2.8 says.
    Message,
    /// A pseudo header too, as many read RFC 5798: keepalived's default.
    PseudoHeader,
}

/// Why bytes are no advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not even a header.
    #[error("packet is shorter than a header")]
    TooShort,
    /// Neither 2 nor 3.
    #[error("packet has version {0}")]
    UnknownVersion(u8),
    /// Not 1, the only type.
    #[error("packet has type {0}")]
    UnknownType(u8),
    /// Version 2 knows IPv4 only.
    #[error("packet of version 2 came over IPv6")]
    Version2OverIpv6,
    /// More or fewer bytes than its count of addresses asks for.
    #[error("packet has not the length that its {0} addresses ask for")]
    WrongLength(u8),
    /// The checksum does not fit.
    #[error("packet has a wrong checksum")]
    WrongChecksum,
    /// Version 2 with authentication, which RFC 3768 took back.
    #[error("packet has authentication type {0}, which nobody should trust")]
    AuthenticationType(u8),
    /// Router id 0.
    #[error("packet has router id 0")]
    NoRouterId,
    /// Interval 0, which would promote every backup at once (erratum 8301).
    #[error("packet has interval 0")]
    IntervalZero,
    /// It speaks for no address.
    #[error("packet has no address")]
    NoAddresses,
}

impl Advert {
    /// Reads the payload of an IP packet from `source` to `destination`.
    ///
    /// # Errors
    /// When it is no valid advert.
    pub fn decode(bytes: &[u8], source: IpAddr, destination: IpAddr) -> Result<Self, PacketError> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or(PacketError::TooShort)?;
        let version = match header[0] >> 4 {
            2 => Version::V2,
            3 => Version::V3,
            other => return Err(PacketError::UnknownVersion(other)),
        };
        if header[0] & 0xf != ADVERTISEMENT {
            return Err(PacketError::UnknownType(header[0] & 0xf));
        }
        let family = Family::of(source);
        if (version, family) == (Version::V2, Family::V6) {
            return Err(PacketError::Version2OverIpv6);
        }
        let count = header[3];
        let (addresses, trailer) = rest
            .split_at_checked(usize::from(count) * address_len(family))
            .ok_or(PacketError::WrongLength(count))?;
        let rest = trailer.get(trailer_len(version)..);
        if !rest.is_some_and(|rest| rest.is_empty() || seal::is_seal(rest)) {
            return Err(PacketError::WrongLength(count));
        }
        if !is_intact(bytes, version, source, destination) {
            return Err(PacketError::WrongChecksum);
        }
        Ok(Self {
            version,
            router_id: Some(header[1])
                .filter(|&id| id != 0)
                .ok_or(PacketError::NoRouterId)?,
            priority: header[2],
            interval: interval(version, [header[4], header[5]])?,
            addresses: match family {
                _ if count == 0 => return Err(PacketError::NoAddresses),
                Family::V4 => read_v4(addresses),
                Family::V6 => read_v6(addresses),
            },
        })
    }

    /// The payload of an IP packet from `source` to `destination`. Addresses above 255 are left out,
    /// as are those of another family than `source`.
    #[must_use]
    pub fn encode(&self, source: IpAddr, destination: IpAddr, style: ChecksumStyle) -> Vec<u8> {
        let mut out = self.body(source);
        self.sum_up(&mut out, source, destination, style);
        out
    }

    /// As [`Advert::encode`], with a seal of `time_micros` for which `sign` computes the tag.
    #[must_use]
    pub fn encode_sealed(
        &self,
        source: IpAddr,
        destination: IpAddr,
        style: ChecksumStyle,
        time_micros: u64,
        sign: &dyn Fn(&[u8]) -> Tag,
    ) -> Vec<u8> {
        let mut out = self.body(source);
        seal::append(&mut out, source, destination, time_micros, sign);
        self.sum_up(&mut out, source, destination, style);
        out
    }

    /// The packet with a checksum of zero.
    fn body(&self, source: IpAddr) -> Vec<u8> {
        let family = Family::of(source);
        let of_family = |address: &&IpAddr| Family::of(**address) == family;
        let addresses: Vec<&IpAddr> = self.addresses.iter().filter(of_family).take(255).collect();
        let count = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
        let kind = (self.version.as_number() << 4) | ADVERTISEMENT;
        let mut out = vec![kind, self.router_id, self.priority, count];
        let centisecs = self.interval.as_centisecs();
        match self.version {
            Version::V2 => out.extend([0, u8::try_from(centisecs / 100).unwrap_or(u8::MAX)]),
            Version::V3 => out.extend((centisecs & 0x0fff).to_be_bytes()),
        }
        out.extend([0, 0]);
        for address in addresses {
            match address {
                IpAddr::V4(address) => out.extend(address.octets()),
                IpAddr::V6(address) => out.extend(address.octets()),
            }
        }
        out.resize(out.len() + trailer_len(self.version), 0);
        out
    }

    /// Writes the checksum.
    fn sum_up(&self, out: &mut [u8], source: IpAddr, destination: IpAddr, style: ChecksumStyle) {
        let with_pseudo_header = match (self.version, Family::of(source)) {
            (Version::V2, _) => false,
            (Version::V3, Family::V4) => style == ChecksumStyle::PseudoHeader,
            (Version::V3, Family::V6) => true,
        };
        let mut sum = if with_pseudo_header {
            Sum::with_pseudo_header(source, destination, VRRP_PROTOCOL, out.len())
        } else {
            Sum::default()
        };
        sum.add(out);
        out[6..8].copy_from_slice(&sum.finish().to_be_bytes());
    }
}

/// The length that a packet has by its header, without a seal.
pub(super) fn len_without_seal(bytes: &[u8], family: Family) -> Option<usize> {
    let version = match bytes.first()? >> 4 {
        2 => Version::V2,
        _ => Version::V3,
    };
    let addresses = usize::from(*bytes.get(3)?) * address_len(family);
    Some(HEADER + addresses + trailer_len(version))
}

/// Whether the checksum fits; for version 3 over IPv4 in either style.
fn is_intact(bytes: &[u8], version: Version, source: IpAddr, destination: IpAddr) -> bool {
    let sums_up = |mut sum: Sum| {
        sum.add(bytes);
        sum.finish() == 0
    };
    let with_header = Sum::with_pseudo_header(source, destination, VRRP_PROTOCOL, bytes.len());
    match (version, Family::of(source)) {
        (Version::V2, _) => sums_up(Sum::default()),
        (Version::V3, Family::V4) => sums_up(Sum::default()) || sums_up(with_header),
        (Version::V3, Family::V6) => sums_up(with_header),
    }
}

fn interval(version: Version, field: [u8; 2]) -> Result<AdvertInterval, PacketError> {
    let centisecs = match version {
        Version::V2 if field[0] != 0 => return Err(PacketError::AuthenticationType(field[0])),
        Version::V2 => u16::from(field[1]) * 100,
        //= https://www.rfc-editor.org/rfc/rfc9568#section-5.2.6
        //# This field MUST be set to zero on transmission and ignored on reception.
        Version::V3 => u16::from_be_bytes(field) & 0x0fff,
    };
    AdvertInterval::from_centisecs(centisecs).ok_or(PacketError::IntervalZero)
}

fn read_v4(bytes: &[u8]) -> Vec<IpAddr> {
    let (addresses, _) = bytes.as_chunks::<4>();
    addresses
        .iter()
        .map(|octets| Ipv4Addr::from(*octets).into())
        .collect()
}

fn read_v6(bytes: &[u8]) -> Vec<IpAddr> {
    let (addresses, _) = bytes.as_chunks::<16>();
    addresses
        .iter()
        .map(|octets| Ipv6Addr::from(*octets).into())
        .collect()
}

const fn address_len(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

const fn trailer_len(version: Version) -> usize {
    match version {
        Version::V2 => 8,
        Version::V3 => 0,
    }
}

/// The number of the protocol in the IP header.
pub const VRRP_PROTOCOL: u8 = 112;
const HEADER: usize = 8;
const ADVERTISEMENT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V4: (IpAddr, IpAddr) = (
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
        Family::V4.multicast(),
    );
    const V6: (IpAddr, IpAddr) = (
        IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2)),
        Family::V6.multicast(),
    );

    fn advert(version: Version, addresses: &[&str]) -> Advert {
        Advert {
            version,
            router_id: 51,
            priority: 150,
            interval: AdvertInterval::from_centisecs(100).unwrap(),
            addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        }
    }

    /// The bytes of an intact packet after `change`, with the checksum made right again.
    fn changed(mut bytes: Vec<u8>, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        change(&mut bytes);
        bytes[6..8].fill(0);
        let mut sum = Sum::default();
        sum.add(&bytes);
        let checksum = sum.finish().to_be_bytes();
        bytes[6..8].copy_from_slice(&checksum);
        bytes
    }

    #[test]
    fn a_version_3_packet_is_laid_out_as_the_rfc_says() {
        let bytes = advert(Version::V3, &["192.0.2.10"]).encode(V4.0, V4.1, ChecksumStyle::Message);
        assert_eq!(bytes[..6], [0x31, 51, 150, 1, 0, 100]);
        assert_eq!(bytes[8..], [192, 0, 2, 10]);
    }

    #[test]
    fn a_version_2_packet_has_whole_seconds_and_eight_zero_bytes() {
        let bytes = advert(Version::V2, &["192.0.2.10"]).encode(V4.0, V4.1, ChecksumStyle::Message);
        assert_eq!(bytes[..6], [0x21, 51, 150, 1, 0, 1]);
        assert_eq!(bytes[8..], [192, 0, 2, 10, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn each_malformed_packet_is_refused_by_name() {
        let v3 = advert(Version::V3, &["192.0.2.10"]).encode(V4.0, V4.1, ChecksumStyle::Message);
        let v2 = advert(Version::V2, &["192.0.2.10"]).encode(V4.0, V4.1, ChecksumStyle::Message);
        let cases = [
            (v3[..7].to_vec(), PacketError::TooShort),
            (
                changed(v3.clone(), |b| b[0] = 0x41),
                PacketError::UnknownVersion(4),
            ),
            (
                changed(v3.clone(), |b| b[0] = 0x32),
                PacketError::UnknownType(2),
            ),
            (
                changed(v3.clone(), |b| b[3] = 2),
                PacketError::WrongLength(2),
            ),
            (
                changed(v3.clone(), |b| b.push(0)),
                PacketError::WrongLength(1),
            ),
            (changed(v3.clone(), |b| b[1] = 0), PacketError::NoRouterId),
            (changed(v3.clone(), |b| b[5] = 0), PacketError::IntervalZero),
            (
                changed(v3.clone(), |b| {
                    b[3] = 0;
                    b.truncate(8);
                }),
                PacketError::NoAddresses,
            ),
            (
                changed(v2.clone(), |b| b[4] = 1),
                PacketError::AuthenticationType(1),
            ),
            (changed(v2.clone(), |b| b[5] = 0), PacketError::IntervalZero),
            (v2[..12].to_vec(), PacketError::WrongLength(1)),
        ];
        for (bytes, error) in cases {
            assert_eq!(Advert::decode(&bytes, V4.0, V4.1), Err(error));
        }
        let mut flipped = v3;
        flipped[2] ^= 1;
        let decoded = Advert::decode(&flipped, V4.0, V4.1);
        assert_eq!(decoded, Err(PacketError::WrongChecksum));
        let decoded = Advert::decode(&v2, V6.0, V6.1);
        assert_eq!(decoded, Err(PacketError::Version2OverIpv6));
    }

    #[test]
    fn reserved_bits_of_the_interval_are_ignored() {
        let v3 = advert(Version::V3, &["192.0.2.10"]).encode(V4.0, V4.1, ChecksumStyle::Message);
        let bytes = changed(v3, |b| b[4] = 0xf0);
        let decoded = Advert::decode(&bytes, V4.0, V4.1).unwrap();
        assert_eq!(decoded.interval.as_centisecs(), 100);
    }

    #[test]
    fn both_styles_of_checksum_are_read_over_ipv4_and_only_one_over_ipv6() {
        let v4 = advert(Version::V3, &["192.0.2.10"]);
        for style in [ChecksumStyle::Message, ChecksumStyle::PseudoHeader] {
            let bytes = v4.encode(V4.0, V4.1, style);
            assert_eq!(Advert::decode(&bytes, V4.0, V4.1), Ok(v4.clone()));
        }
        let v6 = advert(Version::V3, &["fe80::1", "2001:db8::10"]);
        let bytes = v6.encode(V6.0, V6.1, ChecksumStyle::Message);
        assert_eq!(Advert::decode(&bytes, V6.0, V6.1), Ok(v6));
        // The same bytes to another address are no longer intact.
        assert_eq!(
            Advert::decode(&bytes, V6.0, V6.0),
            Err(PacketError::WrongChecksum)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            router_id in 1..=255_u8,
            priority: u8,
            centisecs in 1..=4095_u16,
            addresses in proptest::collection::vec(any::<[u8; 4]>(), 1..=255),
        ) {
            let advert = Advert {
                version: Version::V3,
                router_id,
                priority,
                interval: AdvertInterval::from_centisecs(centisecs).unwrap(),
                addresses: addresses.into_iter().map(|a| Ipv4Addr::from(a).into()).collect(),
            };
            let bytes = advert.encode(V4.0, V4.1, ChecksumStyle::PseudoHeader);
            prop_assert_eq!(Advert::decode(&bytes, V4.0, V4.1), Ok(advert));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, over_v6: bool) {
            let (source, destination) = if over_v6 { V6 } else { V4 };
            let _ = Advert::decode(&bytes, source, destination);
        }

        #[test]
        fn a_single_flipped_bit_never_passes(bit in 0..(28 * 8_usize)) {
            let v6 = advert(Version::V3, &["fe80::1"]);
            let mut bytes = v6.encode(V6.0, V6.1, ChecksumStyle::Message);
            let at = bit / 8 % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
            prop_assert!(Advert::decode(&bytes, V6.0, V6.1).is_err());
        }
    }
}
