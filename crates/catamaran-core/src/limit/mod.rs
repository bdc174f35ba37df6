//! Who is refused: rate limits and the cap on connections per source.

mod bandwidth;
mod passes;
mod rate;
mod sources;
mod unheard;

pub use bandwidth::{Pace, Reserved};
pub use rate::{Limiter, RetryAfter};
pub use sources::{Sources, SourcesError};
