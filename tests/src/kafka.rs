//! The Kafka of a test run, and what stands on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaResult,
    message::{Headers as _, Message as _},
};
use serde_json::Value;

use crate::database::skipped;

const LIMIT: Duration = Duration::from_secs(30);

/// The brokers that `script/test` started; none, and a line that says so, where there are none.
pub fn brokers() -> Option<String> {
    let brokers = std::env::var("MERX_TEST_KAFKA_BROKERS").ok();
    if brokers.is_none() {
        skipped("MERX_TEST_KAFKA_BROKERS");
    }
    brokers
}

/// Settings of a client of theirs.
pub fn client(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers);
    config
}

/// An event as it stands on a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: String,
    pub headers: BTreeMap<String, String>,
    /// Its data, as it stands there.
    pub value: String,
    pub data: Value,
}

impl Message {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    pub fn position(&self) -> i64 {
        self.header("ce_position").parse().expect("a position")
    }

    /// `OrderPlaced.v1`.
    pub fn type_and_version(&self) -> String {
        format!("{}.v{}", self.header("ce_type"), self.header("ce_schemaversion"))
    }
}

/// All that stands on the topics `<prefix>.…` now, each partition in its order.
pub async fn everything(brokers: &str, prefix: &str) -> Vec<Message> {
    let (config, prefix) = (client(brokers), format!("{prefix}."));
    tokio::task::spawn_blocking(move || read(config, &prefix)).await.expect("what stands on the topics")
}

/// The same, once so many events stand there.
pub async fn until(brokers: &str, prefix: &str, events: usize) -> Vec<Message> {
    let limit = tokio::time::Instant::now() + LIMIT;
    loop {
        let messages = everything(brokers, prefix).await;
        let positions: BTreeSet<_> = messages.iter().map(Message::position).collect();
        if positions.len() >= events {
            return messages;
        }
        assert!(tokio::time::Instant::now() < limit, "{} of {events} events were published in time", positions.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks again as long as Kafka refuses: after a restart a partition has no leader for a while.
fn patiently<T>(wanted: &str, ask: impl Fn() -> KafkaResult<T>) -> T {
    let limit = std::time::Instant::now() + LIMIT;
    loop {
        match ask() {
            Ok(told) => return told,
            Err(error) => assert!(std::time::Instant::now() < limit, "{wanted}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn read(mut config: ClientConfig, prefix: &str) -> Vec<Message> {
    config.set("group.id", "tests").set("enable.auto.commit", "false").set("enable.partition.eof", "false");
    let consumer: BaseConsumer = config.create().expect("a consumer");
    let metadata = patiently("the cluster's metadata", || consumer.fetch_metadata(None, LIMIT));
    let mut assigned = TopicPartitionList::new();
    let mut left = 0;
    for topic in metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)) {
        for partition in topic.partitions() {
            let (low, high) = patiently("the watermarks", || consumer.fetch_watermarks(topic.name(), partition.id(), LIMIT));
            left += high - low;
            assigned.add_partition_offset(topic.name(), partition.id(), Offset::Beginning).expect("a partition");
        }
    }
    consumer.assign(&assigned).expect("the partitions");
    let mut messages = Vec::new();
    while left > 0 {
        let message = consumer.poll(LIMIT).expect("a message in time").expect("a message");
        let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).expect("UTF-8");
        let headers = message.headers().map(|headers| headers.iter().map(|header| (header.key.to_owned(), text(header.value))).collect());
        messages.push(Message {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: text(message.key()),
            headers: headers.unwrap_or_default(),
            value: text(message.payload()),
            data: serde_json::from_slice(message.payload().unwrap_or_default()).expect("JSON"),
        });
        left -= 1;
    }
    messages
}

mod tests {
    use rdkafka::{
        admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
        client::DefaultClientContext,
        producer::{FutureProducer, FutureRecord},
    };

    use super::*;

    /// What `script/kafka` prints.
    fn script(action: &str, folder: &std::path::Path) -> String {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../script/kafka");
        let output = std::process::Command::new(path).arg(action).arg(folder).output().expect("script/kafka");
        assert!(output.status.success(), "{action}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Also where the test fails.
    struct Stopped<'f>(&'f std::path::Path);

    impl Drop for Stopped<'_> {
        fn drop(&mut self) {
            script("stop", self.0);
        }
    }

    #[tokio::test]
    async fn a_broker_may_be_started_twice_and_keeps_its_port_and_what_it_acknowledged_when_it_is_killed() {
        if brokers().is_none() {
            return;
        }
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path().join("kafka");
        let stopped = Stopped(&folder);
        let line = script("start", &folder);
        assert_eq!(script("start", &folder), line);
        let own = line.trim().strip_prefix("KAFKA_BROKERS=127.0.0.1:").expect("KAFKA_BROKERS").parse::<u16>().expect("a port");
        let own = format!("127.0.0.1:{own}");
        let admin: AdminClient<DefaultClientContext> = client(&own).create().expect("an admin client");
        let new = NewTopic::new("kept.order", 1, TopicReplication::Fixed(1));
        admin.create_topics(&[new], &AdminOptions::new()).await.expect("an answer")[0].as_ref().expect("a topic");
        let producer: FutureProducer = client(&own).create().expect("a producer");
        producer.send(FutureRecord::to("kept.order").key("a").payload("{}"), LIMIT).await.expect("an acknowledgement");
        for action in ["kill", "start", "restart"] {
            let told = script(action, &folder);
            assert_eq!(told, if action == "kill" { "" } else { &line }, "{action}");
        }
        let kept = everything(&own, "kept").await;
        assert_eq!(kept.iter().map(|message| (message.key.as_str(), &message.data)).collect::<Vec<_>>(), [("a", &serde_json::json!({}))]);
        drop(stopped);
        assert!(!folder.exists());
    }
}
