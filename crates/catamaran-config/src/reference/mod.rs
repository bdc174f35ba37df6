//! The reference: one table of keys per section of the configuration.
//!
//! The walkers consult it for unknown keys, ranges and choices; `docs/configuration.md`, the JSON
//! Schema and `catamaran.toml(5)` are generated from it, so that none can say anything else than the
//! program does.

mod access_keys;
mod admin_keys;
mod auth_keys;
mod backend_keys;
mod cluster_keys;
mod etcd_keys;
mod frontend_keys;
mod man;
mod markdown;
mod route_keys;
mod schema;
#[cfg(test)]
mod tests;
mod tracing_keys;
mod virtual_ip_keys;

pub(crate) use access_keys::{BANDWIDTH, LIST, LONGEST_HOLD, MAP, MAPPED, SHORTEST_HOLD, TARPIT};
pub(crate) use admin_keys::ADMIN;
pub(crate) use auth_keys::{AUTH, BASIC, JWT};
pub(crate) use backend_keys::{
    AGENT, BACKEND, BACKEND_TIMEOUTS, BALANCES, HASH, HEALTH, OUTLIER, QUEUE, RETRY, SERVER, STEP,
    STICK,
};
pub(crate) use cluster_keys::CLUSTER;
pub(crate) use etcd_keys::ETCD;
pub(crate) use frontend_keys::{
    ACCESS_LOG, FRONTEND, FRONTEND_TIMEOUTS, LISTENER, PROCESS, RATE_LIMIT, ROOT,
};
pub use man::man;
pub use markdown::markdown;
pub(crate) use route_keys::{
    HEADERS, MATCH, MIRROR, PATH, REDIRECT, RESPOND, REWRITE, ROUTE, ROUTE_RETRY,
};
pub use schema::json_schema;
pub(crate) use tracing_keys::TRACING;
pub(crate) use virtual_ip_keys::{TRACK, VIRTUAL_IP, VIRTUAL_ROUTE};

use std::time::Duration;

/// A table of the configuration.
#[derive(Debug)]
pub(crate) struct Section {
    /// What messages call it.
    pub(crate) name: &'static str,
    /// Heading in the documentation.
    pub(crate) title: &'static str,
    /// Introduction in the documentation.
    pub(crate) doc: &'static str,
    /// The keys that are allowed, in the order of the documentation.
    pub(crate) keys: &'static [Key],
    /// A whole configuration that shows the section; empty for none.
    pub(crate) example: &'static str,
}

/// A key of a section.
#[derive(Debug)]
pub(crate) struct Key {
    /// As written.
    pub(crate) name: &'static str,
    /// What its value is.
    pub(crate) kind: Kind,
    /// What holds without it.
    pub(crate) absent: Absent,
    /// Where it may be used.
    pub(crate) scope: Scope,
    /// What it does; sentences.
    pub(crate) doc: &'static str,
}

/// What a value is.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A string; the words say what it holds.
    Text(&'static str),
    /// `true` or `false`.
    Bool,
    /// Only this of `true` and `false`.
    Only(bool),
    /// A whole number in an inclusive range.
    Integer(u64, u64),
    /// A string such as `2s`, in an inclusive range.
    Duration(Duration, Duration),
    /// A string such as `64KiB`, in an inclusive range of bytes.
    Size(u64, u64),
    /// A string such as `50%`, in an inclusive range.
    Percent(u64, u64),
    /// A string such as `0.5%`, with up to four decimals.
    Share,
    /// One of these strings.
    Choice(&'static [&'static str]),
    /// A table.
    Table(&'static Section),
    /// An array.
    List(&'static Self),
    /// One, or an array of them.
    OneOrMany(&'static Self),
    /// A table whose keys are chosen by the operator; the words say what they are.
    Map(&'static str, &'static Self),
    /// Any of these.
    Either(&'static [Self]),
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It must be written.
    Required,
    /// The same as if this were written, in TOML.
    Default(&'static str),
    /// Something that no value says.
    Means(&'static str),
    /// It must not be written yet; the words say what it will bring.
    Later(&'static str),
}

/// Where a key may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Everywhere.
    Any,
    /// Only where HTTP is spoken.
    Http,
}

impl Section {
    /// The key of that name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The names of the keys that this version knows.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.keys
            .iter()
            .filter(|key| !matches!(key.absent, Absent::Later(_)))
            .map(|key| key.name)
            .collect()
    }
}

impl Key {
    /// A key that may be used everywhere.
    const fn new(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            absent,
            scope: Scope::Any,
            doc,
        }
    }

    /// A key that only HTTP has a use for.
    const fn http(name: &'static str, kind: Kind, absent: Absent, doc: &'static str) -> Self {
        Self {
            name,
            kind,
            absent,
            scope: Scope::Http,
            doc,
        }
    }

    /// A key that a later version brings.
    const fn later(name: &'static str, brings: &'static str) -> Self {
        Self {
            name,
            kind: Kind::Bool,
            absent: Absent::Later(brings),
            scope: Scope::Any,
            doc: "",
        }
    }
}

/// Every section below the root, each once, parents before children.
fn sections() -> Vec<&'static Section> {
    let mut all = Vec::new();
    for key in ROOT.keys {
        collect(&key.kind, &mut all);
    }
    all
}

fn collect(kind: &'static Kind, all: &mut Vec<&'static Section>) {
    match kind {
        Kind::Table(section) => {
            if !all.iter().any(|known| std::ptr::eq(*known, *section)) {
                all.push(section);
                for key in section.keys {
                    collect(&key.kind, all);
                }
            }
        }
        Kind::List(inner) | Kind::OneOrMany(inner) | Kind::Map(_, inner) => collect(inner, all),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| collect(kind, all)),
        Kind::Text(_)
        | Kind::Bool
        | Kind::Only(_)
        | Kind::Integer(..)
        | Kind::Duration(..)
        | Kind::Size(..)
        | Kind::Percent(..)
        | Kind::Share
        | Kind::Choice(_) => {}
    }
}

/// The anchor of a heading, as GitHub makes it.
fn slug(title: &str) -> String {
    title
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | ' '))
        .map(|c| {
            if c == ' ' {
                '-'
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect()
}

/// A span of time from 1 ms to a day: what a timeout may be.
const TIMEOUT: Kind = Kind::Duration(Duration::from_millis(1), DAY);
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(30 * 86_400);
