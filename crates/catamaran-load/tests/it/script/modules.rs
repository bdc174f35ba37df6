//! The modules that scripts import, and how they find them.

use catamaran_testkit::TempDir;

use super::{once, play, play_in};

#[test]
fn digests_and_codings_are_those_of_k6() {
    let body = r"
        same(crypto.md5('abc', 'hex'), '900150983cd24fb0d6963f7d28e17f72');
        same(crypto.sha1('abc', 'base64'), 'qZk+NkcGgWq6PiVxeFDCbJzQ2J0=');
        same(crypto.sha256('abc', 'base64rawurl'), 'ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0');
        same(crypto.hmac('sha256', 'key', 'The quick brown fox jumps over the lazy dog', 'hex'),
          'f7bc83f430538424b13298e6aa6fb143ef4d59a14946175997479dbc2d1a3cd8');
        const hash = crypto.createHash('sha256'); hash.update('a'); hash.update(new Uint8Array([98, 99]).buffer);
        same(hash.digest('hex'), crypto.sha256('abc', 'hex'));
        const mac = crypto.createHMAC('md5', 'k'); mac.update('x');
        same(mac.digest('hex'), crypto.hmac('md5', 'k', 'x', 'hex'));
        same(new Uint8Array(crypto.sha512('abc', 'binary')).length, 64);
        same(crypto.randomBytes(5).byteLength, 5);
        same(crypto.hexEncode('AZ'), '415a');
        same(crypto.ripemd160('abc', 'hex'), '8eb208f7e05d987a9b044a8e98c6b087f15a0bfc');
        same(crypto.hmac('md4', 'k', 'x', 'hex').length, 32);
        same(thrown(() => crypto.createHash('sha3').digest('hex')).includes('sha512_224'), true);
        same(thrown(() => crypto.randomBytes(0)).includes('one at least'), true);
        same(thrown(() => crypto.md5('x', 'octal')).includes('hex'), true);
        same(encoding.b64encode('hello?>'), 'aGVsbG8/Pg==');
        same(encoding.b64encode('hello?>', 'rawurl'), 'aGVsbG8_Pg');
        same(encoding.b64decode('aGVsbG8_Pg', 'rawurl', 's'), 'hello?>');
        same(new Uint8Array(encoding.b64decode('AQI='))[1], 2);
        same(new TextDecoder().decode(new TextEncoder().encode('ä€')), 'ä€');
        same(globalThis.crypto.randomUUID().length, 36);
        same(globalThis.crypto.getRandomValues(new Uint32Array(3)).length, 3);
    ";
    let imports = "import crypto from 'k6/crypto'; import encoding from 'k6/encoding';";
    play(&once(imports, body), "").is_well();
}

#[test]
fn what_is_global_is_there_when_it_is_named_and_like_any_other() {
    let body = r"
        const kinds = [typeof Uint16Array, typeof setInterval, typeof performance, typeof nowhere];
        same(kinds, ['function', 'function', 'object', 'undefined']);
        same(['WeakMap' in globalThis, 'nowhere' in globalThis], [true, false]);
        same(thrown(() => nowhere).includes('nowhere'), true);
        same(thrown(() => { 'use strict'; nowhere = 1; }).includes('nowhere'), true);
        const mine = () => 'mine';
        globalThis.clearTimeout = mine; clearInterval = mine;
        same(typeof setTimeout(() => {}, 0), 'number');
        same([clearTimeout(), clearInterval()], ['mine', 'mine']);
        delete globalThis.clearInterval;
        same(typeof clearInterval, 'undefined');
        same(timers.setTimeout === setTimeout, true);
        WeakRef = mine;
        same([WeakRef(), typeof FinalizationRegistry], ['mine', 'function']);
        same(Object.keys(globalThis).includes('console'), false);
        same([new Date(0).getTime(), new Set([1, 1]).size, atob('YQ==')], [0, 1, 'a']);
        same(encoding.b64decode('AQI=') instanceof ArrayBuffer, true);
        same([global === globalThis, globalThis['__' + 'ENV'] === __ENV], [true, true]);
        same([__ENV.URL === url, __ENV.NOWHERE === undefined], [true, true]);
    ";
    let imports = "import encoding from 'k6/encoding'; import timers from 'k6/timers';";
    play(&once(imports, body), "").is_well();
}

#[test]
fn a_script_that_looks_through_the_environment_sees_all_of_it() {
    let body = "same([Object.keys(__ENV).includes('PATH'), 'PATH' in __ENV], [true, true]);";
    play(&once("", body), "").is_well();
}

#[test]
fn a_shared_array_is_made_once_and_cannot_be_changed() {
    let dir = TempDir::create().unwrap();
    dir.write("users.json", r#"[{"name":"a"},{"name":"b"},{"name":"c"}]"#)
        .unwrap();
    let body = r"
        same(users.length, 3);
        same(users[1].name, 'b');
        same(users[9], undefined);
        same([...users].map((u) => u.name).join(''), 'abc');
        same(users.filter((u) => u.name > 'a').length, 2);
        same(users.find((u) => u.name === 'c').name, 'c');
        same(thrown(() => { users[0] = 1; }).includes('changed'), true);
        same(thrown(() => { 'use strict'; users[0].name = 'x'; }) !== 'nothing', true);
        same(thrown(() => users.push(1)) !== 'nothing', true);
        same(Array.isArray(users), true);
        same(JSON.stringify(users), JSON.stringify([{ name: 'a' }, { name: 'b' }, { name: 'c' }]));
        same(Object.keys(users).length, 3);
    ";
    let imports = "import { SharedArray } from 'k6/data';\n\
        const users = new SharedArray('users', () => JSON.parse(open('./users.json')));\n\
        const bytes = new Uint8Array(open('users.json', 'b'));\n\
        if (bytes[0] !== 91) throw new Error('bytes');\n\
        if (__VU > 0) new SharedArray('users', () => { throw new Error('made again'); });\n\
        export const options = { vus: 3, iterations: 6 };";
    play_in(&dir, &once(imports, body), "", |_| {}).is_well();
}

#[test]
fn files_are_imported_by_path_once_for_each_virtual_user() {
    let dir = TempDir::create().unwrap();
    std::fs::create_dir(dir.path().join("lib")).unwrap();
    dir.write(
        "lib/state.js",
        "export let count = 0; export const next = () => ++count;",
    )
    .unwrap();
    dir.write(
        "lib/index.js",
        "export * from './state.js'; export { default as config } from '../config.json'; export default class Api {}",
    )
    .unwrap();
    dir.write("config.json", r#"{"base": 7}"#).unwrap();
    let body = r"
        next();
        same(count, __ITER + 1);
        same(state.count, count);
        same(config.base, 7);
        same(new Api() instanceof Api, true);
    ";
    let imports = "import Api, { count, next, config } from './lib/index.js';\n\
        import * as state from './lib/state.js';\n\
        export const options = { scenarios: { a: { executor: 'per-vu-iterations', vus: 2, iterations: 3 } } };";
    play_in(&dir, &once(imports, body), "", |_| {}).is_well();
}

#[test]
fn commonjs_works_too() {
    let dir = TempDir::create().unwrap();
    dir.write(
        "lib.js",
        "const { sleep } = require('k6');\nmodule.exports = { twice: (x) => 2 * x, sleep };",
    )
    .unwrap();
    dir.write("named.js", "exports.five = 5; exports.other = () => 6;")
        .unwrap();
    let script = r"
        const http = require('k6/http');
        const lib = require('./lib.js');
        const { check } = require('k6');
        exports.options = { iterations: 2 };
        module.exports.default = function () {
          const ok = check(lib, { twice: (l) => l.twice(3) === 6, http: () => typeof http.get === 'function' });
          if (!ok) throw new Error('not ok');
        };
    ";
    let ran = play_in(&dir, script, "", |_| {});
    assert_eq!(ran.is_well().figure("iterations", "count"), 2.0);
    let body = "same([lib.twice(2), five, other()], [4, 5, 6]);";
    let imports = "import lib from './lib.js'; import { five, other } from './named.js';";
    play_in(&dir, &once(imports, body), "", |_| {}).is_well();
    // Many a script requires what it uses, and exports what it is.
    let script = r"
        const { check } = require('k6');
        const http = require('k6/http');
        export const options = { iterations: 2 };
        export default function () {
          check(http, { http: (h) => typeof h.get === 'function' && typeof h.default.get === 'function' });
        }
    ";
    let ran = play(script, "");
    assert_eq!(ran.is_well().figure("checks", "passes"), 2.0);
}

#[test]
fn libraries_of_k6_need_no_network() {
    let body = r"
        same(uuidv4().length, 36);
        const n = randomIntBetween(3, 4);
        same(n === 3 || n === 4, true);
        same(randomItem(['x']), 'x');
        same(randomString(8).length, 8);
        same(findBetween('<a>x</a><a>y</a>', '<a>', '</a>'), 'x');
        same(findBetween('<a>x</a><a>y</a>', '<a>', '</a>', true), ['x', 'y']);
    ";
    let imports = "import { uuidv4, randomIntBetween, randomItem, randomString, findBetween } \
        from 'https://jslib.k6.io/k6-utils/1.4.0/index.js';\n\
        import { textSummary } from 'https://jslib.k6.io/k6-summary/0.1.0/index.js';\n\
        export function handleSummary(data) { return { stdout: textSummary(data, { indent: '>' }) }; }";
    let ran = play(&once(imports, body), "");
    ran.is_well();
    assert!(ran.out.contains(">  █ TOTAL RESULTS"), "{}", ran.out);
}

#[test]
fn what_belongs_to_the_top_level_is_refused_later_and_the_other_way_round() {
    let body = r"
        same(thrown(() => open('x')).includes('top level'), true);
        same(thrown(() => new Counter('late')).includes('top level'), true);
        same(typeof __host, 'undefined');
        same(typeof global.JSON, 'object');
    ";
    let imports = "import { Counter } from 'k6/metrics';";
    play(&once(imports, body), "").is_well();
    for top in [
        "sleep(1)",
        "setTimeout(() => {}, 1)",
        "http.get('http://127.0.0.1/')",
    ] {
        let script = format!(
            "import http from 'k6/http'; import {{ sleep }} from 'k6'; {top}; export default () => {{}}"
        );
        let ran = play(&script, "");
        assert!(
            ran.err.contains("not for the top level"),
            "{top}: {}",
            ran.err
        );
    }
}

#[test]
#[cfg(feature = "typescript")]
fn typescript_runs_as_it_is() {
    let dir = TempDir::create().unwrap();
    let lib = "export enum Kind { Get, Post = 5, Put, Text = 't' }\n\
        export interface Thing { name: string }\n\
        export abstract class Base<T> { constructor(protected readonly first: T) {} abstract twice(): T }\n\
        export class Own extends Base<number> implements Thing {\n  name!: string;\n  \
        constructor(first: number, private second?: number) {\n    super(first);\n  }\n  \
        twice(): number { return this.first * 2 + this.second!; }\n}\n\
        export namespace Types { }\n";
    dir.write("lib.ts", &lib.replace("export namespace Types { }\n", ""))
        .unwrap();
    let script = "import { Options } from 'k6/options';\n\
        import { Kind, Own, type Thing } from './lib.ts';\n\
        export const options: Options = { vus: 1, iterations: 2 };\n\
        type Pair<A, B = A> = [A, B];\n\
        const same = (is: unknown, should: unknown): void => { if (JSON.stringify(is) !== JSON.stringify(should)) \
        throw new Error(`${is as string} is not ${should}`); };\n\
        export default function (): void {\n  const pair: Pair<number> = [1, 2] as const satisfies readonly number[];\n  \
        same(pair!.map<number>((n: number) => n + 1), [2, 3]);\n  \
        same([Kind.Get, Kind.Put, Kind[6], Kind.Text], [0, 6, 'Put', 't']);\n  \
        const own: Thing & Own = new Own(3, 4);\n  same(own.twice(), 10);\n  same(own.name, undefined);\n}\n";
    let path = dir.write("script.ts", script).unwrap();
    play_in(&dir, "", "", |options| {
        options.path = path;
    })
    .is_well();
    dir.write("lib.ts", "export const a: = 1;").unwrap();
    let path = dir.path().join("script.ts");
    let ran = play_in(&dir, "", "", |options| {
        options.path = path;
    });
    assert_eq!(ran.code, 107);
    assert!(ran.err.contains("lib.ts:1:17: "), "{}", ran.err);
}

#[test]
fn modules_by_url_come_from_the_cache() {
    let dir = TempDir::create().unwrap();
    let cached = dir.path().join("cache/lib.example/v1");
    std::fs::create_dir_all(&cached).unwrap();
    std::fs::write(cached.join("index.js"), "export { two } from './two.js';").unwrap();
    std::fs::write(cached.join("two.js"), "export const two = () => 2;").unwrap();
    let script = once(
        "import { two } from 'https://lib.example/v1/index.js';",
        "same(two(), 2);",
    );
    let cache = dir.path().join("cache");
    play_in(&dir, &script, "", |options| {
        options.import_cache = Some(cache);
    })
    .is_well();
    let script = "import 'https://127.0.0.1:1/none.js'; export default () => {}";
    let cache = dir.path().join("cache");
    let ran = play_in(&dir, script, "", |options| {
        options.import_cache = Some(cache);
    });
    assert_eq!(ran.code, 107);
    assert!(ran.err.contains("put the file at"), "{}", ran.err);
}
