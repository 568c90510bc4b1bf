//! How far everything is applied of the projections that are kept from Kafka.
//!
//! Partitions are applied independently of each other, so the checkpoint of a projection is moved by nobody who applies them, but by this
//! task: to where no partition lacks anything. What waits for a position, what shows a lag and what says how new an answer is reads
//! the checkpoint, as with the log.

use std::time::Duration;

use event_store::{EventStore, kafka::places};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Error, all};

/// How often checkpoints are moved while any of them lacks something.
const INTERVAL: Duration = Duration::from_millis(12);
/// The same where none has moved for a while: Kafka may be away.
const STUCK_INTERVAL: Duration = Duration::from_millis(100);
const STUCK_AFTER: Duration = Duration::from_secs(1);
/// How often it is looked whether any projection is kept from Kafka, and what other servers have done.
const IDLE_INTERVAL: Duration = Duration::from_secs(1);
/// How long moving them may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Moves the checkpoints of all projections that are kept from Kafka until `shutdown`, whichever server applies their partitions. Several servers
/// may do the same.
pub async fn keep(store: EventStore, shutdown: CancellationToken) {
    let names: Vec<String> = all().iter().map(|projection| projection.name().to_owned()).collect();
    let mut known: Vec<(String, i64)> = Vec::new();
    let (mut looked_at, mut moved_at) = (None::<Instant>, Instant::now());
    let mut is_failing = false;
    loop {
        let interval = if moved_at.elapsed() > STUCK_AFTER { STUCK_INTERVAL } else { INTERVAL };
        if shutdown.run_until_cancelled(sleep(interval)).await.is_none() {
            return;
        }
        let head = store.known_head();
        let is_behind = known.iter().any(|(_, position)| *position < head);
        if !is_behind && looked_at.is_some_and(|at| at.elapsed() < IDLE_INTERVAL) {
            // The first event after a quiet time is not to wait longer than others.
            moved_at = Instant::now();
            continue;
        }
        looked_at = Some(Instant::now());
        match look(&store, &names).await {
            Ok(now) => {
                if now != known {
                    moved_at = Instant::now();
                }
                known = now;
                is_failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(%error, "the checkpoints of projections on Kafka are not moved; trying again");
                }
                let _ = shutdown.run_until_cancelled(sleep(IDLE_INTERVAL)).await;
            }
        }
    }
}

async fn look(store: &EventStore, names: &[String]) -> Result<Vec<(String, i64)>, Error> {
    let looked = async {
        let mut connection = store.pool().acquire().await.map_err(event_store::Error::from)?;
        let mut now = places::watermarks(&mut connection, names).await?;
        now.sort();
        Ok::<_, Error>(now)
    };
    timeout(LIMIT, looked).await.unwrap_or_else(|_| Err(event_store::Error::Unavailable("no answer".into()).into()))
}
