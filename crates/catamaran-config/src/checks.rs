//! What checks and agents ask.

use crate::address::is_host;
use crate::policy::method;
use crate::read::{Fields, Node, set};
use crate::reference;
use crate::syntax::{Query, is_path};
use catamaran_core::model::{Agent, Check, Expect, HttpCheck, StatusRange, Step};
use std::time::Duration;

/// What a check asks: exactly one of `http`, `tcp` and the ready-made ones.
pub(crate) fn check(fields: Fields<'_>) -> Option<Check> {
    let mut asked = Vec::new();
    if let Some(node) = fields.node("tcp") {
        let check = tcp(node);
        asked.extend(check.map(|check| ("tcp", node, check)));
    }
    for (key, script) in READY_MADE {
        if let Some(node) = fields.node(key)
            && fields.bool(key) == Some(true)
        {
            asked.push((key, node, Check::Script(script())));
        }
    }
    let first = asked.first().map(|(key, ..)| *key);
    for (_, node, _) in asked.iter().skip(1) {
        let first = first.unwrap_or_default();
        node.error(format!("`health` already has `{first}`; remove one"));
    }
    let Some(http) = fields.node("http") else {
        for key in ["host", "method", "expect"] {
            if let Some(node) = fields.node(key) {
                node.error(format!(
                    "`{key}` is for HTTP checks; add `http = \"/health\"`, or remove it"
                ));
            }
        }
        if asked.is_empty() && fields.node("tcp").is_none() && !fields.has_unknown() {
            fields.error(
                "`health` does not say what to ask; add `http = \"/health\"` or `tcp = true`",
            );
        }
        return asked.into_iter().next().map(|(.., check)| check);
    };
    if let Some(first) = first {
        http.error(format!(
            "`health` has both `http` and `{first}`; remove one"
        ));
    }
    http_check(fields, http)
}

fn http_check(fields: Fields<'_>, http: Node<'_>) -> Option<Check> {
    let path = http.text("a path such as `\"/health\"`")?;
    if !is_path(&path, Query::Allowed) {
        http.error(format!(
            "`{}` is no path; write it as `/health`, without spaces",
            path
        ));
    }
    let mut check = HttpCheck::new(&path);
    check.host = fields.node("host").and_then(|node| {
        let host = node.text("a host (a string)")?;
        let name = host
            .rsplit_once(':')
            .map_or(host.as_str(), |(name, _)| name);
        if !is_host(name) && !name.starts_with('[') {
            node.error(format!("`{host}` is no host; write it as `example.com`"));
        }
        Some(host)
    });
    set(&mut check.method, fields.node("method").and_then(method));
    if let Some(expect) = fields.node("expect") {
        check.expect = expect
            .one_or_many()
            .into_iter()
            .filter_map(statuses)
            .collect();
        if expect.is_empty_list() {
            expect.error("`expect` passes no status; write it as `\"200-399\"`");
        }
    }
    Some(Check::Http(check))
}

/// A status, or a range of them.
fn statuses(node: Node<'_>) -> Option<StatusRange> {
    if node.is_integer() {
        let status = u16::try_from(node.integer(100, 599)?).ok()?;
        return Some(StatusRange {
            first: status,
            last: status,
        });
    }
    let text = node.text("a status such as 200 or a range such as `\"200-399\"`")?;
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    let status = |text: &str| {
        let status: Option<u16> = text.trim().parse().ok();
        status.filter(|status| (100..=599).contains(status))
    };
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some(StatusRange { first, last }),
        _ => {
            node.error(format!(
                "`{text}` is no range of statuses; write it as `200-399`, within 100 to 599"
            ));
            None
        }
    }
}

/// `true`, or a list of steps.
fn tcp(node: Node<'_>) -> Option<Check> {
    if let Some(is_wanted) = node.as_bool() {
        return is_wanted.then_some(Check::Tcp);
    }
    let items = node.list()?;
    if items.is_empty() {
        node.error("`tcp` has no steps; write `tcp = true`, or `[{ send = \"…\" }, …]`");
    }
    let steps: Vec<Step> = items.into_iter().filter_map(step).collect();
    Some(Check::Script(steps))
}

fn step(node: Node<'_>) -> Option<Step> {
    let fields = node.fields(&reference::STEP)?;
    let keys = [
        "send",
        "send-hex",
        "expect",
        "expect-hex",
        "contains",
        "line",
    ];
    let written = keys
        .iter()
        .filter_map(|key| Some((*key, fields.node(key)?)));
    let written: Vec<(&str, Node<'_>)> = written.collect();
    let [(key, value)] = written.as_slice() else {
        if written.len() > 1 || !fields.has_unknown() {
            node.error("a step has exactly one of `send`, `send-hex`, `expect`, `expect-hex`, `contains`, `line`");
        }
        return None;
    };
    let text = value.text("a string")?;
    let bytes: Box<[u8]> = if key.ends_with("-hex") {
        hex(*value, &text)?
    } else {
        text.into_bytes().into()
    };
    if bytes.is_empty() {
        value.error(format!("`{key}` is empty"));
    }
    Some(match *key {
        "send" | "send-hex" => Step::Send(bytes),
        "contains" => Step::Expect(Expect::Contains(bytes)),
        "line" => Step::Expect(Expect::Line(bytes)),
        _ => Step::Expect(Expect::Prefix(bytes)),
    })
}

fn hex(node: Node<'_>, text: &str) -> Option<Box<[u8]>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).ok()?;
        (pair.len() == 2).then(|| u8::from_str_radix(pair, 16).ok())?
    };
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    if bytes.is_none() {
        node.error(format!(
            "`{text}` is no bytes in hexadecimal digits; write them as `00 0a ff`"
        ));
    }
    bytes.map(Into::into)
}

/// Reads `agent`.
pub(crate) fn agent(node: Node<'_>) -> Option<Agent> {
    let fields = node.fields(&reference::AGENT)?;
    fields.required("port", "9999");
    let mut agent = Agent {
        port: fields.number("port")?,
        interval: Duration::from_secs(2),
        timeout: Duration::from_secs(1),
        send: String::new(),
    };
    set(&mut agent.interval, fields.duration("interval"));
    set(&mut agent.timeout, fields.duration("timeout"));
    let send = fields.node("send").and_then(|node| node.text("a string"));
    set(&mut agent.send, send);
    Some(agent)
}

/// Makes the steps of a check.
type Script = fn() -> Vec<Step>;

/// Checks with a name of their own.
const READY_MADE: [(&str, Script); 4] = [
    ("redis", || vec![send(b"PING\r\n"), prefix(b"+PONG")]),
    // An SSLRequest (PostgreSQL's manual, "Message Formats"), answered by S or N.
    ("postgresql", || {
        let request = b"\0\0\0\x08\x04\xd2\x16\x2f";
        vec![send(request), Step::Expect(Expect::OneOf(b"SN"[..].into()))]
    }),
    // RFC 5321 §4.2: the greeting, then the leave.
    ("smtp", || {
        let greeting = prefix(b"220");
        let leave = Step::Expect(Expect::Contains(b"\n221"[..].into()));
        vec![greeting, send(b"QUIT\r\n"), leave]
    }),
    // A packet's head of four bytes, then the version of the protocol; an error has 255 there.
    ("mysql", || {
        vec![Step::Expect(Expect::ByteAt { place: 4, byte: 10 })]
    }),
];

fn send(bytes: &[u8]) -> Step {
    Step::Send(bytes.into())
}

fn prefix(bytes: &[u8]) -> Step {
    Step::Expect(Expect::Prefix(bytes.into()))
}
