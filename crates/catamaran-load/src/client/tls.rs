//! TLS below HTTP, by rustls.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion,
    RootCertStore, SignatureScheme, SupportedProtocolVersion,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{Failure, TlsIdentity, TlsSuites, suites};

/// What connections over TLS begin with.
#[derive(Clone)]
pub struct TlsClient {
    /// By [`Alpn`].
    configs: [Arc<ClientConfig>; 3],
}

/// How TLS is spoken.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Whether any certificate will do.
    pub trusts_all: bool,
    /// The versions.
    pub versions: TlsVersions,
    /// The cipher suites.
    pub suites: TlsSuites,
    /// What is shown to servers that ask for a certificate.
    pub identities: Vec<TlsIdentity>,
}

/// Versions of TLS that are spoken; older ones never are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsVersions {
    /// TLS 1.2.
    pub tls12: bool,
    /// TLS 1.3.
    pub tls13: bool,
}

impl Default for TlsVersions {
    fn default() -> Self {
        Self {
            tls12: true,
            tls13: true,
        }
    }
}

impl TlsVersions {
    fn all(self) -> Vec<&'static SupportedProtocolVersion> {
        let own = [(self.tls13, &TLS13), (self.tls12, &TLS12)];
        let own = own.into_iter().filter(|(is_spoken, _)| *is_spoken);
        own.map(|(_, version)| version).collect()
    }
}

/// What a client says that it speaks, by ALPN (RFC 7301).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1 only.
    #[default]
    Http1,
    /// HTTP/2 only.
    Http2,
    /// HTTP/2, or HTTP/1.1 with servers that do not speak it.
    Either,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Returns one that trusts the system's certificates and those of `SSL_CERT_FILE`, or whatever a
    /// server shows.
    pub fn verifying(verifies: bool) -> Result<Self, String> {
        let options = TlsOptions {
            trusts_all: !verifies,
            ..TlsOptions::default()
        };
        Self::new(&options, None)
    }

    /// Returns one that shows `identity` to servers that ask for one.
    fn new(options: &TlsOptions, identity: Option<&TlsIdentity>) -> Result<Self, String> {
        let told = |error: rustls::Error| error.to_string();
        let provider = Arc::new(CryptoProvider {
            cipher_suites: options.suites.to_vec(),
            ..rustls::crypto::ring::default_provider()
        });
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&options.versions.all())
            .map_err(told)?;
        let config = if options.trusts_all {
            let verifier = Arc::new(TrustAll(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        } else {
            builder.with_root_certificates(roots())
        };
        let config = match identity {
            Some(identity) => {
                let (chain, key) = identity.parts();
                config.with_client_auth_cert(chain, key).map_err(told)?
            }
            None => config.with_no_client_auth(),
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            Arc::new(config)
        };
        let (one, two) = (b"http/1.1".as_slice(), HTTP2);
        Ok(Self {
            configs: [offering(&[one]), offering(&[two]), offering(&[two, one])],
        })
    }
}

#[cfg(feature = "http3")]
impl TlsClient {
    /// What QUIC begins with.
    pub(super) fn http3(&self) -> ClientConfig {
        let mut config = ClientConfig::clone(&self.configs[Alpn::Http1 as usize]);
        config.alpn_protocols = vec![b"h3".to_vec()];
        config
    }
}

/// A [`TlsClient`] that is made when it is first needed: reading certificates takes a while.
#[derive(Debug)]
pub struct LazyTls {
    options: TlsOptions,
    /// One for each identity, and the last for hosts that are shown none.
    clients: Vec<OnceLock<Result<TlsClient, String>>>,
}

impl LazyTls {
    /// Returns one that is made when it is needed.
    #[must_use]
    pub fn new(options: TlsOptions) -> Self {
        let count = options.identities.len() + 1;
        Self {
            options,
            clients: (0..count).map(|_| OnceLock::new()).collect(),
        }
    }

    /// The client for a host, or why there can be none.
    pub fn client(&self, host: &str) -> Result<&TlsClient, Failure> {
        let identities = &self.options.identities;
        let own = identities.iter().position(|one| one.is_for(host));
        let client = self.clients[own.unwrap_or(identities.len())].get_or_init(|| {
            let identity = own.map(|own| &identities[own]);
            TlsClient::new(&self.options, identity)
        });
        client.as_ref().map_err(|why| Failure::Tls(why.clone()))
    }
}

/// The certificates that this machine trusts; none, if there are none.
fn roots() -> RootCertStore {
    let given = std::env::var_os("SSL_CERT_FILE").map(std::path::PathBuf::from);
    let usual = ROOTS.iter().map(std::path::PathBuf::from);
    let texts = given.into_iter().chain(usual);
    let text = texts.filter_map(|path| std::fs::read(path).ok()).next();
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text.unwrap_or_default()) {
        // One that cannot be read vouches for nobody; the others still do.
        let _ = certificate.map(|certificate| roots.add(certificate));
    }
    roots
}

/// A connection over TLS.
#[derive(Debug)]
pub(super) struct TlsStream {
    stream: TcpStream,
    session: RefCell<Box<ClientConnection>>,
}

impl TlsStream {
    /// Shakes hands.
    pub(super) async fn connect(
        stream: TcpStream,
        client: &TlsClient,
        host: &str,
        alpn: Alpn,
    ) -> Result<Self, Failure> {
        let config = Arc::clone(&client.configs[alpn as usize]);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Tls(format!("`{host}` is no name that a certificate has")))?;
        let session = ClientConnection::new(config, name).map_err(failed)?;
        let this = Self {
            stream,
            session: RefCell::new(Box::new(session)),
        };
        while this.session.borrow().is_handshaking() {
            this.flush().await?;
            if this.session.borrow().is_handshaking() && !this.receive().await? {
                return Err(Failure::Tls("EOF in the handshake".to_owned()));
            }
        }
        this.flush().await?;
        Ok(this)
    }

    /// The TCP connection below.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.stream
    }

    /// The version and the cipher suite that both sides agreed on, in the words of k6.
    pub(super) fn agreed(&self) -> (&'static str, String) {
        let session = self.session.borrow();
        let version = match session.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "tls1.3",
            Some(ProtocolVersion::TLSv1_2) => "tls1.2",
            _ => "",
        };
        let suite = session.negotiated_cipher_suite();
        (version, suite.map(suites::name).unwrap_or_default())
    }

    /// Whether both sides agreed on HTTP/2.
    pub(super) fn speaks_http2(&self) -> bool {
        self.session.borrow().alpn_protocol() == Some(HTTP2)
    }

    pub(super) async fn write(&self, parts: [&[u8]; 2]) -> io::Result<()> {
        for part in parts {
            let mut done = 0;
            while done < part.len() {
                done += self.session.borrow_mut().writer().write(&part[done..])?;
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Reads what there is, waiting for it; nothing at the end of the connection.
    pub(super) async fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.try_read(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let is_open = self.receive().await.map_err(io::Error::other)?;
                    if !is_open {
                        return self.try_read(buf).or(Ok(0));
                    }
                    self.flush().await?;
                }
                result => return result,
            }
        }
    }

    fn try_read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        match session.reader().read(buf) {
            // Without a farewell: framing says whether the answer is whole.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            result => result,
        }
    }

    /// Sends what the session has to send.
    async fn flush(&self) -> io::Result<()> {
        loop {
            let wrote = {
                let mut session = self.session.borrow_mut();
                if !session.wants_write() {
                    return Ok(());
                }
                session.write_tls(&mut NoWait(&self.stream))
            };
            match wrote {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_send(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut session = self.session.borrow_mut();
        while session.wants_write() {
            match session.write_tls(&mut NoWait(&self.stream)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.stream.poll_write_ready(context))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// As [`TlsStream::receive`].
    fn poll_receive(&self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            let mut session = self.session.borrow_mut();
            match session.read_tls(&mut NoWait(&self.stream)) {
                Ok(0) => return Poll::Ready(Ok(false)),
                Ok(_) => {
                    let processed = session.process_new_packets();
                    processed.map_err(|error| io::Error::other(failed(error)))?;
                    return Poll::Ready(Ok(true));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Receives some records. Returns whether the connection goes on.
    async fn receive(&self) -> Result<bool, Failure> {
        loop {
            self.stream.readable().await?;
            let mut session = self.session.borrow_mut();
            match session.read_tls(&mut NoWait(&self.stream)) {
                Ok(0) => return Ok(false),
                Ok(_) => {
                    session.process_new_packets().map_err(failed)?;
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            match self.try_read(buf.initialize_unfilled()) {
                Ok(len) => {
                    buf.advance(len);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            let is_open = ready!(self.poll_receive(context))?;
            // What TLS itself answers goes out when it can.
            let _ = self.poll_send(context)?;
            if !is_open {
                let len = self.try_read(buf.initialize_unfilled()).unwrap_or(0);
                buf.advance(len);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // The session takes no more than it can hold; what it holds must go first.
        ready!(self.poll_send(context))?;
        let len = self.session.borrow_mut().writer().write(bytes)?;
        let _ = self.poll_send(context)?;
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.session.borrow_mut().send_close_notify();
        self.poll_send(context)
    }
}

/// Why TLS failed; what concerns the certificate has a code of its own.
fn failed(error: rustls::Error) -> Failure {
    match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Failure::UnknownAuthority
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Failure::OtherName,
        // A certificate that was made to vouch for others, and that a server shows as its own.
        rustls::Error::InvalidCertificate(CertificateError::Other(other))
            if other.to_string().contains("CaUsedAsEndEntity") =>
        {
            Failure::UnknownAuthority
        }
        other => Failure::Tls(other.to_string()),
    }
}

/// A stream that says so instead of waiting.
struct NoWait<'a>(&'a TcpStream);

impl io::Read for NoWait<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buf)
    }
}

impl io::Write for NoWait<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.try_write(buf)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Trusts every certificate, but checks that the server has its key.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The name of HTTP/2 in ALPN.
const HTTP2: &[u8] = b"h2";

/// Where systems keep the certificates that they trust.
const ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
