//! The publisher: whoever holds the lease [`NAME`] sends the log to Kafka, event by event in order, and keeps how far that was acknowledged.
//!
//! At least once, and in order for each partition whoever leads: `docs/decisions/0012-publishing.md` says why. The parts:
//!
//! - [`health`]: whether it can do its work, and why not
//! - `cluster`: brokers and topics
//! - `places`: how far it has come, in the database
//! - `tail`: whether what stands on Kafka beyond that is of this log
//! - `flight`: what has been sent and is not acknowledged yet
//! - [`again`]: what is sent once more, beside what is new
//! - `leader`: one term of a leader; `sender`: the thread that sends for it

pub mod again;
mod cluster;
mod flight;
mod health;
mod leader;
mod places;
mod sender;
mod tail;

use std::{sync::Arc, time::Duration};

use event_schemas::events::CATEGORIES;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    EventStore,
    kafka::{Settings, topics},
    lease,
};
pub use again::{Refusal, send_again};
use cluster::Cluster;
pub use health::{Health, Trouble};
use health::{Reporter, Source};
use leader::End;
use places::Layout;

/// The name of its lease and of its checkpoint: every event at or below the checkpoint has been acknowledged by Kafka.
pub const NAME: &str = "publisher";

/// How long it pauses after the first failure, and at most after many.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// After so long without a failure the next one is a first one.
const FORGIVEN_AFTER: Duration = Duration::from_secs(30);
/// Pause between probes of the brokers.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// How long giving the lease back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);
/// How many partitions are asked for their end at the same time.
const QUESTIONS: usize = 8;

/// Publishes the log of `store` as `holder` of its lease, in turns with others, until `shutdown`; then what is under way is finished. `health` tells
/// whether this process could do it.
pub async fn run(store: EventStore, settings: Arc<Settings>, holder: Uuid, shutdown: CancellationToken, health: watch::Sender<Health>) {
    let reporter = Reporter::new(health);
    let Some(cluster) = connect(&settings, &reporter, &shutdown).await else { return };
    let publisher = Publisher { store, settings, holder, cluster, reporter, met: Mutex::default() };
    let keeping = CancellationToken::new();
    let mut held = lease::keep(publisher.store.pool().clone(), NAME.into(), holder, keeping.clone());
    tokio::select! {
        () = publisher.watch() => {}
        () = publisher.work(held.clone(), &shutdown) => {}
    }
    keeping.cancel();
    // Its sender is gone once the lease has been given back.
    let _ = timeout(RELEASE_LIMIT, async { while held.changed().await.is_ok() {} }).await;
}

/// A client of the cluster; none if there is none before `shutdown`. That the brokers are away is no hindrance.
async fn connect(settings: &Arc<Settings>, reporter: &Reporter, shutdown: &CancellationToken) -> Option<Arc<Cluster>> {
    loop {
        match Cluster::new(settings.clone()) {
            Ok(cluster) => return Some(Arc::new(cluster)),
            // A certificate that can't be read, say.
            Err(trouble) => reporter.report(Source::Probe, Some(trouble)),
        }
        tokio::select! {
            () = shutdown.cancelled() => return None,
            () = sleep(LONGEST_PAUSE) => {}
        }
    }
}

/// Waits for the lease; false where nobody keeps it any more.
async fn turn(held: &mut watch::Receiver<bool>, reporter: &Reporter) -> bool {
    while !*held.borrow_and_update() {
        // What this process could not do is another one's to do now.
        reporter.report(Source::Leader, None);
        if held.changed().await.is_err() {
            return false;
        }
    }
    true
}

struct Publisher {
    store: EventStore,
    settings: Arc<Settings>,
    holder: Uuid,
    cluster: Arc<Cluster>,
    reporter: Reporter,
    /// Categories that this program does not know, and has met in the log.
    met: Mutex<Vec<String>>,
}

impl Publisher {
    /// Asks now and then whether the brokers are there, leader or not.
    async fn watch(&self) {
        let topic = topics::of_category(&self.settings.prefix, CATEGORIES.first().unwrap_or(&"order"));
        loop {
            let trouble = self.cluster.probe(topic.clone()).await.err();
            self.reporter.report(Source::Probe, trouble);
            sleep(PROBE_INTERVAL).await;
        }
    }

    /// Leads whenever it is its turn, until `shutdown`.
    async fn work(&self, mut held: watch::Receiver<bool>, shutdown: &CancellationToken) {
        let (mut pause, mut failed_at) = (FIRST_PAUSE, Instant::now());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                is_turn = turn(&mut held, &self.reporter) => if !is_turn { return },
            }
            let wait = match self.term(&mut held, shutdown).await {
                Ok(End::Shutdown) => return,
                Ok(End::Revised) => Duration::ZERO,
                Ok(End::LeaseLost) => {
                    tracing::info!("somebody else publishes now");
                    self.reporter.report(Source::Leader, None);
                    FIRST_PAUSE
                }
                Ok(End::NewCategory(category)) => {
                    self.met.lock().push(category);
                    Duration::ZERO
                }
                Err(trouble) => {
                    pause = if failed_at.elapsed() > FORGIVEN_AFTER { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
                    failed_at = Instant::now();
                    self.fail(trouble).await;
                    pause
                }
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(wait) => {}
            }
        }
    }

    async fn fail(&self, trouble: Trouble) {
        // Whoever asks for the state of consumers reads it there. If that fails, it is the database that is away, as every request says.
        let _ = places::note(&self.store, Some(&trouble)).await;
        self.reporter.report(Source::Leader, Some(trouble));
    }

    /// One term: from taking the lease to losing it, or to anything that makes it begin anew.
    async fn term(&self, held: &mut watch::Receiver<bool>, shutdown: &CancellationToken) -> Result<End, Trouble> {
        let breaks = self.store.breaks();
        let Some(fence) = lease::acquire(self.store.pool(), NAME, self.holder).await? else { return Ok(End::LeaseLost) };
        let preparing = async {
            let Some(layout) = self.prepare(fence).await? else { return Ok(None) };
            let mut start = places::read(&self.store, &layout).await?;
            if tail::check(&self.store, &self.settings, &self.cluster, &layout, &start).await? {
                start = places::read(&self.store, &layout).await?;
            }
            Ok::<_, Trouble>(Some((layout, start)))
        };
        let prepared = tokio::select! {
            () = shutdown.cancelled() => return Ok(End::Shutdown),
            prepared = preparing => prepared?,
        };
        let Some((layout, start)) = prepared else { return Ok(End::LeaseLost) };
        let _ = places::note(&self.store, None).await;
        self.reporter.report(Source::Leader, None);
        tracing::info!(position = start.checkpoint.position, fence, "publishing goes on");
        let term = leader::Term { store: &self.store, settings: &self.settings, reporter: &self.reporter, layout: &layout, fence, breaks };
        term.lead(start, held, shutdown).await
    }

    /// Sees to topics and to a place for each partition; `None` where somebody else has the lease meanwhile.
    async fn prepare(&self, fence: i64) -> Result<Option<Layout>, Trouble> {
        let published = places::published_topics(&self.store).await?;
        if let Some(contradiction) = places::contradiction(&self.settings, &published) {
            return Err(contradiction);
        }
        let mut categories: Vec<String> = CATEGORIES.iter().map(ToString::to_string).collect();
        let before = published.iter().filter_map(|(topic, _)| topics::category(&self.settings.prefix, topic)).map(ToOwned::to_owned);
        for category in before.chain(self.met.lock().clone()) {
            if !categories.contains(&category) {
                categories.push(category);
            }
        }
        let layout = Layout::new(&self.settings, &categories);
        self.cluster.prepare(&layout.topics).await?;
        for topic in &layout.topics {
            if published.iter().all(|(known, _)| known != topic) && !self.begin(fence, topic).await? {
                return Ok(None);
            }
        }
        Ok(Some(layout))
    }

    /// Begins to publish to `topic`: what stands there is not of this log, or is sent again.
    async fn begin(&self, fence: i64, topic: &str) -> Result<bool, Trouble> {
        let ends: Vec<i64> = stream::iter(0..self.settings.partitions)
            .map(|partition| self.cluster.end_offset(topic.to_owned(), partition))
            .buffered(QUESTIONS)
            .try_collect()
            .await?;
        places::begin(&self.store, fence, topic, &ends).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_could_not_publish_is_well_again_once_the_lease_is_somebody_elses() {
        let (health, watched) = watch::channel(Health::Ready);
        let reporter = Reporter::new(health);
        reporter.report(Source::Probe, None);
        let failed = || reporter.report(Source::Leader, Some(Trouble::Topics("a topic has no leader".into())));
        let (lease, mut held) = watch::channel(true);
        failed();
        assert!(turn(&mut held, &reporter).await, "it has the lease still");
        assert_eq!(*watched.borrow(), Health::Away("a topic has no leader".into()));
        lease.send_replace(false);
        let mut waiting = std::pin::pin!(turn(&mut held, &reporter));
        assert!(futures::poll!(&mut waiting).is_pending());
        assert_eq!(*watched.borrow(), Health::Ready);
        lease.send_replace(true);
        assert!(waiting.await);
    }
}
