//! As much of etcd's JSON gateway as a fleet uses, in memory. A watch tells nothing and ends at
//! once, so that whoever watches lists again; or it never ends, as one whose connection died.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catamaran_testkit::{Origin, Reply, Request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

/// The gateway. It ends when this is dropped.
pub(crate) struct Store {
    keys: Arc<Mutex<Keys>>,
    origin: Origin,
}

#[derive(Default)]
struct Keys {
    cluster_id: u64,
    revision: u64,
    values: BTreeMap<Vec<u8>, Entry>,
    /// Leases that were granted, and those that are no more.
    leases: u64,
    ended: BTreeSet<u64>,
    /// Whether watches never end.
    is_silent: bool,
    /// Watches that never end.
    silent: u64,
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    created: u64,
    modified: u64,
    /// 0 is none.
    lease: u64,
}

impl Store {
    pub(crate) fn start() -> Self {
        let keys = Arc::new(Mutex::new(Keys {
            cluster_id: u64::MAX,
            revision: 1,
            ..Keys::default()
        }));
        let shared = Arc::clone(&keys);
        let origin = Origin::http(move |request| shared.lock().unwrap().answer(request));
        let origin = origin.start().unwrap();
        Self { keys, origin }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.origin.addr()
    }

    /// Writes a key.
    pub(crate) fn put(&self, key: &str, value: &str) {
        let mut keys = self.keys.lock().unwrap();
        keys.revision += 1;
        keys.put(key.into(), value.into(), 0);
    }

    /// Deletes a key.
    pub(crate) fn delete(&self, key: &str) {
        let mut keys = self.keys.lock().unwrap();
        keys.revision += 1;
        keys.values.remove(key.as_bytes());
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let keys = self.keys.lock().unwrap();
        let entry = keys.values.get(key.as_bytes())?;
        Some(String::from_utf8_lossy(&entry.value).into_owned())
    }

    /// Has watches tell nothing and never end from now on.
    pub(crate) fn fall_silent(&self) {
        self.keys.lock().unwrap().is_silent = true;
    }

    /// Watches that will never end.
    pub(crate) fn silent_watches(&self) -> u64 {
        self.keys.lock().unwrap().silent
    }

    /// Becomes another cluster, in which there is nothing.
    pub(crate) fn wipe(&self) {
        let mut keys = self.keys.lock().unwrap();
        let cluster_id = keys.cluster_id - 1;
        *keys = Keys {
            cluster_id,
            revision: 1,
            ..Keys::default()
        };
    }
}

impl Keys {
    fn answer(&mut self, request: &Request) -> Reply {
        let asked: Value = serde_json::from_slice(&request.body.content).unwrap_or_default();
        let mut answer = match request.target.as_str() {
            "/v3/kv/range" => self.range(&asked),
            "/v3/kv/put" => {
                self.revision += 1;
                self.write(&asked);
                json!({})
            }
            "/v3/kv/txn" => self.transact(&asked),
            "/v3/lease/grant" => {
                self.leases += 1;
                json!({ "ID": self.leases.to_string(), "TTL": "10" })
            }
            "/v3/lease/revoke" => {
                self.revision += 1;
                let lease = number(&asked["ID"]);
                self.ended.insert(lease);
                self.values.retain(|_, entry| entry.lease != lease);
                json!({})
            }
            "/v3/lease/keepalive" if self.ended.contains(&number(&asked["ID"])) => {
                json!({ "result": { "ID": asked["ID"] } })
            }
            "/v3/lease/keepalive" => json!({ "result": { "ID": asked["ID"], "TTL": "10" } }),
            "/v3/watch" if self.is_silent => {
                self.silent += 1;
                let created = "{\"result\":{\"created\":true}}\n";
                let length = created.len();
                return Reply::raw(format!(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{created}\r\n"
                ));
            }
            "/v3/watch" => json!({ "result": { "created": true } }),
            _ => return Reply::new(404, "no such path"),
        };
        answer["header"] = json!({
            "cluster_id": self.cluster_id.to_string(),
            "revision": self.revision.to_string(),
        });
        Reply::new(200, format!("{answer}\n"))
    }

    fn range(&self, asked: &Value) -> Value {
        let (from, to) = (bytes(&asked["key"]), bytes(&asked["range_end"]));
        let is_in = |key: &Vec<u8>| match to.is_empty() {
            true => *key == from,
            false => *key >= from && *key < to,
        };
        let found = self.values.iter().filter(|(key, _)| is_in(key));
        let mut found: Vec<_> = found.collect();
        let count = found.len().to_string();
        if asked["sort_target"] == "MOD" {
            // One is asked for.
            found.sort_by_key(|(_, entry)| std::cmp::Reverse(entry.modified));
            found.truncate(1);
        }
        let found: Vec<Value> = found
            .into_iter()
            .map(|(key, entry)| {
                json!({
                    "key": STANDARD.encode(key),
                    "value": STANDARD.encode(&entry.value),
                    "create_revision": entry.created.to_string(),
                    "mod_revision": entry.modified.to_string(),
                    "lease": entry.lease.to_string(),
                })
            })
            .collect();
        json!({ "kvs": found, "count": count })
    }

    fn transact(&mut self, asked: &Value) -> Value {
        let holds = asked["compare"]
            .as_array()
            .into_iter()
            .flatten()
            .all(|compare| {
                let entry = self.values.get(&bytes(&compare["key"]));
                match compare["target"].as_str() {
                    Some("LEASE") => {
                        number(&compare["lease"]) == entry.map_or(0, |entry| entry.lease)
                    }
                    _ => {
                        number(&compare["mod_revision"]) == entry.map_or(0, |entry| entry.modified)
                    }
                }
            });
        if holds {
            self.revision += 1;
            for op in asked["success"].as_array().into_iter().flatten() {
                let put = &op["request_put"];
                if put.is_object() {
                    self.write(put);
                }
            }
        }
        json!({ "succeeded": holds })
    }

    fn write(&mut self, put: &Value) {
        self.put(
            bytes(&put["key"]),
            bytes(&put["value"]),
            number(&put["lease"]),
        );
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, lease: u64) {
        let modified = self.revision;
        let before = self.values.get(&key);
        let created = before.map_or(modified, |entry| entry.created);
        let entry = Entry {
            value,
            created,
            modified,
            lease,
        };
        self.values.insert(key, entry);
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD
        .decode(value.as_str().unwrap_or_default())
        .unwrap_or_default()
}

/// A number of 64 bits, which is a string; 0 if it is left out.
fn number(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or("0");
    text.parse().unwrap()
}
