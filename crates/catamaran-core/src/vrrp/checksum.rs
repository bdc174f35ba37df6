//! The Internet checksum (RFC 1071), with and without the pseudo headers of IP.

use std::net::IpAddr;

/// A one's complement sum that grows part by part. Every part but the last has an even length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sum(u32);

impl Sum {
    /// The sum over the pseudo header of a message of `len` bytes (RFC 793 §3.1, RFC 8200 §8.1).
    pub(super) fn with_pseudo_header(
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        len: usize,
    ) -> Self {
        let mut sum = Self::default();
        for address in [source, destination] {
            match address {
                IpAddr::V4(address) => sum.add(&address.octets()),
                IpAddr::V6(address) => sum.add(&address.octets()),
            }
        }
        // Both forms sum up the same: zeroes, the protocol and the length.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        sum.add(&len.to_be_bytes());
        sum.add(&[0, protocol]);
        sum
    }

    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<2>();
        for word in words {
            self.add_word(u16::from_be_bytes(*word));
        }
        if let [last] = rest {
            self.add_word(u16::from_be_bytes([*last, 0]));
        }
    }

    /// The checksum: what makes the sum over everything all ones.
    pub(super) fn finish(self) -> u16 {
        let folded = self.0.to_be_bytes();
        // The carry is folded in with every word, so that the upper half is empty.
        !u16::from_be_bytes([folded[2], folded[3]])
    }

    fn add_word(&mut self, word: u16) {
        self.0 += u32::from(word);
        self.0 = (self.0 & 0xffff) + (self.0 >> 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_up() {
        let mut sum = Sum::default();
        sum.add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.finish(), !0xddf2);
    }

    #[test]
    fn a_message_with_its_checksum_sums_up_to_zero() {
        let mut sum = Sum::default();
        sum.add(&[0x31, 0x33, 0x64, 0x01, 0, 0, 0x7f]);
        let checksum = sum.finish().to_be_bytes();
        let mut whole = Sum::default();
        whole.add(&[0x31, 0x33, 0x64, 0x01, checksum[0], checksum[1], 0x7f]);
        assert_eq!(whole.finish(), 0);
    }
}
