//! The clients of one virtual user: their schemas and connections, and how a unary call goes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use serde_json::{Map, Value, json};

use super::call::{Call, Status, Target, finish, send, status_of};
use super::reflect;
use crate::client::{Alpn, Connection, Endpoint, Failure, Http2, ProxyHeader, Url, set_timeout};
use crate::metric::builtin;
use crate::proto::{self, Method, Schema};
use crate::script::host::{Host, SystemTag};
use crate::script::http;
use crate::sink::as_f64;
use crate::tags::TagsId;

/// One client of `k6/net/grpc`.
#[derive(Default)]
pub(super) struct Client {
    pub(super) schema: RefCell<Arc<Schema>>,
    channel: RefCell<Option<Channel>>,
}

/// An open connection.
#[derive(Clone)]
struct Channel {
    connection: Http2,
    address: String,
    is_tls: bool,
    authority: String,
    max_receive: usize,
    max_send: usize,
}

/// What `connect` is told.
pub(super) struct Connect {
    pub(super) address: String,
    pub(super) is_plain: bool,
    pub(super) timeout: Duration,
    pub(super) max_receive: usize,
    pub(super) max_send: usize,
    pub(super) authority: Option<String>,
    pub(super) reflects: bool,
    pub(super) metadata: Vec<(String, Vec<u8>)>,
}

/// What a call is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Ask {
    pub(super) path: String,
    /// The message as JSON.
    pub(super) message: String,
    pub(super) metadata: Vec<(String, Vec<u8>)>,
    pub(super) tags: Vec<String>,
    pub(super) timeout: Option<Duration>,
    pub(super) discards: bool,
}

/// A call that may be made: where it goes, what it takes.
pub(super) struct Ready {
    pub(super) connection: Http2,
    pub(super) target: Target,
    pub(super) method: Method,
    pub(super) schema: Arc<Schema>,
    pub(super) address: String,
    pub(super) max_receive: usize,
    max_send: usize,
}

impl Client {
    /// Connects, and asks for the schema if that is wanted.
    pub(super) async fn connect(&self, host: &Rc<Host>, how: Connect) -> Result<(), String> {
        let begin = now_nanos();
        let nanos = u64::try_from(how.timeout.as_nanos()).unwrap_or(u64::MAX / 4);
        let work = self.open(host, &how);
        let channel = set_timeout(begin.saturating_add(nanos), work).await;
        let channel = channel.map_err(|failure| match failure {
            Failure::Timeout => format!(
                "context deadline exceeded: no connection to {}",
                how.address
            ),
            failure => format!("{}: {failure}", how.address),
        })?;
        if how.reflects {
            let target = channel.target(host, String::new(), how.metadata, Some(how.timeout));
            let mut schema = Schema::clone(&self.schema.borrow());
            reflect::reflect(&channel.connection, &target, &mut schema)
                .await
                .map_err(|status| format!("{} (code {})", status.message, status.code))?;
            self.schema.replace(Arc::new(schema));
        }
        self.channel.replace(Some(channel));
        Ok(())
    }

    async fn open(&self, host: &Rc<Host>, how: &Connect) -> Result<Channel, Failure> {
        let scheme = if how.is_plain { "http" } else { "https" };
        let url = Url::parse(&format!("{scheme}://{}", how.address));
        let url = url.map_err(|error| Failure::Connect(error.to_string()))?;
        let addr = http::resolve(host, &url).await?;
        let opened =
            Connection::open(&Endpoint::Tcp(addr), host.source(), ProxyHeader::None).await?;
        let mut connection = opened.connection;
        if url.is_tls {
            let tls = host.settings.tls.client(&url.host)?;
            connection = connection.secure(tls, &url.host, Alpn::Http2).await?;
            if !connection.speaks_http2() {
                let text = "the server did not agree to speak HTTP/2 (ALPN)";
                return Err(Failure::Tls(text.to_owned()));
            }
        }
        Ok(Channel {
            connection: Http2::begin(connection).await?,
            address: how.address.clone(),
            is_tls: url.is_tls,
            authority: how.authority.clone().unwrap_or(url.authority),
            max_receive: how.max_receive,
            max_send: how.max_send,
        })
    }

    /// Closes the connection.
    pub(super) fn close(&self) {
        self.channel.take();
    }

    /// Adds to what the client knows.
    pub(super) fn learn(&self, schema: &Arc<Schema>) {
        let mut known = self.schema.borrow_mut();
        if known.methods().next().is_none() {
            // The usual case: all virtual users share what one has read.
            *known = Arc::clone(schema);
        } else {
            Arc::make_mut(&mut known).merge(schema);
        }
    }

    /// Finds what a call needs.
    pub(super) fn ready(&self, host: &Rc<Host>, ask: &Ask) -> Result<Ready, String> {
        let channel = self.channel.borrow().clone();
        let channel = channel.ok_or("no gRPC connection, you must call connect first")?;
        let schema = Arc::clone(&self.schema.borrow());
        let method = schema.method(&ask.path).cloned();
        let path = &ask.path;
        let method =
            method.ok_or_else(|| format!("method \"{path}\" not found in file descriptors"))?;
        let target = channel.target(host, path.clone(), ask.metadata.clone(), ask.timeout);
        Ok(Ready {
            connection: channel.connection,
            target,
            method,
            schema,
            address: channel.address,
            max_receive: channel.max_receive,
            max_send: channel.max_send,
        })
    }
}

impl Channel {
    fn target(
        &self,
        host: &Host,
        path: String,
        metadata: Vec<(String, Vec<u8>)>,
        timeout: Option<Duration>,
    ) -> Target {
        Target {
            is_tls: self.is_tls,
            authority: self.authority.clone(),
            path,
            metadata,
            user_agent: host.settings.user_agent.clone(),
            timeout,
        }
    }
}

impl Ready {
    /// The message as bytes.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u8>, String> {
        let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let bytes = proto::encode(&self.schema, &self.method.input, &value).map_err(|why| {
            format!("unable to serialise request object to protocol buffer: {why}")
        })?;
        if bytes.len() > self.max_send {
            let (len, max) = (bytes.len(), self.max_send);
            return Err(format!(
                "trying to send message larger than max ({len} vs. {max})"
            ));
        }
        Ok(bytes)
    }

    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Value, Status> {
        let value = proto::decode(&self.schema, &self.method.output, bytes);
        value.map_err(|why| {
            Status::new(
                super::call::INTERNAL,
                format!("grpc: failed to unmarshal: {why}"),
            )
        })
    }

    /// The tags of samples of this call.
    pub(super) fn tags(&self, host: &Host, ask: &Ask, status: Option<u32>) -> TagsId {
        let url = format!("{}{}", self.address, self.method.path);
        let (service, method) = self.method.path[1..].split_once('/').unwrap_or_default();
        let own = || ask.tags.chunks_exact(2);
        let name = own().find(|pair| pair[0] == "name");
        let name = name.map_or(self.method.path.as_str(), |pair| pair[1].as_str());
        let status = status.map(|code| code.to_string());
        let system = [
            (SystemTag::Url, "url", Some(url.as_str())),
            (SystemTag::Name, "name", Some(name)),
            (SystemTag::Service, "service", Some(service)),
            (SystemTag::Method, "method", Some(method)),
            (SystemTag::Status, "status", status.as_deref()),
        ];
        let system = system.into_iter().filter_map(|(tag, name, value)| {
            value.filter(|_| host.has(tag)).map(|value| (name, value))
        });
        host.tags(system.chain(own().map(|pair| (pair[0].as_str(), pair[1].as_str()))))
    }
}

/// Makes a unary call and records it. Returns the response as JSON.
pub(super) async fn invoke(host: Rc<Host>, ready: Ready, ask: Ask, message: Vec<u8>) -> Value {
    let begin = now_nanos();
    let seen = Seen::default();
    let timeout = ask.timeout.unwrap_or(TIMEOUT);
    let work = unary(&ready, &message, &seen);
    let result = match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(status_of(&Failure::Timeout)),
    };
    let took = as_f64(now_nanos() - begin) / 1e6;
    let decoded = result.and_then(|bytes| match (bytes, ask.discards) {
        (Some(bytes), false) => ready.decode(&bytes),
        _ => Ok(Value::Null),
    });
    let (message, status) = match decoded {
        Ok(message) => (message, Status::default()),
        // As k6 has it: a message of which nothing was read.
        Err(status) => (ready.decode(&[]).unwrap_or_default(), status),
    };
    let tags = ready.tags(&host, &ask, Some(status.code));
    host.local.record(builtin::GRPC_REQ_DURATION, tags, took);
    let (sent, received) = ready.connection.take_moved();
    host.local.record(builtin::DATA_SENT, tags, as_f64(sent));
    host.local
        .record(builtin::DATA_RECEIVED, tags, as_f64(received));
    let error = match status.code {
        0 => Value::Null,
        code => json!({ "code": code, "message": status.message, "details": [] }),
    };
    json!({
        "status": status.code,
        "message": message,
        "headers": seen.headers.take(),
        "trailers": seen.trailers.take(),
        "error": error,
    })
}

/// What came beside the message.
#[derive(Default)]
struct Seen {
    headers: Cell<Map<String, Value>>,
    trailers: Cell<Map<String, Value>>,
}

async fn unary(ready: &Ready, message: &[u8], seen: &Seen) -> Result<Option<Vec<u8>>, Status> {
    let mut call = Call::begin(&ready.connection, &ready.target, ready.max_receive).await?;
    if let Some(stream) = &mut call.sending {
        let sent = send(stream, message).await.and_then(|()| finish(stream));
        // A server that answers early says why below.
        drop(sent);
    }
    let judged = |status: Status, connection: &Http2| match connection.is_over() {
        // Of a connection that ended, why it did is known better there.
        true => status_of(&connection.judge(Failure::Closed)),
        false => status,
    };
    let head = call.head().await;
    head.map_err(|status| judged(status, &ready.connection))?;
    if !call.receiving.is_trailers_only() {
        seen.headers.set(metadata(&call.receiving.headers));
    }
    let message = call.receiving.message().await;
    let message = message.map_err(|status| judged(status, &ready.connection))?;
    let rest = call.receiving.message().await?;
    seen.trailers.set(metadata(call.receiving.last_fields()));
    if rest.is_some() {
        return Err(Status::new(super::call::INTERNAL, TOO_MANY));
    }
    match call.receiving.status() {
        Status { code: 0, .. } => Ok(message),
        status => Err(status),
    }
}

/// Fields as k6 gives them: lists of texts by name.
pub(super) fn metadata(fields: &::http::HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in fields {
        let own = ["grpc-status", "grpc-message", "content-length"];
        if own.contains(&name.as_str()) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        let list = map.entry(name.as_str()).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.push(Value::from(text));
        }
    }
    map
}

/// What servers must not do that do not stream.
const TOO_MANY: &str = "cardinality violation: expected <EOF> for non server-streaming RPCs, but \
    received another message";
/// How long a call may take, unless it says so itself.
const TIMEOUT: Duration = Duration::from_secs(120);
