//! A scripted origin: a real listening server that answers, delays, cuts and breaks as told, and
//! records every byte it got.
//!
//! ```no_run
//! use catamaran_testkit::{Origin, Reply};
//! let origin = Origin::http(|request| Reply::new(200, request.target.clone())).start()?;
//! assert_eq!(catamaran_testkit::http_get(origin.addr(), "/a").unwrap().text(), "/a");
//! assert_eq!(origin.requests().len(), 1);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! One thread accepts, each connection has a thread of its own. Dropping an origin stops it.

mod connection;
mod program;
mod reply;
#[cfg(test)]
mod tests;
pub mod tunnel;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

pub use self::program::OriginProcess;
pub use self::reply::{Ending, Reply, Tunnel};
use crate::client::make_narrow;
use crate::message::Request;
use crate::port::ReservedPort;
use crate::wire::WireError;

type Script = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

/// What happened on one connection.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Every byte received.
    pub bytes: Vec<u8>,
    /// The requests read, in order.
    pub requests: Vec<Request>,
    /// Why reading ended, once it has.
    pub ended: Option<WireError>,
}

#[derive(Clone)]
enum Service {
    Http(Script),
    Tcp(Tunnel),
}

#[derive(Clone)]
struct Plan {
    service: Service,
    addr: SocketAddr,
    backlog: i32,
    idle: Option<Duration>,
    answers_early: bool,
    drops_reused: bool,
    is_narrow: bool,
    keeps_records: bool,
}

/// How an origin will behave; [`Builder::start`] makes it real.
#[derive(Clone)]
pub struct Builder {
    plan: Plan,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("addr", &self.plan.addr)
            .finish_non_exhaustive()
    }
}

impl Builder {
    fn new(service: Service) -> Self {
        Self {
            plan: Plan {
                service,
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                backlog: 1024,
                idle: None,
                answers_early: false,
                drops_reused: false,
                is_narrow: false,
                keeps_records: true,
            },
        }
    }

    /// Listens here instead of on a port of 127.0.0.1 that the kernel chooses.
    #[must_use]
    pub const fn at(mut self, addr: SocketAddr) -> Self {
        self.plan.addr = addr;
        self
    }

    /// Lets this many connections wait to be accepted.
    #[must_use]
    pub const fn backlog(mut self, backlog: i32) -> Self {
        self.plan.backlog = backlog;
        self
    }

    /// Closes a connection that has been idle this long between requests.
    #[must_use]
    pub const fn idle_timeout(mut self, idle: Duration) -> Self {
        self.plan.idle = Some(idle);
        self
    }

    /// Asks the script as soon as the head is there; the body is read as the reply says.
    #[must_use]
    pub const fn answers_early(mut self) -> Self {
        self.plan.answers_early = true;
        self
    }

    /// Closes a reused connection at the moment its next request arrives, without reading it:
    /// the worst moment, the sender gets a reset for a request nobody has seen.
    #[must_use]
    pub const fn drops_reused_connections(mut self) -> Self {
        self.plan.drops_reused = true;
        self
    }

    /// Has little room: what is sent to it and not read soon stays with the sender.
    #[must_use]
    pub const fn narrow(mut self) -> Self {
        self.plan.is_narrow = true;
        self
    }

    /// Keeps neither bytes nor requests nor commits, for origins that serve a great many.
    #[must_use]
    pub const fn without_records(mut self) -> Self {
        self.plan.keeps_records = false;
        self
    }

    /// Starts listening and serving.
    pub fn start(mut self) -> io::Result<Origin> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let port = match self.plan.addr == any {
            true => Some(ReservedPort::any()?),
            false => None,
        };
        if let Some(port) = &port {
            self.plan.addr = port.addr();
        }
        Origin::start(self.plan, Arc::default(), port)
    }
}

/// A running origin.
pub struct Origin {
    /// Keeps the port while nothing listens on it.
    port: Option<ReservedPort>,
    plan: Plan,
    state: Arc<State>,
    listener: Arc<TcpListener>,
    acceptor: Option<JoinHandle<()>>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("addr", &self.plan.addr)
            .finish_non_exhaustive()
    }
}

/// What the threads of one origin share.
#[derive(Default)]
struct State {
    records: Mutex<Records>,
    changed: Condvar,
    open: Mutex<HashMap<u64, TcpStream>>,
    accepted: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Records {
    connections: BTreeMap<u64, Recording>,
    commits: BTreeMap<Vec<u8>, u64>,
}

impl State {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// An HTTP/1.1 origin that answers as the script says.
    pub fn http(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Builder {
        Builder::new(Service::Http(Arc::new(script)))
    }

    /// An HTTP/1.1 origin that always gives this answer.
    #[must_use]
    pub fn fixed(status: u16, body: &str) -> Builder {
        let reply = Reply::new(status, body);
        Self::http(move |_| reply.clone())
    }

    /// A TCP server that hands each connection to the tunnel.
    #[must_use]
    pub fn tcp(tunnel: Tunnel) -> Builder {
        Builder::new(Service::Tcp(tunnel))
    }

    fn start(mut plan: Plan, state: Arc<State>, port: Option<ReservedPort>) -> io::Result<Self> {
        let listener = Arc::new(listen(&plan)?);
        plan.addr = listener.local_addr()?;
        let acceptor = {
            let (plan, state, listener) = (plan.clone(), Arc::clone(&state), Arc::clone(&listener));
            thread::spawn(move || accept(&plan, &state, &listener))
        };
        Ok(Self {
            port,
            plan,
            state,
            listener,
            acceptor: Some(acceptor),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.plan.addr
    }

    /// Connections accepted since the start.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.state.accepted.load(Ordering::Relaxed)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.state.open().len()
    }

    /// What happened on each connection, in the order they were accepted.
    #[must_use]
    pub fn recordings(&self) -> Vec<Recording> {
        self.state.records().connections.values().cloned().collect()
    }

    /// All requests read, grouped by connection in the order they were accepted.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.recordings()
            .into_iter()
            .flat_map(|recording| recording.requests)
            .collect()
    }

    /// How often each POST body has been read whole: each must be 1 if nothing is sent twice.
    #[must_use]
    pub fn commits(&self) -> BTreeMap<Vec<u8>, u64> {
        self.state.records().commits.clone()
    }

    /// Forgets what was recorded of connections that have ended, and the commits.
    pub fn forget(&self) {
        let mut records = self.state.records();
        records.connections.retain(|_, recording| {
            recording.bytes.clear();
            recording.requests.clear();
            recording.ended.is_none()
        });
        records.commits.clear();
    }

    /// Waits until this many requests have been read in all; says whether they came in time.
    #[must_use]
    pub fn wait_for_requests(&self, count: usize, patience: Duration) -> bool {
        self.wait(patience, |records| {
            records
                .connections
                .values()
                .map(|recording| recording.requests.len())
                .sum::<usize>()
                >= count
        })
    }

    /// Waits until every connection accepted so far has ended; says whether they did in time.
    #[must_use]
    pub fn wait_until_idle(&self, patience: Duration) -> bool {
        self.wait(patience, |records| {
            records
                .connections
                .values()
                .all(|recording| recording.ended.is_some())
        })
    }

    fn wait(&self, patience: Duration, is_met: impl Fn(&Records) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut records = self.state.records();
        while !is_met(&records) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            records = self
                .state
                .changed
                .wait_timeout(records, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }

    /// Closes all connections that are open now; it goes on listening.
    pub fn close_connections(&self) {
        for stream in self.state.open().values() {
            // A connection that is already gone needs no closing.
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// Resets all connections that are open now; it goes on listening.
    pub fn reset_connections(&self) {
        for stream in self.state.open().values() {
            // The same: whoever is gone needs no reset.
            rustix::net::connect_unspec(stream).ok();
        }
    }

    /// Stops listening and closes all connections. New ones are refused from now on.
    pub fn stop(&mut self) {
        self.stop_listening();
        self.close_connections();
    }

    /// Stops listening and resets all connections, as the death of a process does.
    pub fn crash(&mut self) {
        self.stop_listening();
        self.reset_connections();
    }

    /// Listens again on the same port, after [`Origin::stop`] or [`Origin::crash`]. Records stay.
    pub fn restart(&mut self) -> io::Result<()> {
        self.stop();
        self.state.stopping.store(false, Ordering::SeqCst);
        let port = self.port.take();
        *self = Self::start(self.plan.clone(), Arc::clone(&self.state), port)?;
        Ok(())
    }

    fn stop_listening(&mut self) {
        let Some(acceptor) = self.acceptor.take() else {
            return;
        };
        self.state.stopping.store(true, Ordering::SeqCst);
        // On Linux this wakes the accepting thread; it fails only if that has ended already.
        SockRef::from(self.listener.as_ref())
            .shutdown(Shutdown::Both)
            .ok();
        acceptor.join().expect("accepting does not panic");
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(plan: &Plan) -> io::Result<TcpListener> {
    let domain = Domain::for_address(plan.addr);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if plan.is_narrow {
        make_narrow(&socket)?;
    }
    socket.bind(&plan.addr.into())?;
    socket.listen(plan.backlog)?;
    Ok(socket.into())
}

fn accept(plan: &Plan, state: &Arc<State>, listener: &TcpListener) {
    while !state.stopping.load(Ordering::SeqCst) {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let id = state.accepted.fetch_add(1, Ordering::Relaxed);
        let Ok(handle) = stream.try_clone() else {
            continue;
        };
        state.open().insert(id, handle);
        state.records().connections.entry(id).or_default();
        let (plan, state) = (plan.clone(), Arc::clone(state));
        thread::spawn(move || {
            let ended = connection::serve(&plan, &state, id, stream);
            state.open().remove(&id);
            let mut records = state.records();
            if !plan.keeps_records {
                records.connections.remove(&id);
            } else if let Some(recording) = records.connections.get_mut(&id) {
                recording.ended = Some(ended);
            }
            drop(records);
            state.changed.notify_all();
        });
    }
}
