//! A real browser without a screen: Chromium, told what to do by WebDriver.

use std::{fs, path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{eventually, http, process::Process};

/// Chromium with a profile of its own. It ends with the test.
pub struct Browser {
    session: String,
    _driver: Process,
    _profile: TempDir,
}

impl Browser {
    #[track_caller]
    pub fn start() -> Self {
        let profile = tempfile::tempdir().expect("there is room for a folder");
        let mut driver = Process::start(
            Command::new("chromedriver").arg("--port=0"),
            "run `tests/setup`, which installs it",
        );
        driver.wait_for("started successfully on port ");
        let output = driver.output();
        let port = output.split("started successfully on port ").nth(1).expect("it wrote so");
        let port = port.split('.').next().expect("a sentence ends");
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1400,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": flags}}}});
        let response = http::post_json(&format!("http://127.0.0.1:{port}/session"), &wanted);
        let answer = response.json();
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        let session = format!("http://127.0.0.1:{port}/session/{id}");
        Self { session, _driver: driver, _profile: profile }
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("url", &json!({"url": url}));
    }

    /// What a person reads on the page now.
    #[track_caller]
    pub fn text(&self) -> String {
        let text = self.run("return document.body.innerText");
        text.as_str().expect("text").to_owned()
    }

    /// Waits until all these texts can be read on the page, and returns what can be read then.
    #[track_caller]
    pub fn wait_for(&self, texts: &[&str]) -> String {
        let mut text = String::new();
        eventually(&format!("the page shows {texts:?}"), || {
            text = self.text();
            texts.iter().all(|wanted| text.contains(wanted)).then_some(())
        });
        text
    }

    /// Clicks on what this CSS selector names.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.run(&format!("document.querySelector({selector:?}).click()"));
    }

    /// Runs JavaScript in the page.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("execute/sync", &json!({"script": script, "args": []}))
    }

    /// Takes a picture of the page, for people to look at: `target/screenshots/NAME.png`.
    #[track_caller]
    pub fn screenshot(&self, name: &str) {
        let response = http::get(&format!("{}/screenshot", self.session));
        let picture = response.json()["value"].as_str().map(|text| BASE64.decode(text));
        let picture = picture.expect("a picture").expect("base64");
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
        fs::create_dir_all(&folder).expect("target takes files");
        fs::write(folder.join(format!("{name}.png")), picture).expect("target takes files");
    }

    #[track_caller]
    fn ask(&self, what: &str, body: &Value) -> Value {
        let response = http::post_json(&format!("{}/{what}", self.session), body);
        assert_eq!(response.status, 200, "{what} {body}: {}", response.text);
        response.json()["value"].take()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser; killed, it could not.
        http::delete(&self.session);
    }
}
