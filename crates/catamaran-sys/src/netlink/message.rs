//! Messages and their attributes, read and written as bytes.

use std::net::IpAddr;

pub(super) struct Message<'a> {
    pub(super) kind: u16,
    pub(super) sequence: u32,
    pub(super) body: &'a [u8],
}

pub(super) fn next_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header = bytes.first_chunk::<HEADER>()?;
    let len = usize::try_from(u32_at(header, 0)?).ok()?;
    let message = Message {
        kind: u16::from_ne_bytes([header[4], header[5]]),
        sequence: u32_at(header, 8)?,
        body: bytes.get(HEADER..len)?,
    };
    Some((
        message,
        bytes.get(len.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// The attributes of a message, as type and data.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        // The two highest bits are flags of the attribute.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

pub(super) fn read_ip(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
        _ => None,
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

pub(super) fn put_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(body, kind, &address.octets()),
        IpAddr::V6(address) => put(body, kind, &address.octets()),
    }
}

/// Appends an attribute.
pub(super) fn put(body: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let len = u16::try_from(4 + data.len()).unwrap_or_default();
    body.extend(len.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// Appends an attribute that holds others.
pub(super) fn put_nested(body: &mut Vec<u8>, kind: u16, inner: impl FnOnce(&mut Vec<u8>)) {
    let mut data = Vec::new();
    inner(&mut data);
    put(body, kind, &data);
}

/// Length of a nlmsghdr.
pub(super) const HEADER: usize = 16;
