//! Answering the neighbours who ask for virtual addresses, instead of the kernel.
//!
//! The kernel of a node has an address until its lifetime ends. If it answered, a node whose
//! processes were all killed would go on answering for seconds, beside the one that took over. So
//! addresses are put where the kernel does not answer for them: on the loopback interface, those of
//! IPv4 with the scope of the host; with a virtual MAC address those of IPv4 on its interface, which
//! answers no ARP. Link-local addresses of IPv6 cannot be: for those it answers.

use crate::interfaces::Interfaces;
use crate::readable::Readable;
use catamaran_core::vrrp::announce::{self, Mac};
use catamaran_core::vrrp::{Family, Settings};
use catamaran_sys::frames::Frames;
use catamaran_sys::netlink::{ArpConfig, Netlink};
use catamaran_sys::raw_ip::RawIp;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::task::{Context, Poll};

/// Where the questions of neighbours arrive, and frames go out.
#[derive(Debug)]
pub(crate) struct Neighbours {
    frames: Frames,
    /// With IPv6.
    solicitations: Option<RawIp>,
    readable: Readable,
}

/// What a neighbour said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It asked, and was answered.
    Answered,
    /// It answered that it has this address.
    HeldByAnother(IpAddr),
    /// Nothing that matters here.
    Nothing,
}

impl Neighbours {
    /// Listens on the interface `name` with that index for questions after the virtual addresses of
    /// `settings`.
    pub(crate) fn open(name: &str, index: u32, settings: &Settings) -> io::Result<Self> {
        if settings.family == Family::V4 {
            let frames = Frames::of_arp(index)?;
            return Ok(Self {
                readable: Readable::new(frames.as_fd())?,
                solicitations: None,
                frames,
            });
        }
        let solicitations = RawIp::neighbours(name, index)?;
        for address in settings.addresses.iter().filter(|a| !is_link_local(**a)) {
            if let IpAddr::V6(address) = address {
                solicitations.join(announce::solicited_node(*address).into())?;
            }
        }
        Ok(Self {
            frames: Frames::to_send(index)?,
            readable: Readable::new(solicitations.as_fd())?,
            solicitations: Some(solicitations),
        })
    }

    /// Sends one frame.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.frames.send(frame)
    }

    /// Takes what a neighbour said next. A question is answered, with `mac`, if `is_held` holds for
    /// the address that was asked for. `WouldBlock` when there is nothing.
    pub(crate) fn answer_next(
        &self,
        mac: Mac,
        is_held: impl Fn(IpAddr) -> bool,
    ) -> io::Result<Heard> {
        let mut buf = [0; MAX_QUESTION];
        let answer = match &self.solicitations {
            None => {
                let len = self.frames.recv(&mut buf)?;
                if let Some(address) = announce::answered_by_arp(&buf[..len]) {
                    return Ok(Heard::HeldByAnother(address));
                }
                announce::answer_arp(&buf[..len], mac, is_held)
            }
            Some(solicitations) => {
                let packet = solicitations.recv(&mut buf)?;
                //= https://www.rfc-editor.org/rfc/rfc4861#section-7.1
                //# The IP Hop Limit field has a value of 255, i.e., the packet
                //# could not possibly have been forwarded by a router.
                if packet.ttl != 255 {
                    return Ok(Heard::Nothing);
                }
                let message = &buf[packet.payload.0..packet.payload.1];
                if let Some(address) = announce::answered_by_advertisement(message) {
                    return Ok(Heard::HeldByAnother(address));
                }
                match packet.source {
                    IpAddr::V6(source) => {
                        let is_held = |a| !is_link_local(a) && is_held(a);
                        announce::answer_solicitation(message, source, mac, is_held)
                    }
                    IpAddr::V4(_) => None,
                }
            }
        };
        match answer {
            Some(frame) => self.frames.send(&frame).map(|()| Heard::Answered),
            None => Ok(Heard::Nothing),
        }
    }

    /// Ready when questions may have arrived since it was last ready.
    pub(crate) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.readable.poll(cx)
    }
}

/// Whether the kernel must have `address` on the interface itself.
pub(crate) const fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// The interfaces whose kernel was told not to answer for what has the scope of the host, with what
/// held before.
#[derive(Debug, Default)]
pub(crate) struct Silenced(Vec<(u32, ArpConfig)>);

impl Silenced {
    /// Has the kernel leave the questions that come over the interface to this process.
    pub(crate) fn add(&mut self, netlink: &mut Netlink, interfaces: &Interfaces, name: &str) {
        let Some((index, before)) = interfaces.link(name).and_then(|l| Some((l.index, l.arp?)))
        else {
            return;
        };
        // Whatever is stricter than the default leaves out what is on the loopback interface.
        let is_answering = before.ignore == 0 && ignored_everywhere() == 0;
        let wanted = ArpConfig {
            ignore: if is_answering { 3 } else { before.ignore },
            // Else the kernel tells neighbours of the address whenever it looks for one of them.
            announce: before.announce.max(2),
        };
        if wanted == before {
            return;
        }
        match netlink.set_arp(index, wanted) {
            Ok(()) => {
                tracing::info!(
                    interface = name,
                    arp_ignore = wanted.ignore,
                    arp_announce = wanted.announce,
                    "questions for virtual addresses are answered by this process, not by the kernel"
                );
                self.0.retain(|(known, _)| *known != index);
                self.0.push((index, before));
            }
            Err(error) => tracing::warn!(
                interface = name,
                %error,
                "`arp_ignore` cannot be set: after a crash the kernel goes on answering for some \
                 seconds; set net.ipv4.conf.{name}.arp_ignore = 3"
            ),
        }
    }

    /// Puts everything back as it was.
    pub(crate) fn restore(&mut self, netlink: &mut Netlink) {
        for (index, before) in self.0.drain(..) {
            if let Err(error) = netlink.set_arp(index, before) {
                tracing::debug!(%error, "`arp_ignore` cannot be put back");
            }
        }
    }
}

/// What holds for all interfaces; the greater of the two counts.
fn ignored_everywhere() -> u32 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/conf/all/arp_ignore");
    text.ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// An ARP frame with its padding, or a solicitation with more options than anybody sends.
const MAX_QUESTION: usize = 256;
