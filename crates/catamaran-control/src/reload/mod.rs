//! Putting another configuration in place of the one that is served, and what is told of it.
//!
//! [`Reloader`] is what signals, the watch over the file and the admin API call. The text is checked
//! whole first; nothing has changed until everything that can fail has not. Sockets are opened by
//! whoever owns them: the [`PortRequest`]s say which.

mod changes;
mod drained;
mod layers;

pub use changes::{Change, ChangeKind, Cost, Diff};
pub use drained::Drained;
use drained::Taken;
#[cfg(feature = "etcd")]
pub(crate) use layers::name_of;

use crate::admin::{Events, Kind, Overlays};
use crate::metrics::{Exposition, Metric, MetricsSource};
use catamaran_config::layers::Layers;
use catamaran_config::{Beside, Errors, Loaded, ReadFile};
use catamaran_core::model::{Config, ListenerKey, Name};
use catamaran_proxy::{ApplyError, ListenerSockets, LogError, Plan, Shared, WantedListener};
use catamaran_sys::identity;
use layers::Wish;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};
use xxhash_rust::xxh3::xxh3_64;

/// A configuration as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// The file that it stands in, for messages and for paths relative to it.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

impl Text {
    /// XXH3-64 in hexadecimal digits: the same text has the same everywhere.
    #[must_use]
    pub fn digest(&self) -> String {
        format!("{:016x}", xxh3_64(self.text.as_bytes()))
    }
}

/// What is asked of whoever owns the listening sockets.
#[derive(Debug)]
pub enum PortRequest {
    /// Open the sockets of these listeners.
    Open {
        /// The listeners.
        wanted: Vec<WantedListener>,
        /// How many for each of them.
        count: usize,
        /// The sockets, or what to tell the operator.
        reply: oneshot::Sender<Result<Vec<ListenerSockets>, String>>,
    },
    /// This is what is served from now on: another data process is to begin with it.
    Keep {
        /// The configuration as it was written; `None` if it was none, as for flags.
        text: Option<Text>,
        /// All listeners of it; sockets of others are to be closed.
        listeners: Vec<ListenerKey>,
        /// How long a stop may take.
        drain: Duration,
        /// Answered when that is done.
        reply: oneshot::Sender<()>,
    },
}

/// Why the configuration that was served goes on being served.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// There is no file: the configuration came from flags.
    #[error("the configuration came from the command line; start with `-c FILE` to change it")]
    NoFile,
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        source: io::Error,
    },
    /// The text is no valid configuration; one line for each error, with its place.
    #[error("{0}")]
    Invalid(#[from] Errors),
    /// Listeners cannot be opened; one line for each.
    #[error("{0}")]
    Ports(String),
    /// An access log cannot be opened.
    #[error("{error}: {}", error.source)]
    AccessLog {
        /// Which, and what is in the way.
        #[from]
        error: LogError,
    },
    /// It was ready, and could not be put in place.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// There is no frontend of that name.
    #[error("there is no frontend `{0}`")]
    NoFrontend(Name),
    /// Whoever owns the sockets is gone.
    #[error("the process is ending")]
    Ending,
}

/// What was put in place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// What has changed.
    pub diff: Diff,
    /// What is doubtful about the configuration; one line each.
    pub warnings: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A text that is a valid configuration, and what it would change.
#[derive(Debug)]
pub struct Checked {
    /// What it would change.
    pub diff: Diff,
    /// What is doubtful about it; one line each.
    pub warnings: Vec<String>,
    config: Config,
}

/// How the last reload went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Why the last one failed, in as many lines as there are errors; `None` if it did not.
    pub last_error: Option<String>,
    /// What is written but comes only with a restart.
    pub pending: Vec<Change>,
    /// When the configuration that is served was put in place, in seconds of Unix time.
    pub served_since: u64,
}

/// Puts configurations in place, one at a time.
#[derive(Debug)]
pub struct Reloader {
    shared: Arc<Shared>,
    ports: mpsc::Sender<PortRequest>,
    /// Fits a configuration to what this machine allows.
    settle: fn(&mut Config),
    /// What is served; `None` if it came from flags.
    text: Mutex<Option<Arc<Text>>>,
    /// What the text was put together from, on a node of a fleet.
    layers: Mutex<Option<Layers>>,
    turn: tokio::sync::Mutex<()>,
    /// Servers that an operator added and removed at run time.
    overlays: Arc<Overlays>,
    drained: Drained,
    events: Arc<Events>,
    status: Mutex<Status>,
    applied: AtomicU64,
    failed: AtomicU64,
}

impl Reloader {
    /// For a data plane that serves `text`.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        text: Option<Text>,
        ports: mpsc::Sender<PortRequest>,
        settle: fn(&mut Config),
        (overlays, drained): (Arc<Overlays>, Drained),
        events: Arc<Events>,
    ) -> Arc<Self> {
        let status = Status {
            served_since: unix_now(),
            ..Status::default()
        };
        Arc::new(Self {
            shared,
            ports,
            settle,
            text: Mutex::new(text.map(Arc::new)),
            layers: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            overlays,
            drained,
            events,
            status: Mutex::new(status),
            applied: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })
    }

    /// The configuration that is served, as it was written; `None` if it came from flags.
    #[must_use]
    pub fn text(&self) -> Option<Arc<Text>> {
        lock(&self.text).clone()
    }

    /// Configurations put in place so far; the one at the start is the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        1 + self.applied.load(Relaxed)
    }

    /// How the last reload went.
    #[must_use]
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// What the file as it stands now would have served: on a node of a fleet that is more.
    ///
    /// # Errors
    /// [`ReloadError`].
    pub fn read_file(&self) -> Result<Text, ReloadError> {
        self.text_of(Wish::File).map(|(text, ..)| text)
    }

    fn read_own_file(&self) -> Result<Text, ReloadError> {
        let path = self.text().ok_or(ReloadError::NoFile)?.path.clone();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Text { path, text }),
            Err(source) => Err(ReloadError::Unreadable { path, source }),
        }
    }

    /// Checks `text` and says what it would change.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self, text: &Text) -> Result<Checked, Errors> {
        self.check_as(text, &text.path.display().to_string())
    }

    /// As [`Self::check`], for a text that messages call `name`.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check_as(&self, text: &Text, name: &str) -> Result<Checked, Errors> {
        let Loaded { config, warnings } = load(text, name)?;
        let served = self.text();
        let before = served.as_deref().map_or("", |text| text.text.as_str());
        let snapshot = self.shared.snapshot();
        Ok(Checked {
            diff: changes::between(
                (before, &text.text),
                &snapshot.config,
                &config,
                self.shared.max_workers(),
            ),
            warnings: warnings.iter().map(ToString::to_string).collect(),
            config,
        })
    }

    /// Puts the file in place as it stands now. What comes of it is logged.
    ///
    /// # Errors
    /// [`ReloadError`], with the old configuration served as before.
    pub async fn reload(self: &Arc<Self>) -> Result<Applied, ReloadError> {
        self.put(Wish::File).await
    }

    /// Puts `text` in place. What comes of it is logged.
    ///
    /// # Errors
    /// [`ReloadError`], with the old configuration served as before.
    pub async fn apply(self: &Arc<Self>, text: Text) -> Result<Applied, ReloadError> {
        self.put(Wish::Text(text)).await
    }

    /// Holds up reloads for as long as what it returns is kept.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    async fn put(self: &Arc<Self>, wish: Wish) -> Result<Applied, ReloadError> {
        let _turn = self.turn.lock().await;
        let began = Instant::now();
        let result = self.put_wish(wish, began).await;
        match &result {
            Ok(applied) => {
                self.applied.fetch_add(1, Relaxed);
                applied.log();
                let changes = applied.diff.changes.len();
                let plural = if changes == 1 { "" } else { "s" };
                self.events
                    .note(Kind::Reloaded, format!("{changes} change{plural}"));
            }
            Err(error) => {
                self.failed.fetch_add(1, Relaxed);
                lock(&self.status).last_error = Some(error.to_string());
                self.events.note(Kind::ReloadFailed, error.to_string());
                tracing::error!("reload failed, the old configuration goes on\n{error}");
            }
        }
        result
    }

    async fn put_wish(
        self: &Arc<Self>,
        wish: Wish,
        began: Instant,
    ) -> Result<Applied, ReloadError> {
        let this = Arc::clone(self);
        // Thousands of servers take their time: probes and metrics must not wait for that.
        let (text, layers, checked, (plan, taken)) = aside(move || this.prepare(wish)).await??;
        self.put_plan(Some(text.clone()), plan).await?;
        self.drained.follow(taken);
        *lock(&self.text) = Some(Arc::new(text));
        if layers.is_some() {
            *lock(&self.layers) = layers;
        }
        *lock(&self.status) = Status {
            last_error: None,
            pending: checked.diff.needing_restart().cloned().collect(),
            served_since: unix_now(),
        };
        Ok(Applied {
            diff: checked.diff,
            warnings: checked.warnings,
            took: began.elapsed(),
        })
    }

    /// Makes what is wished ready to be served.
    fn prepare(&self, wish: Wish) -> Result<Prepared, ReloadError> {
        let (text, name, layers) = self.text_of(wish)?;
        let mut checked = self.check_as(&text, &name)?;
        let mut config = std::mem::take(&mut checked.config);
        (self.settle)(&mut config);
        let most = self.shared.max_workers();
        keep_what_needs_a_restart(&mut config, &self.shared.snapshot().config, most);
        self.overlays.lay_over(&mut config);
        let taken = self.drained.lay_over(&mut config);
        let plan = self.plan(config)?;
        Ok((text, layers, checked, (plan, taken)))
    }

    fn plan(&self, config: Config) -> Result<Plan, ReloadError> {
        let plan = self.shared.plan(config).map_err(|error| LogError {
            source: explain_log(error.source),
            ..error
        })?;
        Ok(plan)
    }

    /// Serves what `plan` has made ready, read from `text`.
    async fn put_plan(&self, text: Option<Text>, plan: Plan) -> Result<(), ReloadError> {
        let sockets = match self.open(&plan).await {
            Ok(sockets) => sockets,
            Err(error) => {
                // Those that could be opened are not to be kept anywhere.
                let before = self.shared.snapshot();
                let served = self.text().map(|text| (*text).clone());
                self.keep(served, &before.config).await?;
                return Err(error);
            }
        };
        let snapshot = Arc::clone(plan.snapshot());
        self.keep(text, &snapshot.config).await?;
        self.shared.apply(plan, sockets).await?;
        Ok(())
    }

    /// Has a frontend close its listeners, or open them again. What it has in flight is finished
    /// within the time to drain. It stays so over reloads.
    ///
    /// # Errors
    /// [`ReloadError`], with everything as before; also when there is no such frontend.
    pub async fn set_drained(
        self: &Arc<Self>,
        frontend: &Name,
        is_drained: bool,
    ) -> Result<(), ReloadError> {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        let name = frontend.clone();
        let plan = aside(move || {
            let mut config = this.shared.snapshot().config.clone();
            match this.drained.set(&mut config, &name, is_drained) {
                Some(true) => this.plan(config).map(Some),
                Some(false) => Ok(None),
                None => Err(ReloadError::NoFrontend(name)),
            }
        });
        let plan = match plan.await.and_then(|plan| plan) {
            Ok(Some(plan)) => plan,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.drained.settle(frontend, !is_drained);
                return Err(error);
            }
        };
        let text = self.text().map(|text| (*text).clone());
        let put = self.put_plan(text, plan).await;
        self.drained.settle(frontend, is_drained == put.is_ok());
        put
    }

    /// The frontends that an operator drains.
    #[must_use]
    pub const fn drained(&self) -> &Drained {
        &self.drained
    }

    async fn open(&self, plan: &Plan) -> Result<Vec<ListenerSockets>, ReloadError> {
        let wanted: Vec<_> = plan.wanted().cloned().collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let (reply, answer) = oneshot::channel();
        let count = plan.workers();
        let request = PortRequest::Open {
            wanted,
            count,
            reply,
        };
        self.ask(request, answer).await?.map_err(ReloadError::Ports)
    }

    async fn keep(&self, text: Option<Text>, config: &Config) -> Result<(), ReloadError> {
        let (reply, answer) = oneshot::channel();
        let request = PortRequest::Keep {
            text,
            listeners: keys(config),
            drain: config.process.drain + config.process.drain_delay,
            reply,
        };
        self.ask(request, answer).await
    }

    async fn ask<T>(
        &self,
        request: PortRequest,
        answer: oneshot::Receiver<T>,
    ) -> Result<T, ReloadError> {
        let asked = self.ports.send(request).await;
        asked.map_err(|_| ReloadError::Ending)?;
        answer.await.map_err(|_| ReloadError::Ending)
    }
}

impl Applied {
    fn log(&self) {
        for warning in &self.warnings {
            tracing::warn!("{warning}");
        }
        for change in self.diff.needing_restart() {
            tracing::warn!("{change}");
        }
        tracing::info!(changes = self.diff.changes.len(), took = ?self.took, "reloaded");
        for change in &self.diff.changes {
            tracing::debug!("{change}");
        }
    }
}

impl MetricsSource for Reloader {
    fn collect(&self, out: &mut Exposition) {
        for (result, count) in [("ok", &self.applied), ("failed", &self.failed)] {
            let labels = [("result", result.into())];
            out.counter(Metric::ReloadsTotal, &labels, count.load(Relaxed));
        }
        let status = self.status();
        let is_good = status.last_error.is_none();
        out.gauge(Metric::ReloadLastOk, &[], f64::from(u8::from(is_good)));
        #[expect(clippy::cast_precision_loss, reason = "seconds of this century fit")]
        let since = status.served_since as f64;
        out.gauge(Metric::ConfigServedSinceSeconds, &[], since);
    }
}

/// What is ready to be served: its text, the layers that made it, what it would change, and how.
type Prepared = (Text, Option<Layers>, Checked, (Plan, Taken));

/// Does something that takes its time on a thread of its own.
async fn aside<R: Send + 'static>(
    act: impl FnOnce() -> R + Send + 'static,
) -> Result<R, ReloadError> {
    let done = tokio::task::spawn_blocking(act).await;
    done.map_err(|error| {
        tracing::error!(%error, "a reload panicked");
        ReloadError::Ending
    })
}

/// Reads `text`, with the environment of this process.
fn load(text: &Text, name: &str) -> Result<Loaded, Errors> {
    let directory = text.path.parent().unwrap_or_else(|| Path::new(""));
    catamaran_config::parse(
        &text.text,
        name,
        &|name| std::env::var(name).ok(),
        &Explained(Beside(directory)),
    )
}

/// Reads files beside the configuration, and says what may be behind a denial.
struct Explained<'a>(Beside<'a>);

impl ReadFile for Explained<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let read = self.0.read(path);
        read.map_err(|error| explain(&self.0.0.join(path), error))
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        self.0.mode(path)
    }
}

/// Says of a denial when it is not the rights of the file that are behind it.
fn explain(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied || !identity::may_read(path) {
        return error;
    }
    io::Error::other(format!(
        "{error}: a supervised data process gave up all directories but those of the \
         configuration that it started with; restart to use another"
    ))
}

/// Says of a log that cannot be opened what may be behind that other than the rights of a file.
fn explain_log(error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    let message = format!(
        "{error}: let this user use it; a supervised data process gave up all directories but \
         those of the configuration that it started with: restart to use another"
    );
    io::Error::new(io::ErrorKind::PermissionDenied, message)
}

/// What is fixed when the process starts stays as it is, whatever is written.
fn keep_what_needs_a_restart(config: &mut Config, served: &Config, most_workers: usize) {
    let (new, old) = (&mut config.process, &served.process);
    if new.workers.is_some_and(|n| n.get() > most_workers) {
        new.workers = old.workers;
    }
    new.metrics = old.metrics;
    new.resolvers.clone_from(&old.resolvers);
    new.user.clone_from(&old.user);
    new.group.clone_from(&old.group);
    config.admin = served.admin.clone();
    config.etcd.clone_from(&served.etcd);
    // Its backends are those of the start; only the vrrp process, which has that too, asks for them.
    config.virtual_ips.clone_from(&served.virtual_ips);
}

/// The listeners of `config`.
fn keys(config: &Config) -> Vec<ListenerKey> {
    let each = config.frontends.iter();
    each.flat_map(|f| (0..f.listeners.len()).map(|place| ListenerKey::of(f, place)))
        .collect()
}

fn unix_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
