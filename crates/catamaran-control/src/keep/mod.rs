//! What outlives the data process: copied as it changes, found again by the next one.
//!
//! The supervisor holds a file in memory and understands nothing of it; the data process writes it.
//! So nothing is sent, nobody waits for a slow reader, and a process that is killed has left all but
//! what changed since the last copy.
//!
//! ```text
//! tables (affinity, rate limits)      slot by slot, every half second
//! health, readiness, log level        every half second
//! what operators changed              before they are answered
//! counters                            every second, or more rarely if there are very many
//! ```
//! All times are those of the monotonic clock, which the next process shares. [`Keeper`] copies, on
//! a thread of its own; [`Found`] is what the process before has left.

mod file;
mod state;
mod succession;
mod tables;

pub use succession::Predecessor;

use crate::admin::{Host, Overlays};
use crate::metrics::{Exposition, Metric, MetricsSource, Readiness};
use catamaran_core::Timestamp;
use catamaran_core::model::Config;
use catamaran_proxy::Shared;
use file::{Document, StateFile};
use state::State;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};
use succession::{InFlight, Report};
use tables::Tables;
use tokio::sync::watch;

/// What the process before has left, and where this one is to leave its own.
#[derive(Debug)]
pub struct Found {
    file: Arc<StateFile>,
    state: State,
    tables: Tables,
}

/// Copies what is to outlive this process.
pub struct Keeper {
    file: Arc<StateFile>,
    shared: Arc<Shared>,
    overlays: Arc<Overlays>,
    host: Arc<dyn Host>,
    /// The level at the start, which needs no keeping.
    first_level: String,
    readiness: watch::Receiver<Readiness>,
    /// What is in the file.
    written: Mutex<State>,
    tables: Mutex<Tables>,
    /// Whether all tables are filled from the file.
    is_filled: AtomicBool,
    /// Whether somebody else writes the file.
    is_paused: AtomicBool,
    /// What this process counts, once it does.
    counters: Mutex<Option<Arc<dyn MetricsSource>>>,
    /// Whether the last copy failed, which is told once.
    has_failed: AtomicBool,
    copies: Arc<Copies>,
    /// When the counters are to be told again to the process that took this one's place.
    tell_at: Mutex<Option<Instant>>,
}

/// How many copies were made of each part, and how many failed.
#[derive(Debug, Default)]
pub struct Copies([[AtomicU64; 2]; Part::ALL.len()]);

/// What is copied at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// With health and operators' changes.
    Tables,
    Counters,
}

/// Ends the copying when dropped.
#[derive(Debug)]
pub struct Keeping {
    _end: mpsc::Sender<()>,
}

impl Found {
    /// What is in `file`; nothing, if that is new or cannot be understood.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn open(file: File) -> io::Result<Self> {
        let (file, was_other) = StateFile::open(file)?;
        if was_other {
            tracing::warn!(
                "what the process before has left is of a version that this one does not know; \
                 affinity, limits and operators' changes begin anew"
            );
        }
        let state = file.read(Document::State).unwrap_or_default();
        Ok(Self {
            state: serde_json::from_slice(&state).unwrap_or_default(),
            file: Arc::new(file),
            tables: Tables::default(),
        })
    }

    /// Gives `overlays` what operators changed, and lays it over `config`.
    pub fn restore_overlays(&self, overlays: &Overlays, config: &mut Config) {
        self.state.restore_overlays(overlays, config);
    }

    /// Whether the process before was ready.
    #[must_use]
    pub const fn was_ready(&self) -> bool {
        self.state.is_ready
    }

    /// Whether tables hold something that the process before has left.
    #[must_use]
    pub fn has_entries(&self) -> bool {
        self.tables.has_slots()
    }

    /// The page of what the process before has counted.
    #[must_use]
    pub fn counters(&self) -> Vec<u8> {
        self.file.read(Document::Counters).unwrap_or_default()
    }

    /// Has the tables filled when they are needed, and tells the servers what was known of them,
    /// before anybody is served.
    pub fn restore(&mut self, shared: &Shared) {
        let snapshot = shared.snapshot();
        self.state.restore_servers(&snapshot, now());
        match Tables::restore(&self.file, &snapshot) {
            Ok(tables) => self.tables = tables,
            Err(error) => tracing::error!(%error, "tables cannot be restored; they begin empty"),
        }
    }
}

impl Keeper {
    /// Goes on from what was found. `readiness` is that of this process.
    pub fn new(
        found: Found,
        shared: Arc<Shared>,
        overlays: Arc<Overlays>,
        host: Arc<dyn Host>,
        readiness: watch::Receiver<Readiness>,
    ) -> Arc<Self> {
        let first_level = host.log_level();
        if let Some(level) = &found.state.log_level
            && let Err(error) = host.set_log_level(level)
        {
            tracing::warn!(
                level,
                error,
                "the log level that an operator set is not known"
            );
        }
        Arc::new(Self {
            file: found.file,
            shared,
            overlays,
            host,
            first_level,
            readiness,
            written: Mutex::new(found.state),
            tables: Mutex::new(found.tables),
            is_filled: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            counters: Mutex::default(),
            has_failed: AtomicBool::new(false),
            copies: Arc::default(),
            tell_at: Mutex::default(),
        })
    }

    /// Copies from now on, until the result is dropped. `counters` are those of this process.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(self: &Arc<Self>, counters: Arc<dyn MetricsSource>) -> io::Result<Keeping> {
        let (end, ended) = mpsc::channel();
        *lock(&self.counters) = Some(Arc::clone(&counters));
        let keeper = Arc::clone(self);
        let copy = move || {
            let mut count_at = Instant::now();
            while ended.recv_timeout(INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
                keeper.copy();
                if Instant::now() >= count_at {
                    let began = Instant::now();
                    keeper.copy_counters(&*counters);
                    let rest = (began.elapsed() * COUNTERS_REST).max(COUNTERS_INTERVAL);
                    count_at = Instant::now() + rest;
                }
            }
        };
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(copy)?;
        Ok(Keeping { _end: end })
    }

    /// Copies what operators changed and what is known of servers. When it returns, that is kept.
    pub fn note(&self) {
        self.report(None, self.copy_state());
    }

    /// Copies all but the counters.
    pub fn copy(&self) {
        let copied = self.copy_state().and_then(|()| self.copy_tables());
        self.report(Some(Part::Tables), copied);
    }

    /// Copies the counters.
    pub fn copy_counters(&self, counters: &dyn MetricsSource) {
        if self.is_paused() {
            return;
        }
        let page = crate::metrics::page_of(counters);
        let copied = self.file.write(Document::Counters, page.as_bytes());
        self.report(Some(Part::Counters), copied);
    }

    /// What was copied so far.
    #[must_use]
    pub fn copies(&self) -> Arc<Copies> {
        Arc::clone(&self.copies)
    }

    /// Copies all as it is now, and no more: another process goes on from here.
    pub fn leave(&self) {
        // Whatever else fails: what the other process writes is none of ours.
        self.fill(&lock(&self.tables));
        self.copy();
        let counters = lock(&self.counters).clone();
        if let Some(counters) = counters {
            self.copy_counters(&*counters);
        }

        // Whoever copies at this moment is done first.
        let (_state, _tables) = (lock(&self.written), lock(&self.tables));
        self.is_paused.store(true, Relaxed);
    }

    /// What this process has counted, what it still has in flight, and what changed in its tables
    /// since it was asked last, for the one that took its place.
    #[must_use]
    pub fn tell(&self) -> Vec<u8> {
        let report = Report {
            in_flight: InFlight::of(&self.shared.snapshot()),
            counters: self.counters_to_tell(),
            tables: lock(&self.tables).take_changes(MAX_TOLD),
        };
        serde_json::to_vec(&report).unwrap_or_default()
    }

    /// The page of counters, unless it was told lately: of thousands of servers it is so large that
    /// both processes would do little else, for as long as a tunnel lasts. Once the last client has
    /// left it is told in any case.
    fn counters_to_tell(&self) -> Option<String> {
        let mut tell_at = lock(&self.tell_at);
        let began = Instant::now();
        let is_due = tell_at.is_none_or(|at| at <= began);
        if !is_due && self.shared.open_connections() > 0 {
            return None;
        }
        let counters = lock(&self.counters).clone()?;
        let page = crate::metrics::page_of(&*counters);
        *tell_at = Some(began + began.elapsed() * COUNTERS_REST);
        Some(page)
    }

    /// Copies again, all of it: the other process has come to nothing.
    pub fn resume(&self) {
        let (mut written, tables) = (lock(&self.written), lock(&self.tables));
        *written = State::default();
        tables.copy_all_anew();
        self.is_paused.store(false, Relaxed);
    }

    fn is_paused(&self) -> bool {
        self.is_paused.load(Relaxed)
    }

    fn copy_state(&self) -> io::Result<()> {
        let mut written = lock(&self.written);
        if self.is_paused() {
            return Ok(());
        }
        let level = self.host.log_level();
        let mut state = State::of(&self.shared.snapshot(), &self.overlays);
        state.is_ready = *self.readiness.borrow() == Readiness::Ready;
        state.log_level = (level != self.first_level).then_some(level);
        if *written != state {
            self.file
                .write(Document::State, &serde_json::to_vec(&state)?)?;
            *written = state;
        }
        Ok(())
    }

    fn copy_tables(&self) -> io::Result<()> {
        let mut tables = lock(&self.tables);
        if self.is_paused() {
            return Ok(());
        }
        self.fill(&tables);
        tables.follow(&self.file, &self.shared.snapshot())?;
        tables.copy(&self.file)
    }

    /// Fills what nobody has needed so far of the tables that the process before has left.
    fn fill(&self, tables: &Tables) {
        if self.is_filled.swap(true, Relaxed) {
            return;
        }
        let began = Instant::now();
        let entries = tables.fill();
        if entries > 0 {
            tracing::info!(entries, took = ?began.elapsed(), "tables are restored");
        }
    }

    fn report(&self, part: Option<Part>, result: io::Result<()>) {
        if let Some(part) = part {
            self.copies.0[part as usize][usize::from(result.is_err())].fetch_add(1, Relaxed);
        }
        let had_failed = self.has_failed.swap(result.is_err(), Relaxed);
        match result {
            Err(error) if !had_failed => tracing::error!(
                %error,
                "affinity, limits and operators' changes are not kept for the next process; is \
                 there memory left?"
            ),
            Ok(()) if had_failed => tracing::info!("changes are kept for the next process again"),
            _ => {}
        }
    }
}

impl Part {
    const ALL: [Self; 2] = [Self::Tables, Self::Counters];

    const fn word(self) -> &'static str {
        match self {
            Self::Tables => "tables",
            Self::Counters => "counters",
        }
    }
}

impl MetricsSource for Copies {
    fn collect(&self, out: &mut Exposition) {
        for (part, counts) in Part::ALL.into_iter().zip(&self.0) {
            for (result, count) in ["ok", "failed"].into_iter().zip(counts) {
                let labels = [("part", part.word().into()), ("result", result.into())];
                out.counter(Metric::StateCopiesTotal, &labels, count.load(Relaxed));
            }
        }
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").finish_non_exhaustive()
    }
}

/// Entries in a report, about: some 4 MiB of text. More wait for the next.
const MAX_TOLD: usize = 1 << 16;

fn now() -> Timestamp {
    Timestamp::from_nanos(catamaran_sys::clock::now_nanos())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often tables and health are copied: what a killed process loses of them. The design allows a
/// second.
const INTERVAL: Duration = Duration::from_millis(500);
const COUNTERS_INTERVAL: Duration = Duration::from_secs(1);
/// Between two copies of the counters lies so many times what one takes: 1 % of a core at most.
const COUNTERS_REST: u32 = 100;
