//! The samples that a request makes.

use catamaran_sys::clock::now_nanos;

use super::ask::Ask;
use super::reply::Reply;
use crate::board::Answered;
use crate::engine::UnderWay;
use crate::metric::{MetricId, builtin};
use crate::script::host::{About, Host, SystemTag};
use crate::sink::as_f64;
use crate::tags::TagsId;

/// Bytes that went and came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// Records the samples of a request that began at `begin`.
pub(super) fn record(host: &Host, ask: &Ask, reply: &Reply, begin: u64, moved: Moved) {
    let verdict = verdict(ask, reply.status);
    let tags = tags_of(host, ask, reply, verdict);
    let now = now_nanos();
    let mut recorder = host.local.recorder.borrow_mut();
    let phases = &reply.phases;
    let mut add = |metric: MetricId, value: f64| recorder.record(metric, tags, value, now);
    add(builtin::HTTP_REQS, 1.0);
    let mut times = |metric: MetricId, nanos: u64| add(metric, as_f64(nanos) / 1e6);
    times(builtin::HTTP_REQ_DURATION, phases.duration());
    times(builtin::HTTP_REQ_BLOCKED, phases.blocked);
    times(builtin::HTTP_REQ_CONNECTING, phases.connecting);
    times(builtin::HTTP_REQ_TLS_HANDSHAKING, phases.handshaking);
    times(builtin::HTTP_REQ_SENDING, phases.sending);
    times(builtin::HTTP_REQ_WAITING, phases.waiting);
    times(builtin::HTTP_REQ_RECEIVING, phases.receiving);
    if let Some(late) = host.late.get() {
        let took = now.saturating_sub(begin);
        times(builtin::HTTP_REQ_CORRECTED_DURATION, late + took);
    }
    if let Some(is_expected) = verdict {
        add(builtin::HTTP_REQ_FAILED, f64::from(u8::from(!is_expected)));
    }
    add(builtin::DATA_SENT, as_f64(moved.sent));
    add(builtin::DATA_RECEIVED, as_f64(moved.received));
    if !reply.error.is_empty() {
        recorder.answered(Answered::Failure(reply.error.clone()));
        drop(recorder);
        host.local.warn(format!(
            "Request Failed: {} {}: {}",
            ask.method, reply.url, reply.error
        ));
    }
}

/// Notes that a request begins.
pub(super) fn note_begin(host: &Host, begin: u64) -> UnderWay {
    let due = host.late.get().map(|late| {
        host.local.asks_http.set(true);
        let metric = builtin::HTTP_REQ_CORRECTED_DURATION;
        (metric, host.iteration_tags(), begin.saturating_sub(late))
    });
    UnderWay::new(&host.local, due)
}

/// Whether a status is one that was expected; `None`, if nothing is judged.
fn verdict(ask: &Ask, status: u16) -> Option<bool> {
    match &ask.expected {
        None => Some((200..400).contains(&status)),
        Some(ranges) if ranges.is_empty() => None,
        Some(ranges) => {
            let mut ranges = ranges.chunks_exact(2);
            Some(ranges.any(|range| (range[0]..=range[1]).contains(&status)))
        }
    }
}

fn tags_of(host: &Host, ask: &Ask, reply: &Reply, verdict: Option<bool>) -> TagsId {
    let is_usual = ask.tags.is_empty() && reply.error.is_empty() && !host.has(SystemTag::Ip);
    if !is_usual {
        return new_tags_of(host, ask, reply, verdict);
    }
    // All that the tags below are made of must be in it.
    let version = reply.head.first_chunk().copied().unwrap_or_default();
    let about = About::Answer {
        url: &reply.url,
        method: &ask.method,
        status: reply.status,
        verdict,
        version,
        tls: reply.agreed.0,
    };
    host.tags_about(about, || new_tags_of(host, ask, reply, verdict))
}

fn new_tags_of(host: &Host, ask: &Ask, reply: &Reply, verdict: Option<bool>) -> TagsId {
    let own = || ask.tags.chunks_exact(2);
    let name = own().rfind(|pair| pair[0] == "name");
    let name = name.map_or(reply.url.as_str(), |pair| pair[1].as_str());
    let mut digits = [0; 8];
    let status = number(reply.status, &mut digits);
    let mut code_digits = [0; 8];
    let code = (reply.code > 0).then(|| number(reply.code, &mut code_digits));
    let is_wanted = |tag: SystemTag| host.has(tag);
    let ip = reply.remote.filter(|_| is_wanted(SystemTag::Ip));
    let ip = ip.map(|addr| addr.ip().to_string());
    let proto = (reply.status > 0).then(|| reply.proto());
    let error = (!reply.error.is_empty()).then_some(reply.error.as_str());
    let tls = Some(reply.agreed.0).filter(|version| !version.is_empty());
    let expected = verdict.map(|holds| if holds { "true" } else { "false" });
    let system = [
        (SystemTag::Method, "method", Some(ask.method.as_str())),
        (SystemTag::Name, "name", Some(name)),
        (SystemTag::Url, "url", Some(name)),
        (SystemTag::Status, "status", Some(status)),
        (SystemTag::Proto, "proto", proto),
        (SystemTag::ExpectedResponse, "expected_response", expected),
        (SystemTag::ErrorCode, "error_code", code),
        (SystemTag::Error, "error", error),
        (SystemTag::TlsVersion, "tls_version", tls),
        (SystemTag::Ip, "ip", ip.as_deref()),
    ];
    let system = system.into_iter().filter_map(|(tag, name, value)| {
        value.filter(|_| is_wanted(tag)).map(|value| (name, value))
    });
    // What the script gives them goes before what is so; its `name` takes the place of the URL, too.
    let own = own().map(|pair| (pair[0].as_str(), pair[1].as_str()));
    host.tags(own.chain(system))
}

/// A number as text, without the heap.
fn number(number: u16, digits: &mut [u8; 8]) -> &str {
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}
