//! The log as an ordered source of events for consumers: no event is skipped, none comes twice.
//!
//! What this process commits is kept for a while in memory, so that consumers at the head never read it back from Postgres. What
//! others commit is found by a timed poll, which is the truth, and sooner by a signal, which is a hint.

mod hub;
mod signal;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use event_schemas::{Recorded, events::DecodeError};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    Error,
    bounded::{self, Rest, Taken},
    decode::Row,
    kafka::topics,
    mark::{Hash, Mark, Past},
    newer,
    timeline::Timelines,
};

/// The most events kept in memory for consumers at the head, and the most bytes of their data.
const KEPT_EVENTS: usize = 8_192;
const KEPT_BYTES: usize = 8 << 20;
/// A batch ends with the event that makes it so many bytes of data.
pub(crate) const BATCH_BYTES: usize = 4 << 20;
/// The fewest positions that are asked for at once, however large their events may be.
const LEAST_POSITIONS: usize = 4;
/// Connections that consumers read with, apart from those of the store: whoever writes never waits for a consumer that is far behind, and a
/// consumer that reads while it holds its checkpoint never for those who wait for that.
const CONNECTIONS: u32 = 6;
/// How often Postgres is asked for what others committed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// What is shared by all feeds of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hub {
    inner: Arc<HubInner>,
}

struct HubInner {
    /// Its own.
    pool: PgPool,
    /// The one that was opened; once it is closed, the hub ends.
    store: PgPool,
    recent: Mutex<Recent>,
    head: watch::Sender<i64>,
    /// Told of each group that this process commits.
    committed: watch::Sender<i64>,
    /// Marks of the log that this process remembers: whatever it has seen of it, it knows a mark there or beyond.
    past: Mutex<Past>,
    timelines: Mutex<Timelines>,
    /// The timeline that the log was on when it was opened.
    opened_on: Uuid,
    /// Number of times the log was found to have gone back; 0 when it was opened.
    breaks: watch::Sender<u64>,
    /// Up to where marks are kept in the database.
    kept: Mutex<i64>,
    /// Held by whoever looks whether it has.
    looking: tokio::sync::Mutex<()>,
}

/// The events after `after`, without gaps.
struct Recent {
    after: i64,
    events: VecDeque<Weighed>,
    /// Of the data of all of them.
    bytes: usize,
}

/// An event with its hash, and the bytes of its data.
#[derive(Debug, Clone)]
pub(crate) struct Weighed {
    pub event: Arc<Recorded>,
    pub hash: Hash,
    pub bytes: usize,
}

impl Recent {
    /// Nothing, from the end of the log at `after` on.
    fn at(after: i64) -> Self {
        Self { after, events: VecDeque::new(), bytes: 0 }
    }

    fn end(&self) -> i64 {
        self.after + self.events.len() as i64
    }

    fn push(&mut self, base: i64, events: Vec<Weighed>) {
        if base != self.end() {
            // Another process wrote in between: whoever needs that reads it from Postgres.
            *self = Self::at(base);
        }
        self.bytes += events.iter().map(|weighed| weighed.bytes).sum::<usize>();
        self.events.extend(events);
        while (self.events.len() > KEPT_EVENTS || self.bytes > KEPT_BYTES)
            && let Some(oldest) = self.events.pop_front()
        {
            self.bytes -= oldest.bytes;
            self.after += 1;
        }
    }

    /// The events after `after`: at most `most` and [`BATCH_BYTES`] of them, and one at least; none where they are not here.
    fn read(&self, after: i64, most: usize) -> Option<Vec<Weighed>> {
        if after < self.after || after >= self.end() {
            return None;
        }
        let skip = usize::try_from(after - self.after).ok()?;
        let mut bytes = 0;
        let has_room = |weighed: &&Weighed| {
            let has_room = bytes < BATCH_BYTES;
            bytes += weighed.bytes;
            has_room
        };
        Some(self.events.iter().skip(skip).take(most).take_while(has_room).cloned().collect())
    }
}

/// A pool of its own for the database of `pool`, with at most `connections`, which are made when they are needed.
fn apart(pool: &PgPool, connections: u32) -> PgPool {
    let options = pool.options().clone().min_connections(0).max_connections(connections);
    options.connect_lazy_with(pool.connect_options().as_ref().clone())
}

/// Events in order, and how far they go.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The events of the wanted categories.
    pub events: Vec<Arc<Recorded>>,
    /// Events of the wanted categories that this program can't read, in order.
    pub undecodable: Vec<Undecodable>,
    /// The position that has been read up to, events of other categories included.
    pub up_to: i64,
    /// Of the event there.
    pub hash: Hash,
}

/// An event that is in the log, but none that this program knows.
#[derive(Debug, Clone, thiserror::Error)]
#[error("event {position} of the log can't be read: {source}")]
pub struct Undecodable {
    /// Where it stands.
    pub position: i64,
    /// Its stream.
    pub stream: String,
    /// Its number in its stream.
    pub version: i64,
    /// Its type.
    pub event_type: String,
    /// The version of its payload's schema when it was written.
    pub schema_version: i16,
    /// What is wrong with it.
    pub source: DecodeError,
}

impl Batch {
    /// Events of no interest up to `end`.
    #[must_use]
    pub fn empty(end: Mark) -> Self {
        Self { events: Vec::new(), undecodable: Vec::new(), up_to: end.position, hash: end.hash }
    }

    /// The end of what has been read: its position, and the hash of the event there.
    #[must_use]
    pub fn end(&self) -> Mark {
        Mark { position: self.up_to, hash: self.hash }
    }
}

/// An ordered source of the events of some categories. Where the log goes back, it ends.
#[derive(Clone)]
pub struct Feed {
    hub: Hub,
    categories: &'static [&'static str],
    head: watch::Receiver<i64>,
    /// As they were when it began.
    breaks: u64,
    /// Number of positions that are asked for at once: as many as had a batch's bytes the last time that there were so many.
    window: Arc<AtomicUsize>,
}

impl Feed {
    pub(crate) fn new(hub: Hub, categories: &'static [&'static str]) -> Self {
        let (head, breaks) = (hub.inner.head.subscribe(), hub.breaks());
        Self { hub, categories, head, breaks, window: Arc::new(AtomicUsize::new(usize::MAX)) }
    }

    /// The position of the newest event that is known of.
    #[must_use]
    pub fn head(&self) -> i64 {
        self.hub.head()
    }

    /// What comes after position `after`: waits until there is something, then up to `most` positions of it at once. The batch may
    /// hold no event where all of them are of other categories.
    ///
    /// # Errors
    /// Those of [`Self::read`].
    pub async fn next(&mut self, after: i64, most: usize) -> Result<Batch, Error> {
        let mut breaks = self.hub.inner.breaks.subscribe();
        // The senders live in the hub that this feed holds, so waiting can't fail.
        tokio::select! {
            biased;
            _ = breaks.wait_for(|breaks| *breaks != self.breaks) => {}
            _ = self.head.wait_for(|head| *head > after) => {}
        }
        self.read(after, most).await
    }

    /// Reads what comes after position `after`, up to `most` positions of it, and less where that has much data; an empty batch at the head. It
    /// ends before an event that a newer program has written.
    ///
    /// # Errors
    /// The database can't be reached; [`Error::WentBack`] for ever where the log has gone back since this feed began; [`Error::Newer`], where the next
    /// event is from a newer program.
    pub async fn read(&self, after: i64, most: usize) -> Result<Batch, Error> {
        // Before the look at what comes from another history.
        let recent = self.hub.inner.recent.lock().read(after, most);
        if self.breaks != self.hub.breaks() {
            return Err(Error::WentBack(self.hub.timeline().since));
        }
        if let Some(recent) = recent {
            let end = recent.last().map_or(Mark::START, |last| Mark { position: last.event.position, hash: last.hash });
            let mut batch = Batch::empty(end);
            batch.events = recent.into_iter().map(|weighed| weighed.event).filter(|event| self.wants(event.stream.category())).collect();
            return Ok(batch);
        }
        let (batch, newer) = newer::split(&self.hub.inner.pool, self.read_stored(after, most).await?).await?;
        match newer {
            Some(newer) if batch.up_to <= after => Err(newer.into()),
            _ => Ok(batch),
        }
    }

    fn wants(&self, category: &str) -> bool {
        self.categories.contains(&category)
    }

    async fn read_stored(&self, after: i64, most: usize) -> Result<Batch, Error> {
        // Positions are gap-free and in commit order: whatever is at or below the head is visible, all of it.
        let head = self.head();
        let window = self.window.load(Ordering::Relaxed);
        let up_to = head.min(after.saturating_add(i64::try_from(most.min(window)).unwrap_or(i64::MAX)));
        if up_to <= after {
            let hash = sqlx::query_scalar!(r#"select hash_at($1) as "hash!""#, after).fetch_one(&self.hub.inner.pool).await?;
            return Ok(Batch::empty(Mark::new(after, &hash)));
        }
        let categories: Vec<String> = self.categories.iter().map(ToString::to_string).collect();
        let mut connection = self.hub.inner.pool.acquire().await?;
        let rows = sqlx::query!(
            r#"
            select position, stream_id, version, event_id, type as event_type, schema_version, payload::text as "payload!",
                   metadata::text as "metadata!", recorded_at, hash
            from events
            where position > $1 and position <= $2 and (split_part(stream_id, '-', 1) = any($3) or position = $2)
            order by position
            "#,
            after,
            up_to,
            &categories,
        )
        .fetch(&mut *connection);
        let Taken { rows, is_cut, rest } = bounded::take(rows, |row| row.payload.len() + row.metadata.len(), BATCH_BYTES).await?;
        if rest == Rest::TooMuch {
            connection.close_on_drop();
        }
        // Before they are decoded, which takes longer than reading them.
        drop(connection);
        let end = rows.last().map(|last| Mark::new(last.position, &last.hash)).filter(|end| is_cut || end.position == up_to);
        let Some(end) = end else {
            self.hub.poll().await?;
            return Err(Error::Unavailable(format!("position {up_to} is not in the log: see `merx verify`")));
        };
        let (mut batch, mut bytes) = (Batch::empty(end), 0);
        for row in rows {
            // The last one came for its hash.
            if !self.wants(topics::category_of_stream(&row.stream_id)) {
                continue;
            }
            bytes += row.payload.len() + row.metadata.len();
            let row = Row {
                position: row.position,
                stream_id: row.stream_id,
                version: row.version,
                event_id: row.event_id,
                event_type: row.event_type,
                schema_version: row.schema_version,
                payload: row.payload,
                metadata: row.metadata,
                recorded_at: row.recorded_at,
            };
            match row.decode() {
                Ok(recorded) => batch.events.push(Arc::new(recorded)),
                Err(undecodable) => batch.undecodable.push(undecodable),
            }
        }
        self.fit_window(usize::try_from(batch.up_to - after).unwrap_or(LEAST_POSITIONS), is_cut, bytes);
        self.hub.observe(batch.end());
        Ok(batch)
    }

    /// Fits the number of positions that are asked for next to the `bytes` that so many `positions` had.
    fn fit_window(&self, positions: usize, is_cut: bool, bytes: usize) {
        if is_cut {
            self.window.store(positions.max(LEAST_POSITIONS), Ordering::Relaxed);
        } else if bytes < BATCH_BYTES / 2 {
            let window = self.window.load(Ordering::Relaxed);
            self.window.store(window.saturating_mul(2), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::{Event, Metadata, StreamId, events::stock::StockReceived, ids::CommandId};

    use super::*;

    fn weighed(position: i64, bytes: usize) -> Weighed {
        let event = Event::Stock(StockReceived { quantity: 1, reference: "R".into() }.into());
        let metadata =
            Metadata { command_id: CommandId(Uuid::nil()), correlation_id: Uuid::nil(), causation_id: None, actor: "test".into() };
        let recorded_at = event_schemas::Timestamp::from_micros(0);
        let stream = StreamId::stock(&"A".parse().unwrap());
        let event = Recorded { position, stream, version: position, event_id: Uuid::nil(), metadata, recorded_at, event };
        Weighed { event: Arc::new(event), hash: [0; 32], bytes }
    }

    fn positions(read: Option<Vec<Weighed>>) -> Option<Vec<i64>> {
        read.map(|read| read.iter().map(|weighed| weighed.event.position).collect())
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let mut recent = Recent::at(0);
        let most = KEPT_EVENTS as i64;
        recent.push(0, (1..=most + 5).map(|position| weighed(position, 1)).collect());
        assert_eq!((recent.events.len(), recent.after, recent.bytes), (KEPT_EVENTS, 5, KEPT_EVENTS));
        recent.push(most + 5, (most + 6..=most + 8).map(|position| weighed(position, KEPT_BYTES / 2)).collect());
        assert_eq!((recent.events.len(), recent.after, recent.bytes), (2, most + 6, KEPT_BYTES), "two of them are all that may be kept");
        recent.push(most + 100, vec![weighed(most + 101, 7)]);
        assert_eq!((recent.events.len(), recent.after, recent.bytes), (1, most + 100, 7), "others wrote in between");
    }

    #[test]
    fn a_batch_ends_with_the_event_that_makes_it_full() {
        let mut recent = Recent::at(0);
        recent.push(0, (1..=4).map(|position| weighed(position, BATCH_BYTES / 2)).collect());
        assert_eq!(positions(recent.read(0, 9)), Some(vec![1, 2]));
        assert_eq!(positions(recent.read(2, 1)), Some(vec![3]));
        recent.push(4, vec![weighed(5, BATCH_BYTES + 1), weighed(6, 1)]);
        assert_eq!(positions(recent.read(4, 9)), Some(vec![5]), "one at least");
        assert_eq!(positions(recent.read(5, 9)), Some(vec![6]));
        assert_eq!(positions(recent.read(6, 9)), None);
    }
}
