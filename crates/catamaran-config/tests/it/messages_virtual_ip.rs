//! What is said about mistakes in virtual addresses, word for word.

use crate::errors::errors;

#[test]
fn a_wrong_virtual_ip_is_refused() {
    for (line, message) in WRONG {
        let is_written = |key: &str| line.lines().any(|line| line.starts_with(key));
        let base = [
            "addresses = \"10.0.0.9/24\"",
            "interface = \"eth0\"",
            "router-id = 5",
        ];
        let rest: Vec<&str> = base
            .into_iter()
            .filter(|known| !is_written(known.split('=').next().unwrap_or_default()))
            .collect();
        let text = format!(
            "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [\"a:1\"]\n\
             [virtual-ip.v]\n{line}\n{}\n",
            rest.join("\n")
        );
        assert_eq!(errors(&text), format!("catamaran.toml:{message}"), "{line}");
    }
}

#[test]
fn a_router_or_an_address_belongs_to_one_section() {
    let text = "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [\"a:1\"]\n\
        [virtual-ip.one]\naddresses = \"10.0.0.9/24\"\ninterface = \"eth0\"\nrouter-id = 5\n\
        [virtual-ip.two]\naddresses = \"10.0.0.9/24\"\ninterface = \"eth0\"\nrouter-id = 5\n";
    assert_eq!(
        errors(text),
        "catamaran.toml:10:1: virtual-ip `two` has the `router-id` and `interface` of that at line \
         6; give it a `router-id` of its own\n\
         catamaran.toml:11:13: `10.0.0.9/24` is virtual twice, first at line 7; remove one"
    );
}

const WRONG: &[(&str, &str)] = &[
    (
        "addresses = []",
        "7:13: `addresses` is empty; write `addresses = [\"192.0.2.10/24\"]`",
    ),
    (
        "addresses = \"ten\"",
        "7:13: `ten` is no address; write it as `192.0.2.10/24` or `2001:db8::10/64`",
    ),
    (
        "addresses = \"10.0.0.9/33\"",
        "7:13: the prefix of `10.0.0.9/33` must be 1 to 32",
    ),
    (
        "addresses = \"127.0.0.1/8\"",
        "7:13: `127.0.0.1/8` cannot be virtual; write an address that one node has at a time",
    ),
    (
        "addresses = [\"10.0.0.9\", \"224.0.0.1\"]",
        "7:26: `224.0.0.1` cannot be virtual; write an address that one node has at a time",
    ),
    (
        "interface = \"eth0/1\"",
        "7:13: `eth0/1` is no name of an interface; write one that `ip link` shows, such as `eth0`",
    ),
    (
        "interface = \"a-name-that-is-too-long\"",
        "7:13: `a-name-that-is-too-long` is no name of an interface; write one that `ip link` shows, such as `eth0`",
    ),
    (
        "secret-file = \"vrrp.key\"",
        "7:15: `secret-file` is no absolute path; write it as `/etc/catamaran/vrrp.key`",
    ),
    (
        "authentication = \"offer\"",
        "7:18: `authentication` needs a secret; add `secret-file`, or remove it",
    ),
    (
        "track = [{ replication = \"current\" }]",
        "6:1: `track` watches `replication`, but there are no peers; add `[cluster]`, or remove it",
    ),
    (
        "router-id = 0",
        "7:13: `router-id` must be a number from 1 to 255, found 0",
    ),
    (
        "router-id = 256",
        "7:13: `router-id` must be a number from 1 to 255, found 256",
    ),
    (
        "priority = 255",
        "7:12: `priority` must be a number from 1 to 254, found 255",
    ),
    (
        "priority = 0",
        "7:12: `priority` must be a number from 1 to 254, found 0",
    ),
    (
        "version = 4",
        "7:11: `version` must be a number from 2 to 3, found 4",
    ),
    (
        "version = 2\nadvert-interval = \"100ms\"",
        "8:19: `advert-interval` must be whole seconds from 1s to 255s with version 2",
    ),
    (
        "version = 2\naddresses = \"fe80::1/64\"",
        "8:13: `fe80::1/64` is an IPv6 address, which version 2 does not know; write `version = 3`",
    ),
    (
        "advert-interval = \"5ms\"",
        "7:19: `advert-interval` must be 10ms to 255s, found `\"5ms\"`",
    ),
    (
        "advert-interval = \"105ms\"",
        "7:19: `advert-interval` must be a multiple of 10ms from 10ms to 40950ms",
    ),
    (
        "advert-interval = \"50s\"",
        "7:19: `advert-interval` must be a multiple of 10ms from 10ms to 40950ms",
    ),
    (
        "preempt-delay = \"5s\"",
        "7:17: `preempt-delay` says when to preempt; add `preempt = true`, or remove it",
    ),
    (
        "peers = []",
        "7:9: `peers` is empty; write the addresses of the other nodes, or remove it",
    ),
    (
        "peers = \"10.0.0.x\"",
        "7:9: `10.0.0.x` is no address of a node; write it as `10.0.0.12`",
    ),
    (
        "peers = \"fe80::2\"",
        "7:9: `peers` has no IPv4 address, but `addresses` has; add the peer's",
    ),
    (
        "checksum = \"rfc\"",
        "7:12: unknown value `rfc` of `checksum`; allowed are `message`, `pseudo-header`",
    ),
    (
        "sync-group = \"a b\"",
        "7:14: the name of sync-group `a b` has spaces, quotes or control characters; write letters, digits, `-`, `_`, `.`",
    ),
    (
        "track = [{ }]",
        "7:10: `track` does not say what; add one of `backend`, `interface`, `command`, `file`, `replication`",
    ),
    (
        "track = [{ backend = \"bb\" }]",
        "7:22: unknown backend `bb`; did you mean `b`?",
    ),
    (
        "track = [{ backend = \"b\", interface = \"eth1\" }]",
        "7:39: one item of `track` watches one thing; write an item for each",
    ),
    (
        "track = [{ backend = \"b\", interval = \"1s\" }]",
        "7:38: `interval` is for commands and files; remove it",
    ),
    (
        "track = [{ interface = \"eth1\", weight = 0 }]",
        "7:41: `weight` must be a number from 1 to 254, found 0",
    ),
    (
        "track = [{ command = [\"true\"] }]",
        "7:22: the program `true` is no absolute path; write it as `[\"/usr/bin/true\"]`",
    ),
    (
        "track = [{ command = [] }]",
        "7:22: the program `` is no absolute path; write it as `[\"/usr/bin/true\"]`",
    ),
    (
        "track = [{ file = \"priority\" }]",
        "7:19: `file` is no absolute path; write it as `/run/catamaran/priority`",
    ),
    (
        "track = [{ backnd = \"b\" }]",
        "7:12: unknown key `backnd` in `track`; did you mean `backend`?",
    ),
    (
        "on-change = \"notify\"",
        "7:13: `on-change` must be a list (`[…]`), found \"notify\"",
    ),
    (
        "on-change = [\"notify\"]",
        "7:13: the program `notify` is no absolute path; write it as `[\"/usr/bin/true\"]`",
    ),
    (
        "routes = [{ to = \"10.1.2.3/8\" }]",
        "7:18: `10.1.2.3/8` is no network; write `10.0.0.0/8`",
    ),
    (
        "routes = [{ to = \"everywhere\" }]",
        "7:18: `everywhere`: not an IP address; write it as `10.0.0.0/8`",
    ),
    (
        "routes = [{ to = \"2001:db8::/32\" }]",
        "7:18: `2001:db8::/32` is a network of IPv6, of which `addresses` has none that packets could come from; add one",
    ),
    (
        "routes = [{ to = \"10.0.0.0/8\", via = \"fe80::1\" }]",
        "7:38: `fe80::1` is no address of IPv4, as `to` is",
    ),
    (
        "router_id = 5",
        "7:1: unknown key `router_id` in `virtual-ip`; did you mean `router-id`?",
    ),
];
