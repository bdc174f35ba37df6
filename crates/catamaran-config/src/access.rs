//! Who may come: `allow`, `deny`, and what becomes of who may not.

use crate::files::Files;
use crate::read::{Fields, Node, set};
use crate::reference;
use crate::unit;
use catamaran_core::model::{Access, Addresses, Bandwidth, BandwidthOf, Denial, IpNet, Tarpit};
use std::num::NonZeroU64;

/// Reads `allow`, `deny` and `denial`.
pub(crate) fn access<'a>(fields: Fields<'a>, files: &Files<'a>) -> Access {
    let mut access = Access {
        allow: addresses(fields, "allow", files),
        deny: addresses(fields, "deny", files),
        denial: Denial::default(),
    };
    if let Some(node) = fields.node("denial") {
        set(&mut access.denial, denial(node));
        if access.is_open() && !fields.has_unknown() {
            let told = "`denial` has nobody to deny; add `deny` or `allow`, or remove it";
            node.reader().warn(node.at(), told);
        }
    }
    access
}

/// What becomes of a client that is refused.
pub(crate) fn denial(node: Node<'_>) -> Option<Denial> {
    node.choice(&[
        ("forbid", Denial::Forbid),
        ("close", Denial::Close),
        ("silent-drop", Denial::SilentDrop),
        ("tarpit", Denial::Tarpit),
    ])
}

/// Reads `tarpit`: a duration, or a table.
pub(crate) fn tarpit(fields: Fields<'_>) -> Tarpit {
    let mut tarpit = Tarpit::default();
    let Some(node) = fields.node("tarpit") else {
        return tarpit;
    };
    if !node.is_table() {
        set(
            &mut tarpit.hold,
            node.duration(reference::SHORTEST_HOLD, reference::LONGEST_HOLD),
        );
        return tarpit;
    }
    if let Some(fields) = node.fields(&reference::TARPIT) {
        set(&mut tarpit.hold, fields.duration("hold"));
        set(&mut tarpit.max, fields.number("max"));
    }
    tarpit
}

/// Reads `bandwidth`.
pub(crate) fn bandwidth(node: Node<'_>) -> Option<Bandwidth> {
    let fields = node.fields(&reference::BANDWIDTH)?;
    let (inbound, outbound) = (fields.node("in"), fields.node("out"));
    if inbound.is_none() && outbound.is_none() && !fields.has_unknown() {
        node.error("`bandwidth` limits nothing; add `out = \"10MiB/s\"` or `in`");
    }
    let per = fields.node("per").and_then(|node| {
        node.choice(&[
            ("connection", BandwidthOf::Connection),
            ("source", BandwidthOf::Source),
            ("frontend", BandwidthOf::Frontend),
        ])
    });
    Some(Bandwidth {
        inbound: inbound.and_then(rate),
        outbound: outbound.and_then(rate),
        per: per.unwrap_or_default(),
    })
}

/// A rate such as `10MiB/s`.
fn rate(node: Node<'_>) -> Option<NonZeroU64> {
    const EXPECTED: &str = "a rate such as `\"10MiB/s\"`, 1KiB/s to 1000GiB/s";
    let text = node.text(EXPECTED)?;
    let rate = text.strip_suffix("/s").and_then(unit::size);
    let rate = rate.filter(|rate| (1 << 10..=1000 << 30).contains(rate));
    if rate.is_none() {
        node.error(format!("`{text}` is not {EXPECTED}"));
    }
    NonZeroU64::new(rate?)
}

/// Networks and `list:NAME`; `None` if `key` is not written.
fn addresses<'a>(fields: Fields<'a>, key: &'static str, files: &Files<'a>) -> Option<Addresses> {
    let node = fields.node(key)?;
    let mut all = Addresses::default();
    for item in node.one_or_many() {
        let Some(text) = item.text("a network such as `\"10.0.0.0/8\"`, or `\"list:NAME\"`") else {
            continue;
        };
        if let Some(name) = text.strip_prefix("list:") {
            all.lists.extend(files.list(name, item));
            continue;
        }
        match text.parse::<IpNet>() {
            Ok(network) => all.networks.push(network.canonical()),
            Err(cause) => item.error(format!(
                "`{text}` is no network: {cause}; write it as `10.0.0.0/8`, or `list:NAME`"
            )),
        }
    }
    Some(all)
}
