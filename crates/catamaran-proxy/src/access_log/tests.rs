//! Tests of the formats, and of the writer over real files and sockets.

use super::*;
use catamaran_core::Timestamp;
use catamaran_core::model::LogTarget;
use proptest::prelude::*;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

fn address() -> ServerAddr {
    ServerAddr::Ip("127.0.0.1:8081".parse().unwrap())
}

fn http<'a>(method: &'a [u8], target: &'a [u8]) -> Http<'a> {
    Http {
        method,
        target,
        host: b"www.example:8080",
        version: "HTTP/1.1",
        status: Some(200),
        trace: None,
    }
}

/// The exchange of the example in HAProxy's manual, §8.2.3.
fn record<'a>(address: &'a ServerAddr, http: Option<Http<'a>>) -> Record<'a> {
    let ms = |ms| Some(Duration::from_millis(ms));
    Record {
        time_unix_us: 1_233_922_454_655_000,
        client: "10.0.1.2:33317".parse().unwrap(),
        frontend: "http-in",
        route: None,
        backend: Some("static"),
        server: Some(ServerUsed {
            name: "srv1",
            address,
            reason: Reason::Sticky,
        }),
        http,
        bytes_in: 300,
        bytes_out: 2750,
        timers: Timers {
            request: ms(10),
            queue: ms(0),
            connect: ms(30),
            response: ms(69),
            total: ms(109),
        },
        termination: *b"--",
        outcome: "done",
        counts: Counts {
            process: 1,
            frontend: 1,
            backend: 1,
            server: 1,
            ..Counts::default()
        },
    }
}

fn line(record: &Record<'_>, log_format: LogFormat) -> String {
    let mut out = Vec::new();
    format(record, log_format, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_exchange_reads_as_haproxys_httplog() {
    let address = address();
    let mut record = record(&address, Some(http(b"GET", b"/index.html")));
    assert_eq!(
        line(&record, LogFormat::Haproxy),
        "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 10/0/30/69/109 200 2750 \
         - - ---- 1/1/1/1/0 0/0 \"GET /index.html HTTP/1.1\"\n"
    );
    record.counts.retries = 3;
    record.counts.redispatched = true;
    record.termination = *b"SH";
    record.timers.response = None;
    let line = line(&record, LogFormat::Haproxy);
    assert!(
        line.contains(" 10/0/30/-1/109 200 2750 - - SH-- 1/1/1/1/+3 0/0 "),
        "{line}"
    );
}

#[test]
fn a_request_that_reached_nothing_reads_as_haproxys() {
    let address = address();
    let mut bad = http(b"", b"");
    bad.status = None;
    let mut record = record(&address, Some(bad));
    record.server = None;
    record.backend = None;
    record.timers = Timers::default();
    record.bytes_out = 0;
    record.termination = *b"CR";
    assert_eq!(
        line(&record, LogFormat::Haproxy),
        "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in http-in/<NOSRV> -1/-1/-1/-1/-1 -1 0 \
         - - CR-- 1/1/1/1/0 0/0 \"<BADREQ>\"\n"
    );
}

#[test]
fn a_connection_reads_as_haproxys_tcplog() {
    let address = address();
    assert_eq!(
        line(&record(&address, None), LogFormat::Haproxy),
        "10.0.1.2:33317 [06/Feb/2009:12:14:14.655] http-in static/srv1 0/30/109 2750 -- \
         1/1/1/1/0 0/0\n"
    );
}

#[test]
fn the_common_log_format_is_apaches() {
    let address = address();
    let mut record = record(&address, Some(http(b"GET", b"/a\"b\\c")));
    assert_eq!(
        line(&record, LogFormat::Clf),
        "10.0.1.2 - - [06/Feb/2009:12:14:14 +0000] \"GET /a\\\"b\\\\c HTTP/1.1\" 200 2750\n"
    );
    record.http = None;
    record.bytes_out = 0;
    assert_eq!(
        line(&record, LogFormat::Clf),
        "10.0.1.2 - - [06/Feb/2009:12:14:14 +0000] \"-\" - -\n"
    );
}

#[test]
fn a_person_sees_client_server_and_reason() {
    let address = address();
    let mut record = record(&address, None);
    record.client = "[::ffff:127.0.0.1]:51234".parse().unwrap();
    assert_eq!(
        line(&record, LogFormat::Human),
        "12:14:14  127.0.0.1:51234 → srv1 (127.0.0.1:8081)  sticky\n"
    );
    let name = address.to_string();
    record.server = Some(ServerUsed {
        name: &name,
        address: &address,
        reason: Reason::New,
    });
    record.http = Some(http(b"GET", b"/"));
    assert_eq!(
        line(&record, LogFormat::Human),
        "12:14:14  127.0.0.1:51234 → 127.0.0.1:8081  new  GET /  200\n"
    );
}

#[test]
fn json_names_the_trace_as_the_request_to_the_server_does() {
    let address = address();
    let traced = |text: &str| {
        let trace = TraceParent::parse(text.as_bytes());
        let mut http = http(b"GET", b"/");
        http.trace = trace;
        let line = line(&record(&address, Some(http)), LogFormat::Json);
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let json = traced("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(json["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(json["span_id"], "00f067aa0ba902b7");
    assert_eq!(json["trace_flags"], "01");
    assert_eq!(traced("none").get("trace_id"), None);
}

#[test]
fn json_holds_every_field_that_is_known() {
    let address = address();
    let line = line(
        &record(&address, Some(http(b"GET", b"/x"))),
        LogFormat::Json,
    );
    let json: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(json["time"], "2009-02-06T12:14:14.655000Z");
    assert_eq!(json["client"], "10.0.1.2:33317");
    assert_eq!(json["server"], "srv1");
    assert_eq!(json["reason"], "sticky");
    assert_eq!(json["status"], 200);
    assert_eq!(json["total_ms"], 109);
    assert_eq!(json["termination"], "--");
    assert_eq!(json["outcome"], "done");
    assert_eq!(json["host"], "www.example:8080");
    assert_eq!(json["redispatched"], false);
    assert_eq!(json.get("route"), None);
}

#[test]
fn a_long_target_is_cut() {
    let address = address();
    let target = vec![b'\x01'; 60 * 1024];
    let line = line(
        &record(&address, Some(http(b"GET", &target))),
        LogFormat::Haproxy,
    );
    assert!(line.len() < 3 * MAX_TARGET + 300);
}

proptest! {
    #[test]
    fn nothing_a_client_sends_ends_a_line_or_a_field(
        method in proptest::collection::vec(any::<u8>(), 1..12),
        target in proptest::collection::vec(any::<u8>(), 0..48),
    ) {
        let address = address();
        let record = record(&address, Some(http(&method, &target)));
        for log_format in [LogFormat::Json, LogFormat::Clf, LogFormat::Haproxy, LogFormat::Human] {
            let line = line(&record, log_format);
            let inside = line.strip_suffix('\n').unwrap();
            prop_assert!(!inside.chars().any(char::is_control), "{inside:?}");
        }
        let json: serde_json::Value =
            serde_json::from_str(&line(&record, LogFormat::Json)).unwrap();
        let lossy = String::from_utf8_lossy(&target);
        prop_assert_eq!(json["target"].as_str().unwrap(), &*lossy);
        prop_assert_eq!(line(&record, LogFormat::Haproxy).matches('"').count(), 2);
    }
}

/// A directory that is gone when the test ends.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("catamaran-access-log-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn lines_reach_the_file_when_the_writer_stops() {
    let dir = TempDir::new();
    let path = dir.0.join("access.log");
    let writer = Writer::start(&LogTarget::File(path.clone())).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    for _ in 0..1000 {
        appender.append(Timestamp::ZERO, &record(&address, None));
    }
    drop(appender);
    assert_eq!((writer.dropped(), writer.failed()), (0, 0));
    assert!(writer.stop(PATIENCE));
    assert_eq!(
        std::fs::read_to_string(&path).unwrap().lines().count(),
        1000
    );
}

#[test]
fn a_line_waits_a_tenth_of_a_second_for_its_batch() {
    let dir = TempDir::new();
    let path = dir.0.join("access.log");
    let writer = Writer::start(&LogTarget::File(path.clone())).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    assert_eq!(appender.poll_timeout(), None);
    appender.append(Timestamp::ZERO, &record(&address, None));
    let due = Timestamp::ZERO + Duration::from_millis(100);
    assert_eq!(appender.poll_timeout(), Some(due));
    appender.handle_timeout(due - Duration::from_millis(1));
    assert_eq!(appender.poll_timeout(), Some(due));
    appender.handle_timeout(due);
    assert_eq!(appender.poll_timeout(), None);
    assert!(writer.stop(PATIENCE));
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_rotated_file_is_opened_anew() {
    let dir = TempDir::new();
    let (path, old) = (dir.0.join("access.log"), dir.0.join("access.log.1"));
    let writer = Writer::start(&LogTarget::File(path.clone())).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    std::fs::rename(&path, &old).unwrap();
    writer.reopen();
    appender.append(Timestamp::ZERO, &record(&address, None));
    drop(appender);
    assert!(writer.stop(PATIENCE));
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "");
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 1);
}

#[test]
fn a_target_that_cannot_be_opened_is_an_error_at_once() {
    let dir = TempDir::new();
    let target = LogTarget::File(dir.0.join("missing/access.log"));
    let error = Writer::start(&target).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn lines_that_the_target_refuses_are_counted() {
    let target = LogTarget::File(PathBuf::from("/dev/full"));
    let writer = Writer::start(&target).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    appender.append(Timestamp::ZERO, &record(&address, None));
    appender.flush();
    assert!(writer.stop(PATIENCE));
    assert_eq!(writer.failed(), 1);
}

#[test]
fn a_target_that_hangs_costs_lines_and_no_time() {
    let dir = TempDir::new();
    let path = dir.0.join("log.sock");
    // Nobody reads: a datagram socket takes a few messages, then sends to it block.
    let _deaf = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let writer = Writer::start(&LogTarget::SyslogUnix(path)).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    for _ in 0..2000 {
        appender.append(Timestamp::ZERO, &record(&address, None));
        appender.flush();
    }
    assert!(writer.dropped() > 0);
}

#[test]
fn udp_syslog_gets_one_rfc_5424_message_a_line() {
    let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let target = LogTarget::SyslogUdp(server.local_addr().unwrap());
    let writer = Writer::start(&target).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Haproxy);
    appender.append(Timestamp::ZERO, &record(&address, None));
    appender.append(Timestamp::ZERO, &record(&address, None));
    appender.flush();
    for _ in 0..2 {
        let mut datagram = [0; 2048];
        let length = server.recv(&mut datagram).unwrap();
        let message = str::from_utf8(&datagram[..length]).unwrap();
        let parts: Vec<&str> = message.splitn(8, ' ').collect();
        assert_eq!(parts[0], "<134>1");
        assert!(parts[1].ends_with('Z') && parts[1].len() == 27, "{message}");
        assert_eq!(parts[3], "catamaran");
        assert_eq!(parts[4], std::process::id().to_string());
        assert_eq!((parts[5], parts[6]), ("-", "-"));
        assert!(parts[7].starts_with("10.0.1.2:33317 [") && !message.contains('\n'));
    }
}

#[test]
fn unix_syslog_gets_what_glibc_sends() {
    let dir = TempDir::new();
    let path = dir.0.join("log.sock");
    let server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let writer = Writer::start(&LogTarget::SyslogUnix(path)).unwrap();
    let address = address();
    let mut appender = writer.appender(LogFormat::Clf);
    appender.append(Timestamp::ZERO, &record(&address, None));
    appender.flush();
    let mut datagram = [0; 2048];
    let length = server.recv(&mut datagram).unwrap();
    let message = str::from_utf8(&datagram[..length]).unwrap();
    let tag = format!(" catamaran[{}]: 10.0.1.2 - - [", std::process::id());
    assert!(
        message.starts_with("<134>") && message.contains(&tag),
        "{message}"
    );
}
