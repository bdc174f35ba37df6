//! Refusing clients and requests by policy: told, reset, dropped or kept waiting.

use super::exchange::{Exchange, Next};
use super::{Client, log};
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::tarpit::{self, Held};
use crate::worker::Worker;
use catamaran_core::limit::RetryAfter;
use catamaran_core::model::Denial;

/// A request that policy refuses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) denial: Denial,
    /// What it is told, if it is told.
    pub(super) outcome: Outcome,
    pub(super) retry_after: Option<RetryAfter>,
}

impl Refusal {
    /// Of a client that may not come.
    pub(super) const fn forbidden(denial: Denial) -> Self {
        Self {
            denial,
            outcome: Outcome::Forbidden,
            retry_after: None,
        }
    }

    /// Of a request above a rate limit.
    pub(super) const fn too_often(denial: Denial, wait: RetryAfter) -> Self {
        Self {
            denial,
            outcome: Outcome::RateLimited,
            retry_after: Some(wait),
        }
    }
}

impl Exchange<'_> {
    /// Refuses the request.
    pub(super) async fn deny(&mut self, refusal: Refusal) -> Next {
        let Refusal {
            denial,
            outcome,
            retry_after,
        } = refusal;
        match denial {
            Denial::Forbid => self.fail(outcome, retry_after).await,
            Denial::Close => {
                self.end(outcome);
                Next::Abort
            }
            Denial::SilentDrop => {
                self.client.stream.drop_silently();
                self.end(Outcome::Dropped);
                Next::End
            }
            Denial::Tarpit => {
                let tarpitted = Outcome::Tarpitted(outcome.consequence().status);
                let (stream, deadline) = (&self.client.stream, &self.client.deadline);
                match tarpit::hold(self.worker, self.frontend, stream, deadline).await {
                    Held::Full => self.fail(outcome, retry_after).await,
                    Held::Over => self.fail(tarpitted, retry_after).await,
                    Held::ClientGone => {
                        self.end(tarpitted);
                        Next::End
                    }
                }
            }
        }
    }
}

/// Ends a connection of which nothing was read, if its client is to have no answer anyway. Returns
/// whether it did.
pub(super) fn unread(worker: &Worker, frontend: &Frontend, client: &Client) -> bool {
    let outcome = match frontend.denies_connection(client.peer.ip()) {
        Some(Denial::Close) => {
            client.stream.reset_on_close();
            Outcome::Forbidden
        }
        Some(Denial::SilentDrop) => {
            client.stream.drop_silently();
            Outcome::Dropped
        }
        // These are told once it is known what they ask.
        Some(Denial::Forbid | Denial::Tarpit) | None => return false,
    };
    frontend.counters(worker.index).end(outcome, 0);
    log::refused(worker, frontend, client, (None, 0), outcome);
    true
}
