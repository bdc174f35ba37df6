//! Backends and their servers: looking at one, changing it, adding and removing.

use super::error::Refused;
use super::extract::{Asked, Body, Named};
use super::state::{BackendState, ServerDocument};
use super::{Kept, Kind, Plane, drain};
use axum::Json;
use axum::extract::State;
use catamaran_core::health::Status;
use catamaran_core::model::{self, Edit, Name, Weight};
use catamaran_core::nearest::remedy;
use catamaran_core::server::Admin;
use catamaran_proxy::{Backend, NoSuchServer, Server};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What is to become of a server; what is left out stays.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerChange {
    /// Its share of the traffic, 0 to 256, or `configured`.
    weight: Option<WeightChange>,
    /// `ready` takes traffic as its health allows; `drain` finishes what it has and takes nothing
    /// new; `maintenance` is out of service.
    admin: Option<AdminChange>,
    /// What counts as its health whatever is observed; `auto` returns to what is observed.
    health: Option<HealthChange>,
    /// With `drain`: milliseconds after which what is left is ended. Without it nothing is ended.
    deadline_ms: Option<u64>,
    /// Whether the change is written into the configuration file as well.
    #[serde(default)]
    persist: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum WeightChange {
    Number(#[schemars(range(max = 256))] u16),
    Word(ConfiguredWord),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum ConfiguredWord {
    Configured,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum AdminChange {
    Ready,
    Drain,
    Maintenance,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum HealthChange {
    Up,
    Down,
    Auto,
}

/// A server to be added.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewServer {
    /// `10.0.0.1:8080` or `unix:/run/app.sock`.
    address: String,
    /// Its name; the address unless written.
    name: Option<String>,
    /// Its share of the traffic, 0 to 256; 1 unless written.
    #[schemars(range(max = 256))]
    weight: Option<u16>,
    /// Whether it is used only when no other server is usable.
    #[serde(default)]
    backup: bool,
    /// Requests in flight at once; more wait.
    #[schemars(range(min = 1))]
    max_requests: Option<u32>,
    /// Connections open at once; more wait.
    #[schemars(range(min = 1))]
    max_connections: Option<u32>,
    /// Whether it is written into the configuration file as well.
    #[serde(default)]
    persist: bool,
}

/// How a change is to be kept.
#[derive(Debug, Deserialize)]
pub(crate) struct Persist {
    #[serde(default)]
    persist: bool,
}

/// A server after a change.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ChangedServer {
    kept: Kept,
    server: ServerDocument,
}

/// A change was made.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Changed {
    pub(crate) kept: Kept,
}

pub(crate) async fn list(State(plane): State<Arc<Plane>>) -> Json<Vec<BackendState>> {
    let rates = plane.rates.view();
    let snapshot = plane.shared.snapshot();
    let backends = snapshot.backends.iter();
    let now = plane.clock.now();
    Json(
        backends
            .map(|backend| BackendState::of(&plane, backend, now, &rates))
            .collect(),
    )
}

pub(crate) async fn backend(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
) -> Result<Json<BackendState>, Refused> {
    let backend = &find_backend(&plane, &name)?;
    let rates = plane.rates.view();
    let state = BackendState::of(&plane, backend, plane.clock.now(), &rates);
    Ok(Json(state))
}

pub(crate) async fn server(
    State(plane): State<Arc<Plane>>,
    Named((backend, server)): Named<(String, String)>,
) -> Result<Json<ServerDocument>, Refused> {
    let backend = &find_backend(&plane, &backend)?;
    let server = find_server(backend, &server)?;
    Ok(Json(document(&plane, backend, &server)))
}

/// Changes weight, admin state and health of a server.
pub(crate) async fn change(
    State(plane): State<Arc<Plane>>,
    Named((backend, server)): Named<(String, String)>,
    Body(change): Body<ServerChange>,
) -> Result<Json<ChangedServer>, Refused> {
    let backend = &find_backend(&plane, &backend)?;
    let server = find_server(backend, &server)?;
    if change.weight.is_none() && change.admin.is_none() && change.health.is_none() {
        return Err(Refused::invalid(
            "nothing to change: write `weight`, `admin` or `health`",
        ));
    }
    let is_drain = matches!(change.admin, Some(AdminChange::Drain));
    if change.deadline_ms.is_some() && !is_drain {
        return Err(Refused::invalid(
            "`deadline_ms` says when a drain is over: write `admin: drain` with it",
        ));
    }
    let weight = change.weight.map(|weight| weight_of(weight, &server));
    let weight = weight.transpose()?;
    let kept = if change.persist {
        let edit = edit_of(&change, backend, &server, weight)?;
        plane.persist(edit).await?
    } else {
        Kept::UntilRestart
    };
    let told = make(&plane, &change, backend, &server, weight)?;
    note(&plane, backend, server.model.name.as_str(), &told);
    if change.admin.is_some() {
        let (backend, server) = (backend.model.name.clone(), server.model.name.clone());
        match change.deadline_ms.map(Duration::from_millis) {
            None => plane.drains.end(&backend, &server),
            Some(deadline) => {
                let number = plane.drains.begin(&backend, &server);
                let plane = Arc::clone(&plane);
                tokio::spawn(drain::end_after(plane, backend, server, number, deadline));
            }
        }
    }
    let server = document(&plane, backend, &server);
    Ok(Json(ChangedServer { kept, server }))
}

/// Makes a change; says it in words.
fn make(
    plane: &Plane,
    change: &ServerChange,
    backend: &Backend,
    server: &Server,
    weight: Option<Weight>,
) -> Result<String, Refused> {
    let gone = |error: NoSuchServer| Refused::unknown(error.to_string());
    let (shared, backend) = (&plane.shared, &backend.model.name);
    let server = &server.model.name;
    let mut told = Vec::new();
    if let Some(weight) = weight {
        let is_configured = matches!(change.weight, Some(WeightChange::Word(_)));
        let instead = (!is_configured).then_some(weight);
        shared.set_weight(backend, server, instead).map_err(gone)?;
        told.push(format!("weight {}", weight.as_u16()));
    }
    if let Some(admin) = change.admin {
        let (admin, word) = match admin {
            AdminChange::Ready => (Admin::Ready, "ready"),
            AdminChange::Drain => (Admin::Drain, "drain"),
            AdminChange::Maintenance => (Admin::Maintenance, "maintenance"),
        };
        shared
            .set_admin_state(backend, server, admin)
            .map_err(gone)?;
        plane.mesh.tell_admin(backend, server, word);
        told.push(word.to_owned());
    }
    if let Some(health) = change.health {
        let (health, word) = match health {
            HealthChange::Up => (Some(Status::Up), "health up"),
            HealthChange::Down => (Some(Status::Down), "health down"),
            HealthChange::Auto => (None, "health auto"),
        };
        shared
            .set_health_override(backend, server, health)
            .map_err(gone)?;
        told.push(word.to_owned());
    }
    Ok(told.join(", "))
}

/// Adds a server to a backend.
pub(crate) async fn add(
    State(plane): State<Arc<Plane>>,
    Named(backend): Named<String>,
    Body(new): Body<NewServer>,
) -> Result<Json<ChangedServer>, Refused> {
    let backend = &find_backend(&plane, &backend)?;
    let mut server =
        catamaran_config::server(&new.address, new.name.as_deref()).map_err(Refused::invalid)?;
    if crate::probe::Target::new(&server.address).is_none() {
        let told = "a server given by name is looked up as the configuration says; write it there";
        return Err(Refused::invalid(told));
    }
    if backend.set().by_name(&server.name).is_some() {
        let told = format!(
            "backend `{}` has a server `{}` already; remove it first, or give another `name`",
            backend.model.name, server.name
        );
        return Err(Refused::conflict(told));
    }
    if let Some(weight) = new.weight {
        server.weight = Weight::new(weight).ok_or_else(weight_too_large)?;
    }
    if new.max_requests == Some(0) || new.max_connections == Some(0) {
        return Err(Refused::invalid("a limit of 0 would let nothing through"));
    }
    server.source.clone_from(&backend.model.source);
    server.backup = new.backup;
    server.max_requests = new.max_requests;
    server.max_connections = new.max_connections;
    let name = server.name.clone();
    let kept = if new.persist {
        plane
            .persist(Edit::Add {
                backend: backend.model.name.clone(),
                server: Box::new(server.clone()),
            })
            .await?
    } else {
        Kept::UntilRestart
    };
    let of = &backend.model.name;
    plane.overlays.add(of, server.clone()).map_err(full)?;
    // Writing the file has put it in place already.
    if backend.set().by_name(&name).is_none() {
        let snapshot = plane.shared.snapshot();
        let mut models = models(backend);
        models.push(server);
        plane.set_servers(&snapshot, backend, &models).await;
    }
    note(&plane, backend, name.as_str(), "added");
    let server = find_server(backend, name.as_str())?;
    let server = document(&plane, backend, &server);
    Ok(Json(ChangedServer { kept, server }))
}

/// Removes a server from its backend.
pub(crate) async fn remove(
    State(plane): State<Arc<Plane>>,
    Named((backend, server)): Named<(String, String)>,
    Asked(asked): Asked<Persist>,
) -> Result<Json<Changed>, Refused> {
    let backend = &find_backend(&plane, &backend)?;
    let server = find_server(backend, &server)?;
    if backend.set().servers.len() == 1 {
        let told = "the last server of a backend cannot be removed; set it to maintenance";
        return Err(Refused::conflict(told));
    }
    let kept = if asked.persist {
        plane
            .persist(Edit::Remove {
                backend: backend.model.name.clone(),
                server: server.model.name.clone(),
            })
            .await?
    } else {
        Kept::UntilRestart
    };
    let of = &backend.model.name;
    if backend.set().by_name(&server.model.name).is_some() {
        plane.overlays.remove(of, &server.model).map_err(full)?;
        let snapshot = plane.shared.snapshot();
        let mut models = models(backend);
        models.retain(|model| model.name != server.model.name);
        plane.set_servers(&snapshot, backend, &models).await;
    }
    plane.shared.close_idle(&server);
    note(&plane, backend, server.model.name.as_str(), "removed");
    Ok(Json(Changed { kept }))
}

/// The backend of this name.
pub(crate) fn find_backend(plane: &Plane, name: &str) -> Result<Arc<Backend>, Refused> {
    let snapshot = plane.shared.snapshot();
    if let Some(backend) = snapshot.backend(&Name::new(name)) {
        return Ok(Arc::clone(backend));
    }
    let backends = snapshot.backends.iter();
    let names: Vec<&str> = backends.map(|b| b.model.name.as_str()).collect();
    let remedy = remedy(name, &names);
    Err(Refused::unknown(format!(
        "unknown backend `{name}`; {remedy}"
    )))
}

/// The servers as they are now, names looked up.
fn models(backend: &Backend) -> Vec<model::Server> {
    let set = backend.set();
    let servers = set.servers.iter();
    servers.map(|server| server.model.clone()).collect()
}

/// The server of this name.
pub(crate) fn find_server(backend: &Backend, name: &str) -> Result<Arc<Server>, Refused> {
    let set = backend.set();
    if let Some(server) = set.by_name(&Name::new(name)) {
        return Ok(Arc::clone(server));
    }
    let names = set.servers.iter().map(|server| server.model.name.as_str());
    // A list of thousands helps nobody.
    let names: Vec<&str> = names.take(MAX_NAMES).collect();
    let backend = &backend.model.name;
    let remedy = remedy(name, &names);
    Err(Refused::unknown(format!(
        "backend `{backend}` has no server `{name}`; {remedy}"
    )))
}

fn document(plane: &Plane, backend: &Backend, server: &Server) -> ServerDocument {
    let checks = plane.checks.of(&backend.model.name);
    ServerDocument::of(server, &checks, plane.clock.now(), &plane.rates.view())
}

fn weight_of(weight: WeightChange, server: &Server) -> Result<Weight, Refused> {
    match weight {
        WeightChange::Word(ConfiguredWord::Configured) => Ok(server.model.weight),
        WeightChange::Number(number) => Weight::new(number).ok_or_else(weight_too_large),
    }
}

fn weight_too_large() -> Refused {
    Refused::invalid("a weight is 0 to 256")
}

fn full(error: catamaran_core::overlay::Full) -> Refused {
    Refused::conflict(error.to_string())
}

fn edit_of(
    change: &ServerChange,
    backend: &Backend,
    server: &Server,
    weight: Option<Weight>,
) -> Result<Edit, Refused> {
    match weight {
        Some(weight) if change.admin.is_none() && change.health.is_none() => Ok(Edit::Weight {
            backend: backend.model.name.clone(),
            server: server.model.name.clone(),
            weight,
        }),
        _ => Err(Refused::invalid(
            "the file can keep a weight only; it has no key for drain, maintenance or health: \
             change them without `persist`, and the weight by itself",
        )),
    }
}

fn note(plane: &Plane, backend: &Backend, server: &str, change: &str) {
    let backend = backend.model.name.as_str();
    tracing::info!(backend, server, change, "changed by an operator");
    plane
        .events
        .note_server(Kind::Changed, backend, server, change);
}

/// Names that are listed where none is near.
const MAX_NAMES: usize = 20;
