//! The sockets of one virtual router.

use crate::interfaces::Usable;
use crate::readable::Readable;
use catamaran_core::vrrp::{Advert, ChecksumStyle, Family, Settings, VRRP_PROTOCOL, announce};
use catamaran_sys::raw_ip::{self, Packet, RawIp};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::task::{Context, Poll};

/// What one router sends and receives with, on the interface as it is now.
#[derive(Debug)]
pub(crate) struct Sockets {
    raw: RawIp,
    readable: Readable,
    frames: OwnedFd,
    usable: Usable,
}

impl Sockets {
    /// Opens the sockets on the interface `name`.
    pub(crate) fn open(name: &str, usable: Usable, settings: &Settings) -> io::Result<Self> {
        let raw = match settings.family {
            Family::V4 => RawIp::v4(VRRP_PROTOCOL, name, usable.index)?,
            Family::V6 => RawIp::v6(VRRP_PROTOCOL, name, usable.index)?,
        };
        if settings.peers.is_empty() {
            raw.join(settings.family.multicast())?;
        }
        Ok(Self {
            readable: Readable::new(raw.as_fd())?,
            raw,
            frames: raw_ip::frame_socket(usable.index)?,
            usable,
        })
    }

    pub(crate) const fn usable(&self) -> Usable {
        self.usable
    }

    /// Sends `advert` to the group, or to each peer. Returns how many were sent.
    pub(crate) fn send(
        &self,
        advert: &Advert,
        settings: &Settings,
        style: ChecksumStyle,
    ) -> io::Result<u64> {
        let group = [settings.family.multicast()];
        let destinations: &[IpAddr] = match &settings.peers[..] {
            [] => &group,
            peers => peers,
        };
        let source = self.usable.local;
        let (mut sent, mut failure) = (0, None);
        for &destination in destinations {
            let bytes = advert.encode(source, destination, style);
            match self.raw.send(&bytes, source, destination) {
                Ok(()) => sent += 1,
                Err(error) => failure = Some(error),
            }
        }
        // One peer that cannot be reached is no reason to say that nothing was sent.
        match failure {
            Some(error) if sent == 0 => Err(error),
            _ => Ok(sent),
        }
    }

    /// Tells the neighbours where `addresses` are. Returns how many frames were sent.
    pub(crate) fn announce(&self, addresses: &[IpAddr]) -> io::Result<u64> {
        let Some(mac) = self.usable.mac else {
            return Ok(0);
        };
        for &address in addresses {
            raw_ip::send_frame(self.frames.as_fd(), &announce::frame(mac, address))?;
        }
        Ok(u64::try_from(addresses.len()).unwrap_or(u64::MAX))
    }

    /// The next packet that has arrived. It asks the kernel, whatever the event loop knows: after a
    /// sleep the timers may be seen before the sockets.
    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<Packet> {
        self.raw.recv(buf)
    }

    /// Ready when packets may have arrived since it was last ready. Everything is to be read then.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.readable.poll(cx)
    }
}
