//! A certificate of a client's own, for servers that ask for one.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::names::is_like;

/// A certificate with its key, and whom it is shown to.
#[derive(Clone)]
pub struct TlsIdentity {
    domains: Vec<String>,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
}

impl fmt::Debug for TlsIdentity {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("TlsIdentity");
        shown
            .field("domains", &self.domains)
            .finish_non_exhaustive()
    }
}

impl TlsIdentity {
    /// Reads one from PEM. Without `domains` it is for every host.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn read(domains: Vec<String>, cert: &str, key: &str) -> Result<Self, String> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert.as_bytes()).collect();
        let chain = chain.map_err(|error| format!("`cert` is no PEM: {error}"))?;
        if chain.is_empty() {
            return Err(
                "`cert` has no certificate; give its text, as of `open('cert.pem')`".to_owned(),
            );
        }
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| {
            "`key` has no private key that can be read; give its text, unencrypted".to_owned()
        })?;
        Ok(Self {
            domains,
            chain,
            key: Arc::new(key),
        })
    }

    /// Whether it is shown to a host.
    pub(super) fn is_for(&self, host: &str) -> bool {
        self.domains.is_empty() || self.domains.iter().any(|domain| is_like(domain, host))
    }

    /// The chain and its key.
    pub(super) fn parts(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.chain.clone(), self.key.clone_key())
    }
}
