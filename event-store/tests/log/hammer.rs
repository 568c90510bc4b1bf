//! Many callers at once.

use std::collections::HashSet;

use event_schemas::StreamId;
use event_store::{Error, EventStore, Lineage, Unit};
use uuid::Uuid;

use crate::database::{Database, appended, part, part_of, stream};

/// Appends `count` single events to `streams` in turn, each until it is taken; the ids of their commands.
async fn hammer(store: EventStore, streams: Vec<StreamId>, offset: usize, count: u32) -> Vec<(Uuid, i64)> {
    let mut done = Vec::new();
    for nth in 0..count {
        let stream = &streams[(offset + nth as usize) % streams.len()];
        let command = Uuid::now_v7();
        loop {
            let version = store.stream_version(stream).await.unwrap();
            let unit = Unit::of(part_of(command, stream, version, 1 + nth % 3, &Lineage::new(version, 0)));
            match store.append(unit).await {
                Ok(committed) => break done.push((command, committed.position)),
                Err(Error::Conflict) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    done
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_that_hammer_the_same_streams_leave_no_gap_and_lose_and_repeat_nothing() {
    let Some(database) = Database::make().await else { return };
    let stores = [database.store().await, database.store().await];
    let streams: Vec<_> = (0..5).map(|n| stream(&format!("hot{n}"))).collect();
    let tasks: Vec<_> = (0..128).map(|task| tokio::spawn(hammer(stores[task % 2].clone(), streams.clone(), task, 5))).collect();
    let (mut commands, mut positions) = (HashSet::new(), HashSet::new());
    for task in tasks {
        for (command, position) in task.await.unwrap() {
            assert!(commands.insert(command) && positions.insert(position), "{command} at {position} twice");
        }
    }
    database.assert_whole().await;
    // Each command's last event stands where its caller was told, and each is there once.
    let ids: Vec<Uuid> = commands.iter().copied().collect();
    assert_eq!(database.events_of(&ids).await, 128 * 5);
    let told: Vec<i64> = positions.into_iter().collect();
    let last: i64 = sqlx::query_scalar(
        "select count(*) from events where position = any($1) and not exists
            (select from events next where next.position = events.position + 1 and next.metadata->>'command_id' = events.metadata->>'command_id')",
    )
    .bind(&told)
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(last, 128 * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_order_of_submission_on_one_stream_is_the_order_in_the_log() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    // More than one group holds, among others' events.
    let (ordered, lineage) = (stream("ordered"), Lineage::default());
    let noise = tokio::spawn(hammer(store.clone(), vec![stream("noise")], 0, 50));
    let commands: Vec<Uuid> = (0..3_000).map(|_| Uuid::now_v7()).collect();
    let pending: Vec<_> =
        (0..).zip(&commands).map(|(version, id)| store.submit(Unit::of(part_of(*id, &ordered, version, 1, &lineage))).unwrap()).collect();
    let mut last = 0;
    for pending in pending {
        let position = appended(&pending.outcome().await);
        assert!(position > last);
        last = position;
    }
    noise.await.unwrap();
    database.assert_whole().await;
    let stored: Vec<Uuid> = sqlx::query_scalar("select event_id from events where stream_id = $1 order by version")
        .bind(ordered.as_str())
        .fetch_all(&database.pool)
        .await
        .unwrap();
    assert_eq!(stored, commands);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_refuses_at_once_and_what_it_took_is_committed() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let mut lock = database.pool.begin().await.unwrap();
    sqlx::query("select from log_head for update").execute(&mut *lock).await.unwrap();
    let mut pending = Vec::new();
    let refused = loop {
        match store.submit(Unit::of(part(&stream(&format!("s{}", pending.len())), 0, 1))) {
            Ok(taken) => pending.push(taken),
            Err(error) => break error,
        }
        assert!(pending.len() < 100_000, "the queue has no end");
    };
    assert!(matches!(refused, Error::Overloaded), "{refused:?}");
    lock.rollback().await.unwrap();
    let taken = pending.len();
    for pending in pending {
        appended(&pending.outcome().await);
    }
    assert_eq!(database.assert_whole().await, taken as i64);
}
