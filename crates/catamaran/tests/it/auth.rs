//! Who a client must show that it is: passwords and tokens.

use crate::PATIENCE;
use crate::balancer::Balancer;
use catamaran_testkit::{Origin, Response, Signal, TempDir};

/// A balancer before `origin` with these lines of the frontend, `FILES` being where `files` stand.
fn start(origin: &Origin, lines: &str, files: &[(&str, &str)]) -> (Balancer, TempDir) {
    let dir = TempDir::create().unwrap();
    for (name, content) in files {
        dir.write(name, content).unwrap();
    }
    let lines = lines.replace("FILES", dir.path().to_str().unwrap());
    (Balancer::http(&[origin.addr()], &lines, ""), dir)
}

fn ask(balancer: &Balancer, path: &str, fields: &[&str]) -> Response {
    let asked = balancer.connect().request("GET", path, fields, b"");
    asked.unwrap()
}

/// What the response asks to be shown.
fn challenge(response: &Response) -> String {
    response.field("WWW-Authenticate").unwrap_or_default()
}

/// The last value of a field of the last request that came to `origin`.
fn passed_on(origin: &Origin, name: &str) -> Option<String> {
    let requests = origin.requests();
    requests.last().unwrap().field(name)
}

/// Of `secret`, by `openssl passwd -6`.
const USERS: &str = concat!(
    "# staff\n",
    "ada:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN",
    ".Pq.H91p5hVO1\n",
);
/// `ada:secret` and `ada:wrong`.
const RIGHT: &str = "Authorization: Basic YWRhOnNlY3JldA==";
const WRONG: &str = "Authorization: Basic YWRhOndyb25n";

#[test]
fn a_password_lets_in_and_routes_may_ask_for_none() {
    let origin = Origin::fixed(200, "in").start().unwrap();
    let lines = "auth = { basic = { users-file = \"FILES/u.htpasswd\", realm = \"ops\" } }\n\
                 [[frontend.web.route]]\npath = \"/health\"\nbackend = \"app\"\nauth = false";
    let (balancer, _dir) = start(&origin, lines, &[("u.htpasswd", USERS)]);
    let refused = ask(&balancer, "/", &[]);
    assert_eq!(refused.status, 401);
    let asked = "Basic realm=\"ops\", charset=\"UTF-8\"";
    assert_eq!(challenge(&refused), asked);
    assert_eq!(ask(&balancer, "/", &[WRONG]).status, 401);
    assert_eq!(ask(&balancer, "/", &[RIGHT, WRONG]).status, 401);
    assert_eq!(ask(&balancer, "/health", &[]).status, 200);
    // Once by hashing, then from memory.
    for _ in 0..3 {
        assert_eq!(ask(&balancer, "/", &[RIGHT]).text(), "in");
    }
    assert_eq!(ask(&balancer, "/", &[WRONG]).status, 401);
    assert_eq!(origin.requests().len(), 4);
    let log = balancer.process.stderr();
    assert!(!log.contains("secret") && !log.contains("YWRh"), "{log}");
}

#[test]
fn a_password_that_was_taken_from_the_file_is_forgotten_by_the_reload() {
    let origin = Origin::fixed(200, "in").start().unwrap();
    let lines = "auth = { basic = { users-file = \"FILES/u.htpasswd\" } }";
    let (balancer, dir) = start(&origin, lines, &[("u.htpasswd", USERS)]);
    assert_eq!(ask(&balancer, "/", &[RIGHT]).status, 200);
    let other = USERS.replace("ada:", "bob:");
    dir.write("u.htpasswd", &other).unwrap();
    balancer.process.signal(Signal::HUP).unwrap();
    balancer
        .process
        .wait_for_stderr("reloaded", PATIENCE)
        .unwrap();
    assert_eq!(ask(&balancer, "/", &[RIGHT]).status, 401);
    dir.write("u.htpasswd", "ada:secret\n").unwrap();
    balancer.process.signal(Signal::HUP).unwrap();
    let told = "u.htpasswd:1:1: the hash of user `ada` is of no kind that is safe";
    balancer.process.wait_for_stderr(told, PATIENCE).unwrap();
}

#[test]
fn a_token_lets_in_and_says_who_comes() {
    let origin = Origin::fixed(200, "in").start().unwrap();
    let lines = "[[frontend.web.route]]\npath = \"/\"\nbackend = \"app\"\n\
                 auth = { jwt = { keys-file = \"FILES/key.pem\", issuer = \"https://id.example\", \
                 audience = \"api\", headers = { X-User = \"sub\", X-Roles = \"roles\", \
                 X-None = \"none\" } } }";
    let (balancer, _dir) = start(&origin, lines, &[("key.pem", KEY)]);
    let nothing = ask(&balancer, "/", &[]);
    assert_eq!(nothing.status, 401);
    assert_eq!(challenge(&nothing), "Bearer realm=\"restricted\"");
    let bearer = format!("Authorization: Bearer {TOKEN}");
    let forged = ["X-User: root", "x-none: root", "X-Other: kept"];
    let response = ask(&balancer, "/", &[&bearer, forged[0], forged[1], forged[2]]);
    assert_eq!(response.text(), "in");
    assert_eq!(passed_on(&origin, "X-User").as_deref(), Some("ada"));
    assert_eq!(passed_on(&origin, "X-Roles").as_deref(), Some("admin,dev"));
    assert_eq!(passed_on(&origin, "X-None"), None);
    assert_eq!(passed_on(&origin, "X-Other").as_deref(), Some("kept"));
    for (token, told) in [
        (OLD_TOKEN.to_owned(), "invalid_token"),
        (TOKEN.replace("eyJ", "eyK"), "invalid_token"),
        (format!("{TOKEN}x"), "invalid_token"),
    ] {
        let refused = ask(&balancer, "/", &[&format!("Authorization: Bearer {token}")]);
        assert_eq!(refused.status, 401);
        assert!(
            challenge(&refused).contains(told),
            "{}",
            challenge(&refused)
        );
    }
    assert_eq!(origin.requests().len(), 1);
}

/// A public key of P-256, whose private one made the tokens and is gone.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPR5a4s7UYLTpnMntmhoiprmHONfH\n\
    zNtkY0JLj5nAIGezGYhZbMzh8FvECH9PoTSAiCRiK/g3HICDxVEKzcFp6A==\n\
    -----END PUBLIC KEY-----\n";
/// Ends in 2100.
const TOKEN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOiJhcGkiLCJleHAiOjQxMDI0NDQ4MDAsInJvbGVzIjpbImFkbWluIiwiZGV2Il19.Ccqe75Gcra5eFHDUT0",
    "M_A3SYvWgmbp4rtLnYrlwCLZ5xURvRxUHfvtWWbJHSHqkXaQMJQ-vGqJkYvSeli63wBw",
);
/// Ended in 2001.
const OLD_TOKEN: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOiJhcGkiLCJleHAiOjEwMDAwMDAwMDAsInJvbGVzIjpbImFkbWluIiwiZGV2Il19.zOEI6FCvc4bvfOKqiM",
    "YQFSlcjHzuY84sdG4U93c2_oDgVRjn9s_jEp4kNg3411FI6hwHHkuFChmGyFZSupggXg",
);
