//! What workers and the control plane share: a closed list.
//!
//! The snapshot of the configuration; load, health and counters of servers; affinity tables; wait
//! queues; rate and source counters; retry budgets; lists and maps. No lock here is held across an await, and an
//! exchange takes at most one at a time.

mod backend;
mod connections;
mod frontend;
mod in_flight;
mod kept;
mod lists;
mod metered;
mod pulse;
mod server;
mod shared;
mod snapshot;
mod tarpit;
mod waiting;

pub use backend::{Backend, BackendMetrics, ServerSet, StickEntry};
pub(crate) use connections::Admitted;
pub(crate) use connections::Connections;
pub use frontend::Frontend;
pub(crate) use frontend::OpenSource;
pub use in_flight::Elsewhere;
pub(crate) use in_flight::InFlight;
pub use kept::{KeptTable, Shards, TableKind, TableName};
pub(crate) use lists::Gate;
pub use lists::{List, Map, Tables};
pub use metered::Metered;
pub(crate) use pulse::Listening;
pub use pulse::Pulse;
pub use server::{Server, ServerMetrics, Signal, Target};
pub use shared::{Left, NoSuchServer, Rebuilds, Shared, Signals};
pub(crate) use shared::{ListenerId, Listeners, Process};
pub use snapshot::{LogError, Snapshot};
pub use tarpit::Tarpit;
pub(crate) use waiting::{Place, Waited, Waiting, takes_bound};

pub(crate) use backend::lock;
