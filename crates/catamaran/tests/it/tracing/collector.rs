//! A collector of traces: an origin that is sent OTLP over HTTP, and what it got.

use crate::eventually;
use catamaran_testkit::{Origin, Reply, Request};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

/// A collector that keeps all spans that it takes.
pub(super) struct Collector {
    origin: Origin,
    status: Arc<AtomicU16>,
    spans: Arc<Mutex<Vec<Span>>>,
}

/// A span, as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Span {
    pub(super) trace_id: String,
    pub(super) span_id: String,
    pub(super) parent_id: String,
    pub(super) state: String,
    pub(super) name: String,
    pub(super) kind: u64,
    pub(super) began: u64,
    pub(super) ended: u64,
    pub(super) flags: u64,
    pub(super) attributes: BTreeMap<String, String>,
    /// Trace and span of each link.
    pub(super) links: Vec<(String, String)>,
    /// Code and message.
    pub(super) status: (u64, String),
    /// Attributes of the process.
    pub(super) resource: BTreeMap<String, String>,
}

pub(super) const SERVER: u64 = 2;
pub(super) const CLIENT: u64 = 3;
pub(super) const ERROR: u64 = 2;

impl Collector {
    pub(super) fn start() -> Self {
        Self::make(None)
    }

    pub(super) fn start_at(address: SocketAddr) -> Self {
        Self::make(Some(address))
    }

    fn make(address: Option<SocketAddr>) -> Self {
        let status = Arc::new(AtomicU16::new(200));
        let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
        let (says, takes) = (Arc::clone(&status), Arc::clone(&spans));
        let script = move |request: &Request| {
            let status = says.load(Ordering::Relaxed);
            if status == 200 {
                assert_eq!(request.method, "POST");
                assert_eq!(request.target, "/v1/traces");
                let kind = request.field("content-type");
                assert_eq!(kind.as_deref(), Some("application/x-protobuf"));
                takes.lock().unwrap().extend(export(&request.body.content));
            }
            Reply::new(status, "").field("Retry-After", "1")
        };
        let mut origin = Origin::http(script);
        if let Some(address) = address {
            origin = origin.at(address);
        }
        let origin = origin.start().unwrap();
        Self {
            origin,
            status,
            spans,
        }
    }

    /// Answers with this status from now on; takes spans with 200 alone.
    pub(super) fn say(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.origin.addr()
    }

    /// The requests that it got.
    pub(super) fn requests(&self) -> Vec<Request> {
        self.origin.requests()
    }

    /// What it took so far.
    pub(super) fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }

    /// What it took, once there are so many.
    pub(super) fn spans(&self, count: usize) -> Vec<Span> {
        eventually("spans at the collector", || {
            let all = self.all();
            (all.len() >= count).then_some(all)
        })
    }
}

impl Span {
    /// An attribute.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    pub(super) fn assert(&self, expected: &[(&str, &str)]) {
        for (name, value) in expected {
            assert_eq!(self.get(name), Some(*value), "{name} of {self:#?}");
        }
    }
}

/// The value of a field of protocol buffers.
enum Field<'m> {
    Number(u64),
    Bytes(&'m [u8]),
}

impl<'m> Field<'m> {
    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(bytes) => panic!("no number: {bytes:?}"),
        }
    }

    fn bytes(&self) -> &'m [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(number) => panic!("no bytes: {number}"),
        }
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap()
    }

    fn hex(&self) -> String {
        let bytes = self.bytes().iter();
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The fields of a message.
fn fields(mut rest: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut all = Vec::new();
    while !rest.is_empty() {
        let key = varint(&mut rest);
        let value = match key & 7 {
            0 => Field::Number(varint(&mut rest)),
            1 => Field::Number(u64::from_le_bytes(take(&mut rest, 8).try_into().unwrap())),
            2 => {
                let len = usize::try_from(varint(&mut rest)).unwrap();
                Field::Bytes(take(&mut rest, len))
            }
            5 => {
                let bytes = take(&mut rest, 4).try_into().unwrap();
                Field::Number(u32::from_le_bytes(bytes).into())
            }
            wire => panic!("wire type {wire}"),
        };
        all.push((key >> 3, value));
    }
    all
}

fn take<'m>(rest: &mut &'m [u8], len: usize) -> &'m [u8] {
    let (taken, after) = rest.split_at(len);
    *rest = after;
    taken
}

fn varint(rest: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without end");
}

/// The spans of an `ExportTraceServiceRequest`.
fn export(body: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for (_, resource_spans) in fields(body) {
        let mut resource = BTreeMap::new();
        for (number, part) in fields(resource_spans.bytes()) {
            match number {
                1 => {
                    let pairs = fields(part.bytes()).into_iter();
                    resource = pairs.map(|(_, pair)| attribute(pair.bytes())).collect();
                }
                2 => {
                    let parts = fields(part.bytes()).into_iter();
                    let inner = parts.filter(|(number, _)| *number == 2);
                    spans.extend(inner.map(|(_, inner)| Span {
                        resource: resource.clone(),
                        ..span(inner.bytes())
                    }));
                }
                _ => {}
            }
        }
    }
    spans
}

fn span(message: &[u8]) -> Span {
    let mut span = Span::default();
    for (number, field) in fields(message) {
        match number {
            1 => span.trace_id = field.hex(),
            2 => span.span_id = field.hex(),
            3 => span.state = field.text(),
            4 => span.parent_id = field.hex(),
            5 => span.name = field.text(),
            6 => span.kind = field.number(),
            7 => span.began = field.number(),
            8 => span.ended = field.number(),
            9 => {
                let (name, value) = attribute(field.bytes());
                let before = span.attributes.insert(name.clone(), value);
                assert_eq!(before, None, "{name} stands twice");
            }
            13 => {
                let parts = fields(field.bytes());
                span.links.push((parts[0].1.hex(), parts[1].1.hex()));
            }
            15 => {
                for (number, part) in fields(field.bytes()) {
                    match number {
                        2 => span.status.1 = part.text(),
                        3 => span.status.0 = part.number(),
                        other => panic!("field {other} of a status"),
                    }
                }
            }
            16 => span.flags = field.number(),
            other => panic!("field {other} of a span"),
        }
    }
    span
}

/// A `KeyValue`, its value as text.
fn attribute(message: &[u8]) -> (String, String) {
    let parts = fields(message);
    let [(1, name), (2, any)] = parts.as_slice() else {
        panic!("no KeyValue: {message:?}");
    };
    let any = fields(any.bytes());
    let value = match &any[0] {
        (1, text) => text.text(),
        (2, flag) => (flag.number() == 1).to_string(),
        (3, number) => number.number().to_string(),
        (4, bits) => f64::from_bits(bits.number()).to_string(),
        (other, _) => panic!("field {other} of a value"),
    };
    (name.text(), value)
}
