//! Connections to nodes of etcd, plain or over TLS.

use crate::error::{EtcdError, SetupError};
use catamaran_core::model::{EtcdEndpoint, EtcdIdentity, EtcdTls};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Makes connections.
pub(super) struct Connector {
    tls: Option<TlsConnector>,
}

/// A connection; it ends when this is dropped and its answer read.
pub(super) struct Sender {
    requests: http1::SendRequest<Full<Bytes>>,
}

impl Connector {
    pub(super) fn new(tls: Option<&EtcdTls>) -> Result<Self, SetupError> {
        let tls = tls.map(config).transpose()?;
        let tls = tls.map(|config| TlsConnector::from(Arc::new(config)));
        Ok(Self { tls })
    }

    pub(super) async fn connect(&self, node: &EtcdEndpoint) -> Result<Sender, EtcdError> {
        let unreachable = |source| EtcdError::Unreachable {
            node: node.clone(),
            source,
        };
        let stream = TcpStream::connect((node.host.as_str(), node.port)).await;
        let stream = stream.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        let Some(tls) = &self.tls else {
            return handshake(node, stream).await;
        };
        let name = ServerName::try_from(node.host.clone()).map_err(io::Error::other);
        let name = name.map_err(unreachable)?;
        let stream = tls.connect(name, stream).await.map_err(unreachable)?;
        handshake(node, stream).await
    }
}

impl Sender {
    pub(super) async fn send_request(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.requests.send_request(request).await
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut connector = f.debug_struct("Connector");
        connector.field("tls", &self.tls.is_some()).finish()
    }
}

/// Begins to speak HTTP. Who drives the connection ends with it: it is over when the answer is read
/// or dropped.
async fn handshake<S>(node: &EtcdEndpoint, stream: S) -> Result<Sender, EtcdError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = http1::handshake(TokioIo::new(stream)).await;
    let (requests, connection) = begun.map_err(|source| EtcdError::Broken {
        node: node.clone(),
        source,
    })?;
    // What goes wrong is told by the request.
    tokio::spawn(connection);
    Ok(Sender { requests })
}

fn config(tls: &EtcdTls) -> Result<ClientConfig, SetupError> {
    let wrong_ca = |error: &dyn std::fmt::Display| SetupError::Ca(error.to_string());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(tls.ca.as_bytes()) {
        let certificate = certificate.map_err(|error| wrong_ca(&error))?;
        roots.add(certificate).map_err(|error| wrong_ca(&error))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong_ca(&error))?
        .with_root_certificates(roots);
    match &tls.identity {
        None => Ok(config.with_no_client_auth()),
        Some(identity) => {
            let (chain, key) = self::identity(identity).map_err(SetupError::Identity)?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(|error| SetupError::Identity(error.to_string()))
        }
    }
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn identity(identity: &EtcdIdentity) -> Result<Identity, String> {
    let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
    let chain: Result<Vec<_>, _> = chain.collect();
    let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes());
    Ok((
        chain.map_err(|error| error.to_string())?,
        key.map_err(|error| error.to_string())?,
    ))
}
