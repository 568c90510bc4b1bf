//! Handlers on a real log: each test has a database of its own, made where `MERX_TEST_DATABASE_URL` says; without that they are skipped.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::stock::{Command, Refusal, State, Stock};
use event_schemas::{
    Metadata, StreamId, Timestamp,
    ids::{CommandId, OrderId},
};
use event_store::{EventStore, KeyedAnswer, Unit};
use gateway::{IfMatch, conditional::Condition};
use sqlx::postgres::PgPoolOptions;
use uuid::Uuid;

use super::{Accepted, Context, Failure, Handler, Staging};
use crate::{shop::now, test_database::Database};

impl Database {
    /// A handler as one more process has it.
    pub(super) async fn handler(&self) -> Arc<Handler<Stock>> {
        self.handler_of(1_000).await
    }

    pub(super) async fn handler_of(&self, capacity: usize) -> Arc<Handler<Stock>> {
        let options = self.server.clone().database(&self.name);
        let pool = PgPoolOptions::new().max_connections(10).connect_with(options).await.unwrap();
        Arc::new(Handler::new(EventStore::open(pool).await.unwrap(), capacity))
    }
}

type Outcome = Result<Accepted<i64>, Failure<Refusal>>;

pub(super) fn stream(code: &str) -> StreamId {
    StreamId::stock(&code.parse().unwrap())
}

pub(super) fn receive(quantity: u32) -> Command {
    Command::Receive { quantity, reference: "delivery".into() }
}

pub(super) fn reserve(order: OrderId, quantity: u32) -> Command {
    let until: Timestamp = now().plus(chrono::Duration::hours(1));
    Command::Reserve { order, quantity, until, customer: "ann".into(), sale: None }
}

pub(super) fn order() -> OrderId {
    OrderId(Uuid::now_v7())
}

pub(super) fn available(state: &State, _: i64) -> i64 {
    state.available(now())
}

/// What is available after the command.
pub(super) async fn run(handler: &Handler<Stock>, stream: &StreamId, command: Command) -> Outcome {
    handler.run(stream, &command, &Context::new(now(), "test"), available).await
}

fn if_match(version: i64) -> Context {
    Context { if_match: IfMatch(Some(Condition::Versions(vec![version]))), ..Context::new(now(), "test") }
}

fn repeatable(id: Uuid) -> Context {
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    Context { metadata, may_repeat: true, ..Context::new(now(), "test") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_on_one_stream_is_a_queue_and_not_a_storm() {
    let Some(database) = Database::make().await else { return };
    let handler = database.handler().await;
    let hot = stream("hot");
    run(&handler, &hot, receive(150)).await.unwrap();
    let started = Instant::now();
    let buyers: Vec<_> = (0..200)
        .map(|_| {
            let (handler, hot) = (handler.clone(), hot.clone());
            tokio::spawn(async move { run(&handler, &hot, reserve(order(), 1)).await })
        })
        .collect();
    let mut versions = Vec::new();
    for buyer in buyers {
        match buyer.await.unwrap() {
            Ok(accepted) => {
                assert_eq!(accepted.seen, 151 - accepted.version, "each saw the state of its own version");
                assert_eq!(accepted.position, accepted.version);
                versions.push(accepted.version);
            }
            Err(refused) => assert_eq!(refused, Failure::Refused(Refusal::OutOfStock { requested: 1, available: 0 })),
        }
    }
    versions.sort_unstable();
    assert_eq!(versions, (2..=151).collect::<Vec<_>>());
    assert_eq!(database.count().await, 151);
    assert!(started.elapsed() < Duration::from_secs(10));
    // Nobody lost a race, so nothing was rolled back: a group that collides leaves its rows behind, dead.
    database.settle_statistics().await;
    let dead: i64 = sqlx::query_scalar("select n_tup_ins - n_live_tup from pg_stat_user_tables where relname = 'events'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(dead, 0);
}

impl Database {
    /// Waits until the statistics have all inserts.
    async fn settle_statistics(&self) {
        for _ in 0..100 {
            let inserted: i64 = sqlx::query_scalar("select n_tup_ins from pg_stat_user_tables where relname = 'events'")
                .fetch_one(&self.pool)
                .await
                .unwrap();
            if inserted >= self.count().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_process_acknowledged_the_other_decides_on() {
    let Some(database) = Database::make().await else { return };
    let handlers = [database.handler().await, database.handler().await];
    let sku = stream("A");
    for nth in 0..100 {
        let (one, other) = (&handlers[nth % 2], &handlers[(nth + 1) % 2]);
        // The other one has just seen that there is nothing.
        let refused = run(other, &sku, reserve(order(), 1)).await.unwrap_err();
        assert_eq!(refused, Failure::Refused(Refusal::OutOfStock { requested: 1, available: 0 }));
        run(one, &sku, receive(1)).await.unwrap();
        let reserved = run(other, &sku, reserve(order(), 1)).await.expect("what was acknowledged is there");
        assert_eq!((reserved.seen, reserved.version), (0, 2 * nth as i64 + 2));
        let seen = one.current_all(&[stream("none"), sku.clone()], available).await.unwrap();
        assert_eq!(seen, [(0, 0, 0), (0, reserved.version, reserved.position)]);
    }
    assert_eq!(database.count().await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_sell_one_sku_to_a_crowd_and_never_too_much() {
    let Some(database) = Database::make().await else { return };
    let handlers = [database.handler().await, database.handler().await];
    let sku = stream("A");
    run(&handlers[0], &sku, receive(300)).await.unwrap();
    let buyers: Vec<_> = (0..400)
        .map(|nth| {
            let (handler, sku) = (handlers[nth % 2].clone(), sku.clone());
            tokio::spawn(async move { run(&handler, &sku, reserve(order(), 1)).await })
        })
        .collect();
    let (mut sold, mut refused) = (0, 0);
    for buyer in buyers {
        match buyer.await.unwrap() {
            Ok(_) => sold += 1,
            Err(Failure::Refused(Refusal::OutOfStock { .. })) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((sold, refused), (300, 100), "all of them, and none twice");
    assert_eq!(database.count().await, 301);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_derived_command_repeated_is_done_once_even_where_it_would_be_refused_now() {
    let Some(database) = Database::make().await else { return };
    let (handler, other) = (database.handler().await, database.handler().await);
    let (sku, buyer, id) = (stream("A"), order(), Uuid::now_v7());
    run(&handler, &sku, receive(5)).await.unwrap();
    run(&handler, &sku, reserve(buyer, 5)).await.unwrap();
    let commit = Command::Commit { order: buyer };
    let first = handler.run(&sku, &commit, &repeatable(id), available).await.unwrap();
    assert!(!first.unchanged);
    for handler in [&handler, &other] {
        let again = handler.run(&sku, &commit, &repeatable(id), available).await.expect("done before: no refusal");
        assert_eq!((again.seen, again.version, again.position, again.unchanged), (0, 3, 3, true));
    }
    let another = handler.run(&sku, &commit, &repeatable(Uuid::now_v7()), available).await.unwrap_err();
    assert_eq!(another, Failure::Refused(Refusal::NoReservation { order: buyer }));
    // And where it would lead to events again.
    let deliver = async |handler: &Handler<Stock>, id| handler.run(&sku, &receive(7), &repeatable(id), available).await.unwrap();
    let id = Uuid::now_v7();
    assert!(!deliver(&handler, id).await.unchanged);
    for handler in [&handler, &other, &handler] {
        let again = deliver(handler, id).await;
        assert_eq!((again.seen, again.version, again.unchanged), (7, 4, true));
    }
    let newest = run(&handler, &sku, receive(1)).await.unwrap();
    assert_eq!(newest.seen, 8, "the handler did not count it twice");
    let again = deliver(&handler, id).await;
    assert_eq!((again.version, again.position), (newest.version, newest.position), "what is seen is as new as the answer says");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_believed_to_be_new_is_read_where_it_is_not() {
    let Some(database) = Database::make().await else { return };
    let (handler, other) = (database.handler().await, database.handler().await);
    let sku = stream("A");
    run(&other, &sku, receive(5)).await.unwrap();
    handler.begin(&sku);
    assert_eq!(run(&handler, &sku, receive(1)).await.unwrap().seen, 6);
    handler.begin(&sku);
    assert_eq!(run(&handler, &sku, reserve(order(), 6)).await.expect("no refusal for what it did not know").seen, 0);
    handler.begin(&sku);
    assert_eq!(handler.at_least(&sku, 2, |_, version| version).await.unwrap(), 3);
    handler.begin(&stream("new"));
    assert_eq!(run(&handler, &stream("new"), receive(1)).await.unwrap().version, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_nothing_to_change_is_answered_with_what_is() {
    let Some(database) = Database::make().await else { return };
    let (handler, other) = (database.handler().await, database.handler().await);
    let (sku, buyer) = (stream("A"), order());
    let nothing = run(&handler, &sku, receive(0)).await.unwrap();
    assert_eq!((nothing.version, nothing.position, nothing.unchanged), (0, 0, true));
    run(&handler, &sku, receive(5)).await.unwrap();
    run(&handler, &sku, reserve(buyer, 2)).await.unwrap();
    run(&other, &sku, receive(10)).await.unwrap();
    let again = run(&handler, &sku, reserve(buyer, 2)).await.unwrap();
    assert_eq!((again.seen, again.version, again.position, again.unchanged), (13, 3, 3, true), "of now, not of a cache");
    let released = run(&other, &sku, Command::Release { order: buyer }).await.unwrap();
    assert_eq!((released.version, released.unchanged), (4, false));
    let reserved = run(&handler, &sku, reserve(buyer, 2)).await.unwrap();
    assert_eq!((reserved.version, reserved.unchanged), (5, false), "unchanged is not believed of a cache");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stock_that_has_no_events_is_at_version_0_and_an_order_without_any_is_not_there() {
    let Some(database) = Database::make().await else { return };
    let handler = database.handler().await;
    let sku = stream("never-received");
    let refused = handler.run(&sku, &receive(1), &if_match(7), available).await.unwrap_err();
    assert_eq!(refused, Failure::VersionMismatch(0));
    assert_eq!(handler.run(&sku, &receive(1), &if_match(0), available).await.unwrap().version, 1);
    assert_eq!(handler.run(&sku, &receive(1), &if_match(0), available).await.unwrap_err(), Failure::VersionMismatch(1));
    let orders = Handler::<domain::order::Order>::new(handler.store.clone(), 10);
    let cancel = domain::order::Command::Cancel { note: None };
    let refused = orders.run(&StreamId::order(order()), &cancel, &if_match(7), |_, _| ()).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_was_asked_for_is_compared_with_the_newest() {
    let Some(database) = Database::make().await else { return };
    let (handler, other) = (database.handler().await, database.handler().await);
    let sku = stream("A");
    run(&handler, &sku, receive(1)).await.unwrap();
    run(&other, &sku, receive(1)).await.unwrap();
    let matched = handler.run(&sku, &receive(1), &if_match(2), available).await.expect("the cache was at 1, the log at 2");
    assert_eq!(matched.version, 3);
    for version in [1, 2, 4] {
        let refused = other.run(&sku, &receive(1), &if_match(version), available).await.unwrap_err();
        assert_eq!(refused, Failure::VersionMismatch(3));
    }
    // Of many that ask for the same version one is right.
    let mut right = 0;
    let racing: Vec<_> = (0..50)
        .map(|_| {
            let (handler, sku) = (handler.clone(), sku.clone());
            tokio::spawn(async move { handler.run(&sku, &receive(1), &if_match(3), available).await })
        })
        .collect();
    for racer in racing {
        match racer.await.unwrap() {
            Ok(accepted) => right += accepted.version,
            Err(refused) => assert_eq!(refused, Failure::VersionMismatch(4)),
        }
    }
    assert_eq!(right, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgetting_states_changes_no_answer() {
    let Some(database) = Database::make().await else { return };
    let handler = database.handler_of(2).await;
    let tasks: Vec<_> = (0..200)
        .map(|nth| {
            let handler = handler.clone();
            tokio::spawn(async move { run(&handler, &stream(&format!("s{}", nth % 10)), receive(1)).await.unwrap() })
        })
        .collect();
    for task in tasks {
        let accepted = task.await.unwrap();
        assert_eq!(accepted.seen, accepted.version);
    }
    let streams: Vec<_> = (0..10).map(|n| stream(&format!("s{n}"))).collect();
    let seen = handler.current_all(&streams, |state, version| (available(state, version), version)).await.unwrap();
    assert!(seen.iter().all(|(seen, version, _)| *seen == (20, 20) && *version == 20), "{seen:?}");
    assert_eq!(database.count().await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_staged_and_dropped_never_happened_and_disturbs_nobody() {
    let Some(database) = Database::make().await else { return };
    let handler = database.handler().await;
    let sku = stream("A");
    run(&handler, &sku, receive(10)).await.unwrap();
    let entity = handler.entity(&sku).await.unwrap();
    let (context, dropped) = (Context::new(now(), "test"), reserve(order(), 4));
    let stage = |command: &Command, submit: bool| {
        let Staging::Staged(staged) = entity.stage(command, &context) else { panic!("it leads to events") };
        assert_eq!(staged.version(), 2 + i64::from(!submit));
        let part = staged.part().unwrap();
        if submit {
            staged.submitted();
        }
        part
    };
    // One is under way, and then another one is given up.
    let under_way = stage(&reserve(order(), 3), true);
    drop(stage(&dropped, false));
    let pending = handler.store.submit(Unit::of(under_way)).unwrap();
    let after = run(&handler, &sku, reserve(order(), 2)).await.unwrap();
    assert_eq!((after.seen, after.version), (5, 3));
    assert!(pending.outcome().await.is_ok(), "what was under way was not built on what was given up");
    assert_eq!(stage_alone(&handler, &sku, &dropped).await, 4);
    assert_eq!(handler.current(&sku, available).await.unwrap(), (5, 3, 3));
    assert_eq!(database.count().await, 3);
}

/// Stages a command where nothing is under way, and gives it up.
async fn stage_alone(handler: &Handler<Stock>, sku: &StreamId, command: &Command) -> i64 {
    let (entity, context) = (handler.entity(sku).await.unwrap(), Context::new(now(), "test"));
    match entity.stage(command, &context) {
        Staging::Staged(staged) => staged.version(),
        _ => panic!("it leads to events"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_hang_up_anywhere_leave_a_working_stream() {
    let Some(database) = Database::make().await else { return };
    let handlers = [database.handler().await, database.handler().await];
    let sku = stream("A");
    for micros in 0..300 {
        let handler = &handlers[micros % 2];
        let command = if micros % 3 == 0 { Command::Commit { order: order() } } else { receive(1) };
        let _ = tokio::time::timeout(Duration::from_micros(10 * micros as u64), run(handler, &sku, command)).await;
    }
    let version = handlers[0].store.stream_version(&sku).await.unwrap();
    for handler in &handlers {
        let (seen, at, _) = handler.current(&sku, available).await.unwrap();
        assert!(seen == at && at >= version, "{seen} units at version {at}");
    }
    run(&handlers[0], &sku, receive(1)).await.unwrap();
    let last = run(&handlers[1], &sku, receive(1)).await.unwrap();
    assert_eq!(last.seen, last.version);
    assert_eq!(database.count().await, last.version);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_kept_with_what_it_led_to_or_with_nothing() {
    let Some(database) = Database::make().await else { return };
    let (handler, sku) = (database.handler().await, stream("A"));
    let keyed = async |scope: u8, command: Command| {
        let look = |state: &State, version| {
            let body = available(state, version).to_string();
            let (scope, fingerprint, created_at) = ([scope; 32], [0; 32], now());
            let answer =
                KeyedAnswer { scope, fingerprint, status: 200, location: None, version, body, created_at, position_without_events: 0 };
            ((), Some(answer))
        };
        handler.run_keyed(&sku, &command, &Context::new(now(), "test"), look).await.map(|accepted| accepted.position)
    };
    assert_eq!(keyed(1, receive(5)).await.unwrap(), 1);
    assert_eq!(keyed(2, receive(0)).await.unwrap(), 1);
    for taken in [keyed(1, receive(5)).await, keyed(2, receive(0)).await] {
        assert!(matches!(taken, Err(Failure::Store(ref failure)) if matches!(failure.0, event_store::Error::KeyTaken)), "{taken:?}");
    }
    assert_eq!(keyed(3, receive(1)).await.expect("the refused one is forgotten"), 2);
    let kept: Vec<(i64, i64, String)> =
        sqlx::query_as("select version, position, body from idempotency_keys order by scope").fetch_all(&database.pool).await.unwrap();
    assert_eq!(kept, [(1, 1, "5".into()), (1, 1, "5".into()), (2, 2, "6".into())]);
}
