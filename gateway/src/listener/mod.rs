//! The HTTP server: how connections are taken, and how those are ended that hold a place for nothing.
//!
//! - [`Limits`]: how many there may be, and how long each may take for what
//! - `connection`: what one of them is doing, and when it has done nothing for too long
//! - `watched`: tells that from what is read and written
//! - `refusal`: the answer to whoever finds no place
//!
//! Whoever has asked something has a place until the answer is out. All others give theirs up to newcomers when there is none left, those that have
//! waited longest first, so that no number of idle connections keeps anybody out.

mod connection;
mod refusal;
#[cfg(test)]
mod tests;
mod watched;

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body, response::Response};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use connection::{Connections, Entered, Fate};
use watched::Watched;

/// Time between two looks at all connections.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The longest that a newcomer waits for the place of a connection that is being ended for it.
const ADMISSION_LIMIT: Duration = Duration::from_secs(5);
/// The most newcomers that wait so or are being refused; others are dropped without a word.
const LOBBY: usize = 128;
/// The most bytes of a request's line and headers, and what a connection buffers.
const HEADER_BYTES: usize = 64 * 1024;
/// Pause after a connection could not be accepted, most often because the system had no more sockets to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits on connections: their number, and the time that each may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most connections at a time.
    pub connections: usize,
    /// The longest that a request's line and headers may take, from their first byte to their last.
    pub header: Duration,
    /// The longest that a connection is kept that asks nothing. Longer than a load balancer keeps it, or that would send requests into
    /// a closing one.
    pub idle: Duration,
    /// The longest that a client may take nothing of its answer.
    pub stall: Duration,
    /// The greatest age of a connection: past it, it ends once nothing that it asked is unanswered.
    pub age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_096,
            header: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            stall: Duration::from_secs(30),
            age: Duration::from_hours(1),
        }
    }
}

/// Serves `router` on `listener` until `stopping`; then no connection is taken any more, and requests that are under way are answered.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stopping: CancellationToken) {
    let server = Server {
        router,
        limits,
        stopping: stopping.clone(),
        places: Arc::new(Semaphore::new(limits.connections)),
        lobby: Arc::new(Semaphore::new(LOBBY)),
        connections: Connections::default(),
        tasks: TaskTracker::new(),
    };
    let server = Arc::new(server);
    let looking = tokio::spawn(look_after(server.clone()));
    while let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, _)) => server.take(stream),
            Err(error) => server.not_accepted(&error).await,
        }
    }
    drop(listener);
    server.tasks.close();
    server.tasks.wait().await;
    looking.abort();
}

struct Server {
    router: Router,
    limits: Limits,
    stopping: CancellationToken,
    places: Arc<Semaphore>,
    lobby: Arc<Semaphore>,
    connections: Connections,
    tasks: TaskTracker,
}

/// Ends connections that have taken too long for something.
async fn look_after(server: Arc<Server>) {
    let mut looks = interval(LOOK_INTERVAL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let (open, busy) = server.connections.end_overdue(&server.limits);
        ::metrics::gauge!("merx_http_connections", "state" => "open").set(open);
        ::metrics::gauge!("merx_http_connections", "state" => "busy").set(busy);
    }
}

impl Server {
    fn take(self: &Arc<Self>, stream: TcpStream) {
        let server = self.clone();
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            self.tasks.spawn(async move { server.keep(stream, place).await });
        } else if let Ok(waiting) = self.lobby.clone().try_acquire_owned() {
            self.tasks.spawn(async move {
                if let Some(place) = server.make_room().await {
                    drop(waiting);
                    server.keep(stream, place).await;
                } else {
                    refusal::answer(stream).await;
                }
            });
        } else {
            ::metrics::counter!("merx_http_connections_refused_total").increment(1);
        }
    }

    /// A place, where a connection can be ended for it.
    async fn make_room(&self) -> Option<OwnedSemaphorePermit> {
        if !self.connections.end_longest_waiting() {
            return self.places.clone().try_acquire_owned().ok();
        }
        timeout(ADMISSION_LIMIT, self.places.clone().acquire_owned()).await.ok()?.ok()
    }

    async fn not_accepted(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return; // the client has changed its mind
        }
        // Most often there are no more file descriptors.
        tracing::warn!(%error, "a connection can't be accepted");
        self.connections.end_longest_waiting();
        sleep(ACCEPT_PAUSE).await;
    }

    /// Answers what comes over `stream` until it ends.
    async fn keep(&self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Answers are small; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let (connection, mut fate) = self.connections.enter();
        let router = self.router.clone();
        let asked = connection.clone();
        let service = service_fn(move |request| answer(router.clone(), asked.clone(), request));
        let io = TokioIo::new(Watched::new(stream, connection.connection()));
        let mut builder = http1::Builder::new();
        let mut http = pin!(builder.max_buf_size(HEADER_BYTES).serve_connection(io, service));
        tokio::select! {
            _ = http.as_mut() => return, // that a client hangs up, or speaks another language, is none of our troubles
            _ = fate.wait_for(|fate| *fate != Fate::Stays) => {}
            () = self.stopping.cancelled() => {}
        }
        http.as_mut().graceful_shutdown();
        if *fate.borrow() == Fate::Cut || connection.connection().is_reading() {
            return; // a request that is not whole is none
        }
        tokio::select! {
            _ = http => {}
            _ = fate.wait_for(|fate| *fate == Fate::Cut) => {}
        }
    }
}

async fn answer(router: Router, connection: Entered, request: Request<Incoming>) -> Result<Response, Infallible> {
    let asking = connection.begin();
    let response = router.oneshot(request.map(Body::new)).await?;
    Ok(response.map(|body| Body::new(watched::Answer::new(body, asking))))
}
