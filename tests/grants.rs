//! What plugins were granted they reach, and nothing else: by HTTP, in the store, of secrets, and of other tasks.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned, crypto,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use crate::support::{TestHost, TestRedis, eventually, guests, host};

/// A server of the loopback address that says hello, or redirects to a private address.
#[derive(Clone, Default)]
struct Server {
    connections: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(tls: bool) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self::default();
        let serving = server.clone();
        thread::spawn(move || {
            let config = tls.then(tls_config);
            for stream in listener.incoming().flatten() {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                match &config {
                    None => serving.answer(stream),
                    Some(config) => {
                        let connection = ServerConnection::new(config.clone()).unwrap();
                        serving.answer(StreamOwned::new(connection, stream));
                    }
                }
            }
        });
        (server, address)
    }

    fn answer(&self, mut stream: impl Read + Write) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read > 0) {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let (status, field) = match head.contains(" /redirect ") {
            true => ("302 Found", "Location: http://10.0.0.1/"),
            false => ("200 OK", "X: y"),
        };
        self.heads.lock().unwrap().push(head);
        let answer =
            format!("HTTP/1.1 {status}\r\n{field}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        // Whoever asked may be gone.
        let _ = stream.write_all(answer.as_bytes()).and_then(|()| stream.flush());
    }
}

fn tls_config() -> Arc<ServerConfig> {
    let file = |name: &str| fs::read(tls(name)).unwrap();
    let certificates = CertificateDer::pem_slice_iter(&file("server.pem")).collect::<Result<_, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(&file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(config.with_single_cert(certificates, key).unwrap())
}

fn tls(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tls");
    folder.join(name).to_str().unwrap().to_owned()
}

/// A worker whose plugins `reach`, with this manifest, and `bare`, without one, are the same.
fn start(redis: &TestRedis, manifest: &str, flags: &[&str]) -> TestHost {
    let host = TestHost::start_with(redis, &[("bare", guests::REACH)], flags);
    fs::write(host.plugins().join("reach.toml"), manifest).unwrap();
    host.put("reach", &fs::read(guests::REACH).unwrap());
    eventually("the plugin is there", || {
        (redis.run("reach.all_configured", json!([])).status == "SUCCESS").then_some(())
    });
    host
}

#[test]
fn requests_go_to_granted_hosts_and_to_no_private_address() {
    let redis = TestRedis::start();
    let ((http, address), (https, secure)) = (Server::start(false), Server::start(true));
    let (port, secure) = (address.port(), secure.port());
    let manifest = format!(
        "[grants]\nhttp = [\"localhost:{port}\", \"https://localhost:{secure}\", \"10.0.0.1\", \"[::1]:*\"]"
    );
    let flags = ["--allow-private-http", "127.0.0.0/8", "--http-ca", &tls("ca.pem")];
    let host = start(&redis, &manifest, &flags);
    let fetch = |task: &str, method: &str, uri: String, headers: Value| {
        redis.run(&format!("{task}.fetch"), json!([method, uri, headers]))
    };
    let get = |task: &str, uri: String| fetch(task, "GET", uri, Value::Null);

    assert_eq!(get("reach", format!("http://localhost:{port}")).to_string(), r#"SUCCESS [200,"hello"]"#);
    assert_eq!(get("reach", format!("https://localhost:{secure}")).to_string(), r#"SUCCESS [200,"hello"]"#);
    assert_eq!(
        get("reach", format!("http://localhost:{port} /redirect")).to_string(),
        r#"SUCCESS [302,"hello"]"#
    );
    let connections = || http.connections.load(Ordering::Relaxed) + https.connections.load(Ordering::Relaxed);
    assert_eq!(connections(), 3);

    for (task, method, uri, headers, error) in [
        ("bare", "GET", format!("http://localhost:{port}"), Value::Null, "ErrorCode::HttpRequestDenied"),
        ("reach", "GET", format!("http://127.0.0.1:{port}"), Value::Null, "ErrorCode::HttpRequestDenied"),
        ("reach", "GET", "http://10.0.0.1".to_owned(), Value::Null, "ErrorCode::DestinationIpProhibited"),
        ("reach", "GET", format!("http://[::1]:{port}"), Value::Null, "ErrorCode::DestinationIpProhibited"),
        (
            "reach",
            "GET",
            format!("http://localhost:{port}@127.0.0.1:{port}"),
            Value::Null,
            "ErrorCode::HttpRequestUriInvalid",
        ),
        (
            "reach",
            "GET",
            format!("http://me@localhost:{port}"),
            Value::Null,
            "ErrorCode::HttpRequestUriInvalid",
        ),
        ("reach", "GET", format!("http://localhost:{port} http://10.0.0.1/"), Value::Null, "bad path"),
        ("reach", "GET", format!("http://localhost:{port} /\r\nX: y"), Value::Null, "bad path"),
        ("reach", "GET\r\nX: y", format!("http://localhost:{port}"), Value::Null, "bad method"),
        (
            "reach",
            "CONNECT",
            format!("http://localhost:{port}"),
            Value::Null,
            "ErrorCode::HttpRequestMethodInvalid",
        ),
        (
            "reach",
            "GET",
            format!("http://localhost:{port}"),
            json!([["Host", "internal"]]),
            "HeaderError::Forbidden",
        ),
        (
            "reach",
            "GET",
            format!("http://localhost:{port}"),
            json!([["X", "y\r\nHost: z"]]),
            "HeaderError::InvalidSyntax",
        ),
        ("reach", "GET", format!("ftp://localhost:{port}"), Value::Null, "ErrorCode::HttpProtocolError"),
    ] {
        let answer = fetch(task, method, uri.clone(), headers);
        assert_eq!(answer.to_string(), format!("FAILURE builtins.RuntimeError: {error}"), "{uri}");
    }
    assert_eq!(connections(), 3, "none of these has reached a server");
    let heads = http.heads.lock().unwrap().join("");
    assert_eq!(heads.matches(&format!("host: localhost:{port}\r\n")).count(), 2, "{heads}");

    let refused = get("reach", "http://10.0.0.1".to_owned()).traceback.unwrap();
    let line = "refused: http to 10.0.0.1 (10.0.0.1 is no public address; --allow-private-http)";
    assert_eq!(refused.lines().last(), Some(line), "{refused}");
    let refused = get("bare", format!("http://localhost:{port}")).traceback.unwrap();
    let line = format!("refused: http to localhost:{port} (not in [grants] http)");
    assert_eq!(refused.lines().last(), Some(line.as_str()), "{refused}");
    assert!(host.output().contains("plugin bare of the default tenant was refused: http to localhost"));
}

#[test]
fn entries_outlive_a_run_within_their_quota() {
    let redis = TestRedis::start();
    let _host = start(&redis, "[grants]\nkeyvalue = 20000", &[]);
    let run = |task: &str, args: Value| redis.run(task, args).to_string();
    assert_eq!(run("reach.keep_many", json!(["b"])), r#"SUCCESS [[3,3],true,["a","c"],42,[]]"#);
    assert_eq!(run("reach.count", json!(["b", "n", 5])), "SUCCESS 5");
    assert_eq!(run("reach.count", json!(["b", "n", 5])), "SUCCESS 10", "it outlives the run");
    assert_eq!(run("reach.count", json!(["c", "n", 5])), "SUCCESS 5", "another bucket");
    assert_eq!(run("reach.keep", json!(["b", "large", 15_000])), "SUCCESS null");
    let full = redis.run("reach.keep", json!(["c", "large", 15_000]));
    assert!(full.to_string().contains("the entries may take 20000 bytes"), "{full}");
    let line = full.traceback.unwrap().lines().last().unwrap().to_owned();
    assert!(
        line.starts_with("refused: keyvalue (15")
            && line.ends_with("of 20000 bytes are used; [grants] keyvalue)"),
        "{line}"
    );
    for (args, error) in [
        (json!(["", "k", 1]), "Error::NoSuchStore"),
        (json!(["b", "", 1]), "a key has 1 to 1024 bytes, not 0"),
        (json!(["b", "k", (1 << 20) + 1]), "a value has at most 1048576 bytes"),
    ] {
        let answer = run("reach.keep", args);
        assert!(answer.starts_with("FAILURE") && answer.contains(error), "{answer}");
    }
    let denied = redis.run("bare.keep", json!(["b", "k", 1]));
    assert_eq!(denied.to_string(), "FAILURE builtins.RuntimeError: Error::AccessDenied");
    let line = "refused: keyvalue bucket \"b\" (not in [grants] keyvalue)";
    assert_eq!(denied.traceback.unwrap().lines().last(), Some(line));
}

/// Sets a secret as an operator does.
fn set_secret(redis: &TestRedis, key: &str, name: &str, value: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_host"));
    command.env_clear().env("HOST_SECRET_KEY", key).args(["secret", "set", name, "--broker", &redis.url()]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(value.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn secrets_reach_granted_plugins_and_nothing_that_is_kept() {
    let redis = TestRedis::start();
    let (key, value) = ("5a".repeat(32), "correct-horse-battery");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), &key).unwrap();
    assert_eq!(set_secret(&redis, &key, "API_KEY", &format!("{value}\n")), "");
    assert_eq!(set_secret(&redis, &key, "OTHER", "other-secret"), "");
    assert!(set_secret(&redis, "short", "API_KEY", value).contains("32 random bytes"));

    let manifest = "[grants]\nsecrets = [\"API_*\"]\n[grants.config]\nendpoint = \"https://api.example.org\"";
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("reach.toml"), manifest).unwrap();
    for name in ["reach", "bare"] {
        fs::copy(guests::REACH, folder.path().join(format!("{name}.wasm"))).unwrap();
    }
    let worker =
        TestHost::start_in(&redis, folder, &[("HOST_SECRET_KEY_FILE", file.path().to_str().unwrap())]);
    let run = |task: &str, args: Value| redis.run(task, args);
    let text = |task: &str, args: Value| run(task, args).to_string();

    assert_eq!(text("reach.configured", json!(["endpoint"])), r#"SUCCESS "https://api.example.org""#);
    assert_eq!(text("reach.configured", json!(["API_KEY"])), r#"SUCCESS "[secret API_KEY]""#);
    assert_eq!(text("reach.all_configured", json!([])), r#"SUCCESS ["API_KEY","endpoint"]"#);
    for name in ["OTHER", "endpoint", "API_KEY"] {
        let task = if name == "OTHER" { "reach" } else { "bare" };
        assert_eq!(text(&format!("{task}.configured"), json!([name])), "SUCCESS null", "{name}");
    }
    let told = run("reach.tell", json!(["API_KEY", true]));
    assert_eq!(told.to_string(), "FAILURE builtins.RuntimeError: not [secret API_KEY]");
    assert!(told.traceback.unwrap().contains("it is [secret API_KEY]"));
    assert_eq!(text("reach.tell", json!(["API_KEY", false])), r#"SUCCESS "[secret API_KEY]""#);

    // A change is heard without a new start.
    assert_eq!(set_secret(&redis, &key, "API_NEW", "new-value"), "");
    eventually("the worker has heard of it", || {
        (text("reach.all_configured", json!([])).contains("API_NEW")).then_some(())
    });
    assert_eq!(
        String::from_utf8(host(&redis, &["secret", "list"]).stdout).unwrap(),
        "API_KEY\nAPI_NEW\nOTHER\n"
    );
    assert!(host(&redis, &["secret", "rm", "API_NEW"]).status.success());
    assert!(!host(&redis, &["secret", "rm", "API_NEW"]).status.success());
    eventually("the worker has heard of that too", || {
        (!text("reach.all_configured", json!([])).contains("API_NEW")).then_some(())
    });

    let kept = redis.dump();
    for hidden in [value.as_bytes(), b"other-secret", key.as_bytes()] {
        assert!(!kept.windows(hidden.len()).any(|part| part == hidden), "it is in the store");
        assert!(!worker.output().contains(&*String::from_utf8_lossy(hidden)), "it is in the log");
    }
}

#[test]
fn a_plugin_sends_the_tasks_that_it_was_granted() {
    let redis = TestRedis::start();
    let _host = start(&redis, "[grants]\nsubmit = [\"bare.count\", \"mail.*\"]", &[]);
    let send =
        |task: &str, signature: Value| redis.run(&format!("{task}.send"), json!([signature.to_string()]));
    let granted = [
        json!({"task": "bare.count"}),
        json!({"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [{"task": "mail.a"}, {"task": "mail.b"}]}}),
    ];
    for signature in granted {
        assert_eq!(send("reach", signature.clone()).status, "SUCCESS", "{signature}");
    }
    for signature in [
        json!({"task": "bare.fetch"}),
        json!({"task": "bare.count", "options": {"link": [{"task": "bare.fetch"}]}}),
        json!({"task": "celery.map", "kwargs": {"task": {"task": "bare.fetch"}, "it": [[1]]}}),
    ] {
        let refused = send("reach", signature.clone());
        let what = "refused: task bare.fetch (not in [grants] submit)";
        assert_eq!(refused.to_string(), format!("FAILURE builtins.RuntimeError: {what}"), "{signature}");
        assert_eq!(refused.traceback.unwrap().lines().last(), Some(what));
        assert_eq!(send("bare", signature).status, "SUCCESS", "who says nothing of it sends all");
    }
}
