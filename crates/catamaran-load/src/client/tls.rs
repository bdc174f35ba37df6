//! TLS below HTTP/1.1, by rustls.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion,
    RootCertStore, SignatureScheme,
};
use tokio::net::TcpStream;

use super::Failure;

/// What connections over TLS begin with.
#[derive(Clone)]
pub struct TlsClient {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsClient").finish_non_exhaustive()
    }
}

impl TlsClient {
    /// Returns one that trusts the system's certificates and those of `SSL_CERT_FILE`, or whatever a
    /// server shows.
    pub fn new(verifies: bool) -> Result<Self, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let config = if verifies {
            builder.with_root_certificates(roots())
        } else {
            let verifier = Arc::new(TrustAll(provider));
            builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
        };
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }
}

/// A [`TlsClient`] that is made when it is first needed: reading certificates takes a while.
#[derive(Debug)]
pub struct LazyTls {
    verifies: bool,
    client: OnceLock<Result<TlsClient, String>>,
}

impl LazyTls {
    /// Returns one that verifies certificates, or not.
    #[must_use]
    pub fn new(verifies: bool) -> Self {
        Self {
            verifies,
            client: OnceLock::new(),
        }
    }

    /// The client, or why there can be none.
    pub fn client(&self) -> Result<&TlsClient, Failure> {
        let client = self.client.get_or_init(|| TlsClient::new(self.verifies));
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
    ) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| Failure::Tls(format!("`{host}` is no name that a certificate has")))?;
        let session = ClientConnection::new(Arc::clone(&client.config), name).map_err(failed)?;
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
        let suite = suite.map(|suite| format!("{:?}", suite.suite()));
        let suite = suite.unwrap_or_default().replace("TLS13_", "TLS_");
        (version, suite)
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

/// Where systems keep the certificates that they trust.
const ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/etc/ssl/ca-bundle.pem",
];
