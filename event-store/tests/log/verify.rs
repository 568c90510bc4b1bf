//! `verify` names the first thing that is wrong with a log that was tampered with.

use event_store::{
    Unit,
    verify::{Finding, Whole, verify},
};
use sqlx::AssertSqlSafe;

use crate::database::{Database, appended, part, stream};

/// A log of seven events: A1 A2 A3, B1, A4 A5, C1.
async fn with_log() -> Option<Database> {
    let database = Database::make().await?;
    let store = database.store().await;
    for (code, version, count) in [("A", 0, 3), ("B", 0, 1), ("A", 3, 2), ("C", 0, 1)] {
        appended(&store.append(Unit::of(part(&stream(code), version, count))).await);
    }
    Some(database)
}

async fn verified(database: &Database) -> Result<Whole, Finding> {
    verify(&database.pool, |_| ()).await.unwrap()
}

/// As the owner may: with the law switched off, and on again.
async fn tamper(database: &Database, statement: &str) {
    let triggers = [
        ("events", "events_are_never_changed"),
        ("events", "appended_events_go_on_where_the_log_ended"),
        ("log_head", "log_head_is_never_removed"),
        ("log_head", "log_head_never_goes_back"),
    ];
    let all = |how: &str| -> String { triggers.map(|(table, trigger)| format!("alter table {table} {how} trigger {trigger};")).concat() };
    let (off, on) = (all("disable"), all("enable always"));
    sqlx::raw_sql(AssertSqlSafe(format!("begin; {off} {statement}; {on} commit"))).execute(&database.pool).await.unwrap();
}

/// What is told after `statement`.
async fn told(statement: &str) -> Option<String> {
    let database = with_log().await?;
    tamper(&database, statement).await;
    Some(verified(&database).await.expect_err(statement).to_string())
}

/// Writes the right hash beside what was changed.
const REHASH: &str = "update events set hash = event_hash(stream_id, version, event_id, type, schema_version, recorded_at, metadata, payload) where position =";

#[tokio::test]
async fn a_log_that_nobody_touched_is_whole() {
    let Some(database) = with_log().await else { return };
    assert_eq!(verified(&database).await, Ok(Whole { events: 7, streams: 3 }));
    let Some(empty) = Database::make().await else { return };
    assert_eq!(verified(&empty).await, Ok(Whole { events: 0, streams: 0 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_of_many_pages_is_whole_while_it_grows() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for nth in 0..30 {
        appended(&store.append(Unit::of(part(&stream(&format!("s{}", nth % 7)), nth / 7 * 300, 300))).await);
    }
    let growing = tokio::spawn(async move {
        for version in 0.. {
            appended(&store.append(Unit::of(part(&stream("growing"), version, 1))).await);
        }
    });
    let mut seen = Vec::new();
    let whole = verify(&database.pool, |progress| seen.push(progress)).await.unwrap().expect("a whole log");
    growing.abort();
    assert!(whole.events >= 9_000 && (7..=8).contains(&whole.streams), "{whole:?}");
    assert!(seen.len() >= 3 && seen.is_sorted_by_key(|progress| progress.events), "{seen:?}");
    assert_eq!(seen.last().map(|progress| (progress.events, progress.all)), Some((whole.events, whole.events)));
}

#[tokio::test]
async fn a_changed_payload_is_told() {
    let Some(told) = told("update events set payload = '{\"quantity\":9,\"reference\":\"x\"}' where position = 5").await else { return };
    assert!(told.starts_with("position 5, stream stock-A, version 4: expected hash ") && told.contains(", found "), "{told}");
}

#[tokio::test]
async fn swapped_hashes_are_told_at_the_first_of_both() {
    let swap = "update events e set hash = o.hash from events o where (e.position, o.position) in ((3, 6), (6, 3))";
    let Some(told) = told(swap).await else { return };
    assert!(told.starts_with("position 3, stream stock-A, version 3: expected hash "), "{told}");
}

#[tokio::test]
async fn a_removed_event_is_told() {
    let Some(told) = told("delete from events where position = 2").await else { return };
    assert_eq!(told, "position 3, stream stock-A, version 3: expected position 2, found 3: what stood between is gone");
}

#[tokio::test]
async fn a_removed_event_is_told_though_all_positions_were_moved() {
    let moved = "delete from events where position = 2; update events set position = position - 1 where position = 3;
                 update events set position = position - 1 where position = 4; update events set position = position - 1 where position = 5;
                 update events set position = position - 1 where position = 6; update events set position = position - 1 where position = 7;
                 update log_head set position = 6";
    let Some(told) = told(moved).await else { return };
    assert_eq!(told, "position 2, stream stock-A, version 3: expected version 2 of the stream before it, found none");
}

#[tokio::test]
async fn a_removed_last_event_is_told() {
    let Some(told) = told("delete from events where position = 7").await else { return };
    assert_eq!(told, "the head of the log: expected it at the last event, position 6, found 7");
}

#[tokio::test]
async fn a_head_that_was_moved_by_itself_is_told() {
    let Some(database) = with_log().await else { return };
    // No trigger needs to be switched off for that; it stops the log, and makes no gap.
    sqlx::query("update log_head set position = position + 3").execute(&database.pool).await.unwrap();
    let refused = database.store().await.append(Unit::of(part(&stream("D"), 0, 1))).await;
    assert!(matches!(refused, Err(event_store::Error::Refused(_))), "{refused:?}");
    assert_eq!(
        verified(&database).await.expect_err("a head").to_string(),
        "the head of the log: expected it at the last event, position 7, found 10"
    );
}

#[tokio::test]
async fn events_in_the_wrong_order_are_told() {
    let swap = "update events set position = 100 where position = 1; update events set position = 1 where position = 2;
                update events set position = 2 where position = 100";
    let Some(told) = told(swap).await else { return };
    assert_eq!(told, "position 1, stream stock-A, version 2: expected version 1 of the stream before it, found none");
}

#[tokio::test]
async fn a_checkpoint_beyond_the_head_is_told() {
    let Some(told) = told("insert into checkpoints (name, version, position) values ('carts', 1, 7), ('orders', 1, 8)").await else {
        return;
    };
    assert_eq!(told, "the checkpoint of orders: expected a position up to 7, the head of the log, found 8");
}

#[tokio::test]
async fn a_checkpoint_at_an_event_of_another_history_is_told() {
    let insert = "insert into checkpoints (name, version, position, hash)
                  values ('carts', 1, 7, hash_at(7)), ('orders', 1, 3, sha256('lost'))";
    let Some(told) = told(insert).await else { return };
    assert!(
        told.starts_with("the checkpoint of orders: expected it at an event of this log, found it at another one, at position 3"),
        "{told}"
    );
}

#[tokio::test]
async fn an_event_that_no_program_knows_is_told() {
    let Some(told) = told(&format!("update events set type = 'StockEaten' where position = 4; {REHASH} 4")).await else { return };
    assert!(told.starts_with("position 4, stream stock-B, version 1: expected an event that this version of merx knows"), "{told}");
    assert!(told.contains("StockEaten"), "{told}");
}

#[tokio::test]
async fn an_event_of_a_newer_schema_is_told() {
    let Some(told) = told(&format!("update events set schema_version = 99 where position = 4; {REHASH} 4")).await else { return };
    assert!(told.contains("position 4") && told.contains("schema version 99"), "{told}");
}

#[tokio::test]
async fn an_id_that_does_not_count_up_is_told() {
    let id = "019cae0e-03c0-7651-8317-1ff4a6a3a450";
    let Some(told) = told(&format!("update events set event_id = '{id}' where position = 2; {REHASH} 2")).await else { return };
    assert!(
        told.starts_with("position 2, stream stock-A, version 2: expected event id ") && told.ends_with(&format!("found {id}")),
        "{told}"
    );
}

#[tokio::test]
async fn a_time_that_is_none_is_told() {
    let Some(told) = told(&format!("update events set recorded_at = 'infinity' where position = 6; {REHASH} 6")).await else { return };
    assert_eq!(told, "position 6, stream stock-A, version 5: expected a time between the years 1 and 9999, found infinity");
}

#[tokio::test]
async fn the_first_of_several_wrong_things_is_told() {
    let several = "delete from events where position = 5; update events set hash = sha256('x') where position in (2, 6); update log_head set position = 9";
    let Some(told) = told(several).await else { return };
    assert!(told.starts_with("position 2, stream stock-A, version 2: expected hash "), "{told}");
}

#[tokio::test]
async fn a_law_that_is_switched_off_is_told() {
    let Some(database) = with_log().await else { return };
    for (off, on, what) in [
        (
            "alter table events disable trigger events_are_never_changed",
            "alter table events enable always trigger events_are_never_changed",
            "events_are_never_changed of table events",
        ),
        // Enabled, but not for a replication role.
        (
            "alter table log_head enable trigger log_head_never_goes_back",
            "alter table log_head enable always trigger log_head_never_goes_back",
            "log_head_never_goes_back of table log_head",
        ),
        ("alter table events drop constraint events_stream_version", "select", "events_stream_version of table events"),
    ] {
        sqlx::query(off).execute(&database.pool).await.unwrap();
        let told = verified(&database).await.expect_err(off).to_string();
        assert!(told.starts_with(what) && told.contains("missing or switched off"), "{told}");
        sqlx::query(on).execute(&database.pool).await.unwrap();
    }
}
