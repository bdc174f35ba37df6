//! What two configurations say differently, as they were written.

use std::collections::BTreeMap;
use toml::{Table, Value};

/// One thing that is said differently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which section, such as `backend.api`; empty for none.
    pub section: String,
    /// What in it: a key such as `stick.for`, a listener such as `listen 0.0.0.0:80`, a server such
    /// as `server b`, a route such as `route api`; empty for the section itself.
    pub item: String,
    /// The value before, as TOML; `None` if it was not written. A variable stands as its name.
    pub old: Option<String>,
    /// The value now.
    pub new: Option<String>,
}

/// Says what `new` says differently than `old`, in the order of sections. A section that comes or
/// goes is one difference, with its content as the value.
///
/// Both must be TOML; a text that is not says nothing.
#[must_use]
pub fn differences(old: &str, new: &str) -> Vec<Difference> {
    let (old, new) = (sections(old), sections(new));
    let mut all = Vec::new();
    let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) => compare(name, &items(name, old), &items(name, new), &mut all),
            (old, new) => all.push(Difference {
                section: name.clone(),
                item: String::new(),
                old: old.map(ToString::to_string),
                new: new.map(ToString::to_string),
            }),
        }
    }
    all
}

fn compare(
    section: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    all: &mut Vec<Difference>,
) {
    let items: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
    for item in items {
        let (old, new) = (old.get(item), new.get(item));
        if old != new {
            all.push(Difference {
                section: section.to_owned(),
                item: item.clone(),
                old: old.cloned(),
                new: new.cloned(),
            });
        }
    }
}

/// The sections of a text: `process`, and each `kind.name` of those that are named.
pub(crate) fn sections(text: &str) -> BTreeMap<String, Table> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut sections = BTreeMap::new();
    let Ok(root) = text.parse::<Table>() else {
        return sections;
    };
    for (kind, value) in root {
        match value {
            Value::Table(named) if named.values().all(Value::is_table) && kind != "process" => {
                for (name, section) in named {
                    if let Value::Table(section) = section {
                        sections.insert(format!("{kind}.{name}"), section);
                    }
                }
            }
            Value::Table(section) => {
                sections.insert(kind, section);
            }
            other => {
                let root: &mut Table = sections.entry(String::new()).or_default();
                root.insert(kind, other);
            }
        }
    }
    sections
}

/// What a section holds, one by one.
pub(crate) fn items(section: &str, table: &Table) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for (key, value) in table {
        match (key.as_str(), value) {
            ("servers", Value::Array(servers)) if section.starts_with("backend.") => {
                list("server", servers, &["name", "address"], &mut out);
            }
            ("listen", value) if section.starts_with("frontend.") => match value {
                Value::Array(listeners) => list("listen", listeners, &["address"], &mut out),
                one => list("listen", std::slice::from_ref(one), &["address"], &mut out),
            },
            ("routes" | "route", Value::Array(routes)) => {
                list("route", routes, &["name"], &mut out);
            }
            (key, value) => flatten(key.to_owned(), value, &mut out),
        }
    }
    out
}

/// The elements of a list by what names them: one of `names`, else the text itself, else their
/// number from 1.
fn list(word: &str, elements: &[Value], names: &[&str], out: &mut BTreeMap<String, String>) {
    for (index, element) in elements.iter().enumerate() {
        let name = match element {
            Value::String(text) => Some(text.as_str()),
            element => names.iter().find_map(|name| element.get(name)?.as_str()),
        };
        let key = match name {
            Some(name) => format!("{word} {name}"),
            None => format!("{word} {}", index + 1),
        };
        out.insert(key, element.to_string());
    }
}

fn flatten(key: String, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (inner, value) in table {
                flatten(format!("{key}.{inner}"), value, out);
            }
        }
        value => {
            out.insert(key, value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        differences(old, new)
            .into_iter()
            .map(|d| {
                format!(
                    "{} {}: {} > {}",
                    d.section,
                    d.item,
                    text(d.old),
                    text(d.new)
                )
            })
            .collect()
    }

    #[test]
    fn servers_and_listeners_are_told_apart_by_what_names_them() {
        let old = "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\
                   [backend.api]\nservers = [\"a:1\", { name = \"b\", address = \"b:1\" }]\n";
        let new = "[backend.api]\nservers = [{ name = \"b\", address = \"b:1\", weight = 2 }, \"c:1\"]\n\
                   [frontend.web]\nlisten = [\":80\", \":81\"]\nbackend = \"api\"\n";
        assert_eq!(
            shown(old, new),
            [
                "backend.api server a:1: \"a:1\" > -",
                "backend.api server b: { address = \"b:1\", name = \"b\" } > \
                 { address = \"b:1\", name = \"b\", weight = 2 }",
                "backend.api server c:1: - > \"c:1\"",
                "frontend.web listen :81: - > \":81\"",
            ]
        );
    }

    #[test]
    fn keys_carry_their_path_and_sections_come_and_go_whole() {
        let old =
            "[process]\nworkers = 2\n[backend.api]\nstick = { on = \"source-ip\", for = \"2s\" }\n";
        let new = "[process]\nworkers = 4\n[backend.api]\nstick = { on = \"source-ip\", for = \"${T}\" }\n\
                   [backend.b]\nservers = []\n";
        assert_eq!(
            shown(old, new),
            [
                "backend.api stick.for: \"2s\" > \"${T}\"",
                "backend.b : - > servers = []\n",
                "process workers: 2 > 4",
            ]
        );
    }

    #[test]
    fn order_comments_and_spaces_make_no_difference() {
        let old = "# a\n[backend.api]\nbalance = \"random\"\nservers = [\"a:1\", \"b:1\"]\n";
        let new = "[backend.api]\nservers = [ 'b:1', 'a:1' ]\nbalance='random'";
        assert_eq!(shown(old, new), [""; 0]);
    }
}
