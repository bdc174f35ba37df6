//! The data plane and its control plane, started and ended together.

use crate::admin::{self, SocketFile};
use crate::handover::Doors as Passed;
use crate::host::ProcessHost;
use crate::limits;
use crate::pulse;
use crate::succession;
use anyhow::Context as _;
use catamaran_control::admin::{Doors, Events, Host, Kind, Overlays};
use catamaran_control::keep::{Found, Keeper, Predecessor};
use catamaran_control::metrics::{CountedBefore, Endpoint, Readiness};
use catamaran_control::reload::{Drained, PortRequest, Reloader, Text};
use catamaran_control::{Mesh, Parts, VirtualIps};
use catamaran_core::model::{Admin, Config};
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::{Proxy, Shared};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};

/// A data plane at work, and the thread that watches over it.
#[derive(Debug)]
pub(crate) struct Engine {
    proxy: Proxy,
    readiness: watch::Sender<Readiness>,
    reloader: Arc<Reloader>,
    events: Arc<Events>,
    virtual_ips: VirtualIps,
    mesh: Mesh,
    keeper: Option<Arc<Keeper>>,
    counted_before: CountedBefore,
    /// Whether pages and API take new connections, and copies of their sockets.
    doors: (watch::Sender<bool>, Passed),
    admin_file: SocketFile,
    /// Whether the process before this one has ended.
    predecessor: Option<watch::Receiver<bool>>,
    /// Ends the control thread when dropped.
    control: Option<oneshot::Sender<()>>,
}

impl Engine {
    /// Serves `config` on `listeners`. It was read from `text`, unless it came from flags; `ports`
    /// leads to who opens the sockets of others.
    /// `kept` is what the process before has left, if somebody holds it; `passed` are the sockets of
    /// pages and API that it has passed on.
    pub(crate) fn start(
        mut config: Config,
        listeners: Vec<ListenerSockets>,
        text: Option<Text>,
        ports: mpsc::Sender<PortRequest>,
        host: ProcessHost,
        (mut kept, passed): (Option<Found>, Passed),
    ) -> anyhow::Result<Self> {
        let wishes = Wishes::of(&config, text.as_ref());
        let drained = begin_drained(&mut config, &listeners);
        let (events, overlays) = (Arc::new(Events::default()), Arc::new(Overlays::default()));
        if let Some(kept) = &kept {
            kept.restore_overlays(&overlays, &mut config);
        }
        let proxy = Proxy::start_after(config, listeners, |shared| {
            if let Some(kept) = &mut kept {
                kept.restore(shared);
            }
        })?;
        let shared = Arc::clone(proxy.shared());
        events.note(Kind::Started, format!("process {}", std::process::id()));
        let reloader = Reloader::new(
            Arc::clone(&shared),
            text,
            ports,
            limits::settle,
            (Arc::clone(&overlays), drained),
            Arc::clone(&events),
        );
        let (readiness, _) = watch::channel(first_readiness(kept.as_ref()));
        let host: Arc<dyn Host> = Arc::new(host);
        let counted_before = CountedBefore::default();
        let is_restored = kept.as_ref().is_some_and(Found::has_entries);
        let keeper = kept.map(|kept| {
            counted_before.set(kept.counters());
            let (shared, overlays) = (Arc::clone(&shared), Arc::clone(&overlays));
            Keeper::new(
                kept,
                shared,
                overlays,
                Arc::clone(&host),
                readiness.subscribe(),
            )
        });
        let virtual_ips = VirtualIps::new(Arc::clone(&events));
        let mesh = Mesh::new(Arc::clone(&events), is_restored);
        let (open, is_open) = watch::channel(true);
        let parts = Parts {
            open: is_open,
            resolvers: wishes.resolvers.clone(),
            endpoint: None,
            doors: Doors::default(),
            host,
            reloader: Arc::clone(&reloader),
            overlays,
            events: Arc::clone(&events),
            counted_before: counted_before.clone(),
            keeper: keeper.clone(),
            virtual_ips: virtual_ips.clone(),
            mesh: mesh.clone(),
            readiness: readiness.clone(),
        };
        let (control, sockets) = start_control(shared, wishes, parts, passed)?;
        Ok(Self {
            proxy,
            readiness,
            reloader,
            events,
            virtual_ips,
            mesh,
            keeper,
            counted_before,
            admin_file: SocketFile::of(sockets.sockets[0].as_ref()),
            doors: (open, sockets),
            predecessor: None,
            control: Some(control),
        })
    }

    /// Takes no more connections to pages and API, and copies for another process all that is to
    /// outlive this one. Returns the sockets of pages and API.
    pub(crate) fn close_doors(&self) -> Passed {
        self.doors.0.send_replace(false);
        // Before the last copy: what peers say from now on is said to the other process.
        self.mesh.pause();
        if let Some(keeper) = &self.keeper {
            keeper.leave();
        }
        self.admin_file.set_left(true);
        self.doors.1.copy()
    }

    /// Undoes [`Self::close_doors`].
    pub(crate) fn open_doors(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.resume();
        }
        self.mesh.resume();
        self.admin_file.set_left(false);
        self.doors.0.send_replace(true);
    }

    /// What a successor is told.
    pub(crate) fn report(&self) -> Option<Vec<u8>> {
        Some(self.keeper.as_ref()?.tell())
    }

    /// Takes in what the process before this one reports, until it ends.
    pub(crate) fn follow(&mut self, reports: OwnedFd) {
        let counted = self.counted_before.clone();
        let predecessor = Predecessor::new(Arc::clone(self.shared()), counted);
        self.predecessor = Some(succession::follow(reports, predecessor));
    }

    /// Whether no process before this one has clients left.
    pub(crate) fn predecessor_is_gone(&self) -> bool {
        self.predecessor
            .as_ref()
            .is_none_or(|ended| *ended.borrow())
    }

    /// Ends the control plane: checks, pages, API. Traces go on to be sent.
    pub(crate) fn end_control(&mut self) {
        self.control = None;
    }

    /// Opens the files of access logs anew.
    pub(crate) fn reopen_logs(&self) {
        self.proxy.reopen_logs();
    }

    /// Puts other configurations in place.
    pub(crate) const fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// Whether clients are served.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// What is shown of the virtual addresses.
    pub(crate) fn virtual_ips(&self) -> VirtualIps {
        self.virtual_ips.clone()
    }

    /// What is known of the peers.
    pub(crate) fn mesh(&self) -> Mesh {
        self.mesh.clone()
    }

    /// What the threads of both planes share.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        self.proxy.shared()
    }

    /// Says that no new clients are wanted; those that come are served all the same.
    pub(crate) fn turn_away(&self) {
        self.readiness.send_replace(Readiness::Draining);
    }

    /// Takes no new clients and waits for those in flight, at most `deadline`.
    pub(crate) async fn drain(self, deadline: Duration) {
        self.turn_away();
        self.events.note(Kind::Draining, "");
        if !self.proxy.drain(deadline).await {
            tracing::warn!("connections were open when the time to drain was over");
        }
        self.send_traces().await;
    }

    /// Waits until traces are sent, but not long.
    pub(crate) async fn send_traces(&self) {
        let spans = self.shared().spans();
        let sent = async {
            while spans.waiting() > 0 {
                tokio::time::sleep(TRACES_LOOK).await;
            }
        };
        if tokio::time::timeout(TRACES_PATIENCE, sent).await.is_err() {
            let requests = spans.waiting();
            tracing::warn!(requests, "traces were left unsent");
        }
    }
}

/// How long traces that wait may take to be sent at the end, and how often that is looked at.
const TRACES_PATIENCE: Duration = Duration::from_secs(2);
const TRACES_LOOK: Duration = Duration::from_millis(20);

/// What the control plane is to serve, besides what may change while it does.
struct Wishes {
    resolvers: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    admin: Admin,
    /// Tells the configuration from others.
    instance: String,
}

impl Wishes {
    fn of(config: &Config, text: Option<&Text>) -> Self {
        Self {
            resolvers: config.process.resolvers.clone(),
            metrics: config.process.metrics,
            admin: config.admin.clone(),
            instance: instance_of(text),
        }
    }
}

/// Starts the control plane on a thread of its own, which ends when the result is dropped.
fn start_control(
    shared: Arc<Shared>,
    wishes: Wishes,
    parts: Parts,
    passed: Passed,
) -> anyhow::Result<(oneshot::Sender<()>, Passed)> {
    let (end, ended) = oneshot::channel::<()>();
    let (started, is_started) = std::sync::mpsc::sync_channel::<anyhow::Result<Passed>>(1);
    let control = move || {
        let _vital = Vital;
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
        runtime.block_on(async {
            let opened = open(&wishes, passed).await;
            let (endpoint, doors, sockets) = match opened {
                Ok(opened) => opened,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(sockets)));
            let parts = Parts {
                endpoint,
                doors,
                ..parts
            };
            tokio::select! {
                _ = ended => {}
                () = pulse::keep(Arc::clone(&shared)) => {}
                () = catamaran_control::run(Arc::clone(&shared), parts) => {}
            }
            catamaran_control::send_traces(shared, &wishes.resolvers).await;
        });
    };
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(control)
        .context("cannot start the control thread")?;
    let sockets = is_started
        .recv()
        .context("the control thread ended at once")??;
    Ok((end, sockets))
}

/// Opens where pages and API are served, but for what was passed on. Returns copies of the sockets.
async fn open(
    wishes: &Wishes,
    passed: Passed,
) -> anyhow::Result<(Option<Endpoint>, Doors, Passed)> {
    let [unix, tcp, pages] = passed.sockets;
    let endpoint = match pages {
        Some(socket) => Some(Endpoint::inherited(socket)?),
        None => bind(wishes.metrics).await?,
    };
    let doors = admin::open(&wishes.admin, &wishes.instance, (unix, tcp)).await?;
    let unix = doors
        .unix
        .as_ref()
        .map(|unix| unix.as_fd().try_clone_to_owned());
    let tcp = doors
        .tcp
        .as_ref()
        .map(|(tcp, _)| tcp.as_fd().try_clone_to_owned());
    let pages = endpoint.as_ref().map(Endpoint::socket);
    let sockets = [unix.transpose()?, tcp.transpose()?, pages.transpose()?];
    Ok((endpoint, doors, Passed { sockets }))
}

/// What the process before had checked need not be checked first.
fn first_readiness(kept: Option<&Found>) -> Readiness {
    match kept.is_some_and(Found::was_ready) {
        true => Readiness::Ready,
        false => Readiness::Starting,
    }
}

/// Takes note of the frontends that were drained when the data process before this one ended.
fn begin_drained(config: &mut Config, listeners: &[ListenerSockets]) -> Drained {
    let drained = Drained::default();
    let open = listeners.iter().map(|l| l.key.clone()).collect();
    drained.begin(config, &open);
    drained
}

/// A name for the configuration, short and the same at every start.
fn instance_of(text: Option<&Text>) -> String {
    let Some(text) = text else {
        return "flags".to_owned();
    };
    let path = Text {
        path: PathBuf::new(),
        text: text.path.display().to_string(),
    };
    path.digest()
}

/// Held by the control thread.
struct Vital;

impl Drop for Vital {
    /// Without it servers would stay as they were last seen, and nobody would say so: the whole
    /// process goes, and the supervisor starts another.
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the control thread panicked");
            std::process::abort();
        }
    }
}

async fn bind(metrics: Option<SocketAddr>) -> anyhow::Result<Option<Endpoint>> {
    let Some(address) = metrics else {
        return Ok(None);
    };
    let endpoint = Endpoint::bind(address).await.with_context(|| {
        format!("{address}: cannot serve metrics there; change `metrics` under [process]")
    })?;
    Ok(Some(endpoint))
}
