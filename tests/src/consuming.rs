//! `docs/examples/follow_order.py` does what `docs/consuming.md` says of it.

use std::{ffi::OsString, path::Path, process::Output, slice::from_ref};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord},
};
use tokio::process::Command;

use crate::{
    database::skipped,
    kafka,
    server::merx,
    shop::{Shop, buy, happened, product, settled, unique},
};

const ORDER: &str = "019cae0e-03c0-7651-8317-1ff4a6a3a450";
const OTHER: &str = "019cae0e-03c0-7651-8317-1ff4a6a3a451";

/// The example, on topics of a prefix with so many partitions.
struct Follower {
    python: OsString,
    brokers: String,
    prefix: String,
    partitions: i32,
}

impl Follower {
    /// None, and a line that says so, where there is no Kafka or no Python for it.
    fn with(partitions: i32) -> Option<Self> {
        let brokers = kafka::brokers()?;
        let Some(python) = std::env::var_os("MERX_TEST_PYTHON") else {
            skipped("MERX_TEST_PYTHON");
            return None;
        };
        Some(Self { python, brokers, prefix: unique("followed"), partitions })
    }

    async fn follow(&self, order: &str, until: &str, timeout_s: u32) -> Output {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/follow_order.py");
        let mut command = Command::new(&self.python);
        command.arg(example).args([order, "--until", until, "--timeout", &timeout_s.to_string()]);
        command.env("KAFKA_BROKERS", &self.brokers).env("KAFKA_TOPIC_PREFIX", &self.prefix);
        command.env("KAFKA_PARTITIONS", self.partitions.to_string()).kill_on_drop(true);
        command.output().await.expect("the example")
    }

    /// The lines that it printed, without their times; it has to end well.
    async fn lines(&self, order: &str, until: &str) -> Vec<String> {
        let output = self.follow(order, until, 60).await;
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        text.lines().map(|line| line.split_once(' ').expect("a time").1.to_owned()).collect()
    }

    /// What it says when it ends badly.
    async fn complaint(&self, until: &str, timeout_s: u32) -> String {
        let output = self.follow(ORDER, until, timeout_s).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    }

    /// Puts messages on the one partition of the topic of orders, as a publisher would.
    async fn publish(&self, messages: &[Message]) {
        let topic = format!("{}.order", self.prefix);
        let admin: AdminClient<DefaultClientContext> = kafka::client(&self.brokers).create().expect("an admin client");
        let new = NewTopic::new(&topic, self.partitions, TopicReplication::Fixed(1));
        for made in admin.create_topics(&[new], &AdminOptions::new()).await.expect("an answer") {
            made.expect("a topic");
        }
        let producer: FutureProducer = kafka::client(&self.brokers).create().expect("a producer");
        for message in messages {
            let key = format!("order-{}", message.order);
            let record =
                FutureRecord::to(&topic).partition(0).key(&key).payload(&message.data).headers(message.headers(&self.prefix, &key));
            producer.send(record, std::time::Duration::from_secs(30)).await.expect("an acknowledgement");
        }
    }
}

#[derive(Clone)]
struct Message {
    position: i64,
    previous: i64,
    order: &'static str,
    version: i64,
    event_type: &'static str,
    schema_version: i16,
    data: String,
}

impl Message {
    fn headers(&self, prefix: &str, stream: &str) -> OwnedHeaders {
        let all = [
            ("content-type", "application/json".to_owned()),
            ("ce_specversion", "1.0".to_owned()),
            ("ce_type", self.event_type.to_owned()),
            ("ce_source", format!("/{prefix}")),
            ("ce_subject", stream.to_owned()),
            ("ce_time", "2026-03-02T10:18:00.250000Z".to_owned()),
            ("ce_position", self.position.to_string()),
            ("ce_previousposition", self.previous.to_string()),
            ("ce_streamversion", self.version.to_string()),
            ("ce_schemaversion", self.schema_version.to_string()),
        ];
        all.iter().fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }))
    }
}

/// An event with the data of its example file; `{}` where there is none.
fn event(
    (position, previous): (i64, i64),
    order: &'static str,
    version: i64,
    (event_type, schema_version): (&'static str, i16),
) -> Message {
    let path = format!("{}/../event-schemas/examples/{event_type}.v{schema_version}.json", env!("CARGO_MANIFEST_DIR"));
    let data = std::fs::read_to_string(path).unwrap_or_else(|_| "{}".to_owned());
    Message { position, previous, order, version, event_type, schema_version, data }
}

#[tokio::test]
async fn it_drops_what_comes_again_and_reads_old_and_unknown_events() {
    let Some(follower) = Follower::with(1) else { return };
    let submitted = event((1, 0), ORDER, 1, ("OrderSubmitted", 1));
    let of_another = event((3, 1), OTHER, 1, ("OrderSubmitted", 1));
    let unknown = event((4, 3), ORDER, 2, ("OrderGiftWrapped", 1));
    let placed = event((6, 4), ORDER, 3, ("OrderPlaced", 1));
    let cancelled = event((9, 6), ORDER, 4, ("OrderCancelled", 1));
    let first = [submitted.clone(), of_another.clone(), unknown.clone()];
    follower.publish(&[&first[..], &first[1..], from_ref(&placed), &first[..], &[placed.clone(), cancelled]].concat()).await;
    let lines = follower.lines(ORDER, "cancelled").await;
    let expected = ["1 submitted: 1 lines, 32.94 GBP", "3 placed: to be paid by 2026-03-02T10:33:00.250000Z", "4 cancelled: stock_lost"];
    assert_eq!(lines, expected);
    assert_eq!(follower.lines(OTHER, "submitted").await, ["1 submitted: 1 lines, 32.94 GBP"]);
    assert_eq!(follower.complaint("delivered", 4).await, "");
}

#[tokio::test]
async fn it_reads_the_newest_version_of_a_cancellation_too() {
    let Some(follower) = Follower::with(1) else { return };
    follower.publish(&[event((7, 0), ORDER, 3, ("OrderCancelled", 2))]).await;
    assert_eq!(follower.lines(ORDER, "cancelled").await, ["3 cancelled: stock_lost"]);
}

#[tokio::test]
async fn it_tells_that_events_are_missing_even_of_other_streams() {
    let Some(follower) = Follower::with(1) else { return };
    follower.publish(&[event((2, 0), ORDER, 1, ("OrderSubmitted", 1)), event((9, 6), OTHER, 2, ("OrderPlaced", 1))]).await;
    let complaint = follower.complaint("placed", 60).await;
    assert!(complaint.contains("between the positions 2 and 9"), "{complaint}");
}

#[tokio::test]
async fn it_stops_at_a_version_that_it_is_too_old_for() {
    let Some(follower) = Follower::with(1) else { return };
    follower.publish(&[event((2, 0), ORDER, 1, ("OrderSubmitted", 1)), event((3, 2), ORDER, 2, ("OrderPlaced", 2))]).await;
    let complaint = follower.complaint("placed", 60).await;
    assert!(complaint.contains("OrderPlaced has the schema version 2"), "{complaint}");
}

#[tokio::test]
async fn it_follows_an_order_that_a_server_published_and_published_again() {
    let Some(follower) = Follower::with(5) else { return };
    let settings = [("KAFKA_BROKERS", follower.brokers.as_str()), ("KAFKA_TOPIC_PREFIX", &follower.prefix), ("KAFKA_PARTITIONS", "5")];
    let Some(shop) = Shop::open_with(1, &settings).await else { return };
    let sku = product(&shop, "2.50", 20).await;
    for _ in 0..5 {
        settled(&shop, &buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201).id()).await;
    }
    let order = buy(&shop, &[(&sku, 2)], "tok_ok").await.expect(201).id();
    settled(&shop, &order).await;
    let lines = follower.lines(&order, "confirmed").await;
    let (log, status) =
        (happened(&shop, &format!("order-{order}")).await, ["submitted: 1 lines, 5.00 GBP", "placed: ", "confirmed: 5.00 GBP"]);
    assert_eq!(lines.len(), log.len(), "{lines:?}");
    for (nth, (line, status)) in lines.iter().zip(status).enumerate() {
        assert!(line.starts_with(&format!("{} {status}", nth + 1)), "{lines:?}");
    }
    let before = kafka::everything(&follower.brokers, &follower.prefix).await;
    let mut again = merx(&["publish", "--from", "1"]);
    again.env("DATABASE_URL", &shop.database.url).envs(settings);
    let output = tokio::task::spawn_blocking(move || again.output()).await.expect("merx publish").expect("merx publish");
    assert!(output.status.success(), "{output:?}");
    let asked = happened(&shop, "projection-publisher").await;
    assert_eq!(asked, [("ProjectionPublishRequested".to_owned(), serde_json::json!({"from": 1}))]);
    let limit = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let copies =
            kafka::everything(&follower.brokers, &follower.prefix).await.iter().filter(|message| message.key.ends_with(&order)).count();
        if copies >= 2 * before.iter().filter(|message| message.key.ends_with(&order)).count() {
            break;
        }
        assert!(tokio::time::Instant::now() < limit, "nothing was published again in time");
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(follower.lines(&order, "confirmed").await, lines);
}
