//! The machines of one backend, and what their verdicts change.
//!
//! No I/O but log lines, each written once per change. What to check is handed out as [`Job`]s;
//! verdicts go into the servers' shared state. Which verdict follows from what is decided by the
//! machines of `catamaran_core::health`.

use super::{Signal, Watched, WatchedServer};
use crate::probe::{Finding, Target};
use catamaran_core::Timestamp;
use catamaran_core::health::{Checker, Comeback, Detector, ProbeResult, Refusal, Status};
use catamaran_core::model::{Check, Health, ServerId, Source};

use std::sync::Arc;
use std::time::Duration;
use tracing::{debug, info, warn};

/// One backend under watch.
#[derive(Debug)]
pub(super) struct BackendWatch {
    watched: Watched,
    /// In the order of `watched.servers`.
    machines: Vec<Machines>,
    detector: Detector,
    check: Option<Arc<Check>>,
    connect: Arc<Check>,
    /// Whether the last result was inconclusive, which is logged once.
    is_unsure: bool,
}

/// What watches one server.
#[derive(Debug)]
struct Machines {
    uid: Uid,
    checker: Option<Checker>,
    refusal: Refusal,
}

/// What a server under watch is known by; never used again for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Uid(pub(super) u64);

/// A check to be made. Its result must come back by [`BackendWatch::handle_result`].
#[derive(Debug)]
pub(super) struct Job {
    pub(super) uid: Uid,
    pub(super) purpose: Purpose,
    pub(super) target: Target,
    pub(super) source: Option<Source>,
    pub(super) check: Arc<Check>,
    pub(super) timeout: Duration,
}

/// Which machine asked for a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The regular check.
    Regular,
    /// Whether a server that refused connections accepts them again.
    Refused,
    /// Whether an ejected server may return.
    Ejected,
}

/// Whether the rotation must be made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Effect {
    None,
    RotationChanged,
    /// Active checks took the server at `slot` down or brought it up; the rotation changed.
    StatusChanged {
        slot: usize,
        status: Status,
    },
}

impl BackendWatch {
    pub(super) fn new(
        watched: Watched,
        now: Timestamp,
        rng: &mut fastrand::Rng,
        mut next_uid: impl FnMut() -> Uid,
    ) -> Self {
        let health = watched.health.as_ref();
        let machines = watched
            .servers
            .iter()
            .map(|server| Machines::known(next_uid(), server, health, now, rng))
            .collect();
        let mut detector = watched.detector();
        for (slot, server) in watched.servers.iter().enumerate() {
            // Its time begins anew: how much of it was over is not known.
            if server.state.is_ejected() && detector.handle_streak(now, server_id(slot)).is_none() {
                server.state.readmit(now);
            }
        }
        Self {
            detector,
            check: health.map(|health| Arc::new(health.check.clone())),
            connect: Arc::new(watched.comeback.clone()),
            machines,
            watched,
            is_unsure: false,
        }
    }

    /// Puts `servers` in place of those there are. One with the same name, address and state keeps
    /// all that is known of it.
    pub(super) fn set_servers(
        &mut self,
        servers: Vec<WatchedServer>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
        mut next_uid: impl FnMut() -> Uid,
    ) {
        let old_servers = std::mem::replace(&mut self.watched.servers, servers);
        let mut old_machines: Vec<_> = std::mem::take(&mut self.machines)
            .into_iter()
            .map(Some)
            .collect();
        let by_name: std::collections::HashMap<_, _> = old_servers
            .iter()
            .enumerate()
            .map(|(index, server)| (&server.name, index))
            .collect();
        let health = self.watched.health.as_ref();
        let mut old_ids = Vec::with_capacity(self.watched.servers.len());
        for server in &self.watched.servers {
            let old = by_name
                .get(&server.name)
                .copied()
                .filter(|index| old_servers[*index].is_same(server));
            let kept = old.and_then(|index| old_machines[index].take());
            let machines =
                kept.unwrap_or_else(|| Machines::new(next_uid(), server, health, now, rng));
            self.machines.push(machines);
            old_ids.push(old.map(server_id));
        }
        let old_id = |id: ServerId| old_ids.get(id.index()).copied().flatten();
        self.detector = self
            .watched
            .detector()
            .with_ejections_of(&self.detector, old_id);
    }

    /// Watches as `watched` says from now on; servers keep what is known of them, as with
    /// [`Self::set_servers`].
    pub(super) fn reconfigure(
        &mut self,
        mut watched: Watched,
        now: Timestamp,
        rng: &mut fastrand::Rng,
        next_uid: impl FnMut() -> Uid,
    ) {
        let servers = std::mem::take(&mut watched.servers);
        let old = std::mem::replace(&mut self.watched, watched);
        self.watched.servers = old.servers;
        self.connect = Arc::new(self.watched.comeback.clone());
        if self.watched.health != old.health {
            let health = self.watched.health.as_ref();
            self.check = health.map(|health| Arc::new(health.check.clone()));
            for (machines, server) in self.machines.iter_mut().zip(&self.watched.servers) {
                machines.reconfigure(server, health, now, rng);
            }
        }
        self.set_servers(servers, now, rng, next_uid);
    }

    /// The servers' uids, in order.
    pub(super) fn uids(&self) -> impl Iterator<Item = Uid> {
        self.machines.iter().map(|machines| machines.uid)
    }

    pub(super) fn uid(&self, slot: usize) -> Uid {
        self.machines[slot].uid
    }

    /// Whether a check has said anything of the server at `slot`.
    pub(super) fn is_checked(&self, slot: usize) -> bool {
        let checker = self.machines[slot].checker.as_ref();
        checker.is_some_and(Checker::is_checked)
    }

    pub(super) const fn watched(&self) -> &Watched {
        &self.watched
    }

    /// Servers of which no check has said anything yet.
    pub(super) fn unchecked(&self) -> usize {
        let checkers = self.machines.iter().filter_map(|m| m.checker.as_ref());
        checkers.filter(|checker| !checker.is_checked()).count()
    }

    /// Takes the server at `slot` for down, as another node found it, unless it was checked here.
    pub(super) fn hint_down(&mut self, slot: usize) -> Effect {
        let checker = self.machines[slot].checker.as_mut();
        if !checker.is_some_and(Checker::assume_down) {
            return Effect::None;
        }
        let server = &self.watched.servers[slot];
        info!(backend = %self.watched.name, server = %server.name, "a peer found the server down");
        Effect::of(server.state.mark_checked_down())
    }

    /// Takes in what the workers noticed of the server at `slot`.
    pub(super) fn handle_signal(&mut self, now: Timestamp, slot: usize, signal: Signal) -> Effect {
        let machines = &mut self.machines[slot];
        let server = &self.watched.servers[slot];
        let (backend, name) = (&self.watched.name, &server.name);
        if let (Signal::Refused | Signal::ConnectFailed, Some(checker)) =
            (signal, &mut machines.checker)
        {
            checker.handle_failure_hint(now);
        }
        let has_changed = match signal {
            Signal::ConnectFailed => false,
            Signal::Refused => {
                machines.refusal.handle_refused(now) && {
                    warn!(%backend, server = %name, "server refuses connections");
                    server.state.mark_refusing()
                }
            }
            // Its failures are the refusals: it is out already, and back when it accepts again, not
            // when the time of an ejection is over.
            Signal::Outlier if machines.refusal.is_refusing() => false,
            Signal::Outlier => match self.detector.handle_streak(now, server_id(slot)) {
                None => false,
                Some(ejected) => {
                    let seconds = ejected.until.saturating_since(now).as_secs();
                    let count = ejected.count;
                    warn!(%backend, server = %name, seconds, count, "server is ejected");
                    server.state.eject()
                }
            },
        };
        Effect::of(has_changed)
    }

    /// Takes in the result of a check of the server at `slot`.
    pub(super) fn handle_result(
        &mut self,
        now: Timestamp,
        slot: usize,
        purpose: Purpose,
        finding: &Finding,
    ) -> Effect {
        self.note_confidence(finding);
        let result = ProbeResult::from(finding);
        let server = &self.watched.servers[slot];
        let (backend, name) = (&self.watched.name, &server.name);
        if let Finding::Fail(reason) = finding {
            debug!(%backend, server = %name, ?purpose, %reason, "check failed");
        }
        let has_changed = match purpose {
            Purpose::Regular => return self.handle_check(now, slot, finding),
            Purpose::Refused => {
                self.machines[slot].refusal.handle_probe(now, result) && {
                    info!(%backend, server = %name, "server accepts connections again");
                    server.state.mark_accepting(now)
                }
            }
            Purpose::Ejected => {
                self.detector.handle_probe(now, server_id(slot), result)
                    && self.readmit(now, slot, "a connection stood")
            }
        };
        Effect::of(has_changed)
    }

    /// Looks at the server at `slot`; appends the checks that are due.
    pub(super) fn poll_server(&mut self, now: Timestamp, slot: usize, jobs: &mut Vec<Job>) {
        let machines = &mut self.machines[slot];
        let target = &self.watched.servers[slot].target;
        let uid = machines.uid;
        if let (Some(checker), Some(health), Some(check)) =
            (&mut machines.checker, &self.watched.health, &self.check)
        {
            while checker.poll_probe(now) {
                jobs.push(Job {
                    uid,
                    purpose: Purpose::Regular,
                    target: target.with_port(health.port),
                    source: self.watched.servers[slot].source.clone(),
                    check: Arc::clone(check),
                    timeout: health.timeout,
                });
            }
        }
        if machines.refusal.poll_probe(now) {
            jobs.push(self.connection(slot, Purpose::Refused));
        }
    }

    /// Looks at the ejections; appends the checks that are due.
    pub(super) fn poll_detector(&mut self, now: Timestamp, jobs: &mut Vec<Job>) -> Effect {
        let mut effect = Effect::None;
        while let Some(server) = self.detector.handle_timeout(now) {
            if self.readmit(now, server.index(), "its time is over") {
                effect = Effect::RotationChanged;
            }
        }
        while let Some(server) = self.detector.poll_probe(now) {
            jobs.push(self.connection(server.index(), Purpose::Ejected));
        }
        effect
    }

    /// When to call [`Self::poll_server`].
    pub(super) fn server_timeout(&self, slot: usize) -> Option<Timestamp> {
        let machines = &self.machines[slot];
        let check = machines.checker.as_ref().and_then(Checker::poll_timeout);
        let refusal = machines.refusal.poll_timeout();
        check.into_iter().chain(refusal).min()
    }

    /// When to call [`Self::poll_detector`].
    pub(super) fn detector_timeout(&self) -> Option<Timestamp> {
        self.detector.poll_timeout()
    }

    fn handle_check(&mut self, now: Timestamp, slot: usize, finding: &Finding) -> Effect {
        let Machines {
            checker: Some(checker),
            refusal,
            ..
        } = &mut self.machines[slot]
        else {
            return Effect::None;
        };
        let server = &self.watched.servers[slot];
        let (backend, name) = (&self.watched.name, &server.name);
        let change = checker.handle_result(now, finding.into());
        let is_up = checker.status() == Status::Up;
        match change {
            Some(Status::Down) => {
                let reason = finding.reason();
                warn!(%backend, server = %name, reason, "server is down");
                server.state.mark_checked_down();
            }
            Some(Status::Up) => {
                info!(%backend, server = %name, "server is up");
                server.state.mark_checked_up(now);
            }
            None => {}
        }
        // After the server was marked down: in between it would look usable.
        if change.is_some() && refusal.handle_status_change() {
            server.state.mark_accepting(now);
        }
        let is_back = *finding == Finding::Pass
            && is_up
            && self.detector.handle_pass(now, server_id(slot))
            && self.readmit(now, slot, "a check passed");
        match change {
            Some(status) => Effect::StatusChanged { slot, status },
            None => Effect::of(is_back),
        }
    }

    /// A connection to the server itself, as clients get it.
    fn connection(&self, slot: usize, purpose: Purpose) -> Job {
        let health = self.watched.health.as_ref();
        Job {
            uid: self.machines[slot].uid,
            purpose,
            target: self.watched.servers[slot].target.clone(),
            source: self.watched.servers[slot].source.clone(),
            check: Arc::clone(&self.connect),
            timeout: health.map_or(CONNECT_TIMEOUT, |health| health.timeout),
        }
    }

    fn readmit(&self, now: Timestamp, slot: usize, reason: &str) -> bool {
        let server = &self.watched.servers[slot];
        info!(backend = %self.watched.name, server = %server.name, reason, "server is readmitted");
        server.state.readmit(now)
    }

    fn note_confidence(&mut self, finding: &Finding) {
        let was_unsure = self.is_unsure;
        self.is_unsure = matches!(finding, Finding::Inconclusive(_));
        if let (false, Finding::Inconclusive(fault)) = (was_unsure, finding) {
            warn!(backend = %self.watched.name, %fault, "servers cannot be checked");
        }
    }
}

impl Machines {
    /// The machines of a server of which nothing is known; its state is set to say the same.
    fn new(
        uid: Uid,
        server: &WatchedServer,
        health: Option<&Health>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Self {
        server.state.mark_checked_up(now);
        server.state.mark_accepting(now);
        server.state.readmit(now);
        Self {
            uid,
            checker: health.map(|health| Checker::new(health, now, rng)),
            refusal: Refusal::new(),
        }
    }
}

impl Machines {
    /// The machines of a server of which its state may know something: from the process before.
    fn known(
        uid: Uid,
        server: &WatchedServer,
        health: Option<&Health>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) -> Self {
        let checker = health.map(|health| match server.state.is_checked_down() {
            true => Checker::known_down(health, now, rng),
            false => Checker::new(health, now, rng),
        });
        if checker.is_none() {
            server.state.mark_checked_up(now);
        }
        let mut refusal = Refusal::new();
        if server.state.is_refusing() {
            refusal.handle_refused(now);
        }
        Self {
            uid,
            checker,
            refusal,
        }
    }

    /// Follows a changed check. What the old one found stays until the new one finds otherwise.
    fn reconfigure(
        &mut self,
        server: &WatchedServer,
        health: Option<&Health>,
        now: Timestamp,
        rng: &mut fastrand::Rng,
    ) {
        match (&mut self.checker, health) {
            (Some(checker), Some(health)) => checker.reconfigure(now, health),
            (checker @ None, Some(health)) => *checker = Some(Checker::new(health, now, rng)),
            (checker, None) => {
                *checker = None;
                server.state.mark_checked_up(now);
            }
        }
    }
}

impl Watched {
    fn detector(&self) -> Detector {
        let comeback = match self.health {
            Some(_) => Comeback::AtOnce,
            None => Comeback::ByProbe,
        };
        Detector::new(self.outlier.clone(), comeback, self.servers.len())
    }
}

impl WatchedServer {
    fn is_same(&self, other: &Self) -> bool {
        self.target == other.target
            && self.source == other.source
            && Arc::ptr_eq(&self.state, &other.state)
    }
}

impl Effect {
    const fn of(has_changed: bool) -> Self {
        if has_changed {
            Self::RotationChanged
        } else {
            Self::None
        }
    }
}

fn server_id(slot: usize) -> ServerId {
    ServerId(u32::try_from(slot).expect("a backend's servers are numbered by u32"))
}

/// Time for a connection where no check is configured that says another: its default.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
