//! Listens and serves connections: HTTP/1.1 and nothing else, with bounds on how many, how slow and how large.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};

/// The most connections, and the most of one address. One address may be many clients behind a proxy.
const MOST_CONNECTIONS: usize = 1_024;
const MOST_OF_ADDRESS: usize = 64;

/// How long the head of a request may take to come, and how long a connection may be idle between requests.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// What hyper reads of a head before it gives up. More than [`super::guard`] lets through, so that it is the guard who answers, with a
/// problem.
const LARGEST_READ: usize = 64 << 10;
const MOST_READ: usize = 256;

/// How long connections have to come to their end when the server ends.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Said to whom there is no room for.
const NO_ROOM: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
    retry-after: 1\r\ncontent-length: 135\r\n\r\n{\"type\":\"urn:host:problem:unavailable\",\"title\":\"Service Unavailable\",\
    \"status\":503,\"detail\":\"there are too many connections; try again\"}";

/// Serves `router` until `end`.
pub async fn serve(listener: TcpListener, router: Router, end: impl Future<Output = ()>) {
    let service = TowerToHyperService::new(router);
    let (graceful, counts) = (GracefulShutdown::new(), Arc::new(Counts::default()));
    tokio::pin!(end);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut end => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                pause_after(&error).await;
                continue;
            }
        };
        let Some(place) = counts.enter(peer) else {
            // Into the empty buffer of a new connection it fits; whether it is read is not our concern.
            let _ = stream.try_write(NO_ROOM.as_bytes());
            continue;
        };
        let connection = graceful.watch(connection(stream, service.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, %peer, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    if tokio::time::timeout(END_PATIENCE, graceful.shutdown()).await.is_err() {
        tracing::debug!("some connections did not come to their end");
    }
}

fn connection<S>(stream: TcpStream, service: S) -> http1::Connection<TokioIo<TcpStream>, S>
where
    S: Service<
            hyper::Request<Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        >,
{
    // Answers are small, and somebody waits for them.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_headers(MOST_READ)
        .max_buf_size(LARGEST_READ)
        .serve_connection(TokioIo::new(stream), service)
}

/// Without file descriptors every attempt fails at once; those that are open need the processor to come to their end.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "a connection over HTTP could not be taken");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// How many connections there are.
#[derive(Default)]
struct Counts(Mutex<HashMap<IpAddr, usize>>);

/// The place of one connection, which it leaves when this is dropped.
struct Place {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl Counts {
    /// A place for a connection, if there is one.
    fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let address = peer.ip();
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = counts.values().sum();
        let own = counts.entry(address).or_default();
        if all >= MOST_CONNECTIONS || *own >= MOST_OF_ADDRESS {
            return None;
        }
        *own += 1;
        Some(Place { counts: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = counts.get_mut(&self.address) {
            *own -= 1;
            if *own == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let counts = Arc::new(Counts::default());
        let peer = |last| SocketAddr::from(([10, 0, 0, last], 1));
        let mut places: Vec<_> = (0..MOST_OF_ADDRESS).map(|_| counts.enter(peer(1)).unwrap()).collect();
        assert!(counts.enter(peer(1)).is_none());
        assert!(counts.enter(peer(2)).is_some());
        places.pop();
        assert!(counts.enter(peer(1)).is_some());
        drop(places);
        assert!(counts.0.lock().unwrap().is_empty(), "nothing is left of those who went");
    }

    #[test]
    fn the_answer_without_room_is_whole() {
        let (head, body) = NO_ROOM.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}
