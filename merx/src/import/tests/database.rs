//! A database for one test.

use event_schemas::{Recorded, StreamId};
use event_store::{EventStore, read::Filter};
use sqlx::{Connection, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// A migrated database of its own.
pub struct Database {
    pub store: EventStore,
    server: PgConnectOptions,
    name: String,
}

/// A new one; `None`, said aloud, where there is no server to make it on.
pub async fn new() -> Option<Database> {
    let Ok(url) = std::env::var("MERX_TEST_DATABASE_URL") else {
        eprintln!("SKIPPED: MERX_TEST_DATABASE_URL names no Postgres server to test on");
        return None;
    };
    let server: PgConnectOptions = url.parse().unwrap();
    let name = format!("merx_import_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect_with(&server).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
    let pool = PgPool::connect_with(server.clone().database(&name)).await.unwrap();
    event_store::MIGRATIONS.run(&pool).await.unwrap();
    Some(Database { store: EventStore::open(pool).await.unwrap(), server, name })
}

impl Database {
    /// Every event.
    pub async fn events(&self) -> Vec<Recorded> {
        let mut events: Vec<Recorded> = Vec::new();
        loop {
            let after = events.last().map_or(0, |last| last.position);
            let page = self.store.read_log(after, i64::MAX, &Filter::default(), 10_000).await.unwrap();
            if page.is_empty() {
                return events;
            }
            events.extend(page.into_iter().map(|stored| stored.decode().unwrap()));
        }
    }

    /// What the log says, but for the order in which different streams were written, the time, and the ids of runs.
    pub async fn content(&self) -> Vec<(StreamId, i64, event_schemas::Event)> {
        let mut content: Vec<_> =
            self.events().await.into_iter().map(|recorded| (recorded.stream, recorded.version, recorded.event)).collect();
        content.sort_by(|(one, at, _), (other, then, _)| (one, at).cmp(&(other, then)));
        content
    }

    /// Removes it.
    pub async fn drop(self) {
        let mut connection = PgConnection::connect_with(&self.server).await.unwrap();
        let name = self.name;
        sqlx::query(sqlx::AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await.unwrap();
    }
}
