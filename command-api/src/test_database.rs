//! A database of its own for each test, made where `MERX_TEST_DATABASE_URL` says; without that such tests are skipped.

use std::io::Write as _;

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

pub(crate) struct Database {
    pub pool: PgPool,
    pub name: String,
    pub server: PgConnectOptions,
}

impl Database {
    pub async fn make() -> Option<Self> {
        let Ok(server) = std::env::var("MERX_TEST_DATABASE_URL") else {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the capturing of output, so that it is read.
            writeln!(std::io::stderr(), "SKIPPED: {test} needs MERX_TEST_DATABASE_URL").expect("stderr");
            return None;
        };
        let server: PgConnectOptions = server.parse().unwrap();
        let name = format!("handler_test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
        let pool = PgPool::connect_with(server.clone().database(&name)).await.unwrap();
        event_store::MIGRATIONS.run(&pool).await.unwrap();
        Some(Self { pool, name, server })
    }

    pub async fn count(&self) -> i64 {
        let (events, gaps): (i64, i64) =
            sqlx::query_as("select count(*), (select position from log_head) - count(*) from events").fetch_one(&self.pool).await.unwrap();
        assert_eq!(gaps, 0, "a gap in the log");
        events
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropped = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await.unwrap();
                sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await.unwrap();
            });
        });
        assert!(dropped.join().is_ok() || std::thread::panicking(), "the test's database is still there");
    }
}
