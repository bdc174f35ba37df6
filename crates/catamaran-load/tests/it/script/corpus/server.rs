//! The server that the corpus is played against: it records what it is asked, and answers by path alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use catamaran_testkit::{Ending, Origin, Reply, Request};

/// A request that came.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) target: String,
    /// Fields in order of their names, but for those that are the connection's.
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: String,
}

/// A running server.
pub(super) struct Server {
    origin: Origin,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub(super) fn start() -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let own = Arc::clone(&asked);
        let origin = Origin::http(move |request| {
            own.lock().unwrap().push(Asked::of(request));
            answer(request)
        });
        Self {
            origin: origin.without_records().start().unwrap(),
            asked,
        }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.origin.addr())
    }

    /// What came, in order.
    pub(super) fn asked(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock().unwrap().clone();
        for one in &mut asked {
            one.body = self.unnamed(&one.body);
            one.target = self.unnamed(&one.target);
            for (_, value) in &mut one.fields {
                *value = self.unnamed(value);
            }
        }
        asked
    }

    /// A text without the server's address, which is another one in each run.
    pub(super) fn unnamed(&self, text: &str) -> String {
        let port = format!(":{}", self.origin.addr().port());
        text.replace(&self.url(), "URL").replace(&port, ":PORT")
    }
}

impl Asked {
    fn of(request: &Request) -> Self {
        let mut body = escaped(&request.body.content);
        let mut fields: Vec<(String, String)> = request
            .head
            .fields
            .iter()
            .map(|(name, value)| (name.clone(), escaped(value)))
            .collect();
        let kind = fields.iter().find(|(name, _)| name == "Content-Type");
        let boundary = kind.and_then(|(_, value)| value.split_once("boundary="));
        if let Some(boundary) = boundary.map(|(_, boundary)| boundary.to_owned()) {
            body = body.replace(&boundary, "BOUNDARY");
            fields.retain(|(name, _)| name != "Content-Length");
            for (_, value) in &mut fields {
                *value = value.replace(&boundary, "BOUNDARY");
            }
        }
        let is_usual = |name: &str, value: &str| match name {
            "User-Agent" => {
                value.starts_with("Grafana k6/") || value.starts_with("catamaran-load/")
            }
            "Host" => value.starts_with("127.0.0.1"),
            _ => false,
        };
        fields.retain(|(name, value)| !is_usual(name, value));
        fields.sort();
        Self {
            method: request.method.clone(),
            target: request.target.clone(),
            fields,
            body,
        }
    }
}

fn escaped(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.replace('\r', "\\r").replace('\n', "\\n"),
        Err(_) => bytes.escape_ascii().to_string(),
    }
}

fn answer(request: &Request) -> Reply {
    let path = request.target.split('?').next().unwrap_or_default();
    let query = request
        .target
        .split_once('?')
        .map_or("", |(_, query)| query);
    let mut parts = path.split('/').skip(1);
    let first = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    let number = |at: usize| {
        rest.get(at)
            .and_then(|part| part.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let small = || u16::try_from(number(0)).unwrap_or(500);
    match first {
        "say" => Reply::new(200, ""),
        "status" => Reply::new(small(), format!("status {}", number(0))),
        "echo" => Reply::new(200, request.body.content.clone()).field("Content-Type", "text/plain"),
        "json" => Reply::new(200, JSON).field("Content-Type", "application/json"),
        "html" => Reply::new(200, HTML).field("Content-Type", "text/html; charset=utf-8"),
        "bytes" => Reply::new(
            200,
            (0..number(0))
                .map(|n| n.to_le_bytes()[0])
                .collect::<Vec<u8>>(),
        ),
        "chunked" => Reply::new(200, "chunks of a body, one after the other").chunked(7),
        "slow" => Reply::new(200, "late").delay(Duration::from_millis(number(0))),
        "fields" => Reply::new(200, "")
            .field("x-lower-case", "1")
            .field("X-Twice", "one")
            .field("X-Twice", "two")
            .field("ETag", "\"abc\"")
            .field("WWW-Authenticate", "none"),
        // Times that many, and then there.
        "redirect" if number(0) == 0 => Reply::new(200, "there"),
        "redirect" => {
            Reply::new(302, "").field("Location", &format!("/redirect/{}", number(0) - 1))
        }
        "moved" => {
            Reply::new(small(), "moved").field("Location", &format!("/{}", rest[1..].join("/")))
        }
        "nowhere" => Reply::new(302, ""),
        "cookie" => query.split('&').fold(Reply::new(200, ""), |reply, pair| {
            reply.field("Set-Cookie", &pair.replace("%20", " "))
        }),
        "cookies" => Reply::new(200, request.head.field("Cookie").unwrap_or_default()),
        "basic" => match request.head.field("Authorization").as_deref() {
            Some("Basic dXNlcjpwYXNz") => Reply::new(200, "welcome"),
            _ => Reply::new(401, "who?").field("WWW-Authenticate", "Basic realm=\"r\""),
        },
        "gzip" => Reply::new(200, GZIP).field("Content-Encoding", "gzip"),
        "deflate" => Reply::new(200, ZLIB).field("Content-Encoding", "deflate"),
        "br" => Reply::new(200, BR).field("Content-Encoding", "br"),
        "zstd" => Reply::new(200, ZSTD).field("Content-Encoding", "zstd"),
        "twice" => Reply::new(200, ZSTD_OF_GZIP).field("Content-Encoding", "gzip, zstd"),
        "unknown" => Reply::new(200, GZIP).field("Content-Encoding", "gzip, identity"),
        // As it came, and packed as it came.
        "repacked" => Reply::new(200, request.body.content.clone()).field(
            "Content-Encoding",
            &request.head.field("Content-Encoding").unwrap_or_default(),
        ),
        "broken" => Reply::new(200, "this is not packed").field("Content-Encoding", rest[0]),
        "broken-gzip" => Reply::new(200, "this is no gzip").field("Content-Encoding", "gzip"),
        "close" => Reply::nothing(Ending::Close),
        "reset" => Reply::nothing(Ending::Reset),
        "cut" => Reply::new(200, "a body that ends before its end").cut_after(60, Ending::Close),
        "last" => Reply::new(200, "bye")
            .field("Connection", "close")
            .then(Ending::Close),
        _ => Reply::new(200, format!("hello from {path}")),
    }
}

const JSON: &str = r#"{"name":"ship","size":{"length":12.5,"crew":[2,4]},"tags":["a","b"],"none":null,"yes":true,"a.b":"dotted","friends":[{"first":"Dale","last":"Murphy","age":44,"nets":["ig","fb"]},{"first":"Roger","last":"Craig","age":68,"nets":["fb"]},{"first":"Jane","last":"Murphy","age":47,"nets":["ig","tw"]}]}"#;

const HTML: &str = "<!DOCTYPE html><html><head><title>A page</title></head><body class=\"main\">\
    <h1 id=\"top\">Heading</h1><ul><li>one</li><li class=\"second\">two</li><li>three</li></ul>\
    <a href=\"/echo?from=link\" id=\"link\">follow</a><a href=\"/html\">again</a>\
    <form id=\"form\" action=\"/echo\" method=\"post\"><input type=\"text\" name=\"user\" value=\"u\">\
    <input type=\"hidden\" name=\"token\" value=\"t\"><textarea name=\"text\">lines</textarea>\
    <select name=\"choice\"><option value=\"1\">first</option><option value=\"2\" selected>second</option></select>\
    <input type=\"submit\" name=\"go\" value=\"Go\"></form></body></html>";

/// `packed text` as gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\x48\x4c\xce\x4e\x4d\x51\x28\x49\xad\x28\x01\x00\x0c\xf4\x0a\xd2\x0b\x00\x00\x00";
/// `packed text` as zlib.
const ZLIB: &[u8] = b"\x78\x9c\x2b\x48\x4c\xce\x4e\x4d\x51\x28\x49\xad\x28\x01\x00\x19\x96\x04\x4e";
/// `packed text` as brotli.
const BR: &[u8] = b"\x0b\x05\x80packed text\x03";
/// `packed text` as zstd.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\x59\x00\x00packed text\xc1\x68\x4e\x51";
/// [`GZIP`] as zstd.
const ZSTD_OF_GZIP: &[u8] = b"\x28\xb5\x2f\xfd\x04\x58\xf9\x00\x00\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\x48\x4c\xce\x4e\x4d\x51\x28\x49\xad\x28\x01\x00\x0c\xf4\x0a\xd2\x0b\x00\x00\x00\xd5\x00\x99\xe4";
