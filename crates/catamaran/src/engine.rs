//! The data plane and its control plane, started and ended together.

use crate::admin;
use crate::host::ProcessHost;
use anyhow::Context as _;
use catamaran_control::Parts;
use catamaran_control::admin::{Events, Kind};
use catamaran_control::metrics::{Endpoint, Readiness};
use catamaran_core::model::Config;
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::Proxy;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime;
use tokio::sync::{oneshot, watch};

/// A data plane at work, and the thread that watches over it.
#[derive(Debug)]
pub(crate) struct Engine {
    proxy: Proxy,
    readiness: watch::Sender<Readiness>,
    events: Arc<Events>,
    /// Ends the control thread when dropped.
    _control: oneshot::Sender<()>,
}

impl Engine {
    /// Serves `config` on `listeners`.
    pub(crate) fn start(
        config: Config,
        listeners: Vec<ListenerSockets>,
        host: ProcessHost,
    ) -> anyhow::Result<Self> {
        let resolvers = config.process.resolvers.clone();
        let metrics = config.process.metrics;
        let doors = config.admin.clone();
        let proxy = Proxy::start(config, listeners)?;
        let shared = Arc::clone(proxy.shared());
        let (readiness, _) = watch::channel(Readiness::Starting);
        let told = readiness.clone();
        let events = Arc::new(Events::default());
        events.note(Kind::Started, format!("process {}", std::process::id()));
        let noted = Arc::clone(&events);
        let (end, ended) = oneshot::channel::<()>();
        let (started, is_started) = std::sync::mpsc::sync_channel::<anyhow::Result<()>>(1);
        let control = move || {
            let _vital = Vital;
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.into()))),
            };
            runtime.block_on(async {
                let opened = async { Ok((bind(metrics).await?, admin::open(&doors).await?)) };
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
                    events: noted,
                    readiness: told,
                };
                tokio::select! {
                    _ = ended => {}
                    _ = catamaran_control::run(shared, parts) => {}
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
            events,
            _control: end,
        })
    }

    /// Opens the files of access logs anew.
    pub(crate) fn reopen_logs(&self) {
        self.proxy.reopen_logs();
    }

    /// Takes no new clients and waits for those in flight, at most `deadline`.
    pub(crate) async fn drain(self, deadline: Duration) {
        self.readiness.send_replace(Readiness::Draining);
        self.events.note(Kind::Draining, "");
        if !self.proxy.drain(deadline).await {
            tracing::warn!("connections were open when the time to drain was over");
        }
    }
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
