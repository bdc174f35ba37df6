//! What the system allows this process.

use catamaran_core::model::Config;

/// Says how many connections the limit on open descriptors allows, having raised it.
pub(crate) fn raise(config: &Config) {
    let limit = match catamaran_sys::process::raise_descriptor_limit() {
        Ok(limit) => limit.soft,
        Err(error) => {
            tracing::warn!(%error, "the limit on open files could not be raised");
            return;
        }
    };
    let possible = limit.saturating_sub(RESERVED_DESCRIPTORS) / DESCRIPTORS_PER_CONNECTION;
    let wanted = config.process.max_connections;
    if wanted.is_some_and(|wanted| wanted as u64 > possible) {
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
}

/// Descriptors that are not connections: listeners, logs, probes, event queues; chosen.
const RESERVED_DESCRIPTORS: u64 = 256;
/// One to the client and one to the server; pipes come on top, but few connections hold one.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;
/// Fewer connections than this are worth a warning; chosen.
const FEW_CONNECTIONS: u64 = 1000;
