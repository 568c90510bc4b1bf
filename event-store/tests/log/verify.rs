//! `verify` names the first thing that is wrong with a log that was tampered with.

use event_store::{
    Digest, Unit,
    digests::{self, Closing},
    verify::{Finding, Whole, verify, verify_against},
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
        ("log_digests", "log_digests_are_never_changed"),
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
    let whole = verified(&database).await.expect("a whole log");
    assert_eq!((whole.events, whole.streams, whole.digest.position), (7, 3, 7));
    let Some(empty) = Database::make().await else { return };
    assert_eq!(verified(&empty).await, Ok(Whole { events: 0, streams: 0, digest: Digest::EMPTY }));
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

/// Takes B out, stream and all, and gives those behind it the positions before theirs: each stream is whole, and so is the log.
const REMOVED: &str = "delete from events where stream_id = 'stock-B'; update events set position = position - 1 where position = 5;
    update events set position = position - 1 where position = 6; update events set position = position - 1 where position = 7;
    update log_head set position = 6";

#[tokio::test]
async fn a_stream_that_was_removed_whole_is_told_by_a_digest_that_was_kept() {
    let Some(database) = with_log().await else { return };
    assert_eq!(digests::close(&database.pool, Closing::Blocks).await.unwrap(), 0, "a block has a thousand events");
    assert_eq!(digests::close(&database.pool, Closing::All).await.unwrap(), 7);
    appended(&database.store().await.append(Unit::of(part(&stream("D"), 0, 1))).await);
    assert_eq!(digests::close(&database.pool, Closing::All).await.unwrap(), 8);
    assert_eq!(verified(&database).await.map(|whole| whole.events), Ok(8));
    tamper(&database, &format!("{REMOVED}; update events set position = 7 where position = 8; update log_head set position = 7")).await;
    let told = verified(&database).await.expect_err("a stream is gone").to_string();
    assert!(told.starts_with("position 7: expected the digest of the log up to here that was kept in the database, 7:"), "{told}");
}

#[tokio::test]
async fn a_digest_that_was_noted_elsewhere_tells_whether_the_log_is_still_the_same() {
    let Some(database) = with_log().await else { return };
    let noted = verified(&database).await.expect("a whole log").digest;
    appended(&database.store().await.append(Unit::of(part(&stream("D"), 0, 2))).await);
    let compared = async || verify_against(&database.pool, Some(noted), |_| ()).await.unwrap();
    assert_eq!(compared().await.map(|whole| whole.events), Ok(9));
    tamper(&database, "delete from events where position > 7; update log_head set position = 7").await;
    assert_eq!(compared().await.map(|whole| whole.digest), Ok(noted), "it is good for what was there");
    tamper(&database, REMOVED).await;
    let told = compared().await.expect_err("a stream is gone").to_string();
    assert_eq!(told, "the log ends at position 6, and its digest at position 7 was noted: what stood between is gone");
    appended(&database.store().await.append(Unit::of(part(&stream("E"), 0, 1))).await);
    let told = compared().await.expect_err("another event").to_string();
    assert!(
        told.starts_with(&format!("position 7: expected the digest of the log up to here that was noted, {noted}, found 7:")),
        "{told}"
    );
}

#[tokio::test]
async fn digests_are_kept_by_the_thousand_and_never_changed() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for nth in 0..5 {
        appended(&store.append(Unit::of(part(&stream(&format!("s{nth}")), 0, 500))).await);
    }
    assert_eq!(digests::close(&database.pool, Closing::Blocks).await.unwrap(), 2_000);
    let (one, two) = tokio::join!(digests::close(&database.pool, Closing::All), digests::close(&database.pool, Closing::All));
    assert_eq!((one.unwrap(), two.unwrap()), (2_500, 2_500), "two servers come to the same");
    let kept: Vec<i64> = sqlx::query_scalar("select position from log_digests order by 1").fetch_all(&database.pool).await.unwrap();
    assert_eq!(kept, [1_000, 2_000, 2_500]);
    assert_eq!(verified(&database).await.map(|whole| whole.events), Ok(2_500));
    for change in ["delete from log_digests", "update log_digests set digest = sha256('x')", "truncate log_digests"] {
        let refused = sqlx::query(change).execute(&database.pool).await.expect_err(change).to_string();
        assert!(refused.contains("the log only grows"), "{refused}");
    }
    tamper(&database, "delete from events where position > 2400; update log_head set position = 2400").await;
    let told = verified(&database).await.expect_err("events are gone").to_string();
    assert_eq!(told, "the log ends at position 2400, and its digest at position 2500 was kept in the database: what stood between is gone");
}

#[tokio::test]
async fn a_guard_that_is_another_one_is_told() {
    for (statement, told) in [
        (
            "create or replace function refuse_change() returns trigger language plpgsql as $$ begin return null; end $$",
            "the function refuse_change",
        ),
        (
            "create or replace function check_appended() returns trigger language plpgsql as $$ begin return null; end $$",
            "the function check_appended",
        ),
        (
            "create or replace function refuse_to_go_back() returns trigger language plpgsql as $$ begin return new; end $$",
            "the function refuse_to_go_back",
        ),
        (
            "create or replace function event_hash(stream_id text, version bigint, event_id uuid, type text, schema_version smallint,
                recorded_at timestamptz, metadata json, payload json) returns bytea language sql stable as $$ select sha256('x') $$",
            "the function event_hash",
        ),
        ("alter function check_appended() set search_path = pg_temp, public", "the function check_appended"),
        (
            "create function event_hash(text) returns bytea language sql as $$ select sha256('x') $$",
            "the function event_hash",
        ),
        (
            "drop trigger log_head_never_goes_back on log_head;
             create trigger log_head_never_goes_back before update on log_head for each row when (false) execute function refuse_to_go_back();
             alter table log_head enable always trigger log_head_never_goes_back",
            "the trigger log_head_never_goes_back of table log_head",
        ),
        (
            "create function swallow() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger a before insert on events for each row when (new.type = 'OrderPlaced') execute function swallow()",
            "the trigger a of table events",
        ),
        (
            "alter table events drop constraint events_version_check, add constraint events_version_check check (version >= -1)",
            "the constraint events_version_check of table events",
        ),
        ("create rule r as on delete to events do instead nothing", "the table events"),
        ("alter table events enable row level security", "the table events"),
    ] {
        let Some(database) = Database::make().await else { return };
        database.store().await;
        assert!(verified(&database).await.is_ok());
        sqlx::raw_sql(statement).execute(&database.pool).await.unwrap();
        let found = verified(&database).await.expect_err(statement).to_string();
        assert_eq!(found, format!("{told} is not what the migrations of merx make: the database does not guard the log any more"));
    }
}

/// A long snapshot keeps the dead versions of the head of the log, and every append has to go past all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_is_held_from_page_to_page() {
    let Some(database) = Database::make().await else { return };
    let store = database.store().await;
    for nth in 0..80 {
        appended(&store.append(Unit::of(part(&stream(&format!("s{nth}")), 0, 300))).await);
    }
    let held =
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_xmin is not null";
    let mut was_looked_at = false;
    let whole = verify(&database.pool, |_| {
        if was_looked_at {
            return;
        }
        was_looked_at = true;
        // Whoever reads the pages waits until those before are taken, as long as this goes on.
        let none_held = async {
            while sqlx::query_scalar::<_, i64>(held).fetch_one(&database.pool).await.unwrap() > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let limited = async { tokio::time::timeout(std::time::Duration::from_secs(20), none_held).await };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(limited)).expect("a moment without a snapshot");
    });
    assert_eq!(whole.await.unwrap().map(|whole| whole.events), Ok(24_000));
    assert!(was_looked_at);
}
