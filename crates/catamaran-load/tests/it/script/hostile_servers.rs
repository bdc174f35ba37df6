//! Servers that mean harm, over all protocols, with virtual users that share an engine and that do not.

use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use catamaran_load::exit_code;
use catamaran_load::script::Isolation;
use catamaran_testkit::TempDir;
use rustls::{ServerConnection, StreamOwned};

use super::{Ran, once, play_in};
use crate::h2_server::tls_config;

/// What a server does with a connection.
type Serve = Arc<dyn Fn(TcpStream) + Send + Sync>;

/// A server with a thread for each connection. Returns its address.
fn server(serve: Serve) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(stream));
        }
    });
    addr.to_string()
}

/// Sends the first part once, and the second again and again as long as somebody takes it: some megabytes a
/// second, for other tests want to run as well.
fn flood(mut stream: impl Write, first: &[u8], again: &[u8]) {
    let mut is_taken = stream.write_all(first).is_ok();
    let block = again.repeat(1 + 4096 / again.len().max(1));
    while is_taken && !again.is_empty() {
        is_taken = stream.write_all(&block).is_ok();
        thread::sleep(Duration::from_millis(1));
    }
}

/// Holds a connection until the client has enough.
fn hold(stream: &mut impl std::io::Read) {
    while stream.read(&mut [0; 4096]).is_ok_and(|len| len > 0) {}
}

/// A server that reads a request and floods its client.
fn flooding(first: &'static [u8], again: &'static [u8]) -> String {
    server(Arc::new(move |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 4096]);
        flood(&mut stream, first, again);
        hold(&mut stream);
    }))
}

/// As above, once TLS was agreed on with HTTP/2.
fn flooding_http2(first: &'static [u8], again: &'static [u8]) -> String {
    let tls = Arc::new(tls_config(&["h2"]));
    server(Arc::new(move |stream: TcpStream| {
        let session = ServerConnection::new(Arc::clone(&tls)).unwrap();
        let mut stream = StreamOwned::new(session, stream);
        let _ = stream.read(&mut [0; 4096]);
        flood(&mut stream, first, again);
        hold(&mut stream);
    }))
}

/// Plays a script of so many iterations, in each of these ways.
fn play_all(script: &str, ways: &[Isolation], iterations: usize) {
    for &isolation in ways {
        let dir = TempDir::create().unwrap();
        let ran: Ran = play_in(&dir, script, "", |options| options.isolation = isolation);
        assert_eq!(ran.code, exit_code::OK, "{isolation:?} {}", ran.err);
        for thrown in ["Error", "is not"] {
            assert!(!ran.err.contains(thrown), "{isolation:?} {}", ran.err);
        }
        let ended = ran.figure("iterations", "count");
        assert_eq!(ended, iterations as f64, "{isolation:?} {}", ran.err);
    }
}

/// Plays a script of one iteration, with an engine for each virtual user and with one for all.
fn play_both(script: &str) {
    play_all(script, &[Isolation::Strict, Isolation::Shared], 1);
}

/// A script that must not get an answer from any of these.
fn unanswered(urls: &[(&str, String)], params: &str) -> String {
    let urls: Vec<String> = urls
        .iter()
        .map(|(name, url)| format!("['{name}', '{url}']"))
        .collect();
    let body = format!(
        "for (const [name, url] of [{}]) {{
           const res = http.get(url, {{ timeout: '400ms', {params} }});
           same([name, res.status, res.error !== '', res.error_code >= 1000], [name, 0, true, true]);
         }}",
        urls.join(", ")
    );
    let options = "export const options = { insecureSkipTLSVerify: true };";
    format!("{}\n{options}", once("", &body))
}

#[test]
fn answers_of_http1_that_never_end_or_make_no_sense_are_failures() {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\n";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let of = |name, first, again| (name, format!("http://{}/", flooding(first, again)));
    let mut urls = vec![
        of("continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        of("early hints", b"", b"HTTP/1.1 103 Early\r\nA: b\r\n\r\n"),
        of("fields", OK, b"a: b\r\n"),
        of("one field", b"HTTP/1.1 200 OK\r\na: ", b"bbbbbbbbbbbbbbbb"),
        of("no line", b"", b"HHHHHHHHHHHHHHHH"),
        of("empty lines", b"", b"\r\n\r\n\r\n"),
        of("nothing", b"", b""),
        of("size of a chunk", CHUNKED, b"0000000000000000"),
        of(
            "chunk extension",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;",
            b"aaaaaaaa",
        ),
        of(
            "trailers",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"a: b\r\n",
        ),
        of("tiny chunks", CHUNKED, b"1\r\nx\r\n"),
    ];
    for (name, first) in [
        (
            "huge chunk",
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"[..],
        ),
        (
            "huge length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        ),
        (
            "length below 0",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        ),
        (
            "two lengths",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
        ("no status", b"HTTP/1.1 abc OK\r\n\r\n"),
        ("status beyond", b"HTTP/1.1 99999 OK\r\n\r\n"),
        ("another version", b"HTTP/9.9 200 OK\r\n\r\n"),
    ] {
        urls.push(of(name, first, b""));
    }
    play_both(&unanswered(&urls, ""));
}

#[test]
fn a_server_that_sends_faster_than_anybody_reads_does_not_keep_the_thread() {
    let flood = server(Arc::new(|mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 4096]);
        let block = b"1\r\nx\r\n".repeat(20_000);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut is_taken = stream.write_all(head).is_ok();
        while is_taken {
            is_taken = stream.write_all(&block).is_ok();
        }
    }));
    let urls = [("flood", format!("http://{flood}/"))];
    play_all(&unanswered(&urls, ""), &[Isolation::Strict], 1);
}

#[test]
fn an_answer_that_comes_byte_by_byte_ends_with_the_requests_time() {
    let slow = server(Arc::new(|mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 4096]);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n".iter();
        for byte in answer.chain([b'x'; 9000].iter()) {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }));
    let urls = [("slow", format!("http://{slow}/"))];
    play_both(&unanswered(&urls, ""));
}

#[test]
fn what_is_no_http2_after_that_was_agreed_on_fails_the_request() {
    /// An empty frame of SETTINGS.
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    let of = |name, first, again| (name, format!("https://{}/", flooding_http2(first, again)));
    let urls = [
        of("nothing", b"", b""),
        of("garbage", b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        of("settings", SETTINGS, SETTINGS),
        of("pings", SETTINGS, b"\0\0\x08\x06\0\0\0\0abcdefgh"),
        of(
            "huge frame",
            b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\0\0\0\0\0\x01",
            b"x",
        ),
        of(
            "goaway",
            b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x02",
            b"",
        ),
        // HEADERS without END_HEADERS, and CONTINUATION without end.
        of(
            "continuation",
            b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\0\0\0\0\x01\x88",
            b"\0\0\x04\x09\0\0\0\0\x01\x00\x01a\x00",
        ),
        of(
            "reset",
            b"\0\0\0\x04\0\0\0\0\0\0\0\x04\x03\0\0\0\0\x01\0\0\0\x02",
            b"",
        ),
        of("zero window", b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0", b""),
    ];
    play_both(&unanswered(&urls, ""));
}

#[test]
fn an_endless_body_over_http2_ends_with_the_requests_time() {
    // SETTINGS, `:status: 200`, and frames of DATA; no window was given for more.
    let url = flooding_http2(
        b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88",
        b"\0\0\x01\0\0\0\0\0\x01x",
    );
    play_both(&unanswered(&[("body", format!("https://{url}/"))], ""));
}

#[cfg(feature = "http3")]
#[test]
fn what_is_no_quic_fails_the_request_in_its_time() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let garbage = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut urls = Vec::new();
    for (name, socket) in [("silent", &silent), ("garbage", &garbage)] {
        urls.push((name, format!("https://{}/", socket.local_addr().unwrap())));
    }
    thread::spawn(move || {
        while let Ok((_, from)) = garbage.recv_from(&mut [0; 2000]) {
            for byte in 0..=255 {
                let _ = garbage.send_to(&[byte; 1200], from);
            }
        }
    });
    play_both(&unanswered(&urls, "protocol: 'h3'"));
}

/// A WebSocket server that shakes hands and floods its client.
fn flooding_socket(first: &'static [u8], again: &'static [u8]) -> String {
    server(Arc::new(move |stream: TcpStream| {
        let Ok(mut socket) = tungstenite::accept(stream) else {
            return;
        };
        flood(socket.get_mut(), first, again);
        hold(socket.get_mut());
    }))
}

/// Scripts with a virtual user for each of these, who closes the socket after a while; of both modules.
fn closing(urls: &[String], max_duration: &str) -> [String; 2] {
    let vus = urls.len();
    let top = format!(
        "const urls = [{}];
         export const options = {{ scenarios: {{ a: {{ executor: 'per-vu-iterations', vus: {vus}, iterations: 1,
           maxDuration: '{max_duration}', gracefulStop: '0s' }} }} }};",
        urls.join(", ")
    );
    let older = "const [name, url] = urls[__VU - 1];
        const res = ws.connect(url, {}, (socket) => {
          socket.on('error', () => {});
          socket.setTimeout(() => socket.close(), 300);
        });
        same([name, res.status], [name, 101]);";
    let newer = "const socket = new WebSocket(urls[__VU - 1][1]);
        socket.onerror = () => {};
        setTimeout(() => socket.close(), 300);";
    let timers =
        "import { WebSocket } from 'k6/websockets'; import { setTimeout } from 'k6/timers';";
    [
        once(&format!("import ws from 'k6/ws'; {top}"), older),
        once(&format!("{timers} {top}"), newer),
    ]
}

#[test]
fn frames_that_make_no_sense_close_the_socket() {
    let of = |name, first, again| format!("['{name}', 'ws://{}/']", flooding_socket(first, again));
    let urls = [
        of("nothing", b"", b""),
        of("masked", b"\x81\x81\x01\x02\x03\x04a", b""),
        of("huge", b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", b""),
        of("longer", b"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", b""),
        of("unknown", b"\x83\x00", b""),
        of("reserved", b"\xf1\x00", b""),
        of("long ping", b"\x89\x7e\x01\x00", b""),
        of("ping in parts", b"\x09\x00", b""),
        of("no beginning", b"\x80\x00", b""),
        of("no text", b"\x81\x01\xff", b""),
        of("short close", b"\x88\x01\x00", b""),
        of("garbage", b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    ];
    for script in closing(&urls, "60s") {
        play_all(&script, &[Isolation::Strict], urls.len());
    }
}

#[test]
fn frames_without_end_keep_nobody_beyond_the_scenarios_time() {
    let of = |name, first, again| format!("['{name}', 'ws://{}/']", flooding_socket(first, again));
    let urls = [
        of("pings", b"", b"\x89\x00"),
        of("pongs", b"", b"\x8a\x00"),
        of("messages", b"", b"\x81\x01a"),
        of("parts", b"\x01\x01a", b"\x00\x01a"),
        of("empty parts", b"\x01\x00", b"\x00\x00"),
    ];
    for script in closing(&urls, "3s") {
        let dir = TempDir::create().unwrap();
        let ran = play_in(&dir, &script, "", |_| {});
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
        assert!(ran.figure("ws_sessions", "count") > 0.0, "{}", ran.err);
    }
}

#[test]
fn what_is_no_grpc_fails_the_connection_or_the_call() {
    const PROTO: &str = include_str!("../../../src/proto/tests/all.proto");
    let of = |name, first, again| format!("['{name}', '{}']", flooding(first, again));
    let addresses = [
        of("nothing", b"", b""),
        of("garbage", b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        of("huge frame", b"\0\0\0\x04\0\0\0\0\0\xff\xff\xff\0\0\0\0\0\x01", b"x"),
        // `:status: 200` and a message that says it has 4 GB.
        of(
            "huge message",
            b"\0\0\0\x04\0\0\0\0\0\0\0\x01\x01\x04\0\0\0\x01\x88\0\0\x05\0\0\0\0\0\x01\0\xff\xff\xff\xff",
            b"\0\0\x01\0\0\0\0\0\x01x",
        ),
        of("settings", b"", b"\0\0\0\x04\0\0\0\0\0"),
    ];
    let body = format!(
        "for (const [name, address] of [{}]) {{
           const why = thrown(() => {{
             client.connect(address, {{ plaintext: true, timeout: '400ms' }});
             const res = client.invoke('test.all.Echo/Unary', {{}}, {{ timeout: '400ms' }});
             if (res.status !== 0) throw new Error(`status ${{res.status}}`);
           }});
           same([name, why !== 'nothing'], [name, true]);
           client.close();
         }}",
        addresses.join(", ")
    );
    let imports = "import { Client } from 'k6/net/grpc';\n\
        const client = new Client(); client.load(['.'], 'all.proto');";
    let script = once(imports, &body);
    let dir = TempDir::create().unwrap();
    dir.write("all.proto", PROTO).unwrap();
    let ran = play_in(&dir, &script, "", |_| {});
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert!(!ran.err.contains("Error"), "{}", ran.err);
}
