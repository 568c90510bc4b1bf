//! The read models that grew, beside those that are rebuilt from the log.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, PgConnection};

use super::postgres::Postgres;
use crate::server::merx;

/// The rows of each table, sorted.
type Rows = BTreeMap<String, Vec<String>>;

/// How many rows were compared, and those that differ.
pub struct Comparison {
    pub rows: usize,
    pub differing: Vec<String>,
}

/// Rebuilds every projection while the servers run on, and compares each row with the one before.
pub async fn compare(postgres: &Postgres) -> Comparison {
    let mut connection = postgres.connect().await;
    let projections = "select name from checkpoints where name not in ('process-managers', 'payment-worker', 'publisher') order by name";
    let projections: Vec<String> = sqlx::query_scalar(projections).fetch_all(&mut connection).await.expect("the projections");
    assert!(projections.len() >= 7, "there are more projections than {projections:?}");
    let grown = rows(&mut connection).await;
    for name in projections {
        let (is_rebuilt, told) = run(postgres, &["projections", "rebuild", &name]).await;
        assert!(is_rebuilt, "{name} is not rebuilt: {told}");
    }
    let rebuilt = rows(&mut connection).await;
    let names: Vec<_> = grown.keys().collect();
    assert_eq!(names, rebuilt.keys().collect::<Vec<_>>(), "the rebuilt read models have other tables");
    let differing = grown.iter().flat_map(|(table, rows)| differences(table, rows, &rebuilt[table])).collect();
    Comparison { rows: grown.values().map(Vec::len).sum(), differing }
}

async fn run(postgres: &Postgres, arguments: &[&str]) -> (bool, String) {
    let mut command = tokio::process::Command::from(merx(arguments));
    let output = command.env("DATABASE_URL", &postgres.url).output().await.expect("merx");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Each table's rows as Postgres writes them, in the order of that.
async fn rows(connection: &mut PgConnection) -> Rows {
    let tables = "select table_name::text from information_schema.tables where table_schema = 'read_model' and table_type = 'BASE TABLE'";
    let tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut *connection).await.expect("the tables");
    let mut rows = Rows::new();
    for table in tables {
        let all = format!("select r::text from read_model.{table} r order by 1");
        let all = sqlx::query_scalar(AssertSqlSafe(all)).fetch_all(&mut *connection).await.expect("the rows");
        rows.insert(table, all);
    }
    rows
}

/// What only one of two sorted lists has.
pub fn differences(table: &str, grown: &[String], rebuilt: &[String]) -> Vec<String> {
    let only = |these: &[String], those: &[String], which: &str| {
        let missing = these.iter().filter(|row| those.binary_search(row).is_err());
        missing.map(|row| format!("only the {which} {table} has {row}")).collect::<Vec<_>>()
    };
    let mut found = only(grown, rebuilt, "grown");
    found.extend(only(rebuilt, grown, "rebuilt"));
    if found.is_empty() && grown.len() != rebuilt.len() {
        found.push(format!("{table} has {} rows, rebuilt {}", grown.len(), rebuilt.len()));
    }
    found
}
