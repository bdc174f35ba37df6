//! Scripts and servers that mean harm, or might as well: the run ends, with a message.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};

use catamaran_load::exit_code;
use catamaran_load::script::Isolation;
use catamaran_testkit::{Origin, Reply, TempDir};

use super::{Ran, once, play, play_in};

#[test]
fn a_script_that_never_ends_is_cut_off_and_sees_nothing_of_it() {
    for body in [
        "while (true) {}",
        "try { while (true) {} } catch (e) { console.error('caught'); } finally { __ENV.seen = '1'; }",
        "for (;;) { try { sleep(100); } catch (e) {} }",
        "/(a+)+$/.test('a'.repeat(60) + 'b');",
        "[3, 1, 2].sort(() => { for (;;); });",
        "JSON.stringify({ toJSON() { for (;;); } });",
        "new Promise(() => {}).then(() => {}); for (;;) {}",
    ] {
        let script = format!(
            "import {{ sleep }} from 'k6';\n\
            export const options = {{ scenarios: {{ a: {{ executor: 'constant-vus', vus: 2, duration: '1s', gracefulStop: '0s' }} }} }};\n\
            export default function () {{ {body} }}"
        );
        let ran = play(&script, "");
        assert_eq!(ran.code, exit_code::OK, "{body}: {}", ran.err);
        assert!(ran.summary["metrics"].get("iterations").is_none(), "{body}");
    }
}

#[test]
fn one_endless_virtual_user_does_not_keep_the_others_of_its_thread_waiting() {
    let script = r"
        import { sleep } from 'k6';
        export const options = { scenarios: {
          loops: { executor: 'per-vu-iterations', vus: 2, iterations: 1, maxDuration: '2s', gracefulStop: '0s', exec: 'loops' },
          works: { executor: 'per-vu-iterations', vus: 2, iterations: 20, maxDuration: '2s', gracefulStop: '0s' },
        } };
        export function loops() { for (;;); }
        export default function () { sleep(0.01); }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    // All 40, where the machine has time for them; none, if they had to wait.
    assert!(ran.figure("iterations", "count") > 10.0, "{}", ran.err);
}

#[test]
fn deep_recursion_and_huge_allocations_end_as_exceptions() {
    let body = r"
        const deep = () => deep() + 1;
        same(thrown(deep).includes('stack'), true);
        const nested = '['.repeat(100000);
        same(thrown(() => JSON.parse(nested)) !== 'nothing', true);
        let list = []; for (let i = 0; i < 100000; i++) list = [list];
        same(thrown(() => JSON.stringify(list)) !== 'nothing', true);
        same(thrown(() => 'x'.repeat(2 ** 30 - 1).concat('y')) !== 'nothing', true);
        same(thrown(() => { const all = []; for (;;) all.push(new Uint8Array(1 << 24)); }).includes('memory'), true);
        same(thrown(() => new Array(2 ** 32)) !== 'nothing', true);
        same([1, 2, 3].map((x) => x * 2), [2, 4, 6]);
    ";
    play(&once("", body), "").is_well();
}

/// Plays a script with an engine for each virtual user, and with one for all.
fn play_both(script: &str, url: &str) -> [Ran; 2] {
    [Isolation::Strict, Isolation::Shared].map(|isolation| {
        let dir = TempDir::create().unwrap();
        play_in(&dir, script, url, |options| options.isolation = isolation)
    })
}

#[test]
fn functions_of_ours_that_call_the_script_again_and_again_end_as_exceptions() {
    let body = r"
        const groups = () => group('again', groups);
        same(thrown(groups) !== 'nothing', true);
        const checks = () => check(1, { again: checks });
        same(thrown(checks) !== 'nothing', true);
        const address = { toString() { return http.get(address); } };
        same(thrown(() => http.get(address)) !== 'nothing', true);
        const sorts = () => [2, 1].sort(sorts);
        same(thrown(sorts) !== 'nothing', true);
        const texts = () => JSON.stringify({ toJSON: texts });
        same(thrown(texts) !== 'nothing', true);
        const replaces = () => 'a'.replace(/a/, replaces);
        same(thrown(replaces) !== 'nothing', true);
        same([1, 2].map((x) => x * 2), [2, 4]);
    ";
    for ran in play_both(&once("import { check, group } from 'k6';", body), "") {
        ran.is_well();
    }
}

#[test]
fn whatever_is_thrown_is_told_and_ends_the_iteration_only() {
    for thrown in [
        "null",
        "undefined",
        "Symbol('x')",
        "10n",
        "'a text'",
        "Object.create(null)",
        "{ toString() { throw 1; } }",
        "new Proxy({}, { get() { throw 1; } })",
        "{ get message() { throw 1; }, get stack() { throw 2; } }",
        "new Error('x'.repeat(10000000))",
        "Object.assign(new Error('x'), { get message() { for (;;); } })",
    ] {
        let script = format!(
            "export const options = {{ scenarios: {{ a: {{ executor: 'per-vu-iterations', vus: 2, iterations: 2, \
             maxDuration: '1s', gracefulStop: '0s' }} }} }};\n\
             export default function () {{ throw {thrown}; }}"
        );
        for ran in play_both(&script, "") {
            assert_eq!(ran.code, exit_code::OK, "{thrown}: {}", ran.err);
            // Without the figures of a run it would not have begun.
            assert!(ran.summary["metrics"].is_object(), "{thrown}: {}", ran.err);
        }
    }
}

#[test]
fn bytes_that_scripts_keep_have_a_limit_wherever_they_lie() {
    let body = r"
        same(thrown(() => { const all = []; for (;;) all.push(crypto.randomBytes(1 << 24)); }).includes('memory'), true);
        let all = [];
        let last;
        for (let n = 0; n < 20; n++) {
          last = http.get(url, { responseType: 'binary' });
          if (last.error) break;
          all.push(last);
        }
        same([all.length, last.status, last.error_code], [7, 0, 1000]);
        same(last.error.includes('more than 512 MB'), true);
        all = [];
        same(http.get(url).status, 200);
    ";
    let imports = "import crypto from 'k6/crypto';";
    let large = Origin::http(|_| Reply::new(200, vec![b'x'; 70_000_000]));
    let large = large.without_records().start().unwrap();
    let dir = TempDir::create().unwrap();
    let url = format!("http://{}/", large.addr());
    let ran = play_in(&dir, &once(imports, body), &url, |options| {
        options.isolation = Isolation::Strict;
    });
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.figure("http_reqs", "count"), 9.0, "{}", ran.err);
}

#[test]
fn a_script_cannot_make_its_thread_wait() {
    let body = "const cell = new Int32Array(new SharedArrayBuffer(4));\n\
        same(thrown(() => Atomics.wait(cell, 0, 0, 50)) !== 'nothing', true);";
    play(&once("", body), "").is_well();
}

#[test]
fn options_and_data_that_cannot_be_read_are_told_before_the_start() {
    for (top, told) in [
        (
            "export const options = { get vus() { throw new Error('mine'); } };",
            "mine",
        ),
        (
            "export const options = new Proxy({}, { ownKeys() { throw new Error('mine'); } });",
            "mine",
        ),
        ("export const options = 5;", "an object"),
        (
            "const o = {}; o.o = o; export const options = o;",
            "circular",
        ),
        ("export const options = { vus: 10n };", "BigInt"),
        ("export function setup() { return 10n; }", "BigInt"),
        (
            "export function setup() { const o = {}; o.o = o; return o; }",
            "circular",
        ),
        (
            "export function setup() { let l = []; for (let i = 0; i < 1e6; i++) l = [l]; return l; }",
            "setup",
        ),
        ("export function setup() { throw null; }", "setup"),
    ] {
        let script = format!("{top}\nexport default function () {{}}");
        let ran = play(&script, "");
        let codes = [exit_code::FAILED, exit_code::INVALID];
        assert!(codes.contains(&ran.code), "{top}: {} {}", ran.code, ran.err);
        assert!(ran.err.contains(told), "{top}: {}", ran.err);
    }
    let script = "export function setup() { let l = []; for (let i = 0; i < 500; i++) l = [l]; return l; }\n\
        export default function (data) { let n = 0; for (let l = data; l; l = l[0]) n++; if (n !== 501) throw new Error(`${n}`); }";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert!(!ran.err.contains("Error"), "{}", ran.err);
}

#[test]
fn what_is_handed_to_us_may_throw_when_it_is_looked_at() {
    let body = r"
        const bad = { get headers() { throw new Error('mine'); } };
        same(thrown(() => http.get(url, bad)), 'mine');
        same(thrown(() => http.post(url, { get a() { throw new Error('mine'); } })), 'mine');
        same(thrown(() => http.get(url, { headers: { a: { toString() { throw new Error('mine'); } } } })), 'mine');
        same(thrown(() => check(1, { a() { throw new Error('mine'); } })), 'mine');
        same(thrown(() => check(1, new Proxy({}, { ownKeys() { throw new Error('mine'); } }))), 'mine');
        same(thrown(() => sleep({ valueOf() { throw new Error('mine'); } })), 'mine');
        same(thrown(() => http.get(Symbol('x'))) !== 'nothing', true);
        const odd = new Error('x'); Object.defineProperty(odd, 'stack', { get() { throw new Error('no stack'); } });
        Promise.reject(odd).catch(() => {});
        same(thrown(() => http.get(url, { headers: { 'a\r\nb': '1' } })), 'nothing');
        same(http.get(url, { headers: { a: '1\r\nb: 2' } }).error_code, 1020);
        same(http.get('http://a b/').error_code, 1020);
        same(http.get('').error_code, 1020);
        console.log(bad, Symbol('x'), 10n, undefined, null, () => 1);
    ";
    play(
        &once("import { check, sleep } from 'k6';", body),
        "http://127.0.0.1:1/",
    );
}

#[test]
fn promises_that_never_end_end_with_the_iteration() {
    let script = r"
        import http from 'k6/http';
        export const options = { iterations: 2 };
        export default async function () {
          setTimeout(() => {}, 1);
          await new Promise(() => {});
        }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 2.0);
    let script = "async function work() { await null; throw new RangeError('lost'); }\n\
        export const options = { iterations: 2 };\n\
        export default function () { work(); Promise.reject(1).catch(() => {}); }";
    let ran = play(script, "");
    assert!(
        ran.err.contains("(in promise) RangeError: lost"),
        "{}",
        ran.err
    );
    assert_eq!(ran.figure("iterations", "count"), 2.0);
    let script = "await new Promise(() => {}); export default () => {};";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::FAILED);
    assert!(ran.err.contains("waits at its top level"), "{}", ran.err);
}

/// Accepts connections and treats each as `serve` says, once its request was read.
fn server(mut serve: impl FnMut(&mut std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            serve(&mut stream);
        }
    });
    format!("http://{addr}/")
}

#[test]
fn servers_that_answer_nonsense_fail_requests_and_nothing_else() {
    let garbage = server(|stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH\r\n\r\n");
    });
    let closes = server(|stream| {
        let _ = stream.shutdown(Shutdown::Both);
    });
    let lies = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort");
        let _ = stream.shutdown(Shutdown::Both);
    });
    let mut held = Vec::new();
    let hangs = server(move |stream| held.push(stream.try_clone()));
    let body = format!(
        "for (const url of ['{garbage}', '{closes}', '{lies}']) {{
           const res = http.get(url);
           same([res.status, res.error_code, res.body], [0, 1000, null]);
         }}
         const late = http.get('{hangs}', {{ timeout: '200ms' }});
         same([late.status, late.error_code], [0, 1050]);
         same(thrown(() => http.get('{garbage}', {{ throw: true }})).includes('malformed'), true);"
    );
    let ran = play(&once("", &body), "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.figure("http_reqs", "count"), 5.0);
    assert_eq!(ran.figure("http_req_failed", "value"), 1.0);
}

#[test]
fn an_endless_body_ends_with_the_requests_time() {
    let endless = server(|stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let Ok(mut stream) = stream.try_clone() else {
            return;
        };
        std::thread::spawn(move || while stream.write_all(&[b'x'; 4096]).is_ok() {});
    });
    let body = format!(
        "const res = http.get('{endless}', {{ timeout: 300, responseType: 'none' }});
         same([res.status, res.error_code], [0, 1050]);"
    );
    let ran = play(&once("", &body), "");
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 1.0);
}
