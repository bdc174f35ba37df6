//! The access log through the whole program: formats, targets, and who ended an exchange.

use crate::balancer::Balancer;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Ending, Origin, Program, Reply, ReservedPort, Signal, TempDir, request_bytes, tcp_exchange,
    tunnel,
};
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

fn origin() -> Origin {
    Origin::fixed(200, "hello").start().unwrap()
}

/// A frontend's line that logs in this format to a file.
fn to_file(format: &str, path: &Path) -> String {
    format!(
        "access-log = {{ format = \"{format}\", to = \"{}\" }}",
        path.display()
    )
}

/// The lines of a file, once there are so many.
fn lines(path: &Path, count: usize) -> Vec<String> {
    eventually("lines of the access log", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() >= count).then_some(lines)
    })
}

/// The value of a member of a flat JSON object, without quotes.
fn member(line: &str, name: &str) -> Option<String> {
    let (_, rest) = line.split_once(&format!("\"{name}\":"))?;
    let value = match rest.strip_prefix('"') {
        Some(text) => text.split('"').next()?,
        None => rest.split([',', '}']).next()?,
    };
    Some(value.to_owned())
}

fn assert_members(line: &str, expected: &[(&str, &str)]) {
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    for (name, value) in expected {
        assert_eq!(
            member(line, name).as_deref(),
            Some(*value),
            "{name} of {line}"
        );
    }
}

#[test]
fn a_head_that_breaks_off_is_a_line_and_a_client_that_says_nothing_is_none() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("haproxy", &path), "");
    assert_eq!(tcp_exchange(balancer.addr(), b"").unwrap(), b"");
    assert_eq!(tcp_exchange(balancer.addr(), b"GET / HT").unwrap(), b"");
    let mut client = balancer.connect();
    assert_eq!(client.get("/last").unwrap().status, 200);
    let lines = lines(&path, 2);
    assert_eq!(lines.len(), 2, "{lines:?}");
    let cut: Vec<_> = lines.iter().filter(|line| line.contains(" CR")).collect();
    assert_eq!(cut.len(), 1, "{lines:?}");
    assert!(
        cut[0].contains("\"<BADREQ>\"") && cut[0].contains(" 400 "),
        "{cut:?}"
    );
}

#[test]
fn a_client_that_says_nothing_is_a_line_if_that_is_wished() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let shown = path.display();
    let log =
        format!("access-log = {{ format = \"haproxy\", to = \"{shown}\", silent-clients = true }}");
    let balancer = Balancer::http(&[origin.addr()], &log, "");
    assert_eq!(tcp_exchange(balancer.addr(), b"").unwrap(), b"");
    let lines = lines(&path, 1);
    assert!(lines[0].contains(" CR"), "{lines:?}");
}

#[test]
fn an_exchange_is_one_json_object_with_who_what_and_how_long() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("json", &path), "");
    let mut client = balancer.connect();
    let target = "/a?b=\"c\"";
    client.request("POST", "/path?q=1", &[], b"12345").unwrap();
    let local = client.local_addr().unwrap().to_string();
    let line = &lines(&path, 1)[0];
    assert_members(
        line,
        &[
            ("client", &local),
            ("frontend", "web"),
            ("backend", "app"),
            ("server", &origin.addr().to_string()),
            ("method", "POST"),
            ("target", "/path?q=1"),
            ("version", "HTTP/1.1"),
            ("status", "200"),
            ("termination", "--"),
            ("outcome", "done"),
            ("retries", "0"),
            ("redispatched", "false"),
        ],
    );
    for timer in [
        "request_ms",
        "queue_ms",
        "connect_ms",
        "response_ms",
        "total_ms",
    ] {
        let value: u64 = member(line, timer).unwrap().parse().unwrap();
        assert!(value < 60_000, "{timer} of {line}");
    }
    assert!(member(line, "time").unwrap().ends_with('Z'));
    assert!(member(line, "bytes_in").unwrap().parse::<u64>().unwrap() >= 5);
    assert!(member(line, "bytes_out").unwrap().parse::<u64>().unwrap() >= 5);
    // A quote in a target does not break out of its string.
    client
        .send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .unwrap();
    if client.receive_response("GET").unwrap().status == 200 {
        assert!(lines(&path, 2)[1].contains(r#"/a?b=\"c\""#));
    }
}

#[test]
fn large_bodies_keep_method_and_target_in_the_log() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("json", &path), "");
    let mut client = balancer.connect();
    client
        .request("PUT", "/large", &[], &vec![0; 1 << 20])
        .unwrap();
    let line = &lines(&path, 1)[0];
    assert_members(
        line,
        &[("method", "PUT"), ("target", "/large"), ("status", "200")],
    );
    assert!(member(line, "bytes_in").unwrap().parse::<u64>().unwrap() >= 1 << 20);
}

#[test]
fn the_termination_says_who_ended_it_and_when() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let server = Origin::http(|request| match request.target.as_str() {
        "/cut" => Reply::new(200, vec![0; 100_000]).cut_after(50_000, Ending::Close),
        "/close" => Reply::nothing(Ending::Close),
        "/bad" => Reply::raw("nonsense\r\n\r\n"),
        "/hang" => Reply::nothing(Ending::Hang),
        _ => Reply::new(200, "ok"),
    })
    .start()
    .unwrap();
    let dead = ReservedPort::any().unwrap();
    let log = to_file("json", &path);
    // Only what hangs is given little time: a starved server must not look like one that does.
    let balancer = Balancer::start(&format!(
        "[process]\nworkers = 1\n[backend.app]\nservers = [\"{0}\"]\n\
         [backend.brief]\nservers = [\"{0}\"]\ntimeouts = {{ response = \"100ms\" }}\n\
         [backend.dead]\nservers = [\"{1}\"]\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n{log}\n\
         [[frontend.web.route]]\npath = \"/app\"\nbackend = \"app\"\nrewrite = {{ prefix = \"/\" }}\n\
         [[frontend.web.route]]\npath = \"/hang\"\nbackend = \"brief\"\n\
         [[frontend.web.route]]\npath = \"/dead\"\nname = \"to-dead\"\nbackend = \"dead\"\n\
         [[frontend.web.route]]\npath = \"/go\"\nredirect = {{ path = \"/there\" }}\n",
        server.addr(),
        dead.addr()
    ));
    let cases = [
        ("/app/fine", Some("200"), "--"),
        ("/app/cut", Some("200"), "SD"),
        ("/app/close", Some("502"), "SH"),
        ("/app/bad", Some("502"), "PH"),
        ("/hang", Some("504"), "sH"),
        ("/dead", Some("503"), "SC"),
        ("/go", Some("302"), "LR"),
        ("/nowhere", Some("404"), "PR"),
    ];
    for (count, (target, status, code)) in cases.into_iter().enumerate() {
        // A cut response is an error here; what the log says of it is asked below.
        let _ = balancer.connect().get(target);
        let line = &lines(&path, count + 1)[count];
        assert_eq!(member(line, "target").as_deref(), Some(target), "{line}");
        assert_eq!(member(line, "status").as_deref(), status, "{line}");
        assert_eq!(member(line, "termination").as_deref(), Some(code), "{line}");
    }
    let all = lines(&path, cases.len());
    assert_eq!(member(&all[5], "route").as_deref(), Some("to-dead"));
    let mut client = balancer.connect();
    client.send(b"GARBAGE\r\n\r\n").unwrap();
    assert_eq!(client.receive_response("GET").unwrap().status, 400);
    let line = &lines(&path, cases.len() + 1)[cases.len()];
    assert_members(
        line,
        &[
            ("status", "400"),
            ("termination", "PR"),
            ("outcome", "bad-request"),
        ],
    );
}

#[test]
fn a_client_that_leaves_is_named_as_who_ended_it() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let server = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let balancer = Balancer::http(&[server.addr()], &to_file("json", &path), "");
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    assert!(server.wait_for_requests(1, PATIENCE));
    client.reset().unwrap();
    let line = &lines(&path, 1)[0];
    assert!(
        member(line, "termination").unwrap().starts_with('C'),
        "{line}"
    );
}

#[test]
fn the_common_log_format_has_its_seven_parts() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("clf", &path), "");
    balancer.connect().get("/index.html").unwrap();
    let line = &lines(&path, 1)[0];
    assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
    let (_, request) = line.split_once("+0000] ").unwrap();
    assert!(
        request.starts_with("\"GET /index.html HTTP/1.1\" 200 "),
        "{line}"
    );
    assert!(line.rsplit(' ').next().unwrap().parse::<u64>().unwrap() > 0);
}

#[test]
fn haproxys_format_has_its_fields_in_its_order() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("haproxy", &path), "");
    let mut client = balancer.connect();
    client.get("/x").unwrap();
    let line = lines(&path, 1)[0].clone();
    let parts: Vec<_> = line.splitn(12, ' ').collect();
    assert_eq!(parts[0], client.local_addr().unwrap().to_string());
    assert!(
        parts[1].starts_with('[') && parts[1].ends_with(']'),
        "{line}"
    );
    assert_eq!(parts[2], "web");
    assert_eq!(parts[3], format!("app/{}", origin.addr()));
    assert_eq!(parts[4].split('/').count(), 5, "{line}");
    assert_eq!(parts[5], "200");
    assert!(parts[6].parse::<u64>().unwrap() > 0);
    assert_eq!((parts[7], parts[8], parts[9]), ("-", "-", "----"));
    assert_eq!(parts[10].split('/').count(), 5, "{line}");
    assert!(parts[11].ends_with("\"GET /x HTTP/1.1\""), "{line}");
}

#[test]
fn a_tcp_connection_is_logged_at_its_end() {
    let dir = TempDir::create().unwrap();
    let json = dir.path().join("json.log");
    let haproxy = dir.path().join("haproxy.log");
    let server = Origin::tcp(tunnel::echo()).start().unwrap();
    for (format, path) in [("json", &json), ("haproxy", &haproxy)] {
        let balancer = Balancer::tcp(&[server.addr()], &to_file(format, path), "");
        tcp_exchange(balancer.addr(), b"12345").unwrap();
        lines(path, 1);
    }
    let line = &lines(&json, 1)[0];
    assert_members(
        line,
        &[("bytes_in", "5"), ("bytes_out", "5"), ("termination", "--")],
    );
    assert_eq!(member(line, "status"), None);
    let line = &lines(&haproxy, 1)[0];
    assert!(line.contains(" 5 -- "), "{line}");
}

/// The length of the next datagram. A process that was stopped meanwhile is told so first.
fn received(mut receive: impl FnMut() -> std::io::Result<usize>) -> usize {
    loop {
        match receive() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

#[test]
fn lines_go_to_syslog_by_udp() {
    let syslog = UdpSocket::bind("127.0.0.1:0").unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let addr: SocketAddr = syslog.local_addr().unwrap();
    let origin = origin();
    let log = format!("access-log = {{ format = \"haproxy\", to = \"syslog:{addr}\" }}");
    let balancer = Balancer::http(&[origin.addr()], &log, "");
    let mut client = balancer.connect();
    let mut buf = [0; 8192];
    for target in ["/one", "/two"] {
        client.get(target).unwrap();
        let len = received(|| syslog.recv(&mut buf));
        let line = String::from_utf8_lossy(&buf[..len]).into_owned();
        // RFC 5424: priority, version 1; local0 (16) and informational (6) as HAProxy's.
        assert!(line.starts_with('<') && line.contains(">1 "), "{line}");
        assert!(line.contains("catamaran"), "{line}");
        assert!(
            line.trim_end()
                .ends_with(&format!("\"GET {target} HTTP/1.1\"")),
            "{line}"
        );
    }
}

#[test]
fn lines_go_to_a_local_syslog_socket() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("log.sock");
    let syslog = UnixDatagram::bind(&path).unwrap();
    syslog.set_read_timeout(Some(PATIENCE)).unwrap();
    let origin = origin();
    let log = format!(
        "access-log = {{ format = \"clf\", to = \"syslog:{}\" }}",
        path.display()
    );
    let balancer = Balancer::http(&[origin.addr()], &log, "");
    balancer.connect().get("/").unwrap();
    let mut buf = [0; 8192];
    let len = received(|| syslog.recv(&mut buf));
    let line = String::from_utf8_lossy(&buf[..len]).into_owned();
    assert!(line.contains("\"GET / HTTP/1.1\" 200 "), "{line}");
}

#[test]
fn lines_go_to_standard_output() {
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], "access-log = \"json\"", "");
    balancer.connect().get("/to-stdout").unwrap();
    balancer
        .process
        .wait_for_stdout("\"target\":\"/to-stdout\"", PATIENCE)
        .unwrap();
}

#[test]
fn every_exchange_of_a_burst_is_logged_once() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("access.log");
    let origin = origin();
    let balancer = Balancer::http(&[origin.addr()], &to_file("json", &path), "");
    let targets: Vec<_> = (0..500).map(|number| format!("/{number}")).collect();
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    balancer.connect().pipeline(&targets).unwrap();
    let logged: Vec<_> = lines(&path, 500)
        .iter()
        .map(|line| member(line, "target").unwrap())
        .collect();
    assert_eq!(logged, targets);
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew_on_request() {
    for more in [&[][..], &["--no-supervisor"]] {
        let dir = TempDir::create().unwrap();
        let path = dir.path().join("access.log");
        let origin = origin();
        let balancer = Balancer::start_with(
            &format!(
                "[process]\nworkers = 1\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
                 backend = \"app\"\n{}\n[backend.app]\nservers = [\"{}\"]\n",
                to_file("json", &path),
                origin.addr()
            ),
            more,
        );
        balancer.connect().get("/before").unwrap();
        lines(&path, 1);
        let moved = dir.path().join("access.log.1");
        std::fs::rename(&path, &moved).unwrap();
        balancer.process.signal(Signal::USR1).unwrap();
        eventually("the new file", || path.exists().then_some(()));
        balancer.connect().get("/after").unwrap();
        let fresh = lines(&path, 1);
        assert_eq!(member(&fresh[0], "target").as_deref(), Some("/after"));
        assert_eq!(lines(&moved, 1).len(), 1);
    }
}

#[test]
fn a_target_that_takes_nothing_holds_nobody_up() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let port = ReservedPort::any().unwrap();
    let metrics = port.addr();
    let config = format!(
        "[process]\nworkers = 1\nmetrics = \"{metrics}\"\n[frontend.web]\n\
         listen = \"127.0.0.1:0\"\nbackend = \"app\"\naccess-log = \"json\"\n\
         [backend.app]\nservers = [\"{}\"]\n",
        origin.addr()
    );
    let file = dir.write("catamaran.toml", &config).unwrap();
    // Whoever should read the standard output sleeps.
    let process = Program::new("/bin/sh")
        .unwrap()
        .args(["-c", "\"$@\" | sleep 1000", "sh"])
        .args([env!("CARGO_BIN_EXE_catamaran"), "run", "-c"])
        .arg(file)
        .start()
        .unwrap();
    process.wait_for_stderr(" serving", PATIENCE).unwrap();
    let balancer = Balancer { process };
    let mut client = balancer.connect();
    // More than the pipe, the writer's queue and the worker's batch hold together, about 4.3 MB.
    let target = format!("/{}", "x".repeat(8000));
    for _ in 0..700 {
        assert_eq!(client.get(&target).unwrap().status, 200);
    }
    eventually("lines counted as dropped", || {
        let page = catamaran_testkit::http_get(metrics, "/metrics").unwrap();
        let page = page.text();
        let line = page
            .lines()
            .find(|line| line.starts_with("catamaran_access_log_dropped_total"))?;
        let dropped: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (dropped > 0.0).then_some(())
    });
}
