//! What a server does, and how much of it this process does.

use std::{fmt, sync::Arc};

use command_api::{Shop, idempotency, payment_gateway, process};
use tokio::task::JoinSet;
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
    /// Asks the payment gateway for what payments need.
    PaymentWorker,
    /// Reacts to events with commands.
    ProcessManager,
}

impl Role {
    /// Those that were asked for; all where none was.
    pub fn of(asked: &[Self]) -> Vec<Self> {
        let all = [Self::CommandApi, Self::QueryApi, Self::Projector, Self::PaymentWorker, Self::ProcessManager];
        if asked.is_empty() { all.to_vec() } else { all.into_iter().filter(|role| asked.contains(role)).collect() }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CommandApi => "command-api",
            Self::QueryApi => "query-api",
            Self::Projector => "projector",
            Self::PaymentWorker => "payment-worker",
            Self::ProcessManager => "process-manager",
        })
    }
}

/// Starts the workers of `roles` as `holder` of their leases; they end after `stopping`.
pub fn start(roles: &[Role], shop: &Shop, holder: Uuid, stopping: &CancellationToken, workers: &mut JoinSet<()>) {
    for role in roles {
        match role {
            // It has its index from the start, which the server hands to its routes.
            Role::QueryApi => {}
            Role::CommandApi => {
                workers.spawn(idempotency::remove_old(shop.store.pool().clone(), stopping.clone()));
            }
            Role::Projector => {
                for projection in projections::all() {
                    workers.spawn(projections::run(shop.store.clone(), projection, holder, stopping.clone()));
                }
            }
            Role::PaymentWorker => {
                let gateway = Arc::new(payment_gateway::simulated::Gateway::new(shop.store.pool().clone()));
                workers.spawn(payment_gateway::worker::run(shop.clone(), gateway, holder, stopping.clone()));
            }
            Role::ProcessManager => {
                workers.spawn(process::run(shop.clone(), holder, stopping.clone()));
            }
        }
    }
}
