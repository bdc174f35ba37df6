//! Groups and checks as the tree that k6's JSON has.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Summary, md5};
use crate::board::Tally;

/// How groups and checks stand in their parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// By name, as in `--summary-export`.
    ByName,
    /// As lists, as `handleSummary` gets them.
    Lists,
}

/// The root group with all below it.
pub(super) fn tree(summary: &Summary<'_>, form: Form) -> Value {
    let mut root = Group::default();
    for path in &summary.board.groups {
        root.find(path);
    }
    for ((path, name), tally) in &summary.board.checks {
        root.find(path).checks.push((name, *tally));
    }
    root.to_json("", "", form)
}

#[derive(Default)]
struct Group<'a> {
    groups: BTreeMap<&'a str, Self>,
    checks: Vec<(&'a str, Tally)>,
}

impl<'a> Group<'a> {
    /// The group with this path, made with its parents if it is not there.
    fn find(&mut self, path: &'a str) -> &mut Self {
        let names = path.split("::").filter(|name| !name.is_empty());
        names.fold(self, |group, name| group.groups.entry(name).or_default())
    }

    fn to_json(&self, name: &str, path: &str, form: Form) -> Value {
        let groups = self.groups.iter().map(|(name, group)| {
            let value = group.to_json(name, &format!("{path}::{name}"), form);
            ((*name).to_owned(), value)
        });
        let mut checks = self.checks.clone();
        checks.sort_by_key(|(_, tally)| tally.order);
        let checks = checks.into_iter().map(|(name, tally)| {
            let path = format!("{path}::{name}");
            let value = json!({
                "name": name, "path": path, "id": md5::hex(path.as_bytes()),
                "passes": tally.passes, "fails": tally.fails,
            });
            (name.to_owned(), value)
        });
        json!({
            "name": name, "path": path, "id": md5::hex(path.as_bytes()),
            "groups": gather(groups, form), "checks": gather(checks, form),
        })
    }
}

fn gather(pairs: impl Iterator<Item = (String, Value)>, form: Form) -> Value {
    match form {
        Form::ByName => Value::Object(pairs.collect::<Map<_, _>>()),
        Form::Lists => pairs.map(|(_, value)| value).collect(),
    }
}
