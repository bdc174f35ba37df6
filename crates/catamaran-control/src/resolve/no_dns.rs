//! What stands for the DNS in a binary built without it.

use super::{Answer, DnsSetupError, Lookup, Question};
use std::net::SocketAddr;

/// Cannot be made.
#[derive(Debug)]
pub enum Dns {}

impl Dns {
    /// Fails.
    ///
    /// # Errors
    /// Always [`DnsSetupError::NotBuilt`].
    pub const fn new(_resolvers: &[SocketAddr]) -> Result<Self, DnsSetupError> {
        Err(DnsSetupError::NotBuilt)
    }
}

impl Lookup for Dns {
    async fn lookup(&self, _question: Question) -> Answer {
        match *self {}
    }
}
