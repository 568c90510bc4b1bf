//! Messages of topics, off the thread that librdkafka needs to itself.
//!
//! A thread for each [`Reader`] asks librdkafka for messages, decodes them and hands them on through a channel with room for some thousand, and for
//! 4 MiB of them: where they are not taken, it waits, and librdkafka stops fetching. It also says when Kafka is away, and when it is back: once each.

mod thread;

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::Recorded;
use rdkafka::{ClientConfig, consumer::BaseConsumer};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Settings, places::Part};
use crate::{Error, EventStore, feed::Undecodable, mark::Hash};
use thread::{Context, Pump};

pub use thread::MOST_MESSAGES;

/// The most arrivals that wait to be taken; each has up to [`thread::MOST_MESSAGES`] messages and [`thread::MOST_BYTES`] of data.
const WAITING: usize = 16;
/// How long a consumer may be silent before its group goes on without it.
const SESSION_MS: u32 = 8_000;
const HEARTBEAT_MS: u32 = 2_000;

/// An event as it arrived.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The partition that it stands in.
    pub part: Part,
    /// Its offset there.
    pub offset: i64,
    /// Its position in the log.
    pub position: i64,
    /// The bytes of its data.
    pub bytes: usize,
    /// Its hash.
    pub hash: Hash,
    /// Which history of the log it is of; none where it does not say so.
    pub timeline: Option<Uuid>,
    /// The position of the event before it in this partition.
    pub previous_position: i64,
    /// What it says; or that this program can't read it.
    pub event: Result<Arc<Recorded>, Undecodable>,
}

/// What a reader has to say.
#[derive(Debug)]
pub enum Arrival {
    /// Messages, in order for each partition.
    Events(Vec<Arrived>),
    /// The group gives these partitions to this reader, which waits for the offsets to begin at. What gets none is not read.
    Assigned(Vec<Part>, oneshot::Sender<BTreeMap<Part, i64>>),
    /// The group takes these partitions away.
    Revoked(Vec<Part>),
    /// Kafka can't be read; why.
    Away(String),
    /// Kafka can be read.
    Back,
}

/// Reads topics, and leaves out the events of timelines that the log has left. Dropping it ends the thread and leaves the group.
pub struct Reader {
    store: EventStore,
    arrivals: mpsc::Receiver<Arrival>,
    ended: oneshot::Receiver<()>,
}

/// What is read.
enum What {
    /// What the group `String` gives of these topics.
    Shared(Vec<String>),
    /// Partitions, from an offset on each.
    Own(BTreeMap<Part, i64>),
}

impl Reader {
    /// One of the members of `group`, which spreads the partitions of `topics` over them.
    ///
    /// # Errors
    /// The settings are none that a client can be made with.
    pub fn of_group(store: &EventStore, settings: &Settings, group: &str, topics: Vec<String>) -> Result<Self, Error> {
        let mut config = config(settings);
        config
            .set("group.id", group)
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", SESSION_MS.to_string())
            .set("heartbeat.interval.ms", HEARTBEAT_MS.to_string());
        Self::start(store, settings, &config, What::Shared(topics))
    }

    /// One that reads partitions from an offset on, each; nobody else is asked.
    ///
    /// # Errors
    /// The settings are none that a client can be made with.
    pub fn of_parts(store: &EventStore, settings: &Settings, parts: BTreeMap<Part, i64>) -> Result<Self, Error> {
        let mut config = config(settings);
        // Of no group: nothing is ever committed to it, but without the name of one nothing can be assigned.
        config.set("group.id", format!("{}.reader", settings.prefix));
        Self::start(store, settings, &config, What::Own(parts))
    }

    fn start(store: &EventStore, settings: &Settings, config: &ClientConfig, what: What) -> Result<Self, Error> {
        let (sender, arrivals) = mpsc::channel(WAITING);
        let (end, ended) = oneshot::channel();
        let consumer: BaseConsumer<Context> =
            config.create_with_context(Context::new(sender.clone())).map_err(|error| Error::Kafka(error.to_string()))?;
        let pump = Pump::new(consumer, sender, settings, what);
        let run = move || {
            pump.run();
            drop(end);
        };
        std::thread::Builder::new().name("merx-kafka".into()).spawn(run).map_err(|error| Error::Kafka(error.to_string()))?;
        Ok(Self { store: store.clone(), arrivals, ended })
    }

    /// What comes next.
    ///
    /// # Errors
    /// The client has failed for good; another one must be made.
    pub async fn next(&mut self) -> Result<Arrival, Error> {
        let arrival = self.arrivals.recv().await.ok_or_else(|| Error::Kafka("the client has failed and is made anew".into()))?;
        Ok(match arrival {
            Arrival::Events(events) => Arrival::Events(self.in_log(events).await),
            other => other,
        })
    }

    /// Of `events` those that no other timeline has begun before.
    async fn in_log(&self, mut events: Vec<Arrived>) -> Vec<Arrived> {
        let has = |event: &Arrived| self.store.has(event.timeline, event.position);
        if events.iter().any(|event| has(event).is_none()) {
            // It may have begun this very moment. What is of none that there is then is of one that the log was put back before.
            if let Err(error) = self.store.look().await {
                tracing::debug!(%error, "it is not known which timelines there are");
            }
        }
        let before = events.len();
        events.retain(|event| has(event) == Some(true));
        metrics::counter!("merx_kafka_lost_events_total").increment((before - events.len()) as u64);
        events
    }

    /// Ends it and waits until the group has been left, so that others get its partitions at once.
    pub async fn close(self) {
        drop(self.arrivals);
        let _ = self.ended.await;
    }
}

fn config(settings: &Settings) -> ClientConfig {
    let mut config = settings.client_config();
    config
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "false")
        // A topic that is made anew is found within seconds.
        .set("topic.metadata.refresh.interval.ms", "5000")
        .set("socket.timeout.ms", "10000")
        // For each of the projections of a process: what they read ahead is bounded, and what a broker may send at once.
        .set("queued.min.messages", "20000")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.max.bytes", "4194304")
        .set("fetch.queue.backoff.ms", "20")
        .set("fetch.error.backoff.ms", "200")
        .set("fetch.wait.max.ms", "250");
    config
}
