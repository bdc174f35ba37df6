//! Connections to servers: making them, and what they count.

use crate::io::Stream;
use crate::state::{Server, Signal, Target};
use crate::worker::{Alarm, Command, Deadline, Worker};
use catamaran_core::Timestamp;
use catamaran_core::health::Blame;
use catamaran_core::model;
use catamaran_sys::socket::{self, ConnectState, PeekResult};
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Time after which a server that acknowledges nothing counts as gone (`TCP_USER_TIMEOUT`).
const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to a server. Counts as open for as long as it lives.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) stream: Stream,
    pub(crate) server: Arc<Server>,
    /// Whether a request was sent over it before.
    pub(crate) is_reused: bool,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// The server refused or could not be reached.
    Failed(io::Error),
    /// No answer in time.
    TimedOut,
    /// This process or machine ran out of something; says nothing of the server.
    Ours(io::Error),
    /// The server was marked down meanwhile.
    ServerDown,
    /// As many connections to the server were open as may be, for as long as was waited.
    Full,
}

impl Connection {
    /// Whether nothing has come and nothing has ended, by a look at the socket itself.
    pub(crate) fn is_quiet(&self) -> bool {
        matches!(socket::peek(self.stream.as_fd()), PeekResult::WouldBlock)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.end_connection();
    }
}

/// Connects to `server` of `backend`, until `until` at the latest. With as many connections open as
/// may be, waits for one to end, as long as requests may be queued.
pub(crate) async fn connect(
    worker: &Worker,
    backend: &model::Backend,
    server: &Arc<Server>,
    deadline: &Deadline,
    until: Timestamp,
) -> Result<Connection, ConnectError> {
    if !server
        .state
        .try_begin_connection(server.model.max_connections)
    {
        let room_until = until.min(Worker::now() + backend.queue.timeout);
        Box::pin(wait_for_room(worker, server, deadline, room_until)).await?;
    }
    // From here on dropping the connection, or this, ends the count.
    let counted = Counted(Some(server));
    let until = until.min(Worker::now() + backend.connect_timeout);
    let stream = match begin(server) {
        Ok((stream, ConnectState::Established)) => Ok(stream),
        Ok((stream, ConnectState::InProgress)) => {
            deadline.set(until);
            deadline.watch(server.id());
            let result = poll_fn(|cx| {
                if let Poll::Ready(result) = stream.poll_connected(cx) {
                    return Poll::Ready(result.map_err(classify));
                }
                match deadline.alarm() {
                    Some(Alarm::Late) => Poll::Ready(Err(ConnectError::TimedOut)),
                    Some(Alarm::ServerDown) => Poll::Ready(Err(ConnectError::ServerDown)),
                    None => Poll::Pending,
                }
            })
            .await;
            deadline.watch(0);
            result.map(|()| stream)
        }
        Err(error) => Err(classify(error)),
    };
    match stream {
        Ok(stream) => {
            server.metrics.connects.add(1);
            Ok(counted.into_connection(stream))
        }
        Err(error) => {
            report(worker, server, &error);
            Err(error)
        }
    }
}

/// Waits until one of the connections to `server` has ended, and counts a new one in its place.
///
/// There are never more requests at a server than connections to it may be, so that some of these
/// are idle, in workers that have no use for them: these are asked to close them.
async fn wait_for_room(
    worker: &Worker,
    server: &Arc<Server>,
    deadline: &Deadline,
    until: Timestamp,
) -> Result<(), ConnectError> {
    let _wanted = server.want_connection();
    let server_id = server.id();
    worker
        .shared
        .command_all(|| Command::CloseIdle { server: server_id });
    deadline.set(until);
    deadline.watch(server_id);
    let result = loop {
        let mut ended = pin!(server.connection_ended());
        // Registered before the look, so that an end in between is not missed.
        ended.as_mut().enable();
        if server
            .state
            .try_begin_connection(server.model.max_connections)
        {
            break Ok(());
        }
        let woken = poll_fn(|cx| {
            if ended.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            match deadline.alarm() {
                Some(Alarm::Late) => Poll::Ready(Err(ConnectError::Full)),
                Some(Alarm::ServerDown) => Poll::Ready(Err(ConnectError::ServerDown)),
                None => Poll::Pending,
            }
        })
        .await;
        if let Err(error) = woken {
            break Err(error);
        }
    };
    deadline.watch(0);
    result
}

/// Tells the control plane of a failure that speaks against the server.
fn report(worker: &Worker, server: &Arc<Server>, error: &ConnectError) {
    let signal = match error {
        ConnectError::Failed(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Signal::Refused
        }
        // A Unix socket whose file is gone refuses in its own way.
        ConnectError::Failed(error) if error.kind() == io::ErrorKind::NotFound => Signal::Refused,
        ConnectError::Failed(_) | ConnectError::TimedOut => Signal::ConnectFailed,
        ConnectError::Ours(error) => {
            worker.metrics.connects_exhausted.add(1);
            if worker.tells_exhausted() {
                let server = &server.model.name;
                tracing::error!(%server, %error, "out of resources to connect to a server");
            }
            return;
        }
        ConnectError::ServerDown | ConnectError::Full => return,
    };
    server.metrics.connect_failures.add(1);
    worker.signal(server, signal);
}

fn begin(server: &Server) -> io::Result<(Stream, ConnectState)> {
    match &server.target {
        Target::Ip(address) => {
            let (fd, state) = socket::connect_tcp(*address)?;
            let stream = tcp(fd)?;
            Ok((stream, state))
        }
        Target::Unix(path) => {
            let (fd, state) = socket::connect_unix(path).map_err(queue_full)?;
            Ok((entered(fd)?, state))
        }
    }
}

/// Tells a full accept queue (EAGAIN, from a unix socket only) from our own lack of ports, which
/// says the same over IP: it is the server that does not keep up.
fn queue_full(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::WouldBlock {
        io::Error::other("accept queue is full")
    } else {
        error
    }
}

fn tcp(fd: OwnedFd) -> io::Result<Stream> {
    use std::os::fd::AsFd;
    socket::set_nodelay(fd.as_fd())?;
    socket::set_user_timeout(fd.as_fd(), USER_TIMEOUT)?;
    entered(fd)
}

/// A stream in the reactor. Entered here, where want of room for it counts as ours, not as the
/// server's failure.
fn entered(fd: OwnedFd) -> io::Result<Stream> {
    let stream = Stream::new(fd);
    stream.enter()?;
    Ok(stream)
}

fn classify(error: io::Error) -> ConnectError {
    match Blame::of_connect_error(&error) {
        Blame::Ours => ConnectError::Ours(error),
        Blame::Server => ConnectError::Failed(error),
    }
}

/// An open connection counted before it stands.
struct Counted<'a>(Option<&'a Arc<Server>>);

impl Counted<'_> {
    fn into_connection(mut self, stream: Stream) -> Connection {
        let server = Arc::clone(self.0.take().expect("taken once, here"));
        Connection {
            stream,
            server,
            is_reused: false,
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(server) = self.0 {
            server.end_connection();
        }
    }
}
