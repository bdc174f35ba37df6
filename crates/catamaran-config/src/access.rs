//! Who may come: `allow`, `deny`, and what becomes of who may not.

use crate::files::Files;
use crate::read::{Fields, Node, set};
use crate::reference;
use catamaran_core::model::{Access, Addresses, Denial, IpNet, Tarpit};

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
