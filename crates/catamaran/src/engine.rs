//! The data plane and its control plane, started and ended together.

use crate::admin;
use crate::host::ProcessHost;
use crate::limits;
use crate::pulse;
use anyhow::Context as _;
use catamaran_control::admin::{Doors, Events, Host, Kind, Overlays};
use catamaran_control::keep::{Found, Keeper};
use catamaran_control::metrics::{CountedBefore, Endpoint, Readiness};
use catamaran_control::reload::{PortRequest, Reloader, Text};
use catamaran_control::{Parts, VirtualIps};
use catamaran_core::model::{Admin, Config};
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::{Proxy, Shared};
use std::net::SocketAddr;
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
    /// Ends the control thread when dropped.
    _control: oneshot::Sender<()>,
}

impl Engine {
    /// Serves `config` on `listeners`. It was read from `text`, unless it came from flags; `ports`
    /// leads to who opens the sockets of others.
    /// `kept` is what the process before has left, if somebody holds it.
    pub(crate) fn start(
        mut config: Config,
        listeners: Vec<ListenerSockets>,
        text: Option<Text>,
        ports: mpsc::Sender<PortRequest>,
        host: ProcessHost,
        mut kept: Option<Found>,
    ) -> anyhow::Result<Self> {
        let wishes = Wishes::of(&config);
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
            Arc::clone(&overlays),
            Arc::clone(&events),
        );
        // What the process before had checked need not be checked first.
        let was_ready = kept.as_ref().is_some_and(Found::was_ready);
        let (readiness, _) = watch::channel(if was_ready {
            Readiness::Ready
        } else {
            Readiness::Starting
        });
        let host: Arc<dyn Host> = Arc::new(host);
        let counted_before = CountedBefore::default();
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
        let virtual_ips = VirtualIps::default();
        let parts = Parts {
            resolvers: wishes.resolvers.clone(),
            endpoint: None,
            doors: Doors::default(),
            host,
            reloader: Arc::clone(&reloader),
            overlays,
            events: Arc::clone(&events),
            counted_before,
            keeper,
            virtual_ips: virtual_ips.clone(),
            readiness: readiness.clone(),
        };
        let control = start_control(shared, wishes, parts)?;
        Ok(Self {
            proxy,
            readiness,
            reloader,
            events,
            virtual_ips,
            _control: control,
        })
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
    }
}

/// What the control plane is to serve, besides what may change while it does.
struct Wishes {
    resolvers: Vec<SocketAddr>,
    metrics: Option<SocketAddr>,
    admin: Admin,
}

impl Wishes {
    fn of(config: &Config) -> Self {
        Self {
            resolvers: config.process.resolvers.clone(),
            metrics: config.process.metrics,
            admin: config.admin.clone(),
        }
    }
}

/// Starts the control plane on a thread of its own, which ends when the result is dropped.
fn start_control(
    shared: Arc<Shared>,
    wishes: Wishes,
    parts: Parts,
) -> anyhow::Result<oneshot::Sender<()>> {
    let (end, ended) = oneshot::channel::<()>();
    let (started, is_started) = std::sync::mpsc::sync_channel::<anyhow::Result<()>>(1);
    let control = move || {
        let _vital = Vital;
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(started.send(Err(error.into()))),
        };
        runtime.block_on(async {
            let Wishes { metrics, admin, .. } = wishes;
            let opened = async { Ok((bind(metrics).await?, admin::open(&admin).await?)) };
            let (endpoint, doors) = match opened.await {
                Ok(opened) => opened,
                Err(error) => return drop(started.send(Err(error))),
            };
            drop(started.send(Ok(())));
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
        });
    };
    thread::Builder::new()
        .name("control".to_owned())
        .spawn(control)
        .context("cannot start the control thread")?;
    is_started
        .recv()
        .context("the control thread ended at once")??;
    Ok(end)
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
