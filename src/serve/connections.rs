//! How many connections there are at once. Past the most, a few more are taken for probes alone, so that a service whose callers hold every
//! connection still says that it lives. Notes from which address each comes. Knows connections and files; neither routes nor what is answered.

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
    http::{Crowded, Peer},
    serve::timed::Timed,
};

/// The most connections if nothing is said.
const MOST: usize = 10_000;
/// Connections past the most.
const FOR_PROBES: usize = 64;
/// The longest that such a connection lasts. A probe needs milliseconds, and the next one needs the place.
const PROBE: Duration = Duration::from_secs(10);

/// The most connections if nothing is said: as many as half of the files that the process may open. That limit is raised first as far as it goes.
pub fn usual() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "no more files can be opened than before");
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(files / 2).unwrap_or(MOST).min(MOST)
}

/// Takes connections as long as there are places.
#[derive(Clone)]
pub struct Places {
    all: Arc<Semaphore>,
    for_probes: Arc<Semaphore>,
}

impl Places {
    /// So many, and a few for probes.
    pub fn new(most: usize) -> Self {
        Places {
            all: Arc::new(Semaphore::new(most)),
            for_probes: Arc::new(Semaphore::new(FOR_PROBES)),
        }
    }
}

impl<S> Accept<TcpStream, S> for Places {
    type Stream = Timed;
    type Service = Placed<S>;
    type Future = Ready<io::Result<(Timed, Placed<S>)>>;

    fn accept(&self, stream: TcpStream, inner: S) -> Self::Future {
        let place = self.all.clone().try_acquire_owned();
        let is_crowded = place.is_err();
        let place = place.or_else(|_| self.for_probes.clone().try_acquire_owned());
        let placed = place.map_err(io::Error::other).and_then(|place| {
            stream.set_nodelay(true)?;
            Ok(Placed {
                inner,
                peer: Peer(stream.peer_addr()?.ip()),
                is_crowded,
                _place: Arc::new(place),
            })
        });
        ready(placed.map(|placed| (Timed::new(stream, is_crowded.then_some(PROBE)), placed)))
    }
}

/// What answers a connection, which has its place for as long.
#[derive(Clone)]
pub struct Placed<S> {
    inner: S,
    peer: Peer,
    is_crowded: bool,
    _place: Arc<OwnedSemaphorePermit>,
}

impl<S: Service<Request<B>>, B> Service<Request<B>> for Placed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        request.extensions_mut().insert(self.peer);
        if self.is_crowded {
            request.extensions_mut().insert(Crowded);
        }
        self.inner.call(request)
    }
}
