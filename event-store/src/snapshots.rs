//! Snapshots: what the rules made of a long stream, kept so that loading it is cheap. A speed-up, never truth.
//!
//! A snapshot is used only where it is of the asked state version, the log has the very event at its version that it was taken after, and its
//! seal is whole; otherwise it is as if there were none. They are taken in the background, one at a time, and dropped where too many wait:
//! no append and no answer ever waits for one.

use std::{sync::Arc, time::Duration};

use event_schemas::{StreamId, Timestamp};
use metrics::counter;
use sha2::{Digest, Sha256};
use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};

use crate::{Error, EventStore};

/// The most snapshots that wait to be taken; one more is dropped.
const QUEUE_SNAPSHOTS: usize = 64;
/// The most bytes of those among them that are written down already.
const QUEUE_BYTES: usize = 16 << 20;
/// A snapshot that spares the reading of so few events is not looked for.
pub(crate) const WORTH_EVENTS: i64 = 64;
/// The largest state that is kept, in bytes of JSON: reading a larger one would cost more than it saves.
pub const MAX_STATE_BYTES: usize = 8 << 20;
/// How long writing one may take.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// Tells this seal from any later one.
const DOMAIN: &[u8] = b"merx.snapshot.1";

/// The state that a stream had at some version, as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The last event in it.
    pub version: i64,
    /// That event's position.
    pub position: i64,
    /// When that event was recorded.
    pub recorded_at: Timestamp,
    /// The state, in JSON.
    pub state: String,
}

/// A state to keep. It must be of committed events only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// Its stream.
    pub stream: StreamId,
    /// The last event in it.
    pub version: i64,
    /// The version of the state's shape and of the rules that made it.
    pub state_version: i32,
    /// The state, in JSON.
    pub state: String,
}

/// What shows that a snapshot is as it was taken: SHA-256 over the domain, the stream, the versions and the state, texts led by their lengths.
pub(crate) fn seal(stream: &StreamId, version: i64, state_version: i32, state: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    let mut text = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    text(DOMAIN);
    text(stream.as_str().as_bytes());
    text(state.as_bytes());
    hasher.update(version.to_be_bytes());
    hasher.update(state_version.to_be_bytes());
    hasher.finalize().into()
}

/// Tells of a snapshot that can't be used although it seemed to fit.
pub(crate) fn tell_damaged(stream: &StreamId, version: i64) {
    counter!("merx_snapshots_ignored_total").increment(1);
    tracing::warn!(%stream, version, "a snapshot was changed after it was taken, and is ignored; it may be deleted");
}

/// A snapshot that is wanted.
struct Wish {
    /// True for one of the states that a stream had on its way, false for its newest.
    past: bool,
    take: Box<dyn FnOnce() -> Option<NewSnapshot> + Send>,
}

/// The way to the task that takes snapshots, which ends when the last handle is dropped.
pub(crate) struct Handle {
    queue: mpsc::Sender<Wish>,
    /// Its bytes.
    room: Arc<Semaphore>,
}

/// Starts the task that takes snapshots.
pub(crate) fn start(pool: PgPool) -> Handle {
    let (queue, mut waiting) = mpsc::channel::<Wish>(QUEUE_SNAPSHOTS);
    tokio::spawn(async move {
        while let Some(Wish { past, take }) = waiting.recv().await {
            // Copying and writing a large state takes milliseconds, which no other task should wait for.
            let Ok(Some(snapshot)) = tokio::task::spawn_blocking(take).await else { continue };
            if snapshot.state.len() > MAX_STATE_BYTES {
                counter!("merx_snapshots_too_large_total").increment(1);
                continue;
            }
            let keeping = async { if past { keep_past(&pool, &snapshot).await } else { keep(&pool, &snapshot).await } };
            match tokio::time::timeout(WRITE_LIMIT, keeping).await {
                Ok(Ok(())) => counter!("merx_snapshots_taken_total").increment(1),
                Ok(Err(error)) => tracing::debug!(stream = %snapshot.stream, %error, "a snapshot was not kept"),
                Err(_) => tracing::debug!(stream = %snapshot.stream, "a snapshot was not kept in time"),
            }
        }
    });
    Handle { queue, room: Arc::new(Semaphore::new(QUEUE_BYTES)) }
}

impl EventStore {
    /// Has a snapshot taken in the background: `take` gives it, or none where it turns out not to be worth it, and may take its time. Whether
    /// there was room in the queue; where not, nothing happens.
    pub fn offer_snapshot(&self, take: impl FnOnce() -> Option<NewSnapshot> + Send + 'static) -> bool {
        self.inner.snapshots.queue.try_send(Wish { past: false, take: Box::new(take) }).is_ok()
    }

    /// Keeps `snapshot`, and waits for that. One that is older than what is kept already is dropped.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn keep_snapshot(&self, snapshot: &NewSnapshot) -> Result<(), Error> {
        keep(self.pool(), snapshot).await
    }

    /// The snapshot of `stream` that is of `state_version` and no newer than the version `up_to`, if there is one to be trusted. Where
    /// `up_to` is so low that it would spare next to nothing, none is looked for.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn snapshot(&self, stream: &StreamId, state_version: i32, up_to: i64) -> Result<Option<Snapshot>, Error> {
        if up_to <= WORTH_EVENTS {
            return Ok(None);
        }
        let rows = sqlx::query!(
            r#"
            select s.version as "version!", s.state::text as "state!", s.seal as "seal!", e.position, e.recorded_at
            from (
                select version, state_version, event_hash, state, seal from snapshots where stream_id = $1
                union all
                (select version, state_version, event_hash, state, seal from past_snapshots
                 where stream_id = $1 and version <= $3 and state_version = $2
                 order by version desc limit 1)
            ) s
            join events e on e.stream_id = $1 and e.version = s.version and e.hash = s.event_hash
            where s.state_version = $2 and s.version <= $3
            order by s.version desc
            "#,
            stream.as_str(),
            state_version,
            up_to,
        )
        .fetch_all(&self.reads)
        .await?;
        for row in rows {
            if row.seal == seal(stream, row.version, state_version, &row.state) {
                return Ok(Some(Snapshot {
                    version: row.version,
                    position: row.position,
                    recorded_at: row.recorded_at.into(),
                    state: row.state,
                }));
            }
            tell_damaged(stream, row.version);
        }
        Ok(None)
    }

    /// Has a state that `stream` had on its way kept in the background, so that old states of a long stream are cheap to show. It is dropped
    /// where too many wait, and where the database refuses: a reader may have no right to write.
    pub fn offer_past_snapshot(&self, snapshot: NewSnapshot) -> bool {
        let Handle { queue, room } = &self.inner.snapshots;
        let bytes = u32::try_from(snapshot.state.len()).unwrap_or(u32::MAX);
        let Ok(room) = room.clone().try_acquire_many_owned(bytes) else { return false };
        let take = move || {
            drop(room);
            Some(snapshot)
        };
        queue.try_send(Wish { past: true, take: Box::new(take) }).is_ok()
    }
}

async fn keep(pool: &PgPool, snapshot: &NewSnapshot) -> Result<(), Error> {
    let seal = seal(&snapshot.stream, snapshot.version, snapshot.state_version, &snapshot.state);
    // Not waiting for the disk: a crash may take the snapshot back, and nothing is lost by that. What is newer stays, unless it could
    // never be read.
    sqlx::query!(
        r#"
        with no_wait as materialized (select set_config('synchronous_commit', 'off', true))
        insert into snapshots as s (stream_id, version, state_version, event_hash, state, seal)
        select e.stream_id, e.version, $3, e.hash, $4::text::json, $5
        from no_wait cross join events e
        where e.stream_id = $1 and e.version = $2
        on conflict (stream_id) do update
            set version = excluded.version, state_version = excluded.state_version, event_hash = excluded.event_hash, state = excluded.state,
                seal = excluded.seal, taken_at = now()
            where s.version <= excluded.version
               or s.state_version <> excluded.state_version
               or not exists (select from events k where k.stream_id = s.stream_id and k.version = s.version and k.hash = s.event_hash)
        "#,
        snapshot.stream.as_str(),
        snapshot.version,
        snapshot.state_version,
        snapshot.state,
        &seal[..],
    )
    .execute(pool)
    .await?;
    Ok(())
}

async fn keep_past(pool: &PgPool, snapshot: &NewSnapshot) -> Result<(), Error> {
    let seal = seal(&snapshot.stream, snapshot.version, snapshot.state_version, &snapshot.state);
    sqlx::query!(
        r#"
        with no_wait as materialized (select set_config('synchronous_commit', 'off', true))
        insert into past_snapshots (stream_id, version, state_version, event_hash, state, seal)
        select e.stream_id, e.version, $3, e.hash, $4::text::json, $5
        from no_wait cross join events e
        where e.stream_id = $1 and e.version = $2
        on conflict (stream_id, version) do update
            set state_version = excluded.state_version, event_hash = excluded.event_hash, state = excluded.state, seal = excluded.seal, taken_at = now()
        "#,
        snapshot.stream.as_str(),
        snapshot.version,
        snapshot.state_version,
        snapshot.state,
        &seal[..],
    )
    .execute(pool)
    .await?;
    Ok(())
}
