//! Long streams on a real log: what is read of them, and what is not trusted.

use std::{sync::Arc, time::Duration};

use domain::{
    Aggregate as _,
    stock::{State, Stock},
};
use event_schemas::{
    Event, Metadata, StreamId,
    events::stock::{self, StockCommitted, StockReceived, StockReleased, StockReserved},
    ids::{CommandId, OrderId},
};
use event_store::{EventStore, Lineage, NewSnapshot, Part, Unit};
use uuid::Uuid;

use super::{
    Handler,
    tail::{self, Asked, Tail},
    tests::{order, receive, reserve, run, stream},
};
use crate::{shop::now, test_database::Database};

/// What can happen to a SKU: units come in, orders hold some, and each hold ends but for every seventh.
fn history(length: usize) -> Vec<stock::Event> {
    let mut events: Vec<stock::Event> = vec![StockReceived { quantity: 1_000_000, reference: "PO-1".into() }.into()];
    for nth in 0.. {
        let (order, quantity, until) = (OrderId(Uuid::from_u128(nth)), 1, now());
        events.push(StockReserved { order, quantity, until, customer: format!("customer {nth}"), sale: None }.into());
        match nth % 7 {
            0 => {}
            1..=3 => events.push(StockReleased { order, quantity, sale: None, to_allotment: false }.into()),
            _ => events.push(StockCommitted { order, quantity, sale: None }.into()),
        }
        if events.len() >= length {
            break;
        }
    }
    events.truncate(length);
    events
}

async fn append(store: &EventStore, stream: &StreamId, events: &[stock::Event]) {
    for chunk in events.chunks(1_000) {
        let version = store.stream_version(stream).await.unwrap();
        let id = Uuid::now_v7();
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
        let events = chunk.iter().cloned().map(Event::Stock).collect();
        let part = Part::new(stream.clone(), version, events, metadata, now(), Lineage::new(version, 0)).unwrap();
        store.append(Unit::of(part)).await.unwrap();
    }
}

/// The state at `version` by a plain fold of the log.
async fn folded(store: &EventStore, stream: &StreamId, version: i64) -> State {
    let events = store.tail(stream, 0).await.unwrap();
    let events = events.iter().take_while(|recorded| recorded.version <= version);
    events.fold(State::default(), |state, recorded| Stock::evolve(state, Stock::own(&recorded.event).unwrap(), recorded.recorded_at))
}

/// What a handler that knows nothing reads of `stream`.
async fn read(store: &EventStore, stream: &StreamId) -> Tail<Stock> {
    let asked = Asked { stream: stream.clone(), version: 0, may_be_long: true };
    tail::load(store, vec![asked]).await.unwrap().pop().unwrap()
}

async fn seen(handler: &Handler<Stock>, stream: &StreamId) -> (State, i64) {
    let (seen, _, _) = handler.current(stream, |state, version| (state.clone(), version)).await.unwrap();
    seen
}

/// Waits for a snapshot of at least `version`; its version, state version and state.
async fn snapshot(database: &Database, stream: &StreamId, version: i64) -> (i64, i32, State) {
    for _ in 0..1_000 {
        let row: Option<(i64, i32, String)> =
            sqlx::query_as("select version, state_version, state::text from snapshots where stream_id = $1 and version >= $2")
                .bind(stream.as_str())
                .bind(version)
                .fetch_optional(&database.pool)
                .await
                .unwrap();
        if let Some((version, state_version, state)) = row {
            return (version, state_version, serde_json::from_str(&state).unwrap());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no snapshot of {stream} at version {version} was taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_stream_is_folded_once_and_then_hardly_read() {
    let Some(database) = Database::make().await else { return };
    let (first, sku) = (database.handler().await, stream("long"));
    append(&first.store, &sku, &history(20_000)).await;
    let tail = read(&first.store, &sku).await;
    assert!(tail.snapshot.is_none());
    assert_eq!(tail.events.len(), 20_000, "nobody has taken one yet");
    let plain = folded(&first.store, &sku, i64::MAX).await;
    assert_eq!(seen(&first, &sku).await, (plain.clone(), 20_000));
    let (version, state_version, state) = snapshot(&database, &sku, 20_000).await;
    assert_eq!((version, state_version, state == plain), (20_000, Stock::STATE_VERSION, true));

    let second = database.handler().await;
    for _ in 0..300 {
        run(&first, &sku, receive(1)).await.unwrap();
    }
    let tail = read(&second.store, &sku).await;
    assert_eq!((tail.snapshot.unwrap().version, tail.events.len()), (20_000, 300));
    assert_eq!(seen(&second, &sku).await, (folded(&first.store, &sku, i64::MAX).await, 20_300));
    let held = order();
    let reserved = run(&*database.handler().await, &sku, reserve(held, 5)).await.expect("a command is decided on it too");
    assert_eq!(reserved.version, 20_301);
    assert_eq!(seen(&second, &sku).await.0.reservation(held).map(|reservation| reservation.quantity), Some(5));
    assert_eq!(seen(&*database.handler().await, &sku).await, (folded(&first.store, &sku, i64::MAX).await, 20_301));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hot_stream_leaves_snapshots_of_what_was_committed_and_nothing_else() {
    let Some(database) = Database::make().await else { return };
    let handlers = [database.handler().await, database.handler().await];
    let sku = stream("hot");
    run(&handlers[0], &sku, receive(1_000)).await.unwrap();
    // Both decide ahead of commits that then fail, since the other one was faster.
    let buyers: Vec<_> = (0..3_000)
        .map(|nth| {
            let (handler, sku) = (Arc::clone(&handlers[nth % 2]), sku.clone());
            tokio::spawn(async move { run(&handler, &sku, if nth % 3 == 0 { receive(1) } else { reserve(order(), 1) }).await.is_ok() })
        })
        .collect();
    let mut accepted = 1;
    for buyer in buyers {
        accepted += i64::from(buyer.await.unwrap());
    }
    assert_eq!(handlers[0].store.stream_version(&sku).await.unwrap(), accepted);
    let (version, _, state) = snapshot(&database, &sku, 500).await;
    assert_eq!(state, folded(&handlers[0].store, &sku, version).await, "the state at version {version}");
    assert_eq!(seen(&*database.handler().await, &sku).await, (folded(&handlers[0].store, &sku, i64::MAX).await, accepted));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_of_other_rules_or_wrong_is_not_trusted() {
    let Some(database) = Database::make().await else { return };
    let store = database.handler().await.store.clone();
    // A stream for each case: what a handler takes behind the back of one must not come into the next.
    let (sku, mut cases_so_far) = (stream("long"), 0);
    let history = history(400);
    append(&store, &sku, &history).await;
    let (at_300, plain) = (folded(&store, &sku, 300).await, folded(&store, &sku, i64::MAX).await);
    let right = serde_json::to_string(&at_300).unwrap();
    let wrong = right.replacen("\"on_hand\":", "\"on_hand\":1", 1);
    let mut take = |state_version, state: &str| {
        cases_so_far += 1;
        NewSnapshot { stream: stream(&format!("long-{cases_so_far}")), version: 300, state_version, state: state.into() }
    };
    let cases = [
        ("right", take(Stock::STATE_VERSION, &right), "select 1", true),
        ("of older rules", take(Stock::STATE_VERSION + 1, &wrong), "update snapshots set state_version = state_version - 2", false),
        ("of newer rules", take(Stock::STATE_VERSION + 1, &wrong), "select 1", false),
        (
            "wrong",
            take(Stock::STATE_VERSION, &right),
            "update snapshots set state = replace(state::text, '\"on_hand\":', '\"on_hand\":1')::json",
            false,
        ),
        ("of another history", take(Stock::STATE_VERSION, &wrong), "update snapshots set event_hash = sha256('x')", false),
        ("no state", take(Stock::STATE_VERSION, "{\"status\":\"eaten\"}"), "select 1", false),
        ("no object", take(Stock::STATE_VERSION, "7"), "select 1", false),
    ];
    // The check on the version of a state would not let a test say "an older one" while there is only one.
    sqlx::query("alter table snapshots drop constraint snapshots_state_version_check").execute(&database.pool).await.unwrap();
    for (name, snapshot, hurt, is_used) in cases {
        let sku = snapshot.stream.clone();
        append(&store, &sku, &history).await;
        store.keep_snapshot(&snapshot).await.unwrap();
        sqlx::query(hurt).execute(&database.pool).await.unwrap();
        let tail = read(&store, &sku).await;
        let expected = if is_used { (Some(300), 100) } else { (None, 400) };
        assert_eq!((tail.snapshot.map(|snapshot| snapshot.version), tail.events.len()), expected, "{name}");
        assert_eq!(seen(&*database.handler().await, &sku).await, (plain.clone(), 400), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_snapshot_is_replaced_by_whoever_had_to_fold_without_it() {
    let Some(database) = Database::make().await else { return };
    let (store, sku) = (database.handler().await.store.clone(), stream("long"));
    append(&store, &sku, &history(900)).await;
    let state = "{\"status\":\"eaten\"}".into();
    store.keep_snapshot(&NewSnapshot { stream: sku.clone(), version: 900, state_version: Stock::STATE_VERSION, state }).await.unwrap();
    let plain = folded(&store, &sku, i64::MAX).await;
    assert_eq!(seen(&*database.handler().await, &sku).await, (plain.clone(), 900));
    for _ in 0..1_000 {
        if read(&store, &sku).await.snapshot.is_some_and(|snapshot| snapshot.version == 900 && snapshot.state == plain) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the wrong snapshot is still there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_streams_leave_no_snapshots() {
    let Some(database) = Database::make().await else { return };
    let (handler, sku) = (database.handler().await, stream("short"));
    append(&handler.store, &sku, &history(99)).await;
    assert_eq!(seen(&handler, &sku).await.1, 99);
    let long = stream("long");
    append(&handler.store, &long, &history(100)).await;
    assert_eq!(seen(&handler, &long).await.1, 100);
    assert_eq!(snapshot(&database, &long, 100).await.0, 100);
    let of: Vec<String> = sqlx::query_scalar("select stream_id from snapshots").fetch_all(&database.pool).await.unwrap();
    assert_eq!(of, ["stock-long"]);
}
