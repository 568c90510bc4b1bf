//! One caller after the other.

use event_schemas::{Metadata, ids::CommandId};
use event_store::{Error, Lineage, Part, Unit, append::MAX_EVENTS_OF_COMMAND};
use uuid::Uuid;

use crate::database::{Database, answer, appended, assert_conflict, now, part, part_of, received, repeated, stream};

#[tokio::test]
async fn positions_and_versions_go_on_without_gaps() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for (code, expected, count, position) in [("A", 0, 1, 1), ("B", 0, 3, 4), ("A", 1, 2, 6), ("A", 3, 1, 7), ("B", 3, 1, 8)] {
        assert_eq!(appended(&store.append(Unit::of(part(&stream(code), expected, count))).await), position);
    }
    assert_eq!(database.assert_whole().await, 8);
    assert_eq!((store.head().await.unwrap(), store.known_head()), (8, 8));
}

#[tokio::test]
async fn a_stream_is_appended_to_only_at_its_version() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    appended(&store.append(Unit::of(part(&stream("A"), 0, 2))).await);
    for wrong in [0, 1, 3, 100] {
        assert_conflict(&store.append(Unit::of(part(&stream("A"), wrong, 1))).await);
    }
    appended(&store.append(Unit::of(part(&stream("A"), 2, 1))).await);
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn a_unit_of_several_streams_is_all_or_nothing() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let both = |a, b| Unit { parts: vec![part(&stream("A"), a, 1), part(&stream("B"), b, 2)], answer: None };
    assert_eq!(appended(&store.append(both(0, 0)).await), 3);
    assert_conflict(&store.append(both(1, 1)).await);
    assert_conflict(&store.append(both(0, 2)).await);
    assert_eq!(database.assert_whole().await, 3);
    assert_eq!(appended(&store.append(both(1, 2)).await), 6);
    assert_eq!(database.assert_whole().await, 6);
}

/// What was committed before its answer got lost is sent again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_very_events_that_are_in_the_log_are_what_was_committed_and_others_of_the_command_are_not() {
    let Some(database) = Database::make().await else { return };
    let (one, other) = (database.store().await, database.store().await);
    appended(&one.append(Unit::of(part(&stream("B"), 0, 3))).await);
    let (id, at) = (Uuid::now_v7(), now());
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    let sent = |quantity, lineage: &Lineage| {
        let events = [1, quantity].map(received).to_vec();
        Unit::of(Part::new(stream("A"), 0, events, metadata.clone(), at, lineage.clone()).unwrap())
    };
    let lineage = Lineage::default();
    assert_eq!(appended(&one.append(sent(2, &lineage)).await), 5);
    appended(&one.append(Unit::of(part(&stream("A"), 2, 1))).await);
    let again = Lineage::default();
    assert_eq!(appended(&other.append(sent(2, &again)).await), 5);
    assert_eq!((again.committed(), again.is_severed()), ((2, 5), false));
    let otherwise = Lineage::default();
    assert_eq!(repeated(&other.append(sent(9, &otherwise)).await), 5);
    assert!(otherwise.is_severed(), "what is decided on it was decided on something else");
    assert_eq!(database.assert_whole().await, 6);
}

#[tokio::test]
async fn a_repeated_command_appends_nothing_and_gives_the_first_position() {
    let Some(database) = Database::make().await else { return };
    let (one, other) = (database.store().await, database.store().await);
    let command = Uuid::now_v7();
    let again = |expected| Unit::of(part_of(command, &stream("A"), expected, 3, &Lineage::new(expected, 0)));
    appended(&one.append(Unit::of(part(&stream("B"), 0, 1))).await);
    assert_eq!(appended(&one.append(again(0)).await), 4);
    appended(&one.append(Unit::of(part(&stream("B"), 1, 1))).await);
    // Whatever it was decided on this time.
    for expected in [0, 3, 17] {
        assert_eq!(repeated(&one.append(again(expected)).await), 4);
        assert_eq!(repeated(&other.append(again(expected)).await), 4);
    }
    assert_eq!(database.assert_whole().await, 5);
    assert_eq!(one.position_of(CommandId(command)).await.unwrap(), Some(4));
    assert_eq!(one.position_of(CommandId(Uuid::now_v7())).await.unwrap(), None);
}

#[tokio::test]
async fn a_repetition_severs_what_is_built_on_it() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let (command, lineage) = (Uuid::now_v7(), Lineage::new(1, 1));
    appended(&store.append(Unit::of(part_of(command, &stream("A"), 0, 1, &Lineage::default()))).await);
    let first = store.submit(Unit::of(part_of(command, &stream("A"), 1, 1, &lineage))).unwrap();
    let built_on_it = store.submit(Unit::of(part_of(Uuid::now_v7(), &stream("A"), 2, 1, &lineage))).unwrap();
    repeated(&first.outcome().await);
    assert_conflict(&built_on_it.outcome().await);
    assert!(lineage.is_severed());
    assert_eq!(database.assert_whole().await, 1);
}

#[tokio::test]
async fn an_idempotency_key_is_used_once_and_kept_with_its_position() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let keyed = |scope, code, expected| Unit { parts: vec![part(&stream(code), expected, 2)], answer: Some(answer(scope)) };
    assert_eq!(appended(&store.append(keyed(1, "A", 0)).await), 2);
    let taken = store.append(keyed(1, "B", 0)).await;
    assert!(matches!(taken, Err(Error::KeyTaken)), "{taken:?}");
    assert_eq!(appended(&store.append(keyed(2, "B", 0)).await), 4);
    // An answer without events: nothing was to change, and position 2 shows it.
    let only = |scope| Unit { parts: vec![], answer: Some(event_store::KeyedAnswer { position_without_events: 2, ..answer(scope) }) };
    assert_eq!(appended(&store.append(only(3)).await), 0);
    let taken = store.append(only(3)).await;
    assert!(matches!(taken, Err(Error::KeyTaken)), "{taken:?}");
    let kept: Vec<i64> =
        sqlx::query_scalar("select position from idempotency_keys order by scope").fetch_all(&database.pool).await.unwrap();
    assert_eq!(kept, [2, 4, 2]);
    assert_eq!(database.assert_whole().await, 4);
}

#[tokio::test]
async fn what_was_built_on_something_refused_is_refused() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let lineage = Lineage::new(5, 0);
    // Nobody is at version 5, so the whole chain hangs in the air; in whichever groups its links come.
    let chain = (5..50).map(|version| store.submit(Unit::of(part_of(Uuid::now_v7(), &stream("A"), version, 1, &lineage))).unwrap());
    for link in chain.collect::<Vec<_>>() {
        assert_conflict(&link.outcome().await);
    }
    assert!(lineage.settled(6).await.is_err());
    assert_eq!(database.assert_whole().await, 0);
}

#[tokio::test]
async fn a_chain_says_how_far_it_is_committed() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let lineage = Lineage::default();
    let settled = tokio::spawn({
        let lineage = lineage.clone();
        async move { lineage.settled(30).await.unwrap() }
    });
    for version in 0..30 {
        drop(store.submit(Unit::of(part_of(Uuid::now_v7(), &stream("A"), version, 1, &lineage))).unwrap());
    }
    assert_eq!(settled.await.unwrap(), 30, "though nobody waits for any of the answers");
    assert_eq!(lineage.committed(), (30, 30));
}

#[tokio::test]
async fn a_command_with_too_many_events_is_refused_before_it_is_written() {
    let metadata =
        Metadata { command_id: CommandId(Uuid::now_v7()), correlation_id: Uuid::now_v7(), causation_id: None, actor: "test".into() };
    let events = vec![received(1); MAX_EVENTS_OF_COMMAND + 1];
    let refused = Part::new(stream("A"), 0, events, metadata, now(), Lineage::default());
    assert!(matches!(refused, Err(Error::Refused(_))));
}
