//! Watches the servers: runs checks, listens to what workers notice, keeps the shared state.
//!
//! [`Monitor::run`] is one loop: signals, results and timeouts in, checks out. What they mean is
//! decided by the machines of `catamaran_core::health`; `BackendWatch` feeds these and applies
//! their verdicts. What workers notice is fetched by [`Notices`], which is to hold each server at
//! most once, so that any number of failures costs the control thread one look and no queue can
//! overflow.

mod timers;
mod watch;

use crate::Clock;
use crate::probe::{Fault, Finding, Target, probe_from};
use catamaran_core::Timestamp;
use catamaran_core::health::Status;
use catamaran_core::model::{Check, Health, Name, Outlier, Source};
use catamaran_core::server::ServerState;
use timers::Timers;
use watch::{BackendWatch, Effect, Job, Purpose, Uid};

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep_until;

/// A backend to be watched.
#[derive(Debug)]
pub struct Watched {
    /// What hooks are told, and the log says; no two backends have the same.
    pub name: Name,
    /// Active checks, if any.
    pub health: Option<Health>,
    /// Passive detection.
    pub outlier: Outlier,
    /// How a server that refused, or was ejected, is tried again.
    pub comeback: Check,
    /// Its servers that have an address, in the order of the rotation.
    pub servers: Vec<WatchedServer>,
}

/// A server to be watched.
#[derive(Clone, Debug)]
pub struct WatchedServer {
    /// What the log says.
    pub name: Name,
    /// Where clients are sent.
    pub target: Target,
    /// Where connections to it come from.
    pub source: Option<Source>,
    /// Where verdicts go.
    pub state: Arc<ServerState>,
}

/// What workers notice of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It refused a connection.
    Refused,
    /// A connection could not be made for another reason.
    ConnectFailed,
    /// Its failures in a row reached the limit.
    Outlier,
}

/// What a worker noticed, of which server.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The server, as in [`WatchedServer::state`].
    pub server: Arc<ServerState>,
    /// What was noticed.
    pub signal: Signal,
}

/// Where the workers' notices are fetched.
pub trait Notices: Send {
    /// Waits for notices and takes them. May be dropped while it waits, without losing any.
    fn next(&mut self) -> impl Future<Output = Vec<Notice>> + Send;
}

/// What the monitor tells.
pub trait Hooks {
    /// Health or the set of servers changed what the rotation of `backend` depends on; it must be
    /// made anew. Returns when time alone will change it next (slow start), to be called again.
    fn rotation_changed(&mut self, backend: &Name) -> Option<Timestamp>;

    /// A regular check of a server has ended.
    fn checked(&mut self, backend: &Name, server: &Name, finding: &Finding) {
        let _ = (backend, server, finding);
    }

    /// Active checks took a server down or brought it up; the rotation is told after it.
    fn status_changed(&mut self, backend: &Name, server: &Name, status: Status) {
        let _ = (backend, server, status);
    }

    /// Every server that is checked has been checked once. Told once.
    fn all_checked(&mut self) {}
}

/// An order to the monitor.
#[derive(Debug)]
pub enum Command {
    /// The backend has these servers now; those that stay (same name, address and state) keep what
    /// is known of them. The rotation is made anew.
    SetServers(Name, Vec<WatchedServer>),
    /// These are the backends now; those whose name is known keep what is known of their servers,
    /// as with [`Self::SetServers`]. Rotations are made anew.
    SetBackends(Vec<Watched>),
    /// Something else changed what the rotation of this backend depends on.
    Rebuild(Name),
    /// Another node says that this server of this backend is down. Heeded until it was checked here.
    HintDown(Name, Name),
}

/// The watch over all backends.
#[derive(Debug)]
pub struct Monitor<H> {
    backends: Vec<BackendWatch>,
    /// Where each server stands: backend, then slot.
    places: HashMap<Uid, (usize, usize)>,
    /// Servers by the address of their state; the watch keeps the state, so none is used twice.
    by_state: HashMap<usize, Uid>,
    timers: Timers<Timer>,
    /// Until when each backend's rotation is not made anew, for the time that it took.
    rest_until: Vec<Timestamp>,
    /// Checks that wait for one of [`MAX_PROBES`] to end.
    waiting: VecDeque<Job>,
    /// Servers never checked; counted down to the hook.
    unchecked: Option<usize>,
    next_uid: u64,
    clock: Clock,
    rng: fastrand::Rng,
    hooks: H,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Timer {
    Server(Uid),
    Detector(usize),
    Rotation(usize),
}

impl<H: Hooks> Monitor<H> {
    /// A watch over `backends`. Every rotation is made anew once at the start.
    #[must_use]
    pub fn new(backends: Vec<Watched>, clock: Clock, rng: fastrand::Rng, hooks: H) -> Self {
        let mut monitor = Self {
            backends: Vec::with_capacity(backends.len()),
            places: HashMap::new(),
            by_state: HashMap::new(),
            timers: Timers::new(),
            rest_until: vec![Timestamp::ZERO; backends.len()],
            waiting: VecDeque::new(),
            unchecked: None,
            next_uid: 0,
            clock,
            rng,
            hooks,
        };
        let now = monitor.clock.now();
        for (index, watched) in backends.into_iter().enumerate() {
            let next_uid = &mut monitor.next_uid;
            let watch = BackendWatch::new(watched, now, &mut monitor.rng, || fresh(next_uid));
            monitor.backends.push(watch);
            monitor.place_servers(index);
            monitor.apply(index, Effect::RotationChanged);
        }
        monitor.unchecked = Some(monitor.backends.iter().map(BackendWatch::unchecked).sum());
        monitor
    }

    /// Watches until it is dropped, or until `commands` is closed; spawns its checks on the current
    /// runtime.
    pub async fn run(mut self, mut notices: impl Notices, mut commands: mpsc::Receiver<Command>) {
        let mut probes = JoinSet::new();
        let mut asked: HashMap<Id, (Uid, Purpose)> = HashMap::new();
        self.count_down(0);
        loop {
            self.handle_timeouts();
            while probes.len() < MAX_PROBES
                && let Some(job) = self.waiting.pop_front()
            {
                let key = (job.uid, job.purpose);
                let task = probes.spawn(async move {
                    let Job {
                        target,
                        source,
                        check,
                        timeout,
                        ..
                    } = &job;
                    probe_from(target, source.as_ref(), check, *timeout).await
                });
                asked.insert(task.id(), key);
            }
            let next = self.timers.poll_timeout().map(|at| self.clock.instant(at));
            tokio::select! {
                Some(ended) = probes.join_next_with_id() => {
                    let (id, finding) = finding_of(ended);
                    let (uid, purpose) = asked.remove(&id).expect("every check was asked for");
                    self.handle_result(uid, purpose, &finding);
                }
                noticed = notices.next() => self.handle_notices(&noticed),
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                () = async {
                    match next {
                        Some(at) => sleep_until(at).await,
                        None => pending().await,
                    }
                } => {}
            }
        }
    }

    fn handle_timeouts(&mut self) {
        let now = self.clock.now();
        let mut jobs = Vec::new();
        while let Some(timer) = self.timers.poll(now) {
            match timer {
                // A server that is gone needs no timer.
                Timer::Server(uid) => {
                    if let Some(&(backend, slot)) = self.places.get(&uid) {
                        self.backends[backend].poll_server(now, slot, &mut jobs);
                        self.arm_server(backend, slot);
                    }
                }
                Timer::Detector(backend) => {
                    let effect = self.backends[backend].poll_detector(now, &mut jobs);
                    self.apply(backend, effect);
                }
                Timer::Rotation(backend) => self.apply(backend, Effect::RotationChanged),
            }
        }
        self.waiting.extend(jobs);
    }

    fn handle_result(&mut self, uid: Uid, purpose: Purpose, finding: &Finding) {
        let Some(&(backend, slot)) = self.places.get(&uid) else {
            return;
        };
        let now = self.clock.now();
        let watch = &mut self.backends[backend];
        if purpose == Purpose::Regular {
            let watched = watch.watched();
            let server = &watched.servers[slot].name;
            self.hooks.checked(&watched.name, server, finding);
        }
        let was_checked = watch.is_checked(slot);
        let effect = watch.handle_result(now, slot, purpose, finding);
        let is_first = !was_checked && watch.is_checked(slot);
        self.arm_server(backend, slot);
        self.apply(backend, effect);
        self.count_down(usize::from(is_first));
    }

    fn handle_notices(&mut self, notices: &[Notice]) {
        let now = self.clock.now();
        for notice in notices {
            let uid = self.by_state.get(&address_of(&notice.server));
            // A server that is gone needs no watch.
            let Some(&(backend, slot)) = uid.and_then(|uid| self.places.get(uid)) else {
                continue;
            };
            let effect = self.backends[backend].handle_signal(now, slot, notice.signal);
            self.arm_server(backend, slot);
            self.apply(backend, effect);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::SetServers(name, servers) => self.set_servers(&name, servers),
            Command::SetBackends(backends) => self.set_backends(backends),
            Command::HintDown(backend, server) => self.hint_down(&backend, &server),
            Command::Rebuild(name) => {
                if let Some(index) = self.index_of(&name) {
                    self.apply(index, Effect::RotationChanged);
                }
            }
        }
    }

    fn hint_down(&mut self, backend: &Name, server: &Name) {
        let Some(index) = self.index_of(backend) else {
            return;
        };
        let watch = &mut self.backends[index];
        let mut servers = watch.watched().servers.iter();
        if let Some(slot) = servers.position(|one| one.name == *server) {
            let effect = watch.hint_down(slot);
            self.arm_server(index, slot);
            self.apply(index, effect);
        }
    }

    fn index_of(&self, name: &Name) -> Option<usize> {
        self.backends.iter().position(|b| b.watched().name == *name)
    }

    fn set_servers(&mut self, name: &Name, servers: Vec<WatchedServer>) {
        let Some(index) = self.index_of(name) else {
            return;
        };
        for (slot, uid) in self.backends[index].uids().enumerate() {
            let server = &self.backends[index].watched().servers[slot];
            self.by_state.remove(&address_of(&server.state));
            self.places.remove(&uid);
        }
        let now = self.clock.now();
        let next_uid = &mut self.next_uid;
        self.backends[index].set_servers(servers, now, &mut self.rng, || fresh(next_uid));
        self.place_servers(index);
        self.apply(index, Effect::RotationChanged);
        self.count_unchecked();
    }

    fn set_backends(&mut self, backends: Vec<Watched>) {
        let now = self.clock.now();
        let old = std::mem::take(&mut self.backends);
        let mut old: HashMap<Name, BackendWatch> = old
            .into_iter()
            .map(|watch| (watch.watched().name.clone(), watch))
            .collect();
        self.places.clear();
        self.by_state.clear();
        // Timers carry the index of their backend.
        self.timers = Timers::new();
        self.rest_until = vec![Timestamp::ZERO; backends.len()];
        for (index, watched) in backends.into_iter().enumerate() {
            let (rng, next_uid) = (&mut self.rng, &mut self.next_uid);
            let watch = match old.remove(&watched.name) {
                Some(mut watch) => {
                    watch.reconfigure(watched, now, rng, || fresh(next_uid));
                    watch
                }
                None => BackendWatch::new(watched, now, rng, || fresh(next_uid)),
            };
            self.backends.push(watch);
            self.place_servers(index);
            self.apply(index, Effect::RotationChanged);
        }
        self.count_unchecked();
    }

    /// Counts anew which servers are still to be checked for the first time, while it matters.
    fn count_unchecked(&mut self) {
        if self.unchecked.is_some() {
            self.unchecked = Some(self.backends.iter().map(BackendWatch::unchecked).sum());
            self.count_down(0);
        }
    }

    fn place_servers(&mut self, backend: usize) {
        for (slot, uid) in self.backends[backend].uids().enumerate() {
            let server = &self.backends[backend].watched().servers[slot];
            self.by_state.insert(address_of(&server.state), uid);
            self.places.insert(uid, (backend, slot));
        }
        for slot in 0..self.backends[backend].watched().servers.len() {
            self.arm_server(backend, slot);
        }
    }

    fn arm_server(&mut self, backend: usize, slot: usize) {
        let watch = &self.backends[backend];
        let uid = watch.uid(slot);
        self.timers
            .arm(Timer::Server(uid), watch.server_timeout(slot));
    }

    fn apply(&mut self, backend: usize, effect: Effect) {
        let watch = &self.backends[backend];
        self.timers
            .arm(Timer::Detector(backend), watch.detector_timeout());
        if let Effect::StatusChanged { slot, status } = effect {
            let watched = watch.watched();
            let name = &watched.servers[slot].name;
            self.hooks.status_changed(&watched.name, name, status);
        }
        if effect == Effect::None {
            return;
        }
        let began = self.clock.now();
        let rest = self.rest_until[backend];
        let next = if began < rest {
            Some(rest)
        } else {
            let next = self.hooks.rotation_changed(&watch.watched().name);
            let now = self.clock.now();
            self.rest_until[backend] = now + now.saturating_since(began) * REST;
            next.map(|at| at.max(now + REBUILD_PAUSE))
        };
        self.timers.arm(Timer::Rotation(backend), next);
    }

    /// Notes that `checked` servers were checked for the first time.
    fn count_down(&mut self, checked: usize) {
        if let Some(unchecked) = &mut self.unchecked {
            *unchecked = unchecked.saturating_sub(checked);
            if *unchecked == 0 {
                self.unchecked = None;
                self.hooks.all_checked();
            }
        }
    }
}

fn address_of(state: &Arc<ServerState>) -> usize {
    Arc::as_ptr(state).addr()
}

const fn fresh(next_uid: &mut u64) -> Uid {
    *next_uid += 1;
    Uid(*next_uid)
}

fn finding_of(ended: Result<(Id, Finding), JoinError>) -> (Id, Finding) {
    ended.unwrap_or_else(|error| (error.id(), Finding::Inconclusive(Fault::Bug)))
}

/// Checks under way at once, and so descriptors that they use. Chosen: 10,000 servers checked every
/// 2 s, each answering within 100 ms, need half of it.
const MAX_PROBES: usize = 1024;
/// How many times as long as a rebuild took its backend rests from it: where thousands of servers
/// change at once, one rebuild does for all that change meanwhile, and checks stay in time. A pick
/// looks at the servers' state itself, so that none that went down is chosen in between.
const REST: u32 = 4;
/// Shortest time between two rebuilds of a rotation for time alone.
const REBUILD_PAUSE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests;
