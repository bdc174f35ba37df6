//! Servers that are configured by name: asks the DNS and tells what it finds.
//!
//! [`Discovery`] is the loop; what an answer means is decided by [`Plan`], which does no I/O; who
//! answers is a [`Lookup`], in earnest [`Dns`]. A backend's list of servers is told as a whole, so
//! that the receiver needs to know nothing about names.

mod answer;
#[cfg(feature = "dns")]
mod dns;
#[cfg(not(feature = "dns"))]
mod no_dns;
mod plan;
mod registered;

pub use answer::{Answer, HostAnswer, LookupFailure, Question, Records, Service};
#[cfg(feature = "dns")]
pub use dns::Dns;
#[cfg(not(feature = "dns"))]
pub use no_dns::Dns;
pub use plan::{Change, Notice, Plan, Update};
pub use registered::Registrations;
#[cfg(feature = "etcd")]
pub(crate) use registered::server_name;

use crate::Clock;
use crate::metrics::{Exposition, Metric, MetricsSource};
use catamaran_core::Timestamp;
use catamaran_core::model::{Backend, Name, Server, ServerAddr};

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::sleep_until;
use tracing::{info, warn};

/// Who answers questions.
pub trait Lookup: Send + Sync + 'static {
    /// Answers `question`, in bounded time.
    fn lookup(&self, question: Question) -> impl Future<Output = Answer> + Send;
}

/// Why names cannot be resolved at all.
#[derive(Debug, thiserror::Error)]
pub enum DnsSetupError {
    /// This binary was built without the feature `dns`.
    #[error("built without name resolution")]
    NotBuilt,
    /// `/etc/resolv.conf` cannot be used, or the resolver not be made.
    #[error("name resolution cannot be set up: {0}")]
    Setup(String),
}

/// Without a resolver every question fails with the reason; servers with fixed addresses work.
impl<L: Lookup> Lookup for Result<L, DnsSetupError> {
    async fn lookup(&self, question: Question) -> Answer {
        match self {
            Ok(lookup) => lookup.lookup(question).await,
            Err(error) => Answer::failed(&question, &LookupFailure::Other(error.to_string())),
        }
    }
}

/// The servers of a backend, as they are now.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The backend.
    pub backend: Name,
    /// All its servers, those with fixed addresses included. None has a name for an address, and
    /// names are unique.
    pub servers: Vec<Server>,
    /// Of which configuration, counted from zero: what was found for an earlier one is to be
    /// forgotten.
    pub generation: u64,
}

/// The backends of another configuration that have servers by name, with their servers.
pub type Names = Vec<(Name, Vec<Server>)>;

/// What discovery is told.
#[derive(Debug)]
pub enum Order {
    /// The configuration is another now.
    Names(Names),
    /// Servers of these backends, and of no others, are down at the moment. Told again and again
    /// while any is: a server that was started anew may have another address long before the old
    /// record ends.
    Down(Vec<Name>),
    /// These are the servers that registered, all of them.
    Registered(Registrations),
}

/// The backends that have servers configured by name.
#[derive(Debug)]
pub struct Discovery {
    backends: Vec<NamedBackend>,
    generation: u64,
    /// Servers that registered; `None` until it is known which.
    registrations: Option<Registrations>,
    last_id: u64,
    counts: Arc<LookupCounts>,
    clock: Clock,
    rng: fastrand::Rng,
}

/// Lookups so far.
#[derive(Debug, Default)]
pub struct LookupCounts {
    ok: AtomicU64,
    failed: AtomicU64,
}

impl MetricsSource for LookupCounts {
    fn collect(&self, out: &mut Exposition) {
        for (result, count) in [("ok", &self.ok), ("failed", &self.failed)] {
            let count = count.load(Ordering::Relaxed);
            let labels = [("result", result.into())];
            out.counter(Metric::NameLookupsTotal, &labels, count);
        }
    }
}

#[derive(Debug)]
struct NamedBackend {
    name: Name,
    /// In the order of the configuration.
    entries: Vec<Entry>,
    /// Whether its list was told once.
    is_told: bool,
    /// While servers of it are down: when to ask before the time next, and how long to wait then.
    hurry: Option<(Timestamp, Duration)>,
}

#[derive(Debug)]
enum Entry {
    Fixed(Server),
    Named {
        /// Never used for another.
        id: u64,
        plan: Plan,
        is_answered: bool,
    },
    /// Servers that registered for a service.
    Registered {
        template: Server,
        service: String,
        servers: Option<Vec<Server>>,
    },
}

impl Discovery {
    /// Discovery for the names in `configured`.
    #[must_use]
    pub fn new(configured: Names, clock: Clock, rng: fastrand::Rng) -> Self {
        let mut discovery = Self {
            backends: Vec::new(),
            generation: 0,
            registrations: None,
            last_id: 0,
            counts: Arc::default(),
            clock,
            rng,
        };
        discovery.set_names(configured);
        discovery
    }

    /// The backends of `configured` that have servers by name.
    pub fn names_in(configured: &[Backend]) -> Names {
        let has_names = |backend: &&Backend| {
            let mut servers = backend.servers.iter();
            servers.any(|server| {
                matches!(server.address, ServerAddr::Etcd { .. })
                    || Plan::new(server.clone()).is_some()
            })
        };
        let named = configured.iter().filter(has_names);
        named
            .map(|backend| (backend.name.clone(), backend.servers.clone()))
            .collect()
    }

    /// Discovers for another configuration. Names that were there keep what was found for them.
    fn set_names(&mut self, configured: Names) {
        let mut plans: HashMap<(Name, Name), Entry> = HashMap::new();
        for backend in std::mem::take(&mut self.backends) {
            for entry in backend.entries {
                if let Entry::Named { plan, .. } = &entry {
                    let server = plan.name().clone();
                    plans.insert((backend.name.clone(), server), entry);
                }
            }
        }
        for (name, servers) in configured {
            let entries = servers.into_iter().map(|server| {
                let known = plans.remove(&(name.clone(), server.name.clone()));
                if let Some(Entry::Named {
                    id,
                    mut plan,
                    is_answered,
                }) = known
                    && plan.reconfigure(&server)
                {
                    return Entry::Named {
                        id,
                        plan,
                        is_answered,
                    };
                }
                self.last_id += 1;
                let mut entry = Entry::new(server, self.last_id);
                entry.register(self.registrations.as_ref());
                entry
            });
            self.backends.push(NamedBackend {
                entries: entries.collect(),
                name,
                is_told: false,
                hurry: None,
            });
        }
    }

    /// What is known of backends that were not told yet although each of their names was asked for.
    fn untold(&mut self) -> Vec<Found> {
        let generation = self.generation;
        let untold = self
            .backends
            .iter_mut()
            .filter(|backend| !backend.is_told && backend.entries.iter().all(Entry::is_answered));
        untold.map(|backend| backend.tell(generation)).collect()
    }

    /// The count of lookups, for the metrics.
    #[must_use]
    pub fn counts(&self) -> Arc<LookupCounts> {
        Arc::clone(&self.counts)
    }

    /// Asks and asks again, until it is dropped or the receiver of `changes` is; spawns its lookups
    /// on the current runtime.
    ///
    /// `changes` gets the whole list of a backend's servers: once for each configuration when each
    /// of its names has been asked (perhaps in vain), then whenever the list changes. `orders`
    /// brings other configurations.
    pub async fn run<L: Lookup>(
        mut self,
        lookup: Arc<L>,
        changes: mpsc::Sender<Found>,
        mut orders: mpsc::Receiver<Order>,
    ) {
        let mut lookups = JoinSet::new();
        let mut places: HashMap<Id, u64> = HashMap::new();
        loop {
            while lookups.len() < MAX_LOOKUPS
                && let Some((place, question)) = self.poll_question()
            {
                let lookup = Arc::clone(&lookup);
                let task = lookups.spawn(async move { lookup.lookup(question).await });
                places.insert(task.id(), place);
            }
            let has_room = lookups.len() < MAX_LOOKUPS;
            let next = self.poll_timeout().filter(|_| has_room);
            tokio::select! {
                Some(ended) = lookups.join_next_with_id() => {
                    let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                    let place = places.remove(&id).expect("every lookup has a place");
                    let answer = ended.ok().map(|(_, answer)| answer);
                    if let Some(change) = self.take(place, answer)
                        && changes.send(change).await.is_err()
                    {
                        return;
                    }
                }
                Some(order) = orders.recv() => {
                    match order {
                        Order::Names(names) => {
                            self.generation += 1;
                            self.set_names(names);
                        }
                        Order::Down(backends) => self.hurry(&backends),
                        Order::Registered(registrations) => self.register(registrations),
                    }
                    for found in self.untold() {
                        if changes.send(found).await.is_err() {
                            return;
                        }
                    }
                }
                () = async { sleep_until(self.clock.instant(next.unwrap_or_default())).await },
                    if next.is_some() => {}
                // Without names, and without orders to come, there is nothing to wait for.
                else => std::future::pending().await,
            }
        }
    }

    /// Asks for the names of these backends before their time: at once, then after 1 s, 2 s, up to
    /// 30 s, for as long as it is said.
    fn hurry(&mut self, down: &[Name]) {
        let now = self.clock.now();
        for backend in &mut self.backends {
            if !down.contains(&backend.name) {
                backend.hurry = None;
                continue;
            }
            let (at, wait) = backend.hurry.unwrap_or((now, SHORTEST_HURRY));
            if now < at {
                continue;
            }
            backend.hurry = Some((now + wait, (wait * 2).min(LONGEST_HURRY)));
            for entry in &mut backend.entries {
                if let Entry::Named { plan, .. } = entry {
                    plan.hurry(now);
                }
            }
        }
    }

    fn poll_question(&mut self) -> Option<(u64, Question)> {
        let now = self.clock.now();
        self.plans()
            .find_map(|(place, plan)| Some((place, plan.poll_question(now)?)))
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        self.plans()
            .filter_map(|(_, plan)| plan.poll_timeout())
            .min()
    }

    fn plans(&mut self) -> impl Iterator<Item = (u64, &mut Plan)> {
        let entries = self.backends.iter_mut().flat_map(|b| &mut b.entries);
        entries.filter_map(|entry| match entry {
            Entry::Fixed(_) | Entry::Registered { .. } => None,
            Entry::Named { id, plan, .. } => Some((*id, plan)),
        })
    }

    /// Takes in the answer to the question of the entry of this id, which may be gone by now.
    fn take(&mut self, id: u64, answer: Option<Answer>) -> Option<Found> {
        let (backend, entry) = self.backends.iter_mut().find_map(|backend| {
            let entry = backend.entries.iter().position(|entry| entry.is(id))?;
            Some((backend, entry))
        })?;
        let Entry::Named {
            plan, is_answered, ..
        } = &mut backend.entries[entry]
        else {
            return None;
        };
        *is_answered = true;
        let panicked = || LookupFailure::Other("the lookup panicked".to_owned());
        let answer = answer.unwrap_or_else(|| Answer::failed(&plan.question(), &panicked()));
        let update = plan.handle_answer(self.clock.now(), &answer, &mut self.rng);
        let count = match plan.failure() {
            None => &self.counts.ok,
            Some(_) => &self.counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        log(&backend.name, plan, &update);
        let all_answered = backend.entries.iter().all(Entry::is_answered);
        let is_news = update.change.is_some() || !backend.is_told;
        if !all_answered || !is_news {
            return None;
        }
        Some(backend.tell(self.generation))
    }
}

impl NamedBackend {
    fn tell(&mut self, generation: u64) -> Found {
        self.is_told = true;
        Found {
            backend: self.name.clone(),
            servers: self.servers(),
            generation,
        }
    }

    fn servers(&self) -> Vec<Server> {
        let lists = self.entries.iter().map(|entry| match entry {
            Entry::Fixed(server) => std::slice::from_ref(server),
            Entry::Named { plan, .. } => plan.servers(),
            Entry::Registered { servers, .. } => servers.as_deref().unwrap_or_default(),
        });
        lists.flatten().cloned().collect()
    }
}

impl Entry {
    fn new(server: Server, id: u64) -> Self {
        if let ServerAddr::Etcd { service } = &server.address {
            return Self::Registered {
                service: service.clone(),
                template: server,
                servers: None,
            };
        }
        match Plan::new(server.clone()) {
            None => Self::Fixed(server),
            Some(plan) => Self::Named {
                id,
                plan,
                is_answered: false,
            },
        }
    }

    fn is(&self, wanted: u64) -> bool {
        matches!(self, Self::Named { id, .. } if *id == wanted)
    }

    const fn is_answered(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Named { is_answered, .. } => *is_answered,
            Self::Registered { servers, .. } => servers.is_some(),
        }
    }
}

fn log(backend: &Name, plan: &Plan, update: &Update) {
    let server = plan.name();
    if let Some(change) = &update.change {
        info!(
            %backend,
            %server,
            added = ?change.added,
            removed = ?change.removed,
            altered = ?change.altered,
            "addresses of a server changed"
        );
    }
    let kept = plan.servers().len();
    match &update.notice {
        Some(Notice::Failing(reason)) => {
            warn!(%backend, %server, %reason, kept, "name lookup fails");
        }
        Some(Notice::Recovered) => info!(%backend, %server, "name lookup succeeds again"),
        None => {}
    }
}

/// Times between questions before their time, while a server is down.
const SHORTEST_HURRY: Duration = Duration::from_secs(1);
const LONGEST_HURRY: Duration = Duration::from_secs(30);
/// Names asked for at once. Chosen: gentle to a name server after a start with many names.
const MAX_LOOKUPS: usize = 16;

#[cfg(test)]
mod tests;
