//! The few messages of etcd's v3 API that are used, with the tags of its `rpc.proto` and `kv.proto`.
//!
//! Written by hand, so that nobody needs `protoc` to build: fields that are not here are skipped
//! when they come.

use prost::Message;

/// Which keys to read: one, or a range up to `range_end`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) range_end: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) limit: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(int64, tag = "2")]
    pub(super) create_revision: i64,
    #[prost(int64, tag = "3")]
    pub(super) mod_revision: i64,
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
    #[prost(int64, tag = "6")]
    pub(super) lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
    #[prost(int64, tag = "3")]
    pub(super) lease: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct DeleteRangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

/// Does `success` if every comparison holds, else `failure`; in one step either way.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub(super) failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub(super) responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ResponseHeader {
    #[prost(int64, tag = "3")]
    pub(super) revision: i64,
}

/// Holds when the key's revision is this one; revision 0 means that there is no such key.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Compare {
    /// 0: equal.
    #[prost(int32, tag = "1")]
    result: i32,
    /// 1: the revision of the key's creation, 2: of its last change.
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    #[prost(oneof = "Revision", tags = "5, 6")]
    revision: Option<Revision>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum Revision {
    #[prost(int64, tag = "5")]
    Create(i64),
    #[prost(int64, tag = "6")]
    Mod(i64),
}

impl Compare {
    /// The key was created by this revision.
    pub(super) fn created_by(key: &str, revision: i64) -> Self {
        Self {
            result: 0,
            target: 1,
            key: key.into(),
            revision: Some(Revision::Create(revision)),
        }
    }

    /// There is no such key.
    pub(super) fn absent(key: &str) -> Self {
        Self::created_by(key, 0)
    }

    /// The key was last changed by this revision.
    pub(super) fn changed_by(key: &str, revision: i64) -> Self {
        Self {
            result: 0,
            target: 2,
            key: key.into(),
            revision: Some(Revision::Mod(revision)),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct RequestOp {
    #[prost(oneof = "Request", tags = "1, 2, 3")]
    request: Option<Request>,
}

#[derive(Clone, PartialEq, Eq, prost::Oneof)]
enum Request {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    DeleteRange(DeleteRangeRequest),
}

impl RequestOp {
    /// Reads one key.
    pub(super) fn get(key: &str) -> Self {
        let range = RangeRequest {
            key: key.into(),
            ..RangeRequest::default()
        };
        Self {
            request: Some(Request::Range(range)),
        }
    }

    /// Writes a key, to be removed with its lease; 0 is no lease.
    pub(super) fn put(key: &str, value: Vec<u8>, lease: i64) -> Self {
        let key = key.into();
        Self {
            request: Some(Request::Put(PutRequest { key, value, lease })),
        }
    }

    /// Removes a key.
    pub(super) fn delete(key: &str) -> Self {
        let key = key.into();
        Self {
            request: Some(Request::DeleteRange(DeleteRangeRequest { key })),
        }
    }
}

/// The result of a [`RequestOp`]; only what was read is of interest.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub(super) range: Option<RangeResponse>,
}

impl ResponseOp {
    /// What [`RequestOp::get`] found.
    pub(super) fn found(&self) -> Option<&KeyValue> {
        self.range.as_ref()?.kvs.first()
    }
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseGrantRequest {
    /// In seconds.
    #[prost(int64, tag = "1")]
    pub(super) ttl: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    pub(super) id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseRevokeRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseRevokeResponse {}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseKeepAliveRequest {
    #[prost(int64, tag = "1")]
    pub(super) id: i64,
}

#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct LeaseKeepAliveResponse {
    /// In seconds; 0 when the lease is no more.
    #[prost(int64, tag = "3")]
    pub(super) ttl: i64,
}
