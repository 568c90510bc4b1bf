//! Workers: each keeps one projection, as long as it holds the projection's lease.

mod consumer;

use std::{sync::Arc, time::Duration};

use event_store::{EventStore, lease};
use metrics::{counter, gauge};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{Error, Projection};
use consumer::Consumer;

/// How long after a failure it is tried again at first; twice as long after each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long giving the lease back may take at shutdown.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);

/// What a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It does not hold the lease.
    Idle,
    /// It applies events.
    Running,
    /// It could not, and tries again after a while.
    Failing {
        /// What went wrong.
        reason: String,
    },
}

/// Keeps one projection.
pub struct Worker {
    store: EventStore,
    projection: Arc<dyn Projection>,
    holder: Uuid,
    state: watch::Sender<State>,
}

/// Keeps `projection` until `shutdown`: as long as `holder` has its lease, otherwise waits for that.
pub async fn run(store: EventStore, projection: Arc<dyn Projection>, holder: Uuid, shutdown: CancellationToken) {
    Worker::new(store, projection, holder).run(shutdown).await;
}

/// Applies all that the log has now, with no lease: the checkpoint alone keeps the rows right, whoever else is at it. Answers with
/// the position that it has come to.
///
/// # Errors
/// The log can't be read, or events can't be applied.
pub async fn catch_up(store: &EventStore, projection: &Arc<dyn Projection>) -> Result<i64, Error> {
    Consumer::open(store, projection.clone()).await?.catch_up().await
}

impl Worker {
    /// A worker that does nothing yet. `holder` is what its process is known by; all its workers may have the same.
    #[must_use]
    pub fn new(store: EventStore, projection: Arc<dyn Projection>, holder: Uuid) -> Self {
        Self { store, projection, holder, state: watch::Sender::new(State::Idle) }
    }

    /// What it is doing, now and later.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let lease = format!("projection:{}", self.projection.name());
        let mut held = lease::keep(self.store.pool().clone(), lease, self.holder, shutdown.clone());
        while matches!(shutdown.run_until_cancelled(held.wait_for(|held| *held)).await, Some(Ok(_))) {
            let stop = shutdown.child_token();
            let lost = async {
                let _ = stop.run_until_cancelled(held.wait_for(|held| !*held)).await;
                stop.cancel();
            };
            tokio::join!(lost, self.work(&stop));
            self.enter(State::Idle);
        }
        // The lease has been given back once nobody speaks of it any more.
        let _ = tokio::time::timeout(RELEASE_LIMIT, async { while held.changed().await.is_ok() {} }).await;
    }

    /// Applies what comes until `stop`, and begins anew after each failure.
    async fn work(&self, stop: &CancellationToken) {
        let mut backoff = FIRST_BACKOFF;
        while !stop.is_cancelled() {
            let started_at = Instant::now();
            if let Err(error) = self.follow(stop).await {
                self.failed(&error);
                if started_at.elapsed() > LONGEST_BACKOFF {
                    backoff = FIRST_BACKOFF;
                }
                let _ = stop.run_until_cancelled(sleep(backoff)).await;
                backoff = (backoff * 2).min(LONGEST_BACKOFF);
            }
        }
    }

    async fn follow(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut consumer = Consumer::open(&self.store, self.projection.clone()).await?;
        consumer.follow(stop, || self.enter(State::Running)).await
    }

    /// Says once what it is doing from now on.
    fn enter(&self, state: State) {
        let (name, failing) = (self.projection.name(), matches!(state, State::Failing { .. }));
        let mut before = None;
        self.state.send_if_modified(|now| {
            let changes = *now != state;
            if changes {
                before = Some(std::mem::replace(now, state));
            }
            changes
        });
        let Some(before) = before else { return };
        gauge!("merx_projection_failing", "projection" => name).set(f64::from(u8::from(failing)));
        match (before, &*self.state.borrow()) {
            (_, State::Failing { reason }) => tracing::warn!(projection = name, reason, "events are not applied; trying again"),
            (State::Failing { .. }, _) => tracing::info!(projection = name, "events are applied again"),
            (_, now) => tracing::debug!(projection = name, state = ?now, "the worker does something else"),
        }
    }

    fn failed(&self, error: &Error) {
        counter!("merx_projection_retries_total", "projection" => self.projection.name()).increment(1);
        self.enter(State::Failing { reason: error.to_string() });
    }
}
