//! What is answered when a request cannot be done: a problem document (RFC 9457), always.
//!
//! A problem tells the caller what they can change. What went wrong inside goes to the log. That something belongs to another
//! tenant and that it is not there are the same problem.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{client::ClientError, store::StoreError, task::InvalidName};

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:host:problem:bad-argument`. Stays the same for programs to go by.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status, once more.
    pub status: u16,
    /// This problem, for people.
    pub detail: String,
    /// The parameter, field or argument that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
}

/// The media type of problem documents.
pub const MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    /// A problem of the kind that its status says.
    pub fn of_status(status: StatusCode) -> Self {
        let (kind, detail) = match status {
            StatusCode::BAD_REQUEST => ("bad-request", "the request cannot be read"),
            StatusCode::UNAUTHORIZED => {
                ("no-token", "show a token that can be used now: `Authorization: Bearer host_...`")
            }
            StatusCode::FORBIDDEN => ("forbidden", "this is not allowed"),
            StatusCode::NOT_FOUND => ("not-found", "there is nothing of this name"),
            StatusCode::METHOD_NOT_ALLOWED => {
                ("method-not-allowed", "this cannot be done there; `Allow` says what can")
            }
            StatusCode::REQUEST_TIMEOUT => {
                ("too-slow", "the request did not come, or could not be done, in time")
            }
            StatusCode::PAYLOAD_TOO_LARGE => ("too-large", "the body is too large"),
            StatusCode::URI_TOO_LONG => ("uri-too-long", "the path and query are too long"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                ("unsupported-media-type", "send `Content-Type: application/json`")
            }
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                ("headers-too-large", "there are too many or too large headers")
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                ("unavailable", "this cannot be done at the moment; try again")
            }
            status if status.is_client_error() => ("bad-request", "the request cannot be done"),
            _ => ("internal", "something went wrong here; the log of the server says what"),
        };
        Self::new(status, kind, detail)
    }

    /// A problem of this kind.
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:host:problem:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            parameter: None,
        }
    }

    /// A value that cannot be, at the place `parameter`.
    pub fn invalid(parameter: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid-value", detail).about(parameter)
    }

    /// There is no such thing, or it is somebody else's.
    pub fn not_found() -> Self {
        Self::of_status(StatusCode::NOT_FOUND)
    }

    /// Somebody else changed it at the same time.
    pub fn conflict() -> Self {
        let detail = "somebody else has changed it just now; look again, and try again";
        Self::new(StatusCode::CONFLICT, "conflict", detail)
    }

    /// The same, about this parameter.
    pub fn about(self, parameter: &str) -> Self {
        Self { parameter: Some(parameter.to_owned()), ..self }
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        tracing::warn!(error = &error as &dyn std::error::Error, "a request over HTTP could not be done");
        Self::of_status(StatusCode::SERVICE_UNAVAILABLE)
    }
}

impl From<ClientError> for Problem {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Store(error) => error.into(),
            ClientError::NotReplayable { .. } => {
                Self::new(StatusCode::CONFLICT, "not-replayable", error.to_string())
            }
            ClientError::Invalid { .. } | ClientError::Timeout { .. } => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "a request over HTTP could not be done"
                );
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

/// A name that was given at the place `parameter`, checked.
pub fn named<T: std::str::FromStr<Err = InvalidName>>(parameter: &str, name: &str) -> Result<T, Problem> {
    name.parse().map_err(|error: InvalidName| Problem::invalid(parameter, error.to_string()))
}
