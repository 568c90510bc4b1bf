//! Read models kept from Kafka.

mod following;
mod mending;
mod server;
mod sharing;

use std::{
    io::Write as _,
    sync::{Arc, Once},
    time::Duration,
};

use event_schemas::Recorded;
use event_store::{
    EventStore,
    kafka::{
        Settings,
        publisher::{self, Health},
        topics,
    },
};
use projections::{Projection, Source};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    mocking::MockCluster,
    producer::DefaultProducerContext,
};
use serde_json::Value;
use sqlx::PgPool;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{database::Database, log::Log};

/// Few, so that tests are quick; more than there are servers.
const PARTITIONS: i32 = 3;
/// How long anything may take. Machines that run tests are busy.
const PATIENCE: Duration = Duration::from_mins(2);

static SAID: Once = Once::new();

/// A cluster with topics of the test's own.
pub struct Cluster {
    pub settings: Arc<Settings>,
    mock: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Cluster {
    /// The real one if there is one.
    pub fn start() -> Self {
        if let Ok(brokers) = std::env::var("MERX_TEST_KAFKA_BROKERS") {
            return Self { settings: Arc::new(settings(brokers)), mock: None };
        }
        SAID.call_once(|| {
            // Past the capturing of output, so that it is read.
            let told = "NOT ON A REAL BROKER: MERX_TEST_KAFKA_BROKERS is not set, Kafka tests run on librdkafka's mock cluster";
            writeln!(std::io::stderr(), "{told}").expect("stderr");
        });
        Self::mock()
    }

    /// A mock cluster, whose only broker can be turned off. Its topics are there already, since it can't be asked to make them.
    pub fn mock() -> Self {
        let mock = MockCluster::new(1).expect("a mock cluster");
        let settings = settings(mock.bootstrap_servers());
        for topic in topics::all(&settings.prefix) {
            mock.create_topic(&topic, PARTITIONS, 1).expect("a topic");
        }
        Self { settings: Arc::new(settings), mock: Some(mock) }
    }

    /// Turns the mock cluster off, or on again.
    pub fn set_up(&self, is_up: bool) {
        let mock = self.mock.as_ref().expect("a mock cluster");
        let turned = if is_up { mock.broker_up(1) } else { mock.broker_down(1) };
        turned.expect("turned");
    }

    pub fn source(&self) -> Source {
        Source::Kafka(self.settings.clone())
    }
}

fn settings(brokers: String) -> Settings {
    Settings::plaintext(brokers).with_prefix(format!("test-{}", Uuid::now_v7().simple())).with_partitions(PARTITIONS)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.mock.is_some() {
            return;
        }
        let settings = self.settings.clone();
        let removing = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let admin: AdminClient<DefaultClientContext> =
                ClientConfig::new().set("bootstrap.servers", &settings.brokers).create().expect("a client");
            let all = topics::all(&settings.prefix);
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            runtime.block_on(admin.delete_topics(&all, &AdminOptions::new()))
        });
        if !matches!(removing.join(), Ok(Ok(_))) {
            eprintln!("topics of {} are left behind", self.settings.prefix);
        }
    }
}

pub async fn open(database: &Database) -> EventStore {
    EventStore::open(database.pool.clone()).await.expect("the log")
}

/// What runs until it is stopped.
pub struct Running {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Running {
    /// A server that publishes.
    pub fn publisher(store: &EventStore, cluster: &Cluster) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let health = watch::Sender::new(Health::Away("not yet".into()));
        tasks.spawn(publisher::run(store.clone(), cluster.settings.clone(), Uuid::now_v7(), stop.clone(), health));
        Self { stop, tasks }
    }

    /// A server that keeps `projections`.
    pub fn projector(store: &EventStore, projections: Vec<Arc<dyn Projection>>, source: &Source) -> Self {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let holder = Uuid::now_v7();
        for projection in projections {
            tasks.spawn(projections::run(store.clone(), projection, source.clone(), holder, stop.clone()));
        }
        if matches!(source, Source::Kafka(_)) {
            tasks.spawn(projections::kafka::watermarks(store.clone(), stop.clone()));
        }
        Self { stop, tasks }
    }

    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

pub fn names() -> Vec<String> {
    projections::all().iter().map(|projection| projection.name().to_owned()).collect()
}

/// Waits until `question`, which counts, is answered with `many`.
pub async fn until(pool: &PgPool, question: &'static str, names: &[String], many: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found: i64 = sqlx::query_scalar(question).bind(names).fetch_one(pool).await.expect("an answer");
        if usize::try_from(found) == Ok(many) {
            return;
        }
        if Instant::now() > deadline {
            let places: Vec<Value> = sqlx::query_scalar("select to_jsonb(p) from kafka_places p").fetch_all(pool).await.expect("places");
            let checkpoints: Vec<Value> = sqlx::query_scalar("select to_jsonb(c) from checkpoints c").fetch_all(pool).await.expect("all");
            panic!("{found}, not {many}: {question}\n{checkpoints:#?}\n{places:#?}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the projections have come to the head of the log.
pub async fn caught_up(pool: &PgPool, names: &[String]) {
    let question = "select count(*) from checkpoints c join log_head h on c.position = h.position where c.name = any($1)";
    until(pool, question, names, names.len()).await;
}

/// Waits until the projections are kept from Kafka.
pub async fn seated(pool: &PgPool, names: &[String]) {
    until(pool, "select count(distinct consumer) from kafka_places where consumer = any($1)", names, names.len()).await;
}

/// Waits until servers own all partitions.
pub async fn owned(pool: &PgPool, names: &[String]) {
    until(pool, "select count(*) from kafka_places where consumer = any($1) and fence = 0", names, 0).await;
}

/// The log in so many parts.
pub fn parts(log: &Log, many: usize) -> Vec<Log> {
    let size = log.events.len().div_ceil(many);
    let part = |events: &[Arc<Recorded>]| {
        let mut part = Log::default();
        part.events = events.to_vec();
        part
    };
    log.events.chunks(size).map(part).collect()
}

/// Asserts that the rows are those of the log, each event applied once.
pub async fn assert_rows(database: &Database, log: &Log) {
    let Some(wanted) = Database::create().await else { return };
    for projection in projections::all() {
        wanted.apply(projection.name(), &log.events, 1_000).await;
    }
    let (there, wanted) = (database.everything().await, wanted.everything().await);
    for ((table, there), (_, wanted)) in there.iter().zip(&wanted) {
        assert_eq!(there, wanted, "{table}");
    }
}
