//! The paths of the API, in one table that the router and the description are made of.

use super::Plane;
use super::error::Refused;
use super::state::{self, Overview};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{MethodRouter, get};
use axum::{Json, Router};
use std::sync::Arc;

/// The router of everything under `/v1`.
pub(crate) fn router(plane: Arc<Plane>) -> Router {
    let mut router = Router::new();
    for (path, methods) in paths() {
        router = router.route(path, methods);
    }
    router
        .fallback(|| async {
            Refused::unknown("no such path; `/v1/openapi.json` describes those there are")
        })
        .method_not_allowed_fallback(|| async {
            let told = "no such method on this path; `/v1/openapi.json` describes those there are";
            Refused::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", told)
        })
        .with_state(plane)
}

fn paths() -> Vec<(&'static str, MethodRouter<Arc<Plane>>)> {
    vec![
        ("/v1/state", get(overview)),
        ("/v1/process", get(process)),
        ("/v1/workers", get(workers)),
    ]
}

async fn overview(State(plane): State<Arc<Plane>>) -> Json<Overview> {
    Json(Overview::of(&plane))
}

async fn process(State(plane): State<Arc<Plane>>) -> Json<state::Process> {
    Json(state::Process::of(&plane))
}

async fn workers(State(plane): State<Arc<Plane>>) -> Json<Vec<state::Worker>> {
    Json(state::workers(&plane, &plane.rates.view()))
}
