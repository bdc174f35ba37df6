//! Problem documents (RFC 9457): the one form in which anything is refused.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::store::StoreError;

/// Why a request was not done.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The kind of problem in words, always the same for one kind.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What happened this time, and what helps.
    pub detail: String,
    /// The fields that are wrong, when fields are.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
}

/// What is wrong with a field.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// The field of the body, the parameter or the header.
    pub field: String,
    /// What it must be.
    pub message: String,
}

impl FieldError {
    /// Says of a field what it must be.
    pub fn new(field: &str, message: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            message: message.into(),
        }
    }
}

impl Problem {
    /// A problem of which the status says the kind.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
        }
    }

    /// Fields that are wrong.
    #[must_use]
    pub fn fields(errors: Vec<FieldError>) -> Self {
        let names: Vec<_> = errors.iter().map(|error| error.field.as_str()).collect();
        let detail = format!("wrong: {}", names.join(", "));
        Self {
            kind: "urn:alerts:invalid-fields",
            title: "Some fields are not valid",
            errors,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
        }
    }

    /// An idempotency key that came before with another alert.
    #[must_use]
    pub fn key_reused() -> Self {
        Self {
            kind: "urn:alerts:key-reused",
            title: "The idempotency key belongs to another request",
            ..Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "this Idempotency-Key came before with another body; take a new key",
            )
        }
    }

    /// More work than this replica takes at once.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "this replica has as many requests as it takes; try again",
        )
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(%cause, "the store does not answer; see that it runs, or most of its nodes");
                Self {
                    kind: "urn:alerts:store-unavailable",
                    title: "The store does not answer",
                    ..Self::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the store does not answer; whether a change was done is not known, so try \
                         again, a create with the same Idempotency-Key",
                    )
                }
            }
            StoreError::Full(cause) => {
                tracing::error!(%cause, "the store is full; give it room or delete alerts");
                Self {
                    kind: "urn:alerts:store-full",
                    title: "The store is full",
                    ..Self::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "the store is full; nothing was written",
                    )
                }
            }
            StoreError::Broken(cause) => {
                tracing::error!(%cause, "the store gave something that is not understood");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the store gave something that is not understood; the log says more",
                )
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
