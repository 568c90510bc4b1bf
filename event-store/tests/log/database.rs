//! A database for one test, and small names for small things.

use std::{collections::HashMap, io::Write as _, time::Duration};

use event_schemas::{Event, Metadata, StreamId, Timestamp, events::stock, ids::CommandId};
use event_store::{EventStore, KeyedAnswer, Lineage, Mark, Part, Unit};
use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use uuid::Uuid;

/// A migrated database, dropped with this.
pub struct Database {
    pub pool: PgPool,
    name: String,
    server: PgConnectOptions,
}

impl Database {
    /// None, and a line that says so, where the environment has no server for tests.
    pub async fn make() -> Option<Self> {
        let Ok(server) = std::env::var("MERX_TEST_DATABASE_URL") else {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the capturing of output, so that it is read.
            writeln!(std::io::stderr(), "SKIPPED: {test} needs MERX_TEST_DATABASE_URL").expect("stderr");
            return None;
        };
        let server: PgConnectOptions = server.parse().unwrap();
        let name = format!("log_test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server).await.unwrap();
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.unwrap();
        let pool = connect(&server, &name).await;
        event_store::MIGRATIONS.run(&pool).await.unwrap();
        Some(Self { pool, name, server })
    }

    /// The log, as one more process has it.
    pub async fn store(&self) -> EventStore {
        EventStore::open(connect(&self.server, &self.name).await).await.unwrap()
    }

    /// How to reach it.
    pub fn options(&self) -> PgConnectOptions {
        self.server.clone().database(&self.name)
    }

    /// Commits all of `units` in one group; the outcomes in order.
    pub async fn as_one_group(&self, store: &EventStore, units: Vec<Unit>) -> Vec<Outcome> {
        let mut lock = self.pool.begin().await.unwrap();
        sqlx::query("select from log_head for update").execute(&mut *lock).await.unwrap();
        // One that waits for the lock, so that the others gather behind it.
        let first = store.submit(Unit::of(part(&stream(&format!("first-{}", Uuid::now_v7())), 0, 1))).unwrap();
        self.until("select count(*) = 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'").await;
        let pending: Vec<_> = units.into_iter().map(|unit| store.submit(unit).unwrap()).collect();
        lock.rollback().await.unwrap();
        first.outcome().await.unwrap();
        let mut outcomes = Vec::new();
        for pending in pending {
            outcomes.push(pending.outcome().await);
        }
        outcomes
    }

    /// Puts the log back to `position`, as a restored backup would; what else the database holds stays as it is.
    pub async fn put_back(&self, position: i64) {
        let mut transaction = self.pool.begin().await.unwrap();
        put_back(&mut transaction, position).await;
        transaction.commit().await.unwrap();
    }

    /// The mark of the event at `position`; panics where there is none.
    pub async fn mark(&self, position: i64) -> Mark {
        let hash: Vec<u8> =
            sqlx::query_scalar("select hash from events where position = $1").bind(position).fetch_one(&self.pool).await.unwrap();
        Mark::new(position, &hash)
    }

    /// Waits until `question` is answered with true.
    pub async fn until(&self, question: &'static str) {
        for _ in 0..1_000 {
            if sqlx::query_scalar::<_, bool>(question).fetch_one(&self.pool).await.unwrap() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never true: {question}");
    }

    /// Asserts that the log has no gaps and its streams have none; how many events it has.
    pub async fn assert_whole(&self) -> i64 {
        let rows: Vec<(i64, String, i64)> =
            sqlx::query_as("select position, stream_id, version from events order by position").fetch_all(&self.pool).await.unwrap();
        let mut versions: HashMap<&str, i64> = HashMap::new();
        for (nth, (position, stream, version)) in (1..).zip(&rows) {
            assert_eq!(*position, nth, "a gap in the log");
            let last = versions.entry(stream).or_default();
            *last += 1;
            assert_eq!(*version, *last, "a gap in {stream} at position {position}");
        }
        let head: i64 = sqlx::query_scalar("select position from log_head").fetch_one(&self.pool).await.unwrap();
        assert_eq!(head, rows.len() as i64, "the head of the log");
        head
    }

    /// How many events commands have in the log.
    pub async fn events_of(&self, commands: &[Uuid]) -> i64 {
        sqlx::query_scalar("select count(*) from events where event_id = any($1)").bind(commands).fetch_one(&self.pool).await.unwrap()
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

/// Takes what lies beyond `position` out of the log, which nothing but an owner of the tables can.
pub async fn put_back(connection: &mut PgConnection, position: i64) {
    sqlx::raw_sql(AssertSqlSafe(format!(
        "alter table events disable trigger all;
         alter table log_head disable trigger all;
         delete from events where position > {position};
         update log_head set position = {position};
         alter table events enable always trigger events_are_never_changed;
         alter table events enable always trigger appended_events_go_on_where_the_log_ended;
         alter table log_head enable always trigger log_head_is_never_removed;
         alter table log_head enable always trigger log_head_never_goes_back;"
    )))
    .execute(connection)
    .await
    .unwrap();
}

pub type Outcome = Result<event_store::Committed, event_store::Error>;

async fn connect(server: &PgConnectOptions, name: &str) -> PgPool {
    PgPoolOptions::new().max_connections(10).connect_with(server.clone().database(name)).await.unwrap()
}

/// The stock of a SKU.
pub fn stream(code: &str) -> StreamId {
    StreamId::stock(&code.parse().unwrap())
}

/// Units came in.
pub fn received(quantity: u32) -> Event {
    Event::Stock(stock::StockReceived { quantity, reference: "a \"delivery\" – Größe ☃".into() }.into())
}

/// The time, as the log keeps it.
pub fn now() -> Timestamp {
    chrono::Utc::now().into()
}

/// What a new command leads to: `count` events.
pub fn part(stream: &StreamId, expected_version: i64, count: u32) -> Part {
    part_of(Uuid::now_v7(), stream, expected_version, count, &Lineage::new(expected_version, 0))
}

/// What the command `id` leads to.
pub fn part_of(id: Uuid, stream: &StreamId, expected_version: i64, count: u32, lineage: &Lineage) -> Part {
    let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "test".into() };
    let events = (1..=count).map(received).collect();
    Part::new(stream.clone(), expected_version, events, metadata, now(), lineage.clone()).unwrap()
}

/// An answer kept for the key `scope`.
pub fn answer(scope: u8) -> KeyedAnswer {
    KeyedAnswer {
        scope: [scope; 32],
        fingerprint: [1; 32],
        status: 200,
        location: None,
        version: 1,
        body: "{}".into(),
        created_at: now(),
        position_without_events: 0,
    }
}

/// The position of what was committed, and now.
#[track_caller]
pub fn appended(outcome: &Outcome) -> i64 {
    match outcome {
        Ok(committed) if !committed.repeated => committed.position,
        other => panic!("not appended: {other:?}"),
    }
}

/// The position of what had been committed before.
#[track_caller]
pub fn repeated(outcome: &Outcome) -> i64 {
    match outcome {
        Ok(committed) if committed.repeated => committed.position,
        other => panic!("not repeated: {other:?}"),
    }
}

/// It was refused since something had moved.
#[track_caller]
pub fn assert_conflict(outcome: &Outcome) {
    assert!(matches!(outcome, Err(event_store::Error::Conflict)), "no conflict: {outcome:?}");
}
