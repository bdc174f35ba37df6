//! Receiving adverts, and doing what the machine decided.

use super::{Shell, is_empty, now};
use crate::addresses::{self, Place};
use crate::hooks::Change;
use crate::neighbours::{Heard, is_link_local};
use crate::routes;
use crate::sockets::Sockets;
use catamaran_core::vrrp::{Action, Advert, Dropped, Event, PacketError, Reason, Seal, State};
use catamaran_sys::netlink::Route;
use catamaran_sys::raw_ip::Packet;
use std::net::IpAddr;
use std::time::Duration;

impl Shell {
    /// Reads all adverts that have arrived; a flood is left for the next turn, which comes at once.
    pub(super) fn receive(&mut self) {
        let mut buf = [0; MAX_PACKET];
        for index in 0..self.routers.len() {
            for _ in 0..MAX_PACKETS {
                let Some(sockets) = &self.routers[index].sockets else {
                    break;
                };
                match sockets.recv(&mut buf) {
                    Ok(packet) => self.take_packet(index, &buf, packet),
                    Err(error) if is_empty(&error) => break,
                    Err(error) => {
                        // An interface that went down says so once; netlink tells the rest.
                        tracing::debug!(%error, "receiving failed");
                        break;
                    }
                }
            }
        }
        // By now a router that slept knows whether another is active.
        for index in 0..self.routers.len() {
            self.answer_neighbours(index);
        }
    }

    /// Answers who asked for the addresses of a router; while it is not active, nobody.
    fn answer_neighbours(&mut self, index: usize) {
        let is_active = self.machine.state(index) == State::Active;
        let addresses = &self.machine.settings(index).addresses;
        let router = &mut self.routers[index];
        let Some(sockets) = &router.sockets else {
            return;
        };
        let mut is_held_by_another = false;
        for _ in 0..MAX_PACKETS {
            match sockets.answer_next(|address| is_active && addresses.contains(&address)) {
                Ok(Heard::Answered) => router.counters.answers += 1,
                Ok(Heard::HeldByAnother(address)) => {
                    is_held_by_another |= addresses.contains(&address);
                }
                Ok(Heard::Nothing) => {}
                Err(error) if is_empty(&error) => break,
                Err(error) => {
                    router.counters.failures += 1;
                    tracing::debug!(%error, "a neighbour could not be answered");
                    break;
                }
            }
        }
        if is_held_by_another {
            self.machine.handle_answer(now(), index);
            self.act();
        }
    }

    /// Asks on the link who has the addresses of a router; one of them speaks for all.
    fn ask(&mut self, index: usize) {
        let addresses = &self.machine.settings(index).addresses;
        let asked = addresses.iter().find(|address| !is_link_local(**address));
        let router = &mut self.routers[index];
        if let (Some(sockets), Some(&address)) = (&router.sockets, asked)
            && let Err(error) = sockets.ask(address)
        {
            router.counters.failures += 1;
            tracing::debug!(%error, "the neighbours could not be asked");
        }
    }

    fn take_packet(&mut self, index: usize, buf: &[u8], packet: Packet) {
        let payload = &buf[packet.payload.0..packet.payload.1];
        let settings = self.machine.settings(index);
        // The second byte: other virtual routers on the link are no concern of this one.
        if payload.get(1).is_some_and(|&id| id != settings.router_id) {
            return;
        }
        let outcome = if packet.ttl == 255 {
            Advert::decode(payload, packet.source, packet.destination)
                .map_err(|error| (Dropped::from(error), Some(error)))
        } else {
            Err((Dropped::Ttl, None))
        };
        let heeded = outcome.and_then(|advert| {
            if let Some(guard) = &mut self.routers[index].guard {
                let seal = Seal::of(payload, packet.source, packet.destination);
                let judged = guard.judge(packet.source, seal.as_ref());
                judged.map_err(|dropped| (dropped, None))?;
            }
            self.compare_addresses(index, packet.source, &advert);
            self.machine
                .handle_advert(now(), index, packet.source, &advert)
                .map_err(|dropped| (dropped, None))
        });
        match heeded {
            Ok(()) => self.routers[index].counters.adverts_received += 1,
            Err((dropped, error)) => self.drop_advert(index, packet.source, dropped, error),
        }
        self.act();
    }

    fn drop_advert(
        &mut self,
        index: usize,
        source: IpAddr,
        dropped: Dropped,
        error: Option<PacketError>,
    ) {
        let router = &mut self.routers[index];
        router.counters.adverts_dropped[dropped.index()] += 1;
        let told_at = &mut router.told_at[dropped.index()];
        if now().saturating_since(*told_at) < TELL_AGAIN {
            return;
        }
        *told_at = now();
        let remedy = match dropped {
            Dropped::Malformed => "whoever sends it speaks something else, or probes",
            Dropped::Checksum => "it was damaged or forged on the way",
            Dropped::Ttl => "it came over a router, or is forged; nodes must share a link",
            Dropped::Version => "give all nodes the same `version`",
            Dropped::UnknownPeer => "add its sender to `peers`, or find out who sends it",
            Dropped::OwnAddress => "another node has this node's address, or it is forged",
            Dropped::Interval => "give all nodes the same `advert-interval`",
            Dropped::Unsealed => {
                "give its sender the `secret-file` too, or write `authentication = \"offer\"` here \
                 until it has it"
            }
            Dropped::Forged => "give all nodes the same `secret-file`, or find out who sends it",
            Dropped::Replayed => {
                "somebody plays back what was said, or the network doubles packets"
            }
            Dropped::Clock => {
                "set the clocks of the nodes, which may be 30 s apart; or somebody plays back what \
                 was said"
            }
        };
        let cause = error.map(|error| error.to_string()).unwrap_or_default();
        tracing::warn!(
            virtual_ip = %self.virtual_ips[router.virtual_ip].name,
            %source,
            why = dropped.as_str(),
            cause,
            "adverts are dropped: {remedy}"
        );
    }

    /// Says once in a while that another node has other virtual addresses.
    fn compare_addresses(&mut self, index: usize, source: IpAddr, advert: &Advert) {
        let ours = &self.machine.settings(index).addresses;
        let is_same = ours.len() == advert.addresses.len()
            && ours
                .iter()
                .all(|address| advert.addresses.contains(address));
        let router = &mut self.routers[index];
        if !is_same && now().saturating_since(router.differs_told_at) >= TELL_AGAIN {
            router.differs_told_at = now();
            tracing::warn!(
                virtual_ip = %self.virtual_ips[router.virtual_ip].name,
                %source,
                theirs = ?advert.addresses,
                "another node has other virtual addresses; give all nodes the same `addresses`"
            );
        }
    }

    /// Does what the machine decided.
    pub(super) fn act(&mut self) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::SendAdvert { router, priority } => self.send(router, priority),
                Action::AddAddresses(router) => self.add_addresses(router),
                Action::RemoveAddresses(router) => self.remove_addresses(router),
                Action::Announce(router) => self.announce(router),
                Action::Ask(router) => self.ask(router),
                Action::Event(router, event) => self.tell(router, event),
            }
        }
    }

    fn send(&mut self, index: usize, priority: u8) {
        let settings = self.machine.settings(index);
        let router = &mut self.routers[index];
        let Some(sockets) = &router.sockets else {
            return;
        };
        let advert = Advert {
            version: settings.version,
            router_id: settings.router_id,
            priority,
            interval: settings.interval,
            addresses: settings.addresses.clone(),
        };
        let style = self.virtual_ips[router.virtual_ip].checksum;
        match sockets.send(&advert, settings, style, router.guard.as_mut()) {
            Ok(sent) => router.counters.adverts_sent += sent,
            Err(error) => {
                router.counters.failures += 1;
                tracing::debug!(%error, "advert could not be sent");
            }
        }
    }

    fn add_addresses(&mut self, index: usize) {
        let routes = self.routes(index);
        if let Some(place) = self.place(index) {
            self.set_virtual_mac(index, true);
            self.put_addresses(index, place);
            let failures = &mut self.routers[index].counters.failures;
            *failures += routes::add(&mut self.netlink, &routes);
        }
    }

    fn remove_addresses(&mut self, index: usize) {
        let routes = self.routes(index);
        if let Some(place) = self.place(index) {
            let router = &mut self.routers[index];
            let failures = &mut router.counters.failures;
            *failures += routes::remove(&mut self.netlink, &routes);
            *failures += addresses::remove(&mut self.netlink, place, &router.addresses);
            self.set_virtual_mac(index, false);
        }
    }

    /// Renews what a router that is active has.
    pub(super) fn renew_addresses(&mut self, index: usize) {
        let routes = self.routes(index);
        if let Some(place) = self.place(index) {
            self.set_virtual_mac(index, true);
            self.put_addresses(index, place);
            let failures = &mut self.routers[index].counters.failures;
            *failures += routes::renew(&mut self.netlink, &routes);
        }
    }

    fn put_addresses(&mut self, index: usize, place: Place) {
        let router = &mut self.routers[index];
        let failures = addresses::add(&mut self.netlink, place, &router.addresses);
        router.counters.failures += failures;
        router.failed_adds = match failures {
            0 => 0,
            _ => router.failed_adds.saturating_add(1),
        };
    }

    /// Has the interface of the virtual MAC address, if there is one, receive or not.
    fn set_virtual_mac(&mut self, index: usize, is_up: bool) {
        let router = &mut self.routers[index];
        let own = router.sockets.as_ref().and_then(Sockets::virtual_mac);
        if let Some(own) = own
            && let Err(error) = self.netlink.set_up(own.interface, is_up)
        {
            tracing::error!(%error, is_up, "the interface of the virtual MAC address is as before");
            router.counters.failures += 1;
        }
    }

    fn place(&self, index: usize) -> Option<Place> {
        let sockets = self.routers[index].sockets.as_ref()?;
        let parent = sockets.usable().index;
        let Some(loopback) = self.interfaces.loopback() else {
            tracing::error!(
                "the loopback interface is down, which virtual addresses are put on; \
                 `ip link set lo up`"
            );
            return None;
        };
        let own = sockets.virtual_mac().map(|own| own.interface);
        Some(Place {
            link: own.unwrap_or(parent),
            loopback,
            v4: own.unwrap_or(loopback),
        })
    }

    fn routes(&self, index: usize) -> Vec<Route> {
        let router = &self.routers[index];
        let virtual_ip = &self.virtual_ips[router.virtual_ip];
        let interface = router
            .sockets
            .as_ref()
            .map(|sockets| sockets.usable().index);
        interface.map_or_else(Vec::new, |interface| {
            routes::of_router(interface, &router.addresses, &virtual_ip.routes)
        })
    }

    fn announce(&mut self, index: usize) {
        let addresses = &self.machine.settings(index).addresses;
        let router = &mut self.routers[index];
        let Some(sockets) = &router.sockets else {
            return;
        };
        match sockets.announce(addresses) {
            Ok(sent) => router.counters.announcements += sent,
            Err(error) => {
                router.counters.failures += 1;
                tracing::warn!(%error, "addresses could not be announced");
            }
        }
    }

    fn tell(&mut self, index: usize, event: Event) {
        let router = &mut self.routers[index];
        router.counters.count(&event);
        let virtual_ip = &self.virtual_ips[router.virtual_ip].name;
        let family = self.machine.settings(index).family.as_str();
        match event {
            Event::StateChanged { from, to, reason } => {
                let priority = self.machine.priority(index);
                if matches!(reason, Reason::Late(_)) {
                    tracing::warn!(
                        %virtual_ip, family,
                        "this node was not given the processor in time; see docs/virtual-ip.md"
                    );
                }
                tracing::info!(%virtual_ip, family, priority, "{from} -> {to}: {reason}");
                if let Some(hooks) = &self.hooks[router.virtual_ip] {
                    hooks.tell(Change {
                        family,
                        from,
                        to,
                        reason,
                        priority,
                    });
                }
                if to == State::Active || from == State::Active {
                    // Whoever watches learns of it now.
                    self.report_at = now();
                }
            }
            Event::PriorityChanged { from, to } => {
                tracing::info!(%virtual_ip, family, "priority {from} -> {to}");
            }
            Event::ConflictBegan { other } => {
                tracing::error!(
                    %virtual_ip, family, %other,
                    "another node is active too: two nodes did not hear each other"
                );
            }
            Event::OtherYielded { other } => {
                tracing::info!(%virtual_ip, family, %other, "another active gave up");
            }
            Event::ConflictEnded { other } => {
                tracing::info!(%virtual_ip, family, %other, "the conflict is over");
            }
            Event::WentOn { slept } => {
                if now().saturating_since(router.late_told_at) >= TELL_AGAIN {
                    router.late_told_at = now();
                    tracing::warn!(
                        %virtual_ip, family, ?slept,
                        "this node was not given the processor in time, but nobody has taken over; see \
                         docs/virtual-ip.md"
                    );
                }
            }
            Event::PathDied => {
                tracing::error!(
                    %virtual_ip, family,
                    "another node is alive and active, but its adverts do not arrive; let protocol \
                     112 through between the nodes, and look at the network between them"
                );
            }
            Event::PathHealed => {
                tracing::info!(%virtual_ip, family, "the path of adverts is no longer in question");
            }
        }
    }
}

/// A packet of version 3 with 255 IPv6 addresses, and an IPv4 header with all options.
const MAX_PACKET: usize = 8 + 255 * 16 + 60;
/// Packets that one router takes in one turn.
const MAX_PACKETS: usize = 256;
/// How often the log tells of the same thing that goes on: adverts that are dropped, timers that are late.
const TELL_AGAIN: Duration = Duration::from_secs(60);
