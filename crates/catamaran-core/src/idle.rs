//! When an idle connection to a server may carry a request, and how long it is kept.
//!
//! A server may close an idle connection in the moment in which we send on it. A request that may
//! be sent again risks nothing by that ([`crate::retry::decide`] covers the race); any other goes
//! out only where the race is unlikely.

use crate::retry::Repeat;
use std::time::Duration;

/// The age up to which an idle connection carries requests that cannot be sent again.
pub const MAX_IDLE_UNREPEATABLE: Duration = Duration::from_secs(1);

/// TCP_USER_TIMEOUT of connections to servers: how long sent bytes may go unacknowledged.
pub const USER_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a connection idle for `idle_for` may carry a request. One that may not stays: the next
/// idempotent request may use it.
#[must_use]
pub fn may_carry(repeat: Repeat, idle_for: Duration) -> bool {
    match repeat {
        Repeat::Idempotent => true,
        Repeat::Unsafe => idle_for <= MAX_IDLE_UNREPEATABLE,
    }
}

/// How long a connection is kept idle: as `configured`, or, if the server announced a shorter
/// `Keep-Alive: timeout`, a second less than that, so that we close first.
///
/// Zero means that the connection is not kept.
#[must_use]
pub fn life(configured: Duration, announced: Option<Duration>) -> Duration {
    match announced {
        Some(announced) => configured.min(announced.saturating_sub(MARGIN)),
        None => configured,
    }
}

/// The time by which we close before the server would.
const MARGIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn idempotent_requests_use_any_idle_connection() {
        assert!(may_carry(Repeat::Idempotent, Duration::from_secs(4)));
    }

    #[test]
    fn others_use_only_one_used_within_the_last_second() {
        assert!(may_carry(Repeat::Unsafe, Duration::from_secs(1)));
        assert!(!may_carry(Repeat::Unsafe, Duration::from_secs(1) + MS));
    }

    #[test]
    fn sent_bytes_go_unacknowledged_for_ten_seconds_at_most() {
        assert_eq!(USER_TIMEOUT, Duration::from_secs(10));
    }

    #[test]
    fn we_close_a_second_before_a_server_that_says_when_it_closes() {
        let configured = Duration::from_secs(4);
        assert_eq!(life(configured, None), configured);
        assert_eq!(life(configured, Some(3000 * MS)), 2000 * MS);
        assert_eq!(life(configured, Some(60_000 * MS)), configured);
        assert_eq!(life(configured, Some(1000 * MS)), Duration::ZERO);
    }
}
