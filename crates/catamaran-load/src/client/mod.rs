//! The client: connections, exchanges of HTTP/1.1 and HTTP/2 on them, and what each phase took.
//!
//! One read takes a small answer whole, one write a request with its body; nothing is copied that the
//! caller does not ask for. Connections belong to whoever keeps them: the pool is the caller's.

mod answer;
mod connection;
mod exchange;
mod failure;
mod http2;
mod line;
mod proxy_header;
mod request;
mod tls;
mod url;
pub mod websocket;

pub use answer::{AnswerReader, Kept};
pub use connection::{Connection, Endpoint, Opened};
pub use exchange::{Answer, Phases, exchange, set_timeout};
pub use failure::Failure;
pub use http2::{Http2, Http2Failure};
pub use line::Line;
pub use proxy_header::ProxyHeader;
pub use request::{HeaderError, RequestText};
pub use tls::{Alpn, LazyTls, TlsClient};
pub use url::{Url, UrlError};
