//! Standing in for a neighbour whose loop stalls.
//!
//! A connection in the queue of a stalled worker's socket would wait as long as the stall lasts. Each
//! worker stamps its pulse, and looks at that of the next one: while it is too old, it accepts from
//! copies of that worker's sockets too. If the next one stalls, the one after it is looked at as well.

use super::listening::{Listeners, Slot, admit, next_connection, pause_after};
use super::{Vital, Worker};
use crate::io::Acceptor;
use catamaran_core::Timestamp;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::watch;

/// A neighbour that is stood in for.
#[derive(Debug)]
struct Help {
    neighbour: usize,
    /// When its stall was noticed, and for how long it had stood still by then.
    noticed: (Timestamp, Duration),
    /// Ends the accepting when dropped.
    _over: watch::Sender<()>,
}

/// Stamps this worker's pulse and looks after its neighbours, for ever.
pub(crate) async fn keep_pulse(worker: Rc<Worker>, listeners: Rc<Listeners>) {
    let _vital = Vital;
    let mut helps = Vec::new();
    let mut last = Worker::now();
    loop {
        tokio::time::sleep(BEAT).await;
        let now = Worker::now();
        worker.shared.pulses[worker.index].beat(now);
        let late = now.saturating_since(last).saturating_sub(BEAT);
        worker.metrics.lag.note(late);
        // Who was late itself knows nothing of others: the machine or the process may have slept.
        let is_fit = now.saturating_since(last) < STALL / 2;
        last = now;
        if is_fit {
            look(&worker, &listeners, &mut helps, now);
        }
    }
}

/// Whether the worker of this index stalls.
pub(crate) fn is_stalled(worker: &Worker, index: usize, now: Timestamp) -> bool {
    worker.shared.pulses[index].since(now) >= STALL
}

fn look(worker: &Rc<Worker>, listeners: &Listeners, helps: &mut Vec<Help>, now: Timestamp) {
    let is_stalled = |index| is_stalled(worker, index, now);
    helps.retain(|help| {
        let goes_on = is_stalled(help.neighbour);
        if !goes_on {
            let (noticed, silent) = help.noticed;
            let stalled = silent + now.saturating_since(noticed);
            tracing::info!(worker = help.neighbour, ?stalled, "a worker turns again");
        }
        goes_on
    });
    if worker.is_draining.get() {
        return;
    }
    let count = worker.shared.started_workers();
    let next = (1..count).map(|step| (worker.index + step) % count);
    for neighbour in next.take_while(|&index| is_stalled(index)) {
        if helps.iter().all(|help| help.neighbour != neighbour) {
            helps.push(begin(worker, listeners, neighbour, now));
        }
    }
}

fn begin(worker: &Rc<Worker>, listeners: &Listeners, neighbour: usize, now: Timestamp) -> Help {
    let silent = worker.shared.pulses[neighbour].since(now);
    tracing::warn!(
        worker = neighbour,
        ?silent,
        "a worker stalls; a neighbour accepts in its place"
    );
    worker.metrics.stalls.add_alone(1);
    let (over, is_over) = watch::channel(());
    for (listener, socket) in worker.shared.listening[neighbour].copies() {
        let Some(slot) = listeners.find(listener) else {
            continue;
        };
        tokio::task::spawn_local(accept_for(Rc::clone(worker), slot, socket, is_over.clone()));
    }
    Help {
        neighbour,
        noticed: (now, silent),
        _over: over,
    }
}

/// Accepts from a neighbour's socket until it turns again. What waits then is its own business.
async fn accept_for(
    worker: Rc<Worker>,
    slot: Rc<Slot>,
    socket: OwnedFd,
    mut over: watch::Receiver<()>,
) {
    let listener = match Acceptor::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot accept in place of a neighbour");
            return;
        }
    };
    let mut over = std::pin::pin!(over.changed());
    let mut is_over = false;
    loop {
        match next_connection(&listener, over.as_mut(), &mut is_over).await {
            None => return,
            Some(Ok((stream, peer))) => {
                worker.metrics.adopted.add_alone(1);
                admit(&worker, &slot, stream, peer).await;
            }
            Some(Err(error)) => pause_after(&worker, &slot, &error).await,
        }
    }
}

/// How often a worker stamps its pulse.
const BEAT: Duration = Duration::from_millis(50);
/// Age of a pulse from which its worker counts as stalled.
const STALL: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Command;
    use crate::{ListenerSockets, Proxy};
    use catamaran_core::model::{self, BackendId, Config, ListenerKey, Name, Protocol, ServerAddr};
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener, TcpStream};
    use std::os::fd::AsFd as _;
    use std::sync::mpsc;
    use std::time::Instant;

    /// Longer than anything here takes on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(20);
    const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

    /// A server that says `ok` and closes.
    fn server() -> SocketAddr {
        let listener = StdListener::bind(ANY).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                stream.unwrap().write_all(b"ok").unwrap();
            }
        });
        address
    }

    /// A proxy of two workers before that server, and where it listens.
    fn proxy() -> (Proxy, SocketAddr) {
        let server = model::Server::new(ServerAddr::Ip(server()));
        let backend = model::Backend::new(Name::new("app"), vec![server]);
        let frontend =
            model::Frontend::new(Name::new("web"), Protocol::Tcp, vec![ANY], BackendId(0));
        let key = ListenerKey::of(&frontend, 0);
        let config = Config {
            frontends: vec![frontend],
            backends: vec![backend],
            ..Config::default()
        };
        let sockets = catamaran_sys::socket::listen_group(ANY, 2, 128).unwrap();
        let address = catamaran_sys::socket::local_addr(sockets[0].as_fd()).unwrap();
        let listeners = vec![ListenerSockets { key, sockets }];
        (Proxy::start(config, listeners).unwrap(), address)
    }

    /// Whether everybody of a crowd is served. Some are in the queue of each worker.
    fn serves_a_crowd(address: SocketAddr) -> bool {
        let clients: Vec<TcpStream> = (0..40)
            .map(|_| TcpStream::connect(address).unwrap())
            .collect();
        clients.into_iter().all(|mut client| {
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).is_ok() && answer == "ok"
        })
    }

    fn adopted(proxy: &Proxy) -> u64 {
        let metrics = &proxy.shared().worker_metrics;
        metrics.iter().map(|worker| worker.adopted.total()).sum()
    }

    fn eventually(mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds() {
            assert!(Instant::now() < deadline, "waited in vain");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn clients_of_a_stalled_worker_are_served_by_its_neighbour_until_it_turns_again() {
        let (proxy, address) = proxy();
        assert!(serves_a_crowd(address));
        let (release, until) = mpsc::channel();
        proxy.shared().command(0, Command::Stall(until));
        let is_stalled = || proxy.shared().pulses[0].since(Worker::now()) >= STALL;
        eventually(is_stalled);
        assert!(serves_a_crowd(address));
        assert!(adopted(&proxy) > 0);
        assert!(is_stalled());
        drop(release);
        // A busy machine may have either stall for a moment meanwhile.
        eventually(|| {
            let before = adopted(&proxy);
            serves_a_crowd(address) && adopted(&proxy) == before
        });
    }

    #[test]
    fn a_stall_is_counted_once() {
        let (proxy, _) = proxy();
        let stalls = || proxy.shared().worker_metrics[1].stalls.total();
        let (release, until) = mpsc::channel();
        let before = stalls();
        proxy.shared().command(0, Command::Stall(until));
        eventually(|| stalls() > before);
        let counted = stalls();
        // Several looks later.
        let beats = Worker::now() + 6 * BEAT;
        eventually(|| Worker::now() >= beats);
        assert_eq!(stalls(), counted);
        drop(release);
    }
}
