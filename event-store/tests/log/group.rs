//! What shares one transaction, and what becomes of each of it.

use event_store::{Error, Lineage, Unit};
use uuid::Uuid;

use crate::database::{Database, answer, appended, assert_conflict, part, part_of, repeated, stream};

#[tokio::test]
async fn a_stream_that_has_moved_is_refused_alone() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    appended(&store.append(Unit::of(part(&stream("moved"), 0, 1))).await);
    let mut units: Vec<_> = (0..20).map(|n| Unit::of(part(&stream(&format!("n{n}")), 0, 1))).collect();
    units.insert(10, Unit::of(part(&stream("moved"), 0, 1)));
    units.insert(15, Unit { parts: vec![part(&stream("moved"), 7, 1), part(&stream("hostage"), 0, 1)], answer: None });
    let outcomes = database.as_one_group(&store, units).await;
    for (nth, outcome) in outcomes.iter().enumerate() {
        if nth == 10 || nth == 15 { assert_conflict(outcome) } else { assert!(appended(outcome) > 0) }
    }
    assert_eq!(database.assert_whole().await, 22);
    assert_eq!(store.stream_version(&stream("hostage")).await.unwrap(), 0);
}

#[tokio::test]
async fn a_stream_may_come_several_times_in_one_group() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let (hot, lineage) = (stream("hot"), Lineage::default());
    let units = (0..100).map(|n| Unit::of(part_of(Uuid::now_v7(), &hot, n * 2, 2, &lineage))).collect();
    let positions: Vec<i64> = database.as_one_group(&store, units).await.iter().map(appended).collect();
    assert_eq!(positions, (1..=100).map(|n| 1 + 2 * n).collect::<Vec<_>>());
    assert_eq!(database.assert_whole().await, 201);
}

#[tokio::test]
async fn two_that_want_the_same_version_are_told_apart() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let units = (0..5).map(|_| Unit::of(part(&stream("A"), 0, 1))).collect();
    let outcomes = database.as_one_group(&store, units).await;
    appended(&outcomes[0]);
    outcomes[1..].iter().for_each(assert_conflict);
    assert_eq!(database.assert_whole().await, 2);
}

#[tokio::test]
async fn a_command_twice_in_one_group_is_appended_once_and_found_when_it_comes_again() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let command = Uuid::now_v7();
    let unit = || Unit::of(part_of(command, &stream("A"), 0, 2, &Lineage::default()));
    let outcomes = database.as_one_group(&store, vec![unit(), unit()]).await;
    let position = appended(&outcomes[0]);
    assert_conflict(&outcomes[1]);
    assert_eq!(repeated(&store.append(unit()).await), position);
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn a_key_twice_in_one_group_is_used_by_the_first() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let unit = |code| Unit { parts: vec![part(&stream(code), 0, 1)], answer: Some(answer(1)) };
    let only_an_answer = Unit { parts: vec![], answer: Some(answer(1)) };
    let outcomes = database.as_one_group(&store, vec![unit("A"), unit("B"), only_an_answer, Unit::of(part(&stream("C"), 0, 1))]).await;
    appended(&outcomes[0]);
    assert!(matches!(outcomes[1], Err(Error::KeyTaken)) && matches!(outcomes[2], Err(Error::KeyTaken)), "{outcomes:?}");
    appended(&outcomes[3]);
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn what_hangs_on_something_refused_is_refused_and_the_rest_of_the_group_goes_on() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let (broken, sound) = (Lineage::new(1, 0), Lineage::default());
    let link = |code: &str, version, lineage: &Lineage| Unit::of(part_of(Uuid::now_v7(), &stream(code), version, 1, lineage));
    let over_both = Unit {
        parts: vec![part_of(Uuid::now_v7(), &stream("A"), 2, 1, &broken), part_of(Uuid::now_v7(), &stream("B"), 1, 1, &sound)],
        answer: None,
    };
    let units = vec![link("A", 1, &broken), link("B", 0, &sound), over_both, link("B", 2, &sound), link("C", 0, &Lineage::default())];
    let outcomes = database.as_one_group(&store, units).await;
    assert_conflict(&outcomes[0]);
    appended(&outcomes[1]);
    assert_conflict(&outcomes[2]);
    assert_conflict(&outcomes[3]);
    appended(&outcomes[4]);
    assert_eq!(sound.committed().0, 1);
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn a_whole_group_that_was_committed_before_is_known_again_also_what_hangs_together() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    // As after a connection that broke between the commit and its acknowledgement: the same units come again.
    let commands: Vec<Uuid> = (0..10).map(|_| Uuid::now_v7()).collect();
    let units = || {
        let lineage = Lineage::default();
        (0..).zip(&commands).map(|(version, id)| Unit::of(part_of(*id, &stream("A"), version, 1, &lineage))).collect::<Vec<_>>()
    };
    let first: Vec<i64> = database.as_one_group(&store, units()).await.iter().map(appended).collect();
    let again: Vec<i64> = database.as_one_group(&store, units()).await.iter().map(repeated).collect();
    assert_eq!(first, again);
    assert_eq!(database.assert_whole().await, 12);
}

#[tokio::test]
async fn a_unit_that_collides_with_itself_is_refused_and_its_neighbours_go_on() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let command = Uuid::now_v7();
    let twice = |code: &str| part_of(command, &stream(code), 0, 1, &Lineage::default());
    let same_command = Unit { parts: vec![twice("A"), twice("B")], answer: None };
    let same_stream = Unit { parts: vec![part(&stream("C"), 0, 1), part(&stream("C"), 0, 1)], answer: None };
    let units = vec![Unit::of(part(&stream("D"), 0, 1)), same_command, same_stream, Unit::of(part(&stream("E"), 0, 1))];
    let outcomes = database.as_one_group(&store, units).await;
    appended(&outcomes[0]);
    assert!(matches!(outcomes[1], Err(Error::Refused(_))), "{outcomes:?}");
    assert!(matches!(outcomes[2], Err(Error::Refused(_))), "{outcomes:?}");
    appended(&outcomes[3]);
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn a_command_whose_ids_run_into_another_ones_is_refused_and_does_not_stop_the_log() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    let command = Uuid::now_v7();
    appended(&store.append(Unit::of(part_of(command, &stream("A"), 0, 1, &Lineage::default()))).await);
    let before = Uuid::from_u128(command.as_u128() - 1);
    let refused = store.append(Unit::of(part_of(before, &stream("B"), 0, 2, &Lineage::default()))).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    appended(&store.append(Unit::of(part(&stream("B"), 0, 1))).await);
    assert_eq!(database.assert_whole().await, 2);
}
