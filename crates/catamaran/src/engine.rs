//! The data plane and its control plane, started and ended together.

use crate::admin;
use crate::host::ProcessHost;
use crate::limits;
use crate::pulse;
use anyhow::Context as _;
use catamaran_control::admin::{Events, Kind, Overlays};
use catamaran_control::metrics::{Endpoint, Readiness};
use catamaran_control::reload::{Drained, PortRequest, Reloader, Text};
use catamaran_control::{Parts, VirtualIps};
use catamaran_core::model::Config;
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::{Proxy, Shared};
use std::net::SocketAddr;
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
    /// Ends the control thread when dropped.
    _control: oneshot::Sender<()>,
}

impl Engine {
    /// Serves `config` on `listeners`. It was read from `text`, unless it came from flags; `ports`
    /// leads to who opens the sockets of others.
    pub(crate) fn start(
        mut config: Config,
        listeners: Vec<ListenerSockets>,
        text: Option<Text>,
        ports: mpsc::Sender<PortRequest>,
        host: ProcessHost,
    ) -> anyhow::Result<Self> {
        let resolvers = config.process.resolvers.clone();
        let (metrics, doors) = (config.process.metrics, config.admin.clone());
        let instance = instance_of(text.as_ref());
        let drained = begin_drained(&mut config, &listeners);
        let proxy = Proxy::start(config, listeners)?;
        let shared = Arc::clone(proxy.shared());
        let (events, overlays) = (Arc::new(Events::default()), Arc::new(Overlays::default()));
        events.note(Kind::Started, format!("process {}", std::process::id()));
        let reloader = Reloader::new(
            Arc::clone(&shared),
            text,
            ports,
            limits::settle,
            (Arc::clone(&overlays), drained),
            Arc::clone(&events),
        );
        let (reloader_too, events_too) = (Arc::clone(&reloader), Arc::clone(&events));
        let (readiness, _) = watch::channel(Readiness::Starting);
        let told = readiness.clone();
        let virtual_ips = VirtualIps::new(Arc::clone(&events));
        let shown = virtual_ips.clone();
        let (end, ended) = oneshot::channel::<()>();
        let (started, is_started) = std::sync::mpsc::sync_channel::<anyhow::Result<()>>(1);
        let control = move || {
            let _vital = Vital;
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            runtime.block_on(async {
                let opened =
                    async { Ok((bind(metrics).await?, admin::open(&doors, &instance).await?)) };
                let (endpoint, doors) = match opened.await {
                    Ok(opened) => opened,
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(())));
                let parts = Parts {
                    resolvers,
                    endpoint,
                    doors,
                    host: Arc::new(host),
                    reloader: reloader_too,
                    overlays,
                    events: events_too,
                    virtual_ips: shown,
                    readiness: told,
                };
                tokio::select! {
                    _ = ended => {}
                    () = pulse::keep(Arc::clone(&shared)) => {}
                    _ = catamaran_control::run(Arc::clone(&shared), parts) => {}
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
        Ok(Self {
            proxy,
            readiness,
            reloader,
            events,
            virtual_ips,
            _control: end,
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
