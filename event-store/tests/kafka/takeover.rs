//! Leaders that die, freeze, and come back.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use event_store::{
    EventStore,
    kafka::{Settings, publisher},
};
use sqlx::{ConnectOptions as _, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    broker::{Kafka, assert_published, published},
    database::Database,
    publishing::{WRITTEN, codes, write},
};

/// A publisher in a process of its own.
struct Process(Child);

impl Process {
    fn start(database: &Database, settings: &Settings) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "takeover::a_process_that_publishes", "--ignored", "--nocapture", "--test-threads=1"])
            .env("TEST_DATABASE", database.options().to_url_lossy().as_str())
            .env("TEST_BROKERS", &settings.brokers)
            .env("TEST_PREFIX", &settings.prefix)
            .env("TEST_PARTITIONS", settings.partitions.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.0.id().to_string()]).status().unwrap().success());
    }

    /// As when its machine is gone.
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by other tests, as a process"]
async fn a_process_that_publishes() {
    let Ok(database) = std::env::var("TEST_DATABASE") else { return };
    let text = |name| std::env::var(name).unwrap();
    let partitions = text("TEST_PARTITIONS").parse().unwrap();
    let settings = Settings::plaintext(text("TEST_BROKERS")).with_prefix(text("TEST_PREFIX")).with_partitions(partitions);
    let store = EventStore::open(PgPool::connect(&database).await.unwrap()).await.unwrap();
    let (health, _watched) = watch::channel(publisher::Health::Ready);
    publisher::run(store, Arc::new(settings), Uuid::now_v7(), CancellationToken::new(), health).await;
}

/// The position of the publisher's checkpoint.
async fn position(database: &Database) -> i64 {
    let position = sqlx::query_scalar("select position from checkpoints where name = 'publisher'").fetch_optional(&database.pool);
    position.await.unwrap().unwrap_or(0)
}

async fn fence(database: &Database) -> i64 {
    sqlx::query_scalar("select fence from leases where name = 'publisher'").fetch_optional(&database.pool).await.unwrap().unwrap_or(0)
}

/// Waits until the publisher has come beyond `beyond`.
async fn until_beyond(database: &Database, beyond: i64) {
    let begun = Instant::now();
    while position(database).await <= beyond {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing was published after {beyond}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Writes to streams until told to stop; 40 streams, some events each time.
fn load(store: EventStore, name: &'static str, stop: CancellationToken) -> tokio::task::JoinHandle<i64> {
    tokio::spawn(async move {
        let mut rounds = 0;
        while !stop.is_cancelled() {
            write(&store, &codes(&format!("{name}{rounds}-"), 40), 2, 3).await;
            rounds += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        rounds
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_dies_repeats_at_most_and_never_reorders() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(4);
    let store = database.store().await;
    let stop = CancellationToken::new();
    let writing = load(store, "a", stop.clone());
    for _ in 0..4 {
        let before = position(&database).await;
        let leader = Process::start(&database, &kafka.settings);
        until_beyond(&database, before).await;
        tokio::time::sleep(Duration::from_millis(u64::from(fastrand_below(120)))).await;
        leader.kill();
        // As after five seconds: the rounds need not wait.
        sqlx::query("update leases set expires_at = '-infinity'").execute(&database.pool).await.unwrap();
    }
    stop.cancel();
    writing.await.unwrap();
    let last = kafka.publisher(&database.store().await);
    published(&database).await;
    assert_published(&database, &kafka, WRITTEN).await;
    last.stop().await;
}

/// A number below `most`, another one each time.
fn fastrand_below(most: u32) -> u32 {
    u32::from(Uuid::now_v7().as_bytes()[15]) * most / 256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_takes_over_from_a_frozen_leader_which_then_does_no_harm() {
    let Some(database) = Database::make().await else { return };
    let kafka = Kafka::make(4);
    let store = database.store().await;
    let stop = CancellationToken::new();
    let writing = load(store, "a", stop.clone());
    let frozen = Process::start(&database, &kafka.settings);
    until_beyond(&database, 500).await;
    let standing_by = kafka.publisher(&database.store().await);
    frozen.signal("STOP");
    let begun = Instant::now();
    let fence_before = fence(&database).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let at = position(&database).await;
    until_beyond(&database, at).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "taken over after {:?}", begun.elapsed());
    assert_eq!(fence(&database).await, fence_before + 1);
    // It wakes up, with a full queue and in the belief that it leads.
    frozen.signal("CONT");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let at = position(&database).await;
    until_beyond(&database, at).await;
    assert_eq!(fence(&database).await, fence_before + 1, "it does not get the lease back");
    stop.cancel();
    writing.await.unwrap();
    published(&database).await;
    assert_published(&database, &kafka, WRITTEN).await;
    drop(frozen);
    standing_by.stop().await;
}
