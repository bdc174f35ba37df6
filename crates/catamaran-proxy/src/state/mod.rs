//! What workers and the control plane share: a closed list.
//!
//! The snapshot of the configuration; load, health and counters of servers; affinity tables; wait
//! queues; rate and source counters; retry budgets; lists and maps; sampled exchanges on their way out.
//! No lock here is held across an await, and an exchange takes at most one at a time.

mod backend;
mod bandwidth;
mod connections;
mod frontend;
mod in_flight;
mod kept;
mod lists;
mod metered;
mod parts;
mod pulse;
mod server;
mod shared;
mod snapshot;
mod spans;
mod tarpit;
mod traffic;
mod waiting;

pub use backend::{Backend, BackendCounts, ServerSet, StickEntry};
pub use bandwidth::Bandwidth;
pub(crate) use bandwidth::{Meter, Meters};
pub(crate) use connections::Admitted;
pub(crate) use connections::Connections;
pub(crate) use frontend::OpenSource;
pub use frontend::{Frontend, FrontendCounts, RateKeys};
pub use in_flight::Elsewhere;
pub(crate) use in_flight::InFlight;
pub(crate) use lists::Gate;
pub use lists::{List, Map, Tables};
pub use metered::Metered;
pub(crate) use pulse::Listening;
pub use pulse::Pulse;
pub use server::{Server, ServerCounts, ServerMetrics, Signal, Target};
pub use shared::{Left, NoSuchServer, Rebuilds, Shared, Signals};
pub(crate) use shared::{ListenerId, Listeners, Process};
pub use snapshot::{LogError, Snapshot};
pub use spans::{Spans, SpansTaker};
pub use tarpit::Tarpit;
pub(crate) use traffic::{Ended, Layout, Times, class_of};
pub use traffic::{
    Histogram, HistogramTotals, Latencies, PerWorker, RouteCounts, Traffic, TrafficTotals,
};
pub(crate) use waiting::{Place, Waited, Waiting, takes_bound};

pub(crate) use backend::lock;
