//! The `[list.*]` and `[map.*]` sections and the files that hold their entries.
//!
//! A file has an entry on each line; `#` begins a comment. What is wrong in it is told with the
//! place in that file. The texts are also made here anew when an entry is to be kept that was
//! changed at run time: every other line stays as it is.

use crate::backend::{Backends, check_name};
use crate::error::Place;
use crate::policy;
use crate::read::{Entry, Fields, Node, Reader};
use crate::reference;
use catamaran_core::lookup::{BadKey, Lookup};
use catamaran_core::model::{
    AddressList, BackendId, HashKey, IpNet, ListId, Map, MapId, MapMatch, Name,
};
use catamaran_core::nearest::remedy;
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// All lists and maps of a file, to be referred to by name.
pub(crate) struct Files<'a> {
    reader: &'a Reader<'a>,
    lists: Vec<Named<'a, AddressList>>,
    maps: Vec<Named<'a, Map>>,
}

struct Named<'a, T> {
    name: &'a str,
    at: usize,
    used: Cell<bool>,
    /// `None` if something is wrong with it.
    model: Option<T>,
}

impl<'a> Files<'a> {
    /// Reads the lists and maps in the order of the file.
    pub(crate) fn read(root: Fields<'a>, backends: &Backends<'a>) -> Self {
        Self {
            reader: root.reader(),
            lists: named(root, "list", read_list),
            maps: named(root, "map", |entry| read_map(entry, backends)),
        }
    }

    /// The list `name`, which `node` names.
    pub(crate) fn list(&self, name: &str, node: Node<'a>) -> Option<ListId> {
        find(&self.lists, "list", name, node).map(ListId)
    }

    /// The map that `node` names.
    pub(crate) fn map(&self, node: Node<'a>) -> Option<MapId> {
        let name = node.text("the name of a map (a string)")?;
        find(&self.maps, "map", &name, node).map(MapId)
    }

    /// Warns about those that nothing refers to.
    pub(crate) fn warn_unused(&self) {
        let lists = self.lists.iter().map(|l| ("list", l.name, l.at, &l.used));
        let maps = self.maps.iter().map(|m| ("map", m.name, m.at, &m.used));
        for (word, name, at, _) in lists.chain(maps).filter(|(.., used)| !used.get()) {
            let how = match word {
                "list" => format!("write `deny = \"list:{name}\"` in a frontend or route"),
                _ => format!("write `map = \"{name}\"` in a route"),
            };
            let message = format!("{word} `{name}` is not used; {how}, or remove it");
            self.reader.warn(at, message);
        }
    }

    /// The lists and maps, for a file without mistakes.
    pub(crate) fn into_models(self) -> (Vec<AddressList>, Vec<Map>) {
        let lists = self.lists.into_iter().filter_map(|list| list.model);
        let maps = self.maps.into_iter().filter_map(|map| map.model);
        (lists.collect(), maps.collect())
    }
}

fn named<'a, T>(
    root: Fields<'a>,
    key: &'static str,
    read: impl Fn(Entry<'a>) -> Option<T>,
) -> Vec<Named<'a, T>> {
    let entries = root.node(key).and_then(|node| node.entries());
    let named = |entry: Entry<'a>| {
        check_name(key, entry);
        Named {
            name: entry.name,
            at: entry.at,
            used: Cell::new(false),
            model: read(entry),
        }
    };
    entries.unwrap_or_default().into_iter().map(named).collect()
}

fn find<T>(all: &[Named<'_, T>], word: &str, name: &str, node: Node<'_>) -> Option<u32> {
    let Some(index) = all.iter().position(|known| known.name == name) else {
        let names: Vec<&str> = all.iter().map(|known| known.name).collect();
        let remedy = if names.is_empty() {
            format!("add `[{word}.{name}]` with its `file`")
        } else {
            remedy(name, &names)
        };
        node.error(format!("unknown {word} `{name}`; {remedy}"));
        return None;
    };
    all[index].used.set(true);
    u32::try_from(index).ok()
}

fn read_list(entry: Entry<'_>) -> Option<AddressList> {
    let fields = entry.node.fields(&reference::LIST)?;
    let file = File::of(fields);
    let mut entries = Vec::new();
    if let Some(file) = &file {
        let mut seen = HashSet::new();
        file.each_line(fields.reader(), |place, line| {
            let network: IpNet = line.parse().map_err(|cause| {
                (
                    place,
                    format!("`{line}` is no network: {cause}; write it as `10.0.0.0/8`"),
                )
            })?;
            let network = network.canonical();
            if seen.insert(network) {
                entries.push(network);
            }
            Ok(())
        })?;
    }
    Some(AddressList {
        name: Name::new(entry.name),
        file: file.map(|file| file.path),
        entries: entries.into(),
    })
}

fn read_map(entry: Entry<'_>, backends: &Backends<'_>) -> Option<Map> {
    let fields = entry.node.fields(&reference::MAP)?;
    let key = fields.node("key").and_then(policy::hash_key);
    let matches = [
        ("exact", MapMatch::Exact),
        ("prefix", MapMatch::Prefix),
        ("domain", MapMatch::Domain),
        ("network", MapMatch::Network),
    ];
    let how = fields.node("match");
    let how = how.map_or(Some(MapMatch::Exact), |node| node.choice(&matches));
    let key = match fields.node("key") {
        Some(_) => key?,
        None => HashKey::Host,
    };
    let how = how?;
    if let Some(node) = fields.node("match") {
        check_match(node, &key, how);
    }
    let file = File::of(fields);
    let mut entries: Vec<(Box<str>, BackendId)> = Vec::new();
    if let Some(file) = &file {
        let mut known = Lookup::new(how);
        file.each_line(fields.reader(), |place, line| {
            let (key_text, backend) = split_entry(line).ok_or_else(|| {
                let told = "a map has a key and a backend on each line: `example.com api`";
                (place, told.to_owned())
            })?;
            let key_text = folded(key_text, &key);
            let before = known.insert(&key_text, place.line);
            if let Some(earlier) = before.map_err(|error| (place, bad_key(&error)))? {
                let told = format!("`{key_text}` is written twice, first at line {earlier}");
                return Err((place, format!("{told}; remove one")));
            }
            let id = backends.of_name(backend).map_err(|told| {
                let column = place.column + line.len() - backend.len();
                (Place { column, ..place }, told)
            })?;
            entries.push((key_text.into(), id));
            Ok(())
        })?;
    }
    Some(Map {
        name: Name::new(entry.name),
        file: file.map(|file| file.path),
        key,
        how,
        entries: entries.into(),
    })
}

/// Says what of `match` fits no value of `key`.
fn check_match(node: Node<'_>, key: &HashKey, how: MapMatch) {
    let is_address = matches!(key, HashKey::SourceIp);
    match how {
        MapMatch::Domain if *key != HashKey::Host && !matches!(key, HashKey::Header(_)) => {
            node.error("`domain` compares hosts; write `key = \"host\"`, or another `match`");
        }
        MapMatch::Network if matches!(key, HashKey::Host | HashKey::Path | HashKey::Uri) => {
            node.error("`network` compares addresses; write `key = \"source-ip\"`");
        }
        MapMatch::Prefix if is_address => {
            node.error("addresses have no beginning to compare; write `match = \"network\"`");
        }
        _ => {}
    }
}

/// The key and the backend on a line of a map.
fn split_entry(line: &str) -> Option<(&str, &str)> {
    let (key, rest) = line.split_once([' ', '\t'])?;
    let backend = rest.trim();
    (!backend.is_empty() && !backend.contains([' ', '\t'])).then_some((key, backend))
}

/// A key as requests are compared with it: hosts in lower case.
fn folded(key: &str, of: &HashKey) -> String {
    match of {
        HashKey::Host => key.to_ascii_lowercase(),
        _ => key.to_owned(),
    }
}

/// What is wrong with a key.
fn bad_key(error: &BadKey) -> String {
    match error {
        BadKey::NoNetwork(cause) => format!("{error}: {cause}; write it as `10.0.0.0/8`"),
        BadKey::Empty | BadKey::Long => error.to_string(),
    }
}

/// A file of entries that the configuration names.
struct File<'a> {
    node: Node<'a>,
    path: PathBuf,
}

impl<'a> File<'a> {
    fn of(fields: Fields<'a>) -> Option<Self> {
        let node = fields.node("file")?;
        let path = PathBuf::from(node.text("a file (a string)")?);
        Some(Self { node, path })
    }

    /// Calls `read` with each line that is not empty, and with its place. `None` if anything is
    /// wrong with the file.
    fn each_line(
        &self,
        reader: &Reader<'_>,
        mut read: impl FnMut(Place, &str) -> Result<(), (Place, String)>,
    ) -> Option<()> {
        let shown = self.path.display();
        let text = reader.read_file(&self.path).map_err(|source| {
            let told = format!("`{shown}` cannot be read: {source}; write the file, or remove it");
            self.node.error(told);
        });
        let text = text.ok()?;
        if text.len() > MAX_FILE_BYTES {
            let told = format!("`{shown}` has more than {MAX_FILE_BYTES} bytes");
            self.node.error(format!("{told}; split it"));
            return None;
        }
        let text = String::from_utf8(text).map_err(|_| {
            let told = format!("`{shown}` is not UTF-8; save it as UTF-8 text");
            self.node.error(told);
        });
        let text = text.ok()?;
        let mut wrong = 0;
        let mut count = 0;
        for (index, line) in text.lines().enumerate() {
            let content = content(line);
            if content.is_empty() {
                continue;
            }
            count += 1;
            let before = line.len() - line.trim_start().len();
            let place = Place {
                line: index + 1,
                column: before + 1,
            };
            if let Err((place, message)) = read(place, content) {
                wrong += 1;
                if wrong <= MAX_TOLD {
                    reader.error_in(&self.path, place, message);
                }
            }
        }
        if count > MAX_ENTRIES {
            let told = format!("`{shown}` has {count} entries; {MAX_ENTRIES} are allowed");
            self.node.error(format!("{told}: split it"));
        }
        (wrong == 0 && count <= MAX_ENTRIES).then_some(())
    }
}

/// A line without its comment and the space around.
fn content(line: &str) -> &str {
    let line = line.trim();
    let comment = line
        .char_indices()
        .find(|&(at, c)| c == '#' && (at == 0 || line[..at].ends_with([' ', '\t'])));
    comment.map_or(line, |(at, _)| line[..at].trim_end())
}

/// The text of a list after `network` was added to it or removed from it.
#[must_use]
pub fn list_with(text: &str, network: IpNet, is_in: bool) -> String {
    let network = network.canonical();
    let is_it = |line: &str| {
        content(line)
            .parse()
            .is_ok_and(|n: IpNet| n.canonical() == network)
    };
    edited(text, is_it, is_in.then(|| network.to_string()))
}

/// The text of a map after `key` was given another backend, or none any more.
#[must_use]
pub fn map_with(text: &str, key: &str, backend: Option<&str>) -> String {
    let is_it = |line: &str| split_entry(content(line)).is_some_and(|(known, _)| known == key);
    edited(
        text,
        is_it,
        backend.map(|backend| format!("{key} {backend}")),
    )
}

/// `text` with `line` in the place of those that are meant, or at its end.
fn edited(text: &str, is_meant: impl Fn(&str) -> bool, line: Option<String>) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut line = line;
    for known in text.split_inclusive('\n') {
        if !is_meant(known) {
            out.push_str(known);
        } else if let Some(line) = line.take() {
            out.push_str(&line);
            out.push('\n');
        }
    }
    if let Some(line) = line {
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// A key of the map `how`, as the operator writes one at run time.
///
/// # Errors
/// What is wrong with it.
pub fn map_key(map: &Map, key: &str) -> Result<Box<str>, String> {
    let key = folded(key, &map.key);
    if key.contains(|c: char| c.is_whitespace() || c == '#' || c.is_control()) {
        return Err("a key has no spaces, control characters or `#`".to_owned());
    }
    let mut one = Lookup::new(map.how);
    one.insert(&key, ()).map_err(|error| bad_key(&error))?;
    Ok(key.into())
}

/// Where the files of `lists` and `maps` stand, relative ones to `directory`.
pub fn paths<'c>(
    config: &'c catamaran_core::model::Config,
    directory: &'c Path,
) -> impl Iterator<Item = PathBuf> + 'c {
    let lists = config.lists.iter().filter_map(|list| list.file.as_ref());
    let maps = config.maps.iter().filter_map(|map| map.file.as_ref());
    lists.chain(maps).map(|file| directory.join(file))
}

/// The value of each key of a map.
#[must_use]
pub fn written(map: &Map) -> HashMap<&str, BackendId> {
    map.entries.iter().map(|(key, id)| (&**key, *id)).collect()
}

/// Entries of one list or map. Chosen: larger than the largest public lists of networks.
const MAX_ENTRIES: usize = 1_000_000;
/// Bytes of one file.
const MAX_FILE_BYTES: usize = 64 << 20;
/// Mistakes told of one file: a wrong file has as many as lines.
const MAX_TOLD: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_space_around_an_entry_are_left_out() {
        assert_eq!(content("  10.0.0.1 # ours"), "10.0.0.1");
        assert_eq!(content("# all"), "");
        assert_eq!(content("/a#b api"), "/a#b api");
    }

    #[test]
    fn an_entry_is_added_and_removed_without_touching_other_lines() {
        let text = "# ours\n10.0.0.0/8 # all\n\n192.0.2.1";
        let network = |text: &str| text.parse::<IpNet>().unwrap();
        let with = list_with(text, network("::1"), true);
        assert_eq!(with, format!("{text}\n::1\n"));
        assert_eq!(list_with(&with, network("::1"), false), format!("{text}\n"));
        // However it is written.
        let without = list_with(text, network("10.9.9.9/8"), false);
        assert_eq!(without, "# ours\n\n192.0.2.1");
    }

    #[test]
    fn an_entry_of_a_map_changes_in_its_place() {
        let text = "a.example one\nb.example one # b\n";
        assert_eq!(
            map_with(text, "a.example", Some("two")),
            "a.example two\nb.example one # b\n"
        );
        assert_eq!(map_with(text, "b.example", None), "a.example one\n");
        assert_eq!(map_with("", "c", Some("one")), "c one\n");
    }
}
