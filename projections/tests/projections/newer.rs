//! Events of a newer program: everybody stops in front of them, and what older programs parked is taken up.

use std::time::Duration;

use event_store::parked;
use projections::{Source, catch_up};
use serde_json::json;
use sqlx::PgPool;

use crate::{
    database::{Database, projection},
    kafka::{Cluster, Running, open, seated},
    log::Log,
};

fn receipts(of: &[(&str, u32)]) -> Log {
    let mut log = Log::default();
    for (sku, quantity) in of {
        log.add(&format!("stock-{sku}"), "StockReceived", &json!({"quantity": quantity, "reference": ""}));
    }
    log
}

/// Registers an event type of a newer program, as that program does when it starts.
async fn register_newer(pool: &PgPool) {
    sqlx::query("insert into program_event_schemas values ('StockVanished', 1, '77.0.0')").execute(pool).await.expect("registered");
}

/// Appends an event of the newer program.
async fn append_newer(pool: &PgPool, stream: &str) -> i64 {
    let newer = "with head as (update log_head set position = position + 1 returning position), event as (
            select position, $1 as stream, (select coalesce(max(version), 0) + 1 from events where stream_id = $1) as version,
                   gen_random_uuid() as id, 'StockVanished' as type, 1::smallint as schema, '{}'::text as payload, '{}'::text as meta, now() as at
            from head)
        insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
        select position, stream, version, id, type, schema, payload::json, meta::json, at,
               event_hash(stream, version, id, type, schema, at, meta::json, payload::json)
        from event returning position";
    sqlx::query_scalar(newer).bind(stream).fetch_one(pool).await.expect("appended")
}

async fn until(pool: &PgPool, question: &'static str) {
    for _ in 0..3_000 {
        if sqlx::query_scalar::<_, bool>(question).fetch_one(pool).await.expect("an answer") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never true: {question}");
}

async fn on_hand(database: &Database) -> Vec<(String, i64)> {
    sqlx::query_as("select sku, on_hand from read_model.stock order by sku").fetch_all(&database.pool).await.expect("rows")
}

fn rows(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(sku, on_hand)| ((*sku).to_owned(), *on_hand)).collect()
}

/// Asserts that a projection which is kept from `source` stops in front of an event of a newer program.
async fn stops_in_front(database: &Database, source: &Source, publisher: Option<&Cluster>) {
    let (store, pool) = (open(database).await, &database.pool);
    let publisher = publisher.map(|cluster| Running::publisher(&store, cluster));
    let projector = Running::projector(&store, vec![projection("stock")], source);
    receipts(&[("A", 1), ("B", 2)]).append_to(&store).await;
    until(pool, "select coalesce((select position from checkpoints where name = 'stock'), 0) = 2").await;
    if publisher.is_some() {
        seated(pool, &["stock".to_owned()]).await;
    }
    register_newer(pool).await;
    let mut log = receipts(&[("A", 1), ("B", 2), ("C", 3)]);
    log.events.drain(..2);
    log.append_to(&store).await;
    let newer = append_newer(pool, "stock-B").await;
    assert_eq!(newer, 4);
    until(pool, "select coalesce((select failure like 'event 4 of the log is StockVanished%takes merx 77.0.0 or newer%' from checkpoints where name = 'stock'), false)").await;
    until(pool, "select expires_at < now() from leases where name = 'projection:stock'").await;
    assert_eq!(on_hand(database).await, rows(&[("A", 1), ("B", 2), ("C", 3)]), "what stands before it is applied");
    let parked = parked::all(pool, 10).await.expect("parked");
    assert_eq!(parked, []);
    let reached: i64 = sqlx::query_scalar("select position from checkpoints where name = 'stock'").fetch_one(pool).await.expect("a place");
    assert!(reached < newer, "{reached}");
    projector.stop().await;
    if let Some(publisher) = publisher {
        until(pool, "select position = 4 from checkpoints where name = 'publisher'").await; // it sends what it can't read
        publisher.stop().await;
    }
}

#[tokio::test]
async fn an_event_of_a_newer_program_stops_a_projection_on_the_log_parks_nothing_and_gives_the_lease_away() {
    let Some(database) = Database::create().await else { return };
    stops_in_front(&database, &Source::Log, None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_a_newer_program_stops_a_projection_on_kafka_parks_nothing_and_gives_the_lease_away() {
    let cluster = Cluster::start();
    let Some(database) = Database::create().await else { return };
    stops_in_front(&database, &cluster.source(), Some(&cluster)).await;
}

#[tokio::test]
async fn what_an_older_program_could_not_read_is_taken_up_by_one_that_can() {
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let log = receipts(&[("A", 1), ("B", 2), ("B", 3), ("A", 4)]);
    log.append_to(&store).await;
    // An older program had come to the head, and had parked the stream of B from its second event on.
    catch_up(&store, &projection("stock")).await.expect("caught up");
    let older = "update read_model.stock set on_hand = 2, version = 1 where sku = 'B';
        insert into parked_streams (consumer, stream_id, position, version, type, reason) values
            ('stock', 'stock-B', 3, 2, 'StockReceived', 'event 3 of the log can''t be read: event type \"StockReceived\" is unknown to this version of merx'),
            ('stock', 'stock-A', 4, 2, 'StockReceived', 'event 4 can''t be applied: for another reason')";
    sqlx::raw_sql(older).execute(&database.pool).await.expect("as the older program left it");
    let projector = Running::projector(&store, vec![projection("stock")], &Source::Log);
    until(&database.pool, "select not exists (select from parked_streams where stream_id = 'stock-B')").await;
    projector.stop().await;
    assert_eq!(on_hand(&database).await, rows(&[("A", 5), ("B", 5)]));
    let left = parked::all(&database.pool, 10).await.expect("parked");
    assert_eq!(left.iter().map(|listed| listed.parked.stream.as_str()).collect::<Vec<_>>(), ["stock-A"], "that is for an operator");
}
