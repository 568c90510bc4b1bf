//! The thread of a reader.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message as _, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
    types::RDKafkaRespErr,
};
use tokio::sync::{mpsc, oneshot};

use super::{Arrival, Arrived, What};
use crate::kafka::{
    Settings,
    client::{self, Complaint},
    message::{self, Received},
    places::Part,
};
use crate::mark::Mark;

/// The most messages of an arrival, which ends besides with the one that makes it so many bytes of data.
pub const MOST_MESSAGES: usize = 512;
pub const MOST_BYTES: usize = 256 << 10;
/// How long a poll waits for a message, and so how long it takes to see that nobody listens any more.
const POLL_LIMIT: Duration = Duration::from_millis(100);
/// How often Kafka is asked whether it is back, and how long it may take to answer.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// For how long a refusal is believed that asking for topics does not show.
const REFUSAL_TIME: Duration = Duration::from_secs(10);

/// What librdkafka calls.
pub struct Context {
    out: mpsc::Sender<Arrival>,
    complaint: Complaint,
}

impl Context {
    pub fn new(out: mpsc::Sender<Arrival>) -> Self {
        Self { out, complaint: Complaint::default() }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.note(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, parts: &mut TopicPartitionList) {
        let is_assigned = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let changed = if is_assigned { consumer.incremental_assign(&self.begun(parts)) } else { consumer.incremental_unassign(parts) };
        if let Err(error) = changed {
            tracing::warn!(%error, "the partitions that the group has given or taken can't be changed");
        }
        if !is_assigned {
            // Where nobody listens any more, the consumer is on its way out.
            let _ = self.out.blocking_send(Arrival::Revoked(named(parts)));
        }
    }
}

impl Context {
    /// `parts` with the offsets to begin at, which whoever listens knows.
    fn begun(&self, parts: &TopicPartitionList) -> TopicPartitionList {
        let (reply, answer) = oneshot::channel();
        let asked = self.out.blocking_send(Arrival::Assigned(named(parts), reply));
        let offsets = if asked.is_ok() { answer.blocking_recv().unwrap_or_default() } else { BTreeMap::new() };
        with_offsets(named(parts).into_iter().map(|part| {
            // What nobody wants to read has no events of ours.
            let offset = offsets.get(&part).map_or(Offset::End, |offset| Offset::Offset(*offset));
            (part, offset)
        }))
    }
}

fn named(parts: &TopicPartitionList) -> Vec<Part> {
    parts.elements().iter().map(|part| Part { topic: part.topic().into(), partition: part.partition() }).collect()
}

fn with_offsets(parts: impl IntoIterator<Item = (Part, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (Part { topic, partition }, offset) in parts {
        if let Err(error) = list.add_partition_offset(&topic, partition, offset) {
            tracing::warn!(%error, %topic, partition, "an offset can't be begun at");
        }
    }
    list
}

/// Why Kafka can't be read.
#[derive(Debug)]
struct Away {
    /// Another one is said again; other words for the same are not.
    kind: Kind,
    reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unreachable,
    Topics,
    Refused,
}

/// Reads until nobody listens.
pub struct Pump {
    consumer: BaseConsumer<Context>,
    out: mpsc::Sender<Arrival>,
    brokers: String,
    source: String,
    /// Each of which must have this many partitions.
    topics: Vec<Arc<str>>,
    partitions: usize,
    what: What,
    /// What was said last: that Kafka is there, or why not.
    said: Option<Result<(), Kind>>,
    probed_at: Option<Instant>,
    /// That something is not allowed, and when Kafka said so.
    refused: Option<(String, Instant)>,
    is_foreign_told: bool,
}

impl Pump {
    pub fn new(consumer: BaseConsumer<Context>, out: mpsc::Sender<Arrival>, settings: &Settings, what: What) -> Self {
        let mut topics: Vec<Arc<str>> = match &what {
            What::Shared(topics) => topics.iter().map(|topic| topic.as_str().into()).collect(),
            What::Own(parts) => parts.keys().map(|part| part.topic.clone()).collect(),
        };
        topics.dedup();
        Self {
            consumer,
            out,
            brokers: settings.brokers.clone(),
            source: message::source(&settings.prefix),
            topics,
            partitions: usize::try_from(settings.partitions).unwrap_or(1),
            what,
            said: None,
            probed_at: None,
            refused: None,
            is_foreign_told: false,
        }
    }

    /// Dropping the consumer at the end leaves the group.
    pub fn run(mut self) {
        while !self.is_there() {
            // Errors that say why are only heard of by whoever polls.
            self.consumer.poll(POLL_LIMIT);
            if self.out.is_closed() {
                return;
            }
        }
        if let Err(error) = self.begin() {
            tracing::warn!(%error, "what a Kafka consumer is to read is refused");
            return;
        }
        while !self.out.is_closed() && self.pump().is_continue() {
            if self.said != Some(Ok(())) {
                self.is_there();
            }
        }
    }

    fn begin(&self) -> Result<(), KafkaError> {
        match &self.what {
            What::Shared(topics) => self.consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>()),
            What::Own(parts) => {
                let begins = parts.iter().map(|(part, offset)| (part.clone(), Offset::Offset(*offset)));
                self.consumer.assign(&with_offsets(begins))
            }
        }
    }

    /// Hands on what there is; breaks where nobody listens, or nothing will ever come again.
    fn pump(&mut self) -> ControlFlow<()> {
        let mut arrived = Vec::new();
        let mut wait = POLL_LIMIT;
        let mut failed = None;
        let mut bytes = 0;
        while arrived.len() < MOST_MESSAGES
            && bytes < MOST_BYTES
            && let Some(polled) = self.consumer.poll(wait)
        {
            wait = Duration::ZERO;
            match polled {
                Ok(message) => {
                    bytes += message.payload_len();
                    arrived.extend(decode(&message, &self.topics, &self.source, &mut self.is_foreign_told));
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !arrived.is_empty() {
            self.refused = None;
            if self.out.blocking_send(Arrival::Events(arrived)).is_err() {
                return ControlFlow::Break(());
            }
        }
        match failed {
            Some(error @ KafkaError::MessageConsumptionFatal(_)) => {
                tracing::warn!(%error, "a Kafka consumer has failed for good");
                return ControlFlow::Break(());
            }
            Some(error) => self.note(&error),
            None => {}
        }
        ControlFlow::Continue(())
    }

    /// An error is a reason to ask whether Kafka is there: most go by themselves.
    fn note(&mut self, error: &KafkaError) {
        tracing::debug!(%error, "Kafka said that something went wrong");
        if is_refusal(error) {
            self.refused = Some((self.consumer.context().complaint.or(error), Instant::now()));
        }
        self.is_there();
    }

    /// Whether Kafka can be read, asked once in a while; where that changes, it is said.
    fn is_there(&mut self) -> bool {
        if self.probed_at.is_some_and(|at| at.elapsed() < PROBE_INTERVAL) {
            return self.said == Some(Ok(()));
        }
        let mut probed = self.probe();
        self.probed_at = Some(Instant::now());
        self.refused.take_if(|(_, at)| at.elapsed() > REFUSAL_TIME);
        if let (Ok(()), Some((reason, _))) = (&probed, &self.refused) {
            probed = Err(Away { kind: Kind::Refused, reason: format!("Kafka refuses to be read: {reason}") });
        }
        let kind = match &probed {
            Ok(()) => Ok(()),
            Err(away) => Err(away.kind),
        };
        if self.said != Some(kind) {
            let said = match probed {
                Ok(()) => Arrival::Back,
                Err(away) => Arrival::Away(away.reason),
            };
            if self.out.blocking_send(said).is_ok() {
                self.said = Some(kind);
            }
        }
        kind.is_ok()
    }

    /// Whether the topics are there, with all the partitions that there are to be.
    fn probe(&self) -> Result<(), Away> {
        for topic in &self.topics {
            let metadata = self.consumer.fetch_metadata(Some(topic), PROBE_LIMIT).map_err(|error| self.unreachable(&error))?;
            let topics = |reason| Away { kind: Kind::Topics, reason };
            let Some(found) = metadata.topics().iter().find(|found| found.name() == &**topic) else {
                return Err(topics(format!("Kafka does not say whether there is a topic {topic}")));
            };
            match found.error().map(RDKafkaErrorCode::from) {
                None => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
                    return Err(topics(format!("the topic {topic} is not on Kafka: the publisher makes it")));
                }
                Some(error) => return Err(topics(format!("the topic {topic} can't be read: {error}"))),
            }
            let partitions = found.partitions().len();
            if partitions < self.partitions {
                return Err(topics(format!(
                    "the topic {topic} has {partitions} partitions, and KAFKA_PARTITIONS says {}",
                    self.partitions
                )));
            }
        }
        self.consumer.context().complaint.forget();
        Ok(())
    }

    fn unreachable(&self, error: &KafkaError) -> Away {
        let why = self.consumer.context().complaint.or(error);
        Away { kind: Kind::Unreachable, reason: format!("Kafka can't be reached at {}: {why}", self.brokers) }
    }
}

/// Asking for topics does not show these.
fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{GroupAuthorizationFailed, SaslAuthenticationFailed, TopicAuthorizationFailed};
    matches!(error.rdkafka_error_code(), Some(GroupAuthorizationFailed | SaslAuthenticationFailed | TopicAuthorizationFailed))
}

/// What `message` says; none where it is no event of this log, which is told once.
fn decode(message: &BorrowedMessage<'_>, topics: &[Arc<str>], source: &str, is_foreign_told: &mut bool) -> Option<Arrived> {
    let topic = topics.iter().find(|topic| &***topic == message.topic())?;
    match message::decode(message, source) {
        Ok(Received { previous_position, timeline, event }) => Some(Arrived {
            part: Part { topic: topic.clone(), partition: message.partition() },
            offset: message.offset(),
            position: event.position,
            bytes: message.payload_len(),
            hash: Mark::new(event.position, &event.hash).hash,
            timeline,
            previous_position,
            event: event.decode().map(Arc::new),
        }),
        Err(foreign) => {
            if !std::mem::replace(is_foreign_told, true) {
                tracing::warn!(%foreign, "a topic holds what is left out; this is said once");
            }
            None
        }
    }
}
