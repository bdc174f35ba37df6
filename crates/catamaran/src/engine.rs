//! Where the data plane is started: the one place that knows `catamaran_proxy`.

use catamaran_core::model::Config;
pub(crate) use catamaran_proxy::ListenerSockets;
use catamaran_proxy::Proxy;
use std::time::Duration;

/// A data plane at work.
#[derive(Debug)]
pub(crate) struct Engine {
    proxy: Proxy,
}

impl Engine {
    /// Serves `config` on `listeners`.
    pub(crate) fn start(config: Config, listeners: Vec<ListenerSockets>) -> anyhow::Result<Self> {
        let proxy = Proxy::start(config, listeners)?;
        Ok(Self { proxy })
    }

    /// Takes no new clients and waits for those in flight, at most `deadline`.
    pub(crate) async fn drain(self, deadline: Duration) {
        if !self.proxy.drain(deadline).await {
            tracing::warn!("connections were open when the time to drain was over");
        }
    }
}
