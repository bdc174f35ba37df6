//! Runs in one process, one after the other: none leaves memory behind. A test of its own program, since
//! it looks at the memory of the whole process.
#![cfg(feature = "scripts")]
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use catamaran_load::plain::Console;
use catamaran_load::script::{ScriptOptions, run};

/// Scripts that end in the middle of something: of a request, a timer, a promise, a loop, a generator.
const BODIES: &[&str] = &[
    "http.get(__ENV.URL).json('a.0'); check(1, { one: true });",
    "setTimeout(() => sleep(0), 0); http.asyncRequest('GET', __ENV.URL).then((r) => r.body);",
    "try { sleep(100); } finally { http.get(__ENV.URL); }",
    "http.batch([__ENV.URL, __ENV.URL]); http.asyncRequest('GET', __ENV.URL); for (;;) {}",
    "const a = { b: null }; a.b = a; [...(function* () { try { yield a; sleep(100); } finally { yield a; } })()];",
    "[3, 1, 2].sort((a, b) => (sleep(100), a - b));",
    "(async () => { await http.asyncRequest('GET', __ENV.URL); sleep(100); })(); new Promise(() => {}).then(() => a);",
    "new Uint8Array(new Map([[1, 2]]).size); Date.now(); setInterval(() => sleep(0.01), 1); new WeakRef({});",
    "http.post(__ENV.URL, { a: http.file('x', 'y') }, { headers: { a: 'b' }, tags: { c: 'd' } }).headers;",
];

#[test]
fn runs_leave_no_memory_behind() {
    let server = serve();
    let dir = std::env::temp_dir().join(format!("catamaran-growth-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let round = |number: usize| {
        let body = BODIES[number % BODIES.len()];
        let path = dir.join("script.js");
        let script = format!(
            "import http from 'k6/http';\nimport {{ check, sleep }} from 'k6';\n\
             export const options = {{ scenarios: {{ s: {{ executor: 'per-vu-iterations', vus: 10, \
             iterations: 2, maxDuration: '50ms', gracefulStop: '0s' }} }} }};\n\
             export default function () {{ {body} }}\n"
        );
        fs::write(&path, script).unwrap();
        play(path, server);
    };
    let warm = 5 * BODIES.len();
    (0..warm).for_each(round);
    let before = resident();
    let runs = 20 * BODIES.len();
    (0..runs).for_each(round);
    let after = resident();
    fs::remove_dir_all(&dir).unwrap();
    // One virtual user alone would be some hundred kilobytes each time.
    let grown = after.saturating_sub(before);
    assert!(
        grown < runs * 32 * 1024,
        "{before} bytes before, {after} after {runs} runs"
    );
}

fn play(path: std::path::PathBuf, server: SocketAddr) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let options = ScriptOptions {
        path,
        env: vec![("URL".to_owned(), format!("http://{server}/"))],
        workers: Some(1),
        is_quiet: true,
        ..ScriptOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let code = runtime.unwrap().block_on(run(options, &mut console));
    assert_eq!(code.unwrap(), 0, "{}", String::from_utf8_lossy(&err));
}

/// Answers anything with a few bytes.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut buf = [0; 4096];
                while stream.read(&mut buf).is_ok_and(|len| len > 0) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"a\":[1]}";
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    addr
}

/// Bytes of memory that the process takes.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}
