//! A log that goes back: restored from a backup, or after a standby took over without its newest events.

use std::time::Duration;

use event_store::{Checkpoint, Error, EventStore, Mark, Timeline, Unit};
use sqlx::PgPool;

use crate::database::{Database, appended, assert_conflict, part, put_back, stream};

const STOCK: &[&str] = &["stock"];

/// Events for streams of their own, one each.
async fn write(store: &EventStore, count: usize) {
    for _ in 0..count {
        let name = format!("s{}", uuid::Uuid::now_v7());
        appended(&store.append(Unit::of(part(&stream(&name), 0, 1))).await);
    }
}

async fn noticed(store: &EventStore) {
    let noticing = async {
        while store.breaks() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noticing).await.expect("nobody notices");
}

async fn timelines(database: &Database) -> Vec<(i64, Vec<u8>)> {
    sqlx::query_as("select since, hash from timelines order by id").fetch_all(&database.pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_lost_is_handed_out_to_nobody() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    write(&store, 10).await;
    let lost = store.feed(STOCK).read(0, 100).await.unwrap();
    assert_eq!((lost.up_to, lost.end()), (10, database.mark(10).await));
    let mut old = store.feed(STOCK);
    let waiting = tokio::spawn(async move { old.next(10, 100).await });
    let before = store.timeline();
    let kept = database.mark(6).await;
    database.put_back(6).await;
    noticed(&store).await;
    assert_eq!(store.known_head(), 6);
    assert!(matches!(waiting.await.unwrap(), Err(Error::WentBack(6))), "who waited for more begins anew");
    let mut feed = store.feed(STOCK);
    assert_eq!(feed.read(0, 100).await.unwrap().end(), kept);
    write(&store, 1).await;
    let next = feed.next(6, 100).await.unwrap();
    assert_eq!((next.events.len(), next.end()), (1, database.mark(7).await));
    let Timeline { id, since, .. } = store.timeline();
    assert!(id > before.id && since == 6);
    assert_eq!(timelines(&database).await, [(0, vec![0; 32]), (6, kept.hash.to_vec())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_noticed_where_others_have_written_past_it_already() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    write(&store, 10).await;
    // Not a poll too soon: the log has outgrown what this one remembers by the time it looks.
    let mut transaction = database.pool.begin().await.unwrap();
    put_back(&mut transaction, 4).await;
    let insert = "with head as (update log_head set position = position + 20 returning position - 20 as base)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select base + n, 'stock-x' || n, 1, id, 'StockReceived', 1, data, meta, now(),
                event_hash('stock-x' || n, 1, id, 'StockReceived', 1::smallint, now(), meta, data)
         from head, (select n, gen_random_uuid() as id, '{}'::json as data, '{}'::json as meta from generate_series(1, 20) n) e";
    sqlx::query(insert).execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    noticed(&store).await;
    assert_eq!((store.known_head(), store.timeline().since), (24, 4));
    let batch = store.feed(STOCK).read(4, 100).await.unwrap();
    assert_eq!((batch.events.len(), batch.undecodable.len(), batch.up_to), (0, 20, 24));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_decided_on_lost_events_is_refused_even_where_its_version_fits() {
    let Some(database) = Database::make().await else { return };
    let (store, hot) = (database.store().await, stream("hot"));
    appended(&store.append(Unit::of(part(&hot, 0, 1))).await);
    appended(&store.append(Unit::of(part(&hot, 1, 1))).await);
    // Whoever asks for the log waits until it has gone back, and has got another second event of this stream.
    let mut lock = database.pool.begin().await.unwrap();
    put_back(&mut lock, 1).await;
    let insert = "with head as (update log_head set position = position + 1 returning position)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select position, 'stock-hot', 2, id, 'StockReceived', 1, data, meta, now(),
                event_hash('stock-hot', 2, id, 'StockReceived', 1::smallint, now(), meta, data)
         from head, (select gen_random_uuid() as id, '{}'::json as data, '{}'::json as meta) e";
    sqlx::query(insert).execute(&mut *lock).await.unwrap();
    let pending = store.submit(Unit::of(part(&hot, 2, 1))).unwrap();
    let appends = "datname = current_database() and wait_event_type = 'Lock' and query like '%update log' || '_head%'";
    database.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock' and query like '%update log' || '_head%'").await;
    sqlx::query(sqlx::AssertSqlSafe(format!("select pg_terminate_backend(pid) from pg_stat_activity where {appends}")))
        .execute(&mut *lock)
        .await
        .unwrap();
    lock.commit().await.unwrap();
    assert_conflict(&pending.outcome().await);
    assert_eq!((database.assert_whole().await, store.breaks()), (2, 1));
    appended(&store.append(Unit::of(part(&hot, 2, 1))).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_comes_to_no_event_that_is_not_in_the_log() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    write(&store, 5).await;
    let mut connection = database.pool.acquire().await.unwrap();
    let checkpoint = Checkpoint::open(&mut connection, "consumer", 1).await.unwrap();
    let (there, other) = (database.mark(3).await, Mark { hash: database.mark(4).await.hash, ..database.mark(3).await });
    for dead in [other, Mark::new(3, &[]), Mark::new(9, &[1; 32]), Mark::new(9, &[])] {
        assert!(!checkpoint.advance(&mut connection, dead).await.unwrap(), "{dead:?}");
    }
    assert!(checkpoint.advance(&mut connection, there).await.unwrap());
    assert_eq!(Checkpoint::read(&mut connection, "consumer").await.unwrap().unwrap().mark(), there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_has_come_too_far_goes_on_from_the_last_common_event() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    write(&store, 10).await;
    let mut connection = database.pool.acquire().await.unwrap();
    for (name, position) in [("ahead", 10), ("behind", 4)] {
        let checkpoint = Checkpoint::open(&mut connection, name, 1).await.unwrap();
        assert!(checkpoint.advance(&mut connection, database.mark(position).await).await.unwrap());
    }
    // As an older program has moved it, which names no event.
    sqlx::query("update checkpoints set position = 9 where name = 'ahead'").execute(&mut *connection).await.unwrap();
    assert_eq!(Checkpoint::read(&mut connection, "ahead").await.unwrap().unwrap().mark(), database.mark(9).await);
    let marks = "insert into log_marks select position, hash from events where position in (3, 6, 8)";
    sqlx::query(marks).execute(&mut *connection).await.unwrap();
    database.put_back(7).await;
    write(&database.store().await, 20).await;
    let (ahead, behind) = (Checkpoint::resume(&store, "ahead", 1).await.unwrap(), Checkpoint::resume(&store, "behind", 1).await.unwrap());
    assert_eq!((ahead.mark(), ahead.is_astray), (database.mark(6).await, false), "the last that both are known to have");
    assert_eq!(behind.mark(), database.mark(4).await, "it had not come as far as what was lost");
    assert!(timelines(&database).await.iter().any(|(since, _)| *since == 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_remembers_its_log_while_nobody_is_there() {
    let Some(database) = Database::make().await else { return };
    let options = database.pool.connect_options().as_ref().clone();
    // With its runtime ends all that a store has going: nobody sees the log go back.
    let written = tokio::task::spawn_blocking(move || {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
            let store = EventStore::open(PgPool::connect_with(options).await.unwrap()).await.unwrap();
            write(&store, 10).await;
        });
    });
    written.await.unwrap();
    sqlx::query("insert into log_marks select position, hash from events where position in (2, 9)").execute(&database.pool).await.unwrap();
    database.put_back(5).await;
    let store = database.store().await;
    assert_eq!((store.known_head(), store.timeline().since), (5, 2));
    let marks: Vec<i64> = sqlx::query_scalar("select position from log_marks").fetch_all(&database.pool).await.unwrap();
    assert_eq!(marks, [2], "what is lost is not remembered any more");
    drop(store);
    let again = database.store().await;
    assert_eq!((timelines(&database).await.len(), again.timeline().since), (2, 2), "told once");
}
