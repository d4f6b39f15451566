//! The OpenAPI document is what the server does: Schemathesis makes requests out of it, good and bad ones, and compares.

use std::{path::Path, process::Command};

use crate::support::Server;

#[test]
fn schemathesis_finds_nothing_that_the_document_does_not_say() {
    let server = Server::start(&["--http-wait", "0.1"]);
    let token = server.host(&["token", "create", "--scopes", "admin"]);
    let program =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/python/schemathesis/bin/schemathesis");
    let header = format!("Authorization: Bearer {token}");
    let checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
        response_schema_conformance,ignored_auth";
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(&program);
    command.current_dir(folder.path()).args(["run", &server.url("/openapi.json"), "--header", &header]);
    // A stream of events is as long as its task; and the token that is used must not be replaced or revoked.
    command.args(["--exclude-path-regex", "/events$|/v1/tokens/.*id", "--checks", checks]);
    command.args(["--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--workers", "1"]);
    command.args(["--request-timeout", "60", "--warnings", "off", "--no-shrink"]);
    let output = command.output().unwrap_or_else(|e| panic!("{}: {e}; run tests/setup", program.display()));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let document = server.get_with_token("/openapi.json", &token);
    assert_eq!(
        document.status, 200,
        "the token can still be used: it was the server that was tried, and not its door"
    );
    let paths = document.json()["paths"].clone();
    let operations =
        paths.as_object().unwrap().values().map(|item| item.as_object().unwrap().len()).sum::<usize>();
    assert!(text.contains(&format!("Tested: {}", operations - 3)), "all but those three are tried: {text}");
}
