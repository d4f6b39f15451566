//! The OpenAPI document is what the server does: Schemathesis makes requests out of it, good and bad ones, and compares.

use std::{path::Path, process::Command};

use crate::support::Server;

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let server = Server::start(&[]);
    let token = server.host(&["token", "create", "--scopes", "admin"]);
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/schemathesis/bin/schemathesis");
    let header = format!("Authorization: Bearer {token}");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
        response_schema_conformance,ignored_auth";
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&program);
    command.current_dir(folder.path()).args(["run", &server.url("/openapi.json"), "--header", &header]);
    // A stream of events is as long as its task.
    command.args([
        "--exclude-path-regex",
        "/events$",
        "--checks",
        checks,
        "--phases",
        "examples,coverage,fuzzing",
    ]);
    command.args(["--max-examples", "15", "--max-time", "40", "--seed", "1", "--workers", "2"]);
    command.args(["--request-timeout", "90", "--warnings", "off", "--no-shrink"]);
    let output = command.output().unwrap_or_else(|e| panic!("{}: {e}; run tests/setup", program.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("test cases") || text.contains("passed"), "it tried nothing: {text}");
}
