//! Runs over HTTP/3, against a server on the same crates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Buf as _, Bytes};
use catamaran_load::exit_code;
use catamaran_load::plain::{Model, Version};
use http::{Request, Response};
use quinn::crypto::rustls::QuicServerConfig;

use crate::h2_server::tls_config;
use crate::{options, play};

/// A server that lives as long as this.
struct H3Server {
    addr: SocketAddr,
    connections: Arc<AtomicUsize>,
    _runtime: tokio::runtime::Runtime,
}

type Stream = h3::server::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

impl H3Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let tls = QuicServerConfig::try_from(tls_config(&["h3"])).unwrap();
        let config = quinn::ServerConfig::with_crypto(Arc::new(tls));
        let endpoint = runtime.block_on(async {
            quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
        });
        let addr = endpoint.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        runtime.spawn(async move {
            while let Some(incoming) = endpoint.accept().await {
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    if let Ok(connection) = incoming.await {
                        count.fetch_add(1, Ordering::Relaxed);
                        serve(connection).await;
                    }
                });
            }
        });
        Self {
            addr,
            connections,
            _runtime: runtime,
        }
    }

    fn url(&self) -> String {
        format!("https://localhost:{}", self.addr.port())
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

async fn serve(connection: quinn::Connection) {
    let quic = h3_quinn::Connection::new(connection);
    let mut connection = h3::server::Connection::<_, Bytes>::new(quic).await.unwrap();
    while let Ok(Some(resolver)) = connection.accept().await {
        tokio::spawn(async move {
            if let Ok((request, stream)) = resolver.resolve_request().await {
                // A client that has gone needs no answer.
                let _ = answer(&request, stream).await;
            }
        });
    }
}

async fn answer(request: &Request<()>, mut stream: Stream) -> Result<(), h3::error::StreamError> {
    let mut content = Vec::new();
    while let Some(mut data) = stream.recv_data().await? {
        content.extend_from_slice(&data.copy_to_bytes(data.remaining()));
    }
    let (status, content) = match request.uri().path() {
        "/missing" => (404, Vec::new()),
        "/large" => (200, vec![b'x'; 3_000_000]),
        "/reset" => {
            stream.stop_stream(h3::error::Code::H3_INTERNAL_ERROR);
            return Ok(());
        }
        "/never" => {
            tokio::time::sleep(std::time::Duration::from_secs(60)).await;
            return Ok(());
        }
        _ => (200, content),
    };
    let response = Response::builder()
        .status(status)
        .header("set-cookie", "a=b");
    stream.send_response(response.body(()).unwrap()).await?;
    stream.send_data(Bytes::from(content)).await?;
    stream.finish().await
}

#[test]
fn http3_is_spoken_over_quic() {
    let server = H3Server::start();
    let mut options = options(&format!("{}/a?b", server.url()));
    options.version = Version::Http3;
    options.exchange.method = "POST".to_owned();
    options.exchange.body = Some(vec![b'y'; 20_000]);
    options.exchange.verifies = false;
    options.model = Model::Closed { vus: 3 };
    let ran = play(options);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    let count = ran.figure("http_reqs", "count");
    assert!(count > 0.0);
    assert_eq!(ran.answers("200") as f64, count, "{}", ran.out);
    assert_eq!(server.connections(), 3);
    assert!(ran.figure("data_received", "count") > 20_000.0 * count);
    assert!(ran.figure("http_req_tls_handshaking", "max") > 0.0);
}

#[test]
fn what_http3_cannot_do_is_told_before_the_start() {
    for (target, change) in [
        ("http://127.0.0.1:1/", None),
        ("https://127.0.0.1:1/", Some("/socket")),
    ] {
        let mut options = options(target);
        options.version = Version::Http3;
        options.exchange.unix = change.map(Into::into);
        let ran = play(options);
        assert_eq!(ran.code, exit_code::INVALID);
        assert!(ran.err.contains("--http3"), "{}", ran.err);
    }
}

#[cfg(feature = "scripts")]
mod script {
    use super::H3Server;
    use crate::script::{once, play};

    #[test]
    fn scripts_speak_http3_where_they_say_so() {
        let server = H3Server::start();
        let body = r"
            const res = http.post(`${url}/echo`, 'hello');
            same([res.status, res.body, res.proto, res.tls_version], [200, 'hello', 'HTTP/3.0', 'tls1.3']);
            same([res.cookies.a[0].value, res.timings.tls_handshaking > 0], ['b', true]);
            same(http.get(`${url}/large`, { protocol: 'h3' }).body.length, 3000000);
            same([http.get(`${url}/missing`).status, http.get(`${url}/missing`).error_code], [404, 1404]);
            const all = http.batch(Array.from({ length: 12 }, (_, i) => ['POST', url, `b${i}`]));
            same(all.map((r) => r.body), Array.from({ length: 12 }, (_, i) => `b${i}`));
            same(http.get(`${url}/reset`).error_code, 1000);
            same(http.get(`${url}/never`, { timeout: 300 }).error_code, 1050);
            same(http.get(url).status, 200);
            same(http.get(url, { protocol: 'auto' }).error_code, 1212);
            same(thrown(() => http.get(url, { protocol: 'h4' })).includes('auto and h3'), true);
        ";
        let options = "export const options = { insecureSkipTLSVerify: true, http3: true, \
            thresholds: { 'http_reqs{proto:HTTP/3.0}': ['count>0'] } };";
        let ran = play(&format!("{}\n{options}", once("", body)), &server.url());
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.err.contains("Error"), "{}", ran.err);
        assert_eq!(server.connections(), 1);
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_fails_the_request() {
        let server = H3Server::start();
        let body = "same(http.get(url, { protocol: 'h3' }).error_code, 1310);";
        let ran = play(&once("", body), &server.url());
        assert!(!ran.err.contains("is not"), "{}", ran.err);
        assert_eq!(ran.figure("http_req_failed", "value"), 1.0);
    }
}
