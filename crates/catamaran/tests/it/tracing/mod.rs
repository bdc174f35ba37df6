//! Traces of requests: what servers, the access log and a collector are told of them.

mod collector;

use crate::balancer::{Balancer, quoted};
use crate::operator::ask;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Client, Ending, Origin, Reply, Request, ReservedPort, Response, Signal, TempDir, free_addr,
    http_get, tunnel,
};
use collector::{CLIENT, Collector, ERROR, SERVER, Span};
use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn said(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}")
}

/// A balancer that traces; `tracing` and `frontend` are further lines of each.
fn traced(
    collector: SocketAddr,
    servers: &[SocketAddr],
    (tracing, frontend, backend): (&str, &str, &str),
) -> Balancer {
    Balancer::start(&config(collector, servers, (tracing, frontend, backend)))
}

fn config(
    collector: SocketAddr,
    servers: &[SocketAddr],
    (tracing, frontend, backend): (&str, &str, &str),
) -> String {
    format!(
        "[process]\nworkers = 1\n[tracing]\nendpoint = \"http://{collector}\"\n{tracing}\n\
         [backend.app]\nservers = {}\n{backend}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n{frontend}\n",
        quoted(servers)
    )
}

fn hello() -> Origin {
    Origin::fixed(200, "hello").start().unwrap()
}

fn get(client: &mut Client, target: &str, fields: &[&str]) -> Response {
    client.request("GET", target, fields, b"").unwrap()
}

/// Trace, span and flags that a request names.
fn parent_of(request: &Request) -> (String, String, String) {
    let value = request.field("traceparent").expect("a traceparent");
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, span, flags] = parts[..] else {
        panic!("{value}");
    };
    assert_eq!((version, value.len()), ("00", 55), "{value}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

fn of_kind(spans: &[Span], kind: u64) -> Vec<&Span> {
    spans.iter().filter(|span| span.kind == kind).collect()
}

#[test]
fn a_trusted_parent_has_its_request_traced_from_end_to_end() {
    let (collector, origin) = (Collector::start(), hello());
    let balancer = traced(
        collector.addr(),
        &[origin.addr()],
        (
            "sample = \"0%\"\nservice-name = \"edge\"\nresource = { zone = \"a\" }",
            "trusted-proxies = [\"127.0.0.0/8\"]",
            "",
        ),
    );
    let state = "tracestate: rojo=00f067aa0ba902b7 , congo=t61rcWkgMzE";
    let forwarded = "X-Forwarded-For: 192.0.2.7";
    let fields = [&said("01"), state, forwarded, "User-Agent: probe/1"];
    let mut client = balancer.connect();
    assert_eq!(get(&mut client, "/a?secret=1", &fields).status, 200);
    let request = &origin.requests()[0];
    let (trace, span, flags) = parent_of(request);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "01"));
    let passed = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
    assert_eq!(request.field("tracestate").as_deref(), Some(passed));

    let spans = collector.spans(2);
    let [server, try_] = [SERVER, CLIENT].map(|kind| of_kind(&spans, kind)[0]);
    assert_eq!(
        (&server.trace_id[..], &server.parent_id[..]),
        (TRACE, PARENT)
    );
    assert_eq!(
        (&try_.trace_id, &try_.parent_id),
        (&server.trace_id, &server.span_id)
    );
    assert_eq!(try_.span_id, span, "the server is told of the try");
    assert_eq!(
        (server.name.as_str(), try_.name.as_str()),
        ("GET web", "GET app")
    );
    assert_eq!((server.flags, try_.flags), (0x301, 0x101));
    assert_eq!(
        (server.state.as_str(), &server.links[..]),
        (passed, &[][..])
    );
    assert!(server.began <= try_.began && try_.began <= try_.ended);
    assert!(try_.ended <= server.ended && server.ended > 1_600_000_000_000_000_000);
    assert_attributes(server, try_, origin.addr().port());
    assert_eq!((server.status.0, try_.status.0), (0, 0));
    assert_eq!(server.resource["service.name"], "edge");
    assert_eq!(server.resource["zone"], "a");
    assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
}

/// What is told of `GET /a` and of its one try.
fn assert_attributes(server: &Span, try_: &Span, port: u16) {
    server.assert(&[
        ("http.request.method", "GET"),
        ("url.scheme", "http"),
        ("url.path", "/a"),
        ("client.address", "192.0.2.7"),
        ("network.peer.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("user_agent.original", "probe/1"),
        ("http.response.status_code", "200"),
        ("catamaran.frontend", "web"),
        ("catamaran.backend", "app"),
        ("catamaran.outcome", "done"),
    ]);
    try_.assert(&[
        ("http.request.method", "GET"),
        ("server.address", "127.0.0.1"),
        ("server.port", &port.to_string()),
        ("http.response.status_code", "200"),
        ("catamaran.backend", "app"),
        ("catamaran.reason", "new"),
        ("catamaran.connection.reused", "false"),
    ]);
    assert!(try_.get("catamaran.connect.duration").is_some());
    assert!(try_.get("catamaran.first_byte.duration").is_some());
}

#[test]
fn a_trusted_parent_that_was_not_sampled_is_passed_on_and_told_to_nobody() {
    let (collector, origin) = (Collector::start(), hello());
    let balancer = traced(
        collector.addr(),
        &[origin.addr()],
        ("sample = \"100%\"\nparents = \"all\"", "", ""),
    );
    let mut client = balancer.connect();
    get(&mut client, "/not", &[&said("00")]);
    get(&mut client, "/yes", &[&said("01")]);
    let all: Vec<_> = origin.requests().iter().map(parent_of).collect();
    assert_eq!((&all[0].0[..], &all[0].2[..]), (TRACE, "00"));
    assert_ne!(all[0].1, PARENT, "the span is ours");
    assert_eq!((&all[1].0[..], &all[1].2[..]), (TRACE, "01"));
    let spans = collector.spans(2);
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(of_kind(&spans, SERVER)[0].get("url.path") == Some("/yes"));
    of_kind(&spans, CLIENT)[0].assert(&[("catamaran.connection.reused", "true")]);
}

#[test]
fn a_client_that_is_not_trusted_gets_a_new_trace_with_a_link_and_decides_nothing() {
    let (collector, origin) = (Collector::start(), hello());
    let lines = "sample = \"100%\"\nparents = \"none\"";
    let balancer = traced(collector.addr(), &[origin.addr()], (lines, "", ""));
    let mut client = balancer.connect();
    get(&mut client, "/", &[&said("00"), "tracestate: a=1"]);
    let request = &origin.requests()[0];
    let (trace, _, flags) = parent_of(request);
    assert!(trace != TRACE && flags == "01", "{trace} {flags}");
    assert_eq!(request.field("tracestate"), None);
    let spans = collector.spans(2);
    let server = of_kind(&spans, SERVER)[0];
    assert_eq!((&server.trace_id, &server.parent_id[..]), (&trace, ""));
    assert_eq!(server.links, [(TRACE.to_owned(), PARENT.to_owned())]);
    assert_eq!(server.flags, 0x101);
}

#[test]
fn whoever_is_no_trusted_proxy_cannot_have_requests_traced() {
    let (collector, origin) = (Collector::start(), hello());
    let balancer = traced(
        collector.addr(),
        &[origin.addr()],
        ("sample = \"0%\"", "", ""),
    );
    let mut client = balancer.connect();
    for _ in 0..20 {
        get(&mut client, "/", &[&said("01")]);
    }
    let traces: BTreeSet<_> = origin.requests().iter().map(parent_of).collect();
    assert_eq!(traces.len(), 20, "each request has a trace of its own");
    assert!(
        traces
            .iter()
            .all(|(trace, _, flags)| trace != TRACE && flags == "00")
    );
    assert_eq!(collector.all(), []);
}

#[test]
fn what_makes_no_sense_begins_a_new_trace() {
    let (collector, origin) = (Collector::start(), hello());
    let lines = "sample = \"0%\"\nparents = \"all\"";
    let balancer = traced(collector.addr(), &[origin.addr()], (lines, "", ""));
    let mut client = balancer.connect();
    let (valid, upper) = (said("01"), said("01").to_uppercase());
    for fields in [
        &["traceparent: none"][..],
        &["traceparent: 00-00000000000000000000000000000000-00f067aa0ba902b7-01"],
        &[&upper],
        &[&valid, &valid],
    ] {
        let fields = [fields, &["tracestate: a=1"]].concat();
        assert_eq!(get(&mut client, "/", &fields).status, 200);
    }
    for request in origin.requests() {
        let (trace, _, flags) = parent_of(&request);
        assert!(trace != TRACE && flags == "00", "{trace}");
        assert_eq!(request.head.all("traceparent").count(), 1);
        assert_eq!(request.field("tracestate"), None);
    }
}

#[test]
fn a_request_that_is_tried_twice_has_two_tries() {
    let (collector, good) = (Collector::start(), hello());
    let closing = Origin::http(|_| Reply::nothing(Ending::Close))
        .start()
        .unwrap();
    let backend = "balance = \"round-robin\"\nretry = { max-tries = 3 }";
    let balancer = traced(
        collector.addr(),
        &[closing.addr(), good.addr()],
        ("sample = \"100%\"", "", backend),
    );
    let mut client = balancer.connect();
    // Whichever server comes first: one of two requests meets the one that closes.
    for _ in 0..2 {
        assert_eq!(get(&mut client, "/", &[]).status, 200);
    }
    let spans = eventually("a request with two tries", || {
        let all = collector.all();
        let is_whole = of_kind(&all, SERVER).len() == 2;
        is_whole.then_some(all)
    });
    let mut failed = of_kind(&spans, CLIENT).into_iter();
    let failed = failed.find(|span| span.status.0 == ERROR);
    let failed = failed.expect("a try that failed");
    failed.assert(&[("error.type", "server-closed")]);
    let again = of_kind(&spans, CLIENT).into_iter();
    let mut again =
        again.filter(|span| span.trace_id == failed.trace_id && span.span_id != failed.span_id);
    let again = again.next().expect("a second try");
    again.assert(&[
        ("http.request.resend_count", "1"),
        ("http.response.status_code", "200"),
    ]);
    assert_eq!(again.parent_id, failed.parent_id);
    assert!(again.began >= failed.ended);
    let told = closing.requests();
    let is_told = |request| {
        let (trace, span, _) = parent_of(request);
        trace == failed.trace_id && span == failed.span_id
    };
    assert!(told.iter().any(is_told));
    let told = good.requests();
    assert!(
        told.iter()
            .any(|request| parent_of(request).1 == again.span_id)
    );
    let whole = of_kind(&spans, SERVER).into_iter();
    let mut whole = whole.filter(|span| span.span_id == failed.parent_id);
    assert_eq!(
        whole.next().unwrap().status.0,
        0,
        "the client saw no failure"
    );
}

#[test]
fn failures_are_errors_and_refusals_of_clients_are_not() {
    let collector = Collector::start();
    let origin = Origin::http(|request| match request.target.as_str() {
        "/503" => Reply::new(503, "no"),
        "/404" => Reply::new(404, "no"),
        _ => Reply::nothing(Ending::Close),
    });
    let origin = origin.start().unwrap();
    let gone = ReservedPort::any().unwrap();
    let routes = format!(
        "deny = [\"192.0.2.0/24\"]\ntrusted-proxies = [\"127.0.0.0/8\"]\n\
         [[frontend.web.route]]\nname = \"gone\"\npath = \"/gone\"\nbackend = \"gone\"\n\
         [backend.gone]\nservers = [\"{}\"]\n",
        gone.addr()
    );
    let backend = "retry = { max-tries = 0 }";
    let lines = "sample = \"100%\"\nparents = \"none\"";
    let balancer = traced(
        collector.addr(),
        &[origin.addr()],
        (lines, &routes, backend),
    );
    for (target, status) in [("/503", 503), ("/404", 404), ("/cut", 502), ("/gone", 503)] {
        let mut client = balancer.connect();
        assert_eq!(get(&mut client, target, &[]).status, status, "{target}");
    }
    let refused = get(
        &mut balancer.connect(),
        "/denied",
        &["X-Forwarded-For: 192.0.2.1"],
    );
    assert_eq!(refused.status, 403);
    let spans = eventually("five exchanges", || {
        let all = collector.all();
        (of_kind(&all, SERVER).len() == 5).then_some(all)
    });
    let server = |path: &str| {
        let mut all = of_kind(&spans, SERVER).into_iter();
        all.find(|span| span.get("url.path") == Some(path)).unwrap()
    };
    let tries = |path: &str| {
        let parent = &server(path).span_id;
        let all = of_kind(&spans, CLIENT).into_iter();
        all.filter(|span| span.parent_id == *parent)
            .collect::<Vec<_>>()
    };
    for (path, error, status) in [
        ("/503", "503", ""),
        ("/cut", "server-closed", "server-closed"),
        ("/gone", "connect-failed", "connect-failed"),
    ] {
        for span in tries(path).into_iter().chain([server(path)]) {
            span.assert(&[("error.type", error)]);
            assert_eq!(span.status, (ERROR, status.to_owned()), "{span:?}");
        }
        assert!(!tries(path).is_empty(), "{path}");
    }
    server("/gone").assert(&[("catamaran.route", "gone"), ("catamaran.backend", "gone")]);
    // What a client got wrong is its own affair; for who asked the server it is an error.
    assert_eq!(
        (server("/404").status.0, tries("/404")[0].status.0),
        (0, ERROR)
    );
    tries("/404")[0].assert(&[("error.type", "404")]);
    server("/denied").assert(&[("catamaran.outcome", "forbidden")]);
    assert_eq!((server("/denied").status.0, tries("/denied").len()), (0, 0));
}

#[test]
fn the_access_log_names_the_trace() {
    let (collector, origin, dir) = (Collector::start(), hello(), TempDir::create().unwrap());
    let path = dir.path().join("access.log");
    let log = format!(
        "access-log = {{ format = \"json\", to = \"{}\" }}",
        path.display()
    );
    let lines = "sample = \"100%\"";
    let balancer = traced(collector.addr(), &[origin.addr()], (lines, &log, ""));
    assert_eq!(http_get(balancer.addr(), "/").unwrap().status, 200);
    let spans = collector.spans(2);
    let server = of_kind(&spans, SERVER)[0];
    let line = eventually("a line", || {
        let text = fs::read_to_string(&path).ok()?;
        text.ends_with('\n').then_some(text)
    });
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["trace_id"], server.trace_id.as_str());
    assert_eq!(line["span_id"], server.span_id.as_str());
    assert_eq!(line["trace_flags"], "01");
}

#[test]
fn an_upgraded_connection_is_traced_up_to_its_switch() {
    let collector = Collector::start();
    let origin = Origin::http(|_| Reply::upgrade("echo", tunnel::echo()));
    let origin = origin.start().unwrap();
    let lines = "sample = \"100%\"";
    let balancer = traced(collector.addr(), &[origin.addr()], (lines, "", ""));
    let mut client = balancer.connect();
    let fields = ["Connection: upgrade", "Upgrade: echo"];
    assert_eq!(get(&mut client, "/", &fields).status, 101);
    let spans = collector.spans(2);
    of_kind(&spans, SERVER)[0].assert(&[("http.response.status_code", "101")]);
    client.send(b"still").unwrap();
    assert_eq!(client.receive(5).unwrap(), b"still");
}

#[test]
fn without_tracing_the_fields_pass_as_any_other() {
    let origin = hello();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let fields = ["Traceparent: what ever", "tracestate: a"];
    get(&mut balancer.connect(), "/", &fields);
    get(&mut balancer.connect(), "/", &[]);
    let requests = origin.requests();
    assert_eq!(
        requests[0].field("traceparent").as_deref(),
        Some("what ever")
    );
    assert_eq!(requests[0].field("tracestate").as_deref(), Some("a"));
    assert_eq!(requests[1].field("traceparent"), None);
}

#[test]
fn a_route_may_keep_the_trace_to_itself() {
    let (collector, origin) = (Collector::start(), hello());
    let route = "[[frontend.web.route]]\nbackend = \"app\"\n\
                 request-headers = { remove = [\"traceparent\", \"tracestate\"] }\n";
    let lines = "sample = \"100%\"\nparents = \"all\"";
    let balancer = traced(collector.addr(), &[origin.addr()], (lines, route, ""));
    let fields = [&said("01"), "tracestate: a=1"];
    get(&mut balancer.connect(), "/", &fields);
    let request = &origin.requests()[0];
    assert_eq!(request.field("traceparent"), None);
    assert_eq!(request.field("tracestate"), None);
    assert_eq!(collector.spans(2)[0].trace_id, TRACE);
}

/// A metric without labels.
fn metric(address: SocketAddr, name: &str) -> u64 {
    let page = http_get(address, "/metrics").unwrap().text();
    let mut lines = page.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value
        .unwrap_or_else(|| panic!("{name} {page}"))
        .parse()
        .unwrap()
}

#[test]
fn a_collector_that_is_away_harms_nobody_and_is_told_of_once() {
    let (port, origin) = (ReservedPort::any().unwrap(), hello());
    let metrics = free_addr().unwrap();
    let lines = format!("sample = \"100%\"\nqueue = 5\n[process]\nmetrics = \"{metrics}\"");
    let config = config(port.addr(), &[origin.addr()], (&lines, "", ""));
    let balancer = Balancer::start(&config.replacen("[process]\nworkers = 1\n", "", 1));
    let mut client = balancer.connect();
    for _ in 0..30 {
        assert_eq!(get(&mut client, "/", &[]).status, 200);
    }
    let dropped = "catamaran_tracing_dropped_total";
    eventually("spans to be dropped", || {
        (metric(metrics, dropped) == 25).then_some(())
    });
    assert_eq!(metric(metrics, "catamaran_tracing_queue_length"), 5);
    assert_eq!(metric(metrics, "catamaran_tracing_queue_limit"), 5);
    let away = "traces do not reach the collector";
    balancer.process.wait_for_stderr(away, PATIENCE).unwrap();
    assert_eq!(metric(metrics, "catamaran_tracing_collector_up"), 0);

    let collector = Collector::start_at(port.addr());
    collector.say(503);
    eventually("a try to be refused", || {
        (!collector.requests().is_empty()).then_some(())
    });
    collector.say(200);
    assert_eq!(collector.spans(10).len(), 10);
    let back = "traces reach the collector again";
    balancer.process.wait_for_stderr(back, PATIENCE).unwrap();
    let exported = "catamaran_tracing_spans_exported_total";
    eventually("spans to be counted", || {
        (metric(metrics, exported) == 10).then_some(())
    });
    assert_eq!(metric(metrics, "catamaran_tracing_collector_up"), 1);
    assert_eq!(metric(metrics, "catamaran_tracing_spans_failed_total"), 0);
    assert_eq!(metric(metrics, "catamaran_tracing_queue_length"), 0);
    let log = balancer.process.stderr();
    assert_eq!(log.matches(away).count(), 1, "{log}");
    assert_eq!(log.matches(back).count(), 1, "{log}");
}

#[test]
fn what_a_collector_refuses_is_lost_and_the_log_says_what_to_do() {
    let (collector, origin) = (Collector::start(), hello());
    collector.say(401);
    let dir = TempDir::create().unwrap();
    let key = dir.write("headers", "X-Key: open-sesame\n").unwrap();
    let lines = format!("sample = \"100%\"\nheaders-file = \"{}\"", key.display());
    let balancer = traced(collector.addr(), &[origin.addr()], (&lines, "", ""));
    assert_eq!(http_get(balancer.addr(), "/").unwrap().status, 200);
    let remedy = "write `headers-file` under [tracing]";
    balancer.process.wait_for_stderr(remedy, PATIENCE).unwrap();
    collector.say(200);
    assert_eq!(http_get(balancer.addr(), "/next").unwrap().status, 200);
    let spans = collector.spans(2);
    assert_eq!(of_kind(&spans, SERVER)[0].get("url.path"), Some("/next"));
    let requests = collector.requests();
    let keys = requests.iter().filter_map(|request| request.field("x-key"));
    assert_eq!(keys.collect::<Vec<_>>(), ["open-sesame"; 2]);
    assert!(!balancer.process.stderr().contains("sesame"));
}

#[test]
fn no_more_are_sampled_than_may_be() {
    let (collector, origin) = (Collector::start(), hello());
    let metrics = free_addr().unwrap();
    let lines =
        format!("sample = \"100%\"\nmax-per-second = 1\n[process]\nmetrics = \"{metrics}\"");
    let config = config(collector.addr(), &[origin.addr()], (&lines, "", ""));
    let balancer = Balancer::start(&config.replacen("[process]\nworkers = 1\n", "", 1));
    let mut client = balancer.connect();
    // Until some are not; how long that takes is the machine's affair.
    let limited = eventually("a request to be limited", || {
        assert_eq!(get(&mut client, "/", &[]).status, 200);
        Some(metric(metrics, "catamaran_tracing_limited_total")).filter(|count| *count > 0)
    });
    let told: Vec<_> = origin.requests().iter().map(parent_of).collect();
    let not = told.iter().filter(|(_, _, flags)| flags == "00").count();
    assert_eq!(not as u64, limited);
}

#[test]
fn a_reload_begins_changes_and_ends_tracing() {
    let (first, second, origin) = (Collector::start(), Collector::start(), hello());
    let listen = free_addr().unwrap();
    let text = |tracing: &str| {
        format!(
            "[process]\nworkers = 1\n{tracing}\n[backend.app]\nservers = [\"{}\"]\n\
             [frontend.web]\nlisten = \"{listen}\"\nbackend = \"app\"\n",
            origin.addr()
        )
    };
    let to = |collector: &Collector, service: &str| {
        let endpoint = format!("endpoint = \"http://{}\"", collector.addr());
        text(&format!(
            "[tracing]\n{endpoint}\nsample = \"100%\"\nservice-name = \"{service}\""
        ))
    };
    let balancer = Balancer::start(&text(""));
    let mut reloads = 0;
    let mut reload = |config: &str| {
        fs::write(balancer.process.config_path(), config).unwrap();
        balancer.process.signal(Signal::HUP).unwrap();
        reloads += 1;
        eventually("a reload", || {
            let count = balancer
                .process
                .stderr()
                .matches("reloaded changes=")
                .count();
            (count >= reloads).then_some(())
        });
    };
    // One connection all the way: what changes holds from its next request on.
    let mut client = balancer.connect();
    let mut ask = || {
        assert_eq!(get(&mut client, "/", &[]).status, 200);
        origin.requests().last().unwrap().field("traceparent")
    };
    assert_eq!(ask(), None);
    reload(&to(&first, "one"));
    assert!(ask().is_some());
    assert_eq!(first.spans(2)[0].resource["service.name"], "one");
    reload(&to(&second, "two"));
    assert!(ask().is_some());
    assert_eq!(second.spans(2)[0].resource["service.name"], "two");
    reload(&text(""));
    assert_eq!(ask(), None);
    assert_eq!((first.all().len(), second.all().len()), (2, 2));
}

#[test]
fn what_waits_is_sent_before_the_process_ends() {
    let (collector, origin) = (Collector::start(), hello());
    let lines = "sample = \"100%\"";
    let mut balancer = traced(collector.addr(), &[origin.addr()], (lines, "", ""));
    assert_eq!(http_get(balancer.addr(), "/").unwrap().status, 200);
    balancer.process.terminate().unwrap();
    assert!(balancer.process.wait(PATIENCE).unwrap().success());
    assert_eq!(collector.all().len(), 2);
}

#[test]
fn what_a_replaced_process_finishes_is_sent_too() {
    let (collector, origin) = (Collector::start(), hello());
    let admin = "[admin]\nsocket = \"admin.sock\"\n";
    let lines = format!("sample = \"100%\"\n{admin}");
    let balancer = traced(collector.addr(), &[origin.addr()], (&lines, "", ""));
    let mut client = balancer.connect();
    // Begun, so that the connection stays with the process that it came to.
    client.send(b"GET /late HTTP/1.1\r\n").unwrap();
    let (status, told) = ask(&balancer, "POST", "/v1/upgrade", "{}");
    assert_eq!(status, 200, "{told}");
    let drains = "another data process serves; this one drains";
    balancer.process.wait_for_stderr(drains, PATIENCE).unwrap();
    // Longer than the control plane of the old process lives.
    std::thread::sleep(Duration::from_secs(4));
    client.send(b"Host: a\r\n\r\n").unwrap();
    assert_eq!(client.receive_response("GET").unwrap().status, 200);
    let spans = collector.spans(2);
    assert_eq!(of_kind(&spans, SERVER)[0].get("url.path"), Some("/late"));
}
