//! Lists of networks and maps to backends.

use super::args::{ListAction, MapAction};
use super::client::escaped;
use super::failure::Failure;
use super::{Ctl, MAX_PAGE, show};
use serde_json::{Value, json};
use std::io::{self, Write as _};

impl Ctl {
    pub(super) fn list(&self, action: Option<&ListAction>) -> Result<(), Failure> {
        let path = |name: &str| format!("/v1/lists/{}", escaped(name));
        match action {
            None => {
                let lists = self.client.get("/v1/lists")?;
                self.show(&lists, || show::lists(&lists))
            }
            Some(ListAction::Show { name, limit }) => {
                let (networks, rest) = self.parts(&path(name), "networks", *limit)?;
                self.show(&networks, || show::networks(&networks))?;
                self.tell_rest(&rest)
            }
            Some(ListAction::Add {
                name,
                network,
                persist,
            }) => {
                let body = json!({ "network": network, "persist": persist });
                let path = format!("{}/entry", path(name));
                let changed = self.client.change("PUT", &path, Some(&body))?;
                self.say_kept(&changed, &format!("{network} is in list {name}"))
            }
            Some(ListAction::Remove {
                name,
                network,
                persist,
            }) => {
                let query = format!("network={}&persist={persist}", escaped(network));
                let path = format!("{}/entry?{query}", path(name));
                let changed = self.client.change("DELETE", &path, None)?;
                self.say_kept(&changed, &format!("{network} is no longer in list {name}"))
            }
        }
    }

    pub(super) fn map(&self, action: Option<&MapAction>) -> Result<(), Failure> {
        let path = |name: &str| format!("/v1/maps/{}", escaped(name));
        match action {
            None => {
                let maps = self.client.get("/v1/maps")?;
                self.show(&maps, || show::maps(&maps))
            }
            Some(MapAction::Show { name, limit }) => {
                let (entries, rest) = self.parts(&path(name), "entries", *limit)?;
                self.show(&entries, || show::mappings(&entries))?;
                self.tell_rest(&rest)
            }
            Some(MapAction::Set {
                name,
                key,
                backend,
                persist,
            }) => {
                let body = json!({ "key": key, "backend": backend, "persist": persist });
                let path = format!("{}/entry", path(name));
                let changed = self.client.change("PUT", &path, Some(&body))?;
                self.say_kept(&changed, &format!("{key} leads to {backend}"))
            }
            Some(MapAction::Delete { name, key, persist }) => {
                let query = format!("key={}&persist={persist}", escaped(key));
                let path = format!("{}/entry?{query}", path(name));
                let changed = self.client.change("DELETE", &path, None)?;
                self.say_kept(&changed, &format!("{key} is no longer in map {name}"))
            }
        }
    }

    /// Asks for one page after the other, up to `limit` entries. Returns also where the rest begins.
    fn parts(&self, path: &str, key: &str, limit: usize) -> Result<(Value, Value), Failure> {
        let mut all = Vec::new();
        let mut cursor = Value::from(0);
        while all.len() < limit && !cursor.is_null() {
            let part = (limit - all.len()).min(MAX_PAGE);
            let mut page = self
                .client
                .get(&format!("{path}?cursor={cursor}&limit={part}"))?;
            if let Value::Array(part) = page[key].take() {
                all.extend(part);
            }
            cursor = page["cursor"].take();
        }
        Ok((Value::Array(all), cursor))
    }

    fn tell_rest(&self, rest: &Value) -> Result<(), Failure> {
        if !rest.is_null() && !self.json {
            writeln!(
                io::stderr(),
                "there are more; ask for them with `--limit N`"
            )?;
        }
        Ok(())
    }
}
