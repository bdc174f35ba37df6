//! HTTP/1.1 with clients: the life of one connection.
//!
//! ```text
//!   idle --bytes--> head --whole--> exchange --keep-alive--> idle (or head, if pipelined)
//!     |               |                 |---upgrade---> tunnel
//!     +---- late -----+------ close ----+
//! ```
//! An idle connection holds a socket, a deadline and a few words; buffers and parsed heads are
//! borrowed from the worker while a request is at work.

mod answer;
mod attempt;
mod authenticate;
mod context;
mod deny;
mod exchange;
mod forward;
mod head;
mod log;
mod mapped;
mod mirror;
mod plan;
mod request;
mod respond;
mod response;
mod trace;
mod transfer;
mod upgrade;

pub(crate) use context::{Context, ContextPool};

use crate::io::{Buffer, Stream};
use crate::outcome::Outcome;
use crate::state::{Bandwidth, Frontend, Meters};
use crate::worker::{Deadline, OpenConnection, Slot, Worker};
use exchange::{Exchange, Next};
use head::HeadEnd;
use std::future::poll_fn;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long a connection that is to be closed goes on being read, so that what the client still
/// sends does not reset the response on its way.
const LINGER: Duration = Duration::from_secs(2);
/// Bytes read meanwhile at most.
const MAX_LINGER_BYTES: usize = 1024 * 1024;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Client {
    /// The listener that it came by.
    pub(crate) slot: Rc<Slot>,
    pub(crate) stream: Stream,
    pub(crate) peer: SocketAddr,
    /// The peer's address, as servers are told it.
    pub(crate) peer_text: AddressText,
    pub(crate) deadline: Deadline,
    /// What was read and not yet consumed; without capacity while the connection is idle.
    pub(crate) input: Buffer,
    /// Requests served before.
    pub(crate) served: u64,
    /// Where its bytes are limited: by what, and its buckets.
    pub(crate) meters: Option<Box<(Arc<Bandwidth>, Arc<Meters>)>>,
}

impl Client {
    /// The buckets that its bytes are taken from, if they are limited.
    pub(crate) fn meters(&mut self, frontend: &Frontend) -> Option<Arc<Meters>> {
        let bandwidth = frontend.bandwidth.as_ref()?;
        let known = self.meters.as_ref();
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.0, bandwidth)) {
            return Some(Arc::clone(&known.1));
        }
        let meters = bandwidth.meters(self.peer.ip());
        self.meters = Some(Box::new((Arc::clone(bandwidth), Arc::clone(&meters))));
        Some(meters)
    }

    /// Whether the connection is to close after its exchange.
    pub(crate) fn is_closing(&self, worker: &Worker) -> bool {
        worker.is_draining.get() || self.slot.is_closing()
    }
}

/// An IP address as text, made once for a connection.
#[derive(Debug)]
pub(crate) struct AddressText {
    bytes: [u8; 39],
    len: u8,
}

impl AddressText {
    fn new(ip: IpAddr) -> Self {
        let mut bytes = [0; 39];
        let mut rest = bytes.as_mut_slice();
        let fits = write!(rest, "{ip}").is_ok();
        debug_assert!(
            fits,
            "eight groups of four digits and seven colons are the longest"
        );
        let left = rest.len();
        let len = u8::try_from(bytes.len() - left).expect("39 at most");
        Self { bytes, len }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// Serves a connection until it ends.
///
/// What it holds is put together here, not in the future: arguments of an async function would
/// stand in its state twice, and an idle connection is little more than that state.
pub(crate) fn serve(
    open: OpenConnection,
    slot: Rc<Slot>,
    stream: Stream,
    peer: SocketAddr,
) -> impl Future<Output = ()> {
    let mut client = Client {
        slot,
        stream,
        peer,
        peer_text: AddressText::new(peer.ip()),
        deadline: open.worker().deadlines.register(),
        input: Buffer::default(),
        served: 0,
        meters: None,
    };
    async move {
        client.deadline.adopt().await;
        client.deadline.belongs_to(client.slot.id());
        if deny::unread(open.worker(), &client.slot.frontend(), &client) {
            return;
        }
        let Ok(source) = client.slot.frontend().open_source(client.peer.ip()) else {
            let outcome = Outcome::TooManyConnections;
            Box::pin(refuse(open.worker(), &client, outcome)).await;
            return;
        };
        serve_requests(open.worker(), &mut client).await;
        give_back(open.worker(), &mut client);
        drop(source);
    }
}

async fn refuse(worker: &Worker, client: &Client, outcome: Outcome) {
    if answer::refuse(worker, &client.slot.frontend(), client, outcome).await == Next::Close {
        linger(worker, client).await;
    }
}

async fn serve_requests(worker: &Rc<Worker>, client: &mut Client) {
    while wait_for_request(worker, client).await {
        let mut context = worker.contexts.take();
        let frontend = client.slot.frontend();
        let next = serve_request(worker, &frontend, client, &mut context).await;
        // Nothing that may last keeps the configuration.
        drop(frontend);
        if next == Next::Tunnel {
            Box::pin(upgrade::relay(worker, client, &mut context)).await;
        }
        worker.contexts.give_back(context);
        client.served += 1;
        match next {
            Next::KeepAlive if client.input.is_empty() => give_back(worker, client),
            Next::KeepAlive => {}
            Next::Close => return Box::pin(linger(worker, client)).await,
            Next::Abort => return client.stream.reset_on_close(),
            Next::End | Next::Tunnel => return,
        }
    }
    no_request(worker, &client.slot.frontend(), client);
}

/// Counts a client that came and said nothing. It is logged only if that is wished: port scanners
/// and the checks of other balancers would fill the log.
fn no_request(worker: &Worker, frontend: &Frontend, client: &Client) {
    if client.served > 0 {
        return;
    }
    let outcome = Outcome::NoRequest;
    frontend.counts(worker.index).traffic.refuse(outcome, None);
    let log = frontend.model.access_log.as_ref();
    if log.is_some_and(|log| log.silent_clients) {
        log::refused(worker, frontend, client, (None, 0), outcome);
    }
}

fn give_back(worker: &Worker, client: &mut Client) {
    worker.buffers.give_back(std::mem::take(&mut client.input));
}

/// Reads what came with a new connection. Returns whether it is open, or nothing if nothing has come
/// yet. Nearly always something has, where many connect; and where the exchange is short, the reactor
/// need not know of the connection at all.
fn read_at_once(worker: &Worker, client: &mut Client) -> Option<bool> {
    client.input = worker.buffers.small();
    let read = client.stream.read_now(&mut client.input);
    if client.input.is_empty() {
        give_back(worker, client);
    }
    match read {
        Ok(None) => None,
        Ok(Some(count)) => Some(count > 0),
        Err(_) => Some(false),
    }
}

/// Waits, without holding a buffer, until the client sends. Returns whether it did.
async fn wait_for_request(worker: &Worker, client: &mut Client) -> bool {
    if !client.input.is_empty() {
        return true;
    }
    let wait = {
        let frontend = client.slot.frontend();
        let timeouts = &frontend.model.timeouts;
        if client.served == 0 {
            timeouts.request_head
        } else {
            timeouts.keep_alive
        }
    };
    // The worker may have slept long before this client came.
    let now = match client.served {
        0 => worker.tick(),
        _ => worker.time(),
    };
    client.deadline.set(now + wait);
    if !client.stream.is_entered()
        && let Some(is_open) = read_at_once(worker, client)
    {
        return is_open;
    }
    if let Err(error) = client.stream.enter() {
        worker.metrics.accepts_exhausted.add_alone(1);
        if worker.tells_exhausted() {
            tracing::error!(%error, "cannot wait for a client");
        }
        return false;
    }
    poll_fn(|cx| {
        if let Poll::Ready(ready) = client.stream.poll_read_ready(cx) {
            return Poll::Ready(ready.is_ok());
        }
        let is_over =
            client.deadline.alarm().is_some() || (worker.is_draining.get() && client.served > 0);
        if is_over {
            Poll::Ready(false)
        } else {
            Poll::Pending
        }
    })
    .await
}

async fn serve_request(
    worker: &Rc<Worker>,
    frontend: &Frontend,
    client: &mut Client,
    context: &mut Context,
) -> Next {
    match head::read(worker, frontend, client, &mut context.request).await {
        Ok(()) => Exchange::new(worker, frontend, client, context).run().await,
        Err(HeadEnd::Closed { is_begun: false } | HeadEnd::Late { is_begun: false }) => {
            no_request(worker, frontend, client);
            Next::End
        }
        Err(HeadEnd::Closed { is_begun: true }) => {
            let outcome = Outcome::RequestCut;
            let traffic = &frontend.counts(worker.index).traffic;
            traffic.refuse(outcome, None);
            traffic.bytes_in.add_alone(client.input.len() as u64);
            log::refused(worker, frontend, client, (Some(400), 0), outcome);
            Next::End
        }
        Err(HeadEnd::Late { is_begun: true }) => {
            Box::pin(answer::refuse(
                worker,
                frontend,
                client,
                Outcome::RequestTimeout,
            ))
            .await
        }
        Err(HeadEnd::Malformed(error)) => {
            tracing::debug!(client = %client.peer, %error, "malformed request");
            Box::pin(answer::refuse(
                worker,
                frontend,
                client,
                Outcome::BadRequest(error.status()),
            ))
            .await
        }
    }
}

/// Closes so that the client gets all that was sent: says that nothing more comes, then reads what
/// the client still sends for a while.
async fn linger(worker: &Worker, client: &Client) {
    if client.stream.shutdown_write().is_err() {
        return;
    }
    client.deadline.set(Worker::now() + LINGER);
    let mut read = 0;
    let mut buffer = worker.buffers.small();
    poll_fn(|cx| {
        loop {
            if client.deadline.alarm().is_some() || read > MAX_LINGER_BYTES {
                return Poll::Ready(());
            }
            buffer.clear();
            match client.stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(count)) if count > 0 => read += count,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    worker.buffers.give_back(buffer);
}
