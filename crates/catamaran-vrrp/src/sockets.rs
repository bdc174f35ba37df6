//! The sockets of one virtual router.

use crate::guard::Guard;
use crate::interfaces::Usable;
use crate::neighbours::{Heard, Neighbours};
use crate::readable::Readable;
use crate::virtual_mac::VirtualMac;
use catamaran_core::vrrp::announce::Mac;
use catamaran_core::vrrp::{Advert, ChecksumStyle, Family, Settings, VRRP_PROTOCOL, announce};
use catamaran_sys::raw_ip::{Packet, RawIp};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll};

/// What one router sends and receives with, on the interface as it is now.
#[derive(Debug)]
pub(crate) struct Sockets {
    raw: RawIp,
    readable: Readable,
    neighbours: Neighbours,
    usable: Usable,
    virtual_mac: Option<VirtualMac>,
}

impl Sockets {
    /// Opens the sockets on the interface `name`.
    pub(crate) fn open(
        name: &str,
        usable: Usable,
        settings: &Settings,
        virtual_mac: Option<VirtualMac>,
    ) -> io::Result<Self> {
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
            neighbours: Neighbours::open(name, usable.index, settings)?,
            usable,
            virtual_mac,
        })
    }

    pub(crate) const fn usable(&self) -> Usable {
        self.usable
    }

    pub(crate) const fn virtual_mac(&self) -> Option<VirtualMac> {
        self.virtual_mac
    }

    /// The link address under which the virtual addresses are; `None` on links without such.
    fn mac(&self) -> Option<Mac> {
        self.virtual_mac.map(|one| one.mac).or(self.usable.mac)
    }

    /// Sends `advert` to the group, or to each peer, sealed if there is a `guard`. Returns how many were sent.
    pub(crate) fn send(
        &self,
        advert: &Advert,
        settings: &Settings,
        style: ChecksumStyle,
        mut guard: Option<&mut Guard>,
    ) -> io::Result<u64> {
        let group = [settings.family.multicast()];
        let destinations: &[IpAddr] = match &settings.peers[..] {
            [] => &group,
            peers => peers,
        };
        let source = self.usable.local;
        let (mut sent, mut failure) = (0, None);
        for &destination in destinations {
            let bytes = match &mut guard {
                Some(guard) => {
                    let (time, sign) = guard.next_seal();
                    advert.encode_sealed(source, destination, style, time, &sign)
                }
                None => advert.encode(source, destination, style),
            };
            let outcome = match self.virtual_mac {
                // Where the switch is to learn it from; but not from one that gives up.
                Some(own) if destination.is_multicast() && advert.priority != 0 => self
                    .neighbours
                    .send(&announce::multicast(own.mac, source, &bytes)),
                _ => self.raw.send(&bytes, source, destination),
            };
            match outcome {
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
        let Some(mac) = self.mac() else {
            return Ok(0);
        };
        for &address in addresses {
            self.neighbours.send(&announce::frame(mac, address))?;
        }
        Ok(u64::try_from(addresses.len()).unwrap_or(u64::MAX))
    }

    /// Asks the neighbours who has `address`.
    pub(crate) fn ask(&self, address: IpAddr) -> io::Result<()> {
        // Asked from the node's own addresses, whoever is active: so the answer comes here.
        let question = self
            .usable
            .mac
            .and_then(|mac| announce::question(mac, self.usable.local, address));
        question.map_or(Ok(()), |frame| self.neighbours.send(&frame))
    }

    /// Takes what a neighbour said next, and answers it if it asked for what `is_held` holds for.
    /// `WouldBlock` when there is nothing.
    pub(crate) fn answer_next(&self, is_held: impl Fn(IpAddr) -> bool) -> io::Result<Heard> {
        match self.mac() {
            Some(mac) => self.neighbours.answer_next(mac, is_held),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// The next packet that has arrived. It asks the kernel, whatever the event loop knows: after a
    /// sleep the timers may be seen before the sockets.
    pub(crate) fn recv(&self, buf: &mut [u8]) -> io::Result<Packet> {
        self.raw.recv(buf)
    }

    /// Ready when packets may have arrived since it was last ready. Everything is to be read then.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        let adverts = self.readable.poll(cx);
        // Both are asked, so that both wake the loop.
        let questions = self.neighbours.poll_readable(cx);
        if adverts.is_ready() {
            adverts
        } else {
            questions
        }
    }
}
