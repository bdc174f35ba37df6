//! Changes written into a configuration's text; all that they do not concern stays as it was,
//! comments and layout too.

use crate::address;
use catamaran_core::model::{Edit, Name, Server, Weight};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, TableLike, Value};

/// Returns `text` with `edit` made.
///
/// # Errors
/// Why it cannot be: the text says nothing of what is to be changed, or in a way that an edit does
/// not understand.
pub fn edited(text: &str, edit: &Edit) -> Result<String, String> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|_| "the file is no valid TOML; repair it first".to_owned())?;
    let (Edit::Weight { backend, .. } | Edit::Add { backend, .. } | Edit::Remove { backend, .. }) =
        edit;
    let servers = document
        .get_mut("backend")
        .and_then(|backends| backends.get_mut(backend.as_str()))
        .and_then(|backend| backend.get_mut("servers"))
        .ok_or_else(|| format!("the file has no `servers` of backend `{backend}`"))?;
    match servers {
        Item::Value(Value::Array(array)) => in_array(array, edit)?,
        Item::ArrayOfTables(tables) => match edit {
            Edit::Weight { server, weight, .. } => {
                let table = tables.iter_mut().find(|table| is_called(*table, server));
                let table = table.ok_or_else(|| not_written(server))?;
                table["weight"] = weight_value(*weight).into();
            }
            Edit::Add { server, .. } => {
                let mut table = Table::new();
                for (key, value) in table_of(server) {
                    table[&key] = Item::Value(value);
                }
                tables.push(table);
            }
            Edit::Remove { server, .. } => {
                let index = tables.iter().position(|table| is_called(table, server));
                tables.remove(index.ok_or_else(|| not_written(server))?);
            }
        },
        Item::Value(Value::String(_)) => {
            let only = servers.clone().into_value();
            let mut array: Array = only.into_iter().collect();
            in_array(&mut array, edit)?;
            *servers = Item::Value(Value::Array(array));
        }
        _ => return Err(format!("`servers` of backend `{backend}` is no list")),
    }
    Ok(document.to_string())
}

fn in_array(array: &mut Array, edit: &Edit) -> Result<(), String> {
    let find = |array: &Array, name: &Name| {
        let index = array.iter().position(|value| value_is_called(value, name));
        index.ok_or_else(|| not_written(name))
    };
    match edit {
        Edit::Weight { server, weight, .. } => {
            let index = find(array, server)?;
            let value = array.get_mut(index).expect("it was just found");
            if let Some(table) = value.as_inline_table_mut() {
                table.insert("weight", weight_value(*weight));
            } else {
                let mut table = InlineTable::new();
                let mut bare = value.clone();
                bare.decor_mut().clear();
                table.insert("address", bare);
                table.insert("weight", weight_value(*weight));
                let mut changed = Value::InlineTable(table);
                *changed.decor_mut() = value.decor().clone();
                *value = changed;
            }
        }
        Edit::Add { server, .. } => {
            let table = table_of(server);
            let is_plain = table.len() == 1;
            let value = match table.get("address") {
                Some(address) if is_plain => address.clone(),
                _ => Value::InlineTable(table),
            };
            append(array, value);
        }
        Edit::Remove { server, .. } => {
            let index = find(array, server)?;
            array.remove(index);
        }
    }
    Ok(())
}

/// Appends to a list, on a line of its own where the others have one.
fn append(array: &mut Array, mut value: Value) {
    let last = array
        .len()
        .checked_sub(1)
        .and_then(|index| array.get(index));
    let prefix = last.and_then(|last| last.decor().prefix()?.as_str());
    // What stands before the last may be a comment of its own: only the line break is taken.
    let own_line = prefix.is_some_and(|prefix| prefix.contains('\n'));
    let indent = prefix.and_then(|prefix| prefix.rsplit('\n').next());
    let prefix = match (own_line, indent) {
        (true, Some(indent)) => format!("\n{indent}"),
        _ if array.is_empty() => String::new(),
        _ => " ".to_owned(),
    };
    value.decor_mut().set_prefix(prefix);
    array.push_formatted(value);
}

fn table_of(server: &Server) -> InlineTable {
    let address = server.address.to_string();
    let mut table = InlineTable::new();
    table.insert("address", address.as_str().into());
    if server.name.as_str() != address {
        table.insert("name", server.name.as_str().into());
    }
    if server.weight != Weight::ONE {
        table.insert("weight", weight_value(server.weight));
    }
    if server.backup {
        table.insert("backup", true.into());
    }
    if let Some(max) = server.max_requests {
        table.insert("max-requests", i64::from(max).into());
    }
    if let Some(max) = server.max_connections {
        table.insert("max-connections", i64::from(max).into());
    }
    table
}

fn weight_value(weight: Weight) -> Value {
    i64::from(weight.as_u16()).into()
}

fn value_is_called(value: &Value, name: &Name) -> bool {
    match value {
        Value::String(text) => address_is_called(text.value(), name),
        Value::InlineTable(table) => is_called(table, name),
        _ => false,
    }
}

fn is_called(table: &dyn TableLike, name: &Name) -> bool {
    let text = |key| table.get(key).and_then(Item::as_str);
    match (text("name"), text("address")) {
        (Some(written), _) => written == name.as_str(),
        (None, Some(written)) => address_is_called(written, name),
        (None, None) => false,
    }
}

/// Whether a server that is written by its address alone has this name.
fn address_is_called(written: &str, name: &Name) -> bool {
    address::server(written).is_ok_and(|address| address.to_string() == name.as_str())
}

fn not_written(server: &Name) -> String {
    format!(
        "the file does not write server `{server}` by that name (it was added at run time, found \
         in the DNS, or is written with a variable)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# the whole
[backend.api] # of the shop
servers = [
  \"10.0.0.1:80\", # old
  # the new one
  { address = \"10.0.0.2:80\", name = \"b\" }, # kept
]
balance = 'random'
";

    fn weight(server: &str, weight: u16) -> Edit {
        Edit::Weight {
            backend: "api".into(),
            server: server.into(),
            weight: Weight::new(weight).unwrap(),
        }
    }

    fn added(address: &str) -> Edit {
        let server = Box::new(crate::server(address, None).unwrap());
        let backend = "api".into();
        Edit::Add { backend, server }
    }

    #[test]
    fn a_weight_is_written_and_every_comment_stays() {
        let text = edited(FILE, &weight("10.0.0.1:80", 5)).unwrap();
        let text = edited(&text, &weight("b", 7)).unwrap();
        let expected = FILE
            .replace(
                "\"10.0.0.1:80\"",
                "{ address = \"10.0.0.1:80\", weight = 5 }",
            )
            .replace("name = \"b\" }", "name = \"b\" , weight = 7 }");
        let squeezed = |text: &str| text.replace(" ,", ",");
        assert_eq!(squeezed(&text), squeezed(&expected));
    }

    #[test]
    fn a_server_is_added_on_a_line_of_its_own_and_removed_again() {
        let text = edited(FILE, &added("10.0.0.3:80")).unwrap();
        assert!(text.contains("\n  \"10.0.0.3:80\""), "{text}");
        for comment in ["# the whole", "# of the shop", "# old", "# the new one"] {
            assert!(text.contains(comment), "{text}");
        }
        let remove = Edit::Remove {
            backend: "api".into(),
            server: "10.0.0.3:80".into(),
        };
        let text = edited(&text, &remove).unwrap();
        assert!(!text.contains("10.0.0.3"), "{text}");
        assert!(edited(&text, &remove).unwrap_err().contains("10.0.0.3:80"));
    }

    #[test]
    fn one_server_and_tables_of_servers_are_understood() {
        let one = "[backend.api]\nservers = \"10.0.0.1:80\"\n";
        let text = edited(one, &added("10.0.0.3:80")).unwrap();
        assert!(text.contains("\"10.0.0.1:80\", \"10.0.0.3:80\"]"), "{text}");
        let tables = "[[backend.api.servers]]\naddress = \"10.0.0.1:80\"\n";
        let text = edited(tables, &weight("10.0.0.1:80", 9)).unwrap();
        let text = edited(&text, &added("10.0.0.3:80")).unwrap();
        assert!(text.contains("weight = 9\n"), "{text}");
        assert!(text.contains("address = \"10.0.0.3:80\"\n"), "{text}");
    }

    #[test]
    fn what_is_not_written_cannot_be_edited() {
        let told = edited(FILE, &weight("c", 1)).unwrap_err();
        assert!(told.contains("`c`"), "{told}");
        let backend = "[backend.web]\nservers = []\n";
        assert!(edited(backend, &weight("c", 1)).is_err());
    }
}
