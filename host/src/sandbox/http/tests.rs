//! Requests to servers of the loopback address, and to addresses that nobody may reach.

use std::{
    net::SocketAddr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::{super::refusals::Refusals, *};
use crate::{
    sandbox::Access,
    task::{Grants, Tenant},
};

const CA: &[u8] = include_bytes!("../../../../tests/fixtures/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/fixtures/tls/server.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/tls/server.key");

/// A server that answers by the path; what it was sent is kept.
#[derive(Default)]
struct Server {
    connections: AtomicUsize,
    heads: Mutex<Vec<String>>,
}

impl Server {
    async fn start(tls: Option<TlsAcceptor>) -> (Arc<Self>, SocketAddr) {
        Self::start_at("127.0.0.1", tls).await
    }

    async fn start_at(host: &str, tls: Option<TlsAcceptor>) -> (Arc<Self>, SocketAddr) {
        let listener = TcpListener::bind((host, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self::default());
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                let (server, tls) = (serving.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => server.answer(stream).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => server.answer(stream).await,
                            Err(error) => tracing::debug!(%error, "no TLS"),
                        },
                    }
                });
            }
        });
        (server, address)
    }

    async fn answer(&self, mut stream: impl meter::Stream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.heads.lock().unwrap().push(head);
        let many = "x".repeat(1000);
        let answer = match path.as_str() {
            "/large" => format!("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", many.repeat(100)),
            "/head" => format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", many.repeat(100)),
            "/redirect" => {
                "HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n".to_owned()
            }
            "/half" => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_owned(),
            "/never" => String::new(),
            _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_owned(),
        };
        // Who asked may have heard enough.
        let _ = stream.write_all(answer.as_bytes()).await;
        let mut rest = [0; 1 << 10];
        while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {}
    }
}

fn tls() -> TlsAcceptor {
    let certificates = CertificateDer::pem_slice_iter(CERTIFICATE).collect::<Result<_, _>>().unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = config.with_single_cert(certificates, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap();
    Arc::new(config).into()
}

fn door(hosts: &[&str], options: HttpOptions) -> Door {
    let http = hosts.iter().map(|host| host.parse().unwrap()).collect();
    let grants = Grants { http, ..Grants::default() };
    let access = Access::new(Tenant::DEFAULT, "app", grants, &Refusals::default());
    let client = Arc::new(Client::new(options).unwrap());
    Http::new(client, Refuser::new(Arc::new(access))).door
}

/// Lets the loopback address be reached.
fn inside() -> HttpOptions {
    HttpOptions { allow_private: vec!["127.0.0.0/8".parse().unwrap()], ..HttpOptions::default() }
}

fn to(uri: &str) -> Request<WasiBody> {
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    Request::builder().uri(uri).body(body).unwrap()
}

async fn send(door: &mut Door, request: Request<WasiBody>) -> Result<(u16, Bytes), Error> {
    let sent = Pin::from(door.send_request(request, None, Box::new(async { Ok(()) }))).await;
    let (response, rest) = sent?;
    let connection = tokio::spawn(Pin::from(rest));
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(|body| (status, body.to_bytes()));
    connection.abort();
    body
}

#[tokio::test]
async fn a_granted_host_is_reached_by_its_name_and_by_its_address() {
    let (server, address) = Server::start(None).await;
    let port = address.port();
    let mut door = door(&["localhost:*", "127.0.0.1:*"], inside());
    for host in ["localhost", "LOCALHOST.", "127.0.0.1"] {
        let (status, body) = send(&mut door, to(&format!("http://{host}:{port}/a?b=c"))).await.unwrap();
        assert_eq!((status, body.as_ref()), (200, b"hello".as_slice()));
    }
    let heads = server.heads.lock().unwrap();
    assert!(heads.iter().all(|head| head.starts_with("GET /a?b=c HTTP/1.1\r\n")), "{heads:?}");
    assert!(heads[1].contains(&format!("host: localhost:{port}\r\n")), "{heads:?}");
    assert!(door.refuser.shown().is_empty());
}

#[tokio::test]
async fn what_is_not_public_is_never_connected_to_however_it_is_written() {
    let (server, address) = Server::start(None).await;
    let port = address.port();
    let mut door = door(&["*:*"], HttpOptions { calls: 1000, ..HttpOptions::default() });
    for host in [
        "127.0.0.1",
        "localhost",
        "localhost.",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::]",
        "0.0.0.0",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "172.16.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        let error = send(&mut door, to(&format!("http://{host}:{port}/"))).await.unwrap_err();
        assert!(matches!(error, Error::DestinationIpProhibited), "{host}: {error}");
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);
    let first = format!("http to 127.0.0.1:{port} (127.0.0.1 is no public address; --allow-private-http)");
    assert_eq!(door.refuser.shown()[0], first);
}

#[tokio::test]
async fn a_private_network_is_reached_by_those_for_whom_it_was_allowed() {
    let (server, address) = Server::start(None).await;
    let mut door =
        door(&["*:*"], HttpOptions { allow_private: vec!["acme=127.0.0.0/8".parse().unwrap()], ..inside() });
    let error = send(&mut door, to(&format!("http://{address}/"))).await.unwrap_err();
    assert!(
        matches!(error, Error::DestinationIpProhibited),
        "it is acme's, and this is the default tenant's: {error}"
    );
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);
    assert!("Acme=127.0.0.0/8".parse::<PrivateNetwork>().is_err());
}

#[tokio::test]
async fn what_is_not_granted_is_refused_before_anything_is_looked_up() {
    let (server, address) = Server::start(None).await;
    let port = address.port();
    let mut door = door(&["a.example.org", "https://b.example.org"], inside());
    for (uri, expected) in [
        (format!("http://127.0.0.1:{port}/"), format!("http to 127.0.0.1:{port} (not in [grants] http)")),
        (
            "http://a.example.org:8080/".to_owned(),
            "http to a.example.org:8080 (not in [grants] http)".to_owned(),
        ),
        ("http://b.example.org/".to_owned(), "http to b.example.org (not in [grants] http)".to_owned()),
        (
            "https://a.example.org.evil.org/".to_owned(),
            "https to a.example.org.evil.org (not in [grants] http)".to_owned(),
        ),
        (
            format!("http://a.example.org@127.0.0.1:{port}/"),
            format!("http to a.example.org@127.0.0.1:{port} (a user before the host)"),
        ),
    ] {
        let error = send(&mut door, to(&uri)).await.unwrap_err();
        assert!(matches!(error, Error::HttpRequestDenied | Error::HttpRequestUriInvalid), "{uri}: {error}");
        assert!(door.refuser.shown().contains(&expected), "{uri}: {:?}", door.refuser.shown());
    }
    let mut tunnel = to("http://a.example.org/");
    *tunnel.method_mut() = Method::CONNECT;
    assert!(matches!(send(&mut door, tunnel).await, Err(Error::HttpRequestMethodInvalid)));
    assert_eq!(server.connections.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_what_it_points_to_is_checked_like_all() {
    let (_server, address) = Server::start(None).await;
    let mut door = door(&["127.0.0.1:*"], inside());
    let (status, _) = send(&mut door, to(&format!("http://{address}/redirect"))).await.unwrap();
    assert_eq!(status, 302);
    assert!(matches!(send(&mut door, to("http://10.0.0.1/")).await, Err(Error::HttpRequestDenied)));
}

#[tokio::test]
async fn the_host_header_is_ours() {
    let (server, address) = Server::start(None).await;
    let mut door = door(&["*:*"], inside());
    let mut request = to(&format!("http://{address}/"));
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("internal.example.org"));
    request.headers_mut().append(header::HOST, HeaderValue::from_static("other.example.org"));
    send(&mut door, request).await.unwrap();
    let heads = server.heads.lock().unwrap();
    assert_eq!(heads[0].to_lowercase().matches("host:").count(), 1, "{heads:?}");
    assert!(heads[0].contains(&format!("host: {address}\r\n")), "{heads:?}");
    assert!(door.is_forbidden_header(&header::HOST), "a guest cannot even set it");
}

#[tokio::test]
async fn requests_bytes_and_time_are_limited() {
    let (_server, address) = Server::start(None).await;
    let uri = |path: &str| format!("http://{address}{path}");
    let few = HttpOptions { calls: 2, bytes: 20_000, ..inside() };

    let mut calls = door(&["*:*"], few.clone());
    for expected in [true, true, false] {
        assert_eq!(send(&mut calls, to(&uri("/"))).await.is_ok(), expected);
    }
    assert_eq!(calls.refuser.shown(), [format!("http to {address} (a run may make 2 requests)")]);

    let mut at_once = door(&["*:*"], HttpOptions { at_once: 1, calls: 9, ..few.clone() });
    let first = at_once.send_request(to(&uri("/")), None, Box::new(async { Ok(()) }));
    assert!(matches!(send(&mut at_once, to(&uri("/"))).await, Err(Error::ConnectionLimitReached)));
    drop(first);
    assert!(send(&mut at_once, to(&uri("/"))).await.is_ok(), "its place is free again");

    let error = send(&mut door(&["*:*"], few.clone()), to(&uri("/large"))).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseBodySize(Some(20_000))), "{error}");
    let error = send(&mut door(&["*:*"], HttpOptions { bytes: 4 << 20, ..few.clone() }), to(&uri("/head")))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Hyper(_)), "a head is no larger than {LARGEST_HEAD}: {error}");
    let body = Full::new(Bytes::from(vec![0; 30_000])).map_err(|never| match never {}).boxed_unsync();
    let large = Request::builder().method("POST").uri(uri("/")).body(body).unwrap();
    let error = send(&mut door(&["*:*"], few.clone()), large).await.unwrap_err();
    assert!(matches!(error, Error::HttpRequestBodySize(Some(20_000))), "{error}");

    let hasty = HttpOptions { patience: Duration::from_millis(300), ..few };
    for path in ["/never", "/half"] {
        let error = send(&mut door(&["*:*"], hasty.clone()), to(&uri(path))).await.unwrap_err();
        assert!(matches!(error, Error::ConnectionReadTimeout), "{path}: {error}");
    }
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_checks_the_name() {
    let (_server, address) = Server::start(Some(tls())).await;
    let uri = |host: &str| format!("https://{host}:{}/", address.port());
    let mut trusting = door(&["*:*"], HttpOptions { authorities: Some(CA.to_vec()), ..inside() });
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(send(&mut trusting, to(&uri(host))).await.unwrap().0, 200, "{host}");
    }
    // An address that the certificate does not name; and an authority that nobody knows.
    let (_other, other) = Server::start_at("127.0.0.2", Some(tls())).await;
    let unknown = door(&["*:*"], inside());
    for (mut door, uri) in [(trusting, format!("https://{other}/")), (unknown, uri("localhost"))] {
        let error = send(&mut door, to(&uri)).await.unwrap_err();
        let Error::Tls(error) = error else { panic!("{uri}: {error}") };
        assert!(matches!(door.p2_error_from_tls(&error), ErrorCode::TlsCertificateError), "{uri}: {error}");
    }
    for bad in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let options = HttpOptions { authorities: Some(bad.into()), ..inside() };
        assert!(Client::new(options).is_err(), "{bad:?}");
    }
}
