//! What another configuration changes, and what each change costs.

use catamaran_config::{Difference, differences};
use catamaran_core::model::{Config, VirtualIp};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt;

/// All that changes, in the order of sections.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Diff {
    /// The changes; none if the configurations say the same.
    pub changes: Vec<Change>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize)]
pub struct Change {
    /// Whether something comes, goes or is another.
    pub kind: ChangeKind,
    /// Which section, such as `backend.api`; empty for none.
    pub section: String,
    /// What in it: a key, `listen ADDRESS`, `server NAME`, `route NAME`; empty for the section.
    pub item: String,
    /// The value before, as written.
    pub old: Option<String>,
    /// The value now, as written.
    pub new: Option<String>,
    /// What it costs.
    pub cost: Cost,
}

/// Whether something comes, goes or is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeKind {
    /// It comes.
    Added,
    /// It is another.
    Changed,
    /// It goes.
    Removed,
}

/// What a change costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cost {
    /// Nothing: it counts from the next exchange on.
    Nothing,
    /// A port is opened.
    ListenerOpened,
    /// A port is closed; its connections drain.
    ListenerClosed,
    /// The server finishes what it has and gets nothing new.
    ServerDrains,
    /// It comes only with a restart.
    Restart,
}

impl Diff {
    /// The changes that come only with a restart.
    pub fn needing_restart(&self) -> impl Iterator<Item = &Change> {
        let changes = self.changes.iter();
        changes.filter(|change| change.cost == Cost::Restart)
    }
}

/// What changes from the text `old`, served as `served`, to the text `new`, read as `config`, in a
/// process that has room for `most_workers`.
pub(super) fn between(
    (old, new): (&str, &str),
    served: &Config,
    config: &Config,
    most_workers: usize,
) -> Diff {
    let written = differences(old, new).into_iter();
    let mut changes: Vec<Change> = written.map(change).collect();
    // What is fixed may have been written long ago: what counts is what is at work.
    changes.retain(|change| change.cost != Cost::Restart);
    for (item, old, new) in fixed(served, config, most_workers) {
        changes.retain(|change| change.section != "process" || change.item != item);
        changes.push(waiting("process", item, (old, new)));
    }
    for (kind, old, new) in fixed_sections(served, config) {
        let mut is_written = false;
        for change in changes.iter_mut().filter(|change| is_of(change, kind)) {
            change.cost = Cost::Restart;
            is_written = true;
        }
        // Written long ago, or in a file that the text names.
        if !is_written {
            changes.push(waiting(kind, "", (old, new)));
        }
    }
    // A file that the text names may say something else although its name is the same.
    for (old, new) in pairs(served, config) {
        let section = format!("frontend.{}", new.name);
        if old.error_pages != new.error_pages && !changes.iter().any(|c| c.section == section) {
            changes.push(Change {
                kind: ChangeKind::Changed,
                section,
                item: "files".to_owned(),
                old: None,
                new: None,
                cost: Cost::Nothing,
            });
        }
    }
    Diff { changes }
}

/// Something that comes only with a restart.
fn waiting(section: &str, item: &str, (old, new): (String, String)) -> Change {
    Change {
        kind: ChangeKind::Changed,
        section: section.to_owned(),
        item: item.to_owned(),
        old: Some(old),
        new: Some(new),
        cost: Cost::Restart,
    }
}

/// Whether a change is in the section `kind`, or in one of that kind.
fn is_of(change: &Change, kind: &str) -> bool {
    let rest = change.section.strip_prefix(kind);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

type Frontend = catamaran_core::model::Frontend;

fn pairs<'a>(
    served: &'a Config,
    config: &'a Config,
) -> impl Iterator<Item = (&'a Frontend, &'a Frontend)> {
    let known: std::collections::HashMap<_, _> =
        served.frontends.iter().map(|f| (&f.name, f)).collect();
    let new = config.frontends.iter();
    new.filter_map(move |new| Some((*known.get(&new.name)?, new)))
}

/// Settings that are fixed when the process starts and are to be others: key, old, new.
fn fixed(
    served: &Config,
    config: &Config,
    most_workers: usize,
) -> Vec<(&'static str, String, String)> {
    let (old, new) = (&served.process, &config.process);
    let workers = |n: Option<std::num::NonZeroUsize>| {
        n.map_or_else(|| "one for each core".to_owned(), |n| n.to_string())
    };
    let metrics = |a: Option<std::net::SocketAddr>| {
        a.map_or_else(|| "off".to_owned(), |address| address.to_string())
    };
    let mut fixed = Vec::new();
    if new.workers.is_some_and(|n| n.get() > most_workers) {
        fixed.push(("workers", workers(old.workers), workers(new.workers)));
    }
    if old.metrics != new.metrics {
        fixed.push(("metrics", metrics(old.metrics), metrics(new.metrics)));
    }
    if old.resolvers != new.resolvers {
        let (old, new) = (&old.resolvers, &new.resolvers);
        fixed.push(("resolvers", format!("{old:?}"), format!("{new:?}")));
    }
    for (key, old, new) in [
        ("user", &old.user, &new.user),
        ("group", &old.group, &new.group),
    ] {
        if old != new {
            let word =
                |name: &Option<String>| name.clone().unwrap_or_else(|| "unchanged".to_owned());
            fixed.push((key, word(old), word(new)));
        }
    }
    fixed
}

/// Sections that are fixed when the process starts and are to be others: kind, old, new.
fn fixed_sections(served: &Config, config: &Config) -> Vec<(&'static str, String, String)> {
    let mut fixed = Vec::new();
    if served.virtual_ips != config.virtual_ips {
        let names = |all: &[VirtualIp]| {
            let names: Vec<&str> = all.iter().map(|one| one.name.as_str()).collect();
            names.join(", ")
        };
        let (old, new) = (names(&served.virtual_ips), names(&config.virtual_ips));
        fixed.push(("virtual-ip", old, new));
    }
    if served.admin != config.admin {
        // Without the values: one of them is a secret.
        let words = ("as before".to_owned(), "as written now".to_owned());
        fixed.push(("admin", words.0, words.1));
    }
    if served.etcd != config.etcd {
        let words = ("as before".to_owned(), "as written now".to_owned());
        fixed.push(("etcd", words.0, words.1));
    }
    fixed
}

fn change(difference: Difference) -> Change {
    let Difference {
        section,
        item,
        old,
        new,
    } = difference;
    let kind = match (&old, &new) {
        (None, _) => ChangeKind::Added,
        (_, None) => ChangeKind::Removed,
        _ => ChangeKind::Changed,
    };
    Change {
        cost: cost(&section, &item, kind),
        kind,
        section,
        item,
        old,
        new,
    }
}

fn cost(section: &str, item: &str, kind: ChangeKind) -> Cost {
    let is_frontend = section.starts_with("frontend.");
    let is_listener = is_frontend && (item.is_empty() || item.starts_with("listen "));
    let is_fixed = matches!(item, "metrics" | "resolvers" | "user" | "group");
    match kind {
        _ if section == "process" && is_fixed => Cost::Restart,
        ChangeKind::Added if is_listener => Cost::ListenerOpened,
        ChangeKind::Removed if is_listener => Cost::ListenerClosed,
        ChangeKind::Removed if section.starts_with("backend.") && item.starts_with("server ") => {
            Cost::ServerDrains
        }
        _ => Cost::Nothing,
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            ChangeKind::Added => '+',
            ChangeKind::Changed => '~',
            ChangeKind::Removed => '-',
        };
        write!(f, "{sign} {}", self.section)?;
        if !self.item.is_empty() {
            write!(f, " {}", self.item)?;
            match (&self.old, &self.new) {
                (Some(old), Some(new)) => write!(f, ": {old} -> {new}")?,
                (Some(value), None) | (None, Some(value)) => write!(f, ": {value}")?,
                (None, None) => {}
            }
        }
        f.write_str(match self.cost {
            Cost::Nothing => "",
            Cost::ListenerOpened => " (a port is opened)",
            Cost::ListenerClosed => " (a port is closed; its connections drain)",
            Cost::ServerDrains => " (it finishes what it has)",
            Cost::Restart => " (comes only with a restart)",
        })
    }
}

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for change in &self.changes {
            writeln!(f, "{change}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> String {
        let read = |text: &str| {
            let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
            let loaded = catamaran_config::parse(text, "c.toml", &|_| None, &no_file);
            loaded.unwrap().config
        };
        between((old, new), &read(old), &read(new), 8).to_string()
    }

    const OLD: &str = "[process]\nworkers = 2\n\
        [frontend.web]\nlisten = [\"127.0.0.1:80\", \"127.0.0.1:81\"]\nbackend = \"api\"\n\
        [backend.api]\nservers = [\"10.0.0.1:1\", \"10.0.0.2:1\"]\n";

    #[test]
    fn each_change_says_what_it_costs() {
        let new = OLD
            .replace("workers = 2", "workers = 4")
            .replace("127.0.0.1:81", "127.0.0.1:82")
            .replace(", \"10.0.0.2:1\"]", "]\nbalance = \"random\"");
        assert_eq!(
            shown(OLD, &new),
            "+ backend.api balance: \"random\"\n\
             - backend.api server 10.0.0.2:1: \"10.0.0.2:1\" (it finishes what it has)\n\
             - frontend.web listen 127.0.0.1:81: \"127.0.0.1:81\" (a port is closed; its \
             connections drain)\n\
             + frontend.web listen 127.0.0.1:82: \"127.0.0.1:82\" (a port is opened)\n\
             ~ process workers: 2 -> 4\n"
        );
    }

    #[test]
    fn more_workers_than_there_is_room_for_come_with_a_restart() {
        assert_eq!(
            shown(OLD, &OLD.replace("workers = 2", "workers = 9")),
            "~ process workers: 2 -> 9 (comes only with a restart)\n"
        );
    }

    #[test]
    fn what_waits_for_a_restart_is_told_once_where_it_is_written() {
        let old = format!(
            "{OLD}[admin]\nlisten = \"127.0.0.1:7900\"\n[virtual-ip.main]\ninterface = \"eth0\"\n\
             addresses = [\"192.0.2.1\"]\nrouter-id = 51\npriority = 150\n"
        );
        let new = old.replace(":7900", ":7901").replace("150", "200");
        assert_eq!(
            shown(&old, &new),
            "~ admin listen: \"127.0.0.1:7900\" -> \"127.0.0.1:7901\" (comes only with a restart)\n\
             ~ virtual-ip.main priority: 150 -> 200 (comes only with a restart)\n"
        );
        assert_eq!(
            shown(OLD, &format!("{OLD}[admin]\nsocket = false\n")),
            "+ admin (comes only with a restart)\n"
        );
    }

    #[test]
    fn what_was_written_long_ago_still_waits() {
        let read = |text: &str| {
            let no_file = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
            let loaded = catamaran_config::parse(text, "c.toml", &|_| None, &no_file);
            loaded.unwrap().config
        };
        let new = format!("{OLD}[admin]\nsocket = false\n");
        let diff = between((&new, &new), &read(OLD), &read(&new), 8);
        assert_eq!(diff.to_string(), "~ admin (comes only with a restart)\n");
    }

    #[test]
    fn the_same_text_changes_nothing() {
        assert_eq!(shown(OLD, &format!("# comment\n{OLD}")), "");
    }
}
