//! The HTTP server of the control thread: every page and the admin API go through it.
//!
//! Everything is bounded: [`MAX_CONNECTIONS`] at once for each listener (more wait in the kernel's
//! queue), [`MAX_HEAD_BYTES`] and [`MAX_FIELDS`] of a head, [`HEAD_TIMEOUT`] for it (which is also
//! how long an idle connection is kept), [`WRITE_TIMEOUT`] without progress of an answer. How long
//! an answer may take to be made, and how large a body may be, is the router's to say.

use crate::admin::Door;
use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

/// What accepts connections.
pub(crate) trait Accept {
    /// What it accepts.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Waits for a connection; says whose it is.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Door)>>;
}

impl Accept for TcpListener {
    type Stream = tokio::net::TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Door)> {
        let (stream, client) = Self::accept(self).await?;
        Ok((stream, Door::Tcp(client)))
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Door)> {
        let (stream, _) = Self::accept(self).await?;
        let client = stream.peer_cred().ok().and_then(|client| client.pid());
        Ok((stream, Door::Unix(client)))
    }
}

/// Whether new connections are taken; another process may have the same sockets.
pub(crate) type Open = watch::Receiver<bool>;

/// Serves `router` to who connects to `listener`, until it is dropped.
pub(crate) async fn serve(listener: impl Accept, router: Router, mut open: Open) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Owning the connections' tasks here ends them with this future.
    let mut connections = JoinSet::new();
    loop {
        let slot = Arc::clone(&slots).acquire_owned().await;
        let slot = slot.expect("the semaphore is never closed");
        while connections.try_join_next().is_some() {}
        // Who could open it again is gone only when everything ends.
        let _ = open.wait_for(|open| *open).await;
        let accepted = tokio::select! {
            biased;
            () = closed(&mut open) => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, door)) => {
                let router = router.clone();
                connections.spawn(async move {
                    if let Err(error) = converse(stream, door, router).await {
                        debug!(%error, "connection to the control plane ended early");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, or the client was gone already: both pass.
                debug!(%error, "connection to the control plane not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits until no more connections are to be taken: for ever, without anybody who could say so.
async fn closed(open: &mut Open) {
    if open.wait_for(|open| !*open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn converse<S>(stream: S, door: Door, router: Router) -> Result<(), hyper::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(door);
        router.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD_BYTES)
        .half_close(true)
        .serve_connection(TokioIo::new(Patient::new(stream)), service);
    pin!(connection).await
}

/// A stream whose writes must progress.
struct Patient<S> {
    stream: S,
    /// Runs while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            waiting: None,
        }
    }

    fn progress<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            Box::pin(tokio::time::sleep_until(Instant::now() + WRITE_TIMEOUT))
        });
        ready!(waiting.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.progress(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Connections served at once by one listener. Chosen: a few scrapers, probes and operators, and a
/// bound on memory (1 MiB of heads).
pub(crate) const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's head. Chosen: scrapers and browsers send some hundred.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Fields of a request's head.
const MAX_FIELDS: usize = 64;
/// Time for a request's head, counted from the end of the one before.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time in which the client must take a part of the answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
