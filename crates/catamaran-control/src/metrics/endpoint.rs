//! The pages for machines: `/metrics`, `/health` and `/ready`. Whoever can reach the address can
//! read them: bind it to an address that only operators reach.

use super::{Exposition, Format, MetricsSource};
use crate::http;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::get;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Whether the process can serve clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: the first checks of the servers have not ended.
    Starting,
    /// Yes.
    Ready,
    /// No longer: it finishes what is in flight and ends.
    Draining,
}

/// The bound endpoint.
#[derive(Debug)]
pub struct Endpoint {
    listener: TcpListener,
}

impl Endpoint {
    /// Binds to `address`; port 0 lets the kernel choose.
    ///
    /// # Errors
    /// What the kernel says, such as an address in use.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        Ok(Self { listener })
    }

    /// Serves on a socket that another process has bound; must not block.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn inherited(socket: std::os::fd::OwnedFd) -> io::Result<Self> {
        let listener = TcpListener::from_std(socket.into())?;
        Ok(Self { listener })
    }

    /// A copy of its socket, for another process.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn socket(&self) -> io::Result<std::os::fd::OwnedFd> {
        use std::os::fd::AsFd as _;
        self.listener.as_fd().try_clone_to_owned()
    }

    /// The address it is bound to.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped.
    pub async fn serve(
        self,
        metrics: Arc<dyn MetricsSource>,
        readiness: watch::Receiver<Readiness>,
        open: http::Open,
    ) {
        let router = pages(metrics, readiness)
            .fallback(|| async {
                let told = "/metrics, /health and /ready are here\n";
                (StatusCode::NOT_FOUND, told)
            })
            .method_not_allowed_fallback(|| async {
                (StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only\n")
            });
        http::serve(self.listener, router, open).await;
    }
}

/// The pages, those of health under two names.
pub(crate) fn pages(
    metrics: Arc<dyn MetricsSource>,
    readiness: watch::Receiver<Readiness>,
) -> Router {
    Router::new()
        .route("/metrics", get(page).with_state(metrics))
        .route("/health", get(|| async { "ok\n" }))
        .route("/ready", get(ready).with_state(readiness.clone()))
        // The names that orchestrators expect.
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(readiness))
}

async fn page(
    State(metrics): State<Arc<dyn MetricsSource>>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let accepted = headers.get_all(ACCEPT).iter();
    let format = wanted(accepted.filter_map(|value| value.to_str().ok()));
    // The page of thousands of servers takes a while, which checks are not to wait for.
    let written = tokio::task::spawn_blocking(move || {
        let mut page = Exposition::new();
        metrics.collect(&mut page);
        page.finish(format)
    });
    match written.await {
        Ok(page) => {
            let kind = match format {
                Format::Prometheus => PROMETHEUS,
                Format::OpenMetrics => OPEN_METRICS,
            };
            ([(CONTENT_TYPE, kind), (VARY, "Accept")], page).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "the page of metrics panicked");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The format that a client prefers by its `Accept` fields (RFC 9110 §12.5.1): OpenMetrics where it is
/// named and nothing else is liked better.
fn wanted<'a>(accepted: impl Iterator<Item = &'a str>) -> Format {
    let (mut open, mut other) = (0.0, 0.0);
    for range in accepted.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        let quality = quality.unwrap_or(1.0);
        if name.eq_ignore_ascii_case("application/openmetrics-text") {
            open = quality.max(open);
        } else if name.eq_ignore_ascii_case("text/plain") {
            other = quality.max(other);
        }
    }
    if open > 0.0 && open >= other {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

async fn ready(State(readiness): State<watch::Receiver<Readiness>>) -> impl IntoResponse {
    let readiness = *readiness.borrow();
    match readiness {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

/// <https://prometheus.io/docs/instrumenting/content_negotiation/>
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HEAD_TIMEOUT, MAX_CONNECTIONS};
    use crate::metrics::Metric;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    struct OnePanic;

    impl MetricsSource for OnePanic {
        fn collect(&self, out: &mut Exposition) {
            out.counter(Metric::PanicsTotal, &[], 1);
        }
    }

    /// A served endpoint; it ends with the test's runtime.
    async fn start(readiness: Readiness) -> (SocketAddr, watch::Sender<Readiness>) {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.local_addr().unwrap();
        let (tx, rx) = watch::channel(readiness);
        tokio::spawn(endpoint.serve(Arc::new(OnePanic), rx, watch::channel(true).1));
        (address, tx)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response.to_lowercase()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(
            address,
            &format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"),
        )
        .await
    }

    #[tokio::test]
    async fn the_page_is_served_with_its_type() {
        let (address, _readiness) = start(Readiness::Ready).await;
        let response = get(address, "/metrics?x=1").await;
        assert!(response.starts_with("http/1.1 200 ok\r\n"), "{response}");
        assert!(response.contains("content-type: text/plain; version=0.0.4"));
        assert!(response.ends_with("\ncatamaran_panics_total 1\n"));
    }

    #[tokio::test]
    async fn whoever_prefers_openmetrics_gets_it() {
        let (address, _readiness) = start(Readiness::Ready).await;
        let request = "GET /metrics HTTP/1.1\r\nConnection: close\r\n\
                       Accept: application/openmetrics-text;version=1.0.0;q=0.6,text/plain;q=0.5\r\n\r\n";
        let response = ask(address, request).await;
        assert!(response.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(
            response.contains("\n# type catamaran_panics counter\n"),
            "{response}"
        );
        assert!(response.ends_with("\ncatamaran_panics_total 1\n# eof\n"));
        for (accept, format) in [
            (
                "application/openmetrics-text;q=0.4, text/plain;q=0.5",
                Format::Prometheus,
            ),
            ("application/openmetrics-text;q=0", Format::Prometheus),
            ("*/*", Format::Prometheus),
            (
                "Application/OpenMetrics-Text, */*;q=0.1",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(wanted([accept].into_iter()), format, "{accept}");
        }
    }

    #[tokio::test]
    async fn readiness_follows_its_owner_while_health_says_alive() {
        let (address, readiness) = start(Readiness::Starting).await;
        assert!(get(address, "/ready").await.contains(" 503 "));
        readiness.send(Readiness::Ready).unwrap();
        assert!(get(address, "/ready").await.contains(" 200 "));
        readiness.send(Readiness::Draining).unwrap();
        assert!(get(address, "/ready").await.ends_with("draining\n"));
        assert!(get(address, "/health").await.contains(" 200 "));
    }

    #[tokio::test]
    async fn a_head_request_gets_no_body_but_its_length() {
        let (address, _readiness) = start(Readiness::Ready).await;
        let response = ask(
            address,
            "HEAD /health HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(response.contains("content-length: 3\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn what_is_no_plain_get_is_refused() {
        let (address, _readiness) = start(Readiness::Ready).await;
        assert!(get(address, "/").await.contains(" 404 "));
        let post = ask(
            address,
            "POST /metrics HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(post.contains(" 405 ") && post.contains("allow: get,head\r\n"));
        assert!(ask(address, "GET /\r\n\r\n").await.contains(" 400 "));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(64 * 1024));
        let mut stream = TcpStream::connect(address).await.unwrap();
        // It answers before it has read all, and may close.
        let _ = stream.write_all(long.as_bytes()).await;
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert!(start.starts_with(b"HTTP/1.1 4"), "{start:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_hold_their_slots_only_for_the_head_timeout() {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.local_addr().unwrap();
        // Blocking connects are done before the endpoint accepts: the order of its queue is known.
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let _silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect()).collect();
        let mut last = connect();
        io::Write::write_all(
            &mut last,
            b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        last.set_nonblocking(true).unwrap();
        let mut last = TcpStream::from_std(last).unwrap();

        let began = tokio::time::Instant::now();
        let (_readiness, rx) = watch::channel(Readiness::Ready);
        tokio::spawn(endpoint.serve(Arc::new(OnePanic), rx, watch::channel(true).1));
        let mut response = String::new();
        last.read_to_string(&mut response).await.unwrap();
        assert!(response.contains(" 200 "), "{response}");
        assert!(began.elapsed() >= HEAD_TIMEOUT);
    }
}
