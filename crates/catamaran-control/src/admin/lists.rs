//! Lists of networks and maps to backends: looking at them, and changing single entries.

use super::error::Refused;
use super::extract::{Asked, Body, Named};
use super::servers::Changed;
use super::{Kept, Kind, Plane};
use crate::reload::Text;
use axum::Json;
use axum::extract::State;
use catamaran_config::files;
use catamaran_core::model::{IpNet, Name};
use catamaran_core::nearest::remedy;
use catamaran_proxy::{List, Map, Snapshot};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// A list of networks.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ListState {
    name: String,
    /// Where it stands; none if it is filled at run time only.
    file: Option<String>,
    entries: usize,
    /// Entries that are other than written.
    changed: usize,
}

/// A map from a part of requests to backends.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct MapState {
    name: String,
    /// Where it stands; none if it is filled at run time only.
    file: Option<String>,
    entries: usize,
    /// Entries that are other than written.
    changed: usize,
}

/// A part of a list, in order.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Networks {
    networks: Vec<String>,
    /// What to ask for as `cursor` to get what follows; none at the end.
    cursor: Option<usize>,
}

/// A part of a map, in order.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Mappings {
    entries: Vec<Mapping>,
    /// What to ask for as `cursor` to get what follows; none at the end.
    cursor: Option<usize>,
}

/// An entry of a map.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Mapping {
    key: String,
    backend: String,
}

/// Which part of a list or map.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    cursor: Option<usize>,
    limit: Option<usize>,
}

/// What to add to a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewNetwork {
    /// `10.0.0.0/8`, or an address.
    network: String,
    /// Whether it is written into the list's file as well.
    #[serde(default)]
    persist: bool,
}

/// What to take out of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct OldNetwork {
    network: String,
    #[serde(default)]
    persist: bool,
}

/// Where a key is to lead.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMapping {
    /// As the map's file would have it.
    key: String,
    /// The backend.
    backend: String,
    /// Whether it is written into the map's file as well.
    #[serde(default)]
    persist: bool,
}

/// Which key is to lead nowhere.
#[derive(Debug, Deserialize)]
pub(crate) struct OldMapping {
    key: String,
    #[serde(default)]
    persist: bool,
}

pub(crate) async fn lists(State(plane): State<Arc<Plane>>) -> Json<Vec<ListState>> {
    let snapshot = plane.shared.snapshot();
    let lists = snapshot.tables.lists.iter().map(|list| ListState {
        name: list.model.name.to_string(),
        file: list.model.file.as_ref().map(|f| f.display().to_string()),
        entries: list.len(),
        changed: plane.overlays.changed_of_list(&list.model.name),
    });
    Json(lists.collect())
}

pub(crate) async fn maps(State(plane): State<Arc<Plane>>) -> Json<Vec<MapState>> {
    let snapshot = plane.shared.snapshot();
    let maps = snapshot.tables.maps.iter().map(|map| MapState {
        name: map.model.name.to_string(),
        file: map.model.file.as_ref().map(|f| f.display().to_string()),
        entries: map.len(),
        changed: plane.overlays.changed_of_map(&map.model.name),
    });
    Json(maps.collect())
}

pub(crate) async fn list(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Asked(part): Asked<Part>,
) -> Result<Json<Networks>, Refused> {
    let list = find_list(&plane.shared.snapshot(), &name)?;
    let sorted = plane.aside(move || {
        let mut networks = list.networks();
        networks.sort_unstable_by_key(|network| (network.first(), network.prefix()));
        networks
    });
    let (networks, cursor) = page(sorted.await?, &part)?;
    Ok(Json(Networks {
        networks: networks.iter().map(ToString::to_string).collect(),
        cursor,
    }))
}

pub(crate) async fn map(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Asked(part): Asked<Part>,
) -> Result<Json<Mappings>, Refused> {
    let snapshot = plane.shared.snapshot();
    let map = find_map(&snapshot, &name)?;
    let sorted = plane.aside(move || {
        let mut entries = map.entries();
        entries.sort_unstable();
        entries
    });
    let (entries, cursor) = page(sorted.await?, &part)?;
    let entries = entries.into_iter().map(|(key, id)| Mapping {
        key,
        backend: snapshot.backends[id.index()].model.name.to_string(),
    });
    Ok(Json(Mappings {
        entries: entries.collect(),
        cursor,
    }))
}

pub(crate) async fn add_network(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Body(new): Body<NewNetwork>,
) -> Result<Json<Changed>, Refused> {
    change_list(&plane, &name, &new.network, true, new.persist).await
}

pub(crate) async fn remove_network(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Asked(old): Asked<OldNetwork>,
) -> Result<Json<Changed>, Refused> {
    change_list(&plane, &name, &old.network, false, old.persist).await
}

pub(crate) async fn set_mapping(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Body(new): Body<NewMapping>,
) -> Result<Json<Changed>, Refused> {
    change_map(&plane, &name, &new.key, Some(&new.backend), new.persist).await
}

pub(crate) async fn delete_mapping(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Asked(old): Asked<OldMapping>,
) -> Result<Json<Changed>, Refused> {
    change_map(&plane, &name, &old.key, None, old.persist).await
}

async fn change_list(
    plane: &Plane,
    name: &str,
    network: &str,
    is_in: bool,
    persist: bool,
) -> Result<Json<Changed>, Refused> {
    let parsed: Result<IpNet, _> = network.parse();
    let network = parsed.map_err(|cause| {
        let told = format!("`{network}` is no network: {cause}; write it as `10.0.0.0/8`");
        Refused::invalid(told)
    })?;
    let network = network.canonical();
    let word = if is_in { "added to" } else { "removed from" };
    let kept = {
        // A reload in between would lose the change.
        let _turn = plane.reloader.turn().await;
        let list = find_list(&plane.shared.snapshot(), name)?;
        let was_in = list.has(network);
        if !is_in && !was_in {
            let told = format!(
                "list `{name}` has no entry `{network}`; `ctl list show {name}` lists them"
            );
            return Err(Refused::unknown(told));
        }
        let (of, overlays) = (&list.model.name, &plane.overlays);
        let noted = overlays.set_listed(of, network, was_in, is_in);
        noted.map_err(|full| Refused::conflict(full.to_string()))?;
        list.set(network, is_in);
        list.model.file.clone()
    };
    let edit = move |text: &str| files::list_with(text, network, is_in);
    let kept = persisted(plane, persist, "list", name, kept, edit).await?;
    if kept == Kept::InFile {
        plane.overlays.forget_listed(&Name::new(name), network);
    }
    note(plane, &format!("{network} was {word} list {name}"));
    Ok(Json(Changed { kept }))
}

async fn change_map(
    plane: &Plane,
    name: &str,
    key: &str,
    backend: Option<&str>,
    persist: bool,
) -> Result<Json<Changed>, Refused> {
    let (key, file) = {
        let _turn = plane.reloader.turn().await;
        let snapshot = plane.shared.snapshot();
        let map = find_map(&snapshot, name)?;
        let key = files::map_key(&map.model, key).map_err(Refused::invalid)?;
        let target = backend.map(|backend| super::servers::find_backend(plane, backend));
        let target = target.transpose()?;
        let now = map.get(&key);
        if target.is_none() && now.is_none() {
            let told = format!("map `{name}` has no key `{key}`; `ctl map show {name}` lists them");
            return Err(Refused::unknown(told));
        }
        let now = now.map(|id| snapshot.backends[id.index()].model.name.clone());
        let (of, overlays) = (&map.model.name, &plane.overlays);
        let to = target.as_ref().map(|backend| backend.model.name.clone());
        let noted = overlays.set_mapped(of, &key, now, to);
        noted.map_err(|full| Refused::conflict(full.to_string()))?;
        map.set(&key, target.as_ref().map(|backend| backend.id));
        (key, map.model.file.clone())
    };
    let (edited, to) = (key.clone(), backend.map(str::to_owned));
    let edit = move |text: &str| files::map_with(text, &edited, to.as_deref());
    let kept = persisted(plane, persist, "map", name, file, edit).await?;
    if kept == Kept::InFile {
        plane.overlays.forget_mapped(&Name::new(name), &key);
    }
    let told = match backend {
        Some(backend) => format!("`{key}` of map {name} now leads to {backend}"),
        None => format!("`{key}` was deleted from map {name}"),
    };
    note(plane, &told);
    Ok(Json(Changed { kept }))
}

/// Writes the file of a list or map as `edit` makes it, if that is asked for. What the file says
/// besides comes with the next reload.
async fn persisted(
    plane: &Plane,
    persist: bool,
    word: &str,
    name: &str,
    file: Option<PathBuf>,
    edit: impl FnOnce(&str) -> String + Send + 'static,
) -> Result<Kept, Refused> {
    if !persist {
        return Ok(Kept::UntilRestart);
    }
    let Some(file) = file else {
        let told = format!(
            "the change is made, but {word} `{name}` has no file to keep it in; add `file` to \
             `[{word}.{name}]`"
        );
        return Err(Refused::conflict(told));
    };
    let served = plane.reloader.text().ok_or_else(super::config::no_file)?;
    let directory = served.path.parent().map(PathBuf::from).unwrap_or_default();
    let path = directory.join(file);
    // Two who read the file at once would each write it without what the other changed.
    let _alone = plane.persisting.lock().await;
    let written = plane.aside(move || {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(&path)
            .map_err(|error| format!("{shown}: cannot be read: {error}"))?;
        let new = Text {
            text: edit(&text),
            path,
        };
        super::persist::write_file(&new)
            .map_err(|error| format!("{shown}: cannot be written: {error}"))
    });
    let written: Result<(), String> = written.await?;
    written
        .map_err(|told| Refused::conflict(format!("the change is made, but not kept: {told}")))?;
    Ok(Kept::InFile)
}

fn find_list(snapshot: &Snapshot, name: &str) -> Result<Arc<List>, Refused> {
    if let Some(list) = snapshot.tables.list(name) {
        return Ok(Arc::clone(list));
    }
    let lists = snapshot.tables.lists.iter();
    let names: Vec<&str> = lists.map(|list| list.model.name.as_str()).collect();
    Err(unknown("list", name, &names))
}

fn find_map(snapshot: &Snapshot, name: &str) -> Result<Arc<Map>, Refused> {
    if let Some(map) = snapshot.tables.map(name) {
        return Ok(Arc::clone(map));
    }
    let maps = snapshot.tables.maps.iter();
    let names: Vec<&str> = maps.map(|map| map.model.name.as_str()).collect();
    Err(unknown("map", name, &names))
}

fn unknown(word: &str, name: &str, names: &[&str]) -> Refused {
    let remedy = match names {
        [] => format!("write `[{word}.{name}]` in the configuration"),
        names => remedy(name, names),
    };
    Refused::unknown(format!("unknown {word} `{name}`; {remedy}"))
}

/// The part of `all` that was asked for, and where the next begins.
fn page<T>(all: Vec<T>, part: &Part) -> Result<(Vec<T>, Option<usize>), Refused> {
    let limit = part.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refused::invalid(format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let from = part.cursor.unwrap_or(0).min(all.len());
    let next = from + limit;
    let cursor = (next < all.len()).then_some(next);
    let part = all.into_iter().skip(from).take(limit).collect();
    Ok((part, cursor))
}

fn note(plane: &Plane, message: &str) {
    tracing::info!("{message}");
    plane.events.note(Kind::Changed, message.to_owned());
}

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
