//! The data plane: workers, listeners, TCP and HTTP/1.1 exchanges, and their access log.

pub mod access_log;
