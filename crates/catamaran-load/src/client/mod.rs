//! The client: connections, exchanges of HTTP/1.1, HTTP/2 and HTTP/3 on them, and what each phase took.
//!
//! One read takes a small answer whole, one write a request with its body; nothing is copied that the
//! caller does not ask for. Connections belong to whoever keeps them: the pool is the caller's.

mod answer;
mod connection;
mod deadline;
mod exchange;
mod failure;
mod http2;
#[cfg(feature = "http3")]
mod http3;
mod identity;
mod line;
mod once;
mod proxy_header;
mod request;
mod suites;
mod tls;
mod url;
pub mod websocket;

pub use answer::{AnswerReader, Kept};
pub use connection::{Connection, Endpoint, Opened};
pub use deadline::set_timeout;
pub(crate) use deadline::watch;
pub use exchange::{Answer, Phases, exchange};
pub use failure::Failure;
#[cfg(feature = "scripts")]
pub(crate) use http2::send_some;
pub use http2::{Http2, Http2Failure};
#[cfg(feature = "http3")]
pub use http3::Http3;
pub use identity::TlsIdentity;
pub use line::Line;
pub use once::send_once;
pub use proxy_header::ProxyHeader;
pub use request::{HeaderError, RequestText};
pub use suites::TlsSuites;
pub use tls::{Alpn, LazyTls, TlsClient, TlsOptions, TlsVersions};
pub use url::{Url, UrlError};
