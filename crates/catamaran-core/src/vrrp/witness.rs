//! What is known of another active whose adverts do not arrive.
//!
//! A peer may say over another path (the link of replication) that it is alive and active. Whether
//! clients can have both is another question: only who is on the same link can take the address
//! from the other. So before a backup takes over from such a peer, and before an active yields to
//! one, it asks on the link who has the address. The answer comes from the process that plays VRRP
//! there, never from a kernel, so that it proves that this is alive and active.
//!
//! ```text
//! adverts   peer alive elsewhere   somebody answers on the link
//! arrive    -                      -       nothing to do
//! silent    no                     -       the peer is dead: take over
//! silent    yes                    no      the link between is dead: take over
//! silent    yes                    yes     only the path of adverts is dead: stay, or yield if weaker
//! ```
//!
//! A process that dies ends its connections, which the other path tells at once. Then there is no need
//! to wait for three adverts: if the next one does not come either, and nobody answers meanwhile, it is
//! dead. That halves the time that clients wait, and more.

use crate::Timestamp;
use std::time::Duration;

/// One router's view of the others by other means than adverts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Witness {
    /// The highest priority of a peer that says elsewhere that it is active, and since when.
    active: Option<(u8, Timestamp)>,
    /// Since when nobody says so any more.
    silent_since: Option<Timestamp>,
    /// When somebody on the link last answered for the address.
    answered_at: Option<Timestamp>,
    /// When to ask next.
    pub(super) ask_at: Timestamp,
    /// Whether the path of adverts is known to be dead.
    pub(super) is_path_dead: bool,
    pub(super) departure: Departure,
    /// Whether no peer is there that could have taken over, as far as another path can tell.
    pub(super) is_alone: bool,
}

/// What is made of the end of the active's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// There was none.
    None,
    /// It may be dead.
    Suspected,
    /// It has been heard since: only its connection ended.
    Refuted,
}

impl Witness {
    pub(super) const NONE: Self = Self {
        active: None,
        silent_since: None,
        answered_at: None,
        ask_at: Timestamp::MAX,
        is_path_dead: false,
        departure: Departure::None,
        is_alone: false,
    };

    /// Takes what peers say. A change of priority is the same peer, or as good.
    pub(super) fn set_active(&mut self, now: Timestamp, priority: Option<u8>) {
        let since = self.active.map_or(now, |(_, since)| since);
        self.silent_since = None;
        self.active = priority.map(|priority| (priority, since));
    }

    /// Whether a word that does not come any more is still to be believed: the path of word may have
    /// broken, not the peer, which goes on to answer on the link. A node that
    /// `serves` waits for it no longer than [`BELIEVED`], any other for as long as the link answers.
    pub(super) fn is_believed(&mut self, now: Timestamp, serves: bool) -> bool {
        let since = *self.silent_since.get_or_insert(now);
        self.active.is_some() && (!serves || now.saturating_since(since) < BELIEVED)
    }

    /// An advert arrived: what is said elsewhere may be older.
    pub(super) const fn begin_anew(&mut self, now: Timestamp) {
        if let Some((_, since)) = &mut self.active {
            *since = now;
        }
    }

    pub(super) const fn set_answered(&mut self, now: Timestamp) {
        self.answered_at = Some(now);
    }

    /// Whether a peer says that it is active.
    pub(super) const fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Whether a peer says so and somebody on the link has answered lately: within `interval`, or, for
    /// as long as its word still comes, within `patience`. Where one of two paths tells that it lives,
    /// an answer that a busy machine holds up is no proof of its death.
    pub(super) fn is_on_link(
        &self,
        now: Timestamp,
        interval: Duration,
        patience: Duration,
    ) -> bool {
        let goes_on = self.silent_since.is_none() && self.departure == Departure::None;
        let window = if goes_on { patience } else { interval };
        let is_fresh = |at: Timestamp| now.saturating_since(at) <= window;
        self.is_active() && self.answered_at.is_some_and(is_fresh)
    }

    /// The priority of a peer that has been active beside an active for so long that it is no
    /// hand-over, of which word is still under way.
    pub(super) fn rival(&self, now: Timestamp, active_since: Timestamp) -> Option<u8> {
        let (priority, since) = self.active?;
        let both_since = since.max(active_since);
        (now.saturating_since(both_since) >= SETTLED).then_some(priority)
    }

    /// When [`Witness::rival`] may become another.
    pub(super) fn settles_at(&self, active_since: Timestamp) -> Timestamp {
        self.active.map_or(Timestamp::MAX, |(_, since)| {
            since.max(active_since) + SETTLED
        })
    }
}

/// How long the last word is believed where the link bears it out: longer than a process takes to
/// start again, or a connection to be made again.
const BELIEVED: Duration = Duration::from_secs(5);
/// Heartbeats come every half second and are believed for two.
const SETTLED: Duration = Duration::from_millis(2500);
