//! The loop of the vrrp process.
//!
//! Each turn looks first whether the process slept for so long that it had better give up. Next it reads
//! everything that has arrived before it looks at a timer: who slept finds the adverts of others first,
//! a backup and an active alike.

mod act;

use crate::addresses::{self, RENEWAL};
use crate::guard::{self, Guard, Keys};
use crate::hooks::Hooks;
use crate::interfaces::Interfaces;
use crate::link::{Link, REPORT_TIMEOUT, Readiness};
use crate::neighbours::Silenced;
use crate::readable::Readable;
use crate::sockets::Sockets;
use crate::track::{self, Finding};
use crate::virtual_mac::VirtualMac;
use crate::{Error, privileges};
use catamaran_core::Timestamp;
use catamaran_core::model::{Config, Name, Tracked, VirtualAddress, VirtualIp};
use catamaran_core::vrrp::{Counters, Dropped, Family, Machine, State, Status, Tracking};
use catamaran_sys::netlink::Netlink;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::mpsc;

/// What the supervisor wants.
#[derive(Debug)]
pub enum Order {
    /// Give up all addresses and end.
    Stop,
    /// It is gone: go on, but let others take over.
    Orphan,
    /// Another one is there, and this is the line to the data process from now on.
    Adopted(OwnedFd),
}

/// What tasks beside the loop tell it.
#[derive(Debug)]
pub(crate) enum News {
    /// A watched thing changed.
    Found(Finding),
    /// The secret of a virtual address is another.
    Secret(usize, Keys),
}

/// One virtual router with all it needs.
#[derive(Debug)]
struct Router {
    virtual_ip: usize,
    addresses: Vec<VirtualAddress>,
    sockets: Option<Sockets>,
    /// Seals adverts and judges seals, if there is a secret.
    guard: Option<Guard>,
    counters: Counters,
    /// When each kind of dropped advert was last told in the log.
    told_at: [Timestamp; Dropped::ALL.len()],
    /// When the log last told that another node has other addresses.
    differs_told_at: Timestamp,
    /// When it last told that a timer was late, for nothing.
    late_told_at: Timestamp,
    /// How often in a row its addresses could not be put on this host.
    failed_adds: u32,
}

/// Everything that the loop holds.
#[derive(Debug)]
struct Shell {
    virtual_ips: Vec<VirtualIp>,
    /// Names of all backends, by id.
    backends: Vec<Name>,
    routers: Vec<Router>,
    machine: Machine,
    tracking: Vec<Tracking>,
    hooks: Vec<Option<Hooks>>,
    netlink: Netlink,
    watch: Netlink,
    watch_readable: Readable,
    /// The line to the data process, which wakes this one: what it knows of peers is urgent.
    link_readable: Readable,
    interfaces: Interfaces,
    silenced: Silenced,
    link: Link,
    heard_at: Timestamp,
    readiness: Readiness,
    is_orphan: bool,
    renew_at: Timestamp,
    report_at: Timestamp,
}

/// Plays the virtual routers of `config` until it is told to stop.
///
/// `link` is the line to the data process, `on_ready` is called once when the privileges and the
/// kernel have proved enough.
///
/// # Errors
/// When it cannot do its duty at all.
pub async fn run(
    config: &Config,
    link: OwnedFd,
    mut orders: mpsc::Receiver<Order>,
    on_ready: impl AsyncFnOnce(),
) -> Result<(), Error> {
    addresses::remove_leftovers(&config.virtual_ips).map_err(Error::Privileges)?;
    privileges::settle(&config.virtual_ips)?;
    let mut shell = Shell::new(config, link)?;
    let (news, mut findings) = mpsc::channel(MAX_WAITING);
    track::start(&config.virtual_ips, &news);
    shell.start_guards(&news)?;
    shell.refresh_interfaces();
    shell.act();
    on_ready().await;
    loop {
        let wake = shell.wake_at();
        let now = now();
        let order = tokio::select! {
            biased;
            order = orders.recv() => Some(order.unwrap_or(Order::Stop)),
            Some(news) = findings.recv() => {
                shell.take_news(news);
                None
            }
            () = shell.readable() => None,
            () = tokio::time::sleep(wake.saturating_since(now)) => None,
        };
        match order {
            Some(Order::Stop) => {
                shell.stop().await;
                return Ok(());
            }
            Some(Order::Orphan) => shell.is_orphan = true,
            Some(Order::Adopted(link)) => {
                shell.link_readable = Readable::new(link.as_fd()).map_err(Error::Link)?;
                shell.link = Link::new(link);
                shell.is_orphan = false;
            }
            None => {}
        }
        shell.turn()?;
        if shell.is_orphan && shell.silence() > ABANDONED {
            tracing::error!("supervisor and data process are gone; addresses are given up");
            shell.stop().await;
            return Ok(());
        }
    }
}

impl Shell {
    fn new(config: &Config, link: OwnedFd) -> Result<Self, Error> {
        let virtual_ips = config.virtual_ips.clone();
        let mut groups: Vec<&Name> = Vec::new();
        let (mut routers, mut settings) = (Vec::new(), Vec::new());
        for (index, one) in virtual_ips.iter().enumerate() {
            // Both families of one section move together, as if they had named a group.
            let name = one.sync_group.as_ref().unwrap_or(&one.name);
            let group = groups.iter().position(|known| *known == name);
            let group = group.unwrap_or_else(|| {
                groups.push(name);
                groups.len() - 1
            });
            for family in one.families() {
                settings.push(one.settings(family, Some(group)));
                routers.push(Router {
                    virtual_ip: index,
                    addresses: one.addresses_of(family).collect(),
                    sockets: None,
                    guard: None,
                    counters: Counters::default(),
                    told_at: [Timestamp::ZERO; Dropped::ALL.len()],
                    differs_told_at: Timestamp::ZERO,
                    late_told_at: Timestamp::ZERO,
                    failed_adds: 0,
                });
            }
        }
        let watch = Netlink::open_watch().map_err(Error::Netlink)?;
        let tracking = |one: &VirtualIp| Tracking::new(one.priority, one.track.len());
        Ok(Self {
            backends: config.backends.iter().map(|b| b.name.clone()).collect(),
            tracking: virtual_ips.iter().map(tracking).collect(),
            hooks: virtual_ips.iter().map(Hooks::start).collect(),
            machine: Machine::new(settings),
            routers,
            netlink: Netlink::open().map_err(Error::Netlink)?,
            watch_readable: Readable::new(watch.as_fd()).map_err(Error::Netlink)?,
            watch,
            interfaces: Interfaces::default(),
            silenced: Silenced::default(),
            link_readable: Readable::new(link.as_fd()).map_err(Error::Link)?,
            link: Link::new(link),
            heard_at: Timestamp::ZERO,
            readiness: Readiness::default(),
            is_orphan: false,
            renew_at: Timestamp::ZERO,
            report_at: Timestamp::ZERO,
            virtual_ips,
        })
    }

    /// Does all that is to be done now.
    fn turn(&mut self) -> Result<(), Error> {
        // What waits may be questions that another node has answered by now.
        self.machine.handle_wake(now());
        self.act();
        self.receive();
        if self.watch.drain().map_err(Error::Netlink)? {
            self.refresh_interfaces();
        }
        self.hear_data_process()?;
        self.machine.handle_timeout(now());
        self.act();
        let now = now();
        if now >= self.renew_at {
            self.renew();
            self.renew_at = now + RENEWAL;
        }
        if now >= self.report_at {
            self.report()?;
        }
        Ok(())
    }

    /// When the next turn is due, if nothing arrives.
    fn wake_at(&self) -> Timestamp {
        let silent_at = match self.readiness.serves {
            true => self.heard_at + REPORT_TIMEOUT,
            false => Timestamp::MAX,
        };
        self.machine
            .poll_timeout()
            .min(self.renew_at)
            .min(self.report_at)
            .min(silent_at)
            // The data process speaks 20 times a second; its words need no more speed than that.
            .min(now() + TURN)
    }

    /// Ready when something may have arrived.
    async fn readable(&self) {
        poll_fn(|cx| {
            let mut is_ready = false;
            for router in &self.routers {
                if let Some(sockets) = &router.sockets {
                    is_ready |= sockets.poll_readable(cx).is_ready();
                }
            }
            is_ready |= self.watch_readable.poll(cx).is_ready();
            is_ready |= self.link_readable.poll(cx).is_ready();
            if is_ready {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn hear_data_process(&mut self) -> Result<(), Error> {
        let now = now();
        if let Some(readiness) = self.link.readiness().map_err(Error::Link)? {
            self.heard_at = now;
            self.readiness = readiness;
        } else if self.readiness.serves && self.silence() > REPORT_TIMEOUT {
            tracing::warn!(silent_for = ?self.silence(), "data process is silent");
            self.readiness.serves = false;
        }
        let serves = self.readiness.serves && !self.is_orphan;
        for (at, (one, tracking)) in self.virtual_ips.iter().zip(&mut self.tracking).enumerate() {
            let mut of_it = (0..).zip(&self.routers).filter(|(_, r)| r.virtual_ip == at);
            let may_lead = of_it.all(|(index, router)| {
                // Who takes an address from a node that serves is to know what that knows.
                let is_active = self.machine.state(index) == State::Active;
                let has_all = self.readiness.is_current && !self.readiness.is_behind;
                let knows = is_active || !one.preempt || has_all;
                knows && router.failed_adds < MAX_FAILED_ADDS
            });
            tracking.set_serves(serves && may_lead);
            for (index, item) in one.track.iter().enumerate() {
                let fails = match item.what {
                    Tracked::Backend(id) => {
                        let name = self.backends[id.index()].as_str();
                        self.readiness.failing.iter().any(|failing| failing == name)
                    }
                    Tracked::Replication => !self.readiness.is_current,
                    Tracked::Interface(_) | Tracked::Command { .. } | Tracked::File { .. } => {
                        continue;
                    }
                };
                tracking.set_add(index, track::add_of(item, fails));
            }
        }
        self.settle_priorities();
        self.hear_of_others(now);
        Ok(())
    }

    /// Tells the machine which peers are active, as the data process knows it. While that is silent
    /// nobody knows.
    fn hear_of_others(&mut self, now: Timestamp) {
        self.machine.handle_alone(self.readiness.is_alone);
        for index in 0..self.routers.len() {
            let settings = self.machine.settings(index);
            let (router_id, is_v6) = (settings.router_id, settings.family == Family::V6);
            let others = self.readiness.others.iter().filter(|other| {
                self.readiness.serves && (other.router_id, other.is_v6) == (router_id, is_v6)
            });
            let own = self.machine.priority(index);
            let best = others.map(|other| other.rank(own)).max();
            let has_left = self.readiness.left.contains(&(router_id, is_v6));
            self.machine.handle_witness(now, index, best);
            self.machine.handle_departure(now, index, has_left);
        }
        self.act();
    }

    fn take_news(&mut self, news: News) {
        match news {
            News::Found(finding) => {
                self.tracking[finding.virtual_ip].set_add(finding.track, finding.add);
                self.settle_priorities();
            }
            News::Secret(virtual_ip, keys) => {
                let guards = self.routers.iter_mut();
                let of_it = guards.filter(|router| router.virtual_ip == virtual_ip);
                for guard in of_it.filter_map(|router| router.guard.as_mut()) {
                    guard.set_keys(keys.clone());
                }
            }
        }
    }

    /// Reads the secrets, and has them read again from time to time.
    fn start_guards(&mut self, news: &mpsc::Sender<News>) -> Result<(), Error> {
        for (index, virtual_ip) in self.virtual_ips.iter().enumerate() {
            let Some(authentication) = &virtual_ip.authentication else {
                continue;
            };
            let path = &authentication.secret_file;
            let (keys, bytes) = Keys::read(path).map_err(|problem| Error::Secret {
                path: path.clone(),
                problem,
            })?;
            for router in &mut self.routers {
                if router.virtual_ip == index {
                    router.guard = Some(Guard::new(keys.clone(), authentication));
                }
            }
            let news = news.clone();
            let tell = move |keys| {
                let news = news.clone();
                async move { news.send(News::Secret(index, keys)).await.is_ok() }
            };
            tokio::spawn(guard::watch(authentication.clone(), bytes, tell));
        }
        Ok(())
    }

    fn settle_priorities(&mut self) {
        for (index, router) in self.routers.iter().enumerate() {
            let priority = self.tracking[router.virtual_ip].priority();
            self.machine.handle_priority(now(), index, priority);
        }
    }

    /// Takes a new picture of the interfaces and tells the machine what became of its own.
    fn refresh_interfaces(&mut self) {
        match Interfaces::read(&mut self.netlink) {
            Ok(interfaces) => self.interfaces = interfaces,
            // The old picture is better than none; the next change or renewal reads again.
            Err(error) => return tracing::error!(%error, "interfaces cannot be read"),
        }
        for index in 0..self.routers.len() {
            self.refresh_router(index);
        }
        for (one, tracking) in self.virtual_ips.iter().zip(&mut self.tracking) {
            for (index, item) in one.track.iter().enumerate() {
                if let Tracked::Interface(name) = &item.what {
                    let fails = !self.interfaces.is_running(name);
                    tracking.set_add(index, track::add_of(item, fails));
                }
            }
        }
        self.settle_priorities();
    }

    fn refresh_router(&mut self, index: usize) {
        let settings = self.machine.settings(index).clone();
        let all = self.virtual_ips.iter().flat_map(|one| &one.addresses);
        let all: Vec<IpAddr> = all.map(|one| one.address).collect();
        let router = &mut self.routers[index];
        let name = &self.virtual_ips[router.virtual_ip].interface;
        let usable = self
            .interfaces
            .usable(name, settings.family, &settings.addresses, &all)
            // Virtual addresses are put there.
            .filter(|_| self.interfaces.loopback().is_some());
        let before = router.sockets.as_ref().map(Sockets::usable);
        if usable == before {
            return;
        }
        let has_virtual_mac = self.virtual_ips[router.virtual_ip].virtual_mac;
        let opened = usable.map(|usable| {
            let virtual_mac = has_virtual_mac.then(|| {
                let kind = (settings.family, settings.router_id);
                VirtualMac::make(&mut self.netlink, &self.interfaces, usable.index, kind)
            });
            Sockets::open(name, usable, &settings, virtual_mac.transpose()?)
        });
        let local = match opened {
            Some(Ok(sockets)) => {
                router.sockets = Some(sockets);
                if settings.family == Family::V4 {
                    self.silenced.add(&mut self.netlink, &self.interfaces, name);
                }
                usable.map(|usable| usable.local)
            }
            Some(Err(error)) => {
                let remedy = privileges::remedy_of(&error);
                tracing::error!(interface = name, %error, "sockets cannot be opened{remedy}");
                router.counters.failures += 1;
                None
            }
            None => {
                tracing::warn!(
                    interface = name,
                    family = settings.family.as_str(),
                    "interface is missing, down or without an address, or the loopback interface is \
                     down (`ip link set lo up`)"
                );
                None
            }
        };
        self.machine.handle_interface(now(), index, local);
        // What the machine has to say goes out, or is lost, over the old sockets.
        self.act();
        if local.is_none() {
            self.routers[index].sockets = None;
        } else if self.machine.state(index) == State::Active {
            // What it has may be on what is no longer there.
            self.renew_addresses(index);
        }
    }

    fn renew(&mut self) {
        // The watch told of every change; this is for one that it lost.
        self.refresh_interfaces();
        for index in 0..self.routers.len() {
            if self.machine.state(index) == State::Active {
                self.renew_addresses(index);
            }
        }
    }

    fn report(&mut self) -> Result<(), Error> {
        self.report_at = now() + STATUS_INTERVAL;
        let status = |(index, router): (usize, &Router)| Status {
            name: self.virtual_ips[router.virtual_ip].name.clone(),
            family: self.machine.settings(index).family,
            state: self.machine.state(index),
            priority: self.machine.priority(index),
            active: self.machine.active(index),
            is_in_conflict: self.machine.is_in_conflict(index),
            is_path_dead: self.machine.is_path_dead(index),
            router_id: self.machine.settings(index).router_id,
            counters: router.counters.clone(),
        };
        let all: Vec<Status> = self.routers.iter().enumerate().map(status).collect();
        self.link.tell(&all).map_err(Error::Link)
    }

    /// Gives everything up; the machine says when, within a second.
    async fn stop(&mut self) {
        self.receive();
        self.machine.handle_stop(now());
        self.act();
        while !self.machine.has_stopped() {
            let wake = self.machine.poll_timeout().saturating_since(now());
            tokio::select! {
                biased;
                () = self.readable() => {}
                () = tokio::time::sleep(wake) => {}
            }
            self.receive();
            self.machine.handle_timeout(now());
            self.act();
        }
        for router in &mut self.routers {
            if let Some(own) = router.sockets.take().and_then(|s| s.virtual_mac())
                && let Err(error) = self.netlink.remove_link(own.interface)
            {
                tracing::debug!(%error, "the interface of the virtual MAC address is left behind");
            }
        }
        self.silenced.restore(&mut self.netlink);
        if let Err(error) = self.report() {
            tracing::debug!(%error, "the last status is lost");
        }
    }

    /// How long the data process has said nothing.
    fn silence(&self) -> Duration {
        now().saturating_since(self.heard_at)
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(catamaran_sys::clock::now_nanos())
}

/// Whether an error says only that nothing has arrived.
fn is_empty(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

/// News that may wait for the loop, which never waits itself.
const MAX_WAITING: usize = 16;
/// After so many tries in a row that failed to put an address on this host, another node is to have
/// it: the second is a second after the first.
const MAX_FAILED_ADDS: u32 = 2;
/// How often at least the loop looks at the line to the data process.
const TURN: Duration = Duration::from_millis(50);
/// How often the data process is told of states and counters.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// With neither supervisor nor data process for this long nobody will come back.
const ABANDONED: Duration = Duration::from_secs(5);
