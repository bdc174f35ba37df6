//! The admin API against its own description: every operation is called, and what it answers is
//! what `openapi.json` says.

use crate::cluster::Cluster;
use crate::fleet::Fleet;
use crate::operator::{ask, socket_of, steered};
use crate::{PATIENCE, eventually};
use catamaran_testkit::Origin;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

/// An operation: name, what fills `{server}`, query, body.
type Call = (&'static str, String, String, Value);

/// The operations of a fleet, in an order in which each finds what it needs.
#[cfg(feature = "etcd")]
fn calls_of_fleet() -> Vec<Call> {
    let with = |id, body: Value| (id, String::new(), String::new(), body);
    vec![
        with("get-etcd", Value::Null),
        with("put-config", json!({ "text": "# ours\n", "note": "first" })),
        with("put-config", json!({ "text": "", "node": "b" })),
        with("diff-config", json!({ "text": "[nonsense" })),
        with("list-history", Value::Null),
        with("get-history", Value::Null),
        with("rollback-config", json!({ "revision": 2 })),
        with("accept-etcd", json!({})),
    ]
}

/// The operations in an order in which each finds what it needs: name, what fills `{server}`, query,
/// body.
fn calls(server: &str, added: &str, config: &str) -> Vec<Call> {
    let plain = |id| (id, server.to_owned(), String::new(), Value::Null);
    let with = |id, query: &str, body: Value| (id, server.to_owned(), query.to_owned(), body);
    vec![
        plain("state"),
        plain("list-frontends"),
        with("drain-frontend", "", json!({})),
        with("resume-frontend", "", json!({})),
        plain("list-workers"),
        plain("list-events"),
        plain("stats"),
        with("stats", "?since=1&servers=false&backend=app", Value::Null),
        plain("list-virtual-ips"),
        plain("list-peers"),
        with("push-config", "", json!({})),
        plain("list-backends"),
        plain("get-backend"),
        with("add-server", "", json!({ "address": added, "weight": 2 })),
        plain("get-server"),
        with("change-server", "", json!({ "admin": "drain" })),
        with(
            "change-server",
            "",
            json!({ "admin": "ready", "weight": 3, "health": "auto" }),
        ),
        (
            "remove-server",
            added.to_owned(),
            "?persist=false".to_owned(),
            Value::Null,
        ),
        plain("list-tables"),
        with(
            "set-entry",
            "",
            json!({ "key": "10.0.0.9", "server": server }),
        ),
        plain("list-entries"),
        with("list-entries", "?limit=1&cursor=0", Value::Null),
        with("get-entry", "?key=10.0.0.9", Value::Null),
        with("delete-entry", "?key=10.0.0.9", Value::Null),
        plain("clear-table"),
        plain("stat-csv"),
        plain("list-lists"),
        with("add-network", "", json!({ "network": "10.9.0.0/16" })),
        plain("list-networks"),
        with("remove-network", "?network=10.9.0.0/16", Value::Null),
        plain("list-maps"),
        with(
            "set-mapping",
            "",
            json!({ "key": "a.example", "backend": "app" }),
        ),
        plain("list-mappings"),
        with("delete-mapping", "?key=a.example", Value::Null),
        plain("get-process"),
        plain("get-log-level"),
        with("set-log-level", "", json!({ "level": "info" })),
        plain("get-config"),
        with("check-config", "", json!({ "text": config })),
        with("check-config", "", json!({ "text": "[nonsense" })),
        with("apply-config", "", json!({ "text": config })),
        with("reload", "", json!({ "dry_run": true })),
        with("reload", "", json!({})),
        plain("get-description"),
        with("upgrade", "", json!({})),
        with("drain", "", json!({})),
    ]
}

#[test]
fn every_operation_is_called_and_answers_as_it_is_described() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let b = Origin::fixed(200, "b").start().unwrap();
    let cluster = Cluster::of(&["a", "b"]);
    let fleet = Fleet::start();
    let stick = format!(
        "stick = {{ on = \"source-ip\", for = \"1h\" }}\nhealth = {{ http = \"/\" }}\n\
         [list.office]\n[map.hosts]\nkey = \"host\"\n{}\n{}",
        cluster.section("a", &["first"]),
        fleet.section()
    );
    let balancer = steered(&[a.addr()], "", &stick);
    let (_, description) = ask(&balancer, "GET", "/v1/openapi.json", "");
    let described = operations(&description);
    let config = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    let mut all = Vec::new();
    #[cfg(feature = "etcd")]
    all.extend(calls_of_fleet());
    all.extend(calls(&a.addr().to_string(), &b.addr().to_string(), &config));
    let called: BTreeSet<&str> = all.iter().map(|(id, ..)| *id).collect();
    for (id, method, path, operation) in &described {
        // It never ends, and has a test of its own.
        if *id == "stream" {
            continue;
        }
        assert!(
            called.contains(id.as_str()),
            "{id}: say above how it is called"
        );
        assert!(
            !path.is_empty() && operation["summary"].is_string(),
            "{method} {path}"
        );
    }
    for (id, server, query, body) in all {
        #[cfg(feature = "etcd")]
        if id == "accept-etcd" {
            fleet.wipe();
            eventually("another cluster", || {
                let (_, fleet) = ask(&balancer, "GET", "/v1/etcd", "");
                (!fleet["foreign"].is_null()).then_some(())
            });
        }
        let operation = described.iter().find(|(name, ..)| name == id);
        let (_, method, path, operation) = operation.unwrap_or_else(|| panic!("no `{id}`"));
        let path = path
            .replace("{frontend}", "web")
            .replace("{backend}", "app")
            .replace("{server}", &server)
            .replace("{list}", "office")
            .replace("{map}", "hosts")
            // The store begins with revision 1.
            .replace("{revision}", "2");
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, answer) = ask(&balancer, method, &format!("{path}{query}"), &body);
        assert_eq!(status, 200, "{id}: {answer}");
        let content = &operation["responses"]["200"]["content"];
        // The columns of `show stat` are looked at elsewhere.
        if *id == *"stat-csv" {
            assert!(content["text/csv"].is_object());
            continue;
        }
        let media = &content["application/json"];
        assert!(media.is_object(), "{id}");
        let wrong = mismatches(&description, &media["schema"], &answer, "");
        assert!(wrong.is_empty(), "{id}: {wrong:#?}\n{answer:#}");
    }
}

#[test]
fn a_refusal_is_as_described_too() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let (_, description) = ask(&balancer, "GET", "/v1/openapi.json", "");
    for (_, method, path, operation) in operations(&description) {
        if !path.contains("{backend}") {
            continue;
        }
        let path = path
            .replace("{backend}", "no-such")
            .replace("{server}", "x");
        let (status, answer) = ask(&balancer, &method, &path, "{}");
        assert!((400..500).contains(&status), "{method} {path}: {status}");
        let media = &operation["responses"]["4XX"]["content"]["application/json"];
        let wrong = mismatches(&description, &media["schema"], &answer, "");
        assert!(wrong.is_empty(), "{method} {path}: {wrong:#?}\n{answer:#}");
    }
}

#[test]
fn the_judge_of_answers_notices_what_is_wrong() {
    let root = json!({ "components": { "schemas": { "S": {
        "type": "object",
        "properties": { "n": { "type": "integer" }, "w": { "enum": ["a", "b"] } },
        "required": ["n"],
    } } } });
    let schema = json!({ "$ref": "#/components/schemas/S" });
    let wrong = |value: Value| mismatches(&root, &schema, &value, "").len();
    assert_eq!(wrong(json!({ "n": 1, "w": "a" })), 0);
    for bad in [
        json!({}),
        json!({ "n": "1" }),
        json!({ "n": 1, "w": "c" }),
        json!([]),
        json!({ "n": 1.5 }),
    ] {
        assert_eq!(wrong(bad.clone()), 1, "{bad}");
    }
}

#[test]
fn the_stream_tells_events_as_they_happen_and_the_state_again_and_again() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let mut stream = open_stream(&balancer, "/v1/stream");
    let mut text = String::new();
    read_until(&mut stream, &mut text, |text| {
        text.matches("event: state\n").count() >= 2 && text.contains("\"kind\":\"started\"")
    });
    assert!(
        text.contains("Content-Type: text/event-stream")
            || text.contains("content-type: text/event-stream"),
        "{text}"
    );
    let path = format!("/v1/backends/app/servers/{}", a.addr());
    ask(&balancer, "PATCH", &path, r#"{"admin": "drain"}"#);
    read_until(&mut stream, &mut text, |text| {
        text.contains("\"kind\":\"changed\"") && text.contains("\"admin\":\"drain\"")
    });
    // Who did it is told.
    assert!(text.contains("\"by\":\"admin socket, pid "), "{text}");
    // One who has seen everything gets only what is new.
    let mut late = open_stream(&balancer, "/v1/stream?only=events&after=2");
    ask(&balancer, "PATCH", &path, r#"{"admin": "ready"}"#);
    let mut text = String::new();
    read_until(&mut late, &mut text, |text| {
        text.contains("\"message\":\"ready\"")
    });
    assert!(
        !text.contains("started") && !text.contains("event: state"),
        "{text}"
    );
}

#[test]
fn streams_are_counted_and_a_place_is_free_again_when_its_reader_has_gone() {
    let a = Origin::fixed(200, "a").start().unwrap();
    let balancer = steered(&[a.addr()], "", "");
    let mut open: Vec<UnixStream> = (0..16)
        .map(|_| open_stream(&balancer, "/v1/stream"))
        .collect();
    for stream in &mut open {
        read_until(stream, &mut String::new(), |text| {
            text.contains("event: state")
        });
    }
    let (status, told) = ask(&balancer, "GET", "/v1/stream", "");
    assert_eq!(
        (status, &told["error"]["code"]),
        (429, &json!("too-many-streams"))
    );
    open.pop();
    eventually("a place", || {
        let mut text = String::new();
        let mut stream = open_stream(&balancer, "/v1/stream");
        read_until(&mut stream, &mut text, |text| text.contains("\r\n\r\n"));
        text.contains("200 OK").then_some(())
    });
}

/// Name, method, path and description of every operation.
fn operations(description: &Value) -> Vec<(String, String, String, Value)> {
    let mut all = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            all.push((id, method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    all
}

fn open_stream(balancer: &crate::balancer::Balancer, path: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket_of(&balancer.process)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn read_until(stream: &mut UnixStream, text: &mut String, is_enough: impl Fn(&str) -> bool) {
    let mut chunk = [0; 16 * 1024];
    while !is_enough(text) {
        let count = stream.read(&mut chunk).unwrap();
        assert!(count > 0, "the stream ended: {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
}

/// Where `value` is not as `schema` says; the part of JSON Schema that our descriptions use.
fn mismatches(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#'));
        return mismatches(root, target.expect("references lead somewhere"), value, at);
    }
    for any in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[any].as_array() {
            let fits = |choice: &Value| mismatches(root, choice, value, at).is_empty();
            return if choices.iter().any(fits) {
                Vec::new()
            } else {
                vec![format!("{at}: none of {schema}")]
            };
        }
    }
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is_of(value, kind)) {
        return vec![format!("{at}: {value} is no {kinds:?}")];
    }
    if schema["enum"]
        .as_array()
        .is_some_and(|words| !words.contains(value))
    {
        return vec![format!("{at}: {value} is none of {}", schema["enum"])];
    }
    let mut wrong = Vec::new();
    for key in schema["required"].as_array().into_iter().flatten() {
        if value.is_object() && value.get(key.as_str().unwrap()).is_none() {
            wrong.push(format!("{at}: no {key}"));
        }
    }
    for (key, part) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{key}");
        match (&schema["properties"][key], &schema["additionalProperties"]) {
            (Value::Null, Value::Null | Value::Bool(true)) if schema["properties"].is_null() => {}
            (Value::Null, more @ Value::Object(_)) => {
                wrong.extend(mismatches(root, more, part, &at));
            }
            (Value::Null, _) => wrong.push(format!("{at}: not described")),
            (described, _) => wrong.extend(mismatches(root, described, part, &at)),
        }
    }
    for (index, part) in value.as_array().into_iter().flatten().enumerate() {
        wrong.extend(mismatches(
            root,
            &schema["items"],
            part,
            &format!("{at}/{index}"),
        ));
    }
    wrong
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    }
}
