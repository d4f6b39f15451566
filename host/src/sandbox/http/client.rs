//! Connections: our own lookup of names, a look at every address, and then a connection to that address and no other.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    sync::Arc,
    thread,
};

use tokio::{
    net::TcpStream,
    sync::{Semaphore, oneshot},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use wasmtime_wasi_http::Error;

use super::{HttpOptions, PrivateNetwork, meter::Stream, network, target::Target};
use crate::task::Tenant;

/// What the requests of all guests share.
pub(in crate::sandbox) struct Client {
    pub(super) options: HttpOptions,
    tls: TlsConnector,
    lookups: Arc<Semaphore>,
}

/// How many names are looked up at once. The system's resolver holds a thread for each, also when nobody waits for it any more.
const LOOKUPS: usize = 32;

/// How many addresses of a name are tried.
const TRIES: usize = 4;

/// Why there is no connection.
pub(super) enum NoConnection {
    /// The name has only addresses that are not public; one of them.
    Private(IpAddr),
    /// The network says no.
    Failed(Error),
}

impl Client {
    /// Reads the certificates. Fails with the reason when they are none.
    pub(in crate::sandbox) fn new(options: HttpOptions) -> Result<Self, String> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(pem) = &options.authorities {
            let mut found = 0;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate =
                    certificate.map_err(|error| format!("the certificates cannot be read: {error}"))?;
                roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
                found += 1;
            }
            if found == 0 {
                return Err(
                    "there is no certificate in it, between lines of BEGIN CERTIFICATE and END CERTIFICATE"
                        .to_owned(),
                );
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { options, tls: Arc::new(config).into(), lookups: Arc::new(Semaphore::new(LOOKUPS)) })
    }

    /// Connects to one of the target's addresses that may be reached.
    pub(super) async fn connect(
        &self,
        target: &Target,
        tenant: &Tenant,
    ) -> Result<Box<dyn Stream>, NoConnection> {
        let found = self.look_up(target).await.map_err(NoConnection::Failed)?;
        let reachable: Vec<_> =
            found.iter().filter(|address| self.may_reach(address.ip(), tenant)).take(TRIES).collect();
        if let (true, Some(first)) = (reachable.is_empty(), found.first()) {
            return Err(NoConnection::Private(first.ip()));
        }
        let mut refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in reachable {
            match TcpStream::connect(address).await {
                Ok(stream) => return self.secured(stream, target).await.map_err(NoConnection::Failed),
                Err(error) => refused = error,
            }
        }
        Err(NoConnection::Failed(Error::Connect(refused)))
    }

    fn may_reach(&self, address: IpAddr, tenant: &Tenant) -> bool {
        let allowed =
            |private: &PrivateNetwork| private.tenant == *tenant && private.network.contains(address);
        network::is_public(address) || self.options.allow_private.iter().any(allowed)
    }

    async fn look_up(&self, target: &Target) -> Result<Vec<SocketAddr>, Error> {
        if let Some(address) = target.address {
            return Ok(vec![SocketAddr::new(address, target.port)]);
        }
        let failed = || Error::DnsError { rcode: None, info_code: None };
        let permit = self.lookups.clone().acquire_owned().await.map_err(|_| failed())?;
        let (host, port) = (target.host.clone(), target.port);
        let (answer, answered) = oneshot::channel();
        // A thread of its own, for which no shutdown waits: the system's resolver takes its time when its servers are away.
        let lookup = move || {
            // Held by the thread: whoever asked may be gone before the answer comes.
            let _permit = permit;
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop(answer.send(found));
        };
        thread::Builder::new().name("lookup".to_owned()).spawn(lookup).map_err(|_| failed())?;
        let found: Vec<SocketAddr> = answered.await.map_err(|_| failed())?.map_err(|_| failed())?;
        if found.is_empty() { Err(failed()) } else { Ok(found) }
    }

    async fn secured(&self, stream: TcpStream, target: &Target) -> Result<Box<dyn Stream>, Error> {
        // It only saves time.
        let _ = stream.set_nodelay(true);
        if !target.is_tls {
            return Ok(Box::new(stream));
        }
        let name = match target.address {
            Some(address) => ServerName::IpAddress(address.into()),
            None => ServerName::try_from(target.host.clone()).map_err(|_| Error::TlsCertificateError)?,
        };
        Ok(Box::new(self.tls.connect(name, stream).await.map_err(Error::Tls)?))
    }
}
