//! Who works, and how far they have come.

use std::{sync::Arc, time::Duration};

use event_schemas::Recorded;
use event_store::{
    Checkpoint, Parked, Unit, checkpoint, lease,
    parked::{self, Mending},
};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::database::{Database, appended, part, stream};

#[tokio::test]
async fn a_lease_has_one_holder_and_its_fence_grows_with_each_change() {
    let Some(database) = Database::make().await else { return };
    let (pool, one, other) = (&database.pool, Uuid::now_v7(), Uuid::now_v7());
    let acquire = async |holder| lease::acquire(pool, "work", holder).await.unwrap();
    assert_eq!(acquire(one).await, Some(1));
    assert_eq!(acquire(one).await, Some(1), "renewed");
    assert_eq!(acquire(other).await, None);
    assert_eq!(lease::acquire(pool, "other work", other).await.unwrap(), Some(1), "each name by itself");
    lease::release(pool, "work", other).await.unwrap();
    assert_eq!(acquire(other).await, None, "who does not hold it can't give it back");
    lease::release(pool, "work", one).await.unwrap();
    assert_eq!(acquire(other).await, Some(2), "given back, it is free at once");
    lease::release(pool, "work", other).await.unwrap();
    assert_eq!(acquire(other).await, Some(2), "the same holder again");
    assert_eq!(acquire(one).await, None);
    // As after five seconds without renewal.
    sqlx::query("update leases set expires_at = now() - interval '1 millisecond'").execute(pool).await.unwrap();
    assert_eq!(acquire(one).await, Some(3));
    assert_eq!(acquire(other).await, None);
}

#[tokio::test]
async fn nobody_else_gets_a_lease_before_a_transaction_that_counts_on_it_has_ended() {
    let Some(database) = Database::make().await else { return };
    let (pool, one, other) = (&database.pool, Uuid::now_v7(), Uuid::now_v7());
    let fence = lease::acquire(pool, "work", one).await.unwrap().unwrap();
    sqlx::query("update leases set expires_at = now() - interval '1 millisecond'").execute(pool).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    assert!(lease::stands(&mut transaction, "work", fence).await.unwrap(), "run out, but nobody else's yet");
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { lease::acquire(&pool, "work", other).await.unwrap() }
    });
    // It waits for a lock, however long.
    while sqlx::query_scalar::<_, i64>(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
    .fetch_one(pool)
    .await
    .unwrap()
        == 0
    {
        tokio::task::yield_now().await;
    }
    assert!(!waits.is_finished());
    transaction.commit().await.unwrap();
    let taken = waits.await.unwrap().unwrap();
    let mut transaction = pool.begin().await.unwrap();
    assert!(!lease::stands(&mut transaction, "work", fence).await.unwrap(), "another one's by now");
    assert!(lease::stands(&mut transaction, "work", taken).await.unwrap());
    assert!(!lease::stands(&mut transaction, "other work", taken).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_ask_for_a_lease_at_once_and_one_gets_it() {
    let Some(database) = Database::make().await else { return };
    for name in ["a", "b", "c"] {
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let pool = database.pool.clone();
                tokio::spawn(async move { lease::acquire(&pool, name, Uuid::now_v7()).await.unwrap() })
            })
            .collect();
        let mut got = 0;
        for asker in asking {
            got += u32::from(asker.await.unwrap().is_some());
        }
        assert_eq!(got, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stops_hands_over_at_once_and_who_dies_after_the_lease_has_run_out() {
    let Some(database) = Database::make().await else { return };
    let pool = &database.pool;
    let (stop, never) = (CancellationToken::new(), CancellationToken::new());
    let mut first = lease::keep(pool.clone(), "work".into(), Uuid::now_v7(), stop.clone());
    first.wait_for(|held| *held).await.unwrap();
    let mut second = lease::keep(pool.clone(), "work".into(), Uuid::now_v7(), never.clone());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(*first.borrow() && !*second.borrow(), "one at a time");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(2), second.wait_for(|held| *held)).await.expect("handed over").unwrap();
    assert!(!*first.borrow());
    // Somebody takes it and dies: nobody renews.
    never.cancel();
    second.wait_for(|held| !*held).await.unwrap();
    database.until("select expires_at = '-infinity' from leases").await;
    assert_eq!(lease::acquire(pool, "work", Uuid::now_v7()).await.unwrap(), Some(3));
    let mut third = lease::keep(pool.clone(), "work".into(), Uuid::now_v7(), CancellationToken::new());
    assert!(tokio::time::timeout(lease::LEASE_TIME.mul_f32(0.8), third.wait_for(|held| *held)).await.is_err(), "too early");
    tokio::time::timeout(Duration::from_secs(3), third.wait_for(|held| *held)).await.expect("taken over").unwrap();
}

#[tokio::test]
async fn a_checkpoint_moves_only_from_where_it_stood() {
    let Some(database) = Database::make().await else { return };
    let pool = &database.pool;
    let open = async || Checkpoint::open(&mut pool.acquire().await.unwrap(), "consumer", 1).await.unwrap();
    appended(&database.store().await.append(Unit::of(part(&stream("A"), 0, 30))).await);
    let first = open().await;
    assert_eq!((first.position, first.version), (0, 1));
    let advance = async |from: &Checkpoint, to| {
        let mut transaction = pool.begin().await.unwrap();
        let moved = from.advance(&mut transaction, database.mark(to).await).await.unwrap();
        transaction.commit().await.unwrap();
        moved
    };
    assert!(advance(&first, 10).await);
    assert!(!advance(&first, 10).await, "somebody else has moved it");
    let second = open().await;
    assert!(advance(&second, 20).await);
    let third = open().await;
    assert_eq!(third.position, 20);
    let mut rolled_back = pool.begin().await.unwrap();
    assert!(third.advance(&mut rolled_back, database.mark(30).await).await.unwrap());
    rolled_back.rollback().await.unwrap();
    assert_eq!(open().await, third, "it moves with what is written, or not at all");
    let newer = Checkpoint::open(&mut pool.acquire().await.unwrap(), "consumer", 2).await.unwrap();
    assert_eq!(newer.version, 1, "its version is that of what was written");
    checkpoint::revise(&mut pool.acquire().await.unwrap(), "consumer").await.unwrap();
    assert!(!advance(&third, 30).await, "what it was read with has been revised");
    assert!(advance(&open().await, 30).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_is_taken_by_one_at_a_time() {
    let Some(database) = Database::make().await else { return };
    let (one, other) = (database.store().await, database.store().await);
    let turn = one.take_turn("tree").await.unwrap();
    drop(one.take_turn("another").await.unwrap());
    assert!(tokio::time::timeout(Duration::from_millis(300), other.take_turn("tree")).await.is_err());
    drop(turn);
    assert!(tokio::time::timeout(Duration::from_secs(5), other.take_turn("tree")).await.expect("given back").is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_wait_for_a_turn_than_the_pool_has_connections_and_everything_goes_on() {
    let Some(database) = Database::make().await else { return };
    // Ten connections each; who has the turn needs another one of them.
    let stores = [database.store().await, database.store().await];
    let waiting: Vec<_> = (0..80)
        .map(|nth: usize| {
            let store = stores[nth % 2].clone();
            tokio::spawn(async move {
                let _turn = store.take_turn("tree").await?;
                store.tail(&stream("A"), 0).await
            })
        })
        .collect();
    let beside: Vec<_> = (0..20)
        .map(|nth| {
            let store = stores[0].clone();
            tokio::spawn(async move {
                let stream = stream(&format!("beside-{nth}"));
                store.append(Unit::of(part(&stream, 0, 1))).await?;
                store.tail(&stream, 0).await
            })
        })
        .collect();
    for turn in waiting.into_iter().chain(beside) {
        turn.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_consumer_reads_the_log_while_every_connection_of_the_pool_waits() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    store.append(Unit::of(part(&stream("A"), 0, 3))).await.unwrap();
    let late = database.store().await;
    let mut held = Vec::new();
    for _ in 0..late.pool().options().get_max_connections() {
        held.push(late.pool().begin().await.unwrap());
    }
    // Nothing of it is in the memory of this process.
    assert_eq!(late.feed(&["stock"]).next(0, 10).await.unwrap().events.len(), 3);
    store.append(Unit::of(part(&stream("A"), 3, 1))).await.unwrap();
    assert_eq!(late.feed(&["stock"]).next(3, 10).await.unwrap().events.len(), 1);
}

struct TakesAll;

impl parked::Taker<event_store::Error> for TakesAll {
    fn take<'a>(&'a mut self, _: &'a mut PgConnection, _: Vec<Arc<Recorded>>) -> BoxFuture<'a, Result<Option<Parked>, event_store::Error>> {
        async { Ok(None) }.boxed()
    }
}

#[tokio::test]
async fn a_parked_stream_is_mended_over_the_connection_that_holds_the_checkpoint() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    store.append(Unit::of(part(&stream("A"), 0, 3))).await.unwrap();
    let mut connection = store.connect().await.unwrap();
    let checkpoint = Checkpoint::open(&mut connection, "consumer", 1).await.unwrap();
    assert!(checkpoint.advance(&mut connection, database.mark(3).await).await.unwrap());
    let bad = Parked { stream: "stock-A".into(), position: 1, version: 1, event_type: "StockReceived".into(), reason: "bad".into() };
    parked::park(&mut connection, "consumer", std::slice::from_ref(&bad)).await.unwrap();
    assert_eq!(parked::find(store.pool(), "consumer", "stock-A").await.unwrap(), Some(bad));
    let mut held = Vec::new();
    for _ in 0..store.pool().options().get_max_connections() {
        held.push(store.pool().begin().await.unwrap());
    }
    let mut transaction = connection.begin().await.unwrap();
    let locked = Checkpoint::lock(&mut transaction, "consumer").await.unwrap().unwrap();
    let mended = parked::mend(&mut transaction, &locked, "stock-A", Mending::Retry, &mut TakesAll).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(mended.events, 3);
}
