//! Policies of a backend: balance, affinity, health, ejection, retry, queue.

use crate::address::is_host;
use crate::read::{Fields, Node, set};
use crate::reference;
use crate::syntax::{Query, is_path, is_token};
use catamaran_core::model::{
    Balance, Check, HashKey, HashMethod, Health, HttpCheck, Outlier, Queue, RateKey, RateLimit,
    Retry, StatusRange, Stick, StickKey,
};
use catamaran_core::nearest::remedy;
use std::num::NonZeroU32;

/// Reads `balance`: a word, or a table with `hash`.
pub(crate) fn balance(node: Node<'_>) -> Option<Balance> {
    if node.is_table() {
        return hash(node.fields(&reference::HASH)?);
    }
    let name = node.text("the name of an algorithm, or a table with `hash`")?;
    Some(match name.as_str() {
        "least-requests" => Balance::LeastRequests,
        "round-robin" => Balance::RoundRobin,
        "random" => Balance::Random,
        "least-connections" => Balance::LeastConnections,
        "ewma" => Balance::Ewma,
        "source" => Balance::Source,
        "first" => Balance::First,
        "hash" => {
            node.error("`hash` needs a key; write `balance = { hash = \"source-ip\" }`");
            return None;
        }
        _ => {
            let remedy = remedy(&name, reference::BALANCES);
            node.error(format!("unknown value `{name}` of `balance`; {remedy}"));
            return None;
        }
    })
}

fn hash(fields: Fields<'_>) -> Option<Balance> {
    let key = fields.required("hash", "\"source-ip\"").and_then(hash_key);
    let method = fields
        .node("method")
        .and_then(|node| node.choice(&[("maglev", Method::Maglev), ("ring", Method::Ring)]));
    let percent = fields.percent("max-load");
    let method = match (method.unwrap_or(Method::Maglev), fields.node("max-load")) {
        (Method::Ring, _) => HashMethod::BoundedRing {
            percent: percent.unwrap_or(125),
        },
        (Method::Maglev, None) => HashMethod::Maglev,
        (Method::Maglev, Some(node)) => {
            node.error("`max-load` is for the ring; add `method = \"ring\"`, or remove it");
            HashMethod::Maglev
        }
    };
    Some(Balance::Hash { key: key?, method })
}

/// A part of a request.
pub(crate) fn hash_key(node: Node<'_>) -> Option<HashKey> {
    let names = [
        "source-ip",
        "path",
        "uri",
        "host",
        "header:",
        "cookie:",
        "query:",
    ];
    let (kind, name) = key_of(node, &names)?;
    Some(match kind {
        "source-ip" => HashKey::SourceIp,
        "path" => HashKey::Path,
        "uri" => HashKey::Uri,
        "host" => HashKey::Host,
        "header:" => HashKey::Header(name.to_ascii_lowercase()),
        "cookie:" => HashKey::Cookie(name),
        _ => HashKey::Query(name),
    })
}

#[derive(Clone, Copy)]
enum Method {
    Maglev,
    Ring,
}

/// Reads `stick`.
pub(crate) fn stick(node: Node<'_>) -> Option<Stick> {
    let fields = node.fields(&reference::STICK)?;
    let on = fields.required("on", "\"source-ip\"").and_then(|node| {
        let names = ["source-ip", "header:", "cookie:", "insert-cookie:"];
        let (kind, name) = key_of(node, &names)?;
        Some(match kind {
            "source-ip" => StickKey::SourceIp,
            "header:" => StickKey::Header(name.to_ascii_lowercase()),
            "cookie:" => StickKey::Cookie(name),
            _ => StickKey::InsertedCookie(name),
        })
    });
    fields.required("for", "\"10m\"");
    let window = fields.duration("for");
    let refresh = fields.bool("refresh").unwrap_or(false);
    let max_entries = fields.number("max-entries").unwrap_or(1_000_000);
    Some(Stick {
        on: on?,
        window: window?,
        refresh,
        max_entries,
    })
}

/// Reads `rate-limit`, of a frontend or a route.
pub(crate) fn rate_limit(node: Node<'_>) -> Option<RateLimit> {
    let fields = node.fields(&reference::RATE_LIMIT)?;
    fields.required("requests", "100");
    let requests = fields.number("requests");
    let period = fields.duration("per");
    let burst = fields.number("burst");
    let by = fields.node("by").and_then(|node| {
        let (kind, name) = key_of(node, &["source-ip", "header:"])?;
        Some(match kind {
            "source-ip" => RateKey::SourceIp,
            _ => RateKey::Header(name.to_ascii_lowercase()),
        })
    });
    let max_keys = fields.number("max-keys");
    let denial = fields.node("denial").and_then(crate::access::denial);
    let requests = requests?;
    Some(RateLimit {
        requests,
        period: period.unwrap_or(std::time::Duration::from_secs(1)),
        burst: burst.unwrap_or(requests),
        by: by.unwrap_or(RateKey::SourceIp),
        max_keys: max_keys.unwrap_or(100_000),
        denial: denial.unwrap_or_default(),
    })
}

/// Reads a key such as `source-ip` or `header:X-User`. Of `kinds` those that end in a colon take a
/// name; returned are the kind and the name, which is empty for the others.
fn key_of<'k>(node: Node<'_>, kinds: &[&'k str]) -> Option<(&'k str, String)> {
    let text = node.text("a key such as `\"source-ip\"`")?;
    let (kind, name) = match text.split_once(':') {
        Some((kind, name)) => (format!("{kind}:"), name),
        None => (text.clone(), ""),
    };
    let Some(&known) = kinds.iter().find(|&&known| known == kind) else {
        let with_name = format!("{kind}:");
        let remedy = if kinds.contains(&with_name.as_str()) {
            format!("write `{with_name}NAME`")
        } else {
            remedy(&kind, kinds)
        };
        node.error(format!("unknown key `{text}`; {remedy}"));
        return None;
    };
    if known == "query:" && !name.is_empty() || !known.ends_with(':') || is_token(name) {
        return Some((known, name.to_owned()));
    }
    node.error(format!(
        "`{text}` has no valid name after the colon; write it as `{known}NAME`"
    ));
    None
}

/// Reads `health`.
pub(crate) fn health(node: Node<'_>) -> Option<Health> {
    let fields = node.fields(&reference::HEALTH)?;
    let check = check(fields);
    let mut health = Health::new(check.unwrap_or(Check::Tcp));
    set(&mut health.interval, fields.duration("interval"));
    match (
        fields.node("fast-interval"),
        fields.duration("fast-interval"),
    ) {
        (Some(node), Some(fast)) if fast > health.interval => node.error(format!(
            "`fast-interval` must be at most `interval`, which is `{}`",
            crate::unit::duration_text(health.interval)
        )),
        (_, Some(fast)) => health.fast_interval = fast,
        (_, None) => health.fast_interval = health.fast_interval.min(health.interval),
    }
    set(&mut health.timeout, fields.duration("timeout"));
    set(&mut health.rise, count(fields, "rise"));
    set(&mut health.fall, count(fields, "fall"));
    health.port = fields.number("port");
    Some(health)
}

/// What a check asks: exactly one of `http` and `tcp`.
fn check(fields: Fields<'_>) -> Option<Check> {
    let tcp = fields.bool("tcp").unwrap_or(false);
    let Some(http) = fields.node("http") else {
        for key in ["host", "method", "expect"] {
            if let Some(node) = fields.node(key) {
                node.error(format!(
                    "`{key}` is for HTTP checks; add `http = \"/health\"`, or remove it"
                ));
            }
        }
        if !tcp && fields.node("tcp").is_none() && !fields.has_unknown() {
            fields.error(
                "`health` does not say what to ask; add `http = \"/health\"` or `tcp = true`",
            );
        }
        return tcp.then_some(Check::Tcp);
    };
    if tcp {
        http.error("`health` has both `http` and `tcp`; remove one");
    }
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

/// A request method.
pub(crate) fn method(node: Node<'_>) -> Option<String> {
    let method = node.text("a method such as `\"GET\"`")?;
    if !is_token(&method) {
        node.error(format!("`{}` is no method; write it as `GET`", method));
    } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
        node.error(format!(
            "`{method}` has lower case, which is another method to HTTP; write `{}`",
            method.to_ascii_uppercase()
        ));
    }
    Some(method)
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

/// Reads `outlier`: a table, or `false`.
pub(crate) fn outlier(node: Node<'_>) -> Option<Outlier> {
    let mut outlier = Outlier::default();
    if node.as_bool() == Some(false) {
        outlier.consecutive = None;
        return Some(outlier);
    }
    if !node.is_table() {
        node.mismatch("a table (`{ … }`), or `false`");
        return None;
    }
    let fields = node.fields(&reference::OUTLIER)?;
    if let Some(consecutive) = count(fields, "consecutive") {
        outlier.consecutive = Some(consecutive);
    }
    set(&mut outlier.base_ejection, fields.duration("base-ejection"));
    set(&mut outlier.max_ejection, fields.duration("max-ejection"));
    set(
        &mut outlier.max_ejected_percent,
        fields.percent("max-ejected"),
    );
    if outlier.max_ejection < outlier.base_ejection {
        fields.error(format!(
            "`max-ejection` must be at least `base-ejection`: `{}` is less than `{}`",
            crate::unit::duration_text(outlier.max_ejection),
            crate::unit::duration_text(outlier.base_ejection)
        ));
    }
    Some(outlier)
}

/// Reads `retry` of a backend.
pub(crate) fn retry(node: Node<'_>) -> Option<Retry> {
    let fields = node.fields(&reference::RETRY)?;
    let mut retry = Retry::default();
    set(&mut retry.max_tries, fields.number("max-tries"));
    let budget: Option<u32> = fields.percent("budget");
    set(
        &mut retry.budget_per_mille,
        budget.map(|percent| percent * 10),
    );
    set(&mut retry.min_budget, fields.number("min-budget"));
    set(&mut retry.replay_bytes, fields.size("replay"));
    Some(retry)
}

/// Reads `queue`.
pub(crate) fn queue(node: Node<'_>) -> Option<Queue> {
    let fields = node.fields(&reference::QUEUE)?;
    let mut queue = Queue::default();
    set(&mut queue.max_waiting, fields.number("max-waiting"));
    set(&mut queue.timeout, fields.duration("timeout"));
    set(&mut queue.when_down, fields.bool("when-down"));
    Some(queue)
}

fn count(fields: Fields<'_>, key: &'static str) -> Option<NonZeroU32> {
    NonZeroU32::new(fields.number(key)?)
}
