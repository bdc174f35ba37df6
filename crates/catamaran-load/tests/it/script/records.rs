//! `k6/experimental/csv` and `k6/experimental/fs`, and promises of requests.

use catamaran_testkit::TempDir;

use super::{once, origin, play, play_in, url_of};

const CSV: &str = "\u{feff}name,age\n\"Miller, \"\"Jo\"\"\",5\r\n\nAnn,\"two\nlines\"\nBob,7";

#[test]
fn records_are_shared_or_read_one_by_one() {
    let dir = TempDir::create().unwrap();
    dir.write("data.csv", CSV).unwrap();
    let imports = r"
        import csv, { Parser } from 'k6/experimental/csv';
        import { open as openFile, SeekMode } from 'k6/experimental/fs';
        const file = await openFile('data.csv');
        const all = await csv.parse(file, { delimiter: ',' });
        const part = await csv.parse(file, { skipFirstLine: true, toLine: 2 });
        const people = await csv.parse(file, { asObjects: true });
        const parser = new Parser(file, { skipFirstLine: true, fromLine: 2 });
    ";
    let body = r#"
        same([...all], [['name', 'age'], ['Miller, "Jo"', '5'], ['Ann', 'two\nlines'], ['Bob', '7']]);
        same([part.length, part[1][0], people.length, people[0]], [2, 'Ann', 3, { name: 'Miller, "Jo"', age: '5' }]);
        same([await parser.next(), await parser.next(), (await parser.next()).done], [
            { done: false, value: ['Ann', 'two\nlines'] }, { done: false, value: ['Bob', '7'] }, true]);
        const told = async (options) => { try { await csv.parse(file, options); } catch (e) { return e.message; } };
        same((await told({ asObjects: true, skipFirstLine: true })).includes('skipFirstLine'), true);
        same((await told({ asObjects: true, fromLine: 1 })).includes('fromLine'), true);
        same((await told({ delimiter: ';' })).includes('must stand twice'), true);
        same((await told({ delimiter: ';;' })).includes('one character'), true);
        same((await told({ nothing: 1 })).includes('no option is called "nothing"'), true);
        const into = new Uint8Array(8);
        same([await file.read(into), (await file.stat()).name, into[3]], [8, 'data.csv', 110]);
        same([await file.seek(-1, SeekMode.End), await file.read(into), into[0], await file.read(into)], [SIZE - 1, 1, 55, null]);
    "#;
    let body = body.replace("SIZE", &CSV.len().to_string());
    let script = once(imports, &body).replace("default function", "default async function");
    play_in(&dir, &script, "", |_| {}).is_well();
}

#[test]
fn files_that_are_not_there_or_broken_are_told() {
    let dir = TempDir::create().unwrap();
    dir.write("open.csv", "a,\"b").unwrap();
    for (work, told) in [
        (
            "await csv.parse(await fs.open('open.csv'));",
            "a quote of line 1 has no end",
        ),
        ("await fs.open('none.csv');", "none.csv"),
        ("await csv.parse({});", "must be a file"),
    ] {
        let script = format!(
            "import csv from 'k6/experimental/csv'; import fs from 'k6/experimental/fs'; {work} \
            export default function () {{}}"
        );
        let ran = play_in(&dir, &script, "", |_| {});
        assert_eq!(ran.code, catamaran_load::exit_code::FAILED, "{work}");
        assert!(ran.err.contains(told), "{work} {}", ran.err);
    }
}

#[test]
fn requests_that_promise_run_beside_each_other() {
    let origin = origin();
    let body = r"
        const order = [];
        const slow = http.asyncRequest('POST', `${url}/echo`, 'a', { tags: { own: '1' } }).then((res) => { order.push(res.body); return res; });
        const all = await Promise.all([slow, http.asyncRequest('GET', `${url}/missing`), http.asyncRequest('GET', url, null, { timeout: 5000 })]);
        same([all.map((res) => res.status), order], [[200, 404, 200], ['a']]);
        const bad = await http.asyncRequest('GET', 'http://127.0.0.1:1/');
        same([bad.status, bad.error_code], [0, 1212]);
        let told;
        try { await http.asyncRequest('GET', 'http://127.0.0.1:1/', null, { throw: true }); } catch (e) { told = e.message; }
        same(told.includes('refused'), true);
        try { await http.asyncRequest('POST', url, 'b', { compression: 'none' }); } catch (e) { told = e.message; }
        same(told.includes('no compression'), true);
        http.asyncRequest('GET', `${url}/json`).then((res) => { order.push(res.json('a.b.0')); }).then(() => same(order, ['a', 1]));
    ";
    let script = once("", body).replace("default function", "default async function");
    let ran = play(&script, &url_of(&origin));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.err.contains("Error"), "{}", ran.err);
    assert_eq!(ran.figure("http_reqs", "count"), 6.0);
}
