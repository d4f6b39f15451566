//! HTTP as a client speaks it to a server of the test.

use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, http};

/// What a server answered, whatever the status.
#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub text: String,
}

impl Response {
    /// The body, which is JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }
}

/// Whether somebody serves there.
pub fn answers(url: &str) -> bool {
    agent().get(url).call().is_ok()
}

#[track_caller]
pub fn get(url: &str) -> Response {
    read(url, agent().get(url).call())
}

/// With the fields of a form.
#[track_caller]
pub fn post(url: &str, form: &[(&str, &str)]) -> Response {
    read(url, agent().post(url).send_form(form.iter().copied()))
}

#[track_caller]
pub fn post_json(url: &str, body: &Value) -> Response {
    read(url, agent().post(url).send_json(body))
}

#[track_caller]
pub fn get_with(url: &str, headers: &[(&str, &str)]) -> Response {
    let request =
        headers.iter().fold(agent().get(url), |request, (name, value)| request.header(*name, *value));
    read(url, request.call())
}

#[track_caller]
pub fn post_with(url: &str, headers: &[(&str, &str)], body: &Value) -> Response {
    let request =
        headers.iter().fold(agent().post(url), |request, (name, value)| request.header(*name, *value));
    read(url, request.send_json(body))
}

#[track_caller]
pub fn post_bytes(url: &str, media_type: &str, body: &[u8]) -> Response {
    read(url, agent().post(url).header("Content-Type", media_type).send(body))
}

pub fn delete(url: &str) {
    // What is to be deleted may be gone.
    let _ = agent().delete(url).call();
}

/// One connection per request, so that none is found to be closed.
fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_idle_connections(0);
    config.build().into()
}

#[track_caller]
fn read(url: &str, response: Result<http::Response<ureq::Body>, ureq::Error>) -> Response {
    let mut response = response.unwrap_or_else(|e| panic!("{url}: {e}"));
    let text = response.body_mut().read_to_string().unwrap_or_else(|e| panic!("{url}: {e}"));
    Response { status: response.status().as_u16(), text }
}
