//! Keeps a projection in the background: from the log one of all servers at a time, from Kafka all of them. After each failure it begins anew.

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use event_store::{
    Checkpoint, EventStore, checkpoint,
    kafka::{Settings, places},
    lease,
};
use metrics::counter;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Error, Projection,
    consumer::Consumer,
    kafka::{
        self,
        hand_over::{self, Kept},
    },
    mend, rebuild,
};

/// How long after a failure it is tried again at first; twice as long after each further one.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);
/// How long giving the lease back may take at shutdown.
const RELEASE_LIMIT: Duration = Duration::from_secs(1);
/// How often it is looked whether there is something to be rebuilt.
const REBUILD_INTERVAL: Duration = Duration::from_secs(5);
/// How often it is looked whether the read model has come to this program's version.
const VERSION_INTERVAL: Duration = Duration::from_millis(200);

/// How often it is looked whether a read model can be handed over to Kafka, or has been.
const HAND_OVER_INTERVAL: Duration = Duration::from_millis(250);

/// What projections are fed from.
#[derive(Debug, Clone)]
pub enum Source {
    /// The log: one server at a time works for a projection.
    Log,
    /// Kafka, once the log has been published there; until then the log. A projection's partitions are spread over all servers.
    Kafka(Arc<Settings>),
}

/// What a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// It does not hold the lease.
    Idle,
    /// It applies events.
    Running,
    /// The read model is of another version of the projection: an older one is being rebuilt, a newer one is for newer programs to keep.
    OtherVersion {
        /// The version of the read model.
        found: i32,
    },
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
    source: Source,
    holder: Uuid,
    state: watch::Sender<State>,
}

/// Keeps `projection` from `source` until `shutdown`: from the log as long as `holder` has its lease, otherwise waits for that; from Kafka what
/// the group gives. [`kafka::watermarks`] must run somewhere then.
pub async fn run(store: EventStore, projection: Arc<dyn Projection>, source: Source, holder: Uuid, shutdown: CancellationToken) {
    Box::pin(Worker::new(store, projection, source, holder).run(shutdown)).await;
}

/// Applies all that the log has now, with no lease: the checkpoint alone keeps the rows right, whoever else is at it. Where the read model is
/// of an older version of the projection, or of events that the log has lost, it is rebuilt; where it is kept from Kafka, it is handed back to the log. Answers with the position that it has come to.
///
/// # Errors
/// The log can't be read, or events can't be applied.
pub async fn catch_up(store: &EventStore, projection: &Arc<dyn Projection>) -> Result<i64, Error> {
    let never = CancellationToken::new();
    if let Standing::Older(_) | Standing::Astray(_) = standing(store, &**projection).await? {
        rebuild::rebuild(store, projection, &never, |_, _| ()).await?;
    }
    from_log(store, projection).await?.catch_up(&never, |_, _| ()).await
}

/// A consumer of the log, where need be after handing the read model back from Kafka.
async fn from_log(store: &EventStore, projection: &Arc<dyn Projection>) -> Result<Consumer, Error> {
    match Consumer::open(store, projection.clone()).await {
        Err(Error::OnKafka { .. }) => {
            hand_over::unseat(store, projection).await?;
            Consumer::open(store, projection.clone()).await
        }
        opened => opened,
    }
}

/// What the read model is to be kept from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    Log,
    /// Until that is published.
    LogAtFirst(&'a Settings),
    Kafka(&'a Settings),
}

/// The reason why work on a read model has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    /// It was told to stop, or the read model is of another version, or is kept from somewhere else.
    Here,
    /// An event of a newer program stands in front of it: others may have its place.
    Newer,
}

/// The read model, as this program sees it.
enum Standing {
    /// Of this program's version, or not begun.
    Current,
    Older(i32),
    Newer(i32),
    /// The log has gone back, and does not have the event at this position, which it has come to.
    Astray(i64),
}

async fn standing(store: &EventStore, projection: &dyn Projection) -> Result<Standing, Error> {
    let mut connection = store.pool().acquire().await?;
    let version = projection.version();
    let places = places::astray(&mut connection, projection.name()).await?;
    Ok(match Checkpoint::read(&mut connection, projection.name()).await? {
        Some(found) if found.version <= version && found.is_astray => Standing::Astray(found.position),
        Some(found) if found.version <= version && places.is_some() => Standing::Astray(places.unwrap_or(found.position)),
        Some(found) if found.version < version => Standing::Older(found.version),
        Some(found) if found.version > version => Standing::Newer(found.version),
        _ => Standing::Current,
    })
}

impl Worker {
    /// A worker that does nothing yet. `holder` is what its process is known by; all its workers may have the same.
    #[must_use]
    pub fn new(store: EventStore, projection: Arc<dyn Projection>, source: Source, holder: Uuid) -> Self {
        Self { store, projection, source, holder, state: watch::Sender::new(State::Idle) }
    }

    /// What it is doing, now and later.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Works until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        tokio::join!(self.keep(&shutdown), self.rebuild_where_needed(&shutdown));
    }

    /// Keeps the read model while it is of this program's version. Only then it asks for the lease, or joins the group: a program of the other
    /// version may be at work.
    async fn keep(&self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            match standing(&self.store, &*self.projection).await {
                Ok(Standing::Current) => {
                    let ended = match &self.source {
                        Source::Log => self.keep_under_lease(shutdown, Origin::Log).await,
                        Source::Kafka(settings) => Box::pin(self.keep_by_kafka(shutdown, settings)).await,
                    };
                    if ended == Ended::Newer {
                        let _ = shutdown.run_until_cancelled(sleep(lease::ASIDE)).await;
                        self.enter(State::Idle);
                    }
                }
                Ok(Standing::Older(found) | Standing::Newer(found)) => {
                    self.enter(State::OtherVersion { found });
                    let _ = shutdown.run_until_cancelled(sleep(VERSION_INTERVAL)).await;
                }
                Ok(Standing::Astray(position)) => {
                    self.failed(&Error::Astray { projection: self.projection.name().into(), position }).await;
                    let _ = shutdown.run_until_cancelled(sleep(VERSION_INTERVAL)).await;
                }
                Err(error) => {
                    self.failed(&error).await;
                    let _ = shutdown.run_until_cancelled(sleep(FIRST_BACKOFF)).await;
                }
            }
        }
    }

    /// Works on what the group gives, once the read model is kept from Kafka; whoever has the lease hands it over.
    async fn keep_by_kafka(&self, shutdown: &CancellationToken, settings: &Settings) -> Ended {
        match hand_over::kept(&self.store, &*self.projection, settings).await {
            Ok(Kept::FromKafka) => {
                let caring = shutdown.child_token();
                let work = async {
                    let ended = self.work(shutdown, Origin::Kafka(settings)).await;
                    caring.cancel();
                    ended
                };
                let caring = Box::pin(kafka::care(&self.store, &self.projection, settings, self.holder, &caring));
                let (ended, ()) = tokio::join!(work, caring);
                if let ControlFlow::Break(Ended::Newer) = ended {
                    return Ended::Newer;
                }
                self.enter(State::Idle);
            }
            Ok(Kept::FromLog | Kept::FromOtherTopics) => {
                let waiting = shutdown.child_token();
                let kept = async {
                    let ended = self.keep_under_lease(&waiting, Origin::LogAtFirst(settings)).await;
                    waiting.cancel();
                    ended
                };
                return tokio::join!(kept, self.wait_for_kafka(settings, &waiting)).0;
            }
            Err(error) => {
                self.failed(&error).await;
                let _ = shutdown.run_until_cancelled(sleep(LONGEST_BACKOFF)).await;
            }
        }
        Ended::Here
    }

    /// Cancels `waiting` once the read model is kept from Kafka.
    async fn wait_for_kafka(&self, settings: &Settings, waiting: &CancellationToken) {
        while waiting.run_until_cancelled(sleep(HAND_OVER_INTERVAL)).await.is_some() {
            if matches!(hand_over::kept(&self.store, &*self.projection, settings).await, Ok(Kept::FromKafka)) {
                waiting.cancel();
            }
        }
    }

    /// Works whenever it holds the lease, until `shutdown`, until there is other work, or until only a newer program can go on.
    async fn keep_under_lease(&self, shutdown: &CancellationToken, from: Origin<'_>) -> Ended {
        let lease = format!("projection:{}", self.projection.name());
        let candidacy = shutdown.child_token();
        let mut held = lease::keep(self.store.pool().clone(), lease, self.holder, candidacy.clone());
        let mut ended = Ended::Here;
        while matches!(candidacy.run_until_cancelled(held.wait_for(|held| *held)).await, Some(Ok(_))) {
            let stop = candidacy.child_token();
            let lost = async {
                let _ = stop.run_until_cancelled(held.wait_for(|held| !*held)).await;
                stop.cancel();
            };
            let work = async {
                let worked = self.work(&stop, from).await;
                if let ControlFlow::Break(why) = worked {
                    ended = why;
                    candidacy.cancel();
                }
            };
            tokio::join!(lost, work);
            if ended != Ended::Newer {
                self.enter(State::Idle);
            }
        }
        // The lease has been given back once nobody speaks of it any more.
        let _ = timeout(RELEASE_LIMIT, async { while held.changed().await.is_ok() {} }).await;
        ended
    }

    /// Applies what comes until `stop`, and begins anew after each failure. Breaks where the read model is of another version, or is kept from
    /// somewhere else, or where only a newer program can go on.
    async fn work(&self, stop: &CancellationToken, from: Origin<'_>) -> ControlFlow<Ended> {
        let mut backoff = FIRST_BACKOFF;
        while !stop.is_cancelled() {
            let started_at = Instant::now();
            match self.follow(stop, from).await {
                Ok(ControlFlow::Continue(())) => {}
                Ok(ControlFlow::Break(())) | Err(Error::OtherVersion { .. } | Error::Astray { .. }) => {
                    return ControlFlow::Break(Ended::Here);
                }
                Err(error) if error.is_newer() => {
                    self.failed(&error).await;
                    return ControlFlow::Break(Ended::Newer);
                }
                Err(error) => {
                    self.failed(&error).await;
                    if started_at.elapsed() > LONGEST_BACKOFF {
                        backoff = FIRST_BACKOFF;
                    }
                    let _ = stop.run_until_cancelled(sleep(backoff)).await;
                    backoff = (backoff * 2).min(LONGEST_BACKOFF);
                }
            }
        }
        ControlFlow::Continue(())
    }

    async fn follow(&self, stop: &CancellationToken, from: Origin<'_>) -> Result<ControlFlow<()>, Error> {
        match from {
            Origin::Log => {
                let mut consumer = from_log(&self.store, &self.projection).await?;
                consumer.follow(stop, || self.enter(State::Running)).await?;
                Ok(ControlFlow::Continue(()))
            }
            Origin::LogAtFirst(settings) => self.follow_and_hand_over(stop, settings).await,
            Origin::Kafka(settings) => {
                // A database that was put back may be of a time before the read model was handed over.
                if hand_over::kept(&self.store, &*self.projection, settings).await? != Kept::FromKafka {
                    return Ok(ControlFlow::Break(()));
                }
                let consumer = kafka::Consumer::open(&self.store, self.projection.clone(), settings).await?;
                let health = |away: Option<String>| self.enter(away.map_or(State::Running, |reason| State::Failing { reason }));
                consumer.follow(stop, health).await?;
                Ok(ControlFlow::Break(()))
            }
        }
    }

    /// Follows the log until Kafka has caught up with it, and hands the read model over then.
    async fn follow_and_hand_over(&self, stop: &CancellationToken, settings: &Settings) -> Result<ControlFlow<()>, Error> {
        if hand_over::kept(&self.store, &*self.projection, settings).await? == Kept::FromKafka {
            return Ok(ControlFlow::Break(())); // whoever had the lease before has done it
        }
        let mut consumer = from_log(&self.store, &self.projection).await?;
        let ready = stop.child_token();
        let followed = async {
            let followed = consumer.follow(&ready, || self.enter(State::Running)).await;
            ready.cancel();
            followed
        };
        let (followed, ()) = tokio::join!(followed, self.watch_published(settings, &ready));
        followed?;
        if stop.is_cancelled() {
            return Ok(ControlFlow::Continue(()));
        }
        let is_seated = hand_over::seat(&self.store, &self.projection, settings).await?;
        Ok(if is_seated { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// Cancels `ready` once Kafka has caught up with the log.
    async fn watch_published(&self, settings: &Settings, ready: &CancellationToken) {
        let mut is_told = false;
        while ready.run_until_cancelled(sleep(HAND_OVER_INTERVAL)).await.is_some() {
            match hand_over::is_ready(&self.store, &*self.projection, settings).await {
                Ok(true) => ready.cancel(),
                Err(error) if !std::mem::replace(&mut is_told, true) => {
                    tracing::warn!(projection = self.projection.name(), %error, "the read model is not handed over to Kafka");
                }
                Ok(false) | Err(_) => {}
            }
        }
    }

    /// Rebuilds an older read model, and goes on with rebuilds that were broken off.
    async fn rebuild_where_needed(&self, shutdown: &CancellationToken) {
        let name = self.projection.name();
        while !shutdown.is_cancelled() {
            match self.rebuild_if_needed(shutdown).await {
                Ok(None) | Err(Error::RebuildUnderWay { .. } | Error::Stopped) => {}
                Err(error) if error.is_newer() => tracing::debug!(projection = name, %error, "a newer version is to go on"),
                Ok(Some(position)) => tracing::info!(projection = name, position, "the read model was rebuilt"),
                Err(error) => tracing::warn!(projection = name, %error, "the read model could not be rebuilt; trying again"),
            }
            let _ = shutdown.run_until_cancelled(sleep(REBUILD_INTERVAL)).await;
        }
    }

    async fn rebuild_if_needed(&self, shutdown: &CancellationToken) -> Result<Option<i64>, Error> {
        let is_needed = match standing(&self.store, &*self.projection).await? {
            Standing::Older(_) | Standing::Astray(_) => true,
            Standing::Newer(_) => false,
            Standing::Current => {
                mend::take_up(&self.store, &*self.projection).await?;
                rebuild::is_begun(self.store.pool(), &*self.projection).await?
            }
        };
        if !is_needed {
            return Ok(None);
        }
        rebuild::rebuild(&self.store, &self.projection, shutdown, |_, _| ()).await.map(Some)
    }

    /// Says once what it is doing from now on.
    fn enter(&self, state: State) {
        let name = self.projection.name();
        let mut before = None;
        self.state.send_if_modified(|now| {
            let changes = *now != state;
            if changes {
                before = Some(std::mem::replace(now, state));
            }
            changes
        });
        let Some(before) = before else { return };
        match (before, &*self.state.borrow()) {
            (_, State::Failing { reason }) => tracing::warn!(projection = name, reason, "events are not applied; trying again"),
            (_, State::OtherVersion { found }) => {
                tracing::info!(projection = name, found, kept = self.projection.version(), "the read model is of another version");
            }
            (State::Failing { .. }, _) => tracing::info!(projection = name, "events are applied again"),
            (_, now) => tracing::debug!(projection = name, state = ?now, "the worker does something else"),
        }
    }

    async fn failed(&self, error: &Error) {
        let name = self.projection.name();
        counter!("merx_projection_retries_total", "projection" => name).increment(1);
        self.enter(State::Failing { reason: error.to_string() });
        let noted = async {
            let mut connection = self.store.pool().acquire().await?;
            checkpoint::note_failure(&mut connection, name, &error.to_string()).await
        };
        // Where the database is away nobody can read it there either.
        if let Ok(Err(error)) = timeout(RELEASE_LIMIT, noted).await {
            tracing::debug!(%error, "the failure was not noted");
        }
    }
}
