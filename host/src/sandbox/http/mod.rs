//! Requests that guests make, by `wasi:http/outgoing-handler`.
//!
//! - `target`: where a request is to go. `network`: which addresses nobody may reach. `client`: lookups and connections.
//! - `meter`: how much a run may transfer. `body`: what comes back.
//!
//! # What always holds
//!
//! - A connection goes to an address that was looked at after the lookup, for a host that the plugin was granted.
//! - The Host header and the name that TLS asks for are those of that host. A redirect is a response like any other: to follow it
//!   is the guest's next request, which passes the same checks.
//! - A run's requests, their bytes and the time that each step takes are limited. With the run its connections end.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use http::{HeaderValue, Method, Request, Response, Uri, header};
use hyper::client::conn::http1;
use tokio::time::timeout;
use wasmtime_wasi::ResourceTable;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, io::TokioIo,
    p2::bindings::http::types::ErrorCode,
};

mod body;
mod client;
mod meter;
mod network;
mod target;
#[cfg(test)]
mod tests;

pub(super) use client::Client;
pub use network::{Network, PrivateNetwork};

use body::{Received, explained};
use client::NoConnection;
use meter::{Meter, Metered, Place};
use target::Target;

use super::refusals::{Kind, Refuser};

/// What requests of guests may take.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Most requests of one run.
    pub calls: usize,
    /// Most of them at once.
    pub at_once: usize,
    /// Most bytes that one run sends, and most that it receives; heads of messages count.
    pub bytes: u64,
    /// The longest time for a connection, for the beginning of an answer, and between two parts of it.
    pub patience: Duration,
    /// Networks that are not public and may be reached all the same.
    pub allow_private: Vec<PrivateNetwork>,
    /// Certificates of authorities, in PEM, that are trusted besides those of the internet.
    pub authorities: Option<Vec<u8>>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            calls: 32,
            at_once: 8,
            bytes: 4 << 20,
            patience: Duration::from_secs(10),
            allow_private: Vec::new(),
            authorities: None,
        }
    }
}

/// The largest head of a response; one that is larger ends the connection.
const LARGEST_HEAD: usize = 64 << 10;

/// What one call may hand over of a request's body.
const CHUNK: usize = 64 << 10;

/// One run's access. Made with its first request.
pub(super) struct Http {
    context: WasiHttpCtx,
    door: Door,
}

impl Http {
    pub(super) fn new(client: Arc<Client>, refuser: Refuser) -> Self {
        let mut context = WasiHttpCtx::new();
        context.set_field_size_limit(LARGEST_HEAD);
        let meter = Meter { used: Arc::default(), most: client.options.bytes };
        Self { context, door: Door { client, meter, refuser } }
    }

    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: &mut self.door, table, ctx: &mut self.context }
    }
}

/// What every request has to pass.
#[derive(Clone)]
struct Door {
    client: Arc<Client>,
    meter: Meter,
    refuser: Refuser,
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Door {
    fn set_host_header(&mut self) -> bool {
        false
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _sent: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let admitted = self.admit(&request);
        let door = self.clone();
        Box::new(async move {
            let (target, place) = admitted?;
            door.send(request, &target, options.unwrap_or_default(), place).await
        })
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // What these say by default, a guest could fill the log with.
    fn p2_error_from_hyper(&mut self, _: &hyper::Error) -> ErrorCode {
        ErrorCode::HttpProtocolError
    }

    fn p2_error_from_connect(&mut self, _: &std::io::Error) -> ErrorCode {
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
        match cause {
            Some(tokio_rustls::rustls::Error::InvalidCertificate(_)) => ErrorCode::TlsCertificateError,
            _ => ErrorCode::TlsProtocolError,
        }
    }
}

impl Door {
    /// Whether the request may be made at all, as far as that can be told without the network.
    fn admit(&self, request: &Request<WasiBody>) -> Result<(Target, Place), Error> {
        let uri = request.uri();
        let shown = || uri.authority().map_or("", |authority| authority.as_str()).to_owned();
        let target = Target::of(uri).map_err(|why| {
            self.refuser.refuse(Kind::Http, &format!("http to {} ({why})", shown()));
            Error::HttpRequestUriInvalid
        })?;
        if *request.method() == Method::CONNECT {
            self.refuser.refuse(Kind::Http, &format!("http CONNECT to {} (no tunnels)", shown()));
            return Err(Error::HttpRequestMethodInvalid);
        }
        if !self.refuser.grants().allows_http(target.scheme(), &target.host, target.port) {
            let (scheme, host) = (target.scheme(), target.host_header());
            self.refuser.refuse(Kind::Http, &format!("{scheme} to {host} (not in [grants] http)"));
            return Err(Error::HttpRequestDenied);
        }
        let place = self.meter.used.begin(&self.client.options).map_err(|limit| {
            self.refuser.refuse(Kind::Http, &format!("http to {} ({limit})", target.host_header()));
            Error::ConnectionLimitReached
        })?;
        Ok((target, place))
    }

    async fn send(
        self,
        mut request: Request<WasiBody>,
        target: &Target,
        options: RequestOptions,
        place: Place,
    ) -> Result<Sent, Error> {
        let patience = self.client.options.patience;
        let within = |asked: Option<Duration>| asked.map_or(patience, |asked| asked.min(patience));

        let connecting =
            timeout(within(options.connect_timeout), self.client.connect(target, self.refuser.tenant()))
                .await;
        let stream =
            connecting.map_err(|_elapsed| Error::ConnectionTimeout)?.map_err(|error| match error {
                NoConnection::Failed(error) => error,
                NoConnection::Private(address) => {
                    let host = target.host_header();
                    let what =
                        format!("http to {host} ({address} is no public address; --allow-private-http)");
                    self.refuser.refuse(Kind::Http, &what);
                    Error::DestinationIpProhibited
                }
            })?;
        let meter = self.meter.clone();
        let stream = TokioIo::new(Metered { stream, meter: meter.clone() });
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(LARGEST_HEAD)
            .max_header_size(LARGEST_HEAD)
            .handshake(stream)
            .await
            .map_err(|error| explained(error, &meter))?;
        let mut connection = Box::pin(connection);

        address(&mut request, target)?;
        let between = within(options.between_bytes_timeout);
        let response = {
            let answer = timeout(within(options.first_byte_timeout), sender.send_request(request));
            let answer = pin!(answer);
            let answered = driven(answer, connection.as_mut(), &meter).await?;
            answered
                .map_err(|_elapsed| Error::ConnectionReadTimeout)?
                .map_err(|error| explained(error, &meter))?
        };
        let over = self.meter;
        let rest = async move {
            let _place = place;
            // Whoever reads the body is told of what goes wrong; nobody else asks.
            let _ = connection.await;
            Ok(())
        };
        Ok((response.map(|body| Received::boxed(body, between, over)), Box::new(rest)))
    }
}

/// Awaits the answer, for which the connection has to be polled as well.
async fn driven<T>(
    mut answer: Pin<&mut impl Future<Output = T>>,
    mut connection: Pin<&mut impl Future<Output = hyper::Result<()>>>,
    meter: &Meter,
) -> Result<T, Error> {
    tokio::select! {
        biased;
        answer = &mut answer => Ok(answer),
        ended = &mut connection => match ended {
            // The server has ended it after its answer.
            Ok(()) => Ok(answer.await),
            Err(error) => Err(explained(error, meter)),
        }
    }
}

/// What stands on the wire: the path alone, and a Host header of ours.
fn address(request: &mut Request<WasiBody>, target: &Target) -> Result<(), Error> {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    *request.uri_mut() = path.parse::<Uri>().map_err(|_| Error::HttpRequestUriInvalid)?;
    let host = HeaderValue::from_str(&target.host_header()).map_err(|_| Error::HttpRequestUriInvalid)?;
    request.headers_mut().insert(header::HOST, host);
    Ok(())
}
