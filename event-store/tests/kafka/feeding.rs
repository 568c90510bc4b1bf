//! Events from Kafka in the order of the log.

use std::{sync::Arc, time::Duration};

use event_store::{
    EventStore,
    kafka::{Feed, publisher},
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    broker::{Kafka, published},
    database::Database,
    publishing::{codes, write},
};

const CATEGORIES: &[&str] = &["stock"];

fn feed(store: &EventStore, kafka: &Kafka) -> Feed {
    Feed::new(store.clone(), Arc::new(kafka.settings.clone()), CATEGORIES)
}

/// The positions that `feed` has after `after`, up to `up_to`.
async fn positions(feed: &mut Feed, after: i64, up_to: i64) -> Vec<i64> {
    let (mut at, mut positions) = (after, Vec::new());
    while at < up_to {
        let batch = timeout(Duration::from_mins(1), feed.next(at, 100)).await.expect("a batch").unwrap();
        assert!(batch.up_to > at && batch.events.len() <= 100);
        positions.extend(batch.events.iter().map(|event| event.position));
        at = batch.up_to;
    }
    assert!(positions.iter().all(|position| *position > after));
    positions
}

/// What it must be.
async fn wanted(database: &Database, after: i64) -> Vec<i64> {
    sqlx::query_scalar("select position from events where position > $1 order by position")
        .bind(after)
        .fetch_all(&database.pool)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_comes_once_and_in_order_from_the_log_and_from_kafka() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(3);
    let store = database.store().await;
    let running = kafka.publisher(&store);
    write(&store, &codes("a-", 20), 5, 3).await;
    let head = published(&database).await;
    let mut feed = feed(&store, &kafka);
    assert_eq!(positions(&mut feed, 0, head).await, wanted(&database, 0).await, "all that is published");
    // Now from Kafka, while it is written, and while some of it is sent again.
    let last = head + 2 * 5 * 3 * 20;
    let writing = async {
        write(&store, &codes("b-", 20), 5, 3).await;
        publisher::send_again(&database.pool, head / 2).await.unwrap();
        write(&store, &codes("c-", 20), 5, 3).await;
    };
    let (there, ()) = tokio::join!(positions(&mut feed, head, last), writing);
    assert_eq!(there, wanted(&database, head).await);
    // Whoever comes later, or goes back, gets the same.
    published(&database).await;
    assert_eq!(positions(&mut feed, 7, last).await, wanted(&database, 7).await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_come_is_read_from_the_log() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(3);
    let store = database.store().await;
    let running = kafka.publisher(&store);
    write(&store, &codes("a-", 10), 1, 2).await;
    let head = published(&database).await;
    let mut feed = feed(&store, &kafka);
    positions(&mut feed, 0, head).await;
    // As if messages had gone: those of one partition are said to come after its end.
    write(&store, &codes("b-", 10), 1, 2).await;
    published(&database).await;
    sqlx::query("update kafka_published set next_offset = next_offset + 1000, position = position + 0 where partition = 1")
        .execute(&database.pool)
        .await
        .unwrap();
    let last = head + 20;
    assert_eq!(positions(&mut feed, head, last).await, wanted(&database, head).await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn brokers_that_are_away_are_waited_for() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::mock(format!("test-{}", Uuid::now_v7()), 3);
    let store = database.store().await;
    let mut running = kafka.publisher(&store);
    write(&store, &codes("a-", 10), 1, 2).await;
    let head = published(&database).await;
    let mut feed = feed(&store, &kafka);
    positions(&mut feed, 0, head).await;
    kafka.set_up(false);
    running.until_away("").await;
    write(&store, &codes("b-", 10), 1, 2).await;
    assert!(timeout(Duration::from_secs(5), feed.next(head, 100)).await.is_err(), "nothing is published");
    kafka.set_up(true);
    assert_eq!(positions(&mut feed, head, head + 20).await, wanted(&database, head).await);
    running.stop().await;
}
