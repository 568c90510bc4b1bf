//! Sends events one after the other: what is new, and what is sent again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rdkafka::{
    ClientContext, Message as _,
    config::RDKafkaLogLevel,
    error::KafkaError,
    message::DeliveryResult,
    producer::{BaseRecord, ProducerContext, ThreadedProducer},
    types::RDKafkaErrorCode,
};

use super::{
    again::{Again, Page},
    flight::Flight,
    places::Layout,
};
use crate::{
    StoredEvent, Timeline,
    kafka::{
        client::{self, Complaint},
        message, partition, topics,
    },
    mark::Mark,
};

/// Bytes that an event takes beside its payload and metadata, approximately.
const EVENT_OVERHEAD_BYTES: usize = 512;
/// Pause before an event is offered again to a full queue.
const FULL_PAUSE: Duration = Duration::from_millis(2);
/// The most events and bytes of new events that are kept while something is sent again, so that it can end right behind them.
const TAIL_EVENTS: usize = 2_000;
const TAIL_BYTES: usize = 4 << 20;

/// Hears of what became of what was sent.
pub struct Sending {
    pub flight: Arc<Flight>,
    pub again: Arc<Again>,
    pub complaint: Complaint,
}

impl ClientContext for Sending {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        client::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaint.note(&error, reason);
    }
}

impl ProducerContext for Sending {
    /// Twice the position of a new event, or what [`Again::opaque`] says of one that is sent again.
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        match (result, i64::try_from(opaque / 2)) {
            (Ok(_), _) if opaque % 2 == 1 => self.again.acknowledge(opaque),
            (Ok(message), Ok(position)) => self.flight.acknowledge(position, message.offset()),
            (Ok(_), Err(error)) => self.flight.fail(error.to_string()),
            (Err((error, message)), _) => {
                let stream = message.key().map(String::from_utf8_lossy).unwrap_or_default();
                self.flight.fail(format!("one of {stream}, for {}: {error}", message.topic()));
            }
        }
    }
}

/// Sends events one after the other.
pub struct Sender {
    pub producer: Arc<ThreadedProducer<Sending>>,
    pub flight: Arc<Flight>,
    pub layout: Layout,
    /// By category.
    pub topics: HashMap<String, usize>,
    /// The last event sent to each place.
    pub last: Vec<i64>,
    pub sent_again: SentAgain,
    pub source: String,
    pub timeline: Timeline,
}

/// State of what is sent again, as far as the thread that sends must know.
pub struct SentAgain {
    again: Arc<Again>,
    /// The request that the rest is about.
    request: i64,
    /// The last event of each place that was sent again; too high where that is far back, which makes consumers look into the log.
    last: Vec<i64>,
    /// New events that were sent meanwhile, without gaps.
    tail: VecDeque<StoredEvent>,
    tail_bytes: usize,
}

impl SentAgain {
    /// Nothing has been sent again since the leader began.
    pub fn new(again: Arc<Again>) -> Self {
        Self { again, request: 0, last: Vec::new(), tail: VecDeque::new(), tail_bytes: 0 }
    }

    /// Keeps a new event that has been sent, while anything is sent again.
    fn keep(&mut self, event: StoredEvent) {
        self.again.sent_new(event.position);
        if self.again.sent_up_to().is_none() {
            self.tail.clear();
            self.tail_bytes = 0;
            return;
        }
        self.tail_bytes += bytes_of(&event);
        self.tail.push_back(event);
        while self.tail.len() > TAIL_EVENTS || self.tail_bytes > TAIL_BYTES {
            let Some(first) = self.tail.pop_front() else { break };
            self.tail_bytes -= bytes_of(&first);
        }
    }

    /// Makes `event` the last one sent again to `place`; returns the position of the one before it.
    fn previous(&mut self, place: usize, event: &StoredEvent) -> i64 {
        std::mem::replace(&mut self.last[place], event.position)
    }
}

fn bytes_of(event: &StoredEvent) -> usize {
    event.payload.len() + event.metadata.len() + EVENT_OVERHEAD_BYTES
}

impl Sender {
    /// Puts the events of `page` into the producer's queue, in order, until one can't be: then none of the later ones is.
    pub fn send(&mut self, page: Vec<StoredEvent>) {
        let now = chrono::Utc::now().into();
        for event in page {
            if self.flight.is_stopped() {
                return;
            }
            let Some((topic, partition)) = self.target(&event) else { return };
            let place = self.layout.place(topic, partition);
            let previous = std::mem::replace(&mut self.last[place], event.position);
            self.flight.sending(place, Mark::new(event.position, &event.hash).hash, bytes_of(&event));
            self.put(&event, (topic, partition), previous, usize::try_from(event.position * 2).unwrap_or(usize::MAX), now);
            self.sent_again.keep(event);
        }
    }

    /// Puts the events of `page` into the queue once more; and, where it has come that far, the new ones behind them that have been sent meanwhile.
    /// Events that are sent for the first time after that follow on them.
    pub fn send_again(&mut self, page: Page) {
        let Some((request, up_to)) = self.sent_again.again.sent_up_to() else { return };
        if (request, up_to) != (page.request, page.after) {
            return;
        }
        if let Some(before) = page.before {
            self.sent_again.request = request;
            self.sent_again.last = before;
        }
        let reached = page.events.last().map_or(up_to, |event| event.position);
        for event in &page.events {
            if !self.once_more(event) {
                return;
            }
        }
        let newest = self.last.iter().copied().max().unwrap_or(0);
        let follows = reached >= newest || self.sent_again.tail.front().is_some_and(|first| first.position <= reached + 1);
        if !follows {
            return;
        }
        for event in std::mem::take(&mut self.sent_again.tail).into_iter().filter(|event| event.position > reached) {
            if !self.once_more(&event) {
                return;
            }
        }
        self.sent_again.tail_bytes = 0;
        self.sent_again.again.set_end();
    }

    /// False where it can't be sent.
    fn once_more(&mut self, event: &StoredEvent) -> bool {
        if self.flight.is_stopped() {
            return false;
        }
        let Some((topic, partition)) = self.target(event) else { return false };
        let previous = self.sent_again.previous(self.layout.place(topic, partition), event);
        self.sent_again.again.sending();
        let opaque = Again::opaque(self.sent_again.request, event.position);
        self.put(event, (topic, partition), previous, opaque, chrono::Utc::now().into());
        true
    }

    /// The number of the topic of `event`, and its partition.
    fn target(&self, event: &StoredEvent) -> Option<(usize, i32)> {
        let topic = self.topics.get(topics::category_of_stream(&event.stream_id)).copied();
        if topic.is_none() {
            self.flight.fail(format!("{} has no topic", event.stream_id));
        }
        Some((topic?, partition::of(&event.stream_id, self.layout.partitions)))
    }

    fn put(&self, event: &StoredEvent, (topic, partition): (usize, i32), previous: i64, opaque: usize, now: event_schemas::Timestamp) {
        let record = BaseRecord::with_opaque_to(&self.layout.topics[topic], opaque)
            .partition(partition)
            .key(&event.stream_id)
            .payload(&event.payload)
            .timestamp(message::timestamp_ms(event, now))
            .headers(message::headers(event, &self.source, &self.timeline, previous));
        self.enqueue(record, event.position);
    }

    fn enqueue(&self, mut record: BaseRecord<'_, String, String, usize>, position: i64) {
        while let Err((error, refused)) = self.producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return self.flight.fail(format!("that at position {position}, for {}: {error}", refused.topic));
            }
            if self.flight.is_stopped() {
                return;
            }
            record = refused;
            std::thread::sleep(FULL_PAUSE);
        }
    }
}
