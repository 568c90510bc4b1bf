//! How far consumers have applied partitions, in the database.

use std::collections::BTreeMap;

use event_store::{
    Checkpoint, Mark, Unit, checkpoint,
    kafka::places::{self, Part, Place, Published},
};
use sqlx::PgConnection;

use crate::database::{Database, appended, part as log_part, stream};

fn part(partition: i32) -> Part {
    Part { topic: "merx.order".into(), partition }
}

/// A log of forty events.
async fn fill(database: &Database) {
    appended(&database.store().await.append(Unit::of(log_part(&stream("A"), 0, 40))).await);
}

/// `place`, at `position`.
async fn at(connection: &mut PgConnection, place: Place, position: i64) -> Place {
    let hash: Vec<u8> = sqlx::query_scalar("select hash_at($1)").bind(position).fetch_one(connection).await.unwrap();
    Place { position, hash: Mark::new(position, &hash).hash, ..place }
}

/// Two partitions, whose last events stand at `last` as of `published`.
async fn publish(connection: &mut PgConnection, published: i64, last: [i64; 2]) {
    Checkpoint::open(connection, "publisher", 1).await.unwrap();
    checkpoint::put(connection, "publisher", published).await.unwrap();
    for (partition, position) in (0..).zip(last) {
        let upsert = "insert into kafka_published (topic, partition, next_offset, position) values ('merx.order', $1, $2, $2)
            on conflict (topic, partition) do update set next_offset = $2, position = $2";
        sqlx::query(upsert).bind(partition).bind(position).execute(&mut *connection).await.unwrap();
    }
}

async fn published(connection: &mut PgConnection) -> Published {
    places::published(connection, &["merx.order".into()]).await.unwrap()
}

/// The orders' consumer, seated at `position`.
async fn seat(connection: &mut PgConnection, position: i64) {
    Checkpoint::open(connection, "orders", 2).await.unwrap();
    let published = published(connection).await;
    places::seat(connection, "orders", &published, position).await.unwrap();
    checkpoint::put(connection, "orders", position).await.unwrap();
}

async fn advance(connection: &mut PgConnection, part: &Part, place: Place, position: i64) -> bool {
    let next = Place { next_offset: position, ..at(connection, place, position).await };
    places::advance(connection, "orders", &BTreeMap::from([(part.clone(), (place, next))])).await.unwrap()
}

async fn watermark(connection: &mut PgConnection) -> i64 {
    let all = places::watermarks(connection, &["orders".into(), "carts".into()]).await.unwrap();
    let [(name, position)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(name, "orders");
    assert_eq!(Checkpoint::read(connection, "orders").await.unwrap().unwrap().position, *position);
    *position
}

#[tokio::test]
async fn a_watermark_is_what_no_partition_lacks_and_never_goes_back() {
    let Some(database) = Database::make().await else { return };
    fill(&database).await;
    let mut connection = database.pool.acquire().await.unwrap();
    assert_eq!(places::watermarks(&mut connection, &["orders".into()]).await.unwrap(), [], "it is kept from the log");
    publish(&mut connection, 10, [4, 9]).await;
    seat(&mut connection, 12).await;
    assert_eq!(watermark(&mut connection).await, 12, "the log brought it further than Kafka is");
    publish(&mut connection, 20, [15, 18]).await;
    assert_eq!(watermark(&mut connection).await, 12, "both lack something");
    let own = places::open(&mut connection, "orders", &[part(0), part(1), part(7)]).await.unwrap();
    assert_eq!(own.len(), 2, "there is no place for what holds nothing");
    assert!(advance(&mut connection, &part(0), own[&part(0)], 15).await);
    assert_eq!(watermark(&mut connection).await, 12);
    assert!(advance(&mut connection, &part(1), own[&part(1)], 16).await);
    assert_eq!(watermark(&mut connection).await, 16, "one lacks what comes after that");
    let was = at(&mut connection, own[&part(1)], 16).await;
    assert!(advance(&mut connection, &part(1), was, 18).await);
    assert_eq!(watermark(&mut connection).await, 20, "the rest is of no interest to it");
    // What is acknowledged and not yet known to be is no promise; what is sent again takes nothing back.
    let was = at(&mut connection, own[&part(0)], 15).await;
    assert!(advance(&mut connection, &part(0), was, 25).await);
    assert_eq!(watermark(&mut connection).await, 20);
    publish(&mut connection, 3, [3, 3]).await;
    assert_eq!(watermark(&mut connection).await, 20);
    publish(&mut connection, 30, [25, 28]).await;
    places::raise(&mut connection, "orders", 30).await.unwrap();
    assert_eq!(watermark(&mut connection).await, 30);
    // A topic that nothing is known of promises nothing.
    sqlx::query("delete from kafka_published").execute(&mut *connection).await.unwrap();
    publish(&mut connection, 40, [0, 0]).await;
    sqlx::query("delete from kafka_published where partition = 1").execute(&mut *connection).await.unwrap();
    assert_eq!(watermark(&mut connection).await, 30);
}

#[tokio::test]
async fn a_late_owner_moves_nothing() {
    let Some(database) = Database::make().await else { return };
    fill(&database).await;
    let mut connection = database.pool.acquire().await.unwrap();
    publish(&mut connection, 10, [4, 9]).await;
    seat(&mut connection, 10).await;
    let late = places::open(&mut connection, "orders", &[part(0), part(1)]).await.unwrap();
    let new = places::open(&mut connection, "orders", &[part(1)]).await.unwrap();
    assert_eq!(new[&part(1)], Place { fence: late[&part(1)].fence + 1, ..late[&part(1)] });
    assert!(!advance(&mut connection, &part(1), late[&part(1)], 14).await);
    assert!(advance(&mut connection, &part(0), late[&part(0)], 14).await, "what nobody else has taken is still its own");
    assert!(advance(&mut connection, &part(1), new[&part(1)], 14).await);
    assert!(!advance(&mut connection, &part(1), new[&part(1)], 14).await, "it does not stand where it did");
    // All steps, or, with a rollback, none.
    let places = places::read(&mut connection, "orders").await.unwrap();
    let mut steps = BTreeMap::new();
    for (part, was) in [(part(0), places[&part(0)]), (part(1), late[&part(1)])] {
        steps.insert(part, (was, at(&mut connection, was, 20).await));
    }
    assert!(!places::advance(&mut connection, "orders", &steps).await.unwrap());
}

#[tokio::test]
async fn a_checkpoint_stands_while_nobody_but_the_watermark_changes_it() {
    let Some(database) = Database::make().await else { return };
    fill(&database).await;
    let mut connection = database.pool.acquire().await.unwrap();
    publish(&mut connection, 10, [4, 9]).await;
    seat(&mut connection, 10).await;
    let read = Checkpoint::read(&mut connection, "orders").await.unwrap().unwrap();
    sqlx::query("update checkpoints set position = 11 where name = 'orders'").execute(&mut *connection).await.unwrap();
    assert!(read.stands(&mut connection).await.unwrap());
    checkpoint::note_failure(&mut connection, "orders", "away").await.unwrap();
    checkpoint::note_recovery(&mut connection, "orders").await.unwrap();
    assert!(read.stands(&mut connection).await.unwrap());
    checkpoint::revise(&mut connection, "orders").await.unwrap();
    assert!(!read.stands(&mut connection).await.unwrap(), "something was mended");
}
