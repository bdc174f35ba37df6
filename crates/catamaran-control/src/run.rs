//! The control plane over a data plane at work: its parts, wired to what the workers share.

use crate::health::{
    Command, Hooks, Monitor, Notice, Notices, Signal as Noticed, Watched, WatchedServer,
};
use crate::metrics::{Endpoint, Readiness};
use crate::plane_metrics::PlaneMetrics;
use crate::probe::Target as CheckTarget;
use crate::resolve::{Discovery, Dns};
use crate::{Clock, VirtualIps};
use catamaran_core::Timestamp;
use catamaran_core::health::{ProbeResult, Status};
use catamaran_core::model::{self, BackendId, Check, Name, Protocol};
use catamaran_core::server::ServerState;
use catamaran_proxy::{Backend, Server, Shared, Signal, Target};

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Runs the control plane: health, names, the ends of affinity, and the metrics endpoint if there is
/// one. Never returns; drop it to end it.
///
/// `readiness` becomes [`Readiness::Ready`] when every checked server was checked once; draining is
/// for the caller to say. `virtual_ips` is read for the page; the caller keeps it up to date.
pub async fn run(
    shared: Arc<Shared>,
    resolvers: &[SocketAddr],
    endpoint: Option<Endpoint>,
    readiness: watch::Sender<Readiness>,
    virtual_ips: VirtualIps,
) {
    let clock = Clock::starting_at(Timestamp::from_nanos(catamaran_sys::clock::now_nanos()));
    let configured = shared.backends.iter().map(|b| (b.id, &b.model));
    let discovery = Discovery::new(configured, clock, fastrand::Rng::new());
    let lookups = discovery.as_ref().map(Discovery::counts);
    let metrics = Arc::new(PlaneMetrics::new(
        Arc::clone(&shared),
        clock,
        lookups,
        virtual_ips,
    ));
    let told = readiness.subscribe();
    let hooks = PlaneHooks {
        shared: Arc::clone(&shared),
        metrics: Arc::clone(&metrics),
        readiness,
        clock,
    };
    let watched = shared
        .backends
        .iter()
        .map(|b| watched(&shared, b))
        .collect();
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
    let resolving = async {
        if let Some(discovery) = discovery {
            discovery.run(Arc::new(Dns::new(resolvers)), changes).await;
        }
    };
    // It owns `commands`, so that the monitor runs on when nothing is configured by name.
    let applying = async {
        apply_changes(&shared, clock, changes_rx, &commands).await;
        std::future::pending::<()>().await;
    };
    tokio::join!(watching, serving, resolving, applying, expiring);
}

async fn expire(metrics: &PlaneMetrics) {
    loop {
        tokio::time::sleep(EXPIRE_INTERVAL).await;
        metrics.expire_stick();
    }
}

/// Puts the addresses found into the backends and under watch.
async fn apply_changes(
    shared: &Shared,
    clock: Clock,
    mut changes: mpsc::Receiver<(BackendId, Vec<model::Server>)>,
    commands: &mpsc::Sender<Command>,
) {
    while let Some((id, models)) = changes.recv().await {
        let backend = &shared.backends[id.index()];
        let now = clock.now();
        let servers = servers_of(backend, &models, now);
        backend.set_servers(servers, now);
        let watched = watched(shared, backend).servers;
        if commands
            .send(Command::SetServers(id, watched))
            .await
            .is_err()
        {
            return;
        }
    }
}

/// The servers for `models`: those that are there already stay, or keep their load and health if
/// their weight or rank is another.
fn servers_of(backend: &Backend, models: &[model::Server], now: Timestamp) -> Vec<Arc<Server>> {
    let set = backend.set();
    let known: std::collections::HashMap<&Name, &Arc<Server>> =
        set.servers.iter().map(|s| (&s.model.name, s)).collect();
    let new = |model: &model::Server| {
        let target = match CheckTarget::new(&model.address)? {
            CheckTarget::Ip(address) => Target::Ip(address),
            CheckTarget::Unix(path) => Target::Unix(path),
        };
        let known = known.get(&model.name).filter(|s| s.target == target);
        if let Some(known) = known.filter(|known| known.model == *model) {
            return Some(Arc::clone(known));
        }
        let state = known.map(|known| Arc::clone(&known.state));
        let state = state.unwrap_or_else(|| {
            let state = ServerState::new(model.name.clone());
            if !set.servers.is_empty() {
                state.start_slowly(now);
            }
            Arc::new(state)
        });
        Some(Arc::new(Server::new(model.clone(), target, state)))
    };
    models.iter().filter_map(new).collect()
}

fn watched(shared: &Shared, backend: &Backend) -> Watched {
    let is_udp = shared.frontends.iter().any(|frontend| {
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
        id: backend.id,
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
    fn rotation_changed(&mut self, backend: BackendId) -> Option<Timestamp> {
        self.shared.backends[backend.index()].rebuild(self.clock.now())
    }

    fn status_changed(&mut self, backend: BackendId, server: &Name, status: Status) {
        self.metrics.count_status(status);
        let backend = &self.shared.backends[backend.index()];
        let set = backend.set();
        let server = set.servers.iter().find(|s| s.model.name == *server);
        if let (Status::Down, Some(server)) = (status, server) {
            self.shared.server_down(backend, server);
        }
    }

    fn checked(&mut self, _backend: BackendId, _server: &Name, result: ProbeResult) {
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
    use catamaran_core::model::{Config, Frontend, FrontendId, Health, ServerAddr};
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
        let config = Config {
            frontends: vec![frontend],
            backends: vec![backend],
            ..Config::default()
        };
        let listeners = vec![ListenerSockets {
            frontend: FrontendId(0),
            listener: 0,
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
        let state = Arc::clone(&shared.backends[0].set().servers[0].state);

        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.local_addr().unwrap();
        let (readiness, mut ready) = watch::channel(Readiness::Starting);
        let running = run(
            Arc::clone(&shared),
            &[],
            Some(endpoint),
            readiness,
            VirtualIps::default(),
        );
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
        assert!(shared.backends[0].set().servers.is_empty());

        let (readiness, _ready) = watch::channel(Readiness::Starting);
        let nobody = [([127, 0, 0, 1], 9).into()];
        let running = run(
            Arc::clone(&shared),
            &nobody,
            None,
            readiness,
            VirtualIps::default(),
        );
        let found = || {
            let set = shared.backends[0].set();
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
