//! What the database refuses, whoever asks.

use event_schemas::{StreamId, Timestamp};
use event_store::{
    Unit,
    hash::{Leaf, leaf},
    read::Filter,
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use uuid::Uuid;

use crate::database::{Database, appended, part, stream};

/// A database with three events.
async fn with_events() -> Option<Database> {
    let database = Database::make().await?;
    let store = database.store().await;
    appended(&store.append(Unit::of(part(&stream("A"), 0, 2))).await);
    appended(&store.append(Unit::of(part(&stream("B"), 0, 1))).await);
    Some(database)
}

/// The SQLSTATE with which `statement` is refused.
async fn refusal(connection: &mut PgConnection, statement: &str) -> String {
    let refused = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await.expect_err(statement);
    refused.as_database_error().unwrap().code().unwrap().into_owned()
}

const CHANGES: [&str; 7] = [
    "update events set payload = '{}' where position = 1",
    "update events set recorded_at = now()",
    "delete from events where position = 3",
    "delete from events",
    "truncate events",
    "truncate events, idempotency_keys cascade",
    "update events set position = position + 100 where false",
];

#[tokio::test]
async fn nothing_in_the_log_is_changed_by_its_owner_or_by_a_replication_role() {
    let Some(database) = with_events().await else { return };
    let mut owner = PgConnection::connect_with(&database.options()).await.unwrap();
    for role in ["origin", "replica", "local"] {
        sqlx::query(AssertSqlSafe(format!("set session_replication_role = {role}"))).execute(&mut owner).await.unwrap();
        for change in CHANGES {
            assert_eq!(refusal(&mut owner, change).await, "42501", "{change} as {role}");
        }
        for change in ["delete from log_head", "truncate log_head"] {
            assert_eq!(refusal(&mut owner, change).await, "42501", "{change} as {role}");
        }
    }
    assert_eq!(database.assert_whole().await, 3);
}

#[tokio::test]
async fn nothing_in_the_log_is_changed_by_a_role_with_every_grant() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let role = format!("plain_{}", Uuid::now_v7().simple());
    for statement in
        [format!("create role {role}"), format!("grant all on all tables in schema public to {role}"), format!("set role {role}")]
    {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    for change in CHANGES.into_iter().chain([
        "delete from log_head",
        "truncate log_head",
        "alter table events disable trigger all",
        "drop table events",
    ]) {
        assert_eq!(refusal(&mut connection, change).await, "42501", "{change}");
    }
    for statement in ["reset role".to_owned(), format!("drop owned by {role}"), format!("drop role {role}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(database.assert_whole().await, 3);
}

/// Inserts an event at `position` as version `version` of stream A, after the head was moved by `by`. Its hash is right.
fn forged(by: i64, position: i64, version: i64) -> String {
    format!(
        "begin; update log_head set position = position + {by};
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select {position}, 'stock-A', {version}, id, 'StockReceived', 1, '{{}}', '{{}}', now(),
                event_hash('stock-A', {version}, id, 'StockReceived', 1::smallint, now(), '{{}}', '{{}}')
         from (select gen_random_uuid() as id) i;
         commit"
    )
}

#[tokio::test]
async fn a_forged_event_must_go_on_where_the_log_and_its_stream_ended() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let cases = [
        (forged(0, 4, 3), "MX002", "the head does not say so"),
        (forged(1, 5, 3), "MX002", "a gap before it"),
        (forged(2, 4, 3), "MX002", "the head is past it"),
        (forged(2, 5, 3), "MX002", "a gap in the log"),
        (forged(-1, 4, 3), "MX002", "the head was moved back"),
        (forged(100, 104, 3), "MX002", "the head is far beyond"),
        (forged(1, 3, 3), "23505", "the position is taken"),
        (forged(1, 4, 2), "23505", "the version is taken"),
        (forged(1, 4, 4), "MX001", "a gap in the stream"),
        (forged(1, 4, 0), "23514", "no version"),
        (forged(1, 4, -1), "23514", "no version"),
    ];
    for (statement, code, why) in cases {
        for role in ["origin", "replica"] {
            sqlx::query(AssertSqlSafe(format!("set session_replication_role = {role}"))).execute(&mut connection).await.unwrap();
            let refused = refusal(&mut connection, &statement).await;
            sqlx::query("rollback").execute(&mut connection).await.unwrap();
            // Two laws are broken at once where the position is taken: either may say so.
            let expected = refused == code || (code == "23505" && refused == "MX002");
            assert!(expected, "{why}: {refused}");
        }
    }
    assert_eq!(database.assert_whole().await, 3);
    sqlx::raw_sql(AssertSqlSafe(forged(1, 4, 3))).execute(&mut connection).await.expect("what goes on is no forgery");
    assert_eq!(database.assert_whole().await, 4);
}

#[tokio::test]
async fn a_stream_needs_a_category_and_an_id_and_a_hash_its_length() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let sound = forged(1, 4, 1);
    for wrong in ["stock", "-A", "stock-", "Stock-A", &format!("stock-{}", "A".repeat(75))] {
        assert_eq!(refusal(&mut connection, &sound.replace("stock-A", wrong)).await, "23514", "{wrong}");
        sqlx::query("rollback").execute(&mut connection).await.unwrap();
    }
}

/// Version 1 of stream C at the head of the log, with `hash` for its hash; in it, what `right` says is the event's own.
fn hashed(hash: &str) -> String {
    let right = "event_hash(stream, 1, id, 'StockReceived', 1::smallint, at, meta, data)";
    format!(
        "with head as (update log_head set position = position + 1 returning position),
              event as (select 'stock-C' as stream, '01920000-0000-7000-8000-000000000000'::uuid as id, timestamptz '2026-03-01 12:00:00.123456Z' as at,
                               '{{\"actor\": \"ä\"}}'::json as meta, '{{\"quantity\":1, \"reference\":\"☃ \\\\u2603\"}}'::json as data)
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         select position, stream, 1, id, 'StockReceived', 1, data, meta, at, {} from head, event",
        hash.replace("right", right)
    )
}

#[tokio::test]
async fn an_event_with_a_hash_that_is_not_its_own_is_refused() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let of = |fields: &str| format!("event_hash({fields})");
    let cases = [
        ("set_bit(right, 0, 1 - get_bit(right, 0))".to_owned(), "MX003", "the first bit"),
        ("set_bit(right, 255, 1 - get_bit(right, 255))".to_owned(), "MX003", "the last bit"),
        ("sha256('x')".to_owned(), "MX003", "of something else"),
        ("(select hash from events where position = 1)".to_owned(), "MX003", "of another event"),
        ("substr(right, 1, 31)".to_owned(), "23514", "too short"),
        ("right || '\\x00'".to_owned(), "23514", "too long"),
        ("null".to_owned(), "23502", "none"),
        (of("stream, 1, id, 'StockReceived', 1::smallint, at, meta, '{\"quantity\":2}'"), "MX003", "of another payload"),
        (
            of("stream, 1, id, 'StockReceived', 1::smallint, at, meta, replace(data::text, ', ', ',')::json"),
            "MX003",
            "of other white space",
        ),
        (of("stream, 1, id, 'StockReceived', 1::smallint, at, '{}', data"), "MX003", "of other metadata"),
        (of("stream, 1, id, 'StockReceived', 1::smallint, at + interval '1 microsecond', meta, data"), "MX003", "of another time"),
        (of("stream, 1, id, 'StockReceived', 2::smallint, at, meta, data"), "MX003", "of another schema"),
        (of("stream, 1, id, 'StockAdjusted', 1::smallint, at, meta, data"), "MX003", "of another type"),
        (of("stream, 2, id, 'StockReceived', 1::smallint, at, meta, data"), "MX003", "of another version"),
        (of("'stock-D', 1, id, 'StockReceived', 1::smallint, at, meta, data"), "MX003", "of another stream"),
        (of("stream, 1, gen_random_uuid(), 'StockReceived', 1::smallint, at, meta, data"), "MX003", "of another id"),
    ];
    for (hash, code, why) in &cases {
        for role in ["origin", "replica"] {
            sqlx::query(AssertSqlSafe(format!("set session_replication_role = {role}"))).execute(&mut connection).await.unwrap();
            assert_eq!(refusal(&mut connection, &hashed(hash)).await, *code, "{why} as {role}");
        }
    }
    let taken = hashed("right").replace("'01920000-0000-7000-8000-000000000000'::uuid", "(select event_id from events where position = 2)");
    assert_eq!(refusal(&mut connection, &taken).await, "23505", "the id is taken");
    assert_eq!(refusal(&mut connection, &hashed("right").replace("'2026-03-01 12:00:00.123456Z'", "'infinity'")).await, "MX003");
    assert_eq!(database.assert_whole().await, 3);
    // Whatever encoding the client speaks, the bytes that are hashed are UTF-8.
    sqlx::raw_sql("set client_encoding = 'LATIN1'").execute(&mut connection).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(hashed("right"))).execute(&mut connection).await.expect("its own hash");
    assert_eq!(database.assert_whole().await, 4);
}

#[tokio::test]
async fn a_refused_hash_is_told_with_its_stream_and_version() {
    let Some(database) = with_events().await else { return };
    let refused = sqlx::raw_sql(AssertSqlSafe(hashed("sha256('x')"))).execute(&database.pool).await.expect_err("a forgery");
    assert_eq!(refused.as_database_error().unwrap().message(), "version 1 of stream stock-C has a hash that is not its own");
}

#[tokio::test]
async fn the_head_of_the_log_can_not_make_a_gap() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let forward_and_back = forged(1, 4, 3).replace("commit", "update log_head set position = position - 1; commit");
    let cases = [
        ("update log_head set position = position - 1", "MX002"),
        ("update log_head set position = 0", "MX002"),
        ("update log_head set position = null", "23502"),
        ("insert into log_head (only_row, position) values (false, 7)", "23514"),
        ("insert into log_head (position) values (7)", "23505"),
        (&forged(10, 13, 3), "MX002"),
        (&forged(10, 4, 3), "MX002"),
        (&forward_and_back, "MX002"),
    ];
    for (statement, code) in cases {
        for role in ["origin", "replica"] {
            sqlx::query(AssertSqlSafe(format!("set session_replication_role = {role}"))).execute(&mut connection).await.unwrap();
            assert_eq!(refusal(&mut connection, statement).await, code, "{statement} as {role}");
            sqlx::query("rollback").execute(&mut connection).await.unwrap();
        }
    }
    assert_eq!(database.assert_whole().await, 3);
    // By itself it may go on: then nothing is accepted any more, from anybody.
    sqlx::query("update log_head set position = position + 2").execute(&mut connection).await.unwrap();
    for event in [forged(1, 6, 3), forged(1, 4, 3), hashed("right")] {
        assert_eq!(refusal(&mut connection, &event).await, "MX002", "{event}");
        sqlx::query("rollback").execute(&mut connection).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_with_the_rights_of_the_application_appends_and_changes_nothing() {
    let Some(database) = with_events().await else { return };
    let mut connection = PgConnection::connect_with(&database.options()).await.unwrap();
    let role = format!("application_{}", Uuid::now_v7().simple());
    for statement in [
        format!("create role {role}"),
        format!("grant select, insert on events to {role}"),
        format!("grant select, update on log_head to {role}"),
        format!("set role {role}"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    let forbidden = CHANGES.into_iter().chain(["delete from log_head", "truncate log_head", "insert into log_head (position) values (9)"]);
    for change in forbidden.chain(["set session_replication_role = replica", "alter table events disable trigger all", "drop table events"])
    {
        assert_eq!(refusal(&mut connection, change).await, "42501", "{change}");
    }
    assert_eq!(refusal(&mut connection, &hashed("sha256('x')")).await, "MX003");
    assert_eq!(refusal(&mut connection, "update log_head set position = position - 1").await, "MX002");
    assert_eq!(database.assert_whole().await, 3);
    sqlx::raw_sql(AssertSqlSafe(hashed("right"))).execute(&mut connection).await.expect("it may append");
    for statement in ["reset role".to_owned(), format!("drop owned by {role}"), format!("drop role {role}")] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut connection).await.unwrap();
    }
    assert_eq!(database.assert_whole().await, 4);
}

#[tokio::test]
async fn the_hash_of_a_row_is_that_of_the_bytes_it_keeps() {
    let Some(database) = with_events().await else { return };
    let store = database.store().await;
    let stored = store.read_log(0, i64::MAX, &Filter::default(), 100).await.unwrap();
    assert_eq!(stored.len(), 3);
    for event in stored {
        let stream: StreamId = event.stream_id.parse().unwrap();
        let hash = leaf(&Leaf {
            stream: &stream,
            version: event.version,
            event_id: event.event_id,
            event_type: &event.event_type,
            schema_version: event.schema_version,
            recorded_at: event.recorded_at,
            metadata: &event.metadata,
            payload: &event.payload,
        });
        assert_eq!(event.hash, hash);
        assert!(event.payload.contains("Größe ☃"), "kept as it was written: {}", event.payload);
        let later = Timestamp::from_micros(event.recorded_at.micros() + 1);
        let of_another_time = Leaf {
            stream: &stream,
            version: 1,
            event_id: event.event_id,
            event_type: "",
            schema_version: 1,
            recorded_at: later,
            metadata: "",
            payload: "",
        };
        assert_ne!(leaf(&of_another_time).to_vec(), event.hash);
    }
}
