//! The `[virtual-ip.*]` sections.

use crate::backend::{Backends, check_name, first, name_problem};
use crate::read::{Entry, Fields, Node, set};
use crate::reference;
use catamaran_core::model::{
    Authentication, Hook, IpNet, Name, Track, Tracked, VirtualAddress, VirtualIp, VirtualRoute,
};
use catamaran_core::vrrp::{AdvertInterval, ChecksumStyle, Family, Version};
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Reads the sections in the order of the file.
pub(crate) fn read_all<'a>(root: Fields<'a>, backends: &Backends<'a>) -> Vec<VirtualIp> {
    let entries = root.node("virtual-ip").and_then(|node| node.entries());
    let mut taken = Taken::default();
    let has_peers = root.node("cluster").is_some();
    let sections = entries.unwrap_or_default().into_iter();
    sections
        .filter_map(|entry| {
            let virtual_ip = read(entry, backends, &mut taken)?;
            let is_tracked = |track: &Track| track.what == Tracked::Replication;
            if !has_peers && virtual_ip.track.iter().any(is_tracked) {
                entry.node.error(
                    "`track` watches `replication`, but there are no peers; add `[cluster]`, or \
                     remove it",
                );
            }
            Some(virtual_ip)
        })
        .collect()
}

/// What only one section may have, and where it is written.
#[derive(Default)]
struct Taken {
    addresses: HashMap<IpAddr, usize>,
    routers: HashMap<(String, u8, Family), usize>,
}

fn read<'a>(entry: Entry<'a>, backends: &Backends<'a>, taken: &mut Taken) -> Option<VirtualIp> {
    check_name("virtual-ip", entry);
    let fields = entry.node.fields(&reference::VIRTUAL_IP)?;
    let version = match fields.number("version") {
        Some(2_u8) => Version::V2,
        _ => Version::V3,
    };
    let addresses = addresses(fields, version, &mut taken.addresses);
    let interface = fields
        .required("interface", "\"eth0\"")
        .and_then(interface_name);
    fields.required("router-id", "51");
    let router_id = fields.number("router-id");
    let checksums = [
        ("message", ChecksumStyle::Message),
        ("pseudo-header", ChecksumStyle::PseudoHeader),
    ];
    let checksum = fields.node("checksum");
    let virtual_ip = VirtualIp {
        name: Name::new(entry.name),
        interval: interval(fields, version),
        peers: peers(fields, &addresses),
        virtual_mac: fields.bool("virtual-mac").unwrap_or(false),
        routes: routes(fields, &addresses),
        addresses,
        interface: interface?,
        router_id: router_id?,
        priority: fields.number("priority").unwrap_or(100),
        version,
        preempt: fields.bool("preempt").unwrap_or(false),
        preempt_delay: preempt_delay(fields),
        checksum: checksum
            .and_then(|node| node.choice(&checksums))
            .unwrap_or(ChecksumStyle::Message),
        authentication: authentication(fields),
        allow_jitter: fields.bool("allow-jitter").unwrap_or(false),
        sync_group: fields.node("sync-group").and_then(group_name),
        track: track(fields, backends),
        on_change: on_change(fields),
    };
    for family in virtual_ip.families() {
        let router = (virtual_ip.interface.clone(), virtual_ip.router_id, family);
        if let Some(other) = first(&mut taken.routers, router, entry.at) {
            let line = fields.reader().line(other);
            fields.error(format!(
                "virtual-ip `{}` has the `router-id` and `interface` of that at line {line}; give \
                 it a `router-id` of its own",
                entry.name
            ));
            break;
        }
    }
    Some(virtual_ip)
}

fn addresses(
    fields: Fields<'_>,
    version: Version,
    taken: &mut HashMap<IpAddr, usize>,
) -> Vec<VirtualAddress> {
    let Some(node) = fields.required("addresses", "[\"192.0.2.10/24\"]") else {
        return Vec::new();
    };
    if node.is_empty_list() {
        node.error("`addresses` is empty; write `addresses = [\"192.0.2.10/24\"]`");
    }
    let mut read = |node: Node<'_>| {
        let text = node.text("an address such as `\"192.0.2.10/24\"`")?;
        let address = match virtual_address(&text) {
            Ok(address) => address,
            Err(message) => {
                node.error(message);
                return None;
            }
        };
        if (version, Family::of(address.address)) == (Version::V2, Family::V6) {
            node.error(format!(
                "`{text}` is an IPv6 address, which version 2 does not know; write `version = 3`"
            ));
        }
        if let Some(other) = first(taken, address.address, node.at()) {
            let line = node.reader().line(other);
            node.error(format!(
                "`{text}` is virtual twice, first at line {line}; remove one"
            ));
        }
        Some(address)
    };
    let addresses: Vec<VirtualAddress> = node
        .one_or_many()
        .into_iter()
        .filter_map(&mut read)
        .collect();
    if addresses.len() > MAX_ADDRESSES {
        node.error(format!(
            "`addresses` has {} items; a packet holds {MAX_ADDRESSES}, split the section",
            addresses.len()
        ));
    }
    addresses
}

fn virtual_address(text: &str) -> Result<VirtualAddress, String> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let wrong =
        || format!("`{text}` is no address; write it as `192.0.2.10/24` or `2001:db8::10/64`");
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse().map_err(|_| wrong())?,
        None => longest,
    };
    if prefix > longest || prefix == 0 {
        return Err(format!("the prefix of `{text}` must be 1 to {longest}"));
    }
    if address.is_multicast() || address.is_unspecified() || address.is_loopback() {
        return Err(format!(
            "`{text}` cannot be virtual; write an address that one node has at a time"
        ));
    }
    Ok(VirtualAddress { address, prefix })
}

fn interface_name(node: Node<'_>) -> Option<String> {
    let name = node.text("the name of an interface (a string)")?;
    // IFNAMSIZ with its final NUL; what the kernel's dev_valid_name refuses.
    let is_valid = matches!(name.len(), 1..=15)
        && name != "."
        && name != ".."
        && !name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control());
    if !is_valid {
        node.error(format!(
            "`{name}` is no name of an interface; write one that `ip link` shows, such as `eth0`"
        ));
    }
    is_valid.then_some(name)
}

fn interval(fields: Fields<'_>, version: Version) -> AdvertInterval {
    let (default, rule) = match version {
        Version::V2 => (100, "whole seconds from 1s to 255s with version 2"),
        Version::V3 => (10, "a multiple of 10ms from 10ms to 40950ms"),
    };
    let default = AdvertInterval::from_centisecs(default).expect("the defaults are in range");
    let Some(written) = fields.duration("advert-interval") else {
        return default;
    };
    AdvertInterval::try_new(written, version).unwrap_or_else(|| {
        if let Some(node) = fields.node("advert-interval") {
            node.error(format!("`advert-interval` must be {rule}"));
        }
        default
    })
}

fn preempt_delay(fields: Fields<'_>) -> Duration {
    let delay = fields.duration("preempt-delay").unwrap_or_default();
    if let Some(node) = fields.node("preempt-delay")
        && !delay.is_zero()
        && fields.bool("preempt") != Some(true)
    {
        node.error("`preempt-delay` says when to preempt; add `preempt = true`, or remove it");
    }
    delay
}

fn peers(fields: Fields<'_>, addresses: &[VirtualAddress]) -> Vec<IpAddr> {
    let Some(node) = fields.node("peers") else {
        return Vec::new();
    };
    if node.is_empty_list() {
        node.error("`peers` is empty; write the addresses of the other nodes, or remove it");
    }
    let read = |node: Node<'_>| {
        let text = node.text("an address such as `\"10.0.0.12\"`")?;
        let peer = text.parse::<IpAddr>().ok();
        let peer = peer.filter(|peer| !peer.is_multicast() && !peer.is_unspecified());
        if peer.is_none() {
            node.error(format!(
                "`{text}` is no address of a node; write it as `10.0.0.12`"
            ));
        }
        peer
    };
    let items = node.one_or_many();
    let count = items.len();
    let peers: Vec<IpAddr> = items.into_iter().filter_map(read).collect();
    if count > MAX_PEERS {
        node.error(format!(
            "`peers` has {count} items; {MAX_PEERS} are allowed"
        ));
    }
    let lacks = |family| {
        let of = |address: IpAddr| Family::of(address) == family;
        addresses.iter().any(|a| of(a.address)) && !peers.iter().any(|&peer| of(peer))
    };
    for (family, named) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        if peers.len() == count && count > 0 && lacks(family) {
            node.error(format!(
                "`peers` has no {named} address, but `addresses` has; add the peer's"
            ));
        }
    }
    peers
}

fn authentication(fields: Fields<'_>) -> Option<Authentication> {
    let choices = [("require", true), ("offer", false)];
    let written = fields.node("authentication");
    let is_required = written.and_then(|node| node.choice(&choices));
    let Some(node) = fields.node("secret-file") else {
        if let Some(node) = written {
            node.error("`authentication` needs a secret; add `secret-file`, or remove it");
        }
        return None;
    };
    let path = PathBuf::from(node.text("a path (a string)")?);
    if !path.is_absolute() {
        node.error("`secret-file` is no absolute path; write it as `/etc/catamaran/vrrp.key`");
    }
    Some(Authentication {
        secret_file: path,
        is_required: is_required.unwrap_or(true),
    })
}

fn routes(fields: Fields<'_>, addresses: &[VirtualAddress]) -> Vec<VirtualRoute> {
    let Some(node) = fields.node("routes") else {
        return Vec::new();
    };
    let items = node.list().unwrap_or_default();
    if items.len() > MAX_ROUTES {
        node.error(format!(
            "`routes` has {} items; {MAX_ROUTES} are allowed",
            items.len()
        ));
    }
    let read = |node: Node<'_>| route(node.fields(&reference::VIRTUAL_ROUTE)?, addresses);
    items.into_iter().filter_map(read).collect()
}

fn route(fields: Fields<'_>, addresses: &[VirtualAddress]) -> Option<VirtualRoute> {
    let node = fields.required("to", "\"10.0.0.0/8\"")?;
    let text = node.text("a network such as `\"10.0.0.0/8\"`")?;
    let to = match text.parse::<IpNet>() {
        Ok(to) if to == to.canonical() => to,
        Ok(to) => {
            let (first, prefix) = (to.canonical().first(), to.prefix());
            node.error(format!("`{text}` is no network; write `{first}/{prefix}`"));
            return None;
        }
        Err(cause) => {
            node.error(format!("`{text}`: {cause}; write it as `10.0.0.0/8`"));
            return None;
        }
    };
    let has_source = |one: &VirtualAddress| {
        let is_link_local = matches!(one.address, IpAddr::V6(a) if a.is_unicast_link_local());
        one.address.is_ipv4() == to.is_ipv4() && !is_link_local
    };
    if !addresses.is_empty() && !addresses.iter().any(has_source) {
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        node.error(format!(
            "`{text}` is a network of {family}, of which `addresses` has none that packets could \
             come from; add one"
        ));
    }
    let via = fields.node("via").and_then(|node| {
        let text = node.text("an address such as `\"192.0.2.1\"`")?;
        let via = text.parse::<IpAddr>().ok();
        let via = via.filter(|via| via.is_ipv4() == to.is_ipv4());
        if via.is_none() {
            let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
            node.error(format!("`{text}` is no address of {family}, as `to` is"));
        }
        via
    });
    Some(VirtualRoute {
        to,
        via,
        table: fields.number("table").unwrap_or(MAIN_TABLE),
        metric: fields.number("metric").unwrap_or(0),
    })
}

fn group_name(node: Node<'_>) -> Option<Name> {
    let name = node.text("the name of a group (a string)")?;
    if let Some(problem) = name_problem(&name) {
        node.error(format!("the name of sync-group `{name}` {problem}"));
    }
    Some(Name::new(&name))
}

fn track<'a>(fields: Fields<'a>, backends: &Backends<'a>) -> Vec<Track> {
    let Some(node) = fields.node("track") else {
        return Vec::new();
    };
    let items = node.list().unwrap_or_default();
    if items.len() > MAX_TRACKED {
        node.error(format!(
            "`track` has {} items; {MAX_TRACKED} are allowed",
            items.len()
        ));
    }
    let read = |node: Node<'a>| track_one(node.fields(&reference::TRACK)?, backends);
    items.into_iter().filter_map(read).collect()
}

fn track_one<'a>(fields: Fields<'a>, backends: &Backends<'a>) -> Option<Track> {
    let kinds = ["backend", "interface", "command", "file", "replication"];
    let written: Vec<Node<'a>> = kinds.iter().filter_map(|&kind| fields.node(kind)).collect();
    match written[..] {
        [] if !fields.has_unknown() => fields.error(
            "`track` does not say what; add one of `backend`, `interface`, `command`, `file`, \
             `replication`",
        ),
        [_, second, ..] => {
            second.error("one item of `track` watches one thing; write an item for each");
        }
        _ => {}
    }
    let is_timed = fields.node("command").is_some() || fields.node("file").is_some();
    let timing = [
        ("interval", is_timed),
        ("timeout", fields.node("command").is_some()),
    ];
    for (key, allowed) in timing {
        if let Some(node) = fields.node(key)
            && !allowed
        {
            node.error(format!("`{key}` is for commands and files; remove it"));
        }
    }
    let second = Duration::from_secs(1);
    let weight = fields.number("weight");
    let what = if let Some(node) = fields.node("backend") {
        Tracked::Backend(backends.resolve(node)?)
    } else if let Some(node) = fields.node("interface") {
        Tracked::Interface(interface_name(node)?)
    } else if let Some(node) = fields.node("replication") {
        node.choice(&[("current", ())])?;
        Tracked::Replication
    } else if let Some(node) = fields.node("command") {
        Tracked::Command {
            argv: argv(node)?,
            interval: fields.duration("interval").unwrap_or(second),
            timeout: fields.duration("timeout").unwrap_or(second),
        }
    } else {
        let node = fields.node("file")?;
        let path = PathBuf::from(node.text("a path (a string)")?);
        if !path.is_absolute() {
            node.error("`file` is no absolute path; write it as `/run/catamaran/priority`");
        }
        Tracked::File {
            path,
            interval: fields.duration("interval").unwrap_or(second),
        }
    };
    let default = if matches!(what, Tracked::File { .. }) {
        1
    } else {
        254
    };
    Some(Track {
        what,
        weight: weight.unwrap_or(default),
    })
}

fn on_change(fields: Fields<'_>) -> Option<Hook> {
    let mut timeout = Duration::from_secs(10);
    set(&mut timeout, fields.duration("on-change-timeout"));
    let argv = argv(fields.node("on-change")?)?;
    Some(Hook { argv, timeout })
}

/// A program and its arguments.
fn argv(node: Node<'_>) -> Option<Vec<String>> {
    let argument = |node: Node<'_>| node.text("a string");
    let argv: Option<Vec<String>> = node.list()?.into_iter().map(argument).collect();
    let argv = argv?;
    let program = argv.first().map_or("", String::as_str);
    if !program.starts_with('/') {
        node.error(format!(
            "the program `{program}` is no absolute path; write it as `[\"/usr/bin/true\"]`"
        ));
        return None;
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        node.error("an argument has a NUL character; remove it");
    }
    Some(argv)
}

/// What the count of a packet can say.
const MAX_ADDRESSES: usize = 255;
/// Chosen: each costs one packet for each advert.
const MAX_PEERS: usize = 32;
/// Chosen: each is one request to the kernel when the addresses move.
const MAX_ROUTES: usize = 64;
/// RT_TABLE_MAIN.
const MAIN_TABLE: u32 = 254;
/// Chosen: far above what anybody watches.
const MAX_TRACKED: usize = 64;
