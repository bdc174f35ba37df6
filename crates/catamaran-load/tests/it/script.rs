//! Scripts of k6, run as they are.

use catamaran_load::exit_code;
use catamaran_load::plain::Console;
use catamaran_load::script::{ScriptOptions, run};
use catamaran_testkit::{Origin, Reply, TempDir};
use serde_json::Value;

/// What a script came to.
struct Ran {
    out: String,
    err: String,
    code: u8,
    summary: Value,
}

fn play(script: &str, url: &str) -> Ran {
    let dir = TempDir::create().unwrap();
    let path = dir.write("script.js", script).unwrap();
    let exported = dir.path().join("summary.json");
    let options = ScriptOptions {
        path,
        env: vec![("URL".to_owned(), url.to_owned())],
        workers: Some(2),
        summary_export: Some(exported.clone()),
        is_quiet: true,
        ..ScriptOptions::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut console = Console {
        out: &mut out,
        err: &mut err,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let code = runtime.block_on(run(options, &mut console)).unwrap();
    let summary = std::fs::read(exported).map(|bytes| serde_json::from_slice(&bytes).unwrap());
    Ran {
        out: String::from_utf8(out).unwrap(),
        err: String::from_utf8(err).unwrap(),
        code,
        summary: summary.unwrap_or_default(),
    }
}

fn origin() -> Origin {
    Origin::http(|request| match request.target.as_str() {
        "/missing" => Reply::new(404, ""),
        "/moved" => Reply::new(302, "").field("Location", "/home"),
        "/json" => Reply::new(200, r#"{"a":{"b":[1,2,"x"]}}"#),
        _ => Reply::new(200, request.body.content.clone()),
    })
    .start()
    .unwrap()
}

#[test]
fn a_whole_script_runs_and_its_summary_has_k6s_figures() {
    let origin = origin();
    let script = r#"
        import http from 'k6/http';
        import { check, group, sleep } from 'k6';
        import { Trend, Counter, Rate, Gauge } from 'k6/metrics';
        const t = new Trend('my_trend', true), c = new Counter('my_counter');
        const r = new Rate('my_rate'), g = new Gauge('my_gauge');
        export const options = {
          scenarios: {
            a: { executor: 'per-vu-iterations', vus: 2, iterations: 5, tags: { kind: 'x' } },
            b: { executor: 'shared-iterations', vus: 1, iterations: 3, exec: 'other' },
          },
          thresholds: {
            http_req_duration: ['p(95)<60000', 'avg<0.000001'],
            'http_req_duration{scenario:a}': ['max<60000'],
            checks: ['rate>0.4'],
            my_counter: ['count>1'],
          },
        };
        export function setup() { return { token: 'abc' }; }
        export default function (data) {
          group('front', () => {
            const res = http.get(`${__ENV.URL}/`, { tags: { name: 'home' } });
            check(res, { 'status 200': (x) => x.status === 200, 'odd': () => __ITER % 2 === 1 });
            group('inner', () => { t.add(res.timings.duration); });
          });
          c.add(1); r.add(data.token === 'abc'); g.add(__VU); sleep(0.01);
        }
        export function other() { http.get(`${__ENV.URL}/missing`); }
        export function teardown(data) { if (data.token !== 'abc') throw new Error('lost'); }
    "#;
    let ran = play(script, &format!("http://{}", origin.addr()));
    assert_eq!(ran.code, exit_code::THRESHOLDS, "{}", ran.err);
    let metrics = &ran.summary["metrics"];
    assert_eq!(metrics["http_reqs"]["count"], 13);
    assert_eq!(metrics["iterations"]["count"], 13);
    assert_eq!(metrics["http_req_failed"]["passes"], 3);
    assert_eq!(metrics["my_counter"]["count"], 10);
    assert_eq!(metrics["my_rate"]["value"], 1);
    assert_eq!(
        metrics["http_req_duration"]["thresholds"]["avg<0.000001"],
        true
    );
    assert_eq!(
        metrics["http_req_duration"]["thresholds"]["p(95)<60000"],
        false
    );
    let front = &ran.summary["root_group"]["groups"]["front"];
    assert_eq!(front["id"], "6972d1500632a99e8640138dbf1dc09e");
    assert_eq!(front["checks"]["status 200"]["passes"], 10);
    assert_eq!(front["checks"]["odd"]["passes"], 4);
    assert_eq!(front["groups"]["inner"]["path"], "::front::inner");
    assert_eq!(ran.summary["setup_data"]["token"], "abc");
    assert!(
        ran.out.contains("✗ odd\n      ↳  40% — ✓ 4 / ✗ 6"),
        "{}",
        ran.out
    );
}

#[test]
fn requests_and_responses_are_as_in_k6() {
    let origin = origin();
    let script = r#"
        import http from 'k6/http';
        import { fail } from 'k6';
        const same = (is, should) => {
          if (JSON.stringify(is) !== JSON.stringify(should)) fail(`${JSON.stringify(is)} is not ${JSON.stringify(should)}`);
        };
        export default function () {
          const url = __ENV.URL;
          same(http.post(url, { b: 'x y', a: ['1', 2], c: null }).body, 'a=1&a=2&b=x+y&c=');
          same(http.put(url, 'text').body, 'text');
          same(http.get(`${url}/json`).json('a.b.2'), 'x');
          same(http.get(`${url}/moved`).url, `${url}/home`);
          same(http.get(`${url}/moved`, { redirects: 0 }).status, 302);
          same(http.get(`${url}/missing`).error_code, 1404);
          same(http.get(url).headers['Content-Length'], '0');
          same(http.get(url, { responseType: 'none' }).body, null);
          same(new Uint8Array(http.post(url, 'ab', { responseType: 'binary' }).body)[1], 98);
          same(http.get('http://127.0.0.1:1/').status, 0);
          same(http.batch([url, ['POST', url, 'two']]).map((r) => r.body), ['', 'two']);
          same(http.batch({ one: `${url}/json` }).one.status, 200);
          same([3, 1, 2].map((n) => http.post(url, String(n)).body), ['3', '1', '2']);
        }
    "#;
    let ran = play(script, &format!("http://{}", origin.addr()));
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.summary["metrics"]["iterations"]["count"], 1);
}

#[test]
fn what_is_not_there_is_refused_before_the_start() {
    for (script, told) in [
        ("import 'k6/browser'; export default () => {}", "k6/browser"),
        (
            "export const options = { rps: 5 }; export default () => {}",
            "constant-arrival-rate",
        ),
        (
            "export const options = { thresholds: { nonsense: ['max<5'] } }; export default () => {}",
            "nonsense",
        ),
        (
            "export function other() {}",
            "exports no function `default`",
        ),
        ("export default () => {", ""),
        (
            "throw new Error('at once'); export default () => {}",
            "at once",
        ),
        (
            "import http from 'k6/http'; http.get('http://127.0.0.1/'); export default () => {}",
            "top level",
        ),
    ] {
        let ran = play(script, "");
        assert!(
            [exit_code::INVALID, exit_code::FAILED].contains(&ran.code),
            "{script}: {}",
            ran.code
        );
        assert!(ran.err.contains(told), "{script}: {}", ran.err);
    }
}

#[test]
fn a_script_that_never_ends_is_cut_off_and_sees_nothing_of_it() {
    for body in [
        "while (true) {}",
        "try { while (true) {} } catch (e) { console.error('caught'); } finally { __ENV.seen = '1'; }",
        "for (;;) { try { sleep(100); } catch (e) {} }",
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
fn the_summary_is_the_scripts_own_if_it_has_one() {
    let script = r"
        export default function () {}
        export function handleSummary(data) {
          return { stdout: `${data.metrics.iterations.values.count} iterations, ${data.options.summaryTrendStats.length}\n` };
        }";
    let ran = play(script, "");
    assert!(ran.out.ends_with("1 iterations, 6\n"), "{}", ran.out);
    assert!(!ran.out.contains("TOTAL RESULTS"));
}
