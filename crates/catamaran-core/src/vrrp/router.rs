//! One virtual router of one node (RFC 9568 §6.4).

use super::machine::{Action, Output};
use super::packet::Advert;
use super::settings::{AdvertInterval, Settings, Version};
use super::status::Dropped;
use super::tracking::{LOWEST, OWNER};
use super::witness::{Departure, Witness};
use crate::Timestamp;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// What a virtual router of this node does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing: its interface is unusable, or it was stopped.
    Initialize,
    /// It listens to the active.
    Backup,
    /// It holds the addresses.
    Active,
}

/// Why a state changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its interface is usable.
    Started,
    /// Its interface is not usable any more.
    LinkDown,
    /// It was asked to stop.
    Stopped,
    /// No active was heard for the down interval.
    Silent,
    /// The active's process ended: its connection did, no advert came, and nobody answered.
    Departed,
    /// The active gave up.
    Released,
    /// The priority of the active fell below its own.
    ActiveFell,
    /// The active has a lower priority, and `preempt` is on.
    Preempts,
    /// Another active is stronger.
    Outranked(IpAddr),
    /// Another router of its group changed.
    Group,
    /// Its last advert is so long ago that another may have taken over.
    Late(Duration),
    /// It owns the address.
    Owner,
    /// Another active is stronger, as it says by another path; it is on the link.
    OutrankedElsewhere,
}

/// What happened, for logs, counters and hooks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state is another.
    StateChanged {
        /// What it was.
        from: State,
        /// What it is.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// The priority is another.
    PriorityChanged {
        /// What it was.
        from: u8,
        /// What it is.
        to: u8,
    },
    /// A second, weaker active is heard.
    ConflictBegan {
        /// Who that is.
        other: IpAddr,
    },
    /// Another active gave up, of which nothing had been heard: a handover, or a healed network.
    OtherYielded {
        /// Who that was.
        other: IpAddr,
    },
    /// The second active is heard no more.
    ConflictEnded {
        /// Who that was.
        other: IpAddr,
    },
    /// It slept so long that another might have taken over, but none has.
    WentOn {
        /// How long ago its last advert was.
        slept: Duration,
    },
    /// Another node is alive and active, and its adverts do not arrive.
    PathDied,
    /// Its adverts arrive again, or it is active no more.
    PathHealed,
}

/// The machine of one virtual router. Output goes to the [`Output`] of each call.
#[derive(Clone, Debug)]
pub(super) struct Router {
    pub(super) settings: Settings,
    /// The address that adverts come from; `None` while the interface is unusable.
    local: Option<IpAddr>,
    pub(super) state: State,
    priority: u8,
    /// Backup: when to take over. Active: when to send the next advert.
    due: Timestamp,
    /// Backup: when the time until `due` began. Active: when the last advert was sent.
    pub(super) since: Timestamp,
    /// Backup: why it would take over when `due` has come.
    cause: Reason,
    /// Backup: whether a late timer has been given more time already.
    was_deferred: bool,
    heard: Option<Heard>,
    /// Active: when to announce the addresses again, and how often that was done.
    announce_at: Timestamp,
    announced: usize,
    rival: Option<Rival>,
    pub(super) witness: Witness,
    /// Active: since when.
    active_since: Timestamp,
    /// Active: it has given up, and holds the addresses only until another is heard.
    pub(super) is_leaving: bool,
    /// Active that slept: since when it reads what arrived meanwhile.
    pub(super) reads_since: Option<Timestamp>,
}

/// The active as a backup hears it.
#[derive(Clone, Copy, Debug)]
struct Heard {
    from: IpAddr,
    interval: AdvertInterval,
    /// The highest priority it has had.
    best: u8,
    /// From when on it may be relieved, if its priority is lower.
    preempt_from: Option<Timestamp>,
}

/// A second active, weaker than this one.
#[derive(Clone, Copy, Debug)]
struct Rival {
    from: IpAddr,
    gone_at: Timestamp,
}

impl Router {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            local: None,
            state: State::Initialize,
            priority: if settings.priority == OWNER {
                OWNER
            } else {
                LOWEST
            },
            due: Timestamp::MAX,
            since: Timestamp::ZERO,
            cause: Reason::Silent,
            was_deferred: false,
            heard: None,
            announce_at: Timestamp::MAX,
            announced: 0,
            rival: None,
            witness: Witness::NONE,
            active_since: Timestamp::ZERO,
            is_leaving: false,
            reads_since: None,
            settings,
        }
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) const fn state(&self) -> State {
        self.state
    }

    pub(super) const fn priority(&self) -> u8 {
        self.priority
    }

    pub(super) const fn is_usable(&self) -> bool {
        self.local.is_some()
    }

    pub(super) fn is_in_conflict(&self) -> bool {
        self.rival.is_some() || self.state == State::Active && self.witness.is_path_dead
    }

    pub(super) const fn is_path_dead(&self) -> bool {
        self.witness.is_path_dead
    }

    /// The active as far as this node knows.
    pub(super) fn active(&self) -> Option<IpAddr> {
        match self.state {
            State::Active => self.local,
            State::Backup => self.heard.map(|heard| heard.from),
            State::Initialize => None,
        }
    }

    pub(super) const fn set_local(&mut self, local: Option<IpAddr>) {
        self.local = local;
    }

    /// The time at which [`Router::handle_timeout`] is to be called.
    pub(super) fn timeout(&self) -> Timestamp {
        let rival = self.rival.map_or(Timestamp::MAX, |rival| rival.gone_at);
        let settles = match self.state {
            State::Active if !self.witness.is_path_dead && self.rival.is_none() => {
                self.witness.settles_at(self.active_since)
            }
            _ => Timestamp::MAX,
        };
        self.due
            .min(self.announce_at)
            .min(rival)
            .min(self.witness.ask_at)
            .min(settles)
    }

    pub(super) fn start(&mut self, now: Timestamp, out: &mut Output<'_>) {
        if self.state != State::Initialize {
            return;
        }
        self.heard = None;
        if self.settings.priority == OWNER {
            return self.become_active(now, Reason::Owner, out);
        }
        self.change(State::Backup, Reason::Started, out);
        self.wait(now, self.settings.interval);
    }

    /// Gives up, so that a backup takes over at once.
    pub(super) fn stop(&mut self, reason: Reason, out: &mut Output<'_>) {
        if self.state == State::Active {
            out.push(Action::RemoveAddresses(out.router));
            out.push(Action::SendAdvert {
                router: out.router,
                priority: 0,
            });
        }
        if self.state != State::Initialize {
            self.change(State::Initialize, reason, out);
        }
        self.rest();
    }

    /// Gives up in good order: the addresses stay until another active is heard, so that at no time
    /// nobody answers.
    pub(super) fn leave(&mut self, now: Timestamp, out: &mut Output<'_>) {
        if self.state != State::Active {
            return self.stop(Reason::Stopped, out);
        }
        out.push(Action::SendAdvert {
            router: out.router,
            priority: 0,
        });
        self.rest();
        self.is_leaving = true;
        let interval = self.settings.interval.as_duration();
        // The weakest backup waits for one, and its word is on the way for a while.
        self.due = now + (interval * 2).min(LONGEST_LEAVE);
    }

    fn depart(&mut self, out: &mut Output<'_>) {
        self.is_leaving = false;
        out.push(Action::RemoveAddresses(out.router));
        self.change(State::Initialize, Reason::Stopped, out);
        self.rest();
    }

    /// Follows the rest of its group.
    pub(super) fn follow(&mut self, now: Timestamp, to: State, out: &mut Output<'_>) {
        match (self.state, to) {
            _ if self.is_leaving => {}
            (State::Backup, State::Active) => self.become_active(now, Reason::Group, out),
            (State::Active, State::Backup) => {
                out.push(Action::RemoveAddresses(out.router));
                out.push(Action::SendAdvert {
                    router: out.router,
                    priority: 0,
                });
                self.change(State::Backup, Reason::Group, out);
                self.wait(now, self.settings.interval);
            }
            _ => {}
        }
    }

    pub(super) fn handle_priority(&mut self, now: Timestamp, priority: u8, out: &mut Output<'_>) {
        if priority == self.priority {
            return;
        }
        let from = std::mem::replace(&mut self.priority, priority);
        out.event(Event::PriorityChanged { from, to: priority });
        match self.state {
            // Backups learn of it at once: they may have to take over.
            // One that slept speaks when it knows that nobody else does.
            State::Active if !self.is_leaving && self.lateness(now).is_none() => {
                self.send(now, out);
            }
            State::Backup if self.cause == Reason::Silent => {
                self.due = self.since + self.down_interval(priority, self.active_interval());
            }
            State::Active | State::Backup | State::Initialize => {}
        }
    }

    pub(super) fn handle_witness(
        &mut self,
        now: Timestamp,
        active: Option<u8>,
        out: &mut Output<'_>,
    ) {
        let was_active = self.witness.is_active();
        let is_backup = self.state == State::Backup && self.witness.is_path_dead;
        if active.is_none() && is_backup && self.witness.is_believed(now, self.priority != LOWEST) {
            return;
        }
        self.witness.set_active(now, active);
        match (active, self.state) {
            (None, state) => {
                if self.witness.departure != Departure::Suspected {
                    self.witness.ask_at = Timestamp::MAX;
                }
                self.heal_path(out);
                // It announced itself, and what it says when it yields does not arrive.
                if was_active && state == State::Active && !self.is_leaving {
                    self.announced = 0;
                    self.announce(now, out);
                }
            }
            (Some(_), State::Backup) => {
                if self.witness.ask_at == Timestamp::MAX {
                    // Early enough that the answer is there when it is time to take over.
                    let early = self.active_interval().as_duration() * 2;
                    self.witness.ask_at = (self.since + early).max(now);
                }
            }
            (Some(_), State::Active | State::Initialize) => {}
        }
    }

    pub(super) const fn handle_alone(&mut self, is_alone: bool) {
        self.witness.is_alone = is_alone;
    }

    /// Takes word that the connection of a peer that was active has ended.
    pub(super) fn handle_departure(&mut self, now: Timestamp, is_gone: bool) {
        if !is_gone {
            self.witness.departure = Departure::None;
            return;
        }
        let waits = self.state == State::Backup && self.cause == Reason::Silent;
        // One that should not serve itself is in no hurry.
        let may_suspect = waits && self.heard.is_some() && self.priority != LOWEST;
        if self.witness.departure == Departure::None && may_suspect {
            self.witness.departure = Departure::Suspected;
            self.witness.ask_at = now;
            let interval = self.active_interval();
            let skew = self.settings.version.skew(self.priority, interval);
            // The next advert may be late by so much, and an answer take as long.
            let grace = (interval.as_duration() / 2).max(ANSWER_TIME);
            let missed = self.since + interval.as_duration() + grace + skew;
            self.due = self.due.min(missed.max(now + grace));
        }
    }

    /// The active was heard.
    fn refute_departure(&mut self) {
        if self.witness.departure == Departure::Suspected {
            self.witness.departure = Departure::Refuted;
            if !self.witness.is_active() {
                self.witness.ask_at = Timestamp::MAX;
            }
            if self.state == State::Backup && self.cause == Reason::Silent {
                self.due = self.since + self.down_interval(self.priority, self.active_interval());
            }
        }
    }

    pub(super) fn handle_answer(&mut self, now: Timestamp, out: &mut Output<'_>) {
        self.refute_departure();
        self.witness.set_answered(now);
        if self.give_way(now, out) {
            return;
        }
        let rival = self.witness.rival(now, self.active_since);
        let is_weaker = rival.is_some_and(|priority| priority > self.priority);
        if self.state == State::Active && !self.is_leaving && self.rival.is_none() && is_weaker {
            out.push(Action::RemoveAddresses(out.router));
            self.change(State::Backup, Reason::OutrankedElsewhere, out);
            self.heard = None;
            self.wait(now, self.settings.interval);
            self.witness.ask_at = self.due.min(now + self.settings.interval.as_duration());
        }
    }

    /// Asks who has the addresses, and judges what was heard so far.
    fn look_elsewhere(&mut self, now: Timestamp, out: &mut Output<'_>) {
        let interval = self.active_interval().as_duration();
        if self.state == State::Active {
            let rival = self.witness.rival(now, self.active_since);
            if let Some(priority) = rival
                && self.rival.is_none()
            {
                self.lose_path(out);
                if priority > self.priority && self.witness.ask_at == Timestamp::MAX {
                    self.witness.ask_at = now;
                }
            }
        }
        if now >= self.witness.ask_at {
            out.push(Action::Ask(out.router));
            self.witness.ask_at = match self.state {
                State::Backup if self.witness.departure == Departure::Suspected => {
                    now + interval / 4
                }
                // Twice for each time that an answer holds good.
                State::Backup => now + interval / 2,
                State::Active | State::Initialize => now + ASK_AGAIN,
            };
        }
    }

    fn lose_path(&mut self, out: &mut Output<'_>) {
        if !self.witness.is_path_dead {
            self.witness.is_path_dead = true;
            out.event(Event::PathDied);
        }
    }

    fn heal_path(&mut self, out: &mut Output<'_>) {
        if self.witness.is_path_dead {
            self.witness.is_path_dead = false;
            out.event(Event::PathHealed);
        }
    }

    /// Whether an advert from `from` is to be heeded.
    pub(super) fn check(&self, from: IpAddr, advert: &Advert) -> Result<(), Dropped> {
        let settings = &self.settings;
        if advert.version != settings.version {
            Err(Dropped::Version)
        } else if self.local == Some(from) {
            Err(Dropped::OwnAddress)
        } else if !settings.peers.is_empty() && !settings.peers.contains(&from) {
            Err(Dropped::UnknownPeer)
        } else if settings.version == Version::V2 && advert.interval != settings.interval {
            //= https://www.rfc-editor.org/rfc/rfc3768#section-7.1
            //# MUST verify that the Adver Interval in the packet is the same as
            //# the locally configured for this virtual router
            Err(Dropped::Interval)
        } else {
            Ok(())
        }
    }

    pub(super) fn handle_advert(
        &mut self,
        now: Timestamp,
        from: IpAddr,
        advert: &Advert,
        out: &mut Output<'_>,
    ) {
        self.witness.begin_anew(now);
        self.refute_departure();
        self.heal_path(out);
        match (self.state, advert.priority) {
            (State::Initialize, _) => {}
            (State::Backup, 0) => self.hear_release(now, from),
            (State::Backup, _) => self.hear_active(now, from, advert),
            (State::Active, 0) if self.is_leaving => {}
            (State::Active, _) if self.is_leaving => self.depart(out),
            (State::Active, 1..) if self.give_way(now, out) => self.hear_active(now, from, advert),
            (State::Active, 0) => {
                //= https://www.rfc-editor.org/rfc/rfc9568#section-6.4.3
                //# If the Priority in the ADVERTISEMENT is 0, then: Send an ADVERTISEMENT
                self.answer(now, out);
                if self.rival.is_some_and(|rival| rival.from == from) {
                    self.end_conflict(out);
                } else {
                    out.event(Event::OtherYielded { other: from });
                }
                // What it announced last is put right.
                self.announce_at = self.announce_at.min(now + self.spacing());
            }
            (State::Active, _) if self.is_outranked(from, advert.priority) => {
                self.become_backup(now, from, advert, out);
            }
            (State::Active, _) => self.hear_rival(now, from, advert, out),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Output<'_>) {
        self.look_elsewhere(now, out);
        match self.state {
            State::Backup if now >= self.due => {
                let late = now.saturating_since(self.due);
                let interval = self.active_interval().as_duration();
                // Answers count as adverts do.
                let patience = self.down_interval(self.priority, self.active_interval());
                if late > interval && !self.was_deferred {
                    // Whoever slept through that may have slept through adverts as well.
                    self.was_deferred = true;
                    self.due = now + interval;
                } else if self.cause == Reason::Silent
                    && self.witness.is_on_link(now, interval, patience)
                {
                    self.lose_path(out);
                    self.due = now + interval;
                } else {
                    self.become_active(now, self.why(), out);
                }
            }
            State::Active if self.is_leaving => {
                if now >= self.due {
                    self.depart(out);
                }
            }
            State::Active => {
                if !self.may_speak(now, out) {
                    return;
                }
                if now >= self.due {
                    self.send_in_turn(now, out);
                }
                if now >= self.announce_at {
                    self.announce(now, out);
                }
                if self.rival.is_some_and(|rival| now >= rival.gone_at) {
                    self.end_conflict(out);
                }
            }
            State::Backup | State::Initialize => {}
        }
    }

    /// Why a backup whose time has come takes over.
    fn why(&self) -> Reason {
        match (self.cause, self.witness.departure) {
            (Reason::Silent, Departure::Suspected) => Reason::Departed,
            (cause, _) => cause,
        }
    }

    fn hear_release(&mut self, now: Timestamp, from: IpAddr) {
        // Only the active has something to give up.
        if self.heard.is_some_and(|heard| heard.from == from) {
            let skew = self
                .settings
                .version
                .skew(self.priority, self.active_interval());
            self.due = self.due.min(now + skew);
            self.cause = Reason::Released;
        }
    }

    fn hear_active(&mut self, now: Timestamp, from: IpAddr, advert: &Advert) {
        let known = self.heard.filter(|heard| heard.from == from);
        let best = known.map_or(advert.priority, |known| known.best.max(advert.priority));
        let is_lower = advert.priority < self.priority;
        let preempt_from = (is_lower && self.settings.preempt).then(|| {
            let since_before = known.and_then(|known| known.preempt_from);
            since_before.unwrap_or(now + self.settings.preempt_delay)
        });
        self.heard = Some(Heard {
            from,
            interval: advert.interval,
            best,
            preempt_from,
        });
        if is_lower && (advert.priority < best || advert.priority == LOWEST) {
            // It says itself that it should not serve, so there is nothing to wait for.
            let skew = self.settings.version.skew(self.priority, advert.interval);
            self.due = self.due.min(now + skew);
            self.cause = Reason::ActiveFell;
        } else if preempt_from.is_some_and(|from| now >= from) {
            //= https://www.rfc-editor.org/rfc/rfc9568#section-6.4.2
            //# Discard the ADVERTISEMENT
            self.cause = Reason::Preempts;
        } else {
            self.wait(now, advert.interval);
        }
    }

    fn hear_rival(&mut self, now: Timestamp, from: IpAddr, advert: &Advert, out: &mut Output<'_>) {
        let gone_at = now + self.down_interval(LOWEST, advert.interval);
        if self.rival.replace(Rival { from, gone_at }).is_none() {
            out.event(Event::ConflictBegan { other: from });
            out.push(Action::Announce(out.router));
        }
        // By then it has heard us and is gone, and what it announced last is put right.
        self.announce_at = now + self.settings.interval.as_duration();
        self.answer(now, out);
    }

    /// Sends an advert out of turn, but not for every packet: a flood of them must not be answered
    /// by another.
    fn answer(&mut self, now: Timestamp, out: &mut Output<'_>) {
        if now.saturating_since(self.since) >= self.spacing() {
            self.send(now, out);
        }
    }

    /// The shortest time between two answers.
    fn spacing(&self) -> Duration {
        self.settings.interval.as_duration() / 8
    }

    fn is_outranked(&self, from: IpAddr, priority: u8) -> bool {
        priority > self.priority
            || priority == self.priority && self.local.is_some_and(|local| from > local)
    }

    fn become_active(&mut self, now: Timestamp, reason: Reason, out: &mut Output<'_>) {
        self.change(State::Active, reason, out);
        self.heard = None;
        self.active_since = now;
        self.witness.ask_at = Timestamp::MAX;
        // The advert comes last: one that leaves holds the addresses until it hears it.
        out.push(Action::AddAddresses(out.router));
        self.announced = 0;
        self.announce(now, out);
        self.send(now, out);
    }

    fn become_backup(
        &mut self,
        now: Timestamp,
        from: IpAddr,
        advert: &Advert,
        out: &mut Output<'_>,
    ) {
        out.push(Action::RemoveAddresses(out.router));
        // The winner may not have heard this node at all, and must announce its addresses anew.
        out.push(Action::SendAdvert {
            router: out.router,
            priority: 0,
        });
        self.change(State::Backup, Reason::Outranked(from), out);
        self.heard = Some(Heard {
            from,
            interval: advert.interval,
            best: advert.priority,
            preempt_from: None,
        });
        self.wait(now, advert.interval);
    }

    /// Waits for the active to fall silent for the down interval.
    pub(super) fn wait(&mut self, now: Timestamp, interval: AdvertInterval) {
        self.rest();
        self.since = now;
        self.due = now + self.down_interval(self.priority, interval);
        self.cause = Reason::Silent;
        self.was_deferred = false;
        if self.witness.is_active() {
            self.witness.ask_at = now + interval.as_duration() * 2;
        }
    }

    fn rest(&mut self) {
        self.due = Timestamp::MAX;
        self.announce_at = Timestamp::MAX;
        self.witness.ask_at = Timestamp::MAX;
        self.rival = None;
    }

    fn send(&mut self, now: Timestamp, out: &mut Output<'_>) {
        out.push(Action::SendAdvert {
            router: out.router,
            priority: self.priority,
        });
        self.since = now;
        self.due = now + self.settings.interval.as_duration();
    }

    /// Sends the advert that is due and keeps the beat, so that small delays do not add up.
    fn send_in_turn(&mut self, now: Timestamp, out: &mut Output<'_>) {
        let next = self.due + self.settings.interval.as_duration();
        self.send(now, out);
        if next > now {
            self.due = next;
        }
    }

    fn announce(&mut self, now: Timestamp, out: &mut Output<'_>) {
        out.push(Action::Announce(out.router));
        let next = ANNOUNCE_AFTER.get(self.announced);
        self.announce_at = next.map_or(Timestamp::MAX, |after| now + *after);
        self.announced += 1;
    }

    fn end_conflict(&mut self, out: &mut Output<'_>) {
        if let Some(rival) = self.rival.take() {
            out.event(Event::ConflictEnded { other: rival.from });
            out.push(Action::Announce(out.router));
        }
    }

    pub(super) fn change(&mut self, to: State, reason: Reason, out: &mut Output<'_>) {
        if let (State::Active, Some(rival)) = (self.state, self.rival.take()) {
            out.event(Event::ConflictEnded { other: rival.from });
        }
        let from = std::mem::replace(&mut self.state, to);
        out.event(Event::StateChanged { from, to, reason });
    }

    /// The interval that the active keeps, as far as it is known.
    fn active_interval(&self) -> AdvertInterval {
        self.heard
            .map_or(self.settings.interval, |heard| heard.interval)
    }

    pub(super) fn down_interval(&self, priority: u8, interval: AdvertInterval) -> Duration {
        self.settings.version.down_interval(priority, interval)
    }
}

impl State {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Initialize, Self::Backup, Self::Active];

    /// As labels and log lines say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Started => f.write_str("its interface is usable"),
            Self::LinkDown => f.write_str("its interface is down or has no address"),
            Self::Stopped => f.write_str("this node stops"),
            Self::Silent => f.write_str("the active fell silent"),
            Self::Departed => f.write_str("the process of the active ended"),
            Self::Released => f.write_str("the active gave up"),
            Self::ActiveFell => f.write_str("the priority of the active fell"),
            Self::Preempts => f.write_str("the active has a lower priority"),
            Self::Outranked(other) => write!(f, "{other} is active with a higher rank"),
            Self::Group => f.write_str("its group moved"),
            Self::Late(silent) => {
                write!(f, "this node slept: its last advert is {silent:?} ago")
            }
            Self::Owner => f.write_str("this node owns the address"),
            Self::OutrankedElsewhere => f.write_str(
                "another node on the link is active with a higher priority, though its adverts do \
                 not arrive",
            ),
        }
    }
}

/// How long at least an active has to answer that is thought to be dead. Chosen: on a machine with twice
/// as much to do as it can, a process that sleeps is served within some milliseconds.
const ANSWER_TIME: Duration = Duration::from_millis(25);
/// How often an active that may have to yield asks on the link.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// How long at most a node that gives up waits for another. With an interval of a second a backup
/// takes over within one.
const LONGEST_LEAVE: Duration = Duration::from_millis(1500);
/// When an active announces its addresses again: each after the one before. The first is at once.
/// Chosen: a switch that lost the first frame learns within 200 ms, and one that was slow to come
/// up within six seconds.
const ANNOUNCE_AFTER: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
