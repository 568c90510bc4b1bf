//! The log as consumers see it.

use std::{sync::Arc, time::Duration};

use event_schemas::{
    Event, Metadata, Recorded, StreamId,
    events::flash_sale,
    ids::{CommandId, FlashSaleId},
};
use event_store::{EventStore, Feed, Lineage, Part, Unit};
use uuid::Uuid;

use crate::database::{Database, appended, now, part, stream};

const STOCK: &[&str] = &["stock"];

/// Reads on from `after` until `up_to`, at most `most` positions at a time.
async fn read_to(feed: &mut Feed, mut after: i64, up_to: i64, most: usize) -> Vec<Arc<Recorded>> {
    let mut seen = Vec::new();
    while after < up_to {
        let batch = tokio::time::timeout(Duration::from_secs(20), feed.next(after, most)).await.expect("something comes").unwrap();
        assert!(batch.up_to > after && batch.up_to <= after + most as i64, "{} after {after}", batch.up_to);
        assert!(batch.events.iter().all(|event| event.position > after && event.position <= batch.up_to));
        after = batch.up_to;
        seen.extend(batch.events);
    }
    seen
}

fn assert_positions(seen: &[Arc<Recorded>], from: i64, to: i64) {
    let positions: Vec<i64> = seen.iter().map(|event| event.position).collect();
    assert_eq!(positions, (from..=to).collect::<Vec<_>>());
}

/// Appends `count` events to a stream of its own, `each` at a time.
async fn write(store: EventStore, code: String, count: i64, each: u32) {
    let stream = stream(&code);
    for nth in 0..count {
        appended(&store.append(Unit::of(part(&stream, nth * i64::from(each), each))).await);
    }
}

fn sale_started() -> (StreamId, Part) {
    let id = Uuid::now_v7();
    let stream = StreamId::flash_sale(FlashSaleId(id));
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    let events = vec![Event::FlashSale(flash_sale::FlashSaleStarted {}.into())];
    (stream.clone(), Part::new(stream, 0, events, metadata, now(), Lineage::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consumers_see_every_event_once_and_in_order_while_two_processes_append() {
    let Some(database) = Database::make().await else { return };
    let stores = [database.store().await, database.store().await];
    let total = 8 * 60 * 2;
    let readers: Vec<_> = [(0, 1), (0, 7), (1, 64), (1, 1_024)]
        .map(|(store, most): (usize, usize)| {
            let mut feed = stores[store].feed(STOCK);
            tokio::spawn(async move { read_to(&mut feed, 0, total, most).await })
        })
        .into();
    let writers: Vec<_> = (0..8).map(|n| tokio::spawn(write(stores[n % 2].clone(), format!("w{n}"), 60, 2))).collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let mut all = Vec::new();
    for reader in readers {
        let seen = reader.await.unwrap();
        assert_positions(&seen, 1, total);
        all.push(seen);
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "from memory or from Postgres, the same events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_far_behind_reads_from_postgres_and_goes_on_from_memory() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    // More than is kept in memory.
    write(store.clone(), "long".into(), 10, 1_000).await;
    let mut feed = store.feed(STOCK);
    let seen = read_to(&mut feed, 0, 10_000, 700).await;
    assert_positions(&seen, 1, 10_000);
    let (near_the_edge, at_it) = (feed.read(1_807, 10).await.unwrap(), feed.read(1_808, 10).await.unwrap());
    assert_positions(&near_the_edge.events, 1_808, 1_817);
    assert_positions(&at_it.events, 1_809, 1_818);
    let fresh = database.store().await;
    assert_eq!(read_to(&mut fresh.feed(STOCK), 0, 10_000, 4_096).await, seen);
    let at_the_head = feed.read(10_000, 10).await.unwrap();
    assert_eq!((at_the_head.events.len(), at_the_head.up_to), (0, 10_000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_wanted_categories_come_and_the_others_are_passed_over() {
    let Some(database) = Database::make().await else { return };
    let (store, other) = (database.store().await, database.store().await);
    write(store.clone(), "A".into(), 2, 1).await;
    for _ in 0..3 {
        appended(&store.append(Unit::of(sale_started().1)).await);
    }
    write(store.clone(), "B".into(), 1, 1).await;
    other.tail(&stream("A"), 0).await.unwrap();
    for store in [&store, &other] {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let batch = store.feed(STOCK).read(0, 100).await.unwrap();
        assert_eq!((batch.events.iter().map(|e| e.position).collect::<Vec<_>>(), batch.up_to), (vec![1, 2, 6], 6));
        let batch = store.feed(&["flashsale"]).read(0, 4).await.unwrap();
        assert_eq!((batch.events.iter().map(|e| e.position).collect::<Vec<_>>(), batch.up_to), (vec![3, 4], 4));
        let batch = store.feed(&["flash", "order"]).next(2, 2).await.unwrap();
        assert_eq!((batch.events.len(), batch.up_to), (0, 4));
        let batch = store.feed(&[]).read(0, 100).await.unwrap();
        assert_eq!((batch.events.len(), batch.up_to), (0, 6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn next_waits_for_what_is_to_come_from_this_process_or_another() {
    let Some(database) = Database::make().await else { return };
    let (store, other) = (database.store().await, database.store().await);
    let mut feed = store.feed(STOCK);
    assert!(tokio::time::timeout(Duration::from_millis(300), feed.next(0, 10)).await.is_err(), "nothing has happened");
    for (writer, position) in [(&store, 1), (&other, 2), (&store, 3), (&other, 4)] {
        let waiting = tokio::spawn({
            let mut feed = feed.clone();
            async move { feed.next(position - 1, 10).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(!waiting.is_finished());
        appended(&writer.append(Unit::of(part(&stream(&format!("s{position}")), 0, 1))).await);
        let batch = tokio::time::timeout(Duration::from_secs(2), waiting).await.expect("it comes soon").unwrap();
        assert_positions(&batch.events, position, position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_commit_arrives_without_any_signal() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let insert = "with head as (update log_head set position = position + 1 returning position)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select position, 'stock-A', 1, id, 'StockReceived', 1, data, meta, now(),
                event_hash('stock-A', 1, id, 'StockReceived', 1::smallint, now(), meta, data)
         from head, (select '01920000-0000-7000-8000-000000000000'::uuid as id, '{\"quantity\":1,\"reference\":\"\"}'::json as data,
                '{\"command_id\":\"01920000-0000-7000-8000-000000000000\",\"correlation_id\":\"01920000-0000-7000-8000-000000000000\",\"causation_id\":null,\"actor\":\"x\"}'::json as meta) e";
    sqlx::query(insert).execute(&database.pool).await.unwrap();
    let batch = tokio::time::timeout(Duration::from_secs(2), store.feed(STOCK).next(0, 10)).await.expect("the poll finds it").unwrap();
    assert_positions(&batch.events, 1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_lies_makes_nobody_skip_anything() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    database.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and query ilike 'listen%'").await;
    for lie in ["1000000", "-5", "nonsense", ""] {
        sqlx::query("select pg_notify('merx_log', $1)").bind(lie).execute(&database.pool).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let batch = store.feed(STOCK).read(0, 100).await.unwrap();
    assert_eq!((batch.events.len(), batch.up_to, store.known_head()), (0, 0, 0));
    appended(&store.append(Unit::of(part(&stream("A"), 0, 1))).await);
    assert_positions(&store.feed(STOCK).next(0, 100).await.unwrap().events, 1, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_log_leaves_no_connection_behind() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    write(store.clone(), "A".into(), 3, 1).await;
    store.tail(&stream("A"), 0).await.unwrap();
    drop(store);
    database.until("select count(*) = 0 from pg_stat_activity where datname = current_database() and query ilike '%listen%' and pid <> pg_backend_pid()").await;
    database.until("select count(*) = 0 from pg_stat_activity where datname = current_database() and query like '%update log' || '_head%' and pid <> pg_backend_pid()").await;
}
