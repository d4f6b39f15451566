//! Sending something once, however often a client asks for it, because it did not hear the answer.

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::submit::REPLAYED;
use crate::{
    api::{App, problem::Problem},
    protocol::message::Submission,
    store::Once,
    task::Tenant,
};

/// How long a key is known.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What is kept under a key.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The SHA-256 of the request.
    request: String,
    /// What was answered.
    answer: Box<RawValue>,
}

/// The key that a request names, if it does.
pub fn key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| (1..=255).contains(&text.len()) && values.next().is_none());
    match text {
        Some(text) => Ok(Some(text)),
        None => {
            Err(Problem::invalid("Idempotency-Key", "a key is 1 to 255 visible ASCII characters, given once"))
        }
    }
}

/// Sends these, unless that was done under the key before; then what was answered is told.
pub async fn send(
    app: &App,
    tenant: &Tenant,
    key: &str,
    request: &[u8],
    submissions: &[Submission],
    answer: &str,
) -> Result<Option<String>, Problem> {
    let fingerprint = hex(&Sha256::digest(request));
    let answer = RawValue::from_string(answer.to_owned()).expect("what is answered is JSON");
    let kept = Kept { request: fingerprint.clone(), answer };
    let once = Once {
        // Of any length and any text, and no two of them the same.
        key: format!("{}{}", tenant.prefix(), hex(&Sha256::digest(key))),
        value: serde_json::to_string(&kept).expect("it is made of texts"),
        lifetime: LIFETIME,
    };
    let Some(earlier) = app.client.send_once(submissions, &once).await? else { return Ok(None) };
    match serde_json::from_str::<Kept>(&earlier) {
        Ok(earlier) if earlier.request == fingerprint => Ok(Some(earlier.answer.get().to_owned())),
        Ok(_) => {
            let detail = "something else was sent with this key within the last day; use a new key for each thing that is sent";
            let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", detail);
            Err(problem.about("Idempotency-Key"))
        }
        Err(_) => Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// The answer of before.
pub fn replayed(earlier: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (REPLAYED, HeaderValue::from_static("true")),
    ];
    (headers, earlier).into_response()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
