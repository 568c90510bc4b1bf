//! A projector in a process of its own, which can be frozen and killed.

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
};

use event_store::{EventStore, kafka::Settings};
use projections::Source;
use sqlx::{PgPool, postgres::PgConnectOptions};

use super::{Cluster, PARTITIONS, Running};
use crate::database::Database;

const DATABASE: &str = "MERX_TEST_SERVER_DATABASE";
const BROKERS: &str = "MERX_TEST_SERVER_BROKERS";
const PREFIX: &str = "MERX_TEST_SERVER_PREFIX";

/// Such a process; it ends with this.
pub struct Server(Child);

impl Server {
    pub fn start(database: &Database, cluster: &Cluster) -> Self {
        let name: String = database.name().to_owned();
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "kafka::server::a_projector", "--ignored", "--nocapture"])
            .envs([(DATABASE, name.as_str()), (BROKERS, &cluster.settings.brokers), (PREFIX, &cluster.settings.prefix)])
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("a process"))
    }

    /// `STOP`, `CONT` or `KILL`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.0.id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{signal} was not sent");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "what other tests start as a process of its own"]
async fn a_projector() {
    let Ok(database) = std::env::var(DATABASE) else { return };
    let [brokers, prefix] = [BROKERS, PREFIX].map(|name| std::env::var(name).expect("set by the test"));
    let server: PgConnectOptions = std::env::var("MERX_TEST_DATABASE_URL").expect("set").parse().expect("a URL");
    let pool =
        PgPool::connect_with(server.database(&database).options([("search_path", "read_model,public")])).await.expect("the database");
    let store = EventStore::open(pool).await.expect("the log");
    let settings = Settings::plaintext(brokers).with_prefix(prefix).with_partitions(PARTITIONS);
    let _running = Running::projector(&store, projections::all(), &Source::Kafka(Arc::new(settings)));
    std::future::pending::<()>().await;
}
