//! Events with much data: what is read of them at a time is bounded in bytes, and goes on where it ended.

use event_schemas::{Event, Metadata, StreamId, events::stock::StockReceived, ids::CommandId};
use event_store::{EventStore, Lineage, Part, StoredEvent, Unit, Wanted, read};
use futures::TryStreamExt as _;
use uuid::Uuid;

use crate::database::{Database, appended, assert_conflict, now, part, stream};

const MIB: usize = 1 << 20;
/// Of one event.
const BYTES: usize = 200_000;

fn large(stream: &StreamId, expected_version: i64, count: u32) -> Part {
    let id = Uuid::now_v7();
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    let event = |quantity| Event::Stock(StockReceived { quantity, reference: "r".repeat(BYTES) }.into());
    let events = (1..=count).map(event).collect();
    Part::new(stream.clone(), expected_version, events, metadata, now(), Lineage::new(expected_version, 0)).unwrap()
}

/// Appends `count` large events to `stream`, which is new.
async fn grow(store: &EventStore, stream: &StreamId, count: u32) {
    for before in (0..count).step_by(20) {
        appended(&store.append(Unit::of(large(stream, before.into(), (count - before).min(20)))).await);
    }
}

fn wanted(stream: &StreamId, version: i64) -> Wanted {
    Wanted { stream: stream.clone(), version, state_version: None }
}

fn assert_follow(versions: impl IntoIterator<Item = i64>, from: i64, to: i64) {
    assert_eq!(versions.into_iter().collect::<Vec<_>>(), (from..=to).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_ends_with_the_event_that_fills_it_and_the_next_one_goes_on_from_there() {
    let Some(database) = Database::make().await else { return };
    let (store, a) = (database.store().await, stream("A"));
    appended(&store.append(Unit::of(part(&stream("small"), 0, 100))).await);
    grow(&store, &a, 40).await;
    let page = store.read_stream(&a, 1, i64::MAX, 1_000).await.unwrap();
    assert_follow(page.iter().map(|event| event.version), 1, 11);
    assert!(read::is_full(&page, 1_000));
    let page = store.read_stream(&a, 36, i64::MAX, 1_000).await.unwrap();
    assert_follow(page.iter().map(|event| event.version), 36, 40);
    assert!(!read::is_full(&page, 1_000));
    let page = store.read_log(0, i64::MAX, &read::Filter::default(), 1_000).await.unwrap();
    assert_follow(page.iter().map(|event| event.position), 1, 111);
    let page = store.read_log(111, i64::MAX, &read::Filter::default(), 1_000).await.unwrap();
    assert_follow(page.iter().map(|event| event.position), 112, 122);
    let whole: Vec<StoredEvent> = store.stream_up_to(&a, 39).try_collect().await.unwrap();
    assert_follow(whole.iter().map(|event| event.version), 1, 39);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tail_is_partial_where_it_has_much_data_and_has_an_event_at_least() {
    let Some(database) = Database::make().await else { return };
    let (store, a) = (database.store().await, stream("A"));
    grow(&store, &a, 100).await;
    let tail = store.load(vec![wanted(&a, 0)]).await.unwrap().pop().unwrap();
    assert!(tail.is_partial && tail.events.len() * BYTES < 11 * MIB, "{} events", tail.events.len());
    assert_follow(tail.events.iter().map(|event| event.version), 1, tail.events.len() as i64);
    let tail = store.load(vec![wanted(&a, 95)]).await.unwrap().pop().unwrap();
    assert!(!tail.is_partial);
    assert_follow(tail.events.iter().map(|event| event.version), 96, 100);
    assert_follow(store.tail(&a, 0).await.unwrap().iter().map(|event| event.version), 1, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_ask_for_at_the_same_time_leaves_an_answer_whole() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let streams: Vec<StreamId> = (0..12).map(|nth| stream(&format!("s{nth:02}"))).collect();
    for stream in &streams {
        grow(&store, stream, 10).await;
    }
    let asked = streams.iter().map(|stream| {
        let (store, wanted) = (store.clone(), wanted(stream, 0));
        tokio::spawn(async move { store.load(vec![wanted]).await.unwrap().pop().unwrap() })
    });
    for answer in asked.collect::<Vec<_>>() {
        let tail = answer.await.unwrap();
        assert!(!tail.is_partial);
        assert_follow(tail.events.iter().map(|event| event.version), 1, 10);
    }
    // As one question they have no room: what is left out is said to be.
    let tails = store.load(streams.iter().map(|stream| wanted(stream, 0)).collect()).await.unwrap();
    assert_eq!(tails.len(), 12);
    assert!(tails.iter().map(|tail| tail.events.len()).sum::<usize>() * BYTES < 13 * MIB);
    assert!(!tails[0].is_partial && tails[11].is_partial);
    for tail in tails {
        assert!(tail.is_partial || tail.events.len() == 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_gets_much_data_in_small_batches_that_end_with_a_mark_of_the_log() {
    let Some(database) = Database::make().await else { return };
    let (writer, a) = (database.store().await, stream("A"));
    grow(&writer, &a, 50).await;
    // From memory, as far as that goes back, and from Postgres.
    for store in [writer.clone(), database.store().await] {
        let (feed, mut after) = (store.feed(&["stock"]), 0);
        while after < 50 {
            let batch = feed.read(after, 1_000).await.unwrap();
            assert!(batch.events.len() * BYTES < 5 * MIB && !batch.events.is_empty(), "{} events", batch.events.len());
            assert_follow(batch.events.iter().map(|event| event.position), after + 1, batch.up_to);
            assert_eq!(batch.end(), database.mark(batch.up_to).await);
            after = batch.up_to;
        }
        assert_eq!(after, 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_that_wait_are_bounded_in_bytes() {
    let Some(database) = Database::make().await else { return };
    let (store, a) = (database.store().await, stream("A"));
    let mut units: Vec<Unit> = (0..20).map(|nth| Unit::of(large(&stream(&format!("s{nth}")), 0, 20))).collect();
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("select from log_head for update").execute(&mut *lock).await.unwrap();
    let first = store.submit(units.remove(0)).unwrap();
    database.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
    let submitted: Vec<_> = units.into_iter().map(|unit| store.submit(unit)).collect();
    let (taken, refused): (Vec<_>, Vec<_>) = submitted.into_iter().partition(Result::is_ok);
    assert!(taken.len() * 20 * BYTES <= 40 * MIB && taken.len() > 4, "{} units are taken", taken.len());
    assert!(refused.into_iter().all(|refused| matches!(refused, Err(event_store::Error::Overloaded))));
    lock.rollback().await.unwrap();
    appended(&first.outcome().await);
    for pending in taken {
        appended(&pending.unwrap().outcome().await);
    }
    // There is room again, for one that is larger than all of it too.
    appended(&store.append(Unit::of(large(&a, 0, 200))).await);
    assert_conflict(&store.append(Unit::of(large(&a, 0, 1))).await);
}
