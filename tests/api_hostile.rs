//! Requests that no client should send: each is refused by a 4xx, or its connection is closed, and the server serves on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{PATIENCE, Server};

/// Sends these bytes and reads what comes until the connection is closed, or is quiet for a second after an answer.
fn exchange(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    // The server may close while much is still sent.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(head: &str, body: &str) -> Vec<u8> {
    format!(
        "{head}\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The statuses in what was answered.
fn statuses(answer: &str) -> Vec<u16> {
    let lines = answer.split("HTTP/1.1 ").skip(1);
    lines.filter_map(|line| line.get(..3)?.parse().ok()).collect()
}

#[test]
fn what_is_no_request_is_refused_or_cut_off_and_never_an_error_of_ours() {
    let server = Server::start(&[]);
    let long = |n: usize| "x".repeat(n);
    let cases: Vec<Vec<u8>> = [
        "\0\0\0\0\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        "GET / HTTP/9.9\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned(),
        "GET http://evil.example/v1/tasks HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost : localhost\r\n\r\n".to_owned(),
        "GET /v1/tasks/\u{0} HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".to_owned(),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", long(9_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", long(20_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(70)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X: y\r\n".repeat(1_000)),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", long(500_000)),
        // A front that reads one of the two lengths, and a back that reads the other, see different requests.
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: +5\r\n\r\nabcde".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx".to_owned(),
        "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".to_owned(),
    ]
    .into_iter()
    .map(String::into_bytes)
    .collect();
    thread::scope(|scope| {
        for case in &cases {
            let server = &server;
            scope.spawn(move || {
                let shown = String::from_utf8_lossy(&case[..case.len().min(200)]).into_owned();
                for status in statuses(&exchange(server, case)) {
                    assert!((400..500).contains(&status), "{status} for {shown}");
                }
            });
        }
    });
    let smuggled = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4\r\n\
        Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = exchange(&server, smuggled.as_bytes());
    assert!(!answer.contains("200 OK"), "the second request was in the body of the first: {answer}");
    assert_eq!(server.get("/livez").text, "ok\n");
    assert_eq!(server.get("/v1/queues").json()["queues"], json!([]), "nothing was sent");
}

#[test]
fn hostile_texts_are_texts() {
    let server = Server::start(&[]);
    let texts = [
        "../../etc/passwd",
        "acme/app.divide",
        "\u{202e}evil",
        "\u{0}",
        "a\r\nX-Injected: 1",
        "'; DROP TABLE results; --",
        "{{7*7}}",
        "<script>alert(1)</script>",
        "\u{feff}",
        "🦀",
        "host:once:x",
        "celery\u{6}\u{16}3",
        "*",
        "%00",
        "%2e%2e%2f",
    ];
    for text in texts {
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for path in [
            "/v1/tasks/X",
            "/v1/dead-letters/X",
            "/v1/tenants/X",
            "/v1/queues?tenant=X",
            "/v1/tokens/X",
            "/v1/audit?cursor=X",
        ] {
            let answer = server.get(&path.replace('X', &escaped));
            assert!(answer.status < 500, "{path} {text:?}: {answer:?}");
            assert!(!answer.text.contains("root:"), "{answer:?}");
        }
        let call = json!({"task": text, "args": [text], "kwargs": {text: text}, "queue": text});
        assert!(server.post("/v1/tasks", &call).status < 500, "{text:?}");
        let pause = format!("/v1/queues/{escaped}/pause");
        assert!(server.post(&pause, &json!({})).status < 500, "{text:?}");
    }
    for number in ["1e999", "-0", "NaN", "Infinity", "1e-400", "99999999999999999999999999", "0x10", "1_000"]
    {
        let body =
            format!(r#"{{"task": "f", "args": [{number}], "countdown": {number}, "time_limit": {number}}}"#);
        let answer = exchange(&server, &request("POST /v1/tasks HTTP/1.1", &body));
        assert!(statuses(&answer).iter().all(|status| *status < 500), "{number}: {answer}");
    }
    let deep = format!(r#"{{"task": "f", "args": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(statuses(&exchange(&server, &request("POST /v1/tasks HTTP/1.1", &deep))), [422]);
    let wide = format!(r#"{{"task": "f", {}"x": 1}}"#, r#""args": [],"#.repeat(10_000));
    assert_eq!(statuses(&exchange(&server, &request("POST /v1/tasks HTTP/1.1", &wide))), [422]);
    assert_eq!(server.get("/livez").text, "ok\n");
}

#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let server = Server::start(&[]);
    let head = "POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let slow: Vec<_> = ["GET /livez HTTP/1.1\r\nHo", head]
        .map(|begun| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.write_all(begun.as_bytes()).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream
        })
        .into();
    let idle: Vec<_> = (0..61).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let begin = Instant::now();
    assert_eq!(server.get("/livez").text, "ok\n");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    // One address has 64 connections, and the last place was the one just used.
    let last: Vec<_> = (0..2).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let mut answer = String::new();
    last[1].set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = (&last[1]).read_to_string(&mut answer);
    assert_eq!(statuses(&answer), [503], "{answer}");
    drop((idle, last));
    let answers: Vec<_> = slow
        .into_iter()
        .map(|mut stream| {
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            statuses(&answer)
        })
        .collect();
    assert_eq!(answers, [vec![], vec![408]]);
    assert_eq!(server.get("/livez").text, "ok\n");
}
