//! What gets to Kafka, and how.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use event_schemas::{
    Event, Metadata, StreamId,
    events::flash_sale,
    ids::{CommandId, FlashSaleId},
};
use event_store::{
    EventStore, Lineage, Part, Unit,
    kafka::publisher::{self, again},
};
use uuid::Uuid;

use crate::{
    broker::{Kafka, Publisher, assert_published, published},
    database::{Database, appended, now, part, stream},
};

/// The categories that the tests write.
pub const WRITTEN: &[&str] = &["stock", "flashsale"];

/// Appends `rounds` times `each` events to each of `streams`, from their beginning on.
pub async fn write(store: &EventStore, streams: &[String], rounds: i64, each: u32) {
    for round in 0..rounds {
        let pending: Vec<_> =
            streams.iter().map(|code| store.submit(Unit::of(part(&stream(code), round * i64::from(each), each))).unwrap()).collect();
        for pending in pending {
            appended(&pending.outcome().await);
        }
    }
}

pub fn codes(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|nth| format!("{prefix}{nth}")).collect()
}

fn sale_started() -> Unit {
    let id = Uuid::now_v7();
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: Some(id), actor: "process:sale".into() };
    let events = vec![Event::FlashSale(flash_sale::FlashSaleStarted {}.into())];
    Unit::of(Part::new(StreamId::flash_sale(FlashSaleId(id)), 0, events, metadata, now(), Lineage::default()).unwrap())
}

/// An event that no program knows, as a newer one may have written it.
async fn write_unknown(database: &Database, stream: &str) {
    let insert = "with head as (update log_head set position = position + 1 returning position)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select position, $1, 1, id, 'Unheard', 7::smallint, data, meta, now(), event_hash($1, 1, id, 'Unheard', 7::smallint, now(), meta, data)
         from head, (select gen_random_uuid() as id, '{\"x\" : 1}'::json as data, '{\"actor\":\"x\"}'::json as meta) e";
    sqlx::query(insert).bind(stream).execute(&database.pool).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_on_its_topic_in_order_and_as_it_was() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(5);
    let store = database.store().await;
    // Some before there is a publisher, some while it is at work.
    write(&store, &codes("before-", 20), 3, 4).await;
    let mut running = kafka.publisher(&store);
    for _ in 0..5 {
        appended(&store.append(sale_started()).await);
    }
    write(&store, &codes("then-", 30), 5, 2).await;
    write_unknown(&database, "stock-of-the-future").await;
    running.until_ready().await;
    let head = published(&database).await;
    assert_eq!(assert_published(&database, &kafka, WRITTEN).await, 0, "nothing is repeated without need");
    let used: HashSet<i32> = kafka.read(WRITTEN).into_keys().map(|(_, partition)| partition).collect();
    assert_eq!(used.len(), 5, "all partitions are used");
    running.stop().await;
    // Another one goes on where that one stopped, at once: the lease was given back.
    write(&store, &codes("later-", 10), 2, 1).await;
    let next = Publisher::start(&database.store().await, kafka.settings.clone());
    let published = tokio::time::timeout(Duration::from_secs(4), published(&database)).await.expect("at once");
    assert_eq!(published, head + 20);
    assert_eq!(assert_published(&database, &kafka, WRITTEN).await, 0);
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_category_that_this_program_does_not_know_gets_a_topic() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(2);
    kafka.add_topic("warehouse");
    let store = database.store().await;
    write(&store, &codes("a-", 3), 1, 2).await;
    let running = kafka.publisher(&store);
    published(&database).await;
    write_unknown(&database, "warehouse-1").await;
    write(&store, &codes("b-", 3), 1, 2).await;
    published(&database).await;
    assert_published(&database, &kafka, &["stock", "warehouse"]).await;
    running.stop().await;
    // Who begins anew knows of it from what has been published.
    write_unknown(&database, "warehouse-2").await;
    let again = kafka.publisher(&store);
    published(&database).await;
    assert_published(&database, &kafka, &["stock", "warehouse"]).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_published_is_sent_again_when_asked_for() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(3);
    let store = database.store().await;
    let nothing = publisher::send_again(&database.pool, 1).await.unwrap_err();
    assert_eq!(nothing.to_string(), "position 1 has not been published yet: the log is published up to 0");
    write(&store, &codes("a-", 10), 4, 1).await;
    let running = kafka.publisher(&store);
    assert_eq!(published(&database).await, 40);
    for (from, told) in [
        (0, "there is no position 0: the first event of the log is at 1"),
        (41, "position 41 has not been published yet: the log is published up to 40"),
    ] {
        assert_eq!(publisher::send_again(&database.pool, from).await.unwrap_err().to_string(), told);
    }
    assert_eq!(publisher::send_again(&database.pool, 31).await.unwrap(), 10);
    write(&store, &codes("b-", 5), 1, 1).await;
    assert_eq!(published(&database).await, 45);
    sent_again(&database).await;
    let repeated = assert_published(&database, &kafka, WRITTEN).await;
    assert!((10..=15).contains(&repeated), "{repeated}: each once more, the last ones perhaps too");
    // With nothing else to do it hears of it too.
    assert_eq!(publisher::send_again(&database.pool, 1).await.unwrap(), 45);
    sent_again(&database).await;
    assert_eq!(published(&database).await, 45);
    assert_eq!(assert_published(&database, &kafka, WRITTEN).await, repeated + 45);
    running.stop().await;
}

/// Waits until nothing is sent again any more; how far it came.
async fn sent_again(database: &Database) -> again::Progress {
    for _ in 0..6_000 {
        match again::progress(&database.pool).await.unwrap() {
            Some(progress) if progress.has_ended => return progress,
            _ => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
    panic!("it is not sent again");
}

/// Number of events taken by a consumer that knows nothing yet and begins each partition at `offsets`; panics where it comes to lack
/// something for good.
fn taken_by_a_new_consumer(kafka: &Kafka, offsets: &HashMap<(String, i32), i64>) -> usize {
    let mut taken = 0;
    for (place, messages) in kafka.read(WRITTEN) {
        let (mut seen, mut newest) = (0, 0);
        for (_, message) in messages.iter().filter(|(offset, _)| *offset >= offsets.get(&place).copied().unwrap_or(0)) {
            newest = newest.max(message.event.position);
            if message.event.position > seen && message.previous_position <= seen {
                seen = message.event.position;
                taken += 1;
            }
        }
        assert_eq!(seen, newest, "something is missing in {place:?}");
    }
    taken
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sending_again_holds_nobody_up_and_ends_where_what_is_new_begins_whoever_leads() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(3);
    let store = database.store().await;
    let mut running = kafka.publisher(&store);
    write(&store, &codes("a-", 100), 20, 2).await;
    assert_eq!(published(&database).await, 4_000);
    // As if the topics had been lost: all before these offsets is gone.
    let ends: Vec<(String, i32, i64)> =
        sqlx::query_as("select topic, partition, next_offset from kafka_published").fetch_all(&database.pool).await.unwrap();
    let offsets = ends.into_iter().map(|(topic, partition, offset)| ((topic, partition), offset)).collect();
    assert_eq!(publisher::send_again(&database.pool, 1).await.unwrap(), 4_000);
    // New events go on meanwhile, other leaders come, and the checkpoint never goes back.
    let mut before = 4_000;
    for round in 0..6 {
        write(&store, &codes(&format!("b{round}-"), 20), 2, 1).await;
        let (checkpoint, at): (i64, i64) = sqlx::query_as(
            "select position, (select least(min(position), 4000) from kafka_published where position > 0) from checkpoints where name = 'publisher'",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert!(checkpoint >= before && at > 0, "{checkpoint} after {before}");
        before = checkpoint;
        if round % 2 == 1 {
            running.stop().await;
            running = kafka.publisher(&database.store().await);
        }
    }
    let progress = sent_again(&database).await;
    write(&store, &codes("c-", 20), 2, 1).await;
    let head = published(&database).await;
    assert_eq!((progress.from, head), (1, 4_000 + 6 * 40 + 40));
    assert!(progress.position >= 4_000, "{progress:?}");
    running.stop().await;
    assert_published(&database, &kafka, WRITTEN).await;
    let taken = taken_by_a_new_consumer(&kafka, &offsets);
    assert_eq!(i64::try_from(taken).unwrap(), head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_on_a_topic_before_is_not_of_this_log() {
    let Some(old) = Database::make().await else { return };
    let kafka = Kafka::make(2);
    let store = old.store().await;
    write(&store, &codes("old-", 10), 2, 1).await;
    let running = kafka.publisher(&store);
    published(&old).await;
    running.stop().await;
    // A shop that begins anew on the same topics.
    let database = Database::make().await.unwrap();
    let store = database.store().await;
    let running = kafka.publisher(&store);
    write(&store, &codes("new-", 4), 1, 1).await;
    published(&database).await;
    running.stop().await;
    let ends: i64 = sqlx::query_scalar("select sum(next_offset)::bigint from kafka_published").fetch_one(&database.pool).await.unwrap();
    assert_eq!(ends, 24, "places begin after what was there");
}
