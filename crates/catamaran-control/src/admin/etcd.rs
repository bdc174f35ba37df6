//! The fleet: what etcd says, and configurations written there.

use super::config::Verdict;
use super::error::Refused;
use super::extract::{Body, Named};
use super::process::Nothing;
use super::{Kind, Plane, door};
use crate::etcd::{Entry, FleetHandle, FleetStatus, PutError, Written, needed};
use crate::reload::{Change, name_of};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use catamaran_core::fleet::part_problem;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A configuration for the fleet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct FleetText {
    /// The whole text.
    text: String,
    /// The node that it is for, key by key over the text of the fleet; every node unless given.
    node: Option<String>,
    /// Why, for the history.
    #[serde(default)]
    note: String,
}

/// What to go back to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// The revision that wrote it, as the history tells.
    revision: u64,
}

/// A configuration was written into etcd.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Put {
    /// The revision that wrote it.
    revision: u64,
    /// Whether it serves on this node; other nodes take it as soon as they hear of it.
    serves: bool,
    /// Whether it waits for the cluster to be accepted (`etcd-foreign`).
    held: bool,
    /// Why it does not serve, if that is known.
    error: Option<String>,
    /// What it changes on this node.
    changes: Vec<Change>,
    /// What is allowed but probably not meant, each with its place.
    warnings: Vec<String>,
}

/// A configuration that was put.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct PutBefore {
    /// The revision that wrote it.
    revision: u64,
    /// Unix time in seconds.
    at: u64,
    /// Who put it, and through which node.
    by: String,
    /// Why.
    note: String,
    /// The node that it is for; none is every node.
    node: Option<String>,
    /// Its size.
    bytes: usize,
    /// Its text; left out of lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

pub(crate) async fn status(State(plane): State<Arc<Plane>>) -> Result<Json<FleetStatus>, Refused> {
    Ok(Json((*fleet(&plane)?.status()).clone()))
}

pub(crate) async fn accept(
    State(plane): State<Arc<Plane>>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<FleetStatus>, Refused> {
    let fleet = fleet(&plane)?;
    fleet.accept().await.map_err(Refused::conflict)?;
    Ok(Json((*fleet.status()).clone()))
}

pub(crate) async fn diff(
    State(plane): State<Arc<Plane>>,
    Body(text): Body<FleetText>,
) -> Result<Json<Verdict>, Refused> {
    fleet(&plane)?;
    Ok(Json(judge(&plane, &text).await?))
}

pub(crate) async fn put(
    State(plane): State<Arc<Plane>>,
    Body(text): Body<FleetText>,
) -> Result<Json<Put>, Refused> {
    write(&plane, text).await.map(Json)
}

pub(crate) async fn rollback(
    State(plane): State<Arc<Plane>>,
    Body(to): Body<Rollback>,
) -> Result<Json<Put>, Refused> {
    let entry = fleet(&plane)?.entry(to.revision).await.map_err(refused)?;
    let text = FleetText {
        text: entry.text,
        node: entry.node,
        note: format!("back to revision {}", to.revision),
    };
    write(&plane, text).await.map(Json)
}

pub(crate) async fn history(
    State(plane): State<Arc<Plane>>,
) -> Result<Json<Vec<PutBefore>>, Refused> {
    let entries = fleet(&plane)?.history().await;
    let entries = entries.map_err(|error| refused(error.into()))?.into_iter();
    let without_text = entries.map(|entry| PutBefore {
        text: None,
        ..PutBefore::of(entry)
    });
    Ok(Json(without_text.collect()))
}

pub(crate) async fn entry(
    State(plane): State<Arc<Plane>>,
    Named(revision): Named<u64>,
) -> Result<Json<PutBefore>, Refused> {
    let entry = fleet(&plane)?.entry(revision).await.map_err(refused)?;
    Ok(Json(PutBefore::of(entry)))
}

/// Writes a text that this node could serve.
async fn write(plane: &Plane, text: FleetText) -> Result<Put, Refused> {
    let fleet = fleet(plane)?;
    let verdict = judge(plane, &text).await?;
    if !verdict.is_valid() {
        return Err(Refused::conflict(verdict.told()));
    }
    let through = fleet.keys.node();
    let by = door::current().map_or_else(
        || format!("node {through}"),
        |door| format!("{door} of node {through}"),
    );
    let of = text.node.as_deref();
    let written = fleet.put_text(of, &text.text, (by, text.note)).await;
    let Written {
        revision,
        is_judged,
    } = written.map_err(refused)?;
    let whose = of.map_or_else(|| "the fleet".to_owned(), |node| format!("node {node}"));
    let message = format!("the configuration of {whose} in etcd, revision {revision}");
    plane.events.note(Kind::Changed, message);
    let status = fleet.status();
    let error = status.config_error().filter(|_| is_judged);
    let (changes, warnings) = verdict.into_changes();
    Ok(Put {
        revision,
        serves: is_judged && error.is_none() && !status.is_foreign(),
        held: status.is_foreign(),
        error: error.map(str::to_owned),
        changes,
        warnings,
    })
}

/// Judges a text of the fleet with this node's own file. That of another node is judged as if it
/// were for this one, which has all but its file in common with that.
async fn judge(plane: &Plane, text: &FleetText) -> Result<Verdict, Refused> {
    let wrong = text.node.as_deref().and_then(part_problem);
    if let Some(problem) = wrong {
        return Err(Refused::invalid(format!("the name of the node {problem}")));
    }
    let reloader = Arc::clone(&plane.reloader);
    let mut layers = reloader.layers().unwrap_or_default();
    match &text.node {
        None => layers.fleet = Some(text.text.clone()),
        Some(_) => layers.node = Some(text.text.clone()),
    }
    let verdict = plane.aside(move || {
        let merged = match reloader.merge(&layers) {
            Ok(merged) => merged,
            Err(errors) => return Verdict::of_errors(&errors),
        };
        let name = name_of(&layers, &merged);
        match reloader.check_as(&merged, &name) {
            Ok(checked) => Verdict::of(checked),
            Err(errors) => Verdict::of_errors(&errors),
        }
    });
    verdict.await
}

fn fleet(plane: &Plane) -> Result<&Arc<FleetHandle>, Refused> {
    needed(plane.fleet.as_ref()).map_err(Refused::conflict)
}

fn refused(error: PutError) -> Refused {
    match error {
        PutError::Etcd(error) => Refused::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "etcd",
            format!("etcd did not do it: {error}"),
        ),
        PutError::Overtaken => Refused::conflict(error.to_string()),
        PutError::NoSuchRevision(_) => Refused::unknown(error.to_string()),
    }
}

impl PutBefore {
    fn of(entry: Entry) -> Self {
        Self {
            revision: entry.revision,
            at: entry.at,
            by: entry.by,
            note: entry.note,
            node: entry.node,
            bytes: entry.text.len(),
            text: Some(entry.text),
        }
    }
}
