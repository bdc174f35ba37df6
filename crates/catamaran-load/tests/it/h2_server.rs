//! A server of HTTP/2 whose answers a test decides, over TLS or without.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A server that lives as long as this.
pub(crate) struct H2Server {
    addr: SocketAddr,
    seen: Arc<Seen>,
    _runtime: tokio::runtime::Runtime,
}

/// What clients did.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<(String, HeaderMap)>>,
    /// Connections that have said goodbye: closed at once, they might reset what they said.
    ended: Mutex<Vec<Box<dyn std::any::Any + Send>>>,
}

impl H2Server {
    /// Starts one; over TLS it offers these protocols.
    pub(crate) fn start(alpn: Option<&[&str]>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tls = alpn.map(|alpn| TlsAcceptor::from(Arc::new(tls_config(alpn))));
        let seen = Arc::new(Seen::default());
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::clone(&seen);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::Relaxed);
                let (tls, seen) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, seen).await;
                            }
                        }
                        None => serve(stream, seen).await,
                    }
                });
            }
        });
        Self {
            addr,
            seen,
            _runtime: runtime,
        }
    }

    /// Its address with a scheme.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.addr.port())
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Methods with targets, and fields.
    pub(crate) fn requests(&self) -> Vec<(String, HeaderMap)> {
        self.seen.requests.lock().unwrap().clone()
    }
}

/// What servers of tests show, offering these protocols.
pub(crate) fn tls_config(alpn: &[&str]) -> ServerConfig {
    let certificate = include_bytes!("certificate/certificate.pem");
    let key = include_bytes!("certificate/key.pem");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn serve<S>(stream: S, seen: Arc<Seen>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (head, body) = request.into_parts();
        let target = head
            .uri
            .path_and_query()
            .map_or("", |target| target.as_str());
        let line = format!("{} {target}", head.method);
        let mut requests = seen.requests.lock().unwrap();
        requests.push((line, head.headers.clone()));
        drop(requests);
        match head.uri.path() {
            "/goaway" => connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM),
            "/graceful" => {
                tokio::spawn(answer(Request::from_parts(head, body), respond));
                connection.graceful_shutdown();
            }
            "/cut" => return,
            _ => {
                tokio::spawn(answer(Request::from_parts(head, body), respond));
            }
        }
    }
    seen.ended.lock().unwrap().push(Box::new(connection));
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let (head, mut body) = request.into_parts();
    let path = head.uri.path();
    if path == "/reset" {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return;
    }
    if path == "/never" {
        let _ = poll_fn(|context| respond.poll_reset(context)).await;
        return;
    }
    if path.starts_with("/test.all.Echo/") {
        return call(&head, body, respond).await;
    }
    let mut content = Vec::new();
    while let Some(Ok(data)) = body.data().await {
        let _ = body.flow_control().release_capacity(data.len());
        content.extend_from_slice(&data);
    }
    let (status, content) = match path {
        "/missing" => (404, Bytes::new()),
        "/large" => (200, Bytes::from(vec![b'x'; 9_000_000])),
        _ => (200, Bytes::from(content)),
    };
    let response = Response::builder()
        .status(status)
        .header("content-type", "text/plain")
        .header("set-cookie", "a=b")
        .body(())
        .unwrap();
    if let Ok(stream) = respond.send_response(response, content.is_empty()) {
        send(stream, content).await;
    }
}

/// A gRPC service: echoes messages, with what the metadata ask for.
async fn call(head: &http::request::Parts, body: RecvStream, mut respond: SendResponse<Bytes>) {
    let wish = head
        .headers
        .get("x-wish")
        .map_or("", |wish| wish.to_str().unwrap());
    let mut fields = Response::builder().header("content-type", "application/grpc");
    fields = fields.header(
        "x-timeout",
        head.headers
            .get("grpc-timeout")
            .map_or("", |t| t.to_str().unwrap()),
    );
    for value in head.headers.get_all("x-bin-bin") {
        fields = fields.header("x-back-bin", value.clone());
    }
    if wish == "trailers-only" {
        fields = fields
            .header("grpc-status", "5")
            .header("grpc-message", "not%20there");
        respond
            .send_response(fields.body(()).unwrap(), true)
            .unwrap();
        return;
    }
    if wish == "http" {
        respond
            .send_response(fields.status(503).body(()).unwrap(), true)
            .unwrap();
        return;
    }
    if wish == "never" {
        let _ = poll_fn(|context| respond.poll_reset(context)).await;
        return;
    }
    let mut stream = respond
        .send_response(fields.body(()).unwrap(), false)
        .unwrap();
    echo(head.uri.path(), body, &mut stream).await;
    let mut trailers = HeaderMap::new();
    let status = if wish == "fail" { "9" } else { "0" };
    trailers.insert("grpc-status", status.parse().unwrap());
    trailers.insert("grpc-message", wish.parse().unwrap());
    trailers.insert("x-after", "1".parse().unwrap());
    let _ = stream.send_trailers(trailers);
}

/// Sends messages back: of `Push` their number at the end, of `Watch` each one twice.
async fn echo(path: &str, mut body: RecvStream, stream: &mut SendStream<Bytes>) {
    let (mut all, mut seen) = (Vec::new(), 0);
    let mut is_over = false;
    while !is_over {
        is_over = match body.data().await {
            Some(Ok(data)) => {
                let _ = body.flow_control().release_capacity(data.len());
                all.extend_from_slice(&data);
                false
            }
            _ => true,
        };
        while let Some(&[_, a, b, c, d]) = all.first_chunk::<5>() {
            let len = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
            if all.len() < len {
                break;
            }
            let message: Vec<u8> = all.drain(..len).collect();
            seen += 1;
            let times = match path {
                "/test.all.Echo/Push" => 0,
                "/test.all.Echo/Watch" => 2,
                _ => 1,
            };
            for _ in 0..times {
                send_part(stream, Bytes::from(message.clone())).await;
            }
        }
    }
    if path == "/test.all.Echo/Push" {
        // `int32 i32 = 3`: how many messages came.
        send_part(stream, Bytes::from(vec![0, 0, 0, 0, 2, 3 << 3, seen])).await;
    }
}

async fn send(mut stream: SendStream<Bytes>, content: Bytes) {
    if !content.is_empty() {
        send_part(&mut stream, content).await;
        let _ = stream.send_data(Bytes::new(), true);
    }
}

async fn send_part(stream: &mut SendStream<Bytes>, mut content: Bytes) {
    while !content.is_empty() {
        stream.reserve_capacity(content.len());
        let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else {
            return;
        };
        let part = content.split_to(room.min(content.len()));
        if stream.send_data(part, false).is_err() {
            return;
        }
    }
}
