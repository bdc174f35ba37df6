//! What is said about mistakes in backends, word for word.

use crate::errors::{check_backend, check_servers};

#[test]
fn a_wrong_policy_is_refused() {
    check_backend(POLICIES);
}

#[test]
fn a_wrong_check_is_refused() {
    check_backend(HEALTH);
}

#[test]
fn a_wrong_server_is_refused() {
    check_servers(SERVERS);
}

const POLICIES: &[(&str, &str)] = &[
    (
        "balance = \"least-conn\"",
        "6:11: unknown value `least-conn` of `balance`; did you mean `least-connections`?",
    ),
    (
        "balance = \"leastrequests\"",
        "6:11: unknown value `leastrequests` of `balance`; did you mean `least-requests`?",
    ),
    (
        "balance = \"hash\"",
        "6:11: `hash` needs a key; write `balance = { hash = \"source-ip\" }`",
    ),
    (
        "balance = 3",
        "6:11: `balance` must be the name of an algorithm, or a table with `hash`, found 3",
    ),
    (
        "balance = { hash = \"header\" }",
        "6:20: unknown key `header`; write `header:NAME`",
    ),
    (
        "balance = { hash = \"header:\" }",
        "6:20: `header:` has no valid name after the colon; write it as `header:NAME`",
    ),
    (
        "balance = { hash = \"sourceip\" }",
        "6:20: unknown key `sourceip`; did you mean `source-ip`?",
    ),
    (
        "balance = { hash = \"uri\", max-load = \"130%\" }",
        "6:38: `max-load` is for the ring; add `method = \"ring\"`, or remove it",
    ),
    (
        "balance = { hash = \"uri\", method = \"ring\", max-load = \"100%\" }",
        "6:55: `max-load` must be 101% to 10000%, found `\"100%\"`",
    ),
    (
        "balance = { method = \"ring\" }",
        "6:11: `balance` has no `hash`; add `hash = \"source-ip\"`",
    ),
    (
        "stick = { on = \"source-ip\" }",
        "6:9: `stick` has no `for`; add `for = \"10m\"`",
    ),
    (
        "stick = { for = \"2s\" }",
        "6:9: `stick` has no `on`; add `on = \"source-ip\"`",
    ),
    (
        "stick = { on = \"cookie:a b\", for = \"2s\" }",
        "6:16: `cookie:a b` has no valid name after the colon; write it as `cookie:NAME`",
    ),
    (
        "stick = { on = \"source-ip\", for = 2 }",
        "6:35: `for` needs a unit, found 2; write `\"2ms\"` or `\"2s\"`",
    ),
    (
        "stick = { on = \"source-ip\", for = \"31d\" }",
        "6:35: `for` must be 1ms to 30d, found `\"31d\"`",
    ),
    (
        "stick = \"source-ip\"",
        "6:9: `stick` must be a table (`{ … }`), found \"source-ip\"",
    ),
    (
        "on-down = \"kep\"",
        "6:11: unknown value `kep` of `on-down`; did you mean `keep`?",
    ),
    (
        "outlier = true",
        "6:11: `outlier` must be a table (`{ … }`), or `false`, found `true`",
    ),
    (
        "outlier = { base-ejection = \"10m\" }",
        "6:11: `max-ejection` must be at least `base-ejection`: `5m` is less than `10m`",
    ),
    (
        "outlier.max-ejected = 10",
        "6:23: `max-ejected` needs a unit, found 10; write `\"10%\"`",
    ),
    (
        "retry = { budget = 20 }",
        "6:20: `budget` needs a unit, found 20; write `\"20%\"`",
    ),
    (
        "retry = { max-tries = 101 }",
        "6:23: `max-tries` must be a number from 0 to 100, found 101",
    ),
    (
        "queue = { timeout = \"0ms\" }",
        "6:21: `timeout` must be 1ms to 1d, found `\"0ms\"`",
    ),
    (
        "panic-threshold = 50",
        "6:19: `panic-threshold` needs a unit, found 50; write `\"50%\"`",
    ),
    (
        "panic-threshold = \"101%\"",
        "6:19: `panic-threshold` must be 0% to 100%, found `\"101%\"`",
    ),
    (
        "slow-start = \"${UNSET}s\"",
        "6:14: environment variable `UNSET` is not set; set it, or write `$${UNSET}` for the plain text",
    ),
    (
        "slow-start = \"30\"",
        "6:14: `slow-start` must be a duration such as `\"2s\"`, found `\"30\"`",
    ),
    (
        "timeouts.connect = 1.5",
        "6:20: `connect` must be a duration such as `\"2s\"`, found 1.5",
    ),
    (
        "timeouts.conect = \"1s\"",
        "6:10: unknown key `conect` in `timeouts`; did you mean `connect`?",
    ),
    (
        "max-idle = -1",
        "6:12: `max-idle` must be a number from 0 to 65536, found -1",
    ),
    (
        "max-idle = '9'",
        "6:12: `max-idle` must be a number from 0 to 65536, found \"9\"",
    ),
];

const HEALTH: &[(&str, &str)] = &[
    (
        "health = { interval = \"1s\" }",
        "6:10: `health` does not say what to ask; add `http = \"/health\"` or `tcp = true`",
    ),
    (
        "health = { http = \"/\", tcp = true }",
        "6:19: `health` has both `http` and `tcp`; remove one",
    ),
    (
        "health = { http = \"health\" }",
        "6:19: `health` is no path; write it as `/health`, without spaces",
    ),
    (
        "health = { tcp = true, expect = 200 }",
        "6:33: `expect` is for HTTP checks; add `http = \"/health\"`, or remove it",
    ),
    (
        "health = { http = \"/\", expect = \"2xx\" }",
        "6:33: `2xx` is no range of statuses; write it as `200-399`, within 100 to 599",
    ),
    (
        "health = { http = \"/\", expect = [200, 600] }",
        "6:39: an item of `expect` must be a number from 100 to 599, found 600",
    ),
    (
        "health = { http = \"/\", expect = [] }",
        "6:33: `expect` passes no status; write it as `\"200-399\"`",
    ),
    (
        "health = { http = \"/\", method = \"get\" }",
        "6:33: `get` has lower case, which is another method to HTTP; write `GET`",
    ),
    (
        "health = { http = \"/\", host = \"a b\" }",
        "6:31: `a b` is no host; write it as `example.com`",
    ),
    (
        "health = { http = \"/\", interval = \"1s\", fast-interval = \"2s\" }",
        "6:57: `fast-interval` must be at most `interval`, which is `1s`",
    ),
    (
        "health = { http = \"/\", interval = 5 }",
        "6:35: `interval` needs a unit, found 5; write `\"5ms\"` or `\"5s\"`",
    ),
    (
        "health = { http = \"/\", fall = 0 }",
        "6:31: `fall` must be a number from 1 to 1000, found 0",
    ),
    (
        "health = { http = \"/\", port = 65536 }",
        "6:31: `port` must be a number from 1 to 65535, found 65536",
    ),
    (
        "health = { http = \"/\", timeout = \"2 seconds\" }",
        "6:34: `timeout` must be a duration such as `\"2s\"`, found `\"2 seconds\"`",
    ),
    (
        "health = { htpp = \"/\" }",
        "6:12: unknown key `htpp` in `health`; did you mean `http`?",
    ),
    (
        "interval = \"1s\"",
        "6:1: unknown key `interval` in `backend`; allowed are `servers`, `balance`, `stick`, `health`, `agent`, `source`, `source-interface`, `outlier`, `on-down`, `retry`, `queue`, `slow-start`, `panic-threshold`, `timeouts`, `max-idle`",
    ),
];

const SERVERS: &[(&str, &str)] = &[
    (
        "sevrers = [\"a:1\"]",
        "5:1: unknown key `sevrers` in `backend`; did you mean `servers`?",
    ),
    (
        "servers = []",
        "5:11: backend `api` has no servers; write `servers = [\"10.0.0.1:8080\"]`",
    ),
    (
        "servers = \"10.0.0.1:80\"",
        "5:11: `servers` must be a list (`[…]`), found \"10.0.0.1:80\"",
    ),
    (
        "servers = [80]",
        "5:12: an item of `servers` must be an address such as `\"10.0.0.1:8080\"`, or a table with `address`, found 80",
    ),
    (
        "servers = [\"10.0.0.1\"]",
        "5:12: `10.0.0.1` has no port; write it as `10.0.0.1:80`",
    ),
    (
        "servers = [\"::1\"]",
        "5:12: `::1` has no port; write it as `[::1]:80`",
    ),
    (
        "servers = [\"http://a:80\"]",
        "5:12: `http://a:80` is a URL; write only host and port, such as `10.0.0.1:80`",
    ),
    (
        "servers = [{ weight = 1 }]",
        "5:12: `server` has no `address`; add `address = \"10.0.0.1:8080\"`",
    ),
    (
        "servers = [{ address = \"a:1\", weight = 257 }]",
        "5:40: `weight` must be a number from 0 to 256, found 257",
    ),
    (
        "servers = [{ address = \"a:1\", backup = 1 }]",
        "5:40: `backup` must be `true` or `false`, found 1",
    ),
    (
        "servers = [{ address = \"a:1\", name = \"\" }]",
        "5:38: the name of server `` is empty; write letters, digits, `-`, `_`, `.` and `:`",
    ),
    (
        "servers = [{ address = \"a:1\", name = \"x\" }, { address = \"b:1\", name = \"x\" }]",
        "5:45: backend `api` has two servers named `x`, the first at line 5; name one of them otherwise",
    ),
    (
        "servers = [\"a:1\", { address = \"A:1\", name = \"x\" }]",
        "5:19: backend `api` has the address `a:1` twice, first at line 5; remove one (a `weight` gives a server more traffic)",
    ),
    (
        "servers = [\"${HOST}:80\"]",
        "5:12: environment variable `HOST` is not set; set it, or write `$${HOST}` for the plain text",
    ),
    (
        "servers = [\"${HOST:80\"]",
        "5:12: `${` has no closing `}`; write `$${` for a plain `${`",
    ),
    (
        "",
        "4:1: backend `api` has no servers; add `servers = [\"10.0.0.1:8080\"]`",
    ),
];
