//! What a publisher does when it can't.

use std::time::Duration;

use event_store::kafka::Settings;
use uuid::Uuid;

use crate::{
    broker::{Kafka, Publisher, assert_published, published},
    database::Database,
    publishing::{WRITTEN, codes, write},
};

async fn failure(database: &Database) -> Option<String> {
    sqlx::query_scalar("select failure from checkpoints where name = 'publisher'").fetch_optional(&database.pool).await.unwrap().flatten()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_away_hold_up_nothing_but_publishing() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::mock(format!("test-{}", Uuid::now_v7()), 3);
    kafka.set_up(false);
    let store = database.store().await;
    let mut running = kafka.publisher(&store);
    running.until_away("Kafka can't be reached: ").await;
    // At the start.
    write(&store, &codes("a-", 10), 3, 1).await;
    kafka.set_up(true);
    running.until_ready().await;
    published(&database).await;
    assert_eq!(failure(&database).await, None);
    // In the middle.
    kafka.set_up(false);
    write(&store, &codes("b-", 10), 3, 1).await;
    running.until_away("").await;
    write(&store, &codes("c-", 10), 3, 1).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let told = failure(&database).await.expect("what consumers do tells it too");
    assert!(told.starts_with("Kafka "), "{told}");
    kafka.set_up(true);
    running.until_ready().await;
    published(&database).await;
    assert_published(&database, &kafka, WRITTEN).await;
    assert_eq!(failure(&database).await, None);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_brokers_are_named() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let mut running = Publisher::start(&store, Settings::plaintext("127.0.0.1:1"));
    running.until_away("127.0.0.1:1").await;
    running.until_away("onnect").await;
    write(&store, &codes("a-", 2), 1, 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_with_too_few_partitions_is_named_and_more_are_left_alone() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let prepare = Kafka::make(3);
    // Topics of three partitions are there, whoever made them.
    let making = Database::make().await.unwrap();
    let maker = prepare.publisher(&making.store().await);
    write(&making.store().await, &codes("a-", 3), 1, 1).await;
    published(&making).await;
    maker.stop().await;
    write(&store, &codes("a-", 10), 2, 1).await;
    let many = prepare.settings.clone().with_partitions(4);
    let mut running = Publisher::start(&store, many);
    running.until_away("has 3 partitions and KAFKA_PARTITIONS is 4: give it that many").await;
    running.stop().await;
    let some = prepare.settings.clone().with_partitions(2);
    let mut running = Publisher::start(&store, some);
    running.until_ready().await;
    published(&database).await;
    running.stop().await;
    let used: Vec<i32> =
        sqlx::query_scalar("select distinct partition from kafka_published order by 1").fetch_all(&database.pool).await.unwrap();
    assert_eq!(used, [0, 1]);
    // What a log was first published with is kept.
    let mut other = Publisher::start(&store, prepare.settings.clone());
    other.until_away("this log is published to 2 partitions of each topic, and KAFKA_PARTITIONS is 3: set it to 2").await;
    other.stop().await;
    let mut other = Publisher::start(&store, prepare.settings.clone().with_partitions(2).with_prefix("elsewhere"));
    other.until_away("and KAFKA_TOPIC_PREFIX is elsewhere: set it as it was").await;
    other.stop().await;
}
