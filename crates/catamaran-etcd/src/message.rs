//! The messages of etcd's JSON gateway that are used.
//!
//! They are those of its `rpc.proto` in the JSON of protobuf: numbers of 64 bits are strings, bytes
//! are base64, and what is zero is left out. Unknown fields are skipped.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use catamaran_core::fleet::Mark;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

/// What stands in every answer.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Header {
    /// Which cluster answers.
    #[serde(default, deserialize_with = "number")]
    pub cluster_id: u64,
    /// The changes that it has seen.
    #[serde(default, deserialize_with = "number")]
    pub revision: u64,
}

/// A key with its value.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    #[serde(default, deserialize_with = "bytes")]
    pub key: Vec<u8>,
    /// The value.
    #[serde(default, deserialize_with = "bytes")]
    pub value: Vec<u8>,
    /// The revision that wrote it first since it was there.
    #[serde(default, deserialize_with = "number")]
    pub create_revision: u64,
    /// The revision that wrote it last.
    #[serde(default, deserialize_with = "number")]
    pub mod_revision: u64,
    /// The lease that it ends with; 0 is none.
    #[serde(default, deserialize_with = "number")]
    pub lease: u64,
}

/// What was found in a range of keys.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Range {
    /// Who found it, and when.
    #[serde(default)]
    pub header: Header,
    /// What was found, by key.
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
    /// How many there are.
    #[serde(default, deserialize_with = "number")]
    pub count: u64,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A key was written.
    Put(KeyValue),
    /// A key is gone: deleted, or its lease ran out.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
}

/// What came of a transaction.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Txn {
    /// Who did it, and when.
    #[serde(default)]
    pub header: Header,
    /// Whether what it compares held, so that it was done.
    #[serde(default)]
    pub succeeded: bool,
}

/// What a transaction depends on.
#[derive(Clone, Debug)]
pub struct Compare(Value);

/// What a transaction does.
#[derive(Clone, Debug)]
pub struct Op(Value);

#[derive(Debug, Deserialize)]
pub(crate) struct Token {
    pub(crate) token: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Lease {
    #[serde(default, rename = "ID", deserialize_with = "number")]
    pub(crate) id: u64,
    /// In seconds; 0 when the lease is no more.
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    pub(crate) ttl: u64,
}

/// A message of a stream.
#[derive(Debug, Deserialize)]
pub(crate) struct Streamed<T> {
    pub(crate) result: Option<T>,
    pub(crate) error: Option<Refusal>,
}

#[derive(Debug, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) grpc_code: i64,
    #[serde(default)]
    pub(crate) message: String,
}

#[derive(Debug, Deserialize)]
pub(crate) struct WatchAnswer {
    #[serde(default)]
    pub(crate) header: Header,
    #[serde(default)]
    pub(crate) canceled: bool,
    #[serde(default)]
    pub(crate) cancel_reason: String,
    #[serde(default, deserialize_with = "number")]
    pub(crate) compact_revision: u64,
    #[serde(default)]
    events: Vec<RawEvent>,
}

#[derive(Debug, Deserialize)]
struct RawEvent {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    kv: KeyValue,
}

impl WatchAnswer {
    pub(crate) fn into_events(self) -> Vec<Event> {
        let events = self.events.into_iter();
        events
            .map(|event| match event.kind.as_str() {
                "DELETE" => Event::Delete { key: event.kv.key },
                _ => Event::Put(event.kv),
            })
            .collect()
    }
}

impl KeyValue {
    /// Whether the key was not there before it was written last.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.create_revision == self.mod_revision
    }
}

impl Header {
    /// The point of the cluster's history.
    #[must_use]
    pub const fn mark(self) -> Mark {
        Mark {
            cluster_id: self.cluster_id,
            revision: self.revision,
        }
    }
}

impl Compare {
    /// The key was last written by this revision; 0 means that there is none.
    #[must_use]
    pub fn written_by(key: &str, revision: u64) -> Self {
        Self(json!({
            "key": encoded(key),
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": revision.to_string(),
        }))
    }

    /// The key stands under this lease.
    #[must_use]
    pub fn leased(key: &str, lease: u64) -> Self {
        Self(json!({
            "key": encoded(key),
            "target": "LEASE",
            "result": "EQUAL",
            "lease": lease.to_string(),
        }))
    }
}

impl Op {
    /// Writes a key.
    #[must_use]
    pub fn put(key: &str, value: &[u8]) -> Self {
        Self(json!({ "request_put": { "key": encoded(key), "value": encoded(value) } }))
    }

    /// Writes a key that ends with a lease.
    #[must_use]
    pub fn put_under(key: &str, value: &[u8], lease: u64) -> Self {
        let mut op = Self::put(key, value);
        op.0["request_put"]["lease"] = lease.to_string().into();
        op
    }

    /// Deletes a key.
    #[must_use]
    pub fn delete(key: &[u8]) -> Self {
        Self(json!({ "request_delete_range": { "key": encoded(key) } }))
    }
}

pub(crate) fn txn(compare: Vec<Compare>, then: Vec<Op>) -> Value {
    let compare: Vec<Value> = compare.into_iter().map(|compare| compare.0).collect();
    let then: Vec<Value> = then.into_iter().map(|op| op.0).collect();
    json!({ "compare": compare, "success": then })
}

/// Bytes as the gateway wants them.
pub(crate) fn encoded(bytes: impl AsRef<[u8]>) -> String {
    STANDARD.encode(bytes)
}

fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
    let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
    STANDARD.decode(text.as_bytes()).map_err(D::Error::custom)
}

/// A number of 64 bits, which is a string in the JSON of protobuf. Ids are signed for some versions.
fn number<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    let number = match Value::deserialize(from)? {
        Value::String(text) => {
            let signed = || text.parse::<i64>().map(i64::cast_unsigned);
            text.parse::<u64>().or_else(|_| signed()).ok()
        }
        Value::Number(number) => number.as_u64(),
        _ => None,
    };
    number.ok_or_else(|| D::Error::custom("not a number of 64 bits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_zero_is_left_out_and_numbers_are_strings() {
        let range: Range = serde_json::from_str(
            r#"{"header":{"cluster_id":"14841639068965178418","revision":"5","raft_term":"2"},
                "kvs":[{"key":"L2E=","value":"eA==","mod_revision":"4","lease":"-3"}],"count":"1"}"#,
        )
        .unwrap();
        assert_eq!(range.header.cluster_id, 14_841_639_068_965_178_418);
        assert_eq!(range.kvs[0].key, b"/a");
        assert_eq!(range.kvs[0].mod_revision, 4);
        let empty: Range = serde_json::from_str(r#"{"header":{"cluster_id":"1"}}"#).unwrap();
        assert_eq!((empty.header.revision, empty.count), (0, 0));
    }

    #[test]
    fn events_are_told_apart_by_their_type() {
        let answer: WatchAnswer = serde_json::from_str(
            r#"{"events":[{"kv":{"key":"L2E="}},{"type":"DELETE","kv":{"key":"L2I="}}]}"#,
        )
        .unwrap();
        let events = answer.into_events();
        assert!(matches!(&events[0], Event::Put(kv) if kv.key == b"/a" && kv.value.is_empty()));
        assert_eq!(
            events[1],
            Event::Delete {
                key: b"/b".to_vec()
            }
        );
    }

    #[test]
    fn what_is_no_number_or_no_base64_is_refused() {
        for text in [
            r#"{"header":{"revision":"x"}}"#,
            r#"{"kvs":[{"key":"%%"}]}"#,
            r#"{"count":[]}"#,
        ] {
            assert!(serde_json::from_str::<Range>(text).is_err());
        }
    }
}
