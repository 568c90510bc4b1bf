//! Events into rows: in order, each batch in one transaction with the checkpoint.

use std::{sync::Arc, time::Duration};

use event_store::{Batch, Checkpoint, EventStore, Feed, Mark, Parked, ParkedStreams, checkpoint, kafka::places, parked};
use futures::{FutureExt as _, future::BoxFuture};
use metrics::{counter, histogram};
use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Projection,
    write::{self, Step},
};

/// The schema that GETs are answered from.
pub const LIVE_SCHEMA: &str = "read_model";
/// The most positions of a batch.
pub const BATCH_POSITIONS: usize = 8_000;
/// A batch that is gathered from Kafka has no more than about so many bytes of data; what is read from the log is bounded there.
pub const BATCH_BYTES: usize = 4 << 20;
/// This many positions away from the head, the next batch is read while one is applied, and there is no pause between batches.
const BEHIND_POSITIONS: i64 = 1_000;
/// The shortest time between two batches near the head: under load events gather for as long, and Postgres has less to do.
pub const PACE: Duration = Duration::from_millis(8);
/// How often at most the checkpoint is moved where no event was of interest.
const UNINTERESTED_PACE: Duration = Duration::from_millis(20);
/// How long a batch may take before its connection is given up.
pub const BATCH_LIMIT: Duration = Duration::from_mins(1);

/// Takes a projection along the log.
pub struct Consumer {
    pub(crate) projection: Arc<dyn Projection>,
    /// Its own, set up for its work.
    pub(crate) connection: PgConnection,
    pub(crate) feed: Feed,
    /// As this consumer has read or moved it.
    pub(crate) checkpoint: Checkpoint,
    parked: ParkedStreams,
    /// How far there was nothing of interest after the checkpoint.
    seen: Mark,
    moved_at: Instant,
}

/// What became of a batch.
enum Outcome {
    Applied,
    /// The checkpoint was not as this consumer had left it: somebody else works too, or has mended something. Nothing was applied.
    Moved,
}

/// A connection for the work on a projection whose tables are in `schema`.
pub async fn connect(store: &EventStore, projection: &dyn Projection, schema: &str) -> Result<PgConnection, Error> {
    let options = store.pool().connect_options().as_ref().clone();
    // Rows that a crash of Postgres takes back are applied again, since the checkpoint goes back with them. Plans are made while
    // tables are still empty and unanalysed, and kept: they must be those for the millions of rows to come.
    let options = options.application_name(&format!("merx projection {}", projection.name())).options([
        ("search_path", format!("{schema},public").as_str()),
        ("synchronous_commit", "off"),
        // A server that is frozen in the middle of a batch holds up the others no longer than this.
        ("idle_in_transaction_session_timeout", "8s"),
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_seqscan", "off"),
        ("jit", "off"),
    ]);
    let connected = timeout(BATCH_LIMIT, PgConnection::connect_with(&options)).await;
    Ok(connected.map_err(|_| out_of_time())??)
}

impl Consumer {
    /// One that keeps the tables that GETs are answered from; [`Error::OnKafka`] where these are kept from Kafka.
    pub async fn open(store: &EventStore, projection: Arc<dyn Projection>) -> Result<Self, Error> {
        // So that nothing that is only in memory is handed out.
        store.look().await?;
        let connection = connect(store, &*projection, LIVE_SCHEMA).await?;
        let name = projection.name();
        let mut consumer = Self::of(store, projection, connection, name).await?;
        consumer.refuse_kafka().await?;
        Ok(consumer)
    }

    /// After the checkpoint was read: a change in between is found by its revision, at the first step.
    async fn refuse_kafka(&mut self) -> Result<(), Error> {
        let places = places::read(&mut self.connection, &self.checkpoint.name).await?;
        if places.is_empty() { Ok(()) } else { Err(Error::OnKafka { projection: self.checkpoint.name.clone() }) }
    }

    /// One whose tables are where `connection` looks for them, with the checkpoint of `name`.
    pub async fn of(store: &EventStore, projection: Arc<dyn Projection>, mut connection: PgConnection, name: &str) -> Result<Self, Error> {
        let (checkpoint, parked) = read(&mut connection, name, projection.version()).await?;
        let feed = store.feed(projection.categories());
        // In the past, so that the first event does not wait.
        let moved_at = Instant::now().checked_sub(UNINTERESTED_PACE).unwrap_or_else(Instant::now);
        let seen = checkpoint.mark();
        let consumer = Self { projection, connection, feed, checkpoint, parked, seen, moved_at };
        Ok(consumer)
    }

    pub(crate) async fn read_again(&mut self) -> Result<(), Error> {
        (self.checkpoint, self.parked) = read(&mut self.connection, &self.checkpoint.name, self.projection.version()).await?;
        self.refuse_kafka().await?;
        self.seen = self.checkpoint.mark();
        Ok(())
    }

    /// Applies what comes until `stop`. Calls `progressed` after each batch, and where there is nothing to do.
    pub async fn follow(&mut self, stop: &CancellationToken, progressed: impl Fn()) -> Result<(), Error> {
        if self.seen.position >= self.feed.head() {
            // There is nothing that it could not go on with, nor a step forward that would take that back.
            checkpoint::note_recovery(&mut self.connection, &self.checkpoint.name).await?;
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

    /// Applies what the log has now, or what it has of it at `stop`. Calls `progressed` with the position and the head after each batch.
    /// The position that it has come to.
    pub async fn catch_up(&mut self, stop: &CancellationToken, progressed: impl Fn(i64, i64)) -> Result<i64, Error> {
        let head = self.feed.head();
        let mut ahead = None;
        while self.seen.position < head && !stop.is_cancelled() {
            let batch = match ahead.take() {
                Some(batch) => batch,
                None => self.feed.read(self.seen.position, BATCH_POSITIONS).await?,
            };
            ahead = self.take(batch).await?;
            progressed(self.seen.position, head);
        }
        if self.seen.position > self.checkpoint.position {
            self.apply(&Batch::empty(self.seen)).await?;
        }
        Ok(self.checkpoint.position)
    }

    fn is_behind(&self, position: i64) -> bool {
        self.feed.head() - position >= BEHIND_POSITIONS
    }

    /// Waits for the next batch; none after `stop`. Meanwhile the checkpoint catches up with what was of no interest.
    async fn next(&mut self, stop: &CancellationToken) -> Result<Option<Batch>, Error> {
        if !self.is_behind(self.seen.position) && stop.run_until_cancelled(sleep_until(self.moved_at + PACE)).await.is_none() {
            return Ok(None);
        }
        let mut feed = self.feed.clone();
        let next = feed.next(self.seen.position, BATCH_POSITIONS);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                batch = &mut next => return Ok(Some(batch?)),
                () = sleep_until(self.moved_at + UNINTERESTED_PACE), if self.seen.position > self.checkpoint.position => {
                    if matches!(self.apply(&Batch::empty(self.seen)).await?, Outcome::Moved) {
                        return Ok(Some(Batch::empty(self.seen)));
                    }
                }
            }
        }
    }

    /// Applies a batch, and reads the one after it meanwhile where the head is far.
    async fn take(&mut self, batch: Batch) -> Result<Option<Batch>, Error> {
        let is_of_no_interest = batch.events.is_empty() && batch.undecodable.is_empty();
        if is_of_no_interest && self.moved_at.elapsed() < UNINTERESTED_PACE {
            if batch.up_to > self.seen.position {
                self.seen = batch.end();
            }
            return Ok(None);
        }
        let up_to = batch.up_to;
        if !self.is_behind(up_to) {
            self.apply(&batch).await?;
            return Ok(None);
        }
        let feed = self.feed.clone();
        let (applied, ahead) = tokio::join!(self.apply(&batch), feed.read(up_to, BATCH_POSITIONS));
        match (applied?, ahead) {
            (Outcome::Applied, Ok(ahead)) => Ok(Some(ahead)),
            // Where reading went wrong, it is read again. After a checkpoint that somebody else moved, other events are the next ones.
            (Outcome::Applied, Err(_)) | (Outcome::Moved, _) => Ok(None),
        }
    }

    /// Applies a batch and moves the checkpoint to its end, both or neither.
    async fn apply(&mut self, batch: &Batch) -> Result<Outcome, Error> {
        let started_at = Instant::now();
        let written = timeout(BATCH_LIMIT, self.write(batch)).await.map_err(|_| out_of_time())??;
        self.moved_at = Instant::now();
        let Some(parked) = written else {
            self.read_again().await?;
            return Ok(Outcome::Moved);
        };
        parked::report(&self.checkpoint.name, &parked);
        self.parked.add(parked);
        self.checkpoint.moved(batch.end());
        self.seen = batch.end();
        let name = self.projection.name();
        counter!("merx_projection_events_total", "projection" => name).increment(batch.events.len() as u64);
        if !batch.events.is_empty() {
            histogram!("merx_projection_batch_seconds", "projection" => name).record(started_at.elapsed().as_secs_f64());
        }
        Ok(Outcome::Applied)
    }

    /// What had to be parked; none where the checkpoint was not as this consumer had left it.
    async fn write(&mut self, batch: &Batch) -> Result<Option<Vec<Parked>>, Error> {
        let Self { projection, connection, checkpoint, parked, .. } = self;
        if batch.events.is_empty() && batch.undecodable.is_empty() {
            return Ok(checkpoint.advance(connection, batch.end()).await?.then(Vec::new));
        }
        let step = Forward { checkpoint, to: batch.end() };
        write::write(connection, &**projection, &checkpoint.name, parked, batch, &step).await
    }

    /// Applies, within a transaction of the caller, what the log has between the checkpoint and `up_to`. The caller moves or removes the
    /// checkpoint. Whether it could.
    pub(crate) async fn apply_up_to(&mut self, up_to: i64) -> Result<bool, Error> {
        let mut at = self.checkpoint.position;
        while at < up_to {
            let most = usize::try_from(up_to - at).unwrap_or(BATCH_POSITIONS).min(BATCH_POSITIONS);
            let batch = self.feed.read(at, most).await?;
            if batch.up_to == at || !batch.undecodable.is_empty() {
                return Ok(false);
            }
            let events = write::left_in(&batch, &self.parked, &[]);
            if !events.is_empty() {
                self.projection.apply(&mut self.connection, &events).await?;
            }
            at = batch.up_to;
        }
        Ok(true)
    }
}

/// The checkpoint of `name`, which must be of `version` and fit the log, and what it has parked.
pub async fn read(connection: &mut PgConnection, name: &str, version: i32) -> Result<(Checkpoint, ParkedStreams), Error> {
    let checkpoint = Checkpoint::open(connection, name, version).await?;
    if checkpoint.version != version {
        return Err(Error::OtherVersion { found: checkpoint.version, kept: version });
    }
    if checkpoint.is_astray {
        return Err(Error::Astray { projection: name.into(), position: checkpoint.position });
    }
    // After the checkpoint: what is mended in between is found by its revision, at the first step.
    let parked = ParkedStreams::read(connection, name).await?;
    Ok((checkpoint, parked))
}

/// A step along the log.
struct Forward<'a> {
    checkpoint: &'a Checkpoint,
    to: Mark,
}

impl Step for Forward<'_> {
    fn take<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<bool, Error>> {
        async { Ok(self.checkpoint.advance(connection, self.to).await?) }.boxed()
    }
}

pub fn out_of_time() -> Error {
    event_store::Error::Unavailable(format!("no answer within {} seconds", BATCH_LIMIT.as_secs())).into()
}
