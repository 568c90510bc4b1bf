//! Events that can't be taken, and what becomes of the others.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use event_schemas::{Event, Recorded, events::stock};
use event_store::{
    EventStore,
    parked::{self, Mending},
};
use projections::{Applied, Error, Projection, Source, catch_up, mend::mend, rebuild};
use serde_json::json;
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use crate::{
    database::{Database, projection},
    log::Log,
};

/// The stock, by code that can't take receipts of 13 and panics at 14 until it is mended.
pub struct Superstitious {
    stock: Arc<dyn Projection>,
    is_mended: AtomicBool,
}

impl Superstitious {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { stock: projection("stock"), is_mended: AtomicBool::new(false) })
    }

    pub fn mend(&self) {
        self.is_mended.store(true, Ordering::SeqCst);
    }
}

impl Projection for Superstitious {
    fn name(&self) -> &'static str {
        self.stock.name()
    }

    fn version(&self) -> i32 {
        self.stock.version()
    }

    fn tables(&self) -> &'static [&'static str] {
        self.stock.tables()
    }

    fn categories(&self) -> &'static [&'static str] {
        self.stock.categories()
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        Box::pin(async move {
            // Written first, so that what is written of a bad batch must be taken back.
            self.stock.apply(connection, events).await?;
            for event in events {
                match &event.event {
                    Event::Stock(stock::Event::Received(received)) if !self.is_mended.load(Ordering::SeqCst) => {
                        assert!(received.quantity != 14, "fourteen");
                        if received.quantity == 13 {
                            return Err(Error::Event { position: event.position, detail: "thirteen".into() });
                        }
                    }
                    _ => {}
                }
            }
            Ok(())
        })
    }
}

fn receipts(of: &[(&str, u32)]) -> Log {
    let mut log = Log::default();
    for (sku, quantity) in of {
        log.add(&format!("stock-{sku}"), "StockReceived", &json!({"quantity": quantity, "reference": ""}));
    }
    log
}

async fn open(database: &Database) -> EventStore {
    EventStore::open(database.pool.clone()).await.expect("the log")
}

/// What is on hand of each SKU.
async fn on_hand(database: &Database) -> Vec<(String, i64)> {
    sqlx::query_as("select sku, on_hand from read_model.stock order by sku").fetch_all(&database.pool).await.expect("rows")
}

fn rows(of: &[(&str, i64)]) -> Vec<(String, i64)> {
    of.iter().map(|(sku, on_hand)| ((*sku).to_owned(), *on_hand)).collect()
}

/// Where each stream is parked, and why.
async fn parked_streams(database: &Database) -> Vec<(String, i64, String)> {
    let all = parked::all(&database.pool, 100).await.expect("parked");
    all.into_iter().map(|listed| (listed.parked.stream, listed.parked.version, listed.parked.reason)).collect()
}

#[tokio::test]
async fn a_bad_event_parks_its_stream_alone_and_goes_on_once_the_code_is_mended() {
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    let log = receipts(&[("A", 1), ("B", 2), ("C", 14), ("B", 13), ("A", 1), ("B", 3), ("D", 4), ("C", 1)]);
    log.append_to(&store).await;
    let code = Superstitious::new();
    let projection: Arc<dyn Projection> = code.clone();
    assert_eq!(catch_up(&store, &projection).await.expect("caught up"), 8);
    assert_eq!(on_hand(&database).await, rows(&[("A", 2), ("B", 2), ("D", 4)]));
    let (thirteen, fourteen) = ("event 4 can't be applied: thirteen".to_owned(), "the code panicked: fourteen".to_owned());
    let there = parked_streams(&database).await;
    assert_eq!(there, [("stock-C".to_owned(), 1, fourteen), ("stock-B".to_owned(), 2, thirteen.clone())]);

    let refused = mend(&store, &*projection, "stock-B", Mending::Retry).await.expect_err("still bad");
    assert_eq!(refused.to_string(), format!("stock-B stays parked: {thirteen}"));
    assert_eq!(parked_streams(&database).await.len(), 2, "nothing has changed");

    code.mend();
    let mended = mend(&store, &*projection, "stock-B", Mending::Retry).await.expect("mended");
    assert_eq!((mended.events, mended.parked_again), (2, None));
    let mended = mend(&store, &*projection, "stock-C", Mending::Skip).await.expect("skipped");
    assert_eq!((mended.events, mended.parked_again), (1, None));
    assert_eq!(on_hand(&database).await, rows(&[("A", 2), ("B", 18), ("C", 1), ("D", 4)]), "what was skipped is left out");
    assert_eq!(parked_streams(&database).await, []);

    let refused = mend(&store, &*projection, "stock-B", Mending::Skip).await.expect_err("not parked");
    assert_eq!(refused.to_string(), "the stream stock-B is not parked in stock");
}

#[tokio::test]
async fn a_worker_at_work_learns_that_a_stream_is_not_parked_any_more() {
    let Some(database) = Database::create().await else { return };
    let (store, shutdown) = (open(&database).await, CancellationToken::new());
    let code = Superstitious::new();
    let projection: Arc<dyn Projection> = code.clone();
    let worker = tokio::spawn(projections::run(store.clone(), projection.clone(), Source::Log, uuid::Uuid::now_v7(), shutdown.clone()));
    let mut log = receipts(&[("A", 13), ("A", 1)]);
    log.append_to(&store).await;
    while parked_streams(&database).await.is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    code.mend();
    // The worker may still be on its way to the second event.
    mend(&store, &*projection, "stock-A", Mending::Retry).await.expect("mended");
    let before = log.events.len();
    log.add("stock-A", "StockReceived", &json!({"quantity": 2, "reference": ""}));
    log.events.drain(..before);
    log.append_to(&store).await;
    while on_hand(&database).await != rows(&[("A", 16)]) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    shutdown.cancel();
    worker.await.expect("the worker ends");
}

#[tokio::test]
async fn an_event_that_nobody_can_read_parks_its_stream_alone() {
    let Some(database) = Database::create().await else { return };
    let store = open(&database).await;
    receipts(&[("A", 1), ("B", 1)]).append_to(&store).await;
    let unknown = "with head as (update log_head set position = position + 1 returning position), event as (
            select position, 'stock-B' as stream, 2::bigint as version, gen_random_uuid() as id, 'StockVanished' as type, 1::smallint as schema,
                   '{}'::text as payload, '{}'::text as meta, now() as at
            from head)
        insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
        select position, stream, version, id, type, schema, payload::json, meta::json, at,
               event_hash(stream, version, id, type, schema, at, meta::json, payload::json)
        from event";
    sqlx::query(unknown).execute(&database.pool).await.expect("appended");
    drop(store);
    let store = open(&database).await;
    let projection = projection("stock");
    assert_eq!(catch_up(&store, &projection).await.expect("caught up"), 3);
    assert_eq!(on_hand(&database).await, rows(&[("A", 1), ("B", 1)]));
    let there = parked_streams(&database).await;
    assert_eq!((there.len(), there[0].0.as_str(), there[0].1), (1, "stock-B", 2));
    assert!(there[0].2.contains("StockVanished"), "{}", there[0].2);
    // A rebuild meets it again.
    rebuild::rebuild(&store, &projection, &CancellationToken::new(), |_, _| ()).await.expect("rebuilt");
    assert_eq!(parked_streams(&database).await, there);
    mend(&store, &*projection, "stock-B", Mending::Skip).await.expect("skipped");
    assert_eq!(parked_streams(&database).await, []);
}
