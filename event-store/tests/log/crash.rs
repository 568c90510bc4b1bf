//! The appender's connection is cut again and again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};

use event_store::{Error, EventStore, Lineage, Unit};
use sqlx::PgPool;
use uuid::Uuid;

use crate::database::{Database, answer, appended, part, part_of, stream};

const CUT: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity
    where datname = current_database() and query like '%update log_head%' and pid <> pg_backend_pid()";

/// How many connections are cut before it is enough.
const CUTS: i64 = 50;

/// Cuts the appenders' connections until told to stop, and counts them in `cuts`.
async fn cut(pool: PgPool, cuts: Arc<AtomicI64>, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        tokio::time::sleep(Duration::from_millis(7)).await;
        cuts.fetch_add(sqlx::query_scalar::<_, i64>(CUT).fetch_one(&pool).await.unwrap(), Relaxed);
    }
}

/// A chain of commands on one stream, each submitted before the one before is answered, as a handler does; the answered ones.
async fn chain(store: EventStore, code: String, stop: Arc<AtomicBool>) -> Vec<(Uuid, i64)> {
    let stream = stream(&code);
    let mut acknowledged = Vec::new();
    while !stop.load(Relaxed) {
        let version = store.stream_version(&stream).await.unwrap();
        let lineage = Lineage::new(version, 0);
        let submit = |nth: i64| {
            let id = Uuid::now_v7();
            (id, store.submit(Unit::of(part_of(id, &stream, version + nth, 1, &lineage))).unwrap())
        };
        let links: Vec<_> = (0..20).map(submit).collect();
        for (id, pending) in links {
            match pending.outcome().await {
                Ok(committed) => acknowledged.push((id, committed.position)),
                Err(Error::Conflict) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_once_however_often_the_connection_breaks() {
    let Some(database) = Database::make().await else { return };
    let stores = [database.store().await, database.store().await];
    let (stop, stop_cutting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let cuts = Arc::new(AtomicI64::new(0));
    let cutter = tokio::spawn(cut(database.pool.clone(), cuts.clone(), stop_cutting.clone()));
    let tasks: Vec<_> = (0..16).map(|n| tokio::spawn(chain(stores[n % 2].clone(), format!("s{}", n % 12), stop.clone()))).collect();
    let enough = async {
        while cuts.load(Relaxed) < CUTS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    // However slow the machine is, and however long the appender pauses between two tries.
    tokio::time::timeout(Duration::from_mins(2), enough).await.expect("connections are cut");
    stop.store(true, Relaxed);
    let mut acknowledged = Vec::new();
    for task in tasks {
        acknowledged.extend(tokio::time::timeout(Duration::from_secs(30), task).await.expect("everybody has an answer").unwrap());
    }
    stop_cutting.store(true, Relaxed);
    cutter.await.unwrap();
    assert!(!acknowledged.is_empty(), "nothing was acknowledged");
    database.assert_whole().await;
    let (ids, positions): (Vec<Uuid>, Vec<i64>) = acknowledged.iter().copied().unzip();
    let there: i64 = sqlx::query_scalar("select count(*) from unnest($1::uuid[], $2::bigint[]) as a (id, position) join events e on e.event_id = a.id and e.position = a.position")
        .bind(&ids)
        .bind(&positions)
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(there, ids.len() as i64);
    for store in stores {
        let version = store.stream_version(&stream("after")).await.unwrap();
        appended(&store.append(Unit::of(part(&stream("after"), version, 1))).await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_acknowledgement_was_lost_is_not_written_twice() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    // The trigger waits after the group was written: cut there it is rolled back, so it must be written again, and only then.
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("select from log_head for update").execute(&mut *lock).await.unwrap();
    let lineage = Lineage::default();
    let link = |version: u8| Unit {
        answer: Some(answer(version)),
        ..Unit::of(part_of(Uuid::now_v7(), &stream("A"), i64::from(version), 1, &lineage))
    };
    let pending: Vec<_> = (0..5).map(|version| store.submit(link(version)).unwrap()).collect();
    for _ in 0..3 {
        database.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
        let cuts: i64 = sqlx::query_scalar(CUT).fetch_one(&database.pool).await.unwrap();
        assert!(cuts > 0); // perhaps also one that was cut and is not gone yet
    }
    lock.rollback().await.unwrap();
    for pending in pending {
        appended(&pending.outcome().await);
    }
    assert_eq!(database.assert_whole().await, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_lock_or_a_cancelled_statement_is_tried_again() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("select from log_head for update").execute(&mut *lock).await.unwrap();
    let pending = store.submit(Unit::of(part(&stream("A"), 0, 1))).unwrap();
    database.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
    let cancelled = CUT.replace("pg_terminate_backend", "pg_cancel_backend");
    sqlx::query(sqlx::AssertSqlSafe(cancelled)).execute(&database.pool).await.unwrap();
    lock.rollback().await.unwrap();
    assert_eq!(appended(&pending.outcome().await), 1);
}
