//! Runs over HTTP/2.

use catamaran_load::exit_code;
use catamaran_load::plain::{Model, Version};

use crate::h2_server::H2Server;
use crate::{options, play};

#[test]
fn http2_is_spoken_beforehand_over_tcp() {
    let server = H2Server::start(None);
    let mut options = options(&format!("{}/a?b", server.url("http")));
    options.version = Version::Http2;
    options.exchange.method = "POST".to_owned();
    options.exchange.body = Some(vec![b'y'; 200_000]);
    options.exchange.fields = vec![("X-Own".to_owned(), "1".to_owned())];
    options.model = Model::Closed { vus: 3 };
    let ran = play(options);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    let count = ran.figure("http_reqs", "count");
    assert!(count > 0.0);
    assert_eq!(ran.answers("200") as f64, count, "{}", ran.out);
    assert_eq!(server.connections(), 3);
    let (line, fields) = server.requests().remove(0);
    assert_eq!(line, "POST /a?b");
    assert_eq!(fields["x-own"], "1");
    assert_eq!(fields["content-length"], "200000");
    assert!(fields.get("connection").is_none() && fields.get("host").is_none());
    // What the server echoes is counted, with its framing.
    let received = ran.figure("data_received", "count");
    assert!(received > 200_000.0 * count, "{received} {count}");
}

#[test]
fn http2_is_agreed_on_by_tls_or_the_requests_fail() {
    for (alpn, is_spoken) in [(&["h2", "http/1.1"][..], true), (&[][..], false)] {
        let server = H2Server::start(Some(alpn));
        let mut options = options(&server.url("https"));
        options.version = Version::Http2;
        options.exchange.verifies = false;
        options.max_connections = 2;
        let ran = play(options);
        assert_eq!(ran.answers("200") > 0, is_spoken, "{} {}", ran.out, ran.err);
        let told = "tls: the server did not agree to speak HTTP/2 (ALPN)";
        assert_eq!(ran.answers(told) > 0, !is_spoken, "{}", ran.out);
    }
}

#[test]
fn a_connection_that_ends_is_replaced() {
    let server = H2Server::start(None);
    let mut options = options(&format!("{}/graceful", server.url("http")));
    options.version = Version::Http2;
    options.max_connections = 1;
    let ran = play(options);
    let count = ran.figure("http_reqs", "count");
    assert_eq!(ran.answers("200") as f64, count, "{}", ran.out);
    assert!(server.connections() > 1, "{}", server.connections());
}

#[cfg(feature = "scripts")]
mod script {
    use super::H2Server;
    use crate::script::{once, play};

    fn script(body: &str) -> String {
        let options = "export const options = { insecureSkipTLSVerify: true, \
            thresholds: { 'http_reqs{proto:HTTP/2.0}': ['count>0'] } };";
        format!("{}\n{options}", once("", body))
    }

    #[test]
    fn scripts_speak_http2_with_servers_that_do() {
        let server = H2Server::start(Some(&["h2", "http/1.1"]));
        let body = r"
            const res = http.post(`${url}/echo?x`, 'hello', { headers: { Connection: 'close', 'X-A': '1' } });
            same([res.status, res.status_text, res.body, res.proto], [200, '200 OK', 'hello', 'HTTP/2.0']);
            same(res.headers['Content-Type'], 'text/plain');
            same([res.tls_version, res.timings.tls_handshaking > 0], ['tls1.3', true]);
            same(res.cookies.a[0].value, 'b');
            same(http.get(`${url}/large`).body.length, 9000000);
            same(http.get(`${url}/missing`).status, 404);
            const all = http.batch(Array.from({ length: 12 }, (_, i) => ['POST', url, `b${i}`]));
            same(all.map((r) => r.body), Array.from({ length: 12 }, (_, i) => `b${i}`));
        ";
        play(&script(body), &server.url("https")).is_well();
        assert_eq!(server.connections(), 1);
        let cookie = server.requests()[1].1["cookie"].clone();
        assert_eq!(cookie, "a=b");
    }

    #[test]
    fn a_batch_that_begins_a_connection_makes_one() {
        let server = H2Server::start(Some(&["h2"]));
        let body = "const all = http.batch([url, url, url, url]); \
            same(all.map((r) => r.status), [200, 200, 200, 200]);";
        play(&script(body), &server.url("https")).is_well();
        assert_eq!(server.connections(), 1);
    }

    #[test]
    fn failures_have_the_codes_of_k6() {
        let server = H2Server::start(Some(&["h2"]));
        let body = r"
            const code = (path, params) => http.get(url + path, params).error_code;
            same(code('/reset'), 1633);
            same(code('/goaway'), 1622);
            same(code('/never', { timeout: 300 }), 1050);
            same(code('/cut') >= 1000, true);
            same(http.get(url).status, 200);
            same(code('/graceful'), 0);
            same([http.get(url).status, http.post(url, 'x').body], [200, 'x']);
        ";
        let ran = play(&script(body), &server.url("https"));
        assert_eq!(ran.code, 0, "{}", ran.err);
        assert!(!ran.err.contains("is not"), "{}", ran.err);
    }

    #[test]
    fn servers_that_do_not_speak_it_get_http1() {
        let body = "same(http.get(url).proto, 'HTTP/1.1');";
        let origin = catamaran_testkit::Origin::fixed(200, "x").start().unwrap();
        play(&once("", body), &format!("http://{}", origin.addr())).is_well();
    }
}
