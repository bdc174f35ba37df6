//! What the last check of each server said, and when.

use crate::probe::Finding;
use catamaran_core::Timestamp;
use catamaran_core::health::ProbeResult;
use catamaran_core::model::Name;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The last check of every server that is checked.
#[derive(Debug, Default)]
pub(crate) struct Checks(Mutex<HashMap<Name, HashMap<Name, LastCheck>>>);

/// The last check of one server.
#[derive(Clone, Debug)]
pub(crate) struct LastCheck {
    /// When its result came.
    pub(crate) at: Timestamp,
    /// The result.
    pub(crate) result: ProbeResult,
    /// Why it is no pass.
    pub(crate) reason: String,
}

impl Checks {
    /// Notes how a check went.
    pub(crate) fn note(&self, now: Timestamp, backend: &Name, server: &Name, finding: &Finding) {
        let check = LastCheck {
            at: now,
            result: finding.into(),
            reason: finding.reason(),
        };
        let mut checks = self.lock();
        let of_backend = checks.entry(backend.clone()).or_default();
        of_backend.insert(server.clone(), check);
    }

    /// Forgets the servers of `backend` that `is_there` denies.
    pub(crate) fn retain(&self, backend: &Name, is_there: impl Fn(&Name) -> bool) {
        if let Some(checks) = self.lock().get_mut(backend) {
            checks.retain(|server, _| is_there(server));
        }
    }

    /// Forgets the backends that `is_there` denies.
    pub(crate) fn retain_backends(&self, is_there: impl Fn(&Name) -> bool) {
        self.lock().retain(|backend, _| is_there(backend));
    }

    /// The last checks of the servers of `backend`.
    pub(crate) fn of(&self, backend: &Name) -> HashMap<Name, LastCheck> {
        self.lock().get(backend).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, HashMap<Name, LastCheck>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
