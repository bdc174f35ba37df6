//! The simulated nodes and the network between them.

use super::super::{Action, Advert, Event, Machine, Reason, Settings, State};
use crate::Timestamp;
use fastrand::Rng;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// What the network does to adverts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) loss_percent: u8,
    pub(super) duplicate_percent: u8,
    pub(super) max_delay: Duration,
}

pub(super) struct Net {
    pub(super) fault: Fault,
    /// Whether nodes that are not cut off hear of each other by another path too.
    pub(super) has_heartbeats: bool,
    nodes: Vec<Node>,
    under_way: Vec<Letter>,
    now: Timestamp,
    changes: usize,
    rng: Rng,
}

struct Node {
    settings: Settings,
    machine: Option<Machine>,
    /// Its clock reads so much at the start, and runs so many millionths too fast.
    clock_start: u64,
    clock_ppm: i64,
    asleep_until: Timestamp,
    is_cut: bool,
    holds_address: bool,
    announced: Vec<Timestamp>,
    /// The first change of state since it woke, and whether it had sent anything by then.
    woke: Option<(Reason, bool)>,
    spoke_at: Timestamp,
}

#[derive(Clone)]
struct Letter {
    arrives: Timestamp,
    from: usize,
    to: usize,
    advert: Advert,
}

/// The address of a node on the link.
pub(super) fn local_address(node: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(node).unwrap() + 1).into()
}

impl Net {
    pub(super) fn new(settings: Vec<Settings>, mut rng: Rng) -> Self {
        let nodes = settings
            .into_iter()
            .map(|settings| Node {
                settings,
                machine: None,
                clock_start: rng.u64(0..1 << 50),
                clock_ppm: rng.i64(-500..=500),
                asleep_until: Timestamp::ZERO,
                is_cut: false,
                holds_address: false,
                announced: Vec::new(),
                woke: None,
                spoke_at: Timestamp::ZERO,
            })
            .collect();
        let mut net = Self {
            fault: WELL,
            has_heartbeats: false,
            nodes,
            under_way: Vec::new(),
            now: Timestamp::ZERO,
            changes: 0,
            rng,
        };
        for node in 0..net.nodes.len() {
            net.restart(node);
        }
        net
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) const fn changes(&self) -> usize {
        self.changes
    }

    pub(super) fn state(&self, node: usize) -> State {
        let machine = self.nodes[node].machine.as_ref();
        machine.map_or(State::Initialize, |machine| machine.state(0))
    }

    pub(super) fn active_nodes(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|&node| self.state(node) == State::Active)
    }

    pub(super) fn the_active(&self) -> usize {
        let actives: Vec<usize> = self.active_nodes().collect();
        assert_eq!(actives.len(), 1, "active at {:?}: {actives:?}", self.now);
        actives[0]
    }

    pub(super) fn announcements(&self, node: usize) -> usize {
        self.nodes[node].announced.len()
    }

    pub(super) fn last_announcement(&self, node: usize) -> Timestamp {
        *self.nodes[node].announced.last().unwrap()
    }

    pub(super) fn first_change_since_it_woke(&self, node: usize) -> Option<(Reason, bool)> {
        self.nodes[node].woke
    }

    pub(super) fn is_asleep(&self, node: usize) -> bool {
        self.nodes[node].asleep_until > self.now
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].machine = None;
        self.nodes[node].holds_address = false;
    }

    pub(super) fn restart(&mut self, node: usize) {
        self.kill(node);
        let mut machine = Machine::new(vec![self.nodes[node].settings.clone()]);
        let now = self.local_now(node);
        machine.handle_priority(now, 0, self.nodes[node].settings.priority);
        machine.handle_interface(now, 0, Some(local_address(node)));
        self.nodes[node].machine = Some(machine);
        self.nodes[node].asleep_until = Timestamp::ZERO;
        self.drain(node);
    }

    pub(super) fn stop(&mut self, node: usize) {
        let now = self.local_now(node);
        if self.is_asleep(node) {
            return;
        }
        if let Some(machine) = &mut self.nodes[node].machine {
            machine.handle_stop(now);
            self.drain(node);
        }
    }

    pub(super) fn sleep(&mut self, node: usize, time: Duration) {
        self.nodes[node].asleep_until = self.now + time;
        self.nodes[node].woke = None;
    }

    pub(super) fn set_priority(&mut self, node: usize, priority: u8) {
        let now = self.local_now(node);
        if self.is_asleep(node) {
            return;
        }
        if let Some(machine) = &mut self.nodes[node].machine {
            machine.handle_priority(now, 0, priority);
            self.drain(node);
        }
    }

    /// Cuts `node` off from all others.
    pub(super) fn cut(&mut self, node: usize) {
        self.nodes[node].is_cut = true;
    }

    /// Mends the network and starts what is dead.
    pub(super) fn heal(&mut self) {
        self.fault = WELL;
        for node in 0..self.nodes.len() {
            self.nodes[node].is_cut = false;
            let machine = self.nodes[node].machine.as_ref();
            if machine.is_none_or(Machine::has_stopped) {
                self.restart(node);
            }
        }
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs for `time`, in all of which `node` alone is active.
    pub(super) fn run_steadily(&mut self, time: Duration, node: usize) {
        let end = self.now + time;
        while self.step(end) {
            assert_eq!(self.the_active(), node);
        }
    }

    pub(super) fn run_until(&mut self, is_done: impl Fn(&Self) -> bool) {
        let end = self.now + Duration::from_secs(60);
        while !is_done(self) {
            assert!(self.step(end), "never came to be");
        }
    }

    /// Goes on to the next thing that happens; `false` when that is after `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let wakes = (0..self.nodes.len()).map(|node| (self.wakes_at(node), node));
        let (wake, node) = wakes.min().unwrap();
        let letters = self.under_way.iter().enumerate();
        let letter = letters.map(|(at, l)| (self.reads_at(l), at)).min();
        let next = letter.map_or(wake, |(arrives, _)| arrives.min(wake));
        if next > end {
            self.now = end;
            return false;
        }
        self.now = self.now.max(next);
        // A node that wakes reads what waits for it before it looks at its timers.
        match letter {
            Some((arrives, at)) if arrives <= wake => {
                let letter = self.under_way.swap_remove(at);
                self.deliver(&letter);
            }
            _ => {
                let now = self.local_now(node);
                self.tell_of_others(node);
                if let Some(machine) = &mut self.nodes[node].machine {
                    // What has arrived was delivered before.
                    machine.handle_wake(now);
                    machine.handle_timeout(now);
                }
                self.drain(node);
            }
        }
        true
    }

    fn deliver(&mut self, letter: &Letter) {
        let now = self.local_now(letter.to);
        self.tell_of_others(letter.to);
        let is_cut = self.nodes[letter.to].is_cut || self.nodes[letter.from].is_cut;
        if let Some(machine) = &mut self.nodes[letter.to].machine
            && !is_cut
        {
            let from = local_address(letter.from);
            machine.handle_advert(now, 0, from, &letter.advert).unwrap();
            self.drain(letter.to);
        }
    }

    /// The actives besides `node` with which it shares the link.
    fn others_on_link(&self, node: usize) -> Vec<usize> {
        let is_cut = self.nodes[node].is_cut;
        let is_there = move |&other: &usize| other != node && !is_cut && !self.nodes[other].is_cut;
        self.active_nodes().filter(is_there).collect()
    }

    fn tell_of_others(&mut self, node: usize) {
        if self.has_heartbeats {
            let others = self.others_on_link(node);
            let priorities = others
                .iter()
                .map(|&other| self.nodes[other].settings.priority);
            let best = priorities.max();
            let now = self.local_now(node);
            if let Some(machine) = &mut self.nodes[node].machine {
                machine.handle_witness(now, 0, best);
            }
            self.drain(node);
        }
    }

    /// The connections of `lost` have ended, as the others are told, or it is no news any more.
    pub(super) fn part(&mut self, lost: usize, is_gone: bool) {
        for node in (0..self.nodes.len()).filter(|&node| node != lost) {
            let now = self.local_now(node);
            if let Some(machine) = &mut self.nodes[node].machine {
                machine.handle_departure(now, 0, is_gone);
            }
            self.drain(node);
        }
    }

    fn drain(&mut self, node: usize) {
        let mut has_asked = false;
        while let Some(action) = self.nodes[node]
            .machine
            .as_mut()
            .and_then(Machine::poll_action)
        {
            match action {
                Action::SendAdvert { priority, .. } => self.send(node, priority),
                Action::AddAddresses(_) => self.nodes[node].holds_address = true,
                Action::RemoveAddresses(_) => self.nodes[node].holds_address = false,
                Action::Announce(_) => {
                    assert!(self.nodes[node].holds_address, "announced without holding");
                    self.nodes[node].announced.push(self.now);
                }
                Action::Event(_, Event::StateChanged { reason, .. }) => {
                    self.changes += 1;
                    let node = &mut self.nodes[node];
                    let has_spoken = node.spoke_at >= node.asleep_until;
                    node.woke.get_or_insert((reason, has_spoken));
                }
                Action::Ask(_) => has_asked = true,
                Action::Event(..) => {}
            }
        }
        let answers = self.others_on_link(node);
        let is_answered = has_asked && answers.into_iter().any(|other| !self.is_asleep(other));
        let now = self.local_now(node);
        if let Some(machine) = &mut self.nodes[node].machine
            && is_answered
        {
            machine.handle_answer(now, 0);
            return self.drain(node);
        }
        let holds = self.nodes[node].holds_address;
        assert_eq!(holds, self.state(node) == State::Active);
    }

    fn send(&mut self, from: usize, priority: u8) {
        self.nodes[from].spoke_at = self.now;
        let settings = &self.nodes[from].settings;
        let advert = Advert {
            version: settings.version,
            router_id: settings.router_id,
            priority,
            interval: settings.interval,
            addresses: settings.addresses.clone(),
        };
        for to in (0..self.nodes.len()).filter(|&to| to != from) {
            let copies = 1 + usize::from(self.rng.u8(0..100) < self.fault.duplicate_percent);
            for _ in 0..copies {
                if self.rng.u8(0..100) < self.fault.loss_percent {
                    continue;
                }
                let max = u64::try_from(self.fault.max_delay.as_nanos()).unwrap();
                let arrives = self.now + Duration::from_nanos(self.rng.u64(0..=max));
                let advert = advert.clone();
                self.under_way.push(Letter {
                    arrives,
                    from,
                    to,
                    advert,
                });
            }
        }
    }

    fn reads_at(&self, letter: &Letter) -> Timestamp {
        letter.arrives.max(self.nodes[letter.to].asleep_until)
    }

    fn local_now(&self, node: usize) -> Timestamp {
        let node = &self.nodes[node];
        let passed = i128::from(self.now.as_nanos());
        let drift = passed * i128::from(node.clock_ppm) / 1_000_000;
        let read = i128::from(node.clock_start) + passed + drift;
        Timestamp::from_nanos(u64::try_from(read).unwrap())
    }

    /// When a node looks at its timers next.
    fn wakes_at(&self, node: usize) -> Timestamp {
        let node = &self.nodes[node];
        let Some(machine) = &node.machine else {
            return Timestamp::MAX;
        };
        let timeout = machine.poll_timeout();
        if timeout == Timestamp::MAX {
            return timeout;
        }
        let local = i128::from(timeout.as_nanos()) - i128::from(node.clock_start);
        let pace = 1_000_000 + i128::from(node.clock_ppm);
        // Rounded up, so that the timer has fired by then.
        let real = (local * 1_000_000 + pace - 1) / pace + 1;
        let real = Timestamp::from_nanos(u64::try_from(real).unwrap_or(0));
        real.max(node.asleep_until).max(self.now)
    }
}

const WELL: Fault = Fault {
    loss_percent: 0,
    duplicate_percent: 0,
    max_delay: super::DELAY,
};
