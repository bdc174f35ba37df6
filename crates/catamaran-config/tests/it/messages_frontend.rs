//! What is said about mistakes in frontends and routes, word for word.

use crate::errors::{check_frontend, check_route};

#[test]
fn a_wrong_frontend_is_refused() {
    check_frontend(FRONTENDS);
}

#[test]
fn a_wrong_route_is_refused() {
    check_route(ROUTES);
}

const FRONTENDS: &[(&str, &str)] = &[
    (
        "max-head = 32768",
        "4:12: `max-head` needs a unit, found 32768; write `\"32768B\"`",
    ),
    (
        "max-head = \"61KiB\"",
        "4:12: `max-head` must be 1KiB to 60KiB, found `\"61KiB\"`",
    ),
    (
        "max-head = \"1M\"",
        "4:12: `max-head` must be a size such as `\"64KiB\"`, found `\"1M\"`",
    ),
    (
        "max-fields = 5",
        "4:14: `max-fields` must be a number from 16 to 1000, found 5",
    ),
    (
        "max-connections = 0",
        "4:19: `max-connections` must be a number from 1 to 10000000, found 0",
    ),
    (
        "forwarded = \"x-forwared\"",
        "4:13: unknown value `x-forwared` of `forwarded`; did you mean `x-forwarded`?",
    ),
    (
        "trusted-proxies = [\"10.0.0.0/33\"]",
        "4:20: `10.0.0.0/33` is no network: prefix length must be 0 to 32 for IPv4 and 0 to 128 for IPv6; write it as `10.0.0.0/8`",
    ),
    (
        "trusted-proxies = \"ten\"",
        "4:19: `ten` is no network: not an IP address; write it as `10.0.0.0/8`",
    ),
    (
        "deny = \"ten\"",
        "4:8: `ten` is no network: not an IP address; write it as `10.0.0.0/8`, or `list:NAME`",
    ),
    (
        "allow = [\"::/0\", \"list:bad\"]",
        "4:18: unknown list `bad`; add `[list.bad]` with its `file`",
    ),
    (
        "deny = \"::/0\"\ndenial = \"tarpitt\"",
        "5:10: unknown value `tarpitt` of `denial`; did you mean `tarpit`?",
    ),
    (
        "rate-limit = { per = \"1s\" }",
        "4:14: `rate-limit` has no `requests`; add `requests = 100`",
    ),
    (
        "rate-limit = { requests = 1, by = \"cookie:a\" }",
        "4:35: unknown key `cookie:a`; allowed are `source-ip`, `header:`",
    ),
    (
        "rate-limit = { requests = 0 }",
        "4:27: `requests` must be a number from 1 to 1000000000, found 0",
    ),
    (
        "access-log = \"jsn\"",
        "4:14: unknown value `jsn` of `access-log`; did you mean `json`?",
    ),
    (
        "access-log = true",
        "4:14: `access-log` must be a format such as `\"json\"`, or a table with `format` and `to`, found `true`",
    ),
    (
        "access-log = { to = \"stdot\" }",
        "4:21: unknown target `stdot`; did you mean `stdout`?",
    ),
    (
        "access-log = { to = \"log.txt\" }",
        "4:21: unknown target `log.txt`; write `stdout`, `syslog`, or a file as an absolute path",
    ),
    (
        "access-log = { to = \"syslog:host:514\" }",
        "4:21: `syslog:host:514` is no syslog; write it as `syslog:127.0.0.1:514` or `syslog:/dev/log`",
    ),
    (
        "error-pages = { 200 = \"503.html\" }",
        "4:17: `200` is no status of an error; write one from 400 to 599",
    ),
    (
        "error-pages = { 503 = \"none.html\" }",
        "4:23: `none.html` cannot be read: entity not found; write the file, or remove the page",
    ),
    (
        "error-pages = { 503 = \"503.html\", 502 = \"/x/503.html.png\" }",
        "4:41: `/x/503.html.png` cannot be read: entity not found; write the file, or remove the page\ncatamaran.toml:4:41: the ending of `/x/503.html.png` says no content type; use `.html`, `.txt`, `.json`, `.xml` or `.svg`",
    ),
    (
        "timeouts = \"10s\"",
        "4:12: `timeouts` must be a table (`{ … }`), found \"10s\"",
    ),
    (
        "timeouts.keepalive = \"10s\"",
        "4:10: unknown key `keepalive` in `timeouts`; did you mean `keep-alive`?",
    ),
    (
        "protocol = \"https\"",
        "4:12: unknown value `https` of `protocol`; did you mean `http`?",
    ),
    (
        "protocol = \"tpc\"",
        "4:12: unknown value `tpc` of `protocol`; did you mean `tcp`?",
    ),
    (
        "[frontend.web.route]\nbackend = \"api\"",
        "4:1: `route` must be a list, written as `[[frontend.NAME.route]]`, found a table",
    ),
];

const ROUTES: &[(&str, &str)] = &[
    (
        "",
        "4:1: the route does nothing; add one of `backend`, `backends`, `map`, `refuse`, `redirect`, `respond`",
    ),
    (
        "backend = \"api\"\nredirect = { host = \"x\" }",
        "6:1: the route already has `backend`; remove one of them",
    ),
    (
        "backend = \"apj\"",
        "5:11: unknown backend `apj`; did you mean `api`?",
    ),
    (
        "backends = { api = 0 }",
        "5:12: the weights of `backends` sum to 0; give one a weight above 0",
    ),
    (
        "backends = { ap = 1 }",
        "5:14: unknown backend `ap`; did you mean `api`?",
    ),
    (
        "backends = [\"api\"]",
        "5:12: `backends` must be a table (`{ … }`), found a list",
    ),
    (
        "redirect = { status = 301 }",
        "5:12: the redirect leads where it came from; add `scheme`, `host`, `port`, `path` or `prefix`",
    ),
    (
        "redirect = { status = 300, host = \"a\" }",
        "5:23: status 300 is no redirect; write 301, 302, 303, 307 or 308",
    ),
    (
        "redirect = { host = \"https://a\" }",
        "5:21: `https://a` is no host; write it as `example.com`, without a scheme",
    ),
    (
        "redirect = { path = \"/a\", prefix = \"/b\" }",
        "5:36: both `path` and `prefix` are given; remove one",
    ),
    (
        "path = { exact = \"/x\" }\nredirect = { prefix = \"/b\" }",
        "6:23: `prefix` replaces a matched prefix, but the route matches an exact path; write `path`",
    ),
    (
        "respond = { status = 700 }",
        "5:22: `status` must be a number from 200 to 599, found 700",
    ),
    (
        "respond = { status = 204, body = \"x\" }",
        "5:11: a response of 204 has no body; remove `body`",
    ),
    (
        "respond = { content-type = \"html\" }",
        "5:28: `html` is no media type; write it as `text/html`",
    ),
    (
        "respond = {}\nrewrite = { path = \"/x\" }",
        "6:11: `rewrite` changes requests to servers, but this route has `respond`; remove one",
    ),
    (
        "backend = \"api\"\npath = \"x\"",
        "6:8: `x` is no path; write it as `/x`",
    ),
    (
        "backend = \"api\"\npath = \"/x?y=1\"",
        "6:8: the path `/x?y=1` has a query; match on it by `query = { name = \"value\" }`",
    ),
    (
        "backend = \"api\"\npath = \"/ä\"",
        "6:8: the path `/ä` has characters that no request can have; percent-encode them",
    ),
    (
        "backend = \"api\"\npath = {}",
        "6:8: `path` is empty; write `path = \"/x\"` or `path = { exact = \"/x\" }`",
    ),
    (
        "backend = \"api\"\npath = { exact = \"/a\", prefix = \"/b\" }",
        "6:33: `path` has both `exact` and `prefix`; remove one",
    ),
    (
        "backend = \"api\"\npath = { regex = \"/a\" }",
        "6:10: unknown key `regex` in `path`; allowed are `exact`, `prefix`",
    ),
    (
        "backend = \"api\"\nmethod = \"post\"",
        "6:10: `post` has lower case, which is another method to HTTP; write `POST`",
    ),
    (
        "backend = \"api\"\nhosts = [\"a.*.b\"]",
        "6:10: `a.*.b` is no host; write it as `example.com` or `*.example.com`, without scheme and port",
    ),
    (
        "backend = \"api\"\nhosts = \"https://a\"",
        "6:9: `https://a` is no host; write it as `example.com` or `*.example.com`, without scheme and port",
    ),
    (
        "backend = \"api\"\nheaders = { \"X A\" = \"1\" }",
        "6:13: `X A` is no name of a header; write letters, digits and `-`",
    ),
    (
        "backend = \"api\"\nheaders = { X-A = 1 }",
        "6:19: `X-A` must be a string, or `true` if any value will do, found 1",
    ),
    (
        "backend = \"api\"\ncookies = { \"a=b\" = true }",
        "6:13: `a=b` is no name of a cookie; write letters, digits, `-` and `_`",
    ),
    (
        "backend = \"api\"\nsource = \"10.0.0.0/a\"",
        "6:10: `10.0.0.0/a` is no network: prefix length must be 0 to 32 for IPv4 and 0 to 128 for IPv6; write it as `10.0.0.0/8`",
    ),
    (
        "backend = \"api\"\nmatches = [{ pth = \"/x\" }]",
        "6:14: unknown key `pth` in `matches`; did you mean `path`?",
    ),
    (
        "backend = \"api\"\nmethod = \"GET\"\nmatches = [{ path = \"/x\" }]",
        "6:1: `method` stands beside `matches`; move it into one of them",
    ),
    (
        "backend = \"api\"\nrequest-headers = { set = { Content-Length = \"1\" } }",
        "6:29: `content-length` cannot be changed, since catamaran frames messages itself; remove it",
    ),
    (
        "backend = \"api\"\nrequest-headers = { set = { Host = \"a\" } }",
        "6:29: `host` cannot be changed here; write `rewrite = { host = \"…\" }`",
    ),
    (
        "backend = \"api\"\nresponse-headers = { add = { X-A = \"a\\nb\" } }",
        "6:36: `a\\nb` is no value of a header; remove control characters and the spaces around it",
    ),
    (
        "backend = \"api\"\nresponse-headers = { remove = [\"X A\"] }",
        "6:32: `X A` is no name of a header; write letters, digits and `-`",
    ),
    (
        "backend = \"api\"\nresponse-headers = { remove = \"Upgrade\" }",
        "6:31: `upgrade` cannot be changed, since catamaran frames messages itself; remove it",
    ),
    (
        "backend = \"api\"\nmirror = { percent = 5 }",
        "6:10: `mirror` has no `backend`; add `backend = \"…\"`",
    ),
    (
        "backend = \"api\"\nmirror = [{ backend = \"api\", percent = 101 }]",
        "6:40: `percent` must be a number from 0 to 100, found 101",
    ),
    (
        "backend = \"api\"\nretry = { idempotency-header = \"\" }",
        "6:32: `` is no name of a header; write letters, digits and `-`",
    ),
    (
        "backend = \"api\"\ntimeout = \"2d\"",
        "6:11: `timeout` must be 1ms to 1d, found `\"2d\"`",
    ),
    (
        "backend = \"api\"\nname = \"a b\"",
        "6:8: the name of route `a b` has spaces, quotes or control characters; write letters, digits, `-`, `_`, `.`",
    ),
];
