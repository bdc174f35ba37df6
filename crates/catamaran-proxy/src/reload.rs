//! Putting another configuration in place of the one that is served.
//!
//! ```text
//!   plan        build the new snapshot beside the old one; find out which listeners come and go
//!   (the caller opens the sockets of those that come)
//!   apply       shared parts follow -> snapshot swapped -> workers told -> closed listeners emptied
//! ```
//! Until `apply` nothing has changed, so that whatever fails before it leaves the old configuration
//! as it was. An exchange ends with the snapshot that it began with; a connection takes the new one
//! with its next request.

use crate::proxy::{ListenerSockets, StartError};
use crate::state::{Frontend, ListenerId, Listeners, LogError, Shared, Snapshot, lock};
use crate::worker::{Change, Command, Opened, Worker};
use catamaran_core::model::{Config, ListenerKey, Name, Protocol};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A configuration that is ready to be served.
#[derive(Debug)]
pub struct Plan {
    before: Arc<Snapshot>,
    snapshot: Arc<Snapshot>,
    listeners: ListenerPlan,
    workers: usize,
}

/// A listener that needs sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedListener {
    /// What its sockets are known by.
    pub key: ListenerKey,
    /// The frontend that it is for.
    pub frontend: Name,
    /// Where it is to listen.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// Why a planned configuration is not served.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another one was applied meanwhile, or the process winds down.
    #[error("another configuration was applied meanwhile, or the process is ending; try again")]
    Stale,
    /// The sockets are not those that were wanted.
    #[error(transparent)]
    Sockets(#[from] StartError),
}

/// What becomes of each listener.
#[derive(Debug, Default)]
struct ListenerPlan {
    kept: Vec<(ListenerId, Arc<Frontend>)>,
    /// Its sockets go to another frontend, under another id.
    moved: Vec<(ListenerId, ListenerId, Arc<Frontend>)>,
    opened: Vec<(ListenerId, Arc<Frontend>, WantedListener)>,
    closed: Vec<(ListenerId, ListenerKey)>,
    open: HashMap<ListenerKey, (ListenerId, Name)>,
    /// The worker of each socket, of those that are open already.
    owners: HashMap<ListenerKey, Vec<usize>>,
    last_id: ListenerId,
}

/// A socket that goes from one worker to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    listener: ListenerId,
    from: usize,
    to: usize,
}

impl Plan {
    /// The listeners that need sockets.
    pub fn wanted(&self) -> impl Iterator<Item = &WantedListener> {
        self.listeners.opened.iter().map(|(_, _, wanted)| wanted)
    }

    /// The listeners whose sockets are closed.
    pub fn closed(&self) -> impl Iterator<Item = &ListenerKey> {
        self.listeners.closed.iter().map(|(_, key)| key)
    }

    /// How many workers are to take clients.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.workers
    }

    /// What will be served.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

impl Shared {
    /// Makes `config` ready to be served in place of what is.
    ///
    /// # Errors
    /// [`LogError`] when an access log cannot be opened.
    pub fn plan(&self, config: Config) -> Result<Plan, LogError> {
        let before = self.snapshot();
        let workers = config.process.workers.map(NonZeroUsize::get);
        let snapshot = before.successor(config, &self.process, Worker::now())?;
        Ok(Plan {
            listeners: self.plan_listeners(&snapshot),
            workers: workers
                .unwrap_or_else(|| self.active_workers())
                .min(self.max_workers()),
            snapshot: Arc::new(snapshot),
            before,
        })
    }

    /// Serves what `plan` has made ready, with `sockets` for the listeners that it wants. Returns
    /// when the sockets of removed listeners are closed, or that took too long.
    ///
    /// # Errors
    /// [`ApplyError`], with nothing changed.
    pub async fn apply(
        self: &Arc<Self>,
        plan: Plan,
        sockets: Vec<ListenerSockets>,
    ) -> Result<(), ApplyError> {
        let Plan {
            before,
            snapshot,
            mut listeners,
            workers,
        } = plan;
        if !Arc::ptr_eq(&before, &self.snapshot()) || self.is_draining() {
            return Err(ApplyError::Stale);
        }
        let opened = listeners.spread(sockets, workers)?;
        self.start_workers(workers, Vec::new())?;
        let passes = listeners.share_out(workers);
        let is_uneven = listeners.is_uneven(workers);
        let process = &snapshot.config.process;
        self.connections.set_max(process.max_connections);
        let histograms = process.server_histograms;
        self.process.layout.set_max_histograms(histograms);
        self.trace_by(&snapshot.config);
        let gone_servers = snapshot.take_over(&before, Worker::now());
        let change = Arc::new(Change {
            kept: listeners.kept,
            moved: listeners.moved,
            closed: listeners.closed.into_iter().map(|(id, _)| id).collect(),
            gone_servers,
            snapshot: Arc::clone(&snapshot),
        });
        self.crew.set_uneven(is_uneven);
        *lock(&self.listeners) = Listeners {
            open: listeners.open,
            owners: listeners.owners,
            last_id: listeners.last_id,
        };
        drop(before);
        self.set_snapshot(snapshot);
        let (closing, mut closed) = mpsc::channel(1);
        let mut opened = opened.into_iter();
        for worker in 0..self.started_workers() {
            let opened = opened.next().unwrap_or_default();
            let (change, closing) = (Arc::clone(&change), closing.clone());
            self.command(
                worker,
                Command::Reload {
                    change,
                    opened,
                    closing,
                },
            );
        }
        for pass in passes {
            let done = closing.clone();
            let (listener, to) = (pass.listener, pass.to);
            self.command(pass.from, Command::Pass { listener, to, done });
        }
        drop((change, closing));
        // Nobody sends: the channel ends when every worker is done with it.
        if tokio::time::timeout(CLOSE_PATIENCE, closed.recv())
            .await
            .is_err()
        {
            tracing::warn!(
                "sockets of listeners are not closed or passed on yet; workers are busy"
            );
        }
        Ok(())
    }

    /// Copies of the sockets of all listeners that are open, for who keeps them for another process.
    /// Hold up reloads meanwhile: a copy of a socket that is closed would take clients in for nobody.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub async fn copy_sockets(&self) -> io::Result<Vec<ListenerSockets>> {
        for _ in 0..COPY_TRIES {
            let copies = self.copy_sockets_now()?;
            let is_whole = {
                let held = lock(&self.listeners);
                let count = |key| held.owners.get(key).map_or(0, Vec::len);
                copies.iter().all(|c| c.sockets.len() == count(&c.key))
            };
            if is_whole {
                return Ok(copies);
            }
            // A worker that has just begun has not opened its own yet, or one is on its way.
            tokio::time::sleep(COPY_PAUSE).await;
        }
        self.copy_sockets_now()
    }

    fn copy_sockets_now(&self) -> io::Result<Vec<ListenerSockets>> {
        let mut groups: HashMap<ListenerId, Vec<OwnedFd>> = HashMap::new();
        for worker in &self.listening {
            for (id, socket) in worker.copies_of_all()? {
                groups.entry(id).or_default().push(socket);
            }
        }
        let held = lock(&self.listeners);
        let all = held.open.iter().map(|(key, (id, _))| ListenerSockets {
            key: key.clone(),
            sockets: groups.remove(id).unwrap_or_default(),
        });
        Ok(all.collect())
    }

    /// Takes the sockets of the first configuration; returns those of each worker.
    pub(crate) fn open_first(
        &self,
        sockets: Vec<ListenerSockets>,
    ) -> Result<Vec<Vec<Opened>>, StartError> {
        let mut plan = self.plan_listeners(&self.snapshot());
        let workers = self.snapshot().config.process.workers;
        let workers = workers.map(NonZeroUsize::get);
        let most = || sockets.iter().map(|group| group.sockets.len()).max();
        let workers = workers.or_else(most).unwrap_or(1);
        let opened = plan.spread(sockets, workers)?;
        self.crew.set_uneven(plan.is_uneven(workers));
        *lock(&self.listeners) = Listeners {
            open: plan.open,
            owners: plan.owners,
            last_id: plan.last_id,
        };
        Ok(opened)
    }

    /// Finds out what becomes of the listeners there are when `snapshot` is served.
    fn plan_listeners(&self, snapshot: &Snapshot) -> ListenerPlan {
        let before = self.snapshot();
        let held = lock(&self.listeners);
        let mut plan = ListenerPlan {
            last_id: held.last_id,
            ..ListenerPlan::default()
        };
        for frontend in &snapshot.frontends {
            for place in 0..frontend.model.listeners.len() {
                let key = ListenerKey::of(&frontend.model, place);
                let id = plan.place(&key, frontend, place, held.open.get(&key), &before);
                let name = frontend.model.name.clone();
                plan.open.insert(key, (id, name));
            }
        }
        let closed = held.open.iter();
        let closed = closed.filter(|(key, _)| !plan.open.contains_key(*key));
        plan.closed = closed.map(|(key, (id, _))| (*id, key.clone())).collect();
        let owners = held.owners.iter();
        let owners = owners.filter(|(key, _)| plan.open.contains_key(*key));
        plan.owners = owners
            .map(|(key, all)| (key.clone(), all.clone()))
            .collect();
        plan
    }
}

impl ListenerPlan {
    /// Says what becomes of one listener; returns its id.
    fn place(
        &mut self,
        key: &ListenerKey,
        frontend: &Arc<Frontend>,
        place: usize,
        held: Option<&(ListenerId, Name)>,
        before: &Snapshot,
    ) -> ListenerId {
        if let Some((id, name)) = held {
            let protocol = before.frontend(name).map(|before| before.model.protocol);
            if *name == frontend.model.name && protocol == Some(frontend.model.protocol) {
                self.kept.push((*id, Arc::clone(frontend)));
                return *id;
            }
        }
        self.last_id += 1;
        match held {
            Some((id, _)) => self.moved.push((*id, self.last_id, Arc::clone(frontend))),
            None => {
                let wanted = WantedListener {
                    key: key.clone(),
                    frontend: frontend.model.name.clone(),
                    address: frontend.model.listeners[place].address,
                    protocol: frontend.model.protocol,
                };
                self.opened
                    .push((self.last_id, Arc::clone(frontend), wanted));
            }
        }
        self.last_id
    }

    /// The sockets of new listeners, by worker. Sockets of others are closed.
    fn spread(
        &mut self,
        sockets: Vec<ListenerSockets>,
        workers: usize,
    ) -> Result<Vec<Vec<Opened>>, StartError> {
        let mut groups: HashMap<_, _> = sockets
            .into_iter()
            .map(|group| (group.key, group.sockets))
            .collect();
        let mut opened: Vec<Vec<Opened>> = (0..workers).map(|_| Vec::new()).collect();
        for (id, frontend, wanted) in &self.opened {
            let group = groups.remove(&wanted.key).unwrap_or_default();
            if group.is_empty() {
                return Err(StartError::Sockets);
            }
            let owners = (0..group.len()).map(|place| place % workers);
            self.owners.insert(wanted.key.clone(), owners.collect());
            for (place, socket) in group.into_iter().enumerate() {
                opened[place % workers].push(Opened {
                    id: *id,
                    frontend: Arc::clone(frontend),
                    socket,
                });
            }
        }
        Ok(opened)
    }

    /// Says which sockets go to which worker when there are so many. Those of datagrams stay where
    /// they are: their flows cannot move.
    fn share_out(&mut self, workers: usize) -> Vec<Pass> {
        let mut passes = Vec::new();
        for (key, owners) in &mut self.owners {
            let Some((listener, _)) = self.open.get(key) else {
                continue;
            };
            if key.is_udp() {
                continue;
            }
            for (place, owner) in owners.iter_mut().enumerate() {
                let to = place % workers;
                if *owner != to {
                    passes.push(Pass {
                        listener: *listener,
                        from: *owner,
                        to,
                    });
                    *owner = to;
                }
            }
        }
        passes
    }

    /// Whether some listener has fewer sockets than there are workers.
    fn is_uneven(&self, workers: usize) -> bool {
        self.owners.values().any(|owners| owners.len() < workers)
    }
}

/// How often sockets are looked for that some worker is to have, and the time between: two seconds
/// at most, after which those there are must do.
const COPY_TRIES: usize = 100;
const COPY_PAUSE: Duration = Duration::from_millis(20);
/// How long closing the sockets of removed listeners is waited for: connections that wait to be
/// accepted are served first.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Proxy;
    use catamaran_core::model::{self, BackendId, ServerAddr};
    use catamaran_core::server::Admin;
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::time::Instant;

    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A server that says its name, then echoes.
    fn server(name: &'static str) -> model::Server {
        let listener = TcpListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.write_all(name.as_bytes()).unwrap();
                std::thread::spawn(move || {
                    let mut back = stream.try_clone().unwrap();
                    io::copy(&mut stream, &mut back)
                });
            }
        });
        model::Server {
            name: name.into(),
            ..model::Server::new(ServerAddr::Ip(address))
        }
    }

    fn config(servers: Vec<model::Server>) -> Config {
        let backend = model::Backend::new("app".into(), servers);
        Config {
            frontends: vec![model::Frontend::new(
                "web".into(),
                Protocol::Tcp,
                vec![ANY],
                BackendId(0),
            )],
            backends: vec![backend],
            ..Config::default()
        }
    }

    /// A proxy of two workers, and where it listens.
    fn start(config: Config) -> (Proxy, SocketAddr) {
        let sockets = catamaran_sys::socket::listen_group(ANY, 2, 128).unwrap();
        let address = catamaran_sys::socket::local_addr(sockets[0].as_fd()).unwrap();
        let key = ListenerKey::of(&config.frontends[0], 0);
        let listeners = vec![ListenerSockets { key, sockets }];
        (Proxy::start(config, listeners).unwrap(), address)
    }

    /// A connection, and the server it came to.
    fn connect(address: SocketAddr) -> (TcpStream, String) {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut name = [0];
        stream.read_exact(&mut name).unwrap();
        (stream, String::from_utf8(name.to_vec()).unwrap())
    }

    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[tokio::test]
    async fn a_tunnel_outlives_the_snapshot_it_began_with() {
        let servers = vec![server("a")];
        let (proxy, address) = start(config(servers.clone()));
        let (mut tunnel, _) = connect(address);
        let shared = proxy.shared();
        let (old, frontend) = {
            let snapshot = shared.snapshot();
            let frontend = Arc::downgrade(&snapshot.frontends[0]);
            (Arc::downgrade(&snapshot), frontend)
        };
        let mut next = config(servers);
        next.backends[0].max_idle = 7;
        let plan = shared.plan(next).unwrap();
        assert_eq!((plan.wanted().count(), plan.closed().count()), (0, 0));
        shared.apply(plan, Vec::new()).await.unwrap();
        let is_gone = || old.strong_count() == 0 && frontend.strong_count() == 0;
        eventually("the old snapshot to be freed", is_gone);
        tunnel.write_all(b"x").unwrap();
        let mut back = [0];
        tunnel.read_exact(&mut back).unwrap();
        let set = shared.snapshot().backends[0].set().servers.clone();
        assert_eq!((&back, set[0].state.in_flight()), (b"x", 1));
    }

    #[tokio::test]
    async fn a_plan_that_another_one_overtook_is_not_applied() {
        let (proxy, _) = start(config(vec![server("a")]));
        let shared = proxy.shared();
        let late = shared.plan(config(vec![server("b")])).unwrap();
        let first = shared.plan(config(vec![server("c")])).unwrap();
        shared.apply(first, Vec::new()).await.unwrap();
        let refused = shared.apply(late, Vec::new()).await;
        assert!(matches!(refused, Err(ApplyError::Stale)), "{refused:?}");
        assert!(shared.left(&"app".into(), &"c".into()).is_ok());
    }

    #[test]
    fn a_server_that_drains_keeps_what_it_has_and_gets_nothing_new() {
        let (proxy, address) = start(config(vec![server("a"), server("b")]));
        let shared = proxy.shared();
        let (app, a, b) = ("app".into(), "a".into(), "b".into());
        let mut held = Vec::new();
        while !held.iter().any(|(_, name)| name == "a") {
            held.push(connect(address));
        }
        shared.set_admin_state(&app, &a, Admin::Drain).unwrap();
        let before = shared.left(&app, &a).unwrap().in_flight;
        assert!(before >= 1);
        for _ in 0..20 {
            assert_eq!(connect(address).1, "b");
        }
        assert_eq!(shared.left(&app, &a).unwrap().in_flight, before);
        shared.end_server(&app, &a).unwrap();
        let is_idle = || shared.left(&app, &a).unwrap().in_flight == 0;
        eventually("the server to have nothing left", is_idle);

        shared.set_admin_state(&app, &a, Admin::Ready).unwrap();
        shared.set_weight(&app, &b, model::Weight::new(0)).unwrap();
        assert_eq!(connect(address).1, "a");
        assert!(shared.left(&app, &"c".into()).is_err());
    }
}
