//! The control plane over a data plane at work: its parts, wired to what the workers share.

use crate::Clock;
use crate::health::{
    Command, Hooks, Monitor, Notice, Notices, Signal as Noticed, Watched, WatchedServer,
};
use crate::metrics::{Endpoint, Readiness};
use crate::plane_metrics::PlaneMetrics;
use crate::probe::Target as CheckTarget;
use crate::reload::Reloader;
use crate::resolve::{Discovery, Dns, Found, Names};
use catamaran_core::Timestamp;
use catamaran_core::health::{ProbeResult, Status};
use catamaran_core::model::{Check, Name, Protocol};
use catamaran_proxy::{Backend, Server, Shared, Signal, Snapshot, Target};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Runs the control plane: health, names, the ends of affinity, and the metrics endpoint if there is
/// one. Never returns; drop it to end it.
///
/// `readiness` becomes [`Readiness::Ready`] when every checked server was checked once; draining is
/// for the caller to say. `reloader` is counted in the metrics.
pub async fn run(
    shared: Arc<Shared>,
    resolvers: &[SocketAddr],
    endpoint: Option<Endpoint>,
    readiness: watch::Sender<Readiness>,
    reloader: Option<Arc<Reloader>>,
) {
    let clock = Clock::starting_at(Timestamp::from_nanos(catamaran_sys::clock::now_nanos()));
    // Before the snapshot is looked at, so that none is missed.
    let snapshots = shared.changes();
    let names = Discovery::names_in(&shared.snapshot().config.backends);
    let discovery = Discovery::new(names, clock, fastrand::Rng::new());
    let lookups = discovery.counts();
    let metrics = Arc::new(PlaneMetrics::new(
        Arc::clone(&shared),
        clock,
        lookups,
        reloader,
    ));
    let told = readiness.subscribe();
    let hooks = PlaneHooks {
        shared: Arc::clone(&shared),
        metrics: Arc::clone(&metrics),
        readiness,
        clock,
    };
    let watched = all_watched(&shared.snapshot());
    let monitor = Monitor::new(watched, clock, fastrand::Rng::new(), hooks);
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    let (changes, changes_rx) = mpsc::channel(COMMANDS);
    let watching = monitor.run(PlaneNotices(Arc::clone(&shared)), commands_rx);
    let expiring = expire(&metrics);
    let serving = async {
        if let Some(endpoint) = endpoint {
            endpoint.serve(Arc::clone(&metrics) as _, told).await;
        }
    };
    let (orders, orders_rx) = mpsc::channel(1);
    let resolving = discovery.run(Arc::new(Dns::new(resolvers)), changes, orders_rx);
    // It owns `commands`, so that the monitor runs on for as long.
    let following = Following {
        shared: Arc::clone(&shared),
        clock,
        generation: 0,
        commands,
        orders,
    };
    let applying = following.run(changes_rx, snapshots);
    tokio::join!(watching, serving, resolving, applying, expiring);
}

async fn expire(metrics: &PlaneMetrics) {
    loop {
        tokio::time::sleep(EXPIRE_INTERVAL).await;
        metrics.expire_stick();
    }
}

/// Has the parts of the control plane follow what is found and what is configured.
struct Following {
    shared: Arc<Shared>,
    clock: Clock,
    /// Configurations so far.
    generation: u64,
    commands: mpsc::Sender<Command>,
    orders: mpsc::Sender<Names>,
}

impl Following {
    async fn run(mut self, mut found: mpsc::Receiver<Found>, mut snapshots: watch::Receiver<()>) {
        loop {
            let command = tokio::select! {
                Some(found) = found.recv() => self.put_servers(found),
                Ok(()) = snapshots.changed() => Some(self.put_snapshot().await),
                rebuild = self.shared.rebuilds.next() => Some(Command::Rebuild(rebuild)),
            };
            if let Some(command) = command
                && self.commands.send(command).await.is_err()
            {
                return;
            }
        }
    }

    /// Puts the addresses found into their backend and under watch.
    fn put_servers(&self, found: Found) -> Option<Command> {
        let snapshot = self.shared.snapshot();
        let backend = snapshot.backend(&found.backend)?;
        if found.generation != self.generation {
            return None;
        }
        let now = self.clock.now();
        let servers = backend.servers_of(&found.servers, now);
        backend.set_servers(servers, now);
        let servers = watched(&snapshot, backend).servers;
        Some(Command::SetServers(found.backend, servers))
    }

    /// Has names asked for and servers watched that another configuration names.
    async fn put_snapshot(&mut self) -> Command {
        let snapshot = self.shared.snapshot();
        self.generation += 1;
        let names = Discovery::names_in(&snapshot.config.backends);
        // Discovery ends with us, not before.
        let _ = self.orders.send(names).await;
        Command::SetBackends(all_watched(&snapshot))
    }
}

fn all_watched(snapshot: &Snapshot) -> Vec<Watched> {
    let backends = snapshot.backends.iter();
    backends.map(|backend| watched(snapshot, backend)).collect()
}

fn watched(snapshot: &Snapshot, backend: &Backend) -> Watched {
    let is_udp = snapshot.frontends.iter().any(|frontend| {
        frontend.model.protocol == Protocol::Udp && frontend.model.backend == Some(backend.id)
    });
    let server = |server: &Arc<Server>| WatchedServer {
        name: server.model.name.clone(),
        target: match &server.target {
            Target::Ip(address) => CheckTarget::Ip(*address),
            Target::Unix(path) => CheckTarget::Unix(path.clone()),
        },
        state: Arc::clone(&server.state),
    };
    Watched {
        name: backend.model.name.clone(),
        health: backend.model.health.clone(),
        outlier: backend.model.outlier.clone(),
        comeback: if is_udp { Check::Udp } else { Check::Tcp },
        servers: backend.set().servers.iter().map(server).collect(),
    }
}

/// What the monitor's verdicts do to the data plane.
struct PlaneHooks {
    shared: Arc<Shared>,
    metrics: Arc<PlaneMetrics>,
    readiness: watch::Sender<Readiness>,
    clock: Clock,
}

impl Hooks for PlaneHooks {
    fn rotation_changed(&mut self, backend: &Name) -> Option<Timestamp> {
        let snapshot = self.shared.snapshot();
        snapshot.backend(backend)?.rebuild(self.clock.now())
    }

    fn status_changed(&mut self, backend: &Name, server: &Name, status: Status) {
        self.metrics.count_status(status);
        let snapshot = self.shared.snapshot();
        let Some(backend) = snapshot.backend(backend) else {
            return;
        };
        let set = backend.set();
        let server = set.servers.iter().find(|s| s.model.name == *server);
        if let (Status::Down, Some(server)) = (status, server) {
            self.shared.server_down(backend, server);
        }
    }

    fn checked(&mut self, _backend: &Name, _server: &Name, result: ProbeResult) {
        self.metrics.count_check(result);
    }

    fn all_checked(&mut self) {
        // A process that is draining already does not become ready.
        self.readiness.send_if_modified(|readiness| {
            let is_starting = *readiness == Readiness::Starting;
            if is_starting {
                *readiness = Readiness::Ready;
            }
            is_starting
        });
    }
}

/// What the workers noticed.
struct PlaneNotices(Arc<Shared>);

impl Notices for PlaneNotices {
    async fn next(&mut self) -> Vec<Notice> {
        let servers = self.0.signals.next().await;
        let notices = servers.iter().flat_map(|server| {
            server.take_signals().map(|signal| Notice {
                server: Arc::clone(&server.state),
                signal: match signal {
                    Signal::Refused => Noticed::Refused,
                    Signal::ConnectFailed => Noticed::ConnectFailed,
                    Signal::Outlier => Noticed::Outlier,
                },
            })
        });
        notices.collect()
    }
}

/// Orders that may wait for the monitor; discovery waits when there are more.
const COMMANDS: usize = 16;
/// How often affinity entries whose window is over are dropped; they bind nobody meanwhile.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::{
        self, BackendId, Config, Frontend, Health, ListenerKey, ServerAddr,
    };
    use catamaran_proxy::{ListenerSockets, Proxy};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};

    /// A data plane of one worker over a backend of one server at `address`.
    fn proxy(address: ServerAddr) -> Proxy {
        let fast = Duration::from_millis(10);
        let mut backend = model::Backend::new("api".into(), vec![model::Server::new(address)]);
        backend.health = Some(Health {
            interval: fast,
            fast_interval: fast,
            ..Health::new(Check::Tcp)
        });
        let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let listen = vec![socket.local_addr().unwrap()];
        let frontend = Frontend::new("web".into(), Protocol::Tcp, listen, BackendId(0));
        let key = ListenerKey::of(&frontend, 0);
        let config = Config {
            frontends: vec![frontend],
            backends: vec![backend],
            ..Config::default()
        };
        let listeners = vec![ListenerSockets {
            key,
            sockets: vec![socket.into()],
        }];
        Proxy::start(config, listeners).unwrap()
    }

    async fn page(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).await.unwrap();
        page
    }

    #[tokio::test]
    async fn a_server_that_goes_down_and_comes_up_is_seen_in_state_and_metrics() {
        // Bound, so that nobody else gets the port, but not listening yet.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
        let proxy = proxy(ServerAddr::Ip(socket.local_addr().unwrap()));
        let shared = Arc::clone(proxy.shared());
        let state = Arc::clone(&shared.snapshot().backends[0].set().servers[0].state);

        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.local_addr().unwrap();
        let (readiness, mut ready) = watch::channel(Readiness::Starting);
        let running = run(Arc::clone(&shared), &[], Some(endpoint), readiness, None);
        let scene = async {
            ready.wait_for(|r| *r == Readiness::Ready).await.unwrap();
            while !state.is_checked_down() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let down = page(address).await;
            let labels = r#"{backend="api",server="#;
            assert!(down.contains(&format!("catamaran_server_up{labels}")));
            assert!(down.contains("catamaran_backend_servers_usable{backend=\"api\"} 0\n"));
            assert!(down.contains("status_changes_total{status=\"down\"} 1\n"));

            let _listener = socket.listen(8).unwrap();
            while !state.is_usable() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let up = page(address).await;
            assert!(up.contains("catamaran_backend_servers_usable{backend=\"api\"} 1\n"));
            assert!(up.contains("frontend_duration_seconds_count{frontend=\"web\"} 0\n"));
        };
        tokio::select! {
            () = running => panic!("the control plane never ends"),
            () = scene => {}
        }
    }

    /// `localhost` needs no name server (RFC 6761 §6.3).
    #[cfg(feature = "dns")]
    #[tokio::test]
    async fn a_server_given_by_name_joins_its_backend_and_is_watched() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
            .await
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = "localhost".to_owned();
        let proxy = proxy(ServerAddr::Dns { host, port });
        let shared = Arc::clone(proxy.shared());
        assert!(shared.snapshot().backends[0].set().servers.is_empty());

        let (readiness, _ready) = watch::channel(Readiness::Starting);
        let nobody = [([127, 0, 0, 1], 9).into()];
        let running = run(Arc::clone(&shared), &nobody, None, readiness, None);
        let found = || {
            let set = shared.snapshot().backends[0].set();
            let name = format!("localhost:{port}#127.0.0.1");
            let server = set.servers.iter().find(|s| s.model.name.as_str() == name);
            server.map(|server| Arc::clone(&server.state))
        };
        let scene = async {
            while found().is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let state = found().expect("it was just there");
            assert!(state.is_usable());
            drop(listener);
            while !state.is_checked_down() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = running => panic!("the control plane never ends"),
            () = scene => {}
        }
    }
}
