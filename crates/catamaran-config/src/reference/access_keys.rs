//! Keys of `[list.*]`, `[map.*]`, and of who may come.

use super::Absent::{Default, Means};
use super::{Key, Kind, Section};
use std::time::Duration;

/// What becomes of clients that are refused.
pub(crate) const DENIALS: &[&str] = &["forbid", "close", "silent-drop", "tarpit"];
pub(crate) const SHORTEST_HOLD: Duration = Duration::from_millis(1);
pub(crate) const LONGEST_HOLD: Duration = Duration::from_secs(3600);

pub(crate) static LIST: Section = Section {
    name: "list",
    title: "[list.NAME]",
    doc: "A list of networks, for `allow` and `deny`. A reload reads its file anew; `catamaran ctl \
          list` changes it at run time.",
    keys: &[Key::new(
        "file",
        Kind::Text("file"),
        Means("empty, to be filled at run time"),
        "Where it stands: a network on each line, such as `10.0.0.0/8` or `2001:db8::1`; `#` begins \
         a comment. Relative to the configuration file; at most 1,000,000 networks.",
    )],
    example: "[list.blocked]\nfile = \"blocked.txt\"\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\ndeny = [\"list:blocked\", \"192.0.2.0/24\"]\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

pub(crate) static MAP: Section = Section {
    name: "map",
    title: "[map.NAME]",
    doc: "A map from a part of requests to backends, for routes. A reload reads its file anew; \
          `catamaran ctl map` changes it at run time.",
    keys: &[
        Key::new(
            "file",
            Kind::Text("file"),
            Means("empty, to be filled at run time"),
            "Where it stands: a key and a backend on each line, such as `example.com api`; `#` \
             begins a comment. Relative to the configuration file; at most 1,000,000 entries.",
        ),
        Key::new(
            "key",
            Kind::Text("key"),
            Default("\"host\""),
            "What of a request is looked up: `host`, `path`, `uri`, `source-ip`, `header:NAME`, \
             `cookie:NAME` or `query:NAME`. A host is compared without case and port, a path in \
             the form that routes are matched on.",
        ),
        Key::new(
            "match",
            Kind::Choice(&["exact", "prefix", "domain", "network"]),
            Default("\"exact\""),
            "How keys are compared: the whole value; the longest key that the value begins with; \
             the longest domain that is the host or lies above it; the longest network that holds \
             the address.",
        ),
    ],
    example: "[map.sites]\nfile = \"sites.map\"\nmatch = \"domain\"\n\n[frontend.web]\nlisten = \":80\"\n\n[[frontend.web.route]]\nmap = { name = \"sites\", default = \"api\" }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

pub(crate) static MAPPED: Section = Section {
    name: "map",
    title: "frontend.NAME.route.map",
    doc: "The name of a map alone stands for the table with that name.",
    keys: &[
        Key::new(
            "name",
            Kind::Text("map"),
            super::Absent::Required,
            "The map that says the backend.",
        ),
        Key::new(
            "default",
            Kind::Text("backend"),
            Means("404"),
            "Where goes what is not in the map.",
        ),
    ],
    example: "",
};

pub(crate) static TARPIT: Section = Section {
    name: "tarpit",
    title: "frontend.NAME.tarpit",
    doc: "How clients are kept waiting where `tarpit` is what becomes of them. A duration alone is \
          short for `hold`.",
    keys: &[
        Key::new(
            "hold",
            Kind::Duration(SHORTEST_HOLD, LONGEST_HOLD),
            Default("\"10s\""),
            "How long.",
        ),
        Key::new(
            "max",
            Kind::Integer(0, 1_000_000),
            Default("1000"),
            "How many at once; more are refused at once.",
        ),
    ],
    example: "",
};

/// The keys that frontends and routes share: `allow`, `deny` and `denial`.
pub(crate) const fn allow_key() -> Key {
    Key::new(
        "allow",
        Kind::OneOrMany(&Kind::Text("network")),
        Means("everybody"),
        "Networks whose clients may come, nobody else: `10.0.0.0/8`, or `list:NAME`.",
    )
}

pub(crate) const fn deny_key() -> Key {
    Key::new(
        "deny",
        Kind::OneOrMany(&Kind::Text("network")),
        Means("nobody"),
        "Networks whose clients may not come, even if `allow` holds them: `10.0.0.0/8`, or \
         `list:NAME`.",
    )
}

pub(crate) const fn denial_key() -> Key {
    Key::new(
        "denial",
        Kind::Choice(DENIALS),
        Default("\"forbid\""),
        "What becomes of who may not come. `forbid` answers 403 (TCP: resets); `close` resets the \
         connection; `silent-drop` gives it up without telling the client; `tarpit` keeps it \
         waiting first. Datagrams are dropped.",
    )
}
