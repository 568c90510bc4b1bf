//! What a server does, and how much of it this process does.

use std::{fmt, sync::Arc};

use command_api::{Shop, idempotency, payment_gateway, process};
use event_store::{
    digests,
    kafka::{
        Settings,
        publisher::{self, Health},
    },
};
use projections::Source;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A part of a server's work. Any number of processes may do each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Answers writes.
    CommandApi,
    /// Answers GETs.
    QueryApi,
    /// Keeps the read models.
    Projector,
    /// Sends the log to Kafka.
    Publisher,
    /// Asks the payment gateway for what payments need.
    PaymentWorker,
    /// Reacts to events with commands.
    ProcessManager,
}

impl Role {
    /// Those that were asked for; where none was all that there is something to do for: nobody publishes unless there is Kafka.
    pub fn of(asked: &[Self], has_kafka: bool) -> Vec<Self> {
        let all = [Self::CommandApi, Self::QueryApi, Self::Projector, Self::Publisher, Self::PaymentWorker, Self::ProcessManager];
        let wanted = |role: &Self| if asked.is_empty() { has_kafka || *role != Self::Publisher } else { asked.contains(role) };
        all.into_iter().filter(wanted).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandApi => "command-api",
            Self::QueryApi => "query-api",
            Self::Projector => "projector",
            Self::Publisher => "publisher",
            Self::PaymentWorker => "payment-worker",
            Self::ProcessManager => "process-manager",
        })
    }
}

/// The Kafka cluster that a process works with.
pub struct Kafka {
    settings: Arc<Settings>,
    published: watch::Sender<Health>,
}

impl Kafka {
    /// Which cluster it is, and which topics.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn new(settings: Settings) -> Self {
        let published = watch::Sender::new(Health::Away("the publisher is starting".into()));
        Self { settings: Arc::new(settings), published }
    }

    /// Whether the publisher of this process can do its work.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.published.subscribe()
    }
}

/// Starts the workers of `roles` as `holder` of their leases; they end after `stopping`.
pub fn start(roles: &[Role], shop: &Shop, holder: Uuid, kafka: Option<&Kafka>, stopping: &CancellationToken, workers: &mut JoinSet<()>) {
    for role in roles {
        match role {
            // Its routes are all it is; the index that they ask is kept by `crate::search`.
            Role::QueryApi => {}
            Role::CommandApi => {
                workers.spawn(idempotency::remove_old(shop.store.pool().clone(), stopping.clone()));
                workers.spawn(digests::keep(shop.store.clone(), stopping.clone()));
            }
            Role::Projector => project(shop, kafka, holder, stopping, workers),
            Role::Publisher => {
                if let Some(Kafka { settings, published }) = kafka {
                    workers.spawn(publisher::run(shop.store.clone(), settings.clone(), holder, stopping.clone(), published.clone()));
                }
            }
            Role::PaymentWorker => {
                let gateway = Arc::new(payment_gateway::simulated::Gateway::new(shop.store.pool().clone()));
                let kafka = kafka.map(|kafka| kafka.settings.clone());
                workers.spawn(payment_gateway::worker::run(shop.clone(), gateway, kafka, holder, stopping.clone()));
            }
            Role::ProcessManager => {
                workers.spawn(process::run(shop.clone(), holder, stopping.clone()));
            }
        }
    }
}

/// Starts what keeps the read models.
fn project(shop: &Shop, kafka: Option<&Kafka>, holder: Uuid, stopping: &CancellationToken, workers: &mut JoinSet<()>) {
    let source = kafka.map_or(Source::Log, |kafka| Source::Kafka(kafka.settings.clone()));
    for projection in projections::all() {
        workers.spawn(projections::run(shop.store.clone(), projection, source.clone(), holder, stopping.clone()));
    }
    if kafka.is_some() {
        workers.spawn(projections::kafka::watermarks(shop.store.clone(), stopping.clone()));
    }
}
