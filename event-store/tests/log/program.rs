//! A log that a newer program has worked on.

use event_store::program::{Error, prepare, register_events};
use sqlx::{AssertSqlSafe, PgPool};

use crate::database::Database;

/// The text of everything that a refused program might have changed.
async fn content(pool: &PgPool) -> String {
    let read = "select coalesce(string_agg(t::text, '|' order by t::text), '') from";
    let mut content = String::new();
    for table in ["_sqlx_migrations", "program_migrations", "program_event_schemas", "log_head"] {
        content += &sqlx::query_scalar::<_, String>(AssertSqlSafe(format!("{read} {table} t"))).fetch_one(pool).await.unwrap();
    }
    content
}

async fn execute(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

/// What the program of version 0.9.0 says of the database; nothing was changed if it refuses.
async fn refusal(pool: &PgPool) -> String {
    let before = content(pool).await;
    let refused = prepare(pool, "0.9.0").await.expect_err("a newer log");
    assert!(matches!(refused, Error::Newer { .. }), "{refused:?}");
    assert_eq!(content(pool).await, before);
    refused.to_string()
}

#[tokio::test]
async fn a_program_is_told_which_version_knows_a_migration_that_it_does_not() {
    let Some(database) = Database::make().await else { return };
    let pool = &database.pool;
    prepare(pool, "0.9.0").await.unwrap();
    let first: Vec<String> = sqlx::query_scalar("select distinct program_version from program_migrations").fetch_all(pool).await.unwrap();
    assert_eq!(first, ["0.9.0"]);
    // A newer one that brings nothing leaves no trace.
    let before = content(pool).await;
    prepare(pool, "0.10.0").await.unwrap();
    assert_eq!(content(pool).await, before);
    for (migration, version) in [(9_001, "1.0.0"), (9_002, "1.2.0")] {
        execute(pool, &format!("insert into _sqlx_migrations (version, description, success, checksum, execution_time) values ({migration}, 'later', true, '', 0)")).await;
        execute(pool, &format!("insert into program_migrations values ({migration}, '{version}')")).await;
    }
    assert_eq!(
        refusal(pool).await,
        "the log is from a newer version of merx: it has migration 9002. This is merx 0.9.0, and merx 1.2.0 or newer is needed; nothing was changed"
    );
    // The newer program was killed before it could say who it is.
    execute(pool, "delete from program_migrations where migration > 9000").await;
    assert!(refusal(pool).await.contains("it has migration 9002. This is merx 0.9.0, and a newer one is needed"));
}

#[tokio::test]
async fn a_program_is_told_which_version_writes_events_that_it_can_not_read() {
    let Some(database) = Database::make().await else { return };
    let pool = &database.pool;
    prepare(pool, "0.9.0").await.unwrap();
    let mut known: Vec<(&str, i16)> =
        event_schemas::events::descriptors().map(|descriptor| (descriptor.event_type, descriptor.schema_version)).collect();
    let newest = known.iter().find(|(event_type, _)| *event_type == "OrderPlaced").unwrap().1;
    // A newer schema of a known type.
    for (event_type, version) in &mut known {
        *version += i16::from(*event_type == "OrderPlaced");
    }
    register_events(pool, "0.10.0", &known).await.unwrap();
    let told = refusal(pool).await;
    let expected =
        format!("it may hold OrderPlaced of schema version {}. This is merx 0.9.0, and merx 0.10.0 or newer is needed", newest + 1);
    assert!(told.contains(&expected), "{told}");
    // A type besides, by a program that is newer yet: that one is named.
    known.push(("OrderGiftWrapped", 1));
    register_events(pool, "0.11.0", &known).await.unwrap();
    let told = refusal(pool).await;
    assert!(told.contains("it may hold OrderGiftWrapped of schema version 1") && told.contains("merx 0.11.0 or newer"), "{told}");
    // The newer ones go on.
    register_events(pool, "0.11.0", &known).await.unwrap();
}

#[tokio::test]
async fn an_empty_database_is_prepared_by_many_at_once() {
    let Some(database) = Database::make().await else { return };
    execute(
        &database.pool,
        "drop schema read_model cascade; drop schema simulated_gateway cascade; drop schema public cascade; create schema public",
    )
    .await;
    let preparing: Vec<_> = (0..4)
        .map(|_| {
            let pool = database.pool.clone();
            tokio::spawn(async move { prepare(&pool, "0.9.0").await })
        })
        .collect();
    for prepared in preparing {
        prepared.await.unwrap().unwrap();
    }
}
