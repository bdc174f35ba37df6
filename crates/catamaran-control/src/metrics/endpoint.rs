//! The HTTP endpoint of the control thread: `/metrics`, `/health` and `/ready`.
//!
//! One answer per connection, GET and HEAD only. It does not parse more of a request than its
//! first line, since nothing else could change the answer; a body is never read. Everything is
//! bounded: [`MAX_CONNECTIONS`] at once (more wait in the kernel's queue), [`MAX_HEAD_BYTES`],
//! [`HEAD_TIMEOUT`], [`ANSWER_TIMEOUT`]. Whoever can reach the address can read the page: bind it
//! to an address that only operators reach.

use super::{Exposition, MetricsSource};

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tracing::debug;

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
    ) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Owning the connections' tasks here ends them with this future.
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let slot = Arc::clone(&slots).acquire_owned().await;
            let slot = slot.expect("the semaphore is never closed");
            while connections.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, client)) => {
                    let metrics = Arc::clone(&metrics);
                    let readiness = *readiness.borrow();
                    connections.spawn(async move {
                        if let Err(error) = answer(stream, &*metrics, readiness).await {
                            debug!(%client, %error, "metrics connection ended early");
                        }
                        drop(slot);
                    });
                }
                Err(error) => {
                    // Out of descriptors, or the client was gone already: both pass.
                    debug!(%error, "metrics connection not accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// What is answered to one request.
struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
    /// Whether only the head is sent.
    head_only: bool,
}

async fn answer(
    mut stream: TcpStream,
    metrics: &dyn MetricsSource,
    readiness: Readiness,
) -> io::Result<()> {
    let mut buf = vec![0; MAX_HEAD_BYTES];
    let head = timeout(HEAD_TIMEOUT, read_head(&mut stream, &mut buf)).await??;
    let answer = decide(head, metrics, readiness);
    let allow = match answer.status {
        "405 Method Not Allowed" => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    let mut bytes = format!(
        "HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len(),
    );
    if !answer.head_only {
        bytes.push_str(&answer.body);
    }
    timeout(ANSWER_TIMEOUT, async {
        stream.write_all(bytes.as_bytes()).await?;
        stream.shutdown().await
    })
    .await?
}

/// Reads up to the end of the head; `None` if it does not fit `buf`.
async fn read_head<'a>(stream: &mut TcpStream, buf: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
    let mut filled = 0;
    while filled < buf.len() {
        let read = stream.read(&mut buf[filled..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The end may straddle two reads.
        let searched_from = filled.saturating_sub(3);
        filled += read;
        if buf[searched_from..filled]
            .windows(4)
            .any(|end| end == b"\r\n\r\n")
        {
            return Ok(Some(&buf[..filled]));
        }
    }
    Ok(None)
}

fn decide(head: Option<&[u8]>, metrics: &dyn MetricsSource, readiness: Readiness) -> Answer {
    let Some(head) = head else {
        return Answer::text("431 Request Header Fields Too Large", "head too large\n");
    };
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Answer::text("400 Bad Request", "bad request\n");
    };
    if !matches!(version, b"HTTP/1.1" | b"HTTP/1.0") {
        return Answer::text("400 Bad Request", "bad request\n");
    }
    let head_only = match method {
        b"GET" => false,
        b"HEAD" => true,
        _ => return Answer::text("405 Method Not Allowed", "GET and HEAD only\n"),
    };
    let path = target.split(|&b| b == b'?').next().unwrap_or_default();
    let mut answer = match (path, readiness) {
        (b"/metrics", _) => {
            let mut page = Exposition::new();
            metrics.collect(&mut page);
            Answer {
                status: "200 OK",
                content_type: PAGE_TYPE,
                body: page.finish(),
                head_only: false,
            }
        }
        (b"/health", _) => Answer::text("200 OK", "ok\n"),
        (b"/ready", Readiness::Ready) => Answer::text("200 OK", "ready\n"),
        (b"/ready", Readiness::Starting) => Answer::text("503 Service Unavailable", "starting\n"),
        (b"/ready", Readiness::Draining) => Answer::text("503 Service Unavailable", "draining\n"),
        _ => Answer::text("404 Not Found", "/metrics, /health and /ready are here\n"),
    };
    answer.head_only = head_only;
    answer
}

impl Answer {
    fn text(status: &'static str, body: &str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: body.to_owned(),
            head_only: false,
        }
    }
}

/// Connections served at once. Chosen: a few scrapers and probes, and a bound on memory (0.5 MiB).
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's head. Chosen: scrapers send some hundred.
const MAX_HEAD_BYTES: usize = 8 * 1024;
/// Time for a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for the client to take the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that lack of descriptors is no busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// <https://prometheus.io/docs/instrumenting/content_negotiation/>
const PAGE_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metric;

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
        tokio::spawn(endpoint.serve(Arc::new(OnePanic), rx));
        (address, tx)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        ask(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
    }

    #[tokio::test]
    async fn the_page_is_served_with_its_type() {
        let (address, _readiness) = start(Readiness::Ready).await;
        let response = get(address, "/metrics?x=1").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.contains("Content-Type: text/plain; version=0.0.4"));
        assert!(response.ends_with("\ncatamaran_panics_total 1\n"));
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
        let response = ask(address, "HEAD /health HTTP/1.1\r\n\r\n").await;
        assert!(response.contains("Content-Length: 3\r\n"));
        assert!(response.ends_with("\r\n\r\n"));
    }

    #[tokio::test]
    async fn what_is_no_plain_get_is_refused() {
        let (address, _readiness) = start(Readiness::Ready).await;
        assert!(get(address, "/").await.contains(" 404 "));
        let post = ask(address, "POST /metrics HTTP/1.1\r\n\r\n").await;
        assert!(post.contains(" 405 ") && post.contains("Allow: GET, HEAD\r\n"));
        assert!(ask(address, "GET /\r\n\r\n").await.contains(" 400 "));
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX_HEAD_BYTES));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(&long.as_bytes()[..MAX_HEAD_BYTES])
            .await
            .unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.contains(" 431 "), "{response}");
    }

    #[tokio::test(start_paused = true)]
    async fn silent_clients_hold_their_slots_only_for_the_head_timeout() {
        let endpoint = Endpoint::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = endpoint.local_addr().unwrap();
        // Blocking connects are done before the endpoint accepts: the order of its queue is known.
        let connect = || std::net::TcpStream::connect(address).unwrap();
        let _silent: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect()).collect();
        let mut last = connect();
        io::Write::write_all(&mut last, b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        last.set_nonblocking(true).unwrap();
        let mut last = TcpStream::from_std(last).unwrap();

        let began = tokio::time::Instant::now();
        let (_readiness, rx) = watch::channel(Readiness::Ready);
        tokio::spawn(endpoint.serve(Arc::new(OnePanic), rx));
        let mut response = String::new();
        last.read_to_string(&mut response).await.unwrap();
        assert!(response.contains(" 200 "), "{response}");
        assert!(began.elapsed() >= HEAD_TIMEOUT);
    }
}
