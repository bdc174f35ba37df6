//! A state for tests.

use serde_json::{Value, json};

/// Two backends, one server of each kind.
pub(super) fn state() -> Value {
    let server = |name: &str, admin: &str, health: &str, rate: f64| {
        json!({
            "name": name, "address": "10.0.0.1:80", "admin": admin, "health": health,
            "health_override": null, "usable": admin == "ready" && health == "up", "weight": 1,
            "configured_weight": 1, "backup": false, "in_flight": 3, "connections": 8,
            "latency_ms": 1.25, "rates": { "requests": rate, "failures": 0.0 },
            "check": { "result": if health == "up" { "pass" } else { "fail" }, "seconds_ago": 0.4 },
        })
    };
    let mut down = server("c", "ready", "down", 0.0);
    down["check"]["reason"] = "status 503\n\u{1b}[2J".into();
    json!({
        "at": 1_700_000_060.0,
        "process": {
            "version": "0.1.0", "pid": 7, "uptime_seconds": 192.0, "readiness": "ready",
            "connections": 214, "config": { "last_error": null },
        },
        "workers": [{ "index": 0, "lag_ms": 0.3 }, { "index": 1, "lag_ms": 1.5 }],
        "frontends": [{
            "name": "web", "protocol": "http", "connections": 214,
            "rates": {
                "exchanges": 412.25, "failures": 0.5, "bytes_out": 53_000.0,
                "latency_ms": { "p50": 0.6, "p90": 1.1, "p99": 2.4 },
            },
        }],
        "virtual_ips": [{
            "name": "main", "family": "ipv4", "state": "active", "priority": 150,
            "active": "10.0.0.11", "addresses": ["192.0.2.10/24"], "conflict": false,
        }],
        "cluster": { "peers": [{
            "name": "b", "state": "in-step", "drifted": true, "lag_ms": 12.4, "waiting": 3,
            "address": "10.0.0.12:7946",
        }] },
        "backends": [
            { "name": "api", "servers": [
                server("a", "ready", "up", 210.0), server("b", "drain", "up", 12.5), down,
            ] },
            { "name": "static", "servers": [server("s", "ready", "up", 190.0)] },
        ],
        "events": [
            { "id": 1, "at": 1_700_000_000.0, "kind": "started", "message": "process 7" },
            { "id": 2, "at": 1_700_000_058.0, "kind": "server-down", "backend": "api",
              "server": "c", "message": "status 503" },
        ],
    })
}
