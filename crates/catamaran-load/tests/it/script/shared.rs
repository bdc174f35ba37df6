//! Virtual users that share an engine: none sees anything of another, wherever they are suspended.

use catamaran_load::exit_code;
use catamaran_load::script::Isolation;
use catamaran_testkit::TempDir;

use super::{Ran, origin, play_in, url_of};

/// Plays a script whose virtual users share an engine.
fn share(script: &str, url: &str) -> Ran {
    share_in(&TempDir::create().unwrap(), script, url)
}

fn share_in(dir: &TempDir, script: &str, url: &str) -> Ran {
    play_in(dir, script, url, |options| {
        options.isolation = Isolation::Shared;
        options.workers = Some(1);
    })
}

/// A script of which `vus` virtual users run `body` at once, some times each.
fn many(vus: u32, top: &str, body: &str) -> String {
    format!(
        "import http from 'k6/http'; import {{ check, group, sleep, fail }} from 'k6'; import exec from 'k6/execution';\n\
        export const options = {{ scenarios: {{ s: {{ executor: 'per-vu-iterations', vus: {vus}, iterations: 3, maxDuration: '120s' }} }} }};\n\
        const same = (is, should) => {{ const [a, b] = [is, should].map((v) => JSON.stringify(v)); \
        if (a !== b) throw new Error(`${{__VU}}: ${{a}} is not ${{b}}`); }};\n\
        const url = __ENV.URL;\n{top}\nexport default function () {{ {body} }}"
    )
}

#[test]
fn what_one_virtual_user_has_another_does_not_see() {
    let dir = TempDir::create().unwrap();
    dir.write(
        "deep.js",
        "export let deep = 0; export const add = () => ++deep;",
    )
    .unwrap();
    dir.write(
        "left.js",
        "import { add, deep } from './deep.js'; export const left = () => [add(), deep];",
    )
    .unwrap();
    dir.write(
        "common.js",
        "let n = 0; exports.next = () => ++n; exports.kept = {};",
    )
    .unwrap();
    let top = r"
        import { SharedArray } from 'k6/data';
        import { left } from './left.js';
        import { deep } from './deep.js';
        import { next, kept } from './common.js';
        import { Counter } from 'k6/metrics';
        let counter = 0; const list = []; const closures = [];
        const numbers = new SharedArray('numbers', () => [{ a: 1 }, { a: 2 }]);
        const total = new Counter('total');
        class Thing { static made = 0; constructor() { Thing.made++; this.vu = __VU; } }
        const id = __VU;
    ";
    let body = r"
        const me = __VU, nth = __ITER;
        same(id, me); same(exec.vu.idInTest, me); same(counter, nth); same(deep, nth);
        counter++; list.push(me); closures.push(() => me); new Thing();
        same(left(), [nth + 1, nth + 1]); same(next(), nth + 1); kept[me] = true; same(Object.keys(kept), [String(me)]);
        sleep(Math.random() / 100);
        same([__VU, __ITER, exec.vu.iterationInScenario], [me, nth, nth]);
        same(list, Array(nth + 1).fill(me)); same(closures.map((f) => f()), list); same(Thing.made, nth + 1);
        same(numbers.length, 2); same(numbers[1].a, 2);
        http.cookieJar().set(url, 'me', String(me));
        same(http.get(`${url}/cookies`).body, `me=${me}`);
        const jar = new http.CookieJar(); jar.set(url, 'own', String(me)); sleep(0.001);
        same(jar.cookiesForURL(url).own, [String(me)]);
        same(http.post(`${url}/echo`, `${me} ${nth}`).body, `${me} ${nth}`);
        exec.vu.tags.me = String(me); sleep(0.001); same(exec.vu.tags.me, String(me));
        group(`g`, () => { sleep(0.001); check(me, { mine: (v) => { sleep(0.001); return v === __VU; } }); });
        total.add(1);
    ";
    let ran = share_in(&dir, &many(50, top, body), &url_of(&origin()));
    ran.is_well();
    assert_eq!(ran.figure("iterations", "count"), 150.0);
    assert_eq!(ran.figure("total", "count"), 150.0);
    assert_eq!(ran.figure("checks", "passes"), 150.0);
}

#[test]
fn whoever_throws_while_others_are_suspended_finds_the_own_stack() {
    let top = r"
        function nap() { sleep(Math.random() / 200); }
        function stackOf(work) { try { work(); } catch (e) { return e.stack; } return ''; }
        // Every line is of this script; the first are the names of who called, innermost first.
        function begins(stack, ...names) {
          const lines = stack.trim().split('\n').map((line) => line.trim());
          for (const line of lines) {
            if (!/(script\.js|\(k6):\d+:\d+\)$|\(native\)$/.test(line) || line.includes('catamaran (')) throw new Error(`${__VU}: ${line}`);
          }
          same(lines.slice(0, names.length).map((line) => line.split(' ')[1]), names);
          return lines.length;
        }
        function inner() { nap(); throw new Error('inner ' + __VU); }
        function outer() { nap(); inner(); }
        function deep(n) { if (n === 0) { nap(); throw new TypeError('deep'); } nap(); deep(n - 1); }
    ";
    let body = r"
        const me = __VU;
        same(begins(stackOf(outer), 'inner', 'outer', 'stackOf', 'default'), 4);
        same(begins(stackOf(() => [1, 2].map(function mapped() { nap(); inner(); })), 'inner', 'mapped', 'map'), 6);
        same(begins(stackOf(() => [3, 1, 2].sort(function compare() { nap(); null.x; })), 'compare', 'sort'), 5);
        begins(stackOf(() => ({ get it() { nap(); return undefinedName; } }).it), 'get');
        begins(stackOf(() => deep(5)), 'deep', 'deep', 'deep', 'deep', 'deep', 'deep');
        begins(stackOf(() => check(1, { c: function checks() { nap(); fail('f'); } })), 'fail', 'checks');
    ";
    let more = r"
        let order = '';
        try { try { nap(); throw new Error('a'); } catch (e) { nap(); order += e.message; throw new Error('b'); } finally { nap(); order += 'f'; } }
        catch (e) { nap(); order += e.message; }
        same(order, 'afb');
        const numbers = function* () { try { nap(); yield 1; nap(); yield 2; } finally { nap(); order += 'g'; } };
        for (const n of numbers()) { nap(); if (n === 2) break; }
        same(order, 'afbg');
        same(JSON.stringify({ a: { toJSON() { nap(); return __VU; } } }), JSON.stringify({ a: me }));
        same('abc'.replace(/b/, () => { nap(); return String(__VU); }), `a${me}c`);
        // Enough of it that the collector comes by while others are suspended.
        const knot = () => { const one = { me, pad: Array(100).fill(me) }; one.self = one; one.tell = () => one.me; return one; };
        const kept = knot();
        for (let n = 0; n < 200; n++) { knot(); if (n % 50 === 0) { nap(); same(kept.self.self.tell(), me); } }
        const overflow = () => { const more = () => more() + 1; return more(); };
        same(stackOf(overflow).includes('more'), true);
        nap(); same(__VU, me);
    ";
    let ran = share(&many(40, top, &format!("{body}{more}")), "");
    ran.is_well();
    assert_eq!(ran.figure("iterations", "count"), 120.0);
}

#[test]
fn what_nobody_catches_is_told_with_the_stack_of_the_script_only() {
    let top = "function inner() { sleep(0.01); throw new Error('mine ' + __VU); }";
    let ran = share(&many(3, top, "inner();"), "");
    for vu in 1..=3 {
        assert!(
            ran.err.contains(&format!("Error: mine {vu}\\n")),
            "{}",
            ran.err
        );
    }
    assert!(ran.err.contains("at inner"), "{}", ran.err);
    assert!(!ran.err.contains("catamaran ("), "{}", ran.err);
}

#[test]
fn hundreds_that_are_suspended_are_cut_off_and_see_nothing_of_it() {
    let script = r"
        import { sleep } from 'k6';
        import { Counter } from 'k6/metrics';
        export const options = { scenarios: { a: { executor: 'constant-vus', vus: 400, duration: '1s', gracefulStop: '0s' } } };
        const seen = new Counter('seen'), begun = new Counter('begun');
        export default function () {
          begun.add(1);
          try { [1].map(() => { try { sleep(100); } finally { seen.add(1); } }); } catch (e) { seen.add(1); } finally { seen.add(1); }
        }
    ";
    let ran = share(script, "");
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.figure("begun", "count"), 400.0, "{}", ran.err);
    assert_eq!(ran.figure("seen", "count"), 0.0, "{}", ran.err);
    assert!(ran.summary["metrics"].get("iterations").is_none());
}

#[test]
fn an_endless_loop_in_one_keeps_no_other_waiting() {
    let script = r"
        import { sleep } from 'k6';
        export const options = { scenarios: {
          loops: { executor: 'per-vu-iterations', vus: 2, iterations: 1, maxDuration: '15s', gracefulStop: '0s', exec: 'loops' },
          matches: { executor: 'per-vu-iterations', vus: 1, iterations: 1, maxDuration: '15s', gracefulStop: '0s', exec: 'matches' },
          works: { executor: 'per-vu-iterations', vus: 3, iterations: 20, maxDuration: '15s', gracefulStop: '0s' },
        } };
        function throws(n) { try { null.x; } catch (e) { if (!e.stack.includes('throws')) fail(e.stack); } return n; }
        export function loops() { for (let n = 0;; n++) throws(n); }
        export function matches() { /(a+)+$/.test('a'.repeat(60) + 'b'); }
        export default function () { sleep(0.01); throws(1); }
    ";
    let ran = share(script, "");
    // That it was busy is true.
    let said = ran
        .err
        .lines()
        .filter(|line| !line.contains("this machine was the limit"));
    assert_eq!((ran.code, said.count()), (exit_code::OK, 0), "{}", ran.err);
    assert_eq!(ran.figure("iterations", "count"), 60.0);
}

#[test]
fn each_scenario_sees_its_own_variables_and_no_other() {
    let script = r"
        import { sleep } from 'k6';
        const one = (exec, NAME) => ({ executor: 'per-vu-iterations', vus: 5, iterations: 3, exec, env: { NAME } });
        export const options = { scenarios: { a: one('a', 'x'), b: one('b', 'y') } };
        const top = __ENV.NAME;
        function is(name) {
          if (top !== undefined || __ENV.NAME !== name) throw new Error(`${top} ${__ENV.NAME}`);
          sleep(0.001);
          if (__ENV.NAME !== name) throw new Error(__ENV.NAME);
        }
        export const a = () => is('x');
        export const b = () => is('y');
    ";
    let ran = share(script, "");
    ran.is_well();
    assert_eq!(ran.figure("iterations", "count"), 30.0);
}

#[test]
fn what_they_share_cannot_be_changed_behind_an_alias() {
    let top = r"
        const throwing = (work) => { try { work(); } catch (e) { return e instanceof TypeError; } return false; };
        const alias = (one) => one;
        // Names that the text does not have.
        const make = ['con', 'structor'].join(''), base = ['proto', 'type'].join('');
        const classOf = (one) => one[make];
        const kinds = [{}, () => 1, new Error('e'), new TypeError('e'), new RangeError('e'), [], new Date(), /a/];
        const classes = kinds.map(classOf);
    ";
    let body = r"
        for (const one of [Math, JSON, console, http, exec, exec.vu, alias(Math), [].map, http.get, http.CookieJar, http.cookieJar(), ...classes]) {
          same(throwing(() => { const own = alias(one); own.leak = 1; }), true);
        }
        same(throwing(() => { const own = alias(Math); own.random = 1; }), true);
        same(throwing(() => { const own = alias(http); own.get = 1; }), true);
        const define = classOf({})['define' + 'Property'];
        for (const one of classes) {
          const shared = one[base];
          for (const key of ['toString', 'valueOf', 'leak', make, 'name', 'message', 'call', 'stack', 'hasOwnProperty', 'push', 'toJSON']) {
            const before = shared[key];
            same([key, throwing(() => { shared[key] = 1; })], [key, true]);
            same([key, throwing(() => { define(shared, key, { value: 1 }); })], [key, true]);
            same(shared[key] === before, true);
          }
        }
        sleep(0.001);
    ";
    share(&many(5, top, body), "").is_well();
}

#[test]
fn what_is_a_scripts_own_can_have_what_it_inherits() {
    let body = r"
        class Own extends Error { constructor() { super('o'); this.name = 'Own'; this.message = 'm'; } toString() { return 'own'; } }
        const error = new Own(); error.toString = () => 'mine'; same([error.name, error.message, String(error)], ['Own', 'm', 'mine']);
        const object = {}; object.toString = () => 'mine'; object.valueOf = () => 1; same(`${object}`, 'mine');
        const work = () => 1; work.toString = () => 'w'; work.extra = 1; same(String(work), 'w');
        const counts = {};
        for (const word of ['toString', 'valueOf', 'hasOwnProperty', 'constr' + 'uctor', 'a']) counts[word] = (counts[word] === 1 ? 1 : 0) + 1;
        same(Object.keys(counts), ['toString', 'valueOf', 'hasOwnProperty', 'constr' + 'uctor', 'a']);
        const made = Object.assign(Object.create(counts), { toString: 2 }); same([made.toString, counts.toString], [2, 1]);
        const set = (one, key, value) => { one[key] = value; return one; };
        same(JSON.parse(JSON.stringify([set(new Date(), 'toJSON', () => 'd')])), ['d']);
        same([`${set([], 'toString', () => 'a')}`, `${set(/r/, 'toString', () => 'r')}`], ['a', 'r']);
        same([`${[1, 2]}`, String(/r/), String(object.constr), typeof `${new Date()}`], ['1,2', '/r/', 'undefined', 'string']);
        class Old { get toString() { return () => 'old'; } }
        class New extends Old { change() { super.valueOf = 1; super.valueOf = 2; return Object.entries(this); } }
        same(new New().change(), [['valueOf', 2]]);
        const list = [1]; list[5] = 1; list.length = 2; same(list.length, 2); set(list, 'extra', 1);
        sleep(0.001);
    ";
    share(&many(5, "", body), "").is_well();
}

#[test]
fn whoever_may_not_change_what_is_shared_is_told_how_it_could() {
    let set = "const set = (one, key, value) => { one[key] = value; };";
    let told = |top: &str, body: &str| {
        let ran = share(&many(1, &format!("{set}{top}"), body), "");
        let first = ran.err.lines().find(|line| line.contains("TypeError"));
        first.unwrap_or_default().to_owned()
    };
    for (body, why) in [
        ("set([], 'push', 1);", "'push' is read-only"),
        (
            "set({}[['con', 'structor'].join('')], 'leak', 1);",
            "not extensible",
        ),
        (
            "const { name } = { name: Math }; delete name.random;",
            "could not delete",
        ),
    ] {
        let told = told("", body);
        assert!(
            told.contains(why) && told.contains("--vu-isolation strict"),
            "{told}"
        );
    }
    // At the top level of a virtual user, which is the second to run it.
    let top = "if (__VU > 0) set(http, 'get', 1);";
    assert!(told(top, "").contains("'get' is read-only (virtual users share"));
    assert!(!told("", "null.x;").contains("--vu-isolation"));
}

#[test]
fn a_script_that_does_not_allow_it_says_where() {
    let script = "let a = 1;\nexport default function () {\n  globalThis.a = a;\n}";
    let ran = share(script, "");
    assert_eq!(ran.code, exit_code::INVALID);
    assert!(
        ran.err.contains("script.js:3: mentions `globalThis`"),
        "{}",
        ran.err
    );
    let dir = TempDir::create().unwrap();
    let told = |isolation: Isolation, script: &str| {
        let ran = play_in(&dir, script, "", |options| {
            options.isolation = isolation;
            options.is_quiet = false;
        });
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
        ran.out
    };
    let out = told(Isolation::Auto, script);
    assert!(
        out.contains("isolation: strict (") && out.contains("script.js:3:"),
        "{out}"
    );
    let out = told(Isolation::Auto, "export default function () {}");
    assert!(out.contains("isolation: shared"), "{out}");
    let out = told(Isolation::Strict, "export default function () {}");
    assert!(out.contains("isolation: strict (asked for)"), "{out}");
}
