//! Who a client is: passwords of htpasswd files and JSON Web Tokens.
//!
//! It opens no file, reads no clock and keeps nothing: the configuration reads files and has them
//! judged here, the data plane asks for each request. Cryptography is that of `ring`, `bcrypt` and
//! `sha-crypt`; what is decided here is which of it a token may ask for.
#![forbid(unsafe_code)]

mod basic;
mod keys;
mod token;

pub use basic::{Credentials, Fingerprints, NoRandomness, Users, UsersError};
pub use keys::{Algorithm, Keys, KeysError};
pub use token::{Claims, Expected, MAX_TOKEN, TokenError};
