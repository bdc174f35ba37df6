//! Making connections: listening, connecting again and again, and the two tasks of each connection.

use crate::centre::{Arrival, ToCentre};
use crate::counters::{Counters, add, count};
use crate::nameless::{self, Nameless};
use catamaran_core::model::{ClusterPeer, ClusterSecret};
use catamaran_noise::{NoiseError, Opener, Sealer, initiate, respond};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// What the tasks of connections share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) centre: mpsc::Sender<ToCentre>,
    pub(crate) secrets: watch::Receiver<Vec<ClusterSecret>>,
    pub(crate) counters: Arc<Counters>,
    /// Wakes the centre when a writer has room again.
    pub(crate) has_room: Arc<Notify>,
}

/// A connection with its keys, of which nobody reads yet.
pub(crate) struct Secured {
    pub(crate) reader: OwnedReadHalf,
    pub(crate) writer: OwnedWriteHalf,
    pub(crate) sealer: Sealer,
    pub(crate) opener: Opener,
    /// What both know.
    secret: ClusterSecret,
}

/// The tasks of a connection; they end when this is dropped.
pub(crate) struct Tasks {
    pub(crate) payloads: mpsc::Sender<Vec<u8>>,
    /// What both ends knew when it was made.
    pub(crate) secret: ClusterSecret,
    reader: AbortHandle,
    writer: AbortHandle,
    /// Dropped with the connection, which the dialer waits for.
    _over: Option<oneshot::Sender<()>>,
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

/// Accepts whoever connects and knows the secret.
pub(crate) async fn listen(listener: TcpListener, context: Context) {
    let mut nameless = Nameless::default();
    loop {
        let (stream, from) = match listener.accept().await {
            Ok((stream, from)) => (stream, from),
            Err(error) => {
                warn!(%error, "connections of peers cannot be accepted; are there descriptors left?");
                sleep(FIRST_PAUSE).await;
                continue;
            }
        };
        if nameless.make_room() && count(&context.counters.crowded_out) {
            warn!(
                %from,
                "more than {} connections do not say who they are, and the oldest are closed; let \
                 only peers reach this port", nameless::MAX
            );
        }
        let task = tokio::spawn(meet(stream, from, context.clone()));
        nameless.push(from.ip(), task.abort_handle());
    }
}

/// Learns who connects.
async fn meet(stream: TcpStream, from: SocketAddr, context: Context) {
    match in_time(welcome(stream, &context)).await {
        Ok((secured, hello)) => {
            let arrived = ToCentre::Arrived(secured, Arrival::Accepted(hello, from));
            // It knows the secret, and gives way to nobody any more.
            tokio::spawn(async move {
                let _ = context.centre.send(arrived).await;
            });
        }
        Err(NoiseError::WrongSecret) => {
            if count(&context.counters.wrong_secrets) {
                warn!(
                    %from,
                    "somebody connects who does not know the secret; if that is a peer, give it \
                     the same secret file"
                );
            }
        }
        Err(error) => {
            if count(&context.counters.refused) {
                warn!(%from, %error, "a connection came to nothing before it had a name");
            }
        }
    }
}

/// Connects to a peer, and again whenever the connection is over.
pub(crate) async fn dial(peer: usize, to: ClusterPeer, context: Context) {
    let mut pause = FIRST_PAUSE;
    let mut told = String::new();
    loop {
        let began = Instant::now();
        match in_time(reach(&to.address, &context)).await {
            Ok(secured) => {
                told.clear();
                let (over, is_over) = oneshot::channel();
                let arrival = Arrival::Dialed(peer, over);
                if context
                    .centre
                    .send(ToCentre::Arrived(secured, arrival))
                    .await
                    .is_err()
                {
                    return;
                }
                let _ = is_over.await;
            }
            Err(error) => {
                count(&context.counters.connect_failures);
                let error = error_chain(&error);
                // The same again and again is told once.
                if told != error {
                    warn!(
                        peer = %to.name,
                        address = to.address,
                        error,
                        "peer cannot be reached; is it running, and may this node connect to it?"
                    );
                    told = error;
                }
            }
        }
        if began.elapsed() > MAX_PAUSE * 2 {
            pause = FIRST_PAUSE;
        }
        sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Starts to read and to write. `id` tells the connection from those before and after it.
pub(crate) fn run(
    secured: Secured,
    id: u64,
    over: Option<oneshot::Sender<()>>,
    context: &Context,
) -> Tasks {
    let (payloads, queue) = mpsc::channel(QUEUE);
    let Secured {
        reader,
        writer,
        sealer,
        opener,
        secret,
    } = secured;
    let (to_reader, to_writer) = (context.clone(), context.clone());
    let reader = tokio::spawn(async move {
        let error = read(reader, opener, id, &to_reader).await;
        let _ = to_reader.centre.send(ToCentre::Broke(id, error)).await;
    });
    let writer = tokio::spawn(async move {
        if let Err(error) = write(writer, sealer, queue, &to_writer).await {
            let _ = to_writer.centre.send(ToCentre::Broke(id, error)).await;
        }
    });
    Tasks {
        payloads,
        secret,
        reader: reader.abort_handle(),
        writer: writer.abort_handle(),
        _over: over,
    }
}

async fn welcome(stream: TcpStream, context: &Context) -> Result<(Secured, Vec<u8>), NoiseError> {
    let mut stream = prepared(stream)?;
    let secrets = context.secrets.borrow().clone();
    let known: Vec<_> = secrets.iter().map(ClusterSecret::reveal).collect();
    let (sealer, opener, at) = respond(&mut stream, &known, PROLOGUE).await?;
    let mut secured = split(stream, (sealer, opener), secrets[at].clone());
    let (hello, _) = secured.opener.receive(&mut secured.reader).await?;
    Ok((secured, hello))
}

/// Connects with the first secret that the other side knows: it may not have been given the newest.
async fn reach(address: &str, context: &Context) -> Result<Secured, NoiseError> {
    let secrets = context.secrets.borrow().clone();
    let mut outcome = Err(NoiseError::WrongSecret);
    for secret in secrets {
        let mut stream = prepared(TcpStream::connect(address).await?)?;
        outcome = initiate(&mut stream, secret.reveal(), PROLOGUE)
            .await
            .map(|keys| split(stream, keys, secret));
        if !matches!(outcome, Err(NoiseError::WrongSecret)) {
            break;
        }
    }
    outcome
}

fn prepared(stream: TcpStream) -> Result<TcpStream, NoiseError> {
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn split(stream: TcpStream, (sealer, opener): (Sealer, Opener), secret: ClusterSecret) -> Secured {
    let (reader, writer) = stream.into_split();
    Secured {
        reader,
        writer,
        sealer,
        opener,
        secret,
    }
}

/// Reads until the connection breaks. How long it may be silent is the machine's business.
async fn read(
    mut reader: OwnedReadHalf,
    mut opener: Opener,
    id: u64,
    context: &Context,
) -> NoiseError {
    loop {
        match opener.receive(&mut reader).await {
            Ok((payload, bytes)) => {
                add(&context.counters.received_bytes, bytes);
                if context
                    .centre
                    .send(ToCentre::Payload(id, payload))
                    .await
                    .is_err()
                {
                    return NoiseError::Io(io::ErrorKind::BrokenPipe.into());
                }
            }
            Err(error) => return error,
        }
    }
}

async fn write(
    mut writer: OwnedWriteHalf,
    mut sealer: Sealer,
    mut queue: mpsc::Receiver<Vec<u8>>,
    context: &Context,
) -> Result<(), NoiseError> {
    while let Some(payload) = queue.recv().await {
        let bytes = in_time(sealer.send(&mut writer, &payload)).await?;
        add(&context.counters.sent_bytes, bytes);
        context.has_room.notify_one();
    }
    Ok(())
}

async fn in_time<T>(what: impl Future<Output = Result<T, NoiseError>>) -> Result<T, NoiseError> {
    let late = |_| NoiseError::Io(io::ErrorKind::TimedOut.into());
    timeout(TIMEOUT, what).await.map_err(late)?
}

/// An error with what caused it.
pub(crate) fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Says that a peer was met.
pub(crate) fn tell_met(peer: &str) {
    info!(peer, "peer is connected");
}

/// Sets this protocol apart from any other that the secret might be used for.
pub(crate) const PROLOGUE: &[u8] = b"catamaran peers";
/// The longest that a connection may take until both know each other, and that one write may.
const TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(3);
/// Payloads that wait for a writer, 65 kB each at most.
const QUEUE: usize = 8;
