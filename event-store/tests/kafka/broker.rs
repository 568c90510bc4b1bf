//! A cluster for one test, a publisher, and what stands on the topics.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write as _,
    sync::{Arc, Once},
    time::Duration,
};

use event_store::{
    EventStore, StoredEvent,
    kafka::{
        Settings,
        message::{self, Received},
        partition,
        publisher::{self, Health},
        topics,
    },
    read::Filter,
};
use rdkafka::{
    Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::Database;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A cluster, and a prefix of topics of one's own on it.
pub struct Kafka {
    pub settings: Settings,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Kafka {
    /// The real broker if there is one; on a mock cluster topics are there already, since it can't be asked to make them.
    pub fn make(partitions: i32) -> Self {
        let prefix = format!("test-{}", Uuid::now_v7());
        let Ok(brokers) = std::env::var("MERX_TEST_KAFKA_BROKERS") else {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                // Past the capturing of output, so that it is read.
                let told = "NOT ON A REAL BROKER: MERX_TEST_KAFKA_BROKERS is not set, Kafka tests run on librdkafka's mock cluster";
                writeln!(std::io::stderr(), "{told}").expect("stderr");
            });
            return Self::mock(prefix, partitions);
        };
        Self { settings: Settings::plaintext(brokers).with_prefix(prefix).with_partitions(partitions), mock: None }
    }

    /// A mock cluster, whose brokers can be turned off.
    pub fn mock(prefix: String, partitions: i32) -> Self {
        let mock = MockCluster::new(1).unwrap();
        for topic in topics::all(&prefix) {
            mock.create_topic(&topic, partitions, 1).unwrap();
        }
        let settings = Settings::plaintext(mock.bootstrap_servers()).with_prefix(prefix).with_partitions(partitions);
        Self { settings, mock: Some(mock) }
    }

    /// Turns the mock cluster off, or on again.
    pub fn set_up(&self, up: bool) {
        let mock = self.mock.as_ref().expect("a mock cluster");
        if up { mock.broker_up(1) } else { mock.broker_down(1) }.unwrap();
    }

    /// Sees to a topic that the publisher would have to make.
    pub fn add_topic(&self, category: &str) {
        if let Some(mock) = &self.mock {
            mock.create_topic(&topics::of_category(&self.settings.prefix, category), self.settings.partitions, 1).unwrap();
        }
    }

    /// A publisher in this process.
    pub fn publisher(&self, store: &EventStore) -> Publisher {
        Publisher::start(store, self.settings.clone())
    }

    /// Everything that stands on topics of `categories`, by partition, in order.
    pub fn read(&self, categories: &[&str]) -> BTreeMap<(String, i32), Vec<(i64, Received)>> {
        let mut config = self.settings.client_config();
        config.set("group.id", Uuid::now_v7().to_string()).set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        let mut ends = HashMap::new();
        let mut wanted = TopicPartitionList::new();
        for topic in categories.iter().map(|category| topics::of_category(&self.settings.prefix, category)) {
            for partition in 0..self.settings.partitions {
                let (low, end) = consumer.fetch_watermarks(&topic, partition, ANSWER_LIMIT).unwrap();
                if end > low {
                    wanted.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
                    ends.insert((topic.clone(), partition), end);
                }
            }
        }
        consumer.assign(&wanted).unwrap();
        let source = message::source(&self.settings.prefix);
        let mut read: BTreeMap<_, Vec<_>> = BTreeMap::new();
        while !ends.is_empty() {
            let message = consumer.poll(ANSWER_LIMIT).expect("a message").unwrap();
            let partition = (message.topic().to_owned(), message.partition());
            let received = message::decode(&message, &source).unwrap();
            read.entry(partition.clone()).or_default().push((message.offset(), received));
            if ends.get(&partition).is_some_and(|end| message.offset() + 1 >= *end) {
                ends.remove(&partition);
            }
        }
        read
    }
}

/// A publisher that runs in this process.
pub struct Publisher {
    pub health: watch::Receiver<Health>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl Publisher {
    pub fn start(store: &EventStore, settings: Settings) -> Self {
        let (sender, health) = watch::channel(Health::Ready);
        let stop = CancellationToken::new();
        let running = tokio::spawn(publisher::run(store.clone(), Arc::new(settings), Uuid::now_v7(), stop.clone(), sender));
        Self { health, stop, running }
    }

    /// Waits until it is away for a reason with `words` in it.
    pub async fn until_away(&mut self, words: &str) {
        let away = self.health.wait_for(|health| matches!(health, Health::Away(reason) if reason.contains(words)));
        let away = tokio::time::timeout(Duration::from_secs(30), away).await.is_ok();
        assert!(away, "{:?} instead of {words:?}", *self.health.borrow());
    }

    pub async fn until_ready(&mut self) {
        let ready = self.health.wait_for(|health| *health == Health::Ready);
        assert!(tokio::time::timeout(Duration::from_secs(30), ready).await.is_ok(), "{:?}", *self.health.borrow());
    }

    pub async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(10), self.running).await.expect("it stops").unwrap();
    }
}

/// Waits until everything in the log has been acknowledged; how much that is.
pub async fn published(database: &Database) -> i64 {
    for _ in 0..6_000 {
        let (head, position): (i64, i64) =
            sqlx::query_as("select position, coalesce((select position from checkpoints where name = 'publisher'), 0) from log_head")
                .fetch_one(&database.pool)
                .await
                .unwrap();
        if head == position {
            return head;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the log is not published");
}

/// Asserts that every event of the log stands where it belongs, as it is, and that who drops what has been seen meets every event in order and none
/// below. How many messages there are besides, repeated ones.
pub async fn assert_published(database: &Database, kafka: &Kafka, categories: &[&str]) -> usize {
    let store = database.store().await;
    let mut missing: BTreeMap<i64, StoredEvent> = BTreeMap::new();
    loop {
        let after = missing.last_key_value().map_or(0, |(position, _)| *position);
        let page = store.read_log(after, i64::MAX, &Filter::default(), i64::MAX).await.unwrap();
        if page.is_empty() {
            break;
        }
        missing.extend(page.into_iter().map(|event| (event.position, event)));
    }
    let mut true_last: HashMap<(String, i32), Vec<i64>> = HashMap::new();
    let Settings { prefix, partitions, .. } = &kafka.settings;
    for event in missing.values() {
        let place = (topics::of_stream(prefix, &event.stream_id), partition::of(&event.stream_id, *partitions));
        true_last.entry(place).or_default().push(event.position);
    }
    let mut repeated = 0;
    for (place, messages) in kafka.read(categories) {
        let positions = &true_last[&place];
        let mut seen = 0;
        for (_, Received { previous_position, event, .. }) in messages {
            let nth = positions.binary_search(&event.position).expect("an event of this partition");
            let before = nth.checked_sub(1).map_or(0, |nth| positions[nth]);
            assert!(previous_position >= before, "{} follows {before} in {place:?} and says {previous_position}", event.position);
            if event.position <= seen {
                repeated += 1;
            } else {
                assert_eq!(before, seen, "{} came before {before} in {place:?}", event.position);
                assert_eq!(previous_position, before, "of the first {} in {place:?}", event.position);
                seen = event.position;
                let stored = missing.remove(&event.position).expect("an event of the log that was not met before");
                assert_eq!(event, stored);
            }
        }
    }
    assert!(missing.is_empty(), "{} events are on no topic, the first at {:?}", missing.len(), missing.keys().next());
    assert_places(database, kafka, &true_last).await;
    repeated
}

/// Asserts that the database says of each partition what is so.
async fn assert_places(database: &Database, kafka: &Kafka, positions: &HashMap<(String, i32), Vec<i64>>) {
    let rows: Vec<(String, i32, i64, i64)> =
        sqlx::query_as("select topic, partition, next_offset, position from kafka_published").fetch_all(&database.pool).await.unwrap();
    let consumer: BaseConsumer = kafka.settings.client_config().create().unwrap();
    let mut known = 0;
    for (topic, partition, next_offset, position) in rows {
        let last = positions.get(&(topic.clone(), partition)).and_then(|positions| positions.last()).copied().unwrap_or(0);
        assert_eq!(position, last, "the last event of {topic} {partition}");
        let (_, end) = consumer.fetch_watermarks(&topic, partition, ANSWER_LIMIT).unwrap();
        assert!(next_offset <= end, "{next_offset} is beyond the end of {topic} {partition}, {end}");
        known += usize::from(last > 0);
    }
    assert_eq!(known, positions.len(), "partitions that have events");
}
