//! A database for one test.

use std::{io::Write as _, str::FromStr as _};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

/// Dropped with all that is in it.
pub struct Database {
    pub options: PgConnectOptions,
    pub url: String,
    name: String,
    server: PgConnectOptions,
}

impl Database {
    /// An empty database; none, and a line that says so, where the environment has no server for tests.
    pub async fn create() -> Option<Self> {
        let Ok(url) = std::env::var("MERX_TEST_DATABASE_URL") else {
            skipped("MERX_TEST_DATABASE_URL");
            return None;
        };
        let server = PgConnectOptions::from_str(&url).expect("MERX_TEST_DATABASE_URL");
        let name = format!("merx_test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server).await.expect("the server of MERX_TEST_DATABASE_URL");
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.expect("a database");
        connection.close().await.expect("the connection");
        let (before, _) = url.rsplit_once('/').expect("MERX_TEST_DATABASE_URL names a database");
        Some(Self { options: server.clone().database(&name), url: format!("{before}/{name}"), name, server })
    }

    pub async fn connect(&self) -> PgConnection {
        PgConnection::connect_with(&self.options).await.expect("a connection")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await?;
                sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await
            })
        });
        if !matches!(dropping.join(), Ok(Ok(_))) {
            eprintln!("database {} is left behind", self.name);
        }
    }
}

/// Says that this test does not run for want of `what`, past the capturing of output, so that it is read.
pub fn skipped(what: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED: {test} needs {what}").expect("stderr");
}
