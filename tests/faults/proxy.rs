//! The network between workers and Redis: a TCP proxy that can cut connections or swallow what goes over them.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use rustix::net::sockopt::set_socket_linger;

/// Passes on what goes between clients and a server, until told otherwise.
pub struct Proxy {
    port: u16,
    links: Arc<Mutex<Vec<Arc<Link>>>>,
}

struct Link {
    client: TcpStream,
    server: TcpStream,
    swallows: AtomicBool,
}

impl Proxy {
    /// A proxy in front of a port of this machine. It accepts for as long as the suite runs.
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let links = Arc::<Mutex<Vec<Arc<Link>>>>::default();
        let accepted = Arc::clone(&links);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // Without a server the client sees its connection closed at once.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                let link = Arc::new(Link { client, server, swallows: AtomicBool::new(false) });
                accepted.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&link));
                for upwards in [true, false] {
                    let link = Arc::clone(&link);
                    thread::spawn(move || link.pump(upwards));
                }
            }
        });
        Self { port, links }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Cuts all connections: both ends see a reset. New ones can be made.
    pub fn cut(&self) {
        for link in std::mem::take(&mut *self.lock()) {
            link.swallows.store(true, Ordering::Relaxed);
            for end in [&link.client, &link.server] {
                // With no time to linger, closing is a reset. It is closed when the pumps, woken by this, let go of it.
                let _ = set_socket_linger(end, Some(Duration::ZERO));
                let _ = end.shutdown(Shutdown::Read);
            }
        }
    }

    /// Leaves all connections open and lets nothing more through them, in either direction, for ever. New ones can be made.
    pub fn swallow(&self) {
        for link in self.lock().iter() {
            link.swallows.store(true, Ordering::Relaxed);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

impl Link {
    fn pump(&self, upwards: bool) {
        let (mut from, mut to) = match upwards {
            true => (&self.client, &self.server),
            false => (&self.server, &self.client),
        };
        let mut buffer = [0; 16 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            if !self.swallows.load(Ordering::Relaxed) && to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // The end of a connection is not let through either where nothing is.
        if !self.swallows.load(Ordering::Relaxed) {
            let _ = to.shutdown(Shutdown::Both);
        }
    }
}
