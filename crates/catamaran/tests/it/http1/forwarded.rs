//! What servers are told of the client, and whom that is believed from.

use crate::balancer::Balancer;
use catamaran_testkit::{Origin, Request};

/// What arrives at a server of a request with these fields, through a frontend with these lines.
fn arrived(frontend: &str, fields: &[&str]) -> Request {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], frontend, "");
    let response = balancer.connect().request("GET", "/", fields, b"").unwrap();
    assert_eq!(response.status, 200);
    origin.requests().remove(0)
}

/// Everything a client could claim.
const CLAIMS: [&str; 5] = [
    "Host: site.example",
    "X-Forwarded-For: 203.0.113.9, 198.51.100.7",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Host: public.example",
    "Forwarded: for=203.0.113.9;proto=https",
];
const TRUSTING: &str = "trusted-proxies = [\"127.0.0.0/8\", \"198.51.100.0/24\"]\n";

fn values(request: &Request, name: &str) -> Vec<String> {
    let values = request.head.all(name);
    values
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .collect()
}

#[test]
fn a_client_that_is_not_trusted_is_described_and_not_believed() {
    let request = arrived("", &CLAIMS);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
    assert_eq!(values(&request, "x-forwarded-host"), ["site.example"]);
    assert!(values(&request, "forwarded").is_empty());
    assert_eq!(values(&request, "host"), ["site.example"]);
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let request = arrived(TRUSTING, &CLAIMS);
    let list = values(&request, "x-forwarded-for").join(", ");
    assert_eq!(list, "203.0.113.9, 198.51.100.7, 127.0.0.1");
    assert_eq!(values(&request, "x-forwarded-proto"), ["https"]);
    assert_eq!(values(&request, "x-forwarded-host"), ["public.example"]);
}

#[test]
fn the_standard_header_replaces_the_others() {
    let request = arrived("forwarded = \"forwarded\"", &CLAIMS);
    let all = values(&request, "forwarded");
    assert_eq!(all.len(), 1);
    for part in ["for=127.0.0.1", "proto=http", "host=site.example"] {
        assert!(all[0].contains(part), "{}", all[0]);
    }
    assert!(!all[0].contains("203.0.113.9"));
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"] {
        assert!(values(&request, name).is_empty(), "{name}");
    }
}

#[test]
fn the_standard_header_is_added_to_for_trusted_proxies() {
    let request = arrived(&format!("{TRUSTING}forwarded = \"forwarded\""), &CLAIMS);
    let list = values(&request, "forwarded").join(", ");
    assert!(list.starts_with("for=203.0.113.9;proto=https, "), "{list}");
    assert!(list.contains("for=127.0.0.1"), "{list}");
}

#[test]
fn both_headers_say_the_same() {
    let request = arrived("forwarded = \"both\"", &CLAIMS);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert!(values(&request, "forwarded")[0].contains("for=127.0.0.1"));
}

#[test]
fn nothing_is_told_if_nothing_shall_be_and_lies_are_still_removed() {
    let request = arrived("forwarded = \"off\"", &CLAIMS);
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "forwarded",
    ] {
        assert!(values(&request, name).is_empty(), "{name}");
    }
}

#[test]
fn claims_of_trusted_proxies_pass_if_nothing_is_told() {
    let request = arrived(&format!("{TRUSTING}forwarded = \"off\""), &CLAIMS);
    assert_eq!(
        values(&request, "x-forwarded-for"),
        ["203.0.113.9, 198.51.100.7"]
    );
    assert_eq!(
        values(&request, "forwarded"),
        ["for=203.0.113.9;proto=https"]
    );
}

#[test]
fn a_client_cannot_have_what_we_tell_removed_by_naming_it_in_connection() {
    let fields = ["Connection: X-Forwarded-For, X-Forwarded-Proto", "Host: a"];
    let request = arrived("", &fields);
    assert_eq!(values(&request, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(values(&request, "x-forwarded-proto"), ["http"]);
}
