//! Events into rows: in order, each batch in one transaction with the checkpoint.

use std::{sync::Arc, time::Duration};

use event_schemas::Recorded;
use event_store::{Batch, EventStore, Feed};
use metrics::{counter, gauge, histogram};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{Error, Projection};

/// The most positions of a batch.
const BATCH_POSITIONS: usize = 8_000;
/// This many positions away from the head, the next batch is read while one is applied, and there is no pause between batches.
const BEHIND_POSITIONS: i64 = 1_000;
/// The shortest time between two batches near the head: under load events gather for as long, and Postgres has less to do.
const PACE: Duration = Duration::from_millis(8);
/// How often at most the checkpoint is moved where no event was of interest.
const UNINTERESTED_PACE: Duration = Duration::from_millis(20);
/// How long a batch may take before its connection is given up.
const BATCH_LIMIT: Duration = Duration::from_mins(1);

/// Takes a projection along the log.
pub struct Consumer {
    projection: Arc<dyn Projection>,
    /// Its own, set up for its work.
    connection: PgConnection,
    feed: Feed,
    /// The checkpoint as this consumer has read or moved it.
    committed: i64,
    /// How far there was nothing of interest after that.
    seen: i64,
    moved_at: Instant,
}

/// What became of a batch.
enum Outcome {
    Applied,
    /// The checkpoint was not where this consumer had left it: somebody else works too. Nothing was applied.
    Moved,
}

impl Consumer {
    pub async fn open(store: &EventStore, projection: Arc<dyn Projection>) -> Result<Self, Error> {
        let options = store.pool().connect_options().as_ref().clone();
        // Rows that a crash of Postgres takes back are applied again, since the checkpoint goes back with them. Plans are made while
        // tables are still empty and unanalysed, and kept: they must be those for the millions of rows to come.
        let options = options.application_name(&format!("merx projection {}", projection.name())).options([
            ("synchronous_commit", "off"),
            ("plan_cache_mode", "force_generic_plan"),
            ("enable_seqscan", "off"),
            ("jit", "off"),
        ]);
        let connected = timeout(BATCH_LIMIT, PgConnection::connect_with(&options)).await;
        let connection = connected.map_err(|_| out_of_time())??;
        let feed = store.feed(projection.categories());
        // In the past, so that the first event does not wait.
        let moved_at = Instant::now().checked_sub(UNINTERESTED_PACE).unwrap_or_else(Instant::now);
        let mut consumer = Self { projection, connection, feed, committed: 0, seen: 0, moved_at };
        consumer.read_checkpoint().await?;
        Ok(consumer)
    }

    async fn read_checkpoint(&mut self) -> Result<(), Error> {
        let (name, version) = (self.projection.name(), self.projection.version());
        sqlx::query!("insert into checkpoints (name, version, position) values ($1, $2, 0) on conflict (name) do nothing", name, version)
            .execute(&mut self.connection)
            .await?;
        let checkpoint =
            sqlx::query!("select version, position from checkpoints where name = $1", name).fetch_one(&mut self.connection).await?;
        if checkpoint.version != version {
            return Err(Error::OtherVersion { found: checkpoint.version, kept: version });
        }
        self.committed = checkpoint.position;
        self.seen = checkpoint.position;
        self.measure();
        Ok(())
    }

    /// Applies what comes until `stop`. Calls `progressed` after each batch, and where there is nothing to do.
    pub async fn follow(&mut self, stop: &CancellationToken, progressed: impl Fn()) -> Result<(), Error> {
        if self.seen >= self.feed.head() {
            progressed();
        }
        let mut ahead = None;
        while !stop.is_cancelled() {
            let batch = match ahead.take() {
                Some(batch) => batch,
                None => match self.next(stop).await? {
                    Some(batch) => batch,
                    None => return Ok(()),
                },
            };
            ahead = self.take(batch).await?;
            progressed();
        }
        Ok(())
    }

    /// Applies what the log has now.
    pub async fn catch_up(mut self) -> Result<i64, Error> {
        let head = self.feed.head();
        let mut ahead = None;
        while self.seen < head {
            let batch = match ahead.take() {
                Some(batch) => batch,
                None => self.feed.read(self.seen, BATCH_POSITIONS).await?,
            };
            ahead = self.take(batch).await?;
        }
        if self.seen > self.committed {
            self.apply(&[], self.seen).await?;
        }
        Ok(self.committed)
    }

    fn is_behind(&self, position: i64) -> bool {
        self.feed.head() - position >= BEHIND_POSITIONS
    }

    /// Waits for the next batch; none after `stop`. Meanwhile the checkpoint catches up with what was of no interest.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Batch>, Error> {
        if !self.is_behind(self.seen) && stop.run_until_cancelled(sleep_until(self.moved_at + PACE)).await.is_none() {
            return Ok(None);
        }
        let mut feed = self.feed.clone();
        let next = feed.next(self.seen, BATCH_POSITIONS);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                batch = &mut next => return Ok(Some(batch?)),
                () = sleep_until(self.moved_at + UNINTERESTED_PACE), if self.seen > self.committed => {
                    if matches!(self.apply(&[], self.seen).await?, Outcome::Moved) {
                        return Ok(Some(Batch { events: Vec::new(), up_to: self.seen }));
                    }
                }
            }
        }
    }

    /// Applies a batch, and reads the one after it meanwhile where the head is far.
    async fn take(&mut self, batch: Batch) -> Result<Option<Batch>, Error> {
        let Batch { events, up_to } = batch;
        if events.is_empty() && self.moved_at.elapsed() < UNINTERESTED_PACE {
            self.seen = self.seen.max(up_to);
            self.measure();
            return Ok(None);
        }
        if !self.is_behind(up_to) {
            self.apply(&events, up_to).await?;
            return Ok(None);
        }
        let feed = self.feed.clone();
        let (applied, ahead) = tokio::join!(self.apply(&events, up_to), feed.read(up_to, BATCH_POSITIONS));
        match (applied?, ahead) {
            (Outcome::Applied, Ok(ahead)) => Ok(Some(ahead)),
            // Where reading went wrong, it is read again. After a checkpoint that somebody else moved, other events are the next ones.
            (Outcome::Applied, Err(_)) | (Outcome::Moved, _) => Ok(None),
        }
    }

    /// Applies events and moves the checkpoint to `up_to`, both or neither.
    async fn apply(&mut self, events: &[Arc<Recorded>], up_to: i64) -> Result<Outcome, Error> {
        let started_at = Instant::now();
        let is_moved = timeout(BATCH_LIMIT, self.write(events, up_to)).await.map_err(|_| out_of_time())??;
        self.moved_at = Instant::now();
        if !is_moved {
            self.read_checkpoint().await?;
            return Ok(Outcome::Moved);
        }
        self.committed = up_to;
        self.seen = up_to;
        let name = self.projection.name();
        counter!("merx_projection_events_total", "projection" => name).increment(events.len() as u64);
        if !events.is_empty() {
            histogram!("merx_projection_batch_seconds", "projection" => name).record(started_at.elapsed().as_secs_f64());
        }
        self.measure();
        Ok(Outcome::Applied)
    }

    /// Whether the checkpoint was where this consumer had left it.
    async fn write(&mut self, events: &[Arc<Recorded>], up_to: i64) -> Result<bool, Error> {
        if events.is_empty() {
            return move_checkpoint(&mut self.connection, &*self.projection, self.committed, up_to).await;
        }
        let mut transaction = self.connection.begin().await?;
        // First, so that of two workers the second one waits here, and then sees that it comes too late.
        if !move_checkpoint(&mut transaction, &*self.projection, self.committed, up_to).await? {
            transaction.rollback().await?;
            return Ok(false);
        }
        self.projection.apply(&mut transaction, events).await?;
        transaction.commit().await?;
        Ok(true)
    }

    #[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
    fn measure(&self) {
        let name = self.projection.name();
        gauge!("merx_projection_position", "projection" => name).set(self.seen as f64);
        gauge!("merx_projection_lag", "projection" => name).set((self.feed.head() - self.seen).max(0) as f64);
    }
}

async fn move_checkpoint(connection: &mut PgConnection, projection: &dyn Projection, from: i64, to: i64) -> Result<bool, Error> {
    let moved = sqlx::query!(
        "update checkpoints set position = $4, updated_at = now() where name = $1 and version = $2 and position = $3",
        projection.name(),
        projection.version(),
        from,
        to,
    )
    .execute(connection)
    .await?;
    Ok(moved.rows_affected() == 1)
}

fn out_of_time() -> Error {
    event_store::Error::Unavailable(format!("no answer within {} seconds", BATCH_LIMIT.as_secs())).into()
}
