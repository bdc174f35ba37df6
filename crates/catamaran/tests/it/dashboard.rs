//! The dashboard's files and `catamaran top` over the real program. What a browser makes of them is
//! shown by `cargo xtask interop dashboard`.

use crate::operator::{ask, ask_tcp, socket_of, steered};
use crate::{PATIENCE, catamaran};
use catamaran_testkit::{Client, Origin, free_addr};

#[test]
fn its_files_are_seen_without_the_token_and_nothing_else_is() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let directory = catamaran_testkit::TempDir::create().unwrap();
    let file = directory.write("token", "a-token-of-this-test\n").unwrap();
    let addr = free_addr().unwrap();
    let admin = format!("listen = \"{addr}\"\ntoken-file = \"{}\"", file.display());
    let _balancer = steered(&[a.addr()], &admin, "");
    let host = format!("Host: {addr}");
    let mut client = Client::connect(addr).unwrap();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard/app.js", "text/javascript; charset=utf-8"),
        ("/dashboard/base.css", "text/css; charset=utf-8"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let response = client.request("GET", path, &[&host], b"").unwrap();
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(response.head.field("content-type").unwrap(), kind);
        let policy = response.head.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }
    for path in [
        "/v1/state",
        "/v1/stream",
        "/v1/stats",
        "/metrics",
        "/dashboard/",
    ] {
        let (status, _) = ask_tcp(addr, "GET", path, &[&host], "");
        assert_eq!(status, 401, "{path}");
    }
    // A name that was made to lead here gets not even the page.
    let (status, _) = ask_tcp(addr, "GET", "/", &["Host: rebound.example"], "");
    assert_eq!(status, 421);
}

#[test]
fn top_prints_one_screen_where_there_is_no_terminal_to_keep() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let socket = socket_of(&balancer.process);
    let socket = socket.to_str().unwrap();
    let path = format!("/v1/backends/app/servers/{}", a.addr());
    ask(&balancer, "PATCH", &path, r#"{"admin": "drain"}"#);
    let mut top = catamaran(&["top", "--once", "--socket", socket])
        .start()
        .unwrap();
    assert_eq!(top.wait(PATIENCE).unwrap().code(), Some(0));
    top.wait_for_stdout("0/1 servers usable", PATIENCE).unwrap();
    top.wait_for_stdout(&format!("app/{}", a.addr()), PATIENCE)
        .unwrap();
    top.wait_for_stdout("drained", PATIENCE).unwrap();
    assert!(!top.stdout().contains('\u{1b}'));
    // Without a terminal it says what to do instead.
    let mut top = catamaran(&["top", "--socket", socket]).start().unwrap();
    assert_eq!(top.wait(PATIENCE).unwrap().code(), Some(1));
    top.wait_for_stderr("--once", PATIENCE).unwrap();
}

#[test]
fn top_says_where_nobody_answers() {
    let mut top = catamaran(&["top", "--socket", "/nonexistent/admin.sock"])
        .start()
        .unwrap();
    assert_eq!(top.wait(PATIENCE).unwrap().code(), Some(3));
    top.wait_for_stderr("no catamaran answers", PATIENCE)
        .unwrap();
}
