//! The `[tracing]` section.

use crate::address;
use crate::error::Place;
use crate::headers;
use crate::read::{Entry, Fields, Node, set};
use crate::reference;
use crate::syntax::{self, Query};
use catamaran_core::model::{Collector, Secret, ServerAddr, Tracing};
use catamaran_core::trace::{Parents, Ratio};
use std::path::Path;

/// Reads the section.
pub(crate) fn read(node: Node<'_>) -> Option<Tracing> {
    let fields = node.fields(&reference::TRACING)?;
    let endpoint = fields.required("endpoint", "\"http://127.0.0.1:4318\"");
    let headers = fields.node("headers-file");
    let headers = headers.map_or(Some(Vec::new()), self::headers);
    let mut tracing = Tracing::new(Collector {
        headers: headers?,
        ..collector(endpoint?)?
    });
    set(
        &mut tracing.sample,
        fields.share("sample").map(Ratio::of_million),
    );
    if let Some(parents) = fields.node("parents") {
        tracing.parents = parents.choice(&PARENTS)?;
    }
    set(&mut tracing.max_per_second, fields.number("max-per-second"));
    if let Some(service) = fields.node("service-name") {
        tracing.service = attribute(service)?;
    }
    let entries = fields.node("resource").and_then(|node| node.entries());
    tracing.resource = entries
        .unwrap_or_default()
        .into_iter()
        .filter_map(resource)
        .collect();
    set(&mut tracing.timeout, fields.duration("timeout"));
    set(&mut tracing.queue, fields.number("queue"));
    warn_of_nothing(fields, &tracing);
    Some(tracing)
}

/// Warns of settings by which nothing is ever traced.
fn warn_of_nothing(fields: Fields<'_>, tracing: &Tracing) {
    if tracing.sample == Ratio::NONE
        && tracing.parents == Parents::None
        && let Some(sample) = fields.node("sample")
    {
        let message = "nothing is traced: no new trace is sampled and no parent is heeded; raise \
                       `sample`, or write another `parents`";
        sample.reader().warn(sample.at(), message);
    }
}

/// Reads where the collector is, without its headers.
fn collector(node: Node<'_>) -> Option<Collector> {
    let text = node.text("the URL of a collector (a string)")?;
    match endpoint(&text) {
        Ok(collector) => Some(collector),
        Err(message) => {
            node.error(message);
            None
        }
    }
}

fn endpoint(text: &str) -> Result<Collector, String> {
    if text.starts_with("https://") {
        return Err(format!(
            "`{text}` needs TLS, which this version does not speak; send to a collector on this \
             machine or network, such as `http://127.0.0.1:4318`, and have that one forward"
        ));
    }
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(format!(
            "`{text}` is no `http://` URL; write it as `http://127.0.0.1:4318`"
        ));
    };
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, base) = rest.split_at(slash);
    if authority.contains('@') {
        return Err(
            "a URL with a password in it is shown to whoever reads the configuration; write \
             `headers-file` with a line such as `Authorization: Basic …`"
                .to_owned(),
        );
    }
    let is_without_port = || address::is_host(authority) || authority.ends_with(']');
    if is_without_port() && !authority.is_empty() {
        return Err(format!(
            "`{text}` has no port; write `http://{authority}:4318`"
        ));
    }
    let address = match address::server(authority)? {
        address @ (ServerAddr::Ip(_) | ServerAddr::Dns { .. }) => address,
        ServerAddr::Unix(_) | ServerAddr::Srv { .. } | ServerAddr::Etcd { .. } => {
            return Err(format!(
                "`{text}` names no host and port; write it as `http://127.0.0.1:4318`"
            ));
        }
    };
    let base = base.trim_end_matches('/');
    if !base.is_empty() && !syntax::is_path(base, Query::Refused) {
        return Err(format!(
            "the path of `{text}` must be plain ASCII without query and fragment"
        ));
    }
    Ok(Collector {
        address,
        authority: authority.to_owned(),
        path: match base.ends_with(PATH) {
            true => base.to_owned(),
            false => format!("{base}{PATH}"),
        },
        headers: Vec::new(),
    })
}

/// Reads the fields of requests to the collector out of a file, whose values no message quotes.
fn headers(node: Node<'_>) -> Option<Vec<(String, Secret)>> {
    let path = node.text("a file (a string)")?;
    let read = node.reader().read_file(Path::new(&path));
    let bytes = read.map_err(|source| {
        let told = "write a line such as `Authorization: Bearer …` to it";
        node.error(node.reader().unreadable(Path::new(&path), &source, told));
    });
    let text = String::from_utf8(bytes.ok()?);
    let text =
        text.map_err(|_| node.error(format!("`{path}` is not UTF-8; save it as UTF-8 text")));
    let mut headers = Vec::new();
    let mut is_right = true;
    for (index, line) in text.ok()?.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match header(line) {
            Ok(header) => headers.push(header),
            Err(message) => {
                is_right = false;
                let place = Place {
                    line: index + 1,
                    column: 1,
                };
                node.reader().error_in(Path::new(&path), place, message);
            }
        }
    }
    if headers.len() > MAX_HEADERS {
        node.error(format!(
            "`{path}` has more than {MAX_HEADERS} headers; remove some"
        ));
        return None;
    }
    is_right.then_some(headers)
}

fn header(line: &str) -> Result<(String, Secret), String> {
    let Some((name, value)) = line.split_once(':') else {
        return Err("a header has a name and a value: `Authorization: Bearer …`".to_owned());
    };
    let (name, value) = (name.trim_end(), value.trim());
    if let Some(problem) = headers::name_problem(name).or_else(|| headers::framing(name)) {
        return Err(problem);
    }
    if name.eq_ignore_ascii_case("content-type") {
        return Err("`content-type` is not to be chosen: spans are sent as protobuf".to_owned());
    }
    if !syntax::is_field_value(value) {
        return Err(format!(
            "the value of `{name}` has control characters; remove them"
        ));
    }
    Ok((name.to_owned(), Secret::new(value)))
}

/// Reads an attribute of this process, which is no other key's.
fn resource(entry: Entry<'_>) -> Option<(String, String)> {
    let reader = entry.node.reader();
    if entry.name == "service.name" {
        reader.error(
            entry.at,
            "`service.name` has a key of its own; write `service-name`",
        );
        return None;
    }
    if entry.name.is_empty() || entry.name.len() > MAX_ATTRIBUTE {
        reader.error(
            entry.at,
            format!("the name of an attribute has 1 to {MAX_ATTRIBUTE} bytes"),
        );
        return None;
    }
    Some((entry.name.to_owned(), attribute(entry.node)?))
}

fn attribute(node: Node<'_>) -> Option<String> {
    let text = node.text("a name (a string)")?;
    if text.is_empty() || text.len() > MAX_ATTRIBUTE {
        node.error(format!("a value here has 1 to {MAX_ATTRIBUTE} bytes"));
        return None;
    }
    Some(text)
}

const PARENTS: [(&str, Parents); 3] = [
    ("trusted-proxies", Parents::Trusted),
    ("all", Parents::All),
    ("none", Parents::None),
];
/// Where OTLP over HTTP has traces.
const PATH: &str = "/v1/traces";
/// Headers that may be written; chosen.
const MAX_HEADERS: usize = 16;
/// Bytes of an attribute's name and value; chosen.
const MAX_ATTRIBUTE: usize = 255;
