//! The HTTP API: what every request passes, and where it goes.
//!
//! ```text
//!   x-replica ► CORS ► room for the request ► time limit ► route ► handler ► store
//! ```
//! Whatever is refused on the way is refused with a problem document.

mod alerts;
mod description;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::sync::{Semaphore, watch};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_swagger_ui::{Config, SwaggerUi};

pub use self::description::{description, description_text};
use crate::problem::Problem;
use crate::store::Store;

/// What the API needs.
#[derive(Clone)]
pub struct Api {
    /// Where alerts are kept.
    pub store: Arc<dyn Store>,
    /// Name of this replica.
    pub name: String,
    /// Origin that browsers may call from; `*` for any.
    pub cors_origin: String,
    /// Longest time of a request.
    pub request_timeout: Duration,
    /// Requests at once.
    pub max_requests: usize,
    /// Turns true when this replica is to get no new requests.
    pub stopping: watch::Receiver<bool>,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// What handlers share.
#[derive(Clone)]
struct Shared {
    store: Arc<dyn Store>,
    stopping: watch::Receiver<bool>,
}

/// What one request needs before it is worked on.
#[derive(Clone)]
struct Limits {
    room: Arc<Semaphore>,
    timeout: Duration,
}

impl Api {
    /// Makes the router of the API.
    pub fn router(self) -> anyhow::Result<Router> {
        let replica = HeaderValue::from_str(&self.name)
            .context("the replica's name must be printable ASCII")?;
        let limits = Limits {
            room: Arc::new(Semaphore::new(self.max_requests)),
            timeout: self.request_timeout,
        };
        let shared = Shared {
            store: self.store,
            stopping: self.stopping,
        };
        let name_replica = move |mut response: Response| {
            let replica = replica.clone();
            async move {
                response.headers_mut().insert(X_REPLICA, replica);
                response
            }
        };
        let docs = SwaggerUi::new("/docs").config(Config::from("/openapi.json"));
        let limited = Router::new()
            .merge(alerts::router())
            .with_state(shared.clone())
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(middleware::from_fn_with_state(limits, limit));
        // A check must be answered however many requests there are.
        let unlimited = Router::new()
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/openapi.json", get(openapi))
            .with_state(shared)
            .merge(docs);
        Ok(limited
            .merge(unlimited)
            .fallback(async || {
                Problem::new(
                    StatusCode::NOT_FOUND,
                    "there is nothing at this path; /docs says what there is",
                )
            })
            .method_not_allowed_fallback(async || {
                Problem::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "this path does not know this method; `Allow` says which it knows",
                )
            })
            .layer(cors(&self.cors_origin)?)
            .layer(middleware::map_response(name_replica)))
    }
}

fn cors(origin: &str) -> anyhow::Result<CorsLayer> {
    let origin = match origin {
        "*" => AllowOrigin::any(),
        one => AllowOrigin::exact(
            HeaderValue::from_str(one).context("the CORS origin must be printable ASCII")?,
        ),
    };
    Ok(CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers([header::CONTENT_TYPE, IDEMPOTENCY_KEY])
        .expose_headers([header::LOCATION, X_REPLICA])
        .max_age(Duration::from_secs(3600)))
}

/// Refuses a request when there are too many, and ends one that takes too long.
async fn limit(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let Ok(_room) = limits.room.try_acquire() else {
        return Problem::busy().into_response();
    };
    match tokio::time::timeout(limits.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => {
            let detail = "the request took too long; whether it was done is not known, so try again \
                          with the same Idempotency-Key";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// Says that the process runs.
#[utoipa::path(get, path = "/health", tag = "operation",
    responses((status = 200, description = "The process runs", body = String, content_type = "text/plain")))]
async fn health() -> &'static str {
    "ok\n"
}

/// Says whether this replica is to get requests.
///
/// It does not look at the store: that is shared, and a balancer that takes away all replicas
/// because of it makes nothing better, while a replica still says what is wrong.
#[utoipa::path(get, path = "/ready", tag = "operation", responses(
    (status = 200, description = "Send requests", body = String, content_type = "text/plain"),
    (status = 503, description = "It is about to end: send no new requests", body = Problem, content_type = "application/problem+json"),
))]
async fn ready(State(shared): State<Shared>) -> Response {
    if *shared.stopping.borrow() {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this replica is about to end",
        )
        .into_response();
    }
    "ready\n".into_response()
}

async fn openapi() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], description_text()).into_response()
}

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const X_REPLICA: HeaderName = HeaderName::from_static("x-replica");
/// Longest body of a request. The longest alert there can be has about 4 KiB; in JSON escapes
/// three times that.
const MAX_BODY_BYTES: usize = 16 * 1024;
