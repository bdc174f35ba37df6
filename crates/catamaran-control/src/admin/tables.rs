//! Affinity tables: looking at them, and changing single entries.

use super::error::Refused;
use super::extract::{Asked, Body, Named};
use super::servers::{Changed, find_backend, find_server};
use super::{Kept, Kind, Plane};
use axum::Json;
use axum::extract::State;
use catamaran_core::model::StickKey;
use catamaran_core::{Key, Timestamp};
use catamaran_proxy::{Backend, StickEntry};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An affinity table.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Table {
    backend: String,
    /// What identifies a client: `source-ip`, `header NAME` or `cookie NAME`.
    on: String,
    window_seconds: f64,
    refresh: bool,
    /// Entries held, those that are over but not dropped yet included.
    entries: usize,
    max_entries: usize,
}

/// A part of a table.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Page {
    entries: Vec<EntryDocument>,
    /// What to ask for as `cursor` to get what follows; none at the end.
    cursor: Option<u64>,
}

/// One entry of a table.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct EntryDocument {
    /// An address, or `#` and 32 hexadecimal digits: the XXH3-128 of a header's or cookie's value.
    key: String,
    /// The server; none if it is gone.
    server: Option<String>,
    /// How long the entry still binds.
    seconds_left: f64,
    /// Whether a connection to the server has stood.
    confirmed: bool,
}

/// A table was cleared.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Cleared {
    kept: Kept,
    /// Entries that are gone.
    forgotten: usize,
}

/// Which part of a table.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// Which entry.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    key: String,
}

/// Whom to bind to what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewEntry {
    /// An address, the value of the header or cookie, or `#` and 32 hexadecimal digits.
    key: String,
    /// The server.
    server: String,
}

pub(crate) async fn list(State(plane): State<Arc<Plane>>) -> Json<Vec<Table>> {
    let snapshot = plane.shared.snapshot();
    let backends = snapshot.backends.iter();
    let tables = backends.filter_map(|backend| {
        let stick = backend.model.stick.as_ref()?;
        Some(Table {
            backend: backend.model.name.to_string(),
            on: match &stick.on {
                StickKey::SourceIp => "source-ip".to_owned(),
                StickKey::Header(name) => format!("header {name}"),
                StickKey::Cookie(name) | StickKey::InsertedCookie(name) => {
                    format!("cookie {name}")
                }
            },
            window_seconds: stick.window.as_secs_f64(),
            refresh: stick.refresh,
            entries: backend.stick_len()?,
            max_entries: stick.max_entries,
        })
    });
    Json(tables.collect())
}

pub(crate) async fn page(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
    Asked(part): Asked<Part>,
) -> Result<Json<Page>, Refused> {
    let backend = &with_table(&plane, &backend)?;
    let limit = part.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refused::invalid(format!("`limit` is 1 to {MAX_PAGE}")));
    }
    let now = plane.clock.now();
    let (entries, cursor) = backend.stick_page(now, part.cursor.unwrap_or(0), limit);
    let entries = entries.iter();
    Ok(Json(Page {
        entries: entries
            .map(|entry| EntryDocument::of(entry, backend, now))
            .collect(),
        cursor,
    }))
}

pub(crate) async fn look_up(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<EntryDocument>, Refused> {
    let backend = &with_table(&plane, &backend)?;
    let key = key_of(backend, &which.key)?;
    let now = plane.clock.now();
    let entry = backend.stick_entry(now, key).ok_or_else(none_bound)?;
    Ok(Json(EntryDocument::of(&entry, backend, now)))
}

pub(crate) async fn set(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
    Body(new): Body<NewEntry>,
) -> Result<Json<EntryDocument>, Refused> {
    let backend = &with_table(&plane, &backend)?;
    let key = key_of(backend, &new.key)?;
    let server = find_server(backend, &new.server)?;
    let now = plane.clock.now();
    backend.stick_set(now, key, &server);
    note(
        &plane,
        backend,
        &format!("an affinity entry now leads to {}", new.server),
    );
    let entry = backend.stick_entry(now, key).ok_or_else(none_bound)?;
    Ok(Json(EntryDocument::of(&entry, backend, now)))
}

pub(crate) async fn delete(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
    Asked(which): Asked<Which>,
) -> Result<Json<Changed>, Refused> {
    let backend = &with_table(&plane, &backend)?;
    let key = key_of(backend, &which.key)?;
    let was_bound = backend.stick_forget(key);
    let untold = plane.mesh.forget(&backend.model.name, Some(key)).await;
    if !was_bound {
        return Err(none_bound());
    }
    let told = told("an affinity entry was deleted", &untold);
    note(&plane, backend, &told);
    Ok(Json(Changed {
        kept: Kept::UntilRestart,
    }))
}

pub(crate) async fn clear(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
) -> Result<Json<Cleared>, Refused> {
    let backend = &with_table(&plane, &backend)?;
    let forgotten = backend.stick_clear();
    let untold = plane.mesh.forget(&backend.model.name, None).await;
    let plural = if forgotten == 1 { "y was" } else { "ies were" };
    let told = told(
        &format!("{forgotten} affinity entr{plural} deleted"),
        &untold,
    );
    note(&plane, backend, &told);
    Ok(Json(Cleared {
        kept: Kept::UntilRestart,
        forgotten,
    }))
}

impl EntryDocument {
    fn of(entry: &StickEntry, backend: &Backend, now: Timestamp) -> Self {
        let server = backend.set().name_of(entry.server).map(ToString::to_string);
        Self {
            key: if is_by_address(backend) {
                entry.key.as_address().to_string()
            } else {
                format!("#{:032x}", entry.key.as_bits())
            },
            server,
            seconds_left: entry.ends_at.saturating_since(now).as_secs_f64(),
            confirmed: entry.is_confirmed,
        }
    }
}

fn with_table(plane: &Plane, name: &str) -> Result<Arc<Backend>, Refused> {
    let backend = find_backend(plane, name)?;
    if backend.stick_len().is_none() {
        return Err(Refused::unknown(format!(
            "backend `{name}` has no affinity table; write `stick` in the configuration"
        )));
    }
    Ok(backend)
}

fn is_by_address(backend: &Backend) -> bool {
    let stick = backend.model.stick.as_ref();
    stick.is_some_and(|stick| stick.on == StickKey::SourceIp)
}

fn key_of(backend: &Backend, text: &str) -> Result<Key, Refused> {
    if is_by_address(backend) {
        let address = text.parse().map_err(|_| {
            Refused::invalid(format!(
                "`{text}` is no address; the table's keys are addresses"
            ))
        })?;
        return Ok(Key::of_address(address));
    }
    match text.strip_prefix('#') {
        None => Ok(Key::of_bytes(text.as_bytes())),
        Some(digits) if digits.len() == 32 => u128::from_str_radix(digits, 16)
            .map(Key::from_bits)
            .map_err(|_| bad_digits()),
        Some(_) => Err(bad_digits()),
    }
}

fn bad_digits() -> Refused {
    Refused::invalid("a key that begins with `#` goes on with 32 hexadecimal digits")
}

fn none_bound() -> Refused {
    Refused::unknown("no entry of that key binds now")
}

/// What was deleted, and where it was not: there it comes back from.
fn told(deleted: &str, untold: &[String]) -> String {
    match untold {
        [] => deleted.to_owned(),
        names => format!(
            "{deleted}, but not at {}: do it there too, or it comes back",
            names.join(", ")
        ),
    }
}

fn note(plane: &Plane, backend: &Backend, message: &str) {
    // The key may be a secret of a client's, such as the cookie of its session.
    let backend = backend.model.name.as_str();
    tracing::info!(backend, "{message}");
    plane
        .events
        .note(Kind::Changed, format!("{backend}: {message}"));
}

const DEFAULT_PAGE: usize = 100;
const MAX_PAGE: usize = 1000;
