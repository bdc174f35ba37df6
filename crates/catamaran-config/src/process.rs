//! The `[process]` section.

use crate::address;
use crate::read::{Fields, Node, set};
use crate::reference;
use catamaran_core::model::Process;
use std::num::NonZeroUsize;

/// Reads the section.
pub(crate) fn read(node: Node<'_>) -> Option<Process> {
    let fields = node.fields(&reference::PROCESS)?;
    let mut process = Process {
        workers: workers(fields),
        max_connections: fields.number("max-connections"),
        ..Process::default()
    };
    set(&mut process.drain, fields.duration("drain"));
    set(&mut process.drain_delay, fields.duration("drain-delay"));
    set(&mut process.drain_tunnels, fields.duration("drain-tunnels"));
    let timeout = fields.duration("upgrade-timeout");
    set(&mut process.upgrade_timeout, timeout);
    set(&mut process.upgrade_pause, fields.duration("upgrade-pause"));
    set(&mut process.max_draining, fields.number("max-draining"));
    set(&mut process.watch, fields.bool("watch"));
    set(&mut process.watchdog, fields.duration("watchdog"));
    set(
        &mut process.server_histograms,
        fields.number("server-histograms"),
    );
    if let Some(metrics) = fields.node("metrics") {
        process.metrics = address_of(metrics, address::listen_address);
    }
    if let Some(resolvers) = fields.node("resolvers") {
        let read = |node| address_of(node, |text| address::with_default_port(text, 53));
        process.resolvers = resolvers
            .one_or_many()
            .into_iter()
            .filter_map(read)
            .collect();
    }
    let name = |key| fields.node(key)?.text("a name (a string)");
    process.user = name("user");
    process.group = name("group");
    if process.group.is_some() && process.user.is_none() {
        fields.error("`group` goes with `user`: write both, or neither");
    }
    Some(process)
}

/// A string that `parse` understands.
fn address_of<T>(node: Node<'_>, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
    let text = node.text("an address (a string)")?;
    parse(&text).map_err(|message| node.error(message)).ok()
}

fn workers(fields: Fields<'_>) -> Option<NonZeroUsize> {
    NonZeroUsize::new(fields.number("workers")?)
}
