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

/// Inserts a forged event at `position` as version `version` of stream A, after the head was moved by `by`.
fn forged(by: i64, position: i64, version: i64) -> String {
    format!(
        "begin; update log_head set position = position + {by};
         insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
         values ({position}, 'stock-A', {version}, gen_random_uuid(), 'StockReceived', 1, '{{}}', '{{}}', now(), sha256('x'));
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
    assert_eq!(refusal(&mut connection, &sound.replace("sha256('x')", "'\\x00'")).await, "23514");
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
