use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use event_schemas::Recorded;
use event_store::EventStore;
use projections::{Applied, Error, Projection, Source, State, Worker, catch_up};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    database::{Database, projection},
    log::Log,
    story,
};

async fn open(database: &Database) -> EventStore {
    EventStore::open(database.pool.clone()).await.expect("the log")
}

async fn checkpoint(database: &Database, name: &str) -> i64 {
    let position = sqlx::query_scalar("select position from checkpoints where name = $1").bind(name).fetch_optional(&database.pool).await;
    position.expect("checkpoints").unwrap_or(0)
}

async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// What comes of the log where everything is applied just once.
async fn wanted(log: &Log) -> Option<Vec<(&'static str, Vec<serde_json::Value>)>> {
    let database = Database::create().await?;
    for projection in projections::all() {
        database.apply(projection.name(), &log.events, 1000).await;
    }
    Some(database.everything().await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_follow_the_log_and_two_servers_apply_it_once() {
    let Some(database) = Database::create().await else { return };
    let log = story::shop(120);
    let Some(wanted) = wanted(&log).await else { return };
    let (stores, shutdown) = ([open(&database).await, open(&database).await], CancellationToken::new());
    let mut workers = tokio::task::JoinSet::new();
    for store in &stores {
        let holder = Uuid::now_v7();
        for projection in projections::all() {
            workers.spawn(projections::run(store.clone(), projection, Source::Log, holder, shutdown.clone()));
        }
    }
    log.append_to(&stores[0]).await;
    let head = log.events.len() as i64;
    for projection in projections::all() {
        let name = projection.name();
        wait_until("every event is applied", async || checkpoint(&database, name).await == head).await;
    }
    shutdown.cancel();
    workers.join_all().await;
    assert_eq!(database.everything().await, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_alone_keeps_four_at_once_from_applying_anything_twice() {
    let Some(database) = Database::create().await else { return };
    let log = story::shop(120);
    let Some(wanted) = wanted(&log).await else { return };
    let store = open(&database).await;
    log.append_to(&store).await;
    let head = log.events.len() as i64;
    for projection in projections::all() {
        let all = futures::future::join_all((0..4).map(|_| catch_up(&store, &projection))).await;
        assert!(all.into_iter().all(|position| matches!(position, Ok(position) if position == head)));
        assert!(matches!(catch_up(&store, &projection).await, Ok(position) if position == head));
    }
    assert_eq!(database.everything().await, wanted);
}

#[tokio::test]
async fn events_of_no_interest_move_the_checkpoint_too() {
    let Some(database) = Database::create().await else { return };
    let (store, shutdown) = (open(&database).await, CancellationToken::new());
    let worker = tokio::spawn(projections::run(store.clone(), projection("reviews"), Source::Log, Uuid::now_v7(), shutdown.clone()));
    let mut log = Log::default();
    for _ in 0..50 {
        log.add("stock-A", "StockReceived", &serde_json::json!({"quantity": 1, "reference": ""}));
    }
    log.append_to(&store).await;
    wait_until("the checkpoint has moved", async || checkpoint(&database, "reviews").await == 50).await;
    shutdown.cancel();
    worker.await.expect("the worker ends");
}

/// Fails twice, then counts.
struct Moody {
    tries: AtomicUsize,
    applied: AtomicUsize,
}

impl Projection for Moody {
    fn name(&self) -> &'static str {
        "moody"
    }

    fn version(&self) -> i32 {
        3
    }

    fn tables(&self) -> &'static [&'static str] {
        &[]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["stock"]
    }

    fn apply<'a>(&'a self, _: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        Box::pin(async move {
            if self.tries.fetch_add(1, Ordering::SeqCst) < 2 {
                return Err(event_store::Error::Unavailable("not today".into()).into());
            }
            self.applied.fetch_add(events.len(), Ordering::SeqCst);
            Ok(())
        })
    }
}

#[tokio::test]
async fn a_failure_shows_and_is_tried_again_until_it_is_none() {
    let Some(database) = Database::create().await else { return };
    let (store, shutdown) = (open(&database).await, CancellationToken::new());
    let mut log = Log::default();
    log.add("stock-A", "StockReceived", &serde_json::json!({"quantity": 1, "reference": ""}));
    log.append_to(&store).await;
    let moody = Arc::new(Moody { tries: AtomicUsize::new(0), applied: AtomicUsize::new(0) });
    let worker = Worker::new(store, moody.clone(), Source::Log, Uuid::now_v7());
    let mut state = worker.state();
    let worker = tokio::spawn(worker.run(shutdown.clone()));
    let failing = state.wait_for(|state| matches!(state, State::Failing { .. })).await.expect("a state").clone();
    assert_eq!(failing, State::Failing { reason: "the log can't be reached: not today".into() });
    assert_eq!(checkpoint(&database, "moody").await, 0);
    assert_eq!(*state.wait_for(|state| *state == State::Running).await.expect("a state"), State::Running);
    assert_eq!((moody.applied.load(Ordering::SeqCst), checkpoint(&database, "moody").await), (1, 1));
    shutdown.cancel();
    worker.await.expect("the worker ends");
}

#[tokio::test]
async fn a_failure_is_taken_back_where_there_is_nothing_left_to_do() {
    let Some(database) = Database::create().await else { return };
    let (store, shutdown) = (open(&database).await, CancellationToken::new());
    catch_up(&store, &projection("stock")).await.expect("the checkpoint");
    let failing = "update checkpoints set failure = 'the log has gone back' where name = 'stock'";
    assert_eq!(sqlx::query(failing).execute(&database.pool).await.expect("a note").rows_affected(), 1);
    let worker = tokio::spawn(projections::run(store, projection("stock"), Source::Log, Uuid::now_v7(), shutdown.clone()));
    wait_until("the failure is taken back without any event", async || {
        let taken_back = "select failure is null from checkpoints where name = 'stock'";
        sqlx::query_scalar::<_, bool>(taken_back).fetch_one(&database.pool).await.expect("a checkpoint")
    })
    .await;
    shutdown.cancel();
    worker.await.expect("the worker ends");
}

#[tokio::test]
async fn rows_of_another_version_are_left_alone() {
    let Some(database) = Database::create().await else { return };
    sqlx::query("insert into checkpoints (name, version, position) values ('stock', 2, 0)")
        .execute(&database.pool)
        .await
        .expect("inserted");
    let store = open(&database).await;
    let refused = catch_up(&store, &projection("stock")).await;
    assert!(matches!(refused, Err(Error::OtherVersion { found: 2, kept: 1 })), "{refused:?}");
}
