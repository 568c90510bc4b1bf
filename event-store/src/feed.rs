//! The log as an ordered source of events for consumers: no event is skipped, none comes twice.
//!
//! What this process commits is kept for a while in memory, so that consumers at the head never read it back from Postgres. What
//! others commit is found by a timed poll, which is the truth, and sooner by a signal, which is a hint.

mod signal;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use event_schemas::{Recorded, events::DecodeError};
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::watch;

use crate::{Error, decode::Row, newer};

/// The most events kept in memory for consumers at the head.
const KEPT_EVENTS: usize = 8_192;
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
}

/// The events after `after`, without gaps.
#[derive(Default)]
struct Recent {
    after: i64,
    events: VecDeque<Arc<Recorded>>,
}

impl Recent {
    fn end(&self) -> i64 {
        self.after + self.events.len() as i64
    }

    fn push(&mut self, base: i64, events: Vec<Arc<Recorded>>) {
        if base != self.end() {
            // Another process wrote in between: whoever needs that reads it from Postgres.
            self.events.clear();
            self.after = base;
        }
        self.events.extend(events);
        let surplus = self.events.len().saturating_sub(KEPT_EVENTS);
        self.events.drain(..surplus);
        self.after += surplus as i64;
    }

    fn read(&self, after: i64, most: usize) -> Option<Vec<Arc<Recorded>>> {
        if after < self.after || after >= self.end() {
            return None;
        }
        let skip = usize::try_from(after - self.after).ok()?;
        Some(self.events.iter().skip(skip).take(most).cloned().collect())
    }
}

impl Hub {
    /// A hub of the log in the database of `store`, which it reads over connections of its own.
    pub async fn open(store: PgPool) -> Result<Self, Error> {
        let pool = apart(&store, CONNECTIONS);
        let head = sqlx::query_scalar!("select position from log_head").fetch_one(&pool).await?;
        let hub = Self {
            inner: Arc::new(HubInner {
                pool,
                store,
                recent: Mutex::new(Recent { after: head, events: VecDeque::new() }),
                head: watch::Sender::new(head),
                committed: watch::Sender::new(head),
            }),
        };
        signal::start(&hub);
        Ok(hub)
    }

    pub fn head(&self) -> i64 {
        *self.inner.head.borrow()
    }

    /// Waits until the log reaches beyond `after`; how far it does then.
    pub async fn reached(&self, after: i64) -> i64 {
        let mut head = self.inner.head.subscribe();
        // The sender lives in this hub, so waiting can't fail.
        head.wait_for(|head| *head > after).await.map_or(after, |head| *head)
    }

    /// This process committed `events` after `base`.
    pub fn committed(&self, base: i64, events: Vec<Arc<Recorded>>) {
        if events.is_empty() {
            return;
        }
        let end = base + events.len() as i64;
        self.inner.recent.lock().push(base, events);
        self.advance(end);
        self.inner.committed.send_replace(end);
    }

    /// The log reaches to `head` at least.
    fn advance(&self, head: i64) {
        self.inner.head.send_if_modified(|known| {
            let newer = head > *known;
            *known = head.max(*known);
            newer
        });
    }

    async fn poll(&self) -> Result<(), Error> {
        let head = sqlx::query_scalar!("select position from log_head").fetch_one(&self.inner.pool).await?;
        self.advance(head);
        Ok(())
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
    /// Events of no interest up to a position.
    #[must_use]
    pub fn empty(up_to: i64) -> Self {
        Self { events: Vec::new(), undecodable: Vec::new(), up_to }
    }
}

/// An ordered source of the events of some categories.
#[derive(Clone)]
pub struct Feed {
    hub: Hub,
    categories: &'static [&'static str],
    head: watch::Receiver<i64>,
}

impl Feed {
    pub(crate) fn new(hub: Hub, categories: &'static [&'static str]) -> Self {
        let head = hub.inner.head.subscribe();
        Self { hub, categories, head }
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
        // The sender lives in the hub that this feed holds, so waiting can't fail.
        let _ = self.head.wait_for(|head| *head > after).await;
        self.read(after, most).await
    }

    /// What comes after position `after`, up to `most` positions of it; an empty batch at the head. It ends before an event that a newer program
    /// has written.
    ///
    /// # Errors
    /// The database can't be reached; [`Error::Newer`], where the next event is from a newer program.
    pub async fn read(&self, after: i64, most: usize) -> Result<Batch, Error> {
        let recent = self.hub.inner.recent.lock().read(after, most);
        if let Some(mut events) = recent {
            let up_to = events.last().map_or(after, |last| last.position);
            events.retain(|recorded| self.wants(recorded.stream.category()));
            return Ok(Batch { events, undecodable: Vec::new(), up_to });
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
        let up_to = head.min(after.saturating_add(most as i64));
        if up_to <= after {
            return Ok(Batch::empty(after));
        }
        let categories: Vec<String> = self.categories.iter().map(ToString::to_string).collect();
        let rows = sqlx::query_as!(
            Row,
            r#"
            select position, stream_id, version, event_id, type as event_type, schema_version, payload::text as "payload!",
                   metadata::text as "metadata!", recorded_at
            from events
            where position > $1 and position <= $2 and split_part(stream_id, '-', 1) = any($3)
            order by position
            "#,
            after,
            up_to,
            &categories,
        )
        .fetch_all(&self.hub.inner.pool)
        .await?;
        let mut batch = Batch { events: Vec::with_capacity(rows.len()), undecodable: Vec::new(), up_to };
        for row in rows {
            match row.decode() {
                Ok(recorded) => batch.events.push(Arc::new(recorded)),
                Err(undecodable) => batch.undecodable.push(undecodable),
            }
        }
        Ok(batch)
    }
}
