//! Whole runs: executors, options, stages of a run, exit codes.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use catamaran_load::exit_code;
use catamaran_load::options::Options;
use catamaran_load::scenario::Overload;
use catamaran_testkit::{Origin, Reply, TempDir};

use super::{origin, play, play_in, url_of};

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
    let ran = play(script, &url_of(&origin));
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
fn what_is_not_there_is_refused_before_the_start() {
    for (script, told) in [
        ("import 'k6/browser'; export default () => {}", "k6/browser"),
        (
            "export const options = { paused: true }; export default () => {}",
            "when it is to begin",
        ),
        (
            "export const options = { thresholds: { nonsense: ['max<5'] } }; export default () => {}",
            "nonsense",
        ),
        (
            "export function other() {}",
            "exports no function `default`",
        ),
        ("export default () => {", "SyntaxError"),
        (
            "import './no-such-file.js'; export default () => {}",
            "no-such-file.js",
        ),
        ("import x from './a.ts'; export default () => {}", "a.ts"),
        (
            "export const options = { scenarios: { a: { executor: 'constant-vus', duration: '1s', rate: 5 } } }; export default () => {}",
            "constant-vus has no `rate`",
        ),
        (
            "export const options = { get vus() { throw new Error('mine'); } }; export default () => {}",
            "mine",
        ),
        (
            "export const options = { vus: 'many' }; export default () => {}",
            "whole number",
        ),
        (
            "while (true) { undefinedFunction(); } export default () => {}",
            "undefinedFunction",
        ),
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

#[test]
fn each_executor_runs_its_iterations() {
    let script = r"
        import exec from 'k6/execution';
        import { Counter, Gauge } from 'k6/metrics';
        const by = new Counter('by'), wrong = new Counter('wrong');
        const short = { gracefulStop: '0s' };
        export const options = {
          scenarios: {
            shared: { executor: 'shared-iterations', vus: 3, iterations: 7, ...short },
            each: { executor: 'per-vu-iterations', vus: 3, iterations: 2, ...short },
            steady: { executor: 'constant-vus', vus: 1, duration: '1s', exec: 'waits', ...short },
            ramp: { executor: 'ramping-vus', startVUs: 0, stages: [{ duration: '1s', target: 2 }], exec: 'waits', ...short },
            rate: { executor: 'constant-arrival-rate', rate: 20, duration: '1s', preAllocatedVUs: 4, ...short },
            rates: { executor: 'ramping-arrival-rate', startRate: 0, stages: [{ duration: '1s', target: 20 }], preAllocatedVUs: 4, ...short },
          },
          thresholds: {
            'by{scenario:shared}': ['count==7'], 'by{scenario:each}': ['count==6'], 'by{scenario:steady}': ['count>0'],
            'by{scenario:ramp}': ['count>0'], 'by{scenario:rate}': ['count==20'], 'by{scenario:rates}': ['count==10'],
            wrong: ['count==0'],
          },
        };
        function count() {
          by.add(1);
          if (exec.scenario.name === '' || exec.vu.idInTest !== __VU || exec.scenario.progress > 1) wrong.add(1);
        }
        export default count;
        export async function waits() { count(); await new Promise((done) => setTimeout(done, 20)); }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}{}", ran.out, ran.err);
}

#[test]
fn iterations_are_numbered_without_gaps_over_all_workers() {
    let script = r"
        import exec from 'k6/execution';
        import { Trend } from 'k6/metrics';
        const n = new Trend('n'), users = new Trend('users');
        export const options = { scenarios: { a: { executor: 'shared-iterations', vus: 4, iterations: 100 } } };
        export default function () { n.add(exec.scenario.iterationInTest); users.add(__VU); }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(
        (ran.figure("n", "min"), ran.figure("n", "max")),
        (0.0, 99.0)
    );
    assert_eq!(ran.figure("n", "avg"), 49.5);
    assert!(ran.figure("users", "min") >= 1.0 && ran.figure("users", "max") <= 4.0);
}

#[test]
fn an_iteration_that_outlasts_the_graceful_stop_is_cut_off_and_not_counted() {
    let script = r"
        import { sleep } from 'k6';
        export const options = { scenarios: { a: { executor: 'constant-vus', vus: 2, duration: '1s', gracefulStop: '100ms' } } };
        export default function () { try { sleep(600); } finally { console.error('seen'); } }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 0.0);
}

#[test]
fn an_open_model_counts_from_when_a_request_should_have_begun() {
    let origin = origin();
    let script = r"
        import http from 'k6/http';
        export const options = { scenarios: { a: { executor: 'constant-arrival-rate', rate: 50, duration: '1s', preAllocatedVUs: 10 } } };
        export default function () { http.get(__ENV.URL); }
    ";
    let ran = play(script, &url_of(&origin));
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.figure("http_reqs", "count"), 50.0);
    let (truth, told) = (
        ran.figure("http_req_corrected_duration", "avg"),
        ran.figure("http_req_duration", "avg"),
    );
    assert!(truth >= told && told > 0.0, "{truth} {told}");
    assert!(
        ran.out.contains("http_req_corrected_duration"),
        "{}",
        ran.out
    );
}

#[test]
fn a_stall_is_told_truly_when_iterations_wait_and_warned_of_when_they_are_dropped() {
    let script = r"
        import http from 'k6/http';
        export const options = {
          summaryTrendStats: ['p(99)'],
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 200, duration: '5s', preAllocatedVUs: 4 } },
        };
        export default function () { http.get(__ENV.URL); }
    ";
    for overload in [Overload::Queue, Overload::Drop] {
        let first = OnceLock::new();
        let origin = Origin::http(move |_| {
            let since = first.get_or_init(Instant::now).elapsed();
            let (from, to) = (Duration::from_secs(1), Duration::from_secs(3));
            if (from..to).contains(&since) {
                thread::sleep(to - since);
            }
            Reply::new(200, "x")
        })
        .without_records()
        .start()
        .unwrap();
        let dir = TempDir::create().unwrap();
        let ran = play_in(&dir, script, &url_of(&origin), |options| {
            options.overload = Some(overload);
        });
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
        let truth = ran.figure("http_req_corrected_duration", "p(99)");
        let dropped = ran.figure("dropped_iterations", "count");
        if overload == Overload::Queue {
            // As in the run without a script: the one in a hundred waited nearly two seconds.
            assert!((1850.0..10_000.0).contains(&truth), "{truth} {}", ran.err);
            assert!(ran.err.contains("the target stalled"), "{}", ran.err);
        } else {
            assert!(dropped > 300.0, "{dropped} {}", ran.err);
            assert!(ran.err.contains("--on-overload queue"), "{}", ran.err);
        }
    }
}

#[test]
fn a_threshold_may_end_the_run_early() {
    let script = r"
        import { Rate } from 'k6/metrics';
        import { sleep } from 'k6';
        const r = new Rate('r');
        export const options = {
          scenarios: { a: { executor: 'constant-vus', vus: 1, duration: '10m', gracefulStop: '0s' } },
          thresholds: { r: [{ threshold: 'rate>0.9', abortOnFail: true }] },
        };
        export default function () { r.add(false); sleep(0.05); }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::THRESHOLDS, "{}", ran.err);
}

#[test]
fn a_script_ends_the_run_or_calls_it_failed() {
    for body in [
        "exec.test.abort('enough')",
        "try { exec.test.abort('enough') } catch (e) { console.error(e) }",
    ] {
        let script = format!(
            "import exec from 'k6/execution';\n\
            export const options = {{ vus: 2, duration: '10m' }};\n\
            export default function () {{ {body}; }}\n\
            export function teardown() {{ throw new Error('torn down'); }}"
        );
        let ran = play(&script, "");
        assert_eq!(ran.code, exit_code::ABORTED, "{body}: {}", ran.err);
        for told in ["enough", "torn down"] {
            assert!(ran.err.contains(told), "{body}: {}", ran.err);
        }
    }
    let script =
        "import exec from 'k6/execution'; export default function () { exec.test.fail(); }";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::MARKED_FAILED, "{}", ran.err);
    for (stage, code) in [
        (
            "exec.test.abort('at once'); export default () => {};",
            exit_code::ABORTED,
        ),
        (
            "export function setup() { exec.test.abort('at once'); } export default () => {};",
            exit_code::ABORTED,
        ),
        (
            "export function setup() { throw new Error('at once'); } export default () => {};",
            exit_code::FAILED,
        ),
        (
            "export function teardown() { throw new Error('at once'); } export default () => {};",
            exit_code::FAILED,
        ),
    ] {
        let ran = play(&format!("import exec from 'k6/execution'; {stage}"), "");
        assert_eq!(ran.code, code, "{stage}: {}", ran.err);
        assert!(ran.err.contains("at once"), "{stage}: {}", ran.err);
    }
}

#[test]
fn setup_and_teardown_that_take_too_long_have_their_exit_codes() {
    for (name, code) in [
        ("setup", exit_code::SETUP_TIMEOUT),
        ("teardown", exit_code::TEARDOWN_TIMEOUT),
    ] {
        let script = format!(
            "import {{ sleep }} from 'k6';\n\
            export const options = {{ setupTimeout: '200ms', teardownTimeout: '200ms' }};\n\
            export function {name}() {{ sleep(600); }}\n\
            export default function () {{}}"
        );
        let ran = play(&script, "");
        assert_eq!(ran.code, code, "{}", ran.err);
        assert!(ran.err.contains("took longer than 200ms"), "{}", ran.err);
    }
}

#[test]
fn the_command_line_outdoes_the_script() {
    let dir = TempDir::create().unwrap();
    let script = "export const options = { vus: 1, duration: '10m', tags: { a: 'b' } };\n\
        export default function () {}";
    let ran = play_in(&dir, script, "", |options| {
        options.options = Options {
            vus: Some(2),
            iterations: Some(9),
            ..Options::default()
        };
    });
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 9.0);
}

#[test]
fn what_setup_returns_reaches_every_iteration_and_is_one_object_for_a_virtual_user() {
    let script = r"
        import { check } from 'k6';
        export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2, iterations: 3, env: { WHO: 'me' } } } };
        export function setup() { return { list: [1, { two: 2 }], gone: undefined }; }
        let seen = 0;
        export default function (data) {
          check(data, {
            whole: (d) => d.list[1].two === 2 && !('gone' in d),
            'one for each': (d) => (d.count ?? 0) === seen,
            'own environment': () => __ENV.WHO === 'me',
            'own state': () => __ITER === seen,
          });
          data.count = ++seen;
        }
    ";
    let ran = play(script, "");
    ran.is_well();
    assert_eq!(ran.figure("checks", "value"), 1.0, "{}", ran.out);
    assert_eq!(ran.figure("checks", "passes"), 24.0);
}

#[test]
fn an_exception_is_told_with_its_place_and_the_iteration_counts() {
    let script = "export const options = { iterations: 3 };\n\
        function deep() { throw new TypeError('oh no'); }\n\
        export default function () { deep(); }";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::OK);
    assert_eq!(ran.figure("iterations", "count"), 3.0);
    assert!(ran.err.contains("TypeError: oh no"), "{}", ran.err);
    assert!(ran.err.contains("script.js:2"), "{}", ran.err);
}

#[test]
fn what_is_no_option_and_scenarios_that_are_replaced_are_told() {
    let script = "export const options = { mine: 1, scenarios: { a: { executor: 'per-vu-iterations', vus: 2, \
        iterations: 2 } } };\nexport default () => {}";
    let dir = TempDir::create().unwrap();
    let ran = play_in(&dir, script, "", |options| {
        options.options.iterations = Some(1);
    });
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 1.0);
    assert!(
        ran.err.contains("option `mine` means nothing"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("the command line says how much load"),
        "{}",
        ran.err
    );
}

#[test]
fn a_file_of_options_stands_below_the_script() {
    let dir = TempDir::create().unwrap();
    let file = r#"{"iterations": 7, "vus": 2, "thresholds": {"iterations": ["count>100"]}}"#;
    let file = dir.write("options.json", file).unwrap();
    let script = "export const options = { iterations: 2 };\nexport default () => {}";
    let ran = play_in(&dir, script, "", |options| options.config = Some(file));
    assert_eq!(ran.figure("iterations", "count"), 2.0);
    assert_eq!(ran.code, exit_code::THRESHOLDS, "{}", ran.err);
}

#[test]
fn iterations_that_throw_are_counted_and_told_as_errors() {
    let script = "export const options = { vus: 2, iterations: 9 };\n\
        export default () => { throw new Error('the same each time'); }";
    let ran = play(script, "");
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(ran.figure("thrown_iterations", "count"), 9.0);
    let lines = ran.err.lines();
    let told = lines.filter(|line| line.starts_with("level=error") && line.contains("the same"));
    assert!((1..=2).contains(&told.count()), "{}", ran.err);
    assert!(ran.err.contains("9 of 9 iterations threw"), "{}", ran.err);
}
