//! Scripts that wait in nasty places: the suspend point of the load test, see `seam` there.
//!
//! The bytes choose a script of nested expressions. Three virtual users run it on one thread, and each is
//! suspended before every call into the host, so that they take turns wherever they are: in a comparator
//! of `sort`, a getter, a replacer of JSON, a generator, a `finally`. A short time limit cuts some of them
//! off in the middle. Some of the virtual users are made while the others run, so that they are suspended at
//! their top level, too. Every other script uses nothing that keeps virtual users from sharing an engine, and
//! they do share one. Meant for AddressSanitizer: `cargo xtask fuzz suspend`.
#![no_main]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::OnceLock;

use catamaran_load::exit_code;
use catamaran_load::plain::Console;
use catamaran_load::script::{Isolation, ScriptOptions, run};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    let (path, server) = PLACE.get_or_init(place);
    let mut choices = Choices(input);
    let isolation = match choices.below(2) {
        0 => Isolation::Shared,
        _ => Isolation::Strict,
    };
    let script = script(&mut choices, isolation);
    fs::write(path, &script).expect("a temporary file can be written");
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let options = ScriptOptions {
        path: path.clone(),
        env: vec![("URL".to_owned(), format!("http://{server}/"))],
        workers: Some(1),
        isolation,
        is_quiet: true,
        ..ScriptOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("the system gives a runtime");
    let code = runtime.block_on(run(options, &mut console));
    let said = || String::from_utf8_lossy(&err).into_owned();
    let code = code.expect("a vector can be written to");
    let known = [0, exit_code::ABORTED];
    assert!(
        known.contains(&code),
        "exit code {code}\n{script}\n{}",
        said()
    );
});

static PLACE: OnceLock<(PathBuf, SocketAddr)> = OnceLock::new();

/// Where the script is written, and a server that answers anything with a few bytes.
fn place() -> (PathBuf, SocketAddr) {
    let name = format!("catamaran-fuzz-{}.js", std::process::id());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let addr = listener.local_addr().expect("it has an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
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
    (std::env::temp_dir().join(name), addr)
}

/// What the input still has to choose with.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    /// A number below `count`; 0 at the end of the input.
    fn below(&mut self, count: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(first) % count
    }
}

fn script(choices: &mut Choices<'_>, isolation: Isolation) -> String {
    let limit = ["30ms", "100ms", "2s", "2s"][choices.below(4)];
    let executor = match choices.below(2) {
        0 => format!("'per-vu-iterations', vus: 3, iterations: 2, maxDuration: '{limit}'"),
        _ => {
            "'ramping-arrival-rate', startRate: 200, stages: [{ target: 200, duration: '30ms' }], \
              preAllocatedVUs: 1, maxVUs: 4"
                .to_owned()
        }
    };
    let first = expression(choices, isolation, 2);
    let statements: Vec<_> = (0..=choices.below(4))
        .map(|_| format!("{};", expression(choices, isolation, 4)))
        .collect();
    format!(
        "import http from 'k6/http';\nimport {{ check, group, sleep, fail }} from 'k6';\n\
         import {{ Trend }} from 'k6/metrics';\nimport exec from 'k6/execution';\n\
         export const options = {{ scenarios: {{ s: {{ executor: {executor}, gracefulStop: '0s' }} }} }};\n\
         const u = __ENV.URL, trend = new Trend('t'), kept = [];\n\
         try {{ {first}; }} catch {{}}\n\
         export default function () {{\n{}\n}}\n",
        statements.join("\n")
    )
}

/// An expression; `@` in a form stands for another one.
fn expression(choices: &mut Choices<'_>, isolation: Isolation, depth: usize) -> String {
    let forms = if depth == 0 { LEAVES } else { FORMS };
    let is_known = |form: &&&str| {
        let keeps_apart = KEEP_APART.iter().any(|word| form.contains(word));
        isolation == Isolation::Strict || !keeps_apart
    };
    let forms: Vec<_> = forms.iter().filter(is_known).collect();
    let form = forms[choices.below(forms.len())];
    let mut text = String::new();
    for (index, part) in form.split('@').enumerate() {
        if index > 0 {
            text.push_str(&expression(choices, isolation, depth - 1));
        }
        text.push_str(part);
    }
    text
}

/// What is found in scripts whose virtual users do not share an engine.
const KEEP_APART: &[&str] = &[
    "async",
    "Promise",
    "setTimeout",
    "prepareStackTrace",
    "Reflect",
    "WeakRef",
    "defineProperty",
];

/// What calls the host, and waits.
const LEAVES: &[&str] = &[
    "http.get(u).status",
    "http.get(u).body",
    "http.post(u, { a: 1 }).headers",
    "http.get(u).json('a.0')",
    "sleep(0.001)",
    "sleep(0)",
    "check(1, { one: true, two: () => 0 })",
    "trend.add(1)",
    "http.batch([u, u]).length",
    "exec.vu.idInTest",
    "exec.scenario.iterationInTest",
    "setTimeout(() => sleep(0), 0)",
    "http.asyncRequest('GET', u).then((r) => kept.push(r.body))",
    "http.cookieJar().set(u, 'a', 'b')",
    "(() => { try { fail('no'); } catch (e) { return e.stack; } })()",
];

/// Where it is called from.
const FORMS: &[&str] = &[
    "http.get(u).body",
    "[3, 1, 2].sort((a, b) => (@, a - b))[0]",
    "new Float64Array([2, 1, 3]).sort(() => (@, 1))[0]",
    "[1, 2].map((x) => @)[1]",
    "[1, 2, 3].reduce((sum, x) => (@, sum + x), 0)",
    "group('g', () => @)",
    "check(1, { one: () => @, two: () => @ })",
    "({ get x() { return @; } }).x",
    "({ ...{ get x() { return @; } } }).x",
    "String({ toString() { @; return 's'; } })",
    "+{ valueOf() { @; return 1; } }",
    "`${{ [Symbol.toPrimitive]() { @; return 'p'; } }}`",
    "JSON.stringify({ a: [1, { b: 2 }] }, (k, v) => (@, v))",
    "JSON.stringify({ a: { toJSON() { return @; } } })",
    "JSON.parse('[1, {\"a\": 2}]', (k, v) => (@, v))[0]",
    "(() => { try { @; throw new Error('e'); } catch (e) { @; return e.stack; } finally { @; } })()",
    "(() => { try { return @; } finally { @; } })()",
    "(() => { a: try { break a; } finally { @; } })()",
    "[...(function* () { try { yield @; yield @; } finally { @; } })()].length",
    "(() => { for (const x of (function* () { try { yield 1; yield 2; } finally { @; } })()) { @; break; } })()",
    "(() => { const [a, b] = { *[Symbol.iterator]() { yield @; yield @; } }; return a; })()",
    "(function deep(n) { return n > 0 ? deep(n - 1) : @; })(200)",
    "(() => { try { return (function deep() { return deep(); })(); } catch (e) { return @; } })()",
    "'abcabc'.replace(/b/g, () => @)",
    "'abc'.replace({ [Symbol.replace]() { return @; } }, '')",
    "new Proxy({}, { get: () => @, has: () => (@, true) }).y",
    "('y' in new Proxy({}, { has: () => (@, true) }))",
    "Array.from({ length: 2 }, () => @)[0]",
    "new (class { x = @; constructor() { @; } })().x",
    "class A { static { @; } }",
    "Reflect.construct(function () { @; }, [@])",
    "new Map([[1, @]]).forEach(() => @)",
    "(async () => { await @; @; })()",
    "(async () => { for await (const x of (async function* () { yield @; yield @; })()) { @; } })()",
    "Promise.all([1, @].map(async (x) => { await null; @; }))",
    "setTimeout(() => { @; }, 0)",
    "(() => { for (let i = 0; i < 30000; i++) {} return @; })()",
    "(() => { Error.prepareStackTrace = () => @; try { return new Error('x').stack; } finally { Error.prepareStackTrace = undefined; } })()",
    "(() => { let s = ''; for (let i = 0; i < 50; i++) { s += JSON.stringify({ i, a: [i] }); } kept.length = 0; return @; })()",
    "(() => { const a = { b: null }; a.b = a; return @; })()",
    "(() => { throw @; })()",
    "function f() { f = @; }",
    "trend.add({ valueOf() { @; return 1; } })",
    "http.get({ toString() { @; return u; } }).status",
    "http.post(u, { get a() { return @; } }).status",
    "http.get(u, { headers: { get a() { @; return 'h'; } }, tags: { get t() { @; return 1; } } }).status",
    "Object.defineProperty({}, 'x', { get value() { return @; } }).x",
    "[3, 2, 1].toSorted({ a: 1, call: 1 }.b ?? ((a, b) => (@, a - b)))",
    "new WeakRef({ a: @ }).deref()",
    "(() => { label: for (const k in { a: 1, b: 2 }) { @; continue label; } })()",
];
