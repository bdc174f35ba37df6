//! Keys of `[virtual-ip.*]`.

use super::Absent::{Default, Means, Required};
use super::{Key, Kind, Section};
use std::time::Duration;

pub(crate) static VIRTUAL_IP: Section = Section {
    name: "virtual-ip",
    title: "[virtual-ip.NAME]",
    doc: "Addresses that move between nodes by VRRP (RFC 9568): the strongest node that is well \
          holds them. Each node has the same section but for `priority`. The process needs \
          CAP_NET_ADMIN and CAP_NET_RAW. Changes take effect at the next start. See \
          [virtual-ip.md](virtual-ip.md).",
    keys: &[
        Key::new(
            "addresses",
            Kind::OneOrMany(&Kind::Text("address")),
            Required,
            "Virtual addresses with the length of their prefix: `192.0.2.10/24`, `2001:db8::10/64`; \
             without it the whole address. With both families there is a virtual router for each, \
             and they move together.",
        ),
        Key::new(
            "interface",
            Kind::Text("interface"),
            Required,
            "Interface that the addresses are served on and that adverts go over. The kernel has them \
             on the loopback interface; see [virtual-ip.md](virtual-ip.md#where-the-address-is).",
        ),
        Key::new(
            "router-id",
            Kind::Integer(1, 255),
            Required,
            "Number that all nodes of these addresses share and nobody else on the link has.",
        ),
        Key::new(
            "priority",
            Kind::Integer(1, 254),
            Default("100"),
            "The node with the highest wins. What fails lowers it, but never below 1.",
        ),
        Key::new(
            "version",
            Kind::Integer(2, 3),
            Default("3"),
            "Version of VRRP; 2 is for old neighbours, knows IPv4 only and whole seconds.",
        ),
        Key::new(
            "advert-interval",
            Kind::Duration(Duration::from_millis(10), Duration::from_secs(255)),
            Means("`100ms`, with version 2 `1s`"),
            "Time between adverts. A backup takes over after three to four of them were missed. \
             Tens of milliseconds up to `40950ms`; with version 2 whole seconds.",
        ),
        Key::new(
            "allow-jitter",
            Kind::Bool,
            Default("false"),
            "Below `100ms` real-time scheduling (CAP_SYS_NICE) is required; `true` does without.",
        ),
        Key::new(
            "preempt",
            Kind::Bool,
            Default("false"),
            "Whether a node that comes back relieves a weaker one that is active and well.",
        ),
        Key::new(
            "preempt-delay",
            Kind::Duration(Duration::ZERO, Duration::from_secs(3600)),
            Default("\"0s\""),
            "How long it must have heard the weaker one first.",
        ),
        Key::new(
            "peers",
            Kind::OneOrMany(&Kind::Text("address")),
            Means("multicast"),
            "Addresses of the other nodes, for networks without multicast: adverts go to each of \
             them, and those of others are dropped.",
        ),
        Key::new(
            "checksum",
            Kind::Choice(&["message", "pseudo-header"]),
            Default("\"message\""),
            "What the checksum of version 3 over IPv4 covers: `message` is RFC 9568, \
             `pseudo-header` is what keepalived expects unless told otherwise. Both are read.",
        ),
        Key::new(
            "secret-file",
            Kind::Text("file"),
            Means("adverts are neither sealed nor judged"),
            "File (an absolute path) with a key of 16 characters or more on each line, the same on \
             all nodes: the first one seals adverts (HMAC-SHA-256, with the time against replay), all \
             are accepted. It is read again when it changes. See \
             [virtual-ip.md](virtual-ip.md#sealed-adverts).",
        ),
        Key::new(
            "authentication",
            Kind::Choice(&["require", "offer"]),
            Means("`require` with a `secret-file`"),
            "`require` drops adverts without a seal, `offer` heeds them: for the time until all nodes \
             have the `secret-file`, and for those that never can.",
        ),
        Key::new(
            "sync-group",
            Kind::Text("name"),
            Means("none"),
            "All sections with the same name move together.",
        ),
        Key::new(
            "track",
            Kind::List(&Kind::Table(&TRACK)),
            Means("nothing but this node's own readiness"),
            "What lowers the priority while it fails.",
        ),
        Key::new(
            "on-change",
            Kind::List(&Kind::Text("argument")),
            Means("nothing is run"),
            "Program and arguments to run on each change of state, with what changed in \
             environment variables; see [virtual-ip.md](virtual-ip.md#hooks).",
        ),
        Key::new(
            "on-change-timeout",
            Kind::Duration(Duration::from_millis(10), Duration::from_secs(3600)),
            Default("\"10s\""),
            "After which that program is killed.",
        ),
        Key::new(
            "virtual-mac",
            Kind::Bool,
            Default("false"),
            "Whether the addresses have the MAC address of the virtual router \
             (00-00-5E-00-01-ID, with IPv6 00-00-5E-00-02-ID), which moves with them. Then switches \
             must let it move, and virtual machines must be allowed to have it.",
        ),
        Key::new(
            "routes",
            Kind::List(&Kind::Table(&VIRTUAL_ROUTE)),
            Means("none"),
            "Routes over `interface` that are there while the addresses are.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n\n[virtual-ip.main]\naddresses = [\"192.0.2.10/24\"]\ninterface = \"eth0\"\nrouter-id = 51\npriority = 150\ntrack = [{ backend = \"api\" }, { interface = \"eth1\", weight = 50 }]\n",
};

pub(crate) static VIRTUAL_ROUTE: Section = Section {
    name: "route",
    title: "virtual-ip.NAME.routes",
    doc: "A route that comes and goes with the addresses. Packets that it sends come from the first \
          virtual address of its family that is not link-local.",
    keys: &[
        Key::new(
            "to",
            Kind::Text("network"),
            Required,
            "Where it leads: `10.0.0.0/8`, `0.0.0.0/0` for everywhere.",
        ),
        Key::new(
            "via",
            Kind::Text("address"),
            Means("the network is on the link"),
            "Next hop.",
        ),
        Key::new(
            "table",
            Kind::Integer(1, 4_294_967_295),
            Means("254, the main one"),
            "Routing table. In another one a route of IPv4 outlives a crash of everything until the \
             next start.",
        ),
        Key::new(
            "metric",
            Kind::Integer(0, 4_294_967_295),
            Default("0"),
            "Of several routes to one network the lowest counts; 0 is the kernel's default.",
        ),
    ],
    example: "",
};

pub(crate) static TRACK: Section = Section {
    name: "track",
    title: "virtual-ip.NAME.track",
    doc: "One of `backend`, `interface`, `command`, `file` and `replication`.",
    keys: &[
        Key::new(
            "backend",
            Kind::Text("backend"),
            Means("not tracked"),
            "Fails while the backend has no usable server.",
        ),
        Key::new(
            "interface",
            Kind::Text("interface"),
            Means("not tracked"),
            "Fails while the interface is missing or its link is down.",
        ),
        Key::new(
            "command",
            Kind::List(&Kind::Text("argument")),
            Means("not tracked"),
            "Program and arguments; fails unless it exits with 0.",
        ),
        Key::new(
            "file",
            Kind::Text("file"),
            Means("not tracked"),
            "File (an absolute path) that holds a number, which is multiplied by `weight` and \
             added to the priority; 0 without the file. As keepalived's `track_file`.",
        ),
        Key::new(
            "replication",
            Kind::Choice(&["current"]),
            Means("not tracked"),
            "`current` fails while this node does not have all that its peers of the `[cluster]` know.",
        ),
        Key::new(
            "weight",
            Kind::Integer(1, 254),
            Means("254: the priority falls to 1; for a file, 1"),
            "What the priority loses while it fails.",
        ),
        Key::new(
            "interval",
            Kind::Duration(Duration::from_millis(10), super::DAY),
            Default("\"1s\""),
            "Time between starts of the command, or reads of the file.",
        ),
        Key::new(
            "timeout",
            Kind::Duration(Duration::from_millis(10), super::DAY),
            Default("\"1s\""),
            "After which the command is killed and has failed.",
        ),
    ],
    example: "",
};
