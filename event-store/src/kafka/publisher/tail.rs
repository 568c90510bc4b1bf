//! Messages on Kafka beyond the places of partitions: as a rule those that a leader before has sent and not written down. Where the
//! database was restored, they are of events that the log has lost; nobody else may remember them.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
};
use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::{
    QUESTIONS,
    cluster::Cluster,
    health::Trouble,
    places::{Layout, Start},
};
use crate::{
    EventStore, Mark,
    kafka::{Settings, message},
    timeline::{self, Compared},
};

/// The most messages that are compared with the log at a time.
const PAGE_MESSAGES: usize = 2_000;
/// The longest that the brokers may take to give one; after it they count as unreachable.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
const POLL_LIMIT: Duration = Duration::from_millis(100);

/// The partitions of a topic that there is something to read of: from which offset on, and the offset after the last message.
type Ends = BTreeMap<i32, (i64, i64)>;

/// Looks whether what stands on Kafka beyond `start` is in the log. Where it is not, the log has gone back, and a new timeline begins at the
/// checkpoint, up to which what is on Kafka is in the log. Whether one has begun.
pub async fn check(
    store: &EventStore,
    settings: &Settings,
    cluster: &Arc<Cluster>,
    layout: &Layout,
    start: &Start,
) -> Result<bool, Trouble> {
    let ends: Vec<(usize, i64)> = stream::iter(0..start.places.len())
        .map(async |place| {
            let (topic, partition) = layout.partition(place);
            Ok::<_, Trouble>((place, cluster.end_offset(topic.to_owned(), partition).await?))
        })
        .buffered(QUESTIONS)
        .try_collect()
        .await?;
    let mut topics: BTreeMap<&str, Ends> = BTreeMap::new();
    for (place, end) in ends {
        let ((topic, partition), next) = (layout.partition(place), start.places[place].next_offset);
        if end > next {
            topics.entry(topic).or_default().insert(partition, (next, end));
        }
    }
    for (topic, left) in topics {
        if let Some(beyond) = check_topic(store, start, Reading::begin(settings, topic, left)?).await? {
            return begin(store, start, beyond).await;
        }
    }
    Ok(false)
}

async fn check_topic(store: &EventStore, start: &Start, mut reading: Reading) -> Result<Option<Uuid>, Trouble> {
    while !reading.left.is_empty() {
        let read = spawn_blocking(move || {
            let page = reading.page();
            (reading, page)
        });
        let (back, page) = read.await.map_err(|panic| Trouble::Unreachable(panic.to_string()))?;
        reading = back;
        if let Some(beyond) = lost(store, start, page?).await? {
            return Ok(Some(beyond));
        }
    }
    Ok(None)
}

/// The greatest id of a timeline that is not this log's, or that has something that the log has lost; none where all of `page` is in the log, or
/// known to be lost.
async fn lost(store: &EventStore, start: &Start, page: Vec<(Option<Uuid>, Mark)>) -> Result<Option<Uuid>, Trouble> {
    let mut alive = Vec::with_capacity(page.len());
    for (timeline, mark) in page {
        match store.has(timeline, mark.position) {
            Some(true) if mark.position > start.checkpoint.position => alive.push(mark),
            None if timeline > Some(start.timeline.id) => return Ok(timeline),
            Some(_) | None => {}
        }
    }
    alive.sort_unstable_by_key(|mark| mark.position);
    let mut connection = store.pool().acquire().await?;
    let compared = timeline::compare(&mut connection, &alive).await?;
    Ok(matches!(compared, Compared::WentBack(_)).then_some(start.timeline.id))
}

async fn begin(store: &EventStore, start: &Start, beyond: Uuid) -> Result<bool, Trouble> {
    let common = start.checkpoint.mark();
    tracing::error!(
        common = common.position,
        "Kafka has events that the log has lost: it was restored, or a standby took over. They are published again from the last common one on, \
         under a new timeline"
    );
    metrics::counter!("merx_log_went_back_total").increment(1);
    let mut transaction = store.pool().begin().await?;
    timeline::begin(&mut transaction, common, beyond).await?;
    transaction.commit().await?;
    store.look().await?;
    Ok(true)
}

/// Partitions of a topic that are read up to their ends.
struct Reading {
    consumer: BaseConsumer,
    source: String,
    left: Ends,
}

impl Reading {
    fn begin(settings: &Settings, topic: &str, left: Ends) -> Result<Self, Trouble> {
        let mut config: ClientConfig = settings.client_config();
        config
            // Of no group: nothing is ever committed to it, but without the name of one nothing can be assigned.
            .set("group.id", format!("{}.publisher", settings.prefix))
            .set("enable.auto.commit", "false")
            // What is not there any more is no news.
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.create().map_err(|error| unreachable(&error))?;
        let mut begins = TopicPartitionList::new();
        for (partition, (next, _)) in &left {
            begins.add_partition_offset(topic, *partition, Offset::Offset(*next)).map_err(|error| unreachable(&error))?;
        }
        consumer.assign(&begins).map_err(|error| unreachable(&error))?;
        Ok(Self { consumer, source: message::source(&settings.prefix), left })
    }

    /// The next messages that are events of this log: which timeline they are of, and where they stand.
    fn page(&mut self) -> Result<Vec<(Option<Uuid>, Mark)>, Trouble> {
        let (mut page, mut heard_at) = (Vec::new(), Instant::now());
        while page.len() < PAGE_MESSAGES && !self.left.is_empty() {
            match self.consumer.poll(POLL_LIMIT) {
                Some(Ok(message)) => {
                    heard_at = Instant::now();
                    if self.left.get(&message.partition()).is_some_and(|(_, end)| message.offset() + 1 >= *end) {
                        self.left.remove(&message.partition());
                    }
                    // Whatever is none of ours nobody reads.
                    if let Ok(received) = message::decode(&message, &self.source) {
                        page.push((received.timeline, Mark::new(received.event.position, &received.event.hash)));
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(self.left.remove(&partition)),
                None | Some(Err(_)) if heard_at.elapsed() > ANSWER_LIMIT => {
                    return Err(Trouble::Unreachable("what stands on its topics does not come".into()));
                }
                None => {}
                Some(Err(error)) => tracing::debug!(%error, "Kafka said that something went wrong"),
            }
        }
        Ok(page)
    }
}

fn unreachable(error: &KafkaError) -> Trouble {
    Trouble::Unreachable(error.to_string())
}
