//! The accept loop: connections with deadlines, and an end that breaks off no request.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// Serves until `stop`, then finishes the requests in flight.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let service = TowerToHyperService::new(router);
    let open = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accept = async {
            let permit = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            accepted = accept => accepted,
            () = &mut stop => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                rest(&error).await;
                continue;
            }
        };
        // An answer in two packets must not wait for the first to be acknowledged.
        let _ = stream.set_nodelay(true);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = open.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off is its own affair.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    if timeout(MAX_DRAIN, open.shutdown()).await.is_err() {
        tracing::warn!("requests were in flight when the time to finish them was over");
    }
}

/// Waits after a failure to accept: out of descriptors, it would come again at once.
async fn rest(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted; raise the limit of open files if there are many");
    sleep(Duration::from_millis(50)).await;
}

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 16_384;
/// Longest time between two requests of a connection, and for a request's head. Longer than a
/// balancer keeps an idle connection, so that it is never we who close under it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Longest time for requests in flight at a stop.
const MAX_DRAIN: Duration = Duration::from_secs(20);
