//! The control plane over a data plane at work: its parts, wired to what the workers share.

use crate::admin::{self, Checks, Doors, Drains, Events, Host, Kind, Overlays};
use crate::admin::{Plane, Stats, Streams};
use crate::agent;
use crate::health::{
    Command, Hooks, Monitor, Notice, Notices, Signal as Noticed, Watched, WatchedServer,
};
use crate::keep::{Keeper, Keeping};
use crate::metrics::{CountedBefore, Endpoint, Readiness, pages};
use crate::plane_metrics::PlaneMetrics;
use crate::probe::{Finding, Target as CheckTarget};
use crate::reload::Reloader;
use crate::resolve::{Discovery, Dns, Found, Order};
use crate::trace::{self, ExportCounts};
use crate::{Clock, Mesh, VirtualIps};
use catamaran_core::Timestamp;
use catamaran_core::health::Status;
use catamaran_core::model::{Check, Name, Protocol};
use catamaran_proxy::{Backend, Server, Shared, Signal, Snapshot, Target};

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// What the control plane works with, besides what the workers share.
pub struct Parts {
    /// Name servers to ask instead of those of the system.
    pub resolvers: Vec<SocketAddr>,
    /// Where the pages for machines are served.
    pub endpoint: Option<Endpoint>,
    /// Where the admin API is served.
    pub doors: Doors,
    /// Whether pages and API take new connections.
    pub open: watch::Receiver<bool>,
    /// The process around.
    pub host: Arc<dyn Host>,
    /// Puts other configurations in place.
    pub reloader: Arc<Reloader>,
    /// Servers that an operator added and removed, as the reloader knows them too.
    pub overlays: Arc<Overlays>,
    /// What happened lately.
    pub events: Arc<Events>,
    /// What processes before this one have counted.
    pub counted_before: CountedBefore,
    /// Copies what is to outlive the process, if somebody holds it.
    pub keeper: Option<Arc<Keeper>>,
    /// What is shown of the virtual addresses; the caller keeps it up to date.
    pub virtual_ips: VirtualIps,
    /// Replication.
    pub mesh: Mesh,
    /// Becomes [`Readiness::Ready`] when every checked server was checked once; draining is for the
    /// caller to say.
    pub readiness: watch::Sender<Readiness>,
}

/// Runs the control plane: health, names, the ends of affinity, the pages and the admin API. Never
/// returns; drop it to end it.
pub async fn run(shared: Arc<Shared>, parts: Parts) {
    let clock = Clock::starting_at(Timestamp::from_nanos(catamaran_sys::clock::now_nanos()));
    // Before the snapshot is looked at, so that none is missed.
    let snapshots = shared.changes();
    let names = Discovery::names_in(&shared.snapshot().config.backends);
    let discovery = Discovery::new(names, clock, fastrand::Rng::new());
    let (commands, commands_rx) = mpsc::channel(COMMANDS);
    #[cfg(feature = "etcd")]
    let fleet = crate::etcd::begin(&shared);
    let plane = plane_of(
        (&shared, clock),
        &parts,
        commands,
        #[cfg(feature = "etcd")]
        fleet.as_ref(),
    );
    let exported = Arc::new(ExportCounts::default());
    let metrics = Arc::new(PlaneMetrics::new(
        &plane,
        (discovery.counts(), Arc::clone(&exported)),
        parts.virtual_ips,
        parts.counted_before,
    ));
    let _keeping = keep(&plane, &metrics);
    let told = parts.readiness.subscribe();
    let (changes, changes_rx) = mpsc::channel(COMMANDS);
    let monitor = monitor(&plane, parts.readiness);
    let watching = monitor.run(PlaneNotices(Arc::clone(&shared)), commands_rx);
    let (expiring, asking) = (expire(&metrics), agent::ask_agents(&plane));
    let serving = serve(
        (parts.endpoint, parts.doors),
        &plane,
        &metrics,
        told,
        parts.open,
    );
    let (sampling, publishing) = (admin::sample(&plane), admin::publish(&plane));
    let (orders, orders_rx) = mpsc::channel(1);
    let dns = Arc::new(Dns::new(&parts.resolvers));
    let exporting = trace::export(&shared, clock, Arc::clone(&dns), &exported);
    let resolving = discovery.run(dns, changes, orders_rx);
    let telling = tell_down(&plane, orders.clone());
    #[cfg(feature = "etcd")]
    let belonging = crate::etcd::belong(fleet, &plane, orders.clone());
    #[cfg(not(feature = "etcd"))]
    let belonging = std::future::ready(());
    let following = Following {
        plane: Arc::clone(&plane),
        generation: 0,
        orders,
    };
    let applying = following.run(changes_rx, snapshots);
    let meshing = parts.mesh.run(&plane);
    tokio::join!(
        watching, serving, sampling, publishing, resolving, applying, expiring, asking, telling,
        exporting, meshing, belonging
    );
}

/// Who checks the servers.
fn monitor(plane: &Arc<Plane>, readiness: watch::Sender<Readiness>) -> Monitor<PlaneHooks> {
    let watched = all_watched(&plane.shared.snapshot());
    let hooks = PlaneHooks {
        plane: Arc::clone(plane),
        readiness,
        seen: HashMap::new(),
    };
    Monitor::new(watched, plane.clock, fastrand::Rng::new(), hooks)
}

/// What the admin API reads and steers.
fn plane_of(
    (shared, clock): (&Arc<Shared>, Clock),
    parts: &Parts,
    monitor: mpsc::Sender<Command>,
    #[cfg(feature = "etcd")] fleet: Option<&crate::etcd::Membership>,
) -> Arc<Plane> {
    Arc::new(Plane {
        shared: Arc::clone(shared),
        clock,
        started: clock.now(),
        readiness: parts.readiness.subscribe(),
        events: Arc::clone(&parts.events),
        checks: Checks::default(),
        rates: Arc::default(),
        stats: Stats::default(),
        host: Arc::clone(&parts.host),
        reloader: Arc::clone(&parts.reloader),
        overlays: Arc::clone(&parts.overlays),
        keeper: parts.keeper.clone(),
        drains: Drains::default(),
        monitor,
        virtual_ips: parts.virtual_ips.clone(),
        mesh: parts.mesh.clone(),
        streams: Streams::default(),
        persisting: tokio::sync::Mutex::default(),
        #[cfg(feature = "etcd")]
        fleet: fleet.map(|fleet| Arc::clone(&fleet.handle)),
    })
}

/// Starts copying what the next process is to have, if there is a place for it.
fn keep(plane: &Plane, metrics: &Arc<PlaneMetrics>) -> Option<Keeping> {
    let keeper = plane.keeper.as_ref()?;
    match keeper.start(Arc::clone(metrics) as _) {
        Ok(keeping) => Some(keeping),
        Err(error) => {
            tracing::error!(%error, "no thread for what is kept for the next process");
            None
        }
    }
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

async fn serve(
    (endpoint, doors): (Option<Endpoint>, Doors),
    plane: &Arc<Plane>,
    metrics: &Arc<PlaneMetrics>,
    told: watch::Receiver<Readiness>,
    open: watch::Receiver<bool>,
) {
    let source = || Arc::clone(metrics) as _;
    let machines = pages(source(), told.clone());
    let admin = admin::serve(doors, Arc::clone(plane), machines, open.clone());
    let pages = async {
        if let Some(endpoint) = endpoint {
            endpoint.serve(source(), told, open).await;
        }
    };
    tokio::join!(admin, pages);
}

async fn expire(metrics: &PlaneMetrics) {
    loop {
        tokio::time::sleep(EXPIRE_INTERVAL).await;
        metrics.expire_stick();
    }
}

/// Has the parts of the control plane follow what is found and what is configured.
struct Following {
    plane: Arc<Plane>,
    /// Configurations so far.
    generation: u64,
    orders: mpsc::Sender<Order>,
}

impl Following {
    async fn run(mut self, mut found: mpsc::Receiver<Found>, mut snapshots: watch::Receiver<()>) {
        let shared = Arc::clone(&self.plane.shared);
        loop {
            tokio::select! {
                Some(found) = found.recv() => self.put_servers(found).await,
                Ok(()) = snapshots.changed() => self.put_snapshot().await,
                rebuild = shared.rebuilds.next() => {
                    self.plane.tell_monitor(Command::Rebuild(rebuild)).await;
                }
            }
        }
    }

    /// Puts the addresses found into their backend and under watch.
    async fn put_servers(&self, found: Found) {
        let snapshot = self.plane.shared.snapshot();
        let Some(backend) = snapshot.backend(&found.backend) else {
            return;
        };
        if found.generation == self.generation {
            let servers = self.plane.overlays.over(&found.backend, found.servers);
            self.plane.set_servers(&snapshot, backend, &servers).await;
        }
    }

    /// Has names asked for and servers watched that another configuration names.
    async fn put_snapshot(&mut self) {
        let snapshot = self.plane.shared.snapshot();
        self.generation += 1;
        let names = Discovery::names_in(&snapshot.config.backends);
        // Discovery ends with us, not before.
        let _ = self.orders.send(Order::Names(names)).await;
        let watched = all_watched(&snapshot);
        self.plane.tell_monitor(Command::SetBackends(watched)).await;
        let is_there = |backend: &Name| snapshot.backend(backend).is_some();
        self.plane.checks.retain_backends(is_there);
    }
}

fn all_watched(snapshot: &Snapshot) -> Vec<Watched> {
    let backends = snapshot.backends.iter();
    backends.map(|backend| watched(snapshot, backend)).collect()
}

/// What the monitor is to watch of `backend`.
pub(crate) fn watched(snapshot: &Snapshot, backend: &Backend) -> Watched {
    let is_udp = snapshot.frontends.iter().any(|frontend| {
        frontend.model.protocol == Protocol::Udp && frontend.model.backend == Some(backend.id)
    });
    let server = |server: &Arc<Server>| WatchedServer {
        name: server.model.name.clone(),
        target: match &server.target {
            Target::Ip(address) => CheckTarget::Ip(*address),
            Target::Unix(path) => CheckTarget::Unix(path.clone()),
        },
        source: server.model.source.clone(),
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

/// Tells discovery of which backends servers are down, so that it asks for their names anew.
async fn tell_down(plane: &Plane, orders: mpsc::Sender<Order>) {
    let mut was_any = false;
    loop {
        tokio::time::sleep(LOOK_DOWN).await;
        let snapshot = plane.shared.snapshot();
        let is_down =
            |server: &Arc<Server>| server.state.is_checked_down() || server.state.is_refusing();
        let down = snapshot.backends.iter().filter(|backend| {
            let set = backend.set();
            set.servers.iter().any(is_down)
        });
        let down: Vec<Name> = down.map(|backend| backend.model.name.clone()).collect();
        let is_any = !down.is_empty();
        // The last time that nothing is down is told too.
        if is_any || was_any {
            let _ = orders.send(Order::Down(down)).await;
        }
        was_any = is_any;
    }
}

/// How often it is looked whether servers are down.
const LOOK_DOWN: Duration = Duration::from_millis(500);

/// What the monitor's verdicts do to the data plane.
struct PlaneHooks {
    plane: Arc<Plane>,
    readiness: watch::Sender<Readiness>,
    /// What was last seen of each server that is not as it should be.
    seen: HashMap<(Name, Name), Seen>,
}

/// What passive observation says of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    refusing: bool,
    ejected: bool,
}

impl PlaneHooks {
    /// Notes the events that made the rotation change, but for those of active checks.
    fn note_events(&mut self, backend: &Backend) {
        let of = &backend.model.name;
        let set = backend.set();
        let events = &self.plane.events;
        let mut after = HashMap::new();
        for server in &set.servers {
            let name = &server.model.name;
            let key = (of.clone(), name.clone());
            let was = self.seen.get(&key).copied().unwrap_or_default();
            let is = Seen {
                refusing: server.state.is_refusing(),
                ejected: server.state.is_ejected(),
            };
            for (was, is, begins, ends) in [
                (
                    was.refusing,
                    is.refusing,
                    Kind::ServerRefusing,
                    Kind::ServerAccepting,
                ),
                (
                    was.ejected,
                    is.ejected,
                    Kind::ServerEjected,
                    Kind::ServerReadmitted,
                ),
            ] {
                // A server that checks took down is no longer counted as refusing, which does not
                // say that it accepts.
                let is_news =
                    is || ends != Kind::ServerAccepting || !server.state.is_checked_down();
                if was != is && is_news {
                    let kind = if is { begins } else { ends };
                    events.note_server(kind, backend.model.name.as_str(), name.as_str(), "");
                }
            }
            if is != Seen::default() {
                after.insert(key, is);
            }
        }
        self.seen.retain(|(backend, _), _| backend != of);
        self.seen.extend(after);
        let is_there = |name: &Name| set.by_name(name).is_some();
        self.plane.checks.retain(&backend.model.name, is_there);
    }
}

impl Hooks for PlaneHooks {
    fn rotation_changed(&mut self, backend: &Name) -> Option<Timestamp> {
        let snapshot = self.plane.shared.snapshot();
        let backend = snapshot.backend(backend)?;
        self.seen
            .retain(|(of, _), _| snapshot.backend(of).is_some());
        self.note_events(backend);
        backend.rebuild(self.plane.clock.now())
    }

    fn status_changed(&mut self, backend: &Name, server: &Name, status: Status) {
        let shared = &self.plane.shared;
        let snapshot = shared.snapshot();
        let Some(backend) = snapshot.backend(backend) else {
            return;
        };
        let (kind, reason) = match status {
            Status::Up => (Kind::ServerUp, String::new()),
            Status::Down => {
                let checks = self.plane.checks.of(&backend.model.name);
                let reason = checks.get(server).map(|check| check.reason.clone());
                (Kind::ServerDown, reason.unwrap_or_default())
            }
        };
        let events = &self.plane.events;
        events.note_server(kind, backend.model.name.as_str(), server.as_str(), reason);
        let word = if status == Status::Up { "up" } else { "down" };
        self.plane
            .mesh
            .tell_health(&backend.model.name, server, word);
        let set = backend.set();
        let Some(server) = set.by_name(server) else {
            return;
        };
        server.metrics.count_change(status);
        if status == Status::Down {
            shared.server_down(backend, server);
        }
    }

    fn checked(&mut self, backend: &Name, server: &Name, finding: &Finding) {
        let snapshot = self.plane.shared.snapshot();
        let of = snapshot.backend(backend).map(|backend| backend.set());
        // A server that is gone meanwhile is not remembered for it.
        if let Some(known) = of.as_ref().and_then(|set| set.by_name(server)) {
            known.metrics.count_check(finding.into());
            let now = self.plane.clock.now();
            self.plane.checks.note(now, backend, server, finding);
        }
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
    use crate::admin::Upgraded;
    use crate::reload::Drained;
    use catamaran_core::model::{
        self, BackendId, Config, Frontend, Health, ListenerKey, ServerAddr,
    };
    use catamaran_proxy::{ListenerSockets, Proxy};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpSocket, TcpStream};
    use tokio::sync::oneshot;

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

    struct NoHost;

    impl Host for NoHost {
        fn log_level(&self) -> String {
            "info".to_owned()
        }

        fn set_log_level(&self, _: &str) -> Result<(), String> {
            Ok(())
        }

        fn drain(&self) -> Result<(), String> {
            Ok(())
        }

        fn upgrade(&self, _: Option<std::path::PathBuf>) -> oneshot::Receiver<Upgraded> {
            oneshot::channel().1
        }
    }

    fn parts(
        shared: &Arc<Shared>,
        endpoint: Option<Endpoint>,
        readiness: watch::Sender<Readiness>,
    ) -> Parts {
        let (overlays, events) = (Arc::default(), Arc::default());
        let ports = mpsc::channel(1).0;
        let (overlays_too, events_too) = (Arc::clone(&overlays), Arc::clone(&events));
        let shared = Arc::clone(shared);
        Parts {
            resolvers: vec![([127, 0, 0, 1], 9).into()],
            endpoint,
            doors: Doors::default(),
            open: watch::channel(true).1,
            host: Arc::new(NoHost),
            reloader: Reloader::new(
                shared,
                None,
                ports,
                |_| {},
                (overlays_too, Drained::default()),
                events_too,
            ),
            overlays,
            events,
            counted_before: CountedBefore::default(),
            keeper: None,
            virtual_ips: VirtualIps::default(),
            mesh: Mesh::new(Arc::default(), false),
            readiness,
        }
    }

    async fn page(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nConnection: close\r\n\r\n";
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
        let running = run(
            Arc::clone(&shared),
            parts(&shared, Some(endpoint), readiness),
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
            assert!(down.contains("status=\"down\"} 1\n"));

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
        let running = run(Arc::clone(&shared), parts(&shared, None, readiness));
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
