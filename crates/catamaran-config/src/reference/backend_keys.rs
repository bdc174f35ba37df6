//! Keys of `[backend.*]` and what lies below it.

use super::Absent::{Default, Means, Required};
use super::{DAY, Key, Kind, MONTH, Section, TIMEOUT};
use std::time::Duration;

pub(crate) static BACKEND: Section = Section {
    name: "backend",
    title: "[backend.NAME]",
    doc: "A named group of servers with one policy: how a server is chosen, when it counts as \
          down, what is tried again.",
    keys: &[
        Key::new(
            "servers",
            Kind::List(&Kind::Either(&[
                Kind::Text("address"),
                Kind::Table(&SERVER),
            ])),
            Required,
            "Its servers. An address is `10.0.0.1:8080`, `[::1]:80`, `host.example:8080` (each \
             address the name resolves to becomes a server), `unix:/run/app.sock`, \
             `srv:_api._tcp.example` (DNS SRV records) \
             or `etcd:api` (servers that registered for `api`, see [etcd.md](etcd.md)).",
        ),
        Key::new(
            "balance",
            Kind::Either(&[Kind::Choice(BALANCES), Kind::Table(&HASH)]),
            Default("\"least-requests\""),
            "How a server is chosen. `least-requests` draws two different servers by weight and \
             takes the one with fewer requests for its weight; `least-connections` looks at all \
             of them; `ewma` draws two and takes the faster; `round-robin` takes turns by weight; \
             `random` draws by weight; `source` hashes the client's address; `first` fills the \
             servers in the order written.",
        ),
        Key::new(
            "stick",
            Kind::Table(&STICK),
            Means("off"),
            "Affinity: keeps a client on the server that it got first.",
        ),
        Key::new(
            "health",
            Kind::Table(&HEALTH),
            Means("servers count as up until they refuse connections"),
            "Active checks.",
        ),
        Key::new(
            "agent",
            Kind::Table(&AGENT),
            Means("none"),
            "An agent beside each server, which says how that does (HAProxy's `agent-check`).",
        ),
        Key::new(
            "source",
            Kind::OneOrMany(&Kind::Text("address")),
            Means("the kernel's choice"),
            "Addresses of this machine that connections to servers and checks come from, used by \
             turns. With several there are as many times the local ports.",
        ),
        Key::new(
            "source-interface",
            Kind::Text("interface"),
            Means("the kernel's choice"),
            "The interface that connections to servers and checks leave by, such as `eth1`.",
        ),
        Key::new(
            "outlier",
            Kind::Either(&[Kind::Table(&OUTLIER), Kind::Only(false)]),
            Means("the defaults of [`backend.outlier`](#backendnameoutlier)"),
            "Passive detection of failing servers; `false` turns it off.",
        ),
        Key::new(
            "on-down",
            Kind::Choice(&["redispatch", "keep"]),
            Default("\"redispatch\""),
            "What happens to the exchanges of a server that is marked down: those without a \
             response byte are sent elsewhere if they may be (`redispatch`), or go on (`keep`).",
        ),
        Key::new(
            "retry",
            Kind::Table(&RETRY),
            Means("the defaults of [`backend.retry`](#backendnameretry)"),
            "What is tried again, and how much of it.",
        ),
        Key::new(
            "queue",
            Kind::Table(&QUEUE),
            Means("the defaults of [`backend.queue`](#backendnamequeue)"),
            "Where requests wait while every server is full.",
        ),
        Key::new(
            "slow-start",
            TIMEOUT,
            Means("off"),
            "After coming up a server's share grows from a tenth to all of it in this time.",
        ),
        Key::new(
            "panic-threshold",
            Kind::Percent(0, 100),
            Default("\"50%\""),
            "Share of usable servers below which passive ejections are ignored.",
        ),
        Key::new(
            "timeouts",
            Kind::Table(&BACKEND_TIMEOUTS),
            Means("the defaults of [`backend.timeouts`](#backendnametimeouts)"),
            "Limits of time.",
        ),
        Key::new(
            "max-idle",
            Kind::Integer(0, 65_536),
            Default("256"),
            "Idle connections kept for each server and worker.",
        ),
    ],
    example: "[frontend.web]\nlisten = \"0.0.0.0:80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\n  \"10.0.0.1:8080\",\n  { address = \"10.0.0.2:8080\", weight = 2, name = \"b\" },\n  { address = \"10.0.1.1:8080\", backup = true },\n]\nbalance = \"round-robin\"\nslow-start = \"30s\"\n",
};

/// Ways to balance that are written as a word.
pub(crate) const BALANCES: &[&str] = &[
    "least-requests",
    "round-robin",
    "random",
    "least-connections",
    "ewma",
    "source",
    "first",
];

pub(crate) static SERVER: Section = Section {
    name: "server",
    title: "backend.NAME.servers",
    doc: "A server may be a table instead of an address.",
    keys: &[
        Key::new(
            "address",
            Kind::Text("address"),
            Required,
            "Where it listens.",
        ),
        Key::new(
            "name",
            Kind::Text("name"),
            Means("the address"),
            "Label of metrics and logs; affinity and hashing are keyed to it, so that a server \
             may change its address and keep its clients.",
        ),
        Key::new(
            "weight",
            Kind::Integer(0, 256),
            Default("1"),
            "Share of the traffic; 0 takes no new clients.",
        ),
        Key::new(
            "backup",
            Kind::Bool,
            Default("false"),
            "Used only while no other server of the backend is usable.",
        ),
        Key::new(
            "max-requests",
            Kind::Integer(1, 1_000_000),
            Means("no limit"),
            "Requests in flight at once (connections, for TCP); more wait in the queue.",
        ),
        Key::new(
            "max-connections",
            Kind::Integer(1, 1_000_000),
            Means("no limit"),
            "Connections open at once, idle ones included; more wait in the queue.",
        ),
        Key::new(
            "source",
            Kind::OneOrMany(&Kind::Text("address")),
            Means("that of the backend"),
            "Addresses of this machine that connections to it come from.",
        ),
        Key::new(
            "source-interface",
            Kind::Text("interface"),
            Means("that of the backend"),
            "The interface that connections to it leave by.",
        ),
    ],
    example: "",
};

pub(crate) static HASH: Section = Section {
    name: "balance",
    title: "backend.NAME.balance",
    doc: "The same key goes to the same server, on every node that has the same servers. A \
          request without the key is balanced by random draw.",
    keys: &[
        Key::new(
            "hash",
            Kind::Text("key"),
            Required,
            "What is hashed: `source-ip`, `header:NAME`, `cookie:NAME`, `query:NAME`, `path`, \
             `uri` (path and query) or `host`.",
        ),
        Key::new(
            "method",
            Kind::Choice(&["maglev", "ring"]),
            Default("\"maglev\""),
            "How the hash finds its server: a Maglev table, or a ring with bounded load.",
        ),
        Key::new(
            "max-load",
            Kind::Percent(101, 10_000),
            Means("`125%`"),
            "With `ring`: highest load of one server, in percent of the mean.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"cache\"\n\n[backend.cache]\nservers = [\"10.0.0.1:80\", \"10.0.0.2:80\"]\nbalance = { hash = \"header:X-User\", method = \"ring\", max-load = \"150%\" }\n",
};

pub(crate) static STICK: Section = Section {
    name: "stick",
    title: "backend.NAME.stick",
    doc: "The window opens at a client's first request and is not moved by later ones, unless \
          `refresh` says so. A server that is down or draining is chosen anew at once.",
    keys: &[
        Key::new(
            "on",
            Kind::Text("key"),
            Required,
            "What identifies a client: `source-ip`, `header:NAME`, `cookie:NAME` (a cookie that \
             the servers set) or `insert-cookie:NAME` (one that catamaran sets). Only \
             `source-ip` works for TCP and UDP.",
        ),
        Key::new(
            "for",
            Kind::Duration(Duration::from_millis(1), MONTH),
            Required,
            "How long an entry binds.",
        ),
        Key::new(
            "refresh",
            Kind::Bool,
            Default("false"),
            "Whether each use starts the window anew.",
        ),
        Key::new(
            "max-entries",
            Kind::Integer(1, 100_000_000),
            Default("1000000"),
            "Entries kept; when full the oldest gives way.",
        ),
    ],
    example: "[frontend.echo]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:7878\"\nbackend = \"echo\"\n\n[backend.echo]\nbalance = \"random\"\nstick = { on = \"source-ip\", for = \"2s\" }\nservers = [\"127.0.0.1:8080\", \"127.0.0.1:8081\"]\n",
};

pub(crate) static HEALTH: Section = Section {
    name: "health",
    title: "backend.NAME.health",
    doc: "Exactly one of `http`, `tcp`, `redis`, `postgresql`, `smtp` and `mysql` says what is asked. A TCP check cannot see a stopped \
          process, since the kernel accepts connections for it: prefer `http`.",
    keys: &[
        Key::new(
            "http",
            Kind::Text("path"),
            Means("no HTTP check"),
            "Path, and query, of the request.",
        ),
        Key::new(
            "tcp",
            Kind::Either(&[Kind::Bool, Kind::List(&Kind::Table(&STEP))]),
            Default("false"),
            "Asks only whether a connection is accepted; or sends and expects by turns: `[{ send = \
             \"PING\\r\\n\" }, { expect = \"+PONG\" }]`.",
        ),
        Key::new(
            "redis",
            Kind::Bool,
            Default("false"),
            "Asks Redis by `PING`. One with a password needs a script that sends `AUTH` first.",
        ),
        Key::new(
            "postgresql",
            Kind::Bool,
            Default("false"),
            "Asks PostgreSQL whether it speaks TLS: any answer passes, no user is needed.",
        ),
        Key::new(
            "smtp",
            Kind::Bool,
            Default("false"),
            "Waits for the greeting of a mail server, and takes leave by `QUIT`.",
        ),
        Key::new(
            "mysql",
            Kind::Bool,
            Default("false"),
            "Waits for the greeting of MySQL or MariaDB. The server counts it as an aborted \
             connection: raise its `max_connect_errors`.",
        ),
        Key::new(
            "interval",
            Kind::Duration(Duration::from_millis(10), DAY),
            Default("\"2s\""),
            "Time between checks.",
        ),
        Key::new(
            "fast-interval",
            Kind::Duration(Duration::from_millis(10), DAY),
            Means("`500ms`, or `interval` if that is shorter"),
            "Time between checks while results contradict the status; at most `interval`.",
        ),
        Key::new("timeout", TIMEOUT, Default("\"1s\""), "Time for one check."),
        Key::new(
            "rise",
            Kind::Integer(1, 1000),
            Default("2"),
            "Successes in a row that bring a server up.",
        ),
        Key::new(
            "fall",
            Kind::Integer(1, 1000),
            Default("3"),
            "Failures in a row that take a server down.",
        ),
        Key::new(
            "port",
            Kind::Integer(1, 65_535),
            Means("the server's"),
            "Port to check instead of the server's own.",
        ),
        Key::new(
            "host",
            Kind::Text("host"),
            Means("the server's address"),
            "`Host` of the request. With `http` only.",
        ),
        Key::new(
            "method",
            Kind::Text("method"),
            Default("\"GET\""),
            "Method of the request. With `http` only.",
        ),
        Key::new(
            "expect",
            Kind::OneOrMany(&Kind::Either(&[
                Kind::Integer(100, 599),
                Kind::Text("status range"),
            ])),
            Default("\"200-399\""),
            "Statuses that pass: `200`, `\"200-399\"`, or a list of such. With `http` only.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"10.0.0.1:8080\", \"10.0.0.2:8080\"]\nhealth = { http = \"/health\", interval = \"1s\", rise = 2, fall = 3, expect = [200, \"300-399\"] }\n",
};

pub(crate) static STEP: Section = Section {
    name: "tcp",
    title: "backend.NAME.health.tcp",
    doc: "One step of a scripted check: exactly one of these. What is expected is looked for in what \
          came since the last match, 16 KiB at most.",
    keys: &[
        Key::new(
            "send",
            Kind::Text("text"),
            Means("another step"),
            "Sends this text.",
        ),
        Key::new(
            "send-hex",
            Kind::Text("hex"),
            Means("another step"),
            "Sends these bytes, such as `00 00 00 08`.",
        ),
        Key::new(
            "expect",
            Kind::Text("text"),
            Means("another step"),
            "What comes must begin so.",
        ),
        Key::new(
            "expect-hex",
            Kind::Text("hex"),
            Means("another step"),
            "What comes must begin with these bytes.",
        ),
        Key::new(
            "contains",
            Kind::Text("text"),
            Means("another step"),
            "What comes must hold this.",
        ),
        Key::new(
            "line",
            Kind::Text("text"),
            Means("another step"),
            "The next line must be this, without its end.",
        ),
    ],
    example: "[frontend.cache]\nprotocol = \"tcp\"\nlisten = \":6379\"\nbackend = \"redis\"\n\n[backend.redis]\nservers = [\"10.0.0.1:6379\", \"10.0.0.2:6379\"]\nhealth = { tcp = [{ send = \"INFO persistence\\r\\n\" }, { contains = \"loading:0\" }] }\n",
};

pub(crate) static AGENT: Section = Section {
    name: "agent",
    title: "backend.NAME.agent",
    doc: "The agent answers a connection with one line of words: `up`, `down`, `ready`, `drain`, \
          `maint`, `75%` (of the configured weight), what follows `#` is logged as the reason. Its \
          word counts when it changes; without an answer the last one holds. `maxconn:` is passed \
          over.",
    keys: &[
        Key::new(
            "port",
            Kind::Integer(1, 65_535),
            Required,
            "Its port, at the server's address.",
        ),
        Key::new(
            "interval",
            Kind::Duration(Duration::from_millis(10), DAY),
            Default("\"2s\""),
            "Time between questions; it is looked four times a second whose turn it is.",
        ),
        Key::new("timeout", TIMEOUT, Default("\"1s\""), "Time for one."),
        Key::new(
            "send",
            Kind::Text("text"),
            Default("\"\""),
            "What is sent first.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"10.0.0.1:8080\", \"10.0.0.2:8080\"]\nagent = { port = 9999 }\nsource = [\"10.0.0.250\", \"10.0.0.251\"]\n",
};

pub(crate) static OUTLIER: Section = Section {
    name: "outlier",
    title: "backend.NAME.outlier",
    doc: "A server whose answers keep failing is ejected for a time. Figures are Envoy's.",
    keys: &[
        Key::new(
            "consecutive",
            Kind::Integer(1, 1000),
            Default("5"),
            "Failures in a row (connections, responses of 500 and above) that eject.",
        ),
        Key::new(
            "base-ejection",
            TIMEOUT,
            Default("\"30s\""),
            "First ejection; the n-th lasts n times as long.",
        ),
        Key::new(
            "max-ejection",
            TIMEOUT,
            Default("\"300s\""),
            "Longest ejection; at least `base-ejection`.",
        ),
        Key::new(
            "max-ejected",
            Kind::Percent(0, 100),
            Default("\"10%\""),
            "Share of the servers that may be ejected at once, but at least one.",
        ),
    ],
    example: "",
};

pub(crate) static RETRY: Section = Section {
    name: "retry",
    title: "backend.NAME.retry",
    doc: "Failed connections are always tried again; a request that may have reached a server \
          only if it is idempotent and no byte of a response has come.",
    keys: &[
        Key::new(
            "max-tries",
            Kind::Integer(0, 100),
            Default("3"),
            "Tries after the first.",
        ),
        Key::new(
            "budget",
            Kind::Percent(0, 100),
            Default("\"20%\""),
            "Requests that may be sent a second time, in percent of all.",
        ),
        Key::new(
            "min-budget",
            Kind::Integer(0, 1_000_000),
            Default("100"),
            "Requests that may be sent a second time whatever the percentage says.",
        ),
        Key::new(
            "replay",
            Kind::Size(0, 64 << 10),
            Default("\"0B\""),
            "TCP: first bytes of a client that are kept until its server's first byte. If the server \
             ends without one, by a reset or a plain close, they are sent to another server. Only \
             you know whether your protocol allows that: write it where a server may get the same \
             bytes twice, and where it always answers.",
        ),
    ],
    example: "",
};

pub(crate) static QUEUE: Section = Section {
    name: "queue",
    title: "backend.NAME.queue",
    doc: "Requests wait here while every server has its `max-requests` or `max-connections`.",
    keys: &[
        Key::new(
            "max-waiting",
            Kind::Integer(0, 1_000_000),
            Default("1024"),
            "Requests that may wait at once; more get 503.",
        ),
        Key::new(
            "timeout",
            TIMEOUT,
            Default("\"3500ms\""),
            "How long one waits before it gets 503.",
        ),
        Key::new(
            "when-down",
            Kind::Bool,
            Default("false"),
            "Whether requests also wait while every server is down.",
        ),
    ],
    example: "",
};

pub(crate) static BACKEND_TIMEOUTS: Section = Section {
    name: "timeouts",
    title: "backend.NAME.timeouts",
    doc: "Limits of time towards servers.",
    keys: &[
        Key::new(
            "connect",
            TIMEOUT,
            Default("\"3500ms\""),
            "One connection attempt.",
        ),
        Key::new(
            "response",
            TIMEOUT,
            Default("\"60s\""),
            "From the end of the request to the head of the response; 504 after it.",
        ),
        Key::new(
            "body",
            TIMEOUT,
            Default("\"60s\""),
            "Without progress of a body in either direction.",
        ),
        Key::new(
            "idle",
            TIMEOUT,
            Default("\"4s\""),
            "How long an idle connection to a server is kept; shorter than the server's own.",
        ),
    ],
    example: "",
};
