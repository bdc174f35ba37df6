//! Whole files with mistakes, and those that are about more than one section.

use crate::parse;

/// A valid beginning of five lines, so that each case shows only what is wrong.
pub(crate) const VALID: &str = "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\
                                [backend.api]\nservers = [\"10.0.0.1:80\"]\n";

/// What is said about `text`.
pub(crate) fn errors(text: &str) -> String {
    match parse(text) {
        Ok(_) => "no error".to_owned(),
        Err(errors) => errors.to_string(),
    }
}

/// What is said about a frontend with `lines`, which start at line 4.
#[track_caller]
pub(crate) fn check_frontend(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        let text = format!(
            "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n{lines}\n[backend.api]\nservers \
             = [\"10.0.0.1:80\"]\n"
        );
        assert_eq!(
            errors(&text),
            format!("catamaran.toml:{expected}"),
            "{lines}"
        );
    }
}

/// What is said about a backend with `lines`, which start at line 6.
#[track_caller]
pub(crate) fn check_backend(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        let text = format!("{VALID}{lines}\n");
        assert_eq!(
            errors(&text),
            format!("catamaran.toml:{expected}"),
            "{lines}"
        );
    }
}

/// What is said about a backend whose servers are `lines`, at line 5.
#[track_caller]
pub(crate) fn check_servers(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        let text = VALID.replace("servers = [\"10.0.0.1:80\"]", lines);
        assert_eq!(
            errors(&text),
            format!("catamaran.toml:{expected}"),
            "{lines}"
        );
    }
}

/// What is said about a route with `lines`, which start at line 5.
#[track_caller]
pub(crate) fn check_route(cases: &[(&str, &str)]) {
    for (lines, expected) in cases {
        let text = format!(
            "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n[[frontend.web.route]]\n{lines}\n\
             [backend.api]\nservers = [\"10.0.0.1:80\"]\n"
        );
        assert_eq!(
            errors(&text),
            format!("catamaran.toml:{expected}"),
            "{lines}"
        );
    }
}

fn warnings(text: &str) -> String {
    let loaded = match parse(text) {
        Ok(loaded) => loaded,
        Err(errors) => panic!("{errors}"),
    };
    let lines: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let text = r#"[frontend.web]
listen = [":80", "1.2.3.4"]
backend = "apl"
max-heads = 4
[frontend.x]
protocol="tcp"
listen=":80"
forwarded="both"
[backend.api]
servers = ["10.0.0.1:80", "10.0.0.1:80", {address="a:1", wieght = 300, name="q q"}]
health = { interval = 5, rise = 0, timeout = "2", http="/x" }
[procces]
workers=3
"#;
    let expected = r#"2:18: `1.2.3.4` has no port; write it as `1.2.3.4:80`
3:11: unknown backend `apl`; did you mean `api`?
4:1: unknown key `max-heads` in `frontend`; did you mean `max-head`?
5:1: frontend `x` has no `backend`; add `backend = "…"`
7:8: `0.0.0.0:80` is listened on twice, first at line 2; remove one, or give it another port
7:8: `[::]:80` is listened on twice, first at line 2; remove one, or give it another port
8:1: `forwarded` is for HTTP frontends; remove it, or write `protocol = "http"`
10:27: backend `api` has the address `10.0.0.1:80` twice, first at line 10; remove one (a `weight` gives a server more traffic)
10:58: unknown key `wieght` in `server`; did you mean `weight`?
10:77: the name of server `q q` has spaces, quotes or control characters; write letters, digits, `-`, `_`, `.`
11:23: `interval` needs a unit, found 5; write `"5ms"` or `"5s"`
11:33: `rise` must be a number from 1 to 1000, found 0
11:46: `timeout` must be a duration such as `"2s"`, found `"2"`
12:2: unknown key `procces` in the configuration; did you mean `process`?"#;
    let expected: Vec<String> = expected
        .lines()
        .map(|line| format!("catamaran.toml:{line}"))
        .collect();
    assert_eq!(errors(text), expected.join("\n"));
}

#[test]
fn a_part_of_a_later_version_is_refused_at_its_place() {
    let not_yet = |key: &str, brings: &str| {
        format!(
            "`{key}` is not supported by this version yet; remove it (a later version brings \
             {brings})"
        )
    };
    let section = format!("{VALID}[tls.site]\ncertificates = []\n");
    let expected = format!("catamaran.toml:6:1: {}", not_yet("tls", "TLS"));
    assert_eq!(errors(&section), expected);
    let listener = VALID.replace(
        "\":80\"",
        "{ address = \":443\", tls = \"site\", http3 = true }",
    );
    assert_eq!(
        errors(&listener),
        format!(
            "catamaran.toml:2:30: {}\ncatamaran.toml:2:44: {}",
            not_yet("tls", "TLS"),
            not_yet("http3", "HTTP/3")
        )
    );
}

#[test]
fn the_design_as_written_is_refused_only_for_its_later_parts() {
    let not_yet = |place: &str, key: &str, brings: &str| {
        format!(
            "catamaran.toml:{place}: `{key}` is not supported by this version yet; remove it (a \
             later version brings {brings})"
        )
    };
    let expected = [not_yet("2:53", "tls", "TLS"), not_yet("5:1", "tls", "TLS")];
    assert_eq!(errors(DESIGN), expected.join("\n"));
}

const DESIGN: &str = r#"[frontend.web]
listen  = ["0.0.0.0:80", { address = "0.0.0.0:443", tls = "site" }]   # h1, h2 by ALPN; http3 = true adds UDP
backend = "api"

[tls.site]
certificates = ["/etc/catamaran/tls/site.pem"]     # chain and key; several: chosen by SNI

[frontend.echo]
protocol = "tcp"                     # "tcp" | "udp" | "http" (default)
listen   = ["127.0.0.1:7878"]
backend  = "echo"

[backend.echo]
balance = "random"
stick   = { on = "source-ip", for = "2s" }       # window opens at the first request; refresh = true slides it
servers = ["127.0.0.1:8080", "127.0.0.1:8081"]

[backend.api]
servers = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 2, name = "b", backup = false }]
health  = { http = "/health", interval = "1s", rise = 2, fall = 3 }

[virtual-ip.main]
addresses = ["192.0.2.10/24"]
interface = "eth0"
router-id = 51
priority  = 150

[cluster]
node   = "a"
peers  = { b = "10.0.0.12:7946" }
secret-file = "/etc/catamaran/cluster.key"
"#;

#[test]
fn an_empty_file_is_told_how_to_begin() {
    assert_eq!(
        errors(""),
        "catamaran.toml:1:1: the configuration has no frontend; add `[frontend.web]` with \
         `listen` and `backend`"
    );
    assert_eq!(
        errors("\n[frontend]\n"),
        "catamaran.toml:2:1: the configuration has no frontend; add `[frontend.web]` with \
         `listen` and `backend`"
    );
    assert_eq!(
        errors("[frontnd.w]\n"),
        "catamaran.toml:1:2: unknown key `frontnd` in the configuration; did you mean `frontend`?"
    );
}

#[test]
fn what_should_be_a_section_is_told_so() {
    assert_eq!(
        errors("frontend = 3\n"),
        "catamaran.toml:1:12: `frontend` must be a table (`{ … }`), found 3"
    );
    assert_eq!(
        errors(&format!("{VALID}[[backend.b]]\n")),
        "catamaran.toml:6:1: `b` must be a table (`{ … }`), found a list"
    );
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(errors(&format!("\u{feff}{VALID}")), "no error");
}

#[test]
fn ten_thousand_servers_are_read() {
    let servers: Vec<String> = (0..10_000)
        .map(|n| format!("\"10.{}.{}.{}:80\"", n / 10_000, n / 100, n % 100))
        .collect();
    let text = VALID.replace("\"10.0.0.1:80\"", &servers.join(", "));
    assert_eq!(
        parse(&text).map(|loaded| loaded.config.backends[0].servers.len()),
        Ok(10_000)
    );
}

#[test]
fn several_mistakes_of_syntax_are_told_at_once() {
    check_backend(&[(
        "servers = []\na = \nb = ]",
        "6:1: `servers` is written twice; remove one\n\
             catamaran.toml:7:5: TOML syntax: string values must be quoted, expected literal \
             string\n\
             catamaran.toml:8:5: TOML syntax: missing array opening, expected `[`",
    )]);
}

#[test]
fn what_is_doubtful_is_a_warning() {
    assert_eq!(
        warnings(&format!("{VALID}[backend.old]\nservers = [\"a:1\"]\n")),
        "catamaran.toml:6:10: backend `old` is not used; name it in a frontend or route, or \
         remove it"
    );
    let server = |key: &str| {
        VALID.replace(
            "\"10.0.0.1:80\"",
            &format!("{{ address = \"a:1\", {key} }}"),
        )
    };
    assert_eq!(
        warnings(&server("weight = 0")),
        "catamaran.toml:5:1: every server of backend `api` has weight 0, so that none takes new \
         clients; give one a weight"
    );
    assert_eq!(
        warnings(&server("backup = true")),
        "catamaran.toml:5:1: every server of backend `api` is a backup; remove `backup` from \
         those that serve normally"
    );
    let udp = VALID.replace("listen", "protocol = \"udp\"\nlisten");
    assert_eq!(
        warnings(&format!("{udp}health = {{ tcp = true }}\n")),
        "catamaran.toml:4:11: backend `api` takes UDP but is checked over TCP on the same port; \
         give `health` a `port` that answers, or remove it"
    );
}

#[test]
fn what_only_http_has_is_refused_for_connections() {
    let tcp = VALID.replace("listen", "protocol = \"tcp\"\nlisten");
    for (lines, expected) in [
        (
            "stick = { on = \"header:X\", for = \"1s\" }",
            "4:11: backend `api` sticks on a part of HTTP requests, which TCP has not; write \
             `stick = { on = \"source-ip\", … }`, or another backend",
        ),
        (
            "balance = { hash = \"uri\" }",
            "4:11: backend `api` balances on a part of HTTP requests, which TCP has not; write \
             `balance = \"source\"`, or another backend",
        ),
    ] {
        let found = errors(&format!("{tcp}{lines}\n"));
        assert_eq!(found, format!("catamaran.toml:{expected}"));
    }
    check_frontend(&[
        (
            "protocol = \"tcp\"\nroute = []",
            "5:1: `route` is for HTTP frontends; remove it, or write `protocol = \"http\"`",
        ),
        (
            "protocol = \"udp\"\ntimeouts.keep-alive = \"1s\"",
            "5:10: `keep-alive` is for HTTP frontends; remove it, or write `protocol = \"http\"`",
        ),
        (
            "protocol = \"tcp\"\nrate-limit = { requests = 1, by = \"header:X\" }",
            "5:14: `by` counts a header, which only HTTP has; write `by = \"source-ip\"`",
        ),
    ]);
}

#[test]
fn what_is_quoted_stays_on_one_line() {
    check_backend(&[(
        "on-down = \"a\\nb\"",
        "6:11: unknown value `a\\nb` of `on-down`; allowed are `redispatch`, `keep`",
    )]);
}

#[test]
fn a_stream_socket_takes_no_datagrams() {
    let udp = VALID.replace("listen", "protocol = \"udp\"\nlisten");
    assert_eq!(
        errors(&udp.replace("10.0.0.1:80", "unix:/run/s")),
        "catamaran.toml:4:11: backend `api` has the stream socket `unix:/run/s`, which takes no \
         UDP; write another backend"
    );
}

#[test]
fn udp_and_tcp_may_share_a_port() {
    let udp = "[frontend.dns]\nprotocol = \"udp\"\nlisten = \":80\"\nbackend = \"api\"\n";
    assert_eq!(errors(&format!("{udp}{VALID}")), "no error");
}
