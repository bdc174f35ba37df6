//! Several texts as one configuration: the file of a node, what its fleet shares, and what the fleet
//! says for this node alone.
//!
//! Tables are merged key by key; of anything else the later layer's value holds. The fleet's text
//! keeps its lines where it can, so that a mistake in it is told with the place where it stands: what
//! the file adds follows it.

use crate::{Errors, Finding, Place};
use toml_edit::{Document, Item, Table, TableLike};

/// The texts that make up the configuration of a node of a fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    /// The node's own file.
    pub file: String,
    /// What every node of the fleet has, over the file.
    pub fleet: Option<String>,
    /// What only this node has, over both.
    pub node: Option<String>,
}

impl Layers {
    /// Whether there is nothing but the file.
    #[must_use]
    pub const fn is_file_alone(&self) -> bool {
        self.fleet.is_none() && self.node.is_none()
    }

    /// The one text that they make. `file_name` is what messages call the file.
    ///
    /// # Errors
    /// Those that are no TOML, and tables that only the file may have.
    pub fn merged(&self, file_name: &str) -> Result<String, Errors> {
        if self.is_file_alone() {
            return Ok(self.file.clone());
        }
        let mut findings = Vec::new();
        let file = document(&self.file, file_name, &mut findings).into_mut();
        let mut shared = |text: &Option<String>, name| {
            let text = text.as_deref().unwrap_or_default();
            let document = document(text, name, &mut findings);
            findings.extend(only_in_file(&document, name));
            document.into_mut()
        };
        let mut fleet = shared(&self.fleet, FLEET_NAME);
        let node = shared(&self.node, NODE_NAME);
        if !findings.is_empty() {
            return Err(Errors::new(findings));
        }
        let mut next = AFTER;
        fill(fleet.as_table_mut(), file.as_table(), &mut next);
        overlay(fleet.as_table_mut(), node.as_table(), &mut next);
        Ok(fleet.to_string())
    }
}

/// What messages call the text of the whole fleet.
pub const FLEET_NAME: &str = "etcd:config";
/// What messages call the text of one node.
pub const NODE_NAME: &str = "etcd:nodes/NAME/config";

fn document(text: &str, name: &str, findings: &mut Vec<Finding>) -> Document<String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Document::parse(text.to_owned()).unwrap_or_else(|error| {
        let at = error.span().map_or(0, |span| span.start);
        findings.push(Finding {
            file: name.to_owned(),
            place: Some(Place::of(text, at)),
            message: format!("TOML syntax: {}", error.message().replace('\n', ", ")),
        });
        Document::parse(String::new()).expect("an empty text is TOML")
    })
}

/// Whoever can write the store must not be able to send the node to another.
fn only_in_file(document: &Document<String>, name: &str) -> Option<Finding> {
    let (key, item) = document.get_key_value("etcd")?;
    let span = item.span().or_else(|| key.span());
    let at = span.map_or(0, |span| span.start);
    Some(Finding {
        file: name.to_owned(),
        place: Some(Place::of(document.raw(), at)),
        message: "`etcd` stands in the file of each node; remove it here".to_owned(),
    })
}

/// Adds to `to` what it does not have.
fn fill(to: &mut dyn TableLike, from: &dyn TableLike, next: &mut isize) {
    for (key, item) in from.iter() {
        let Some(there) = to.get_mut(key) else {
            put(to, key, item, next);
            continue;
        };
        if let (Some(there), Some(item)) = (there.as_table_like_mut(), item.as_table_like()) {
            fill(there, item, next);
        }
    }
}

/// Puts what `over` says in the place of what `to` says.
fn overlay(to: &mut dyn TableLike, over: &dyn TableLike, next: &mut isize) {
    for (key, item) in over.iter() {
        let there = to.get_mut(key).and_then(Item::as_table_like_mut);
        if let (Some(there), Some(item)) = (there, item.as_table_like()) {
            overlay(there, item, next);
        } else {
            put(to, key, item, next);
        }
    }
}

/// Puts a copy of `item` behind everything that is there.
fn put(to: &mut dyn TableLike, key: &str, item: &Item, next: &mut isize) {
    let mut item = item.clone();
    place(&mut item, next);
    to.insert(key, item);
}

/// Tables are written in the order of their positions, which are those of their own text.
fn place(item: &mut Item, next: &mut isize) {
    let mut one = |table: &mut Table| {
        table.set_position(Some(*next));
        *next += 1;
        for (_, item) in table.iter_mut() {
            place(item, next);
        }
    };
    match item {
        Item::Table(table) => one(table),
        Item::ArrayOfTables(tables) => tables.iter_mut().for_each(one),
        Item::None | Item::Value(_) => {}
    }
}

/// The position of the first table that is added; no text has as many.
const AFTER: isize = 1 << 40;

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(file: &str, fleet: &str, node: &str) -> String {
        let layers = Layers {
            file: file.to_owned(),
            fleet: Some(fleet.to_owned()),
            node: Some(node.to_owned()),
        };
        layers
            .merged("c.toml")
            .unwrap_or_else(|errors| errors.to_string())
    }

    #[test]
    fn the_text_of_the_fleet_keeps_its_lines_and_the_file_follows() {
        let fleet = "# ours\n[frontend.web]\nlisten = \":80\" # here\nbackend = \"api\"\n\n\
                     [backend.api]\nservers = [\"etcd:api\"]\n";
        let file = "[etcd]\nendpoints = \"a\"\n\n[admin]\nlisten = \"127.0.0.1:1\"\n";
        let text = merged(file, fleet, "");
        assert!(text.starts_with(fleet), "{text}");
        assert!(text.contains("[etcd]\nendpoints = \"a\""), "{text}");
        assert!(text.find("[etcd]") < text.find("[admin]"), "{text}");
    }

    #[test]
    fn a_later_layer_holds_key_by_key() {
        let text = merged(
            "[process]\nworkers = 1\ndrain = \"1s\"\n",
            "[process]\nworkers = 2\n[backend.api]\nservers = [\"a:1\", \"b:1\"]\nhealth = { http = \"/\" }\n",
            "[process]\nworkers = 3\n[backend.api]\nservers = [\"c:1\"]\nhealth.rise = 5\n[backend.new]\nservers = [\"d:1\"]\n",
        );
        let value: toml::Table = text.parse().unwrap();
        assert_eq!(value["process"]["workers"].as_integer(), Some(3));
        assert_eq!(value["process"]["drain"].as_str(), Some("1s"));
        let api = &value["backend"]["api"];
        assert_eq!(api["servers"].as_array().map(Vec::len), Some(1));
        assert_eq!(api["health"]["http"].as_str(), Some("/"));
        assert_eq!(api["health"]["rise"].as_integer(), Some(5));
        assert!(value["backend"]["new"].is_table());
    }

    #[test]
    fn routes_and_other_lists_are_taken_whole() {
        let file = "[[frontend.web.route]]\nname = \"a\"\n[[frontend.web.route]]\nname = \"b\"\n";
        let text = merged(
            file,
            "[frontend.other]\n",
            "[[frontend.web.route]]\nname = \"c\"\n",
        );
        let value: toml::Table = text.parse().unwrap();
        let routes = value["frontend"]["web"]["route"].as_array();
        assert_eq!(routes.map(Vec::len), Some(1), "{text}");
        let text = merged(file, "[frontend.other]\n", "");
        let value: toml::Table = text.parse().unwrap();
        let routes = value["frontend"]["web"]["route"].as_array();
        assert_eq!(routes.map(Vec::len), Some(2), "{text}");
    }

    #[test]
    fn a_layer_that_is_no_toml_is_named_with_its_place() {
        assert_eq!(
            merged("", "[frontend.web]\nlisten = = 1\n", "x"),
            "etcd:config:2:10: TOML syntax: extra `=`, expected nothing\n\
             etcd:nodes/NAME/config:1:2: TOML syntax: key with no value, expected `=`"
        );
    }

    #[test]
    fn the_store_cannot_send_a_node_to_another_store() {
        assert_eq!(
            merged("", "\n[etcd]\nendpoints = \"evil\"\n", ""),
            "etcd:config:2:1: `etcd` stands in the file of each node; remove it here"
        );
    }
}
