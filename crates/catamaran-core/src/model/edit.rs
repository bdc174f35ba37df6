//! A change of a configuration that can be written into its text.

use super::{Name, Server, Weight};

/// One change, as an operator makes it at run time.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// A server gets another weight.
    Weight {
        /// Its backend.
        backend: Name,
        /// The server.
        server: Name,
        /// Its share of the traffic.
        weight: Weight,
    },
    /// A backend gets another server.
    Add {
        /// The backend.
        backend: Name,
        /// The server.
        server: Box<Server>,
    },
    /// A backend loses a server.
    Remove {
        /// The backend.
        backend: Name,
        /// The server.
        server: Name,
    },
}
