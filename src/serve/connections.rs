//! Limits the number of connections. Over the limit, a few more are accepted for probes alone, so
//! that a service still answers its orchestrator when clients hold all connections. Adds the
//! client's address to each request.

use std::{
    future::{Ready, ready},
    io,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::http::Request;
use axum_server::accept::Accept;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tower::Service;

use crate::{
    http::{OverConnectionLimit, Peer},
    serve::expiring::ExpiringStream,
};

/// Maximum default limit.
const MAX_DEFAULT: usize = 10_000;
/// Number of connections over the limit, for probes.
const PROBE_SLOTS: usize = 64;
/// The lifetime of such a connection. A probe needs milliseconds, and the next one needs the slot.
const PROBE_LIFETIME: Duration = Duration::from_secs(10);

/// Returns the default limit: half of the files that the process may open. Raises the process's
/// soft limit to its hard limit first.
pub fn default_limit() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "cannot raise the limit of open files");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2)
        .unwrap_or(MAX_DEFAULT)
        .min(MAX_DEFAULT)
}

/// Accepts connections while slots are free.
#[derive(Clone)]
pub struct ConnectionSlots {
    all: Arc<Semaphore>,
    for_probes: Arc<Semaphore>,
}

impl ConnectionSlots {
    /// Creates `limit` slots, and a few more for probes.
    pub fn new(limit: usize) -> Self {
        ConnectionSlots {
            all: Arc::new(Semaphore::new(limit)),
            for_probes: Arc::new(Semaphore::new(PROBE_SLOTS)),
        }
    }
}

impl<S> Accept<TcpStream, S> for ConnectionSlots {
    type Stream = ExpiringStream;
    type Service = ConnectionService<S>;
    type Future = Ready<io::Result<(ExpiringStream, ConnectionService<S>)>>;

    fn accept(&self, stream: TcpStream, inner: S) -> Self::Future {
        let slot = self.all.clone().try_acquire_owned();
        let is_over_limit = slot.is_err();
        let slot = slot.or_else(|_| self.for_probes.clone().try_acquire_owned());
        let service = slot.map_err(io::Error::other).and_then(|slot| {
            stream.set_nodelay(true)?;
            Ok(ConnectionService {
                inner,
                peer: Peer(stream.peer_addr()?.ip()),
                is_over_limit,
                _slot: Arc::new(slot),
            })
        });
        let lifetime = is_over_limit.then_some(PROBE_LIFETIME);
        ready(service.map(|service| (ExpiringStream::new(stream, lifetime), service)))
    }
}

/// Answers the requests of a connection, and holds its slot.
#[derive(Clone)]
pub struct ConnectionService<S> {
    inner: S,
    peer: Peer,
    is_over_limit: bool,
    _slot: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for ConnectionService<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        if self.is_over_limit {
            request.extensions_mut().insert(OverConnectionLimit);
        }
        self.inner.call(request)
    }
}
