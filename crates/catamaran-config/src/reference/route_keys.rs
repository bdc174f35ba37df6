//! Keys of `[[frontend.*.route]]` and what lies below it.

use super::Absent::{Default, Means, Required};
use super::access_keys::{self, DENIALS, MAPPED};
use super::{Key, Kind, RATE_LIMIT, Section, TIMEOUT};

pub(crate) static ROUTE: Section = Section {
    name: "route",
    title: "[[frontend.NAME.route]]",
    doc: "What to do with requests that match. Exactly one of `backend`, `backends`, `redirect`, \
          `map`, `refuse` and `respond` says where they go. Names and meaning are those of `HTTPRoute` in the \
          Kubernetes Gateway API. A single match may be written on the route itself, several as a \
          list in `matches`.",
    keys: &[
        Key::new(
            "name",
            Kind::Text("name"),
            Means("`route-N`, counted from 1"),
            "Label of metrics and logs.",
        ),
        Key::new(
            "hosts",
            Kind::OneOrMany(&Kind::Text("host")),
            Means("every host"),
            "Hosts it serves: `example.com`, or `*.example.com` for all below it.",
        ),
        Key::new(
            "matches",
            Kind::List(&Kind::Table(&MATCH)),
            Means("everything"),
            "The route takes a request if any one of these matches.",
        ),
        path_key(),
        method_key(),
        headers_key(),
        query_key(),
        cookies_key(),
        source_key(),
        Key::new(
            "backend",
            Kind::Text("backend"),
            Means("another action"),
            "Sends them there.",
        ),
        Key::new(
            "backends",
            Kind::Map("BACKEND", &Kind::Integer(0, 1_000_000)),
            Means("another action"),
            "Draws one of several backends by weight: `{ a = 90, b = 10 }`.",
        ),
        Key::new(
            "map",
            Kind::Either(&[Kind::Text("map"), Kind::Table(&MAPPED)]),
            Means("another action"),
            "Sends them to the backend that a [map](#mapname) says.",
        ),
        Key::new(
            "refuse",
            Kind::Choice(DENIALS),
            Means("another action"),
            "Refuses them, whoever comes; the words are those of `denial`.",
        ),
        Key::new(
            "redirect",
            Kind::Table(&REDIRECT),
            Means("another action"),
            "Sends the client elsewhere.",
        ),
        Key::new(
            "respond",
            Kind::Table(&RESPOND),
            Means("another action"),
            "Answers at once.",
        ),
        Key::new(
            "rewrite",
            Kind::Table(&REWRITE),
            Means("as they came"),
            "Changes host and path of requests.",
        ),
        Key::new(
            "request-headers",
            Kind::Table(&HEADERS),
            Means("as they came"),
            "Changes header fields of requests.",
        ),
        Key::new(
            "response-headers",
            Kind::Table(&HEADERS),
            Means("as they came"),
            "Changes header fields of responses.",
        ),
        Key::new(
            "mirror",
            Kind::OneOrMany(&Kind::Table(&MIRROR)),
            Means("none"),
            "Sends copies of requests to other backends and throws their responses away.",
        ),
        Key::new(
            "timeout",
            TIMEOUT,
            Means("those of the backend"),
            "Time up to the head of the response, every try included.",
        ),
        Key::new(
            "retry",
            Kind::Table(&ROUTE_RETRY),
            Means("as the backend says"),
            "What may be sent again.",
        ),
        Key::new(
            "rate-limit",
            Kind::Table(&RATE_LIMIT),
            Means("no limit"),
            "Limit of this route, besides the frontend's.",
        ),
        Key::new(
            "auth",
            Kind::Either(&[Kind::Table(&super::AUTH), Kind::Only(false)]),
            Means("as the frontend says"),
            "What clients must show; `false` asks for nothing.",
        ),
        access_keys::allow_key(),
        access_keys::deny_key(),
        access_keys::denial_key(),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"site\"\n\n[[frontend.web.route]]\nhosts = [\"api.example.com\"]\npath = \"/v2\"\nbackends = { api = 90, canary = 10 }\nretry = { idempotency-header = \"Idempotency-Key\" }\n\n[[frontend.web.route]]\npath = { exact = \"/old\" }\nredirect = { path = \"/new\", status = 301 }\n\n[backend.site]\nservers = [\"10.0.0.1:80\"]\n\n[backend.api]\nservers = [\"10.0.0.2:80\"]\n\n[backend.canary]\nservers = [\"10.0.0.3:80\"]\n",
};

pub(crate) static MATCH: Section = Section {
    name: "matches",
    title: "frontend.NAME.route.matches",
    doc: "Conditions that must all hold.",
    keys: &[
        path_key(),
        method_key(),
        headers_key(),
        query_key(),
        cookies_key(),
        source_key(),
    ],
    example: "[frontend.web]\nlisten = \":80\"\n\n[[frontend.web.route]]\nmatches = [\n  { path = \"/admin\", source = [\"10.0.0.0/8\"] },\n  { method = \"GET\", headers = { X-Debug = \"1\" } },\n]\nbackend = \"admin\"\n\n[backend.admin]\nservers = [\"10.0.0.1:80\"]\n",
};

pub(crate) static PATH: Section = Section {
    name: "path",
    title: "frontend.NAME.route.path",
    doc: "Exactly one of these.",
    keys: &[
        Key::new(
            "exact",
            Kind::Text("path"),
            Means("none"),
            "The whole path.",
        ),
        Key::new(
            "prefix",
            Kind::Text("path"),
            Means("none"),
            "Whole segments from the start: `/api` takes `/api`, `/api/` and `/api/x`, not \
             `/apix`.",
        ),
    ],
    example: "",
};

pub(crate) static REDIRECT: Section = Section {
    name: "redirect",
    title: "frontend.NAME.route.redirect",
    doc: "What is not written stays as the request has it.",
    keys: &[
        Key::new(
            "scheme",
            Kind::Choice(&["http", "https"]),
            Means("unchanged"),
            "Scheme of the new location.",
        ),
        Key::new(
            "host",
            Kind::Text("host"),
            Means("unchanged"),
            "Host of the new location.",
        ),
        Key::new(
            "port",
            Kind::Integer(1, 65_535),
            Means("that of the scheme, or unchanged"),
            "Port of the new location.",
        ),
        Key::new(
            "path",
            Kind::Text("path"),
            Means("unchanged"),
            "Replaces the whole path.",
        ),
        Key::new(
            "prefix",
            Kind::Text("path"),
            Means("unchanged"),
            "Replaces the prefix that the route matched.",
        ),
        Key::new(
            "status",
            Kind::Integer(301, 308),
            Default("302"),
            "301, 302, 303, 307 or 308.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\n\n[[frontend.web.route]]\nredirect = { scheme = \"https\", status = 308 }\n",
};

pub(crate) static RESPOND: Section = Section {
    name: "respond",
    title: "frontend.NAME.route.respond",
    doc: "A fixed answer.",
    keys: &[
        Key::new(
            "status",
            Kind::Integer(200, 599),
            Default("200"),
            "Status of the answer.",
        ),
        Key::new(
            "body",
            Kind::Text("text"),
            Default("\"\""),
            "Body of the answer.",
        ),
        Key::new(
            "content-type",
            Kind::Text("media type"),
            Default("\"text/plain; charset=utf-8\""),
            "Value of `Content-Type`.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\n\n[[frontend.web.route]]\npath = { exact = \"/ping\" }\nrespond = { body = \"pong\" }\n",
};

pub(crate) static REWRITE: Section = Section {
    name: "rewrite",
    title: "frontend.NAME.route.rewrite",
    doc: "New host and path of requests; the query stays.",
    keys: &[
        Key::new(
            "host",
            Kind::Text("host"),
            Means("unchanged"),
            "New value of `Host`.",
        ),
        Key::new(
            "path",
            Kind::Text("path"),
            Means("unchanged"),
            "Replaces the whole path.",
        ),
        Key::new(
            "prefix",
            Kind::Text("path"),
            Means("unchanged"),
            "Replaces the prefix that the route matched.",
        ),
    ],
    example: "",
};

pub(crate) static HEADERS: Section = Section {
    name: "headers",
    title: "request-headers, response-headers",
    doc: "Fields are removed, then set, then added. Fields that frame or route a message \
          (`Content-Length`, `Transfer-Encoding`, `Connection`, `Host` and their like) are not to \
          be changed here; `rewrite` changes the host.",
    keys: &[
        Key::new(
            "set",
            Kind::Map("NAME", &Kind::Text("value")),
            Means("nothing"),
            "Replaces every field of that name.",
        ),
        Key::new(
            "add",
            Kind::Map("NAME", &Kind::OneOrMany(&Kind::Text("value"))),
            Means("nothing"),
            "Appended to what is there.",
        ),
        Key::new(
            "remove",
            Kind::OneOrMany(&Kind::Text("name")),
            Means("nothing"),
            "Names whose fields are dropped.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\n\n[[frontend.web.route]]\nbackend = \"api\"\nrequest-headers = { set = { X-Env = \"prod\" }, remove = [\"X-Debug\"] }\nresponse-headers = { add = { Strict-Transport-Security = \"max-age=31536000\" } }\n\n[backend.api]\nservers = [\"10.0.0.1:80\"]\n",
};

pub(crate) static MIRROR: Section = Section {
    name: "mirror",
    title: "frontend.NAME.route.mirror",
    doc: "Copies of requests to another backend.",
    keys: &[
        Key::new(
            "backend",
            Kind::Text("backend"),
            Required,
            "Who gets the copies.",
        ),
        Key::new(
            "percent",
            Kind::Integer(0, 100),
            Default("100"),
            "Share of requests that are copied.",
        ),
    ],
    example: "",
};

pub(crate) static ROUTE_RETRY: Section = Section {
    name: "retry",
    title: "frontend.NAME.route.retry",
    doc: "What a route lets be sent again.",
    keys: &[
        Key::new(
            "idempotency-header",
            Kind::Text("header"),
            Means("none"),
            "Requests with this header count as idempotent.",
        ),
        Key::new(
            "max-tries",
            Kind::Integer(0, 100),
            Means("the backend's"),
            "Tries after the first.",
        ),
    ],
    example: "",
};

static PATH_FORMS: [Kind; 2] = [Kind::Text("path"), Kind::Table(&PATH)];

const fn path_key() -> Key {
    Key::new(
        "path",
        Kind::Either(&PATH_FORMS),
        Means("every path"),
        "The path, without the query: `/x` is short for `{ prefix = \"/x\" }`.",
    )
}

const fn method_key() -> Key {
    Key::new(
        "method",
        Kind::Text("method"),
        Means("every method"),
        "The method.",
    )
}

const fn headers_key() -> Key {
    conditions(
        "headers",
        "HEADER",
        "Header fields and their values; `true` asks only that it is there.",
    )
}

const fn query_key() -> Key {
    conditions(
        "query",
        "PARAMETER",
        "Query parameters and their values, percent-decoded; the first of a name counts.",
    )
}

const fn cookies_key() -> Key {
    conditions("cookies", "COOKIE", "Cookies and their values.")
}

const fn conditions(name: &'static str, keys: &'static str, doc: &'static str) -> Key {
    Key::new(
        name,
        Kind::Map(
            keys,
            &Kind::Either(&[Kind::Text("value"), Kind::Only(true)]),
        ),
        Means("no condition"),
        doc,
    )
}

const fn source_key() -> Key {
    Key::new(
        "source",
        Kind::OneOrMany(&Kind::Text("network")),
        Means("every client"),
        "Networks, one of which must hold the client, such as `10.0.0.0/8`.",
    )
}
