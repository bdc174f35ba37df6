//! What `k6/http` sends and gives back.

use catamaran_load::exit_code;
use catamaran_load::script::Isolation;
use catamaran_testkit::{Origin, Reply, TempDir};

use super::{once, origin, play, play_in, url_of};

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
    let ran = play(script, &url_of(&origin));
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.summary["metrics"]["iterations"]["count"], 1);
}

#[test]
fn what_a_script_writes_into_a_response_is_there_afterwards() {
    let origin = origin();
    let body = r"
        const long = 'x'.repeat(10000);
        for (const text of ['short', long]) {
          const res = http.post(url, text);
          same([res.body, res.body], [text, text]);
          res.body += '!';
          res.status += 1;
          same([res.body, res.status], [`${text}!`, 201]);
          res.own = true;
          same(Object.keys(res).includes('own'), true);
        }
        const other = http.post(url, 'other');
        same([other.body, other.status], ['other', 200]);
    ";
    play(&once("", body), &url_of(&origin)).is_well();
}

#[test]
fn cookies_are_kept_for_an_iteration_and_sent_where_they_belong() {
    let origin = origin();
    let body = r"
        same(http.get(`${url}/cookies`).body, '');
        const res = http.get(`${url}/login`);
        same(res.cookies.session[0].value, 's1');
        same(res.cookies.session[0].http_only, true);
        same(http.get(`${url}/cookies`).body, 'session=s1');
        same(http.get(`${url}/cookies`, { cookies: { mine: 'm' } }).body, 'mine=m; session=s1');
        same(http.get(`${url}/cookies`, { cookies: { session: { value: 'n', replace: true } } }).body, 'session=n');
        const jar = http.cookieJar();
        same(jar.cookiesForURL(url), { session: ['s1'] });
        jar.set(url, 'added', 'a', { path: '/cookies' });
        same(http.get(`${url}/cookies`).body, 'added=a; session=s1');
        jar.delete(`${url}/cookies`, 'added'); jar.clear(`${url}/cookies`);
        same(http.get(`${url}/cookies`).body, '');
        const own = new http.CookieJar();
        own.set(url, 'own', '1');
        same(http.get(`${url}/cookies`, { jar: own }).body, 'own=1');
        same(http.get(`${url}/cookies`).body, '');
        http.get(`${url}/login`);
    ";
    let script = format!(
        "{}\nexport const options = {{ iterations: 2 }};",
        once("", body)
    );
    play(&script, &url_of(&origin)).is_well();
}

#[test]
fn names_and_passwords_are_told_as_servers_ask() {
    let origin = origin();
    let body = r"
        const named = url.replace('//', '//user:pass@');
        same(http.get(`${named}/head`).body.includes('Authorization: Basic dXNlcjpwYXNz'), true);
        const res = http.get(`${named}/digest`, { auth: 'digest' });
        same(res.status, 200);
        same(res.url.includes('pass'), false);
        same(thrown(() => http.get(url, { auth: 'ntlm' })).includes('not yet ntlm'), true);
    ";
    let ran = play(&once("", body), &url_of(&origin));
    ran.is_well();
    assert_eq!(ran.figure("http_reqs", "count"), 3.0);
    assert_eq!(ran.figure("http_req_failed", "value"), 0.0);
}

#[test]
fn forms_with_files_are_multipart() {
    let origin = Origin::http(|request| {
        let kind = request.head.field("Content-Type").unwrap_or_default();
        let body = String::from_utf8_lossy(&request.body.content).into_owned();
        Reply::new(200, format!("{kind}\n{body}"))
    })
    .start()
    .unwrap();
    let body = r#"
        const check = (text) => {
          const boundary = /^multipart\/form-data; boundary=(\S+)/.exec(text)[1];
          const parts = text.slice(text.indexOf('\n') + 1).split(`--${boundary}`);
          same(parts.length, 4);
          same(parts[1], '\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n');
          same(parts[2].includes('name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nhi\r\n'), true);
          same(parts[3], '--\r\n');
        };
        check(http.post(url, { a: 1, f: http.file('hi', 'x.txt', 'text/plain') }).body);
        const form = new FormData();
        form.append('a', 1);
        form.append('f', http.file(new TextEncoder().encode('hi'), 'x.txt', 'text/plain'));
        check(http.post(url, form.body(), { headers: { 'Content-Type': form.contentType() } }).body);
    "#;
    let imports = "import { FormData } from 'https://jslib.k6.io/formdata/0.0.2/index.js';";
    play(&once(imports, body), &url_of(&origin)).is_well();
}

#[test]
fn redirects_are_followed_as_far_as_is_allowed() {
    let origin = origin();
    let body = r"
        same(http.post(`${url}/again`, 'kept').body, 'kept');
        const last = http.get(`${url}/loop`, { redirects: 3 });
        same([last.status, last.url], [302, `${url}/loop`]);
    ";
    let ran = play(&once("", body), &url_of(&origin));
    ran.is_well();
    assert_eq!(ran.figure("http_reqs", "count"), 6.0);
}

#[test]
fn a_redirect_leads_where_its_location_says_or_fails_there() {
    let origin = origin();
    let body = r"
        const to = (location) => http.get(`${url}/to?${location}`);
        same(to('/home?next=http://z/').url, `${url}/home?next=http://z/`);
        same(to('/a/../home').url, `${url}/home`);
        // Without a place to go to, it is the answer.
        same([to('').status, to('').url], [302, `${url}/to?`]);
        same([to('ftp://h/').status, to('ftp://h/').url, to('ftp://h/').error_code], [0, 'ftp://h/', 1000]);
        same([to('/100%').status, to('/100%').error_code], [0, 1020]);
    ";
    let ran = play(&once("", body), &url_of(&origin));
    let failed = |line: &&str| line.contains("Request Failed: GET");
    let others: Vec<_> = ran.err.lines().filter(|line| !failed(line)).collect();
    assert_eq!((ran.code, others), (0, Vec::new()));
    // The same is told once.
    assert_eq!(ran.err.lines().filter(failed).count(), 2);
    assert_eq!(ran.figure("http_reqs", "count"), 4.0 + 2.0 + 10.0);
    assert_eq!(ran.figure("http_req_failed", "passes"), 5.0);
}

#[test]
fn tags_names_and_expected_statuses_reach_the_samples() {
    let origin = origin();
    let script = r"
        import http from 'k6/http';
        import exec from 'k6/execution';
        export const options = {
          tags: { run: 'r' },
          thresholds: {
            'http_reqs{name:home,run:r}': ['count==1'],
            'http_reqs{kind:k}': ['count==1'],
            'http_reqs{vu:tag}': ['count==2'],
            'http_req_failed{status:404}': ['rate==0'],
            'http_reqs{expected_response:false}': ['count==1'],
            'http_reqs{method:POST}': ['count==1'],
          },
        };
        const url = __ENV.URL;
        export default function () {
          http.get(`${url}/a`, { tags: { name: 'home' } });
          http.get(http.url`${url}/user/${7}`, { tags: { kind: 'k' } });
          exec.vu.tags.vu = 'tag';
          http.get(`${url}/missing`, { responseCallback: http.expectedStatuses(404, { min: 500, max: 599 }) });
          http.setResponseCallback(http.expectedStatuses(201));
          http.post(url, 'x');
        }
    ";
    let ran = play(script, &url_of(&origin));
    assert_eq!(ran.code, exit_code::OK, "{}{}", ran.out, ran.err);
}

#[test]
fn requests_may_be_awaited_together() {
    let origin = origin();
    let body = r"
        return (async () => {
          const both = await Promise.all([http.asyncRequest('GET', `${url}/json`), http.asyncRequest('POST', url, 'p')]);
          same(both.map((res) => res.status), [200, 200]);
          same(both[1].body, 'p');
          const order = [];
          clearTimeout(setTimeout(() => order.push('never'), 1));
          await new Promise((done) => {
            const stop = setInterval(() => {
              order.push('tick');
              if (order.length === 2) {
                clearInterval(stop);
                setTimeout(() => { order.push('late'); setTimeout(done, 10); }, 1);
              }
            }, 1);
          });
          same(order, ['tick', 'tick', 'late']);
        })();
    ";
    let ran = play(&once("", body), &url_of(&origin));
    ran.is_well();
    assert_eq!(ran.figure("http_reqs", "count"), 2.0);
}

#[test]
fn paths_into_json_are_gjsons() {
    let origin = origin();
    let body = r##"
        const res = http.get(`${url}/json`);
        same(res.json('a.b.#'), 3);
        same(res.json('a.b.0'), 1);
        same(res.json('l.#.n'), ['p', 'q']);
        same(res.json('l.#(n=="q").v'), 2);
        same(res.json('l.#(v>0)#.n'), ['p', 'q']);
        same(res.json('a.x.y'), undefined);
        same(Object.keys(res.json()), ['a', 'l']);
        same(JSON.parse(JSON.stringify(res)).status, 200);
        same(thrown(() => http.get(url).json()).includes('JSON'), true);
    "##;
    play(&once("", body), &url_of(&origin)).is_well();
}

#[test]
fn options_shape_requests() {
    let origin = origin();
    let body = r"
        same(http.get('http://some.test/head').body.includes('Host: some.test'), true);
        same(http.get(`${url}/head`).body.includes('User-Agent: mine'), true);
        same(http.get(`${url}/head`).body.includes('Connection: close'), true);
        same(http.get(`${url}/json`, { responseType: 'text' }).json('a.b.0'), 1);
        same(http.get(`${url}/json`).body, null);
        same(thrown(() => http.get('http://127.0.0.1:1/')) !== 'nothing', true);
        same(http.get('http://127.0.0.1:1/', { throw: false }).error_code, 1212);
    ";
    let body = body.replace(".body.includes", ".json__.includes");
    let body = body.replace("/head`).json__", "/head`, { responseType: 'text' }).body");
    let body = body.replace("/head').json__", "/head', { responseType: 'text' }).body");
    let script = format!(
        "{}\nexport const options = {{ hosts: {{ 'some.test': '{}' }}, userAgent: 'mine', \
        noConnectionReuse: true, discardResponseBodies: true, throw: true }};",
        once("", &body),
        origin.addr()
    );
    let ran = play(&script, &url_of(&origin));
    assert!(!ran.err.contains("is not"), "{}", ran.err);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
}

#[test]
fn connections_outlive_an_iteration_unless_the_script_says_otherwise() {
    for (options, connections) in [
        ("iterations: 5", 1),
        ("iterations: 5, noVUConnectionReuse: true", 5),
        ("iterations: 5, noConnectionReuse: true", 10),
    ] {
        let origin = origin();
        let script = format!(
            "import http from 'k6/http';\nexport const options = {{ {options} }};\n\
            export default function () {{ http.get(__ENV.URL); http.get(__ENV.URL); }}"
        );
        play(&script, &url_of(&origin)).is_well();
        assert_eq!(origin.accepted(), connections, "{options}");
    }
}

#[test]
fn a_response_may_be_copied_listed_and_taken_apart() {
    let origin = origin();
    let body = r"
        const res = http.get(`${url}/json`);
        const copy = { ...res, more: 1 };
        same([copy.status, copy.url, copy.more], [200, `${url}/json`, 1]);
        same(copy.json('a.b.0'), 1);
        same(Object.assign({}, res).status, 200);
        same([res.hasOwnProperty('status'), 'timings' in res, Object.keys(res).includes('headers')], [true, true, true]);
        same(Object.entries(res).filter(([name]) => name === 'status'), [['status', 200]]);
        const { status, json, timings: { duration }, headers, ...rest } = res;
        same([status, json('l.1.v'), duration >= 0, typeof headers], [200, 2, true, 'object']);
        same([rest.error_code, rest.status === undefined], [0, true]);
        const listed = [];
        for (const name in res) listed.push(name);
        same(listed.filter((name) => name.startsWith('__')), []);
        res.status = 299;
        same([res.status, JSON.parse(JSON.stringify(res)).status], [299, 299]);
        same(http.batch([[ 'GET', `${url}/json` ]]).map((one) => ({ ...one }).status), [200]);
    ";
    for isolation in [Isolation::Strict, Isolation::Shared] {
        let dir = TempDir::create().unwrap();
        let ran = play_in(&dir, &once("", body), &url_of(&origin), |options| {
            options.isolation = isolation;
        });
        ran.is_well();
    }
}
