//! A database of its own for each test, made where `MERX_TEST_DATABASE_URL` says; without that such tests are skipped.

use std::io::Write as _;

use event_schemas::{Event, StreamId, events::stock::StockReceived};
use event_store::{EventStore, Lineage, Mark, Part, Unit};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{handler::Context, shop::now};

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

    /// The mark at `position` of the log, which is made to reach as far.
    pub async fn mark(&self, store: &EventStore, position: i64) -> Mark {
        while store.head().await.unwrap() < position {
            let stream = StreamId::stock(&Uuid::now_v7().to_string().parse().unwrap());
            let Context { now, metadata, .. } = Context::new(now(), "test");
            let event = Event::Stock(StockReceived { quantity: 1, reference: String::new() }.into());
            let part = Part::new(stream, 0, vec![event], metadata, now, Lineage::default()).unwrap();
            store.append(Unit::of(part)).await.unwrap();
        }
        let hash: Vec<u8> = sqlx::query_scalar("select hash_at($1)").bind(position).fetch_one(&self.pool).await.unwrap();
        Mark::new(position, &hash)
    }

    /// Puts the log back to `position`, as a restored backup would; what else the database holds stays as it is.
    pub async fn put_back(&self, position: i64) {
        let statement = format!(
            "alter table events disable trigger all; alter table log_head disable trigger all;
             delete from events where position > {position}; update log_head set position = {position};
             alter table events enable always trigger events_are_never_changed;
             alter table events enable always trigger appended_events_go_on_where_the_log_ended;
             alter table log_head enable always trigger log_head_is_never_removed;
             alter table log_head enable always trigger log_head_never_goes_back"
        );
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&self.pool).await.unwrap();
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
