//! What the system allows this process.

use crate::bind;
use anyhow::bail;
use catamaran_core::model::Config;
use std::num::NonZeroUsize;

/// Raises the limit on open descriptors and says how many connections it allows.
///
/// # Errors
/// If it is too low for `workers` workers to serve at all.
pub(crate) fn raise(config: &Config, workers: usize) -> anyhow::Result<()> {
    let Some((limit, possible)) = possible() else {
        return Ok(());
    };
    let least = least(config, workers);
    if limit < least {
        bail!(
            "{limit} open files are allowed, but {workers} workers with the listeners of this \
             configuration need {least} at least, and two more for each connection: raise the \
             limit (`ulimit -Hn`, or LimitNOFILE in systemd)"
        );
    }
    let wanted = config.process.max_connections;
    if wanted.is_some_and(|wanted| wanted > possible) {
        tracing::warn!(
            limit,
            possible,
            wanted,
            "the limit on open files allows fewer connections than max-connections: raise it \
             (`ulimit -Hn`, or LimitNOFILE in systemd)"
        );
    } else if wanted.is_none() && possible < FEW_CONNECTIONS {
        tracing::warn!(
            limit,
            possible,
            "the limit on open files allows few connections: raise it (`ulimit -Hn`, or \
             LimitNOFILE in systemd)"
        );
    } else {
        tracing::debug!(limit, possible, "limit on open files");
    }
    Ok(())
}

/// Descriptors without which the data process, which has more of them than the supervisor, does not
/// start.
fn least(config: &Config, workers: usize) -> u64 {
    let listeners: usize = config.frontends.iter().map(|f| f.listeners.len()).sum();
    OWN_DESCRIPTORS + (workers * (DESCRIPTORS_PER_WORKER + listeners)) as u64
}

/// Keeps the connections from clients to what the limit on open descriptors allows, and says how many
/// workers there are.
pub(crate) fn settle(config: &mut Config) {
    config.process.workers = NonZeroUsize::new(bind::workers(config));
    if let Some((_, possible)) = possible() {
        let max = &mut config.process.max_connections;
        *max = Some(max.map_or(possible, |wanted| wanted.min(possible)));
    }
}

/// The limit on open descriptors, raised as far as it goes, and the connections it allows.
fn possible() -> Option<(u64, usize)> {
    match catamaran_sys::process::raise_descriptor_limit() {
        Ok(limit) => {
            let reserved = RESERVED_DESCRIPTORS.min(limit.soft / 4);
            let possible = (limit.soft - reserved) / DESCRIPTORS_PER_CONNECTION;
            Some((limit.soft, usize::try_from(possible).unwrap_or(usize::MAX)))
        }
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            None
        }
    }
}

/// Descriptors that are not connections: listeners, logs, probes, event queues; chosen. A quarter of
/// a limit below 1,024.
const RESERVED_DESCRIPTORS: u64 = 256;
/// Standard streams, the supervisor, signals, logs, the admin API, and a few for what a moment
/// needs. Measured: 17 after the start.
const OWN_DESCRIPTORS: u64 = 28;
/// Its event queue, and what wakes it. Measured.
const DESCRIPTORS_PER_WORKER: usize = 4;
/// One to the client and one to the server; pipes come on top, but few connections hold one.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Fewer connections than this are worth a warning; chosen.
const FEW_CONNECTIONS: usize = 1000;
