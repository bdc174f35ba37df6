//! Keys of the file itself, of `[frontend.*]` and of `[process]`.

use super::Absent::{Default, Means, Required};
use super::access_keys::{self, DENIALS, LIST, LONGEST_HOLD, MAP, SHORTEST_HOLD, TARPIT};
use super::{BACKEND, CLUSTER, Key, Kind, ROUTE, Section, TIMEOUT, VIRTUAL_IP};
use std::time::Duration;

pub(crate) static ROOT: Section = Section {
    name: "the configuration",
    title: "Sections",
    doc: "",
    keys: &[
        Key::new(
            "frontend",
            Kind::Map("NAME", &Kind::Table(&FRONTEND)),
            Required,
            "Policies for incoming traffic. With `[etcd]` there may be none in the file.",
        ),
        Key::new(
            "backend",
            Kind::Map("NAME", &Kind::Table(&BACKEND)),
            Means("none"),
            "Groups of servers.",
        ),
        Key::new(
            "list",
            Kind::Map("NAME", &Kind::Table(&LIST)),
            Means("none"),
            "Lists of networks.",
        ),
        Key::new(
            "map",
            Kind::Map("NAME", &Kind::Table(&MAP)),
            Means("none"),
            "Maps from a part of requests to backends.",
        ),
        Key::new(
            "process",
            Kind::Table(&PROCESS),
            Means("the defaults of [`process`](#process)"),
            "Settings of the process as a whole.",
        ),
        Key::new(
            "admin",
            Kind::Table(&super::ADMIN),
            Means("the defaults of [`admin`](#admin)"),
            "Where the process is watched and steered from.",
        ),
        Key::new(
            "tracing",
            Kind::Table(&super::TRACING),
            Means("off"),
            "Traces of requests, and who gets them.",
        ),
        Key::later("tls", "TLS"),
        Key::new(
            "virtual-ip",
            Kind::Map("NAME", &Kind::Table(&VIRTUAL_IP)),
            Means("none"),
            "Addresses that move between nodes.",
        ),
        Key::new(
            "cluster",
            Kind::Table(&CLUSTER),
            Means("this node shares nothing"),
            "The other nodes, which this one shares affinity and limits with.",
        ),
        Key::new(
            "etcd",
            Kind::Table(&super::ETCD),
            Means("the file is all there is"),
            "A store that the nodes of a fleet share.",
        ),
    ],
    example: "",
};

pub(crate) static FRONTEND: Section = Section {
    name: "frontend",
    title: "[frontend.NAME]",
    doc: "Policy for incoming traffic. An HTTP frontend has a `backend`, routes, or both: what no \
          route takes goes to the backend, or gets 404 if there is none. TCP and UDP frontends \
          have a `backend`.",
    keys: &[
        Key::new(
            "protocol",
            Kind::Choice(&["http", "tcp", "udp"]),
            Default("\"http\""),
            "What is spoken with clients.",
        ),
        Key::new(
            "listen",
            Kind::OneOrMany(&Kind::Either(&[
                Kind::Text("address"),
                Kind::Table(&LISTENER),
            ])),
            Required,
            "Addresses to listen on: `0.0.0.0:80`, `[::1]:80`, or `:80`, which is short for \
             `0.0.0.0:80` and `[::]:80`. With port 0 the kernel chooses one, which is printed.",
        ),
        Key::new(
            "backend",
            Kind::Text("backend"),
            Means("404 for what no route takes"),
            "Where traffic goes that no route takes.",
        ),
        Key::http(
            "route",
            Kind::List(&Kind::Table(&ROUTE)),
            Means("none"),
            "Routes; the most specific match wins, whatever the order.",
        ),
        Key::new(
            "timeouts",
            Kind::Table(&FRONTEND_TIMEOUTS),
            Means("the defaults of [`frontend.timeouts`](#frontendnametimeouts)"),
            "Limits of time.",
        ),
        Key::new(
            "max-connections",
            Kind::Integer(1, 10_000_000),
            Means("no limit of its own"),
            "Connections (flows, for UDP) open at once; more wait until one ends, datagrams of \
             more flows are dropped.",
        ),
        Key::new(
            "max-connections-per-source",
            Kind::Integer(1, 10_000_000),
            Means("no limit"),
            "Connections (flows, for UDP) open at once from one address; more are closed (TCP), get \
             429 (HTTP) or are dropped (UDP).",
        ),
        Key::new(
            "rate-limit",
            Kind::Table(&RATE_LIMIT),
            Means("no limit"),
            "Limit on requests (connections, for TCP).",
        ),
        Key::http(
            "auth",
            Kind::Table(&super::AUTH),
            Means("nothing is asked for"),
            "What clients must show, unless a route says otherwise.",
        ),
        Key::new(
            "bandwidth",
            Kind::Table(&super::BANDWIDTH),
            Means("no limit"),
            "Limits on bytes in a time. Not for UDP.",
        ),
        access_keys::allow_key(),
        access_keys::deny_key(),
        access_keys::denial_key(),
        Key::new(
            "tarpit",
            Kind::Either(&[
                Kind::Duration(SHORTEST_HOLD, LONGEST_HOLD),
                Kind::Table(&TARPIT),
            ]),
            Default("\"10s\""),
            "How long clients are kept waiting where `tarpit` is what becomes of them.",
        ),
        Key::http(
            "trusted-proxies",
            Kind::OneOrMany(&Kind::Text("network")),
            Means("none"),
            "Proxies whose forwarded headers are believed, such as `10.0.0.0/8`.",
        ),
        Key::http(
            "forwarded",
            Kind::Choice(&["x-forwarded", "forwarded", "both", "off"]),
            Default("\"x-forwarded\""),
            "Which headers tell servers about the client: `X-Forwarded-For`, `-Proto` and \
             `-Host`, or `Forwarded` (RFC 7239). Those of clients that are not trusted are always \
             removed.",
        ),
        Key::http(
            "max-head",
            Kind::Size(1024, 60 * 1024),
            Default("\"32KiB\""),
            "Size of the head of a request; 431 above it.",
        ),
        Key::http(
            "max-fields",
            Kind::Integer(16, 1000),
            Default("128"),
            "Number of header fields; 431 above it.",
        ),
        Key::new(
            "access-log",
            Kind::Either(&[Kind::Choice(LOG_FORMATS), Kind::Table(&ACCESS_LOG)]),
            Means("off"),
            "One line for each exchange; a word alone writes that format to standard output.",
        ),
        Key::http(
            "error-pages",
            Kind::Map("STATUS", &Kind::Text("file")),
            Means("short plain texts"),
            "Bodies of catamaran's own errors, by status; relative to the configuration file, \
             content type by the file's ending.",
        ),
        Key::later("tls", "TLS"),
        Key::later("http3", "HTTP/3"),
    ],
    example: "[frontend.web]\nlisten = [\"0.0.0.0:80\", \"[::1]:8080\"]\nbackend = \"api\"\naccess-log = \"json\"\nerror-pages = { 503 = \"503.html\" }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

/// The formats of an access log.
pub(crate) const LOG_FORMATS: &[&str] = &["json", "clf", "haproxy", "human"];

pub(crate) static LISTENER: Section = Section {
    name: "listen",
    title: "frontend.NAME.listen",
    doc: "A listener may be a table instead of an address.",
    keys: &[
        Key::new(
            "address",
            Kind::Text("address"),
            Required,
            "Address and port.",
        ),
        Key::later("tls", "TLS"),
        Key::later("http3", "HTTP/3"),
    ],
    example: "",
};

pub(crate) static FRONTEND_TIMEOUTS: Section = Section {
    name: "timeouts",
    title: "frontend.NAME.timeouts",
    doc: "Limits of time towards clients.",
    keys: &[
        Key::http(
            "request-head",
            TIMEOUT,
            Default("\"10s\""),
            "From the first byte of a request's head to its last; 408 after it.",
        ),
        Key::http(
            "keep-alive",
            TIMEOUT,
            Default("\"60s\""),
            "Between the requests of one connection.",
        ),
        Key::http(
            "body",
            TIMEOUT,
            Default("\"60s\""),
            "Without a byte of a body from or to the client.",
        ),
        Key::new(
            "tunnel",
            TIMEOUT,
            Default("\"10m\""),
            "Without a byte in either direction of a TCP connection, UDP flow or WebSocket. For UDP \
             the default is `60s`.",
        ),
    ],
    example: "",
};

pub(crate) static RATE_LIMIT: Section = Section {
    name: "rate-limit",
    title: "rate-limit",
    doc: "A limit on how often one client may ask, of a frontend or a route. Above it requests \
          get 429 with `Retry-After`, and connections (TCP) are closed.",
    keys: &[
        Key::new(
            "requests",
            Kind::Integer(1, 1_000_000_000),
            Required,
            "Requests in a period.",
        ),
        Key::new(
            "per",
            Kind::Duration(Duration::from_millis(1), super::DAY),
            Default("\"1s\""),
            "The period.",
        ),
        Key::new(
            "burst",
            Kind::Integer(1, 1_000_000_000),
            Means("`requests`"),
            "Requests that may come at once.",
        ),
        Key::new(
            "by",
            Kind::Text("key"),
            Default("\"source-ip\""),
            "What is counted apart: `source-ip` (for IPv6 its /64) or `header:NAME`.",
        ),
        Key::new(
            "max-keys",
            Kind::Integer(1, 100_000_000),
            Default("100000"),
            "Clients remembered; when full the least used gives way.",
        ),
        Key::new(
            "denial",
            Kind::Choice(DENIALS),
            Default("\"forbid\""),
            "What becomes of what is above it: an answer with 429 (TCP: a reset), or as with the \
             `denial` of a [frontend](#frontendname).",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\nrate-limit = { requests = 100, per = \"1s\", burst = 200, by = \"header:X-Key\" }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

pub(crate) static ACCESS_LOG: Section = Section {
    name: "access-log",
    title: "frontend.NAME.access-log",
    doc: "Lines that cannot be written in time are dropped and counted; they never hold up \
          traffic. A file that was moved away, as log rotation does, is opened anew on SIGUSR1.",
    keys: &[
        Key::new(
            "format",
            Kind::Choice(LOG_FORMATS),
            Default("\"json\""),
            "The form of a line: a JSON object, the common log format, HAProxy's, or one for a \
             person who watches.",
        ),
        Key::new(
            "to",
            Kind::Text("target"),
            Default("\"stdout\""),
            "`stdout`, a file (an absolute path), `syslog` (`/dev/log`), `syslog:/path` or \
             `syslog:127.0.0.1:514` (RFC 5424 over UDP).",
        ),
        Key::new(
            "silent-clients",
            Kind::Bool,
            Default("false"),
            "Whether HTTP clients that connect and say nothing are logged (`CR`, without a status). \
             Port scanners and the checks of other balancers would fill the log.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\naccess-log = { format = \"haproxy\", to = \"syslog:127.0.0.1:514\" }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

pub(crate) static PROCESS: Section = Section {
    name: "process",
    title: "[process]",
    doc: "Settings of the process as a whole.",
    keys: &[
        Key::new(
            "workers",
            Kind::Integer(1, 1024),
            Means("one for each core"),
            "Worker threads.",
        ),
        Key::new(
            "max-connections",
            Kind::Integer(1, 10_000_000),
            Means("what the limit of open files allows"),
            "Connections from clients over all frontends. Each worker keeps its part of that many \
             UDP flows; the one that was silent longest gives way to a new one.",
        ),
        Key::new(
            "drain",
            Kind::Duration(Duration::ZERO, super::DAY),
            Default("\"30s\""),
            "How long a stop waits for exchanges in flight, and so does a listener that a reload \
             removed.",
        ),
        Key::new(
            "drain-delay",
            Kind::Duration(Duration::ZERO, super::DAY),
            Default("\"0s\""),
            "How long a stop only says that it is not ready, before it closes the listeners: time \
             for whoever watches readiness to send clients elsewhere.",
        ),
        Key::new(
            "drain-tunnels",
            Kind::Duration(Duration::ZERO, super::DAY),
            Default("\"1h\""),
            "How long tunnels (TCP connections, upgraded HTTP ones) may go on whose listener a \
             reload removed.",
        ),
        Key::new(
            "upgrade-timeout",
            Kind::Duration(Duration::from_secs(1), super::DAY),
            Default("\"20s\""),
            "What the data process of another binary may take in an upgrade to read its configuration. \
             After that the old binary goes on.",
        ),
        Key::new(
            "upgrade-pause",
            Kind::Duration(Duration::from_millis(100), super::DAY),
            Default("\"5s\""),
            "How long clients may wait in an upgrade, from the moment when the old data process accepts \
             no more until the new one does. After that the old one goes on.",
        ),
        Key::new(
            "max-draining",
            Kind::Integer(1, 1000),
            Default("16"),
            "Data processes that upgrades replaced and that still have clients, at once. Each has its \
             memory; another upgrade is refused meanwhile.",
        ),
        Key::new(
            "watch",
            Kind::Bool,
            Default("false"),
            "Whether a change of the configuration file is applied by itself, within two seconds, \
             as by a reload.",
        ),
        Key::new(
            "watchdog",
            Kind::Duration(Duration::ZERO, super::DAY),
            Default("\"10s\""),
            "How long a thread of the data process may stand still before the supervisor kills the \
             process and starts another; `0s` is for ever.",
        ),
        Key::new(
            "metrics",
            Kind::Text("address"),
            Means("off"),
            "Where the metrics are served in Prometheus' text format, at `/metrics`.",
        ),
        Key::new(
            "user",
            Kind::Text("name"),
            Means("unchanged"),
            "Whom the data process runs as, once the ports are bound; only root can become another.",
        ),
        Key::new(
            "group",
            Kind::Text("name"),
            Means("that of the user"),
            "The group of `user`.",
        ),
        Key::new(
            "server-histograms",
            Kind::Integer(0, 100_000),
            Default("1000"),
            "Servers that get latency histograms of their own on the page of metrics, the first \
             that come; their percentiles are in the admin API. Backends always have theirs.",
        ),
        Key::new(
            "resolvers",
            Kind::OneOrMany(&Kind::Text("address")),
            Means("those of `/etc/resolv.conf`"),
            "Name servers to ask; port 53 unless written.",
        ),
    ],
    example: "[process]\nworkers = 4\nmetrics = \"127.0.0.1:9100\"\nresolvers = [\"10.0.0.53\"]\n\n[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[backend.api]\nservers = [\"api.example:8080\"]\n",
};
