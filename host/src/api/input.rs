//! What comes with a request, read with bounds. What cannot be read is a [`Problem`] that says where.

use std::time::Duration;

use axum::{
    body::Body,
    extract::{FromRequest, FromRequestParts, Query, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// How long a body may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The same for one of megabytes.
const PATIENCE_FOR_UPLOADS: Duration = Duration::from_secs(60);

/// A JSON body of at most `MOST` bytes, and its bytes.
pub struct JsonBody<T, const MOST: usize> {
    /// What it says.
    pub value: T,
    /// How it says it.
    pub bytes: Bytes,
}

/// The parameters in the query. One that is not known is a mistake, and not passed over.
pub struct Parameters<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync, const MOST: usize> FromRequest<S> for JsonBody<T, MOST> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is(request.headers(), "application/json") {
            return Err(Problem::of_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let bytes = read(request.into_body(), MOST, PATIENCE).await?;
        let value = json(&bytes)?;
        Ok(Self { value, bytes })
    }
}

/// The value that these bytes write down.
pub fn json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-body",
            format!("the body is not usable: {}", shown(&error)),
        ),
        _ => Problem::new(StatusCode::BAD_REQUEST, "not-json", format!("the body is not JSON: {error}")),
    })
}

/// What is wrong with a body, in one short line: it may quote a name of any length and with anything in it.
fn shown(error: &serde_json::Error) -> String {
    const LONGEST: usize = 300;
    let text = error.to_string();
    let line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() { line + "..." } else { line }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(value)) => Ok(Self(value)),
            Err(rejection) => {
                let detail = format!("the query is not usable: {}", rejection.body_text());
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid-query", detail))
            }
        }
    }
}

/// The bytes of an upload.
pub async fn upload(body: Body, most: usize) -> Result<Bytes, Problem> {
    read(body, most, PATIENCE_FOR_UPLOADS).await
}

async fn read(body: Body, most: usize, patience: Duration) -> Result<Bytes, Problem> {
    let whole = tokio::time::timeout(patience, Limited::new(body, most).collect());
    match whole.await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("the body has more than {most} bytes");
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail))
        }
        Ok(Err(_)) => Err(Problem::of_status(StatusCode::BAD_REQUEST)),
        Err(_) => Err(Problem::of_status(StatusCode::REQUEST_TIMEOUT)),
    }
}

/// Whether the body is said to be of this media type.
pub fn is(headers: &HeaderMap, media_type: &str) -> bool {
    let said = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let said = said.map(|said| said.split(';').next().unwrap_or_default().trim());
    said.is_some_and(|said| said.eq_ignore_ascii_case(media_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_problem_quotes_of_a_body_is_one_short_line() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Nothing {}
        let body = format!(r#"{{"a\n\u001b[31m{}": 1}}"#, "x".repeat(10_000));
        let problem = json::<Nothing>(body.as_bytes()).unwrap_err();
        assert!(
            problem.detail.starts_with("the body is not usable: unknown field `a  [31mxxx"),
            "{problem:?}"
        );
        assert!(problem.detail.len() < 400 && !problem.detail.contains(char::is_control), "{problem:?}");
    }
}
