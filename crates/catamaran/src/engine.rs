//! The data plane and its control plane, started and ended together.

use anyhow::Context as _;
use catamaran_control::VirtualIps;
use catamaran_control::metrics::{Endpoint, Readiness};
use catamaran_core::model::Config;
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::{Proxy, Shared};
use std::io;
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
    virtual_ips: VirtualIps,
    /// Ends the control thread when dropped.
    _control: oneshot::Sender<()>,
}

impl Engine {
    /// Serves `config` on `listeners`.
    pub(crate) fn start(config: Config, listeners: Vec<ListenerSockets>) -> anyhow::Result<Self> {
        let resolvers = config.process.resolvers.clone();
        let metrics = config.process.metrics;
        let proxy = Proxy::start(config, listeners)?;
        let shared = Arc::clone(proxy.shared());
        let (readiness, _) = watch::channel(Readiness::Starting);
        let told = readiness.clone();
        let virtual_ips = VirtualIps::default();
        let shown = virtual_ips.clone();
        let (end, ended) = oneshot::channel::<()>();
        let (started, is_started) = std::sync::mpsc::sync_channel(1);
        let control = move || {
            let _vital = Vital;
            let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error))),
            };
            runtime.block_on(async {
                let endpoint = match bind(metrics).await {
                    Ok(endpoint) => endpoint,
                    Err(error) => return drop(started.send(Err(error))),
                };
                drop(started.send(Ok(())));
                tokio::select! {
                    _ = ended => {}
                    _ = catamaran_control::run(shared, &resolvers, endpoint, told, shown) => {}
                }
            });
        };
        thread::Builder::new()
            .name("control".to_owned())
            .spawn(control)
            .context("cannot start the control thread")?;
        let is_started = is_started
            .recv()
            .context("the control thread ended at once")?;
        is_started.with_context(|| match metrics {
            Some(address) => {
                format!("{address}: cannot serve metrics there; change `metrics` under [process]")
            }
            None => "cannot start the control thread".to_owned(),
        })?;
        Ok(Self {
            proxy,
            readiness,
            virtual_ips,
            _control: end,
        })
    }

    /// Opens the files of access logs anew.
    pub(crate) fn reopen_logs(&self) {
        self.proxy.reopen_logs();
    }

    /// Whether clients are served.
    pub(crate) fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// What is shown of the virtual addresses.
    pub(crate) fn virtual_ips(&self) -> VirtualIps {
        self.virtual_ips.clone()
    }

    /// What the workers share.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        Arc::clone(self.proxy.shared())
    }

    /// Takes no new clients and waits for those in flight, at most `deadline`.
    pub(crate) async fn drain(self, deadline: Duration) {
        self.readiness.send_replace(Readiness::Draining);
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

async fn bind(metrics: Option<SocketAddr>) -> io::Result<Option<Endpoint>> {
    match metrics {
        Some(address) => Ok(Some(Endpoint::bind(address).await?)),
        None => Ok(None),
    }
}
