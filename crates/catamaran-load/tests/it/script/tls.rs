//! Requests over TLS.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;

use catamaran_load::exit_code;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::UnixTime;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConfig, ServerConnection, SignatureScheme,
    StreamOwned,
};

use super::{once, play};

/// A server that answers over TLS with a certificate that nobody vouches for, until the test ends.
fn secure_server() -> u16 {
    server_that(None)
}

/// The same, which may ask clients for a certificate; any will do.
fn server_that(asks: Option<Arc<AnyClient>>) -> u16 {
    let certificate = include_bytes!("../certificate/certificate.pem");
    let key = include_bytes!("../certificate/key.pem");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let config = match asks {
        Some(asks) => config.with_client_cert_verifier(asks),
        None => config.with_no_client_auth(),
    };
    let config = config
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate).unwrap()],
            PrivateKeyDer::from_pem_slice(key).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let session = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(session, stream.unwrap());
            std::thread::spawn(move || {
                let mut buf = [0; 65536];
                // Small requests come whole; a large one says so in its path.
                while let Ok(len @ 1..) = stream.read(&mut buf) {
                    let is_large = buf[..len].starts_with(b"GET /large");
                    let body = "x".repeat(if is_large { 1_000_000 } else { 2 });
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                    if stream.write_all(head.as_bytes()).is_err()
                        || stream.write_all(body.as_bytes()).is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    port
}

#[test]
fn https_works_once_the_certificate_is_trusted_or_ignored() {
    let port = secure_server();
    let url = format!("https://localhost:{port}");
    let body = r"
        const res = http.get(url);
        same([res.status, res.body, res.proto], [200, 'xx', 'HTTP/1.1']);
        same(res.tls_version, 'tls1.3');
        same(res.tls_cipher_suite.startsWith('TLS_'), true);
        same(res.timings.tls_handshaking > 0, true);
        same(http.get(url).timings.tls_handshaking, 0);
        same(http.get(`${url}/large`).body.length, 1000000);
        same(http.post(url, 'y'.repeat(10000)).status, 200);
    ";
    let script = format!(
        "{}\nexport const options = {{ insecureSkipTLSVerify: true, \
        thresholds: {{ 'http_reqs{{tls_version:tls1.3}}': ['count==4'] }} }};",
        once("", body)
    );
    play(&script, &url).is_well();
}

#[test]
fn a_certificate_that_nobody_vouches_for_fails_the_request() {
    let port = secure_server();
    let body = "const res = http.get(url); same([res.status, res.error_code], [0, 1310]); \
        same(res.error.includes('unknown authority'), true);";
    let ran = play(&once("", body), &format!("https://localhost:{port}"));
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.figure("http_req_failed", "value"), 1.0);
}

/// Wants a certificate of clients, and takes any that has its key.
#[derive(Debug)]
struct AnyClient;

impl ClientCertVerifier for AnyClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, &algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

#[test]
fn a_certificate_of_the_clients_own_is_shown_to_the_hosts_it_is_for() {
    let url = format!(
        "https://localhost:{}",
        server_that(Some(Arc::new(AnyClient)))
    );
    let cert = include_str!("../certificate/certificate.pem");
    let key = include_str!("../certificate/key.pem");
    for (domains, status) in [("", 200), ("'localhost'", 200), ("'*.test', 'other'", 0)] {
        let domains = if domains.is_empty() {
            String::new()
        } else {
            format!("domains: [{domains}], ")
        };
        let body = format!("same(http.get(url).status, {status});");
        let script = format!(
            "{}\nexport const options = {{ insecureSkipTLSVerify: true, \
             tlsAuth: [{{ {domains}cert: `{cert}`, key: `{key}` }}] }};",
            once("", &body)
        );
        let ran = play(&script, &url);
        assert!(!ran.err.contains("is not"), "{domains}: {}", ran.err);
    }
}

#[test]
fn only_the_versions_are_spoken_that_the_script_names() {
    let url = format!("https://localhost:{}", secure_server());
    for version in ["tls1.2", "tls1.3"] {
        let body = format!("same(http.get(url).tls_version, '{version}');");
        let script = format!(
            "{}\nexport const options = {{ insecureSkipTLSVerify: true, tlsVersion: '{version}' }};",
            once("", &body)
        );
        let ran = play(&script, &url);
        assert!(!ran.err.contains("is not"), "{}", ran.err);
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    }
}

#[test]
fn of_tls_12_only_the_cipher_suites_are_spoken_that_the_script_names() {
    let url = format!("https://localhost:{}", secure_server());
    let suites = [
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    ];
    let mut spoken = 0;
    for suite in suites {
        // The certificate is for one of them.
        let body = format!(
            "const res = http.get(url); if (res.status !== 0) same(res.tls_cipher_suite, '{suite}');"
        );
        let script = format!(
            "{}\nexport const options = {{ insecureSkipTLSVerify: true, tlsVersion: 'tls1.2', \
             tlsCipherSuites: ['{suite}'] }};",
            once("", &body)
        );
        let ran = play(&script, &url);
        assert!(!ran.err.contains("is not"), "{}", ran.err);
        spoken += usize::from(ran.figure("http_req_failed", "value") == 0.0);
    }
    assert_eq!(spoken, 1);
}
