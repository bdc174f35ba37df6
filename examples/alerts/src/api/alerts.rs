//! Create, list, read and delete alerts.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{IDEMPOTENCY_KEY, MAX_BODY_BYTES, Shared};
use crate::alert::{Alert, NewAlert};
use crate::problem::{FieldError, Problem};
use crate::store::{Create, Created};

/// A page of alerts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Page {
    /// The alerts, the oldest first.
    items: Vec<Alert>,
    /// What `cursor` must be for the next page; missing on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, value_type = Option<String>)]
    next: Option<Uuid>,
}

pub(super) fn router() -> Router<Shared> {
    Router::new()
        .route("/alerts", get(list).post(create))
        .route("/alerts/{id}", get(read).delete(delete))
}

/// Creates an alert.
///
/// With an `Idempotency-Key` a request may be sent again, by the client or by a balancer between:
/// it makes one alert, and has the same answer each time.
#[utoipa::path(post, path = "/alerts", tag = "alerts", request_body = NewAlert,
    params(("Idempotency-Key" = Option<String>, Header, description = "Names this create; remembered for an hour at least",
        min_length = 1, max_length = 255, pattern = "^[A-Za-z0-9_.:-]+$", nullable = false)),
    responses(
        (status = 201, description = "It is kept", body = Alert, headers(
            ("Location" = String, description = "Where it is"),
        )),
        (status = 400, description = "The body is no JSON object", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is longer than 16 KiB", body = Problem, content_type = "application/problem+json"),
        (status = 415, description = "The body is not application/json", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "Fields are wrong, or the key came before with another body", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many requests at once", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn create(
    State(shared): State<Shared>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let content = new_alert(&headers, body)?;
    let alert = Alert::new(content);
    match shared.store.create(Create { alert, key }).await? {
        Created::Alert(alert) => {
            let location = [(header::LOCATION, format!("/alerts/{}", alert.id))];
            Ok((StatusCode::CREATED, location, Json(alert)).into_response())
        }
        Created::KeyReused => Err(Problem::key_reused()),
    }
}

/// Lists alerts by age, a page at a time.
#[utoipa::path(get, path = "/alerts", tag = "alerts",
    params(
        ("limit" = Option<u32>, Query, description = "Alerts in a page; 20 without it", minimum = 1, maximum = 100, nullable = false),
        ("cursor" = Option<String>, Query, description = "`next` of the page before", format = "uuid", nullable = false),
    ),
    responses(
        (status = 200, description = "A page", body = Page),
        (status = 400, description = "The query cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "A parameter is wrong", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many requests at once", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    State(shared): State<Shared>,
    query: Result<Query<Vec<(String, String)>>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Page>, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, error.body_text()))?;
    let find = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    };
    let mut errors = Vec::new();
    let limit = match find("limit").map(|text| text.parse::<usize>()) {
        None => DEFAULT_LIMIT,
        Some(Ok(limit)) if (1..=MAX_LIMIT).contains(&limit) => limit,
        Some(_) => {
            let message = format!("must be a number from 1 to {MAX_LIMIT}");
            errors.push(FieldError::new("limit", message));
            0
        }
    };
    let cursor = find("cursor")
        .map(|text| parse_id(text))
        .unwrap_or_default();
    if find("cursor").is_some() && cursor.is_none() {
        errors.push(FieldError::new(
            "cursor",
            "must be `next` of the page before",
        ));
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    // One more than asked for tells whether there is a next page.
    let mut items = shared.store.list(cursor, limit + 1).await?;
    let is_last = items.len() <= limit;
    items.truncate(limit);
    let next = items.last().filter(|_| !is_last).map(|alert| alert.id);
    Ok(Json(Page { items, next }))
}

/// Reads an alert.
#[utoipa::path(get, path = "/alerts/{id}", tag = "alerts",
    params(("id" = String, Path, description = "Its id", format = "uuid")),
    responses(
        (status = 200, description = "The alert", body = Alert),
        (status = 404, description = "There is no such alert", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many requests at once", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn read(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<Json<Alert>, Problem> {
    let alert = match parse_id(&id) {
        Some(id) => shared.store.get(id).await?,
        None => None,
    };
    alert.map(Json).ok_or_else(no_such_alert)
}

/// Deletes an alert, or finds it deleted: a request that was sent twice has the same answer twice.
#[utoipa::path(delete, path = "/alerts/{id}", tag = "alerts",
    params(("id" = String, Path, description = "Its id", format = "uuid")),
    responses(
        (status = 204, description = "There is no such alert any more"),
        (status = 404, description = "This is no id of an alert", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "The store does not answer, or too many requests at once", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn delete(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = parse_id(&id).ok_or_else(no_such_alert)?;
    shared.store.delete(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Reads an id in the one form in which ids are written.
fn parse_id(text: &str) -> Option<Uuid> {
    let id = Uuid::parse_str(text).ok()?;
    (id.as_hyphenated().to_string() == text).then_some(id)
}

fn no_such_alert() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "there is no alert of this id")
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let is_fine = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.:-".contains(byte);
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let key = match (keys.next(), keys.next()) {
        (None, _) => return Ok(None),
        (Some(key), None) => key.as_bytes(),
        (Some(_), Some(_)) => b"",
    };
    if (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(is_fine) {
        return Ok(Some(String::from_utf8_lossy(key).into_owned()));
    }
    let message = "must be there once, with 1 to 255 letters, digits, `_`, `.`, `:` and `-`";
    Err(Problem::fields(vec![FieldError::new(
        "Idempotency-Key",
        message,
    )]))
}

fn new_alert(
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<NewAlert, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let detail = "the body must be JSON, with `Content-Type: application/json`";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body.map_err(|error| match error.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is longer than {MAX_BODY_BYTES} bytes"),
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "the body broke off"),
    })?;
    match serde_json::from_slice(&body) {
        Ok(Value::Object(fields)) => NewAlert::from_json(&fields).map_err(Problem::fields),
        Ok(_) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "the body is no JSON object",
        )),
        Err(error) => {
            let detail = format!("the body is no JSON: {error}");
            Err(Problem::new(StatusCode::BAD_REQUEST, detail))
        }
    }
}

const DEFAULT_LIMIT: usize = 20;
const MAX_LIMIT: usize = 100;
const MAX_KEY_BYTES: usize = 255;
