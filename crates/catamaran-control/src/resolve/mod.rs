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

pub use answer::{Answer, HostAnswer, LookupFailure, Question, Records, Service};
#[cfg(feature = "dns")]
pub use dns::Dns;
#[cfg(not(feature = "dns"))]
pub use no_dns::Dns;
pub use plan::{Change, Notice, Plan, Update};

use crate::Clock;
use crate::metrics::{Exposition, Metric, MetricsSource};
use catamaran_core::model::{Backend, BackendId, Name, Server};

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// The backends that have servers configured by name.
#[derive(Debug)]
pub struct Discovery {
    backends: Vec<NamedBackend>,
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
    id: BackendId,
    name: Name,
    /// In the order of the configuration.
    entries: Vec<Entry>,
    /// Whether its list was told once.
    is_told: bool,
}

#[derive(Debug)]
enum Entry {
    Fixed(Server),
    Named { plan: Plan, is_answered: bool },
}

/// Where a plan stands: backend, then entry.
type Place = (usize, usize);

impl Discovery {
    /// Discovery for the names in `configured`; `None` if it has none.
    #[must_use]
    pub fn new<'a>(
        configured: impl IntoIterator<Item = (BackendId, &'a Backend)>,
        clock: Clock,
        rng: fastrand::Rng,
    ) -> Option<Self> {
        let mut backends = Vec::new();
        for (id, backend) in configured {
            let entries: Vec<_> = backend.servers.iter().map(Entry::new).collect();
            if entries.iter().any(Entry::is_named) {
                backends.push(NamedBackend {
                    id,
                    name: backend.name.clone(),
                    entries,
                    is_told: false,
                });
            }
        }
        (!backends.is_empty()).then_some(Self {
            backends,
            counts: Arc::default(),
            clock,
            rng,
        })
    }

    /// The count of lookups, for the metrics.
    #[must_use]
    pub fn counts(&self) -> Arc<LookupCounts> {
        Arc::clone(&self.counts)
    }

    /// Asks and asks again, until it is dropped or the receiver of `changes` is; spawns its lookups
    /// on the current runtime.
    ///
    /// `changes` gets the whole list of a backend's servers, those with fixed addresses
    /// included: once when each of its names has been asked (perhaps in vain), then whenever the
    /// list changes. No server in it has a name for an address, and names are unique.
    pub async fn run<L: Lookup>(
        mut self,
        lookup: Arc<L>,
        changes: mpsc::Sender<(BackendId, Vec<Server>)>,
    ) {
        let mut lookups = JoinSet::new();
        let mut places: HashMap<Id, Place> = HashMap::new();
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
                () = async { sleep_until(self.clock.instant(next.unwrap_or_default())).await },
                    if next.is_some() => {}
            }
        }
    }

    fn poll_question(&mut self) -> Option<(Place, Question)> {
        let now = self.clock.now();
        self.plans()
            .find_map(|(place, plan)| Some((place, plan.poll_question(now)?)))
    }

    fn poll_timeout(&mut self) -> Option<catamaran_core::Timestamp> {
        self.plans()
            .filter_map(|(_, plan)| plan.poll_timeout())
            .min()
    }

    fn plans(&mut self) -> impl Iterator<Item = (Place, &mut Plan)> {
        let backends = self.backends.iter_mut().enumerate();
        backends.flat_map(|(at, backend)| {
            let entries = backend.entries.iter_mut().enumerate();
            entries.filter_map(move |(entry, e)| match e {
                Entry::Fixed(_) => None,
                Entry::Named { plan, .. } => Some(((at, entry), plan)),
            })
        })
    }

    fn take(
        &mut self,
        (backend, entry): Place,
        answer: Option<Answer>,
    ) -> Option<(BackendId, Vec<Server>)> {
        let backend = &mut self.backends[backend];
        let Entry::Named { plan, is_answered } = &mut backend.entries[entry] else {
            unreachable!("only named entries are asked for")
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
        backend.is_told = true;
        Some((backend.id, backend.servers()))
    }
}

impl NamedBackend {
    fn servers(&self) -> Vec<Server> {
        let lists = self.entries.iter().map(|entry| match entry {
            Entry::Fixed(server) => std::slice::from_ref(server),
            Entry::Named { plan, .. } => plan.servers(),
        });
        lists.flatten().cloned().collect()
    }
}

impl Entry {
    fn new(server: &Server) -> Self {
        match Plan::new(server.clone()) {
            None => Self::Fixed(server.clone()),
            Some(plan) => Self::Named {
                plan,
                is_answered: false,
            },
        }
    }

    const fn is_named(&self) -> bool {
        matches!(self, Self::Named { .. })
    }

    const fn is_answered(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Named { is_answered, .. } => *is_answered,
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

/// Names asked for at once. Chosen: gentle to a name server after a start with many names.
const MAX_LOOKUPS: usize = 16;

#[cfg(test)]
mod tests;
