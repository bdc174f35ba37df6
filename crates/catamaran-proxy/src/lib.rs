//! The data plane: workers, listeners, TCP, UDP and HTTP/1.1 exchanges, and their access log.
//!
//! [`Proxy::start`] takes a validated configuration and listening sockets and serves until it is
//! drained. It decides nothing that policy decides: choice of servers, health, limits and retries
//! are `catamaran-core`'s, framing is `catamaran-http1`'s. The control plane reads and steers it
//! through [`Shared`].

pub mod access_log;
mod auth;
mod facts;
mod http1;
mod io;
mod outcome;
mod proxy;
mod reload;
mod state;
mod succession;
mod tarpit;
mod tcp;
mod throttle;
mod trace;
mod tunnel;
mod udp;
mod upstream;
mod worker;

pub use outcome::{Class, Consequence, Outcome};
pub use proxy::{ListenerSockets, Proxy, StartError};
pub use reload::{ApplyError, Plan, WantedListener};
pub use state::{
    Backend, BackendCounts, Bandwidth, Elsewhere, Frontend, FrontendCounts, Histogram,
    HistogramTotals, Latencies, Left, List, LogError, Map, Metered, NoSuchServer, PerWorker, Pulse,
    RateKeys, Rebuilds, RouteCounts, Server, ServerCounts, ServerMetrics, ServerSet, Shared,
    Signal, Signals, Snapshot, Spans, SpansTaker, StickEntry, Tables, Target, Tarpit, Traffic,
    TrafficTotals,
};
pub use trace::{Record, Request, Tracing, Try};
pub use worker::{Lag, WorkerMetrics};
