//! Streams and the log as they are stored, for auditors and for whoever is far behind.

use event_schemas::{Recorded, StreamId, Timestamp, ids::CommandId};
use futures::{
    StreamExt as _, TryStreamExt as _,
    stream::{self, BoxStream},
};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Error, EventStore, append,
    bounded::{self, Rest},
    decode::Row,
    feed::Undecodable,
};

/// The bytes of data with which a page ends, whatever its limit: the event that makes it so many is its last.
pub const PAGE_BYTES: usize = 2 << 20;
/// The events that are asked for first, and by how much more at a time where they turn out to be small. So Postgres seldom sends what has no room.
const FIRST_EVENTS: usize = 8;
const STEP_FACTOR: usize = 8;
/// The most events of a page, where all of a stream are read.
const PAGE_EVENTS: i64 = 1_000;

/// An event as the log holds it: payload and metadata are the JSON texts that were hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its number in the whole log.
    pub position: i64,
    /// Its stream.
    pub stream_id: String,
    /// Its number in its stream.
    pub version: i64,
    /// Its id.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: String,
    /// The version of its payload's schema when it was written.
    pub schema_version: i16,
    /// What happened.
    pub payload: String,
    /// Who and why.
    pub metadata: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Its hash.
    pub hash: Vec<u8>,
}

impl StoredEvent {
    /// The event, lifted to today's schema.
    ///
    /// # Errors
    /// It is none that this program knows.
    pub fn decode(self) -> Result<Recorded, Undecodable> {
        Row {
            position: self.position,
            stream_id: self.stream_id,
            version: self.version,
            event_id: self.event_id,
            event_type: self.event_type,
            schema_version: self.schema_version,
            payload: self.payload,
            metadata: self.metadata,
            recorded_at: self.recorded_at.utc(),
        }
        .decode()
    }
}

/// Which events of the log are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only of this category of streams.
    pub category: Option<String>,
    /// Only of these types; all where it is empty.
    pub types: Vec<String>,
}

impl Filter {
    /// Returns true where an event of `event_type` in the stream `stream_id` is of the wanted category and of one of the wanted types.
    #[must_use]
    pub fn wants(&self, stream_id: &str, event_type: &str) -> bool {
        let is_of = |category: &String| stream_id.strip_prefix(category.as_str()).is_some_and(|rest| rest.starts_with('-'));
        self.category.as_ref().is_none_or(is_of) && (self.types.is_empty() || self.types.iter().any(|wanted| wanted == event_type))
    }
}

/// The bytes of the texts of `event`: nearly all that it takes.
#[must_use]
pub fn payload_bytes(event: &StoredEvent) -> usize {
    event.payload.len() + event.metadata.len()
}

/// Returns true where `page`, of which at most `limit` events were wanted, may not be all that there is.
#[must_use]
pub fn is_full(page: &[StoredEvent], limit: i64) -> bool {
    page.len() as i64 >= limit || page.iter().map(payload_bytes).sum::<usize>() >= PAGE_BYTES
}

impl EventStore {
    /// The events of `stream` with versions `from` to `to` (both inclusive): at most `limit`, and fewer where they have [`PAGE_BYTES`] of data.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read_stream(&self, stream: &StreamId, from: i64, to: i64, limit: i64) -> Result<Vec<StoredEvent>, Error> {
        stream_page(&self.reads, stream.as_str(), from, to, limit).await
    }

    /// The events of `stream` up to the version `to`, of which no more than a page is in memory at a time.
    ///
    /// # Errors
    /// The database can't be reached.
    pub fn stream_up_to<'s>(&'s self, stream: &'s StreamId, to: i64) -> BoxStream<'s, Result<StoredEvent, Error>> {
        let pages = stream::try_unfold(1, move |from| async move {
            let page = if from > to { Vec::new() } else { self.read_stream(stream, from, to, PAGE_EVENTS).await? };
            let next = page.last().map(|last| last.version + 1);
            Ok::<_, Error>(next.map(|next| (stream::iter(page.into_iter().map(Ok)), next)))
        });
        pages.try_flatten().boxed()
    }

    /// The newest version of `stream`; 0 where it does not exist.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn stream_version(&self, stream: &StreamId) -> Result<i64, Error> {
        let version =
            sqlx::query_scalar!("select max(version) from events where stream_id = $1", stream.as_str()).fetch_one(&self.reads).await?;
        Ok(version.unwrap_or(0))
    }

    /// The version that `stream` had at `at` (inclusive); 0 where it did not exist yet.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn stream_version_at(&self, stream: &StreamId, at: Timestamp) -> Result<i64, Error> {
        // Times of one stream may run backwards where clocks jump: the newest event that is not later counts.
        let version = sqlx::query_scalar!(
            "select version from events where stream_id = $1 and recorded_at <= $2 order by version desc limit 1",
            stream.as_str(),
            at.utc()
        )
        .fetch_optional(&self.reads)
        .await?;
        Ok(version.unwrap_or(0))
    }

    /// The events after position `after` that `filter` wants: at most `limit`, and fewer where they have [`PAGE_BYTES`] of data.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read_log(&self, after: i64, up_to: i64, filter: &Filter, limit: i64) -> Result<Vec<StoredEvent>, Error> {
        log_page(&self.reads, after, up_to, filter, limit).await
    }

    /// The position of the last event of `command`, if it was committed and led to any.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn position_of(&self, command: CommandId) -> Result<Option<i64>, Error> {
        let last = append::event_id(command, append::MAX_EVENTS_OF_COMMAND);
        let position = sqlx::query_scalar!(
            r#"
            select l.position
            from events f
            cross join lateral (select position from events where event_id between $1 and $2 order by event_id desc limit 1) l
            where f.event_id = $1
            "#,
            command.uuid(),
            last
        )
        .fetch_optional(self.pool())
        .await?;
        Ok(position)
    }

    /// The position of the newest event as committed now.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn head(&self) -> Result<i64, Error> {
        Ok(sqlx::query_scalar!("select position from log_head").fetch_one(self.pool()).await?)
    }
}

struct StoredRow {
    position: i64,
    stream_id: String,
    version: i64,
    event_id: Uuid,
    event_type: String,
    schema_version: i16,
    payload: String,
    metadata: String,
    recorded_at: chrono::DateTime<chrono::Utc>,
    hash: Vec<u8>,
}

impl From<StoredRow> for StoredEvent {
    fn from(row: StoredRow) -> Self {
        Self {
            position: row.position,
            stream_id: row.stream_id,
            version: row.version,
            event_id: row.event_id,
            event_type: row.event_type,
            schema_version: row.schema_version,
            payload: row.payload,
            metadata: row.metadata,
            recorded_at: row.recorded_at.into(),
            hash: row.hash,
        }
    }
}

/// The events after position `after` up to `up_to` that `filter` wants: at most `limit`, and fewer where they have [`PAGE_BYTES`] of data.
///
/// # Errors
/// The database can't be reached.
pub async fn log_page(pool: &PgPool, after: i64, up_to: i64, filter: &Filter, limit: i64) -> Result<Vec<StoredEvent>, Error> {
    let prefix = filter.category.as_ref().map(|category| format!("{category}-"));
    let mut connection = pool.acquire().await?;
    let mut page = Page::new(limit);
    while let Some(step) = page.step() {
        let rows = sqlx::query_as!(
            StoredRow,
            r#"
            select position, stream_id, version, event_id, type as event_type, schema_version, payload::text as "payload!",
                   metadata::text as "metadata!", recorded_at, hash
            from events
            where position > $1 and position <= $2
              and ($3::text is null or starts_with(stream_id, $3))
              and (cardinality($4::text[]) = 0 or type = any($4))
            order by position
            limit $5
            "#,
            page.events.last().map_or(after, |last| last.position),
            up_to,
            prefix.as_deref(),
            &filter.types,
            step,
        )
        .fetch(&mut *connection);
        if page.take(rows, step).await? == Rest::TooMuch {
            connection.close_on_drop();
        }
    }
    Ok(page.events)
}

/// The events of `stream` with versions `from` to `to` (both inclusive): at most `limit`, and fewer where they have [`PAGE_BYTES`] of data.
///
/// # Errors
/// The database can't be reached.
pub async fn stream_page(pool: &PgPool, stream: &str, from: i64, to: i64, limit: i64) -> Result<Vec<StoredEvent>, Error> {
    let mut connection = pool.acquire().await?;
    let (page, rest) = page_of_stream(&mut connection, stream, from, to, limit).await?;
    if rest == Rest::TooMuch {
        connection.close_on_drop();
    }
    Ok(page)
}

/// [`stream_page`] over a connection, and whether that has still to receive what had no room.
pub(crate) async fn page_of_stream(
    connection: &mut PgConnection,
    stream: &str,
    from: i64,
    to: i64,
    limit: i64,
) -> Result<(Vec<StoredEvent>, Rest), Error> {
    let (mut page, mut rest) = (Page::new(limit), Rest::Nothing);
    while let Some(step) = page.step() {
        let rows = sqlx::query_as!(
            StoredRow,
            r#"
        select position, stream_id, version, event_id, type as event_type, schema_version, payload::text as "payload!",
               metadata::text as "metadata!", recorded_at, hash
        from events
        where stream_id = $1 and version >= $2 and version <= $3
        order by version
        limit $4
        "#,
            stream,
            page.events.last().map_or(from, |last| last.version + 1),
            to,
            step,
        )
        .fetch(&mut *connection);
        rest = page.take(rows, step).await?;
    }
    Ok((page.events, rest))
}

/// A page that is gathered in steps.
struct Page {
    events: Vec<StoredEvent>,
    bytes: usize,
    limit: usize,
    has_ended: bool,
}

impl Page {
    fn new(limit: i64) -> Self {
        Self { events: Vec::new(), bytes: 0, limit: usize::try_from(limit).unwrap_or(0), has_ended: false }
    }

    /// The number of events to ask for next: as many as have room if they are like those before. None where the page is full, or there are no more.
    fn step(&self) -> Option<i64> {
        let taken = self.events.len();
        let left = self.limit.saturating_sub(taken);
        if self.has_ended || left == 0 {
            return None;
        }
        let room = PAGE_BYTES.saturating_sub(self.bytes).saturating_mul(taken.max(1)) / self.bytes.max(1);
        let step = if taken == 0 { FIRST_EVENTS } else { room.clamp(1, taken.saturating_mul(STEP_FACTOR)) };
        i64::try_from(step.min(left)).ok()
    }

    /// Takes the answer to a `step` as far as there is room.
    async fn take(&mut self, mut rows: BoxStream<'_, Result<StoredRow, sqlx::Error>>, step: i64) -> Result<Rest, sqlx::Error> {
        let before = self.events.len();
        while let Some(row) = rows.try_next().await? {
            self.bytes += row.payload.len() + row.metadata.len();
            self.events.push(row.into());
            if self.bytes >= PAGE_BYTES {
                self.has_ended = true;
                return bounded::leave(rows, |row| row.payload.len()).await;
            }
        }
        self.has_ended = ((self.events.len() - before) as i64) < step;
        Ok(Rest::Nothing)
    }
}

/// The events after position `after` up to `up_to`, as many of them as have `most_bytes` of data, and one at least.
pub(crate) async fn page(pool: &PgPool, after: i64, up_to: i64, most_bytes: i64) -> Result<Vec<StoredEvent>, Error> {
    let rows = sqlx::query_as!(
        StoredRow,
        r#"
        select position as "position!", stream_id as "stream_id!", version as "version!", event_id as "event_id!", event_type as "event_type!",
               schema_version as "schema_version!", payload as "payload!", metadata as "metadata!", recorded_at as "recorded_at!", hash as "hash!"
        from (
            select position, stream_id, version, event_id, type as event_type, schema_version, payload::text, metadata::text, recorded_at, hash,
                   sum(octet_length(payload::text)) over (order by position) as bytes
            from events
            where position > $1 and position <= $2
        ) e
        where bytes <= $3 or position = $1 + 1
        order by position
        "#,
        after,
        up_to,
        most_bytes,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(StoredEvent::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(bytes: usize) -> StoredRow {
        StoredRow {
            position: 1,
            stream_id: "cart-1".into(),
            version: 1,
            event_id: Uuid::nil(),
            event_type: "CartOpened".into(),
            schema_version: 1,
            payload: "x".repeat(bytes),
            metadata: String::new(),
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            hash: Vec::new(),
        }
    }

    /// The steps in which a page of at most `limit` is read where each event has `bytes`; how many it takes.
    async fn steps(limit: i64, bytes: usize) -> (Vec<i64>, usize) {
        let (mut page, mut steps) = (Page::new(limit), Vec::new());
        while let Some(step) = page.step() {
            steps.push(step);
            let rows = stream::iter((0..step).map(|_| Ok(event(bytes))));
            page.take(Box::pin(rows), step).await.unwrap();
        }
        (steps, page.events.len())
    }

    #[tokio::test]
    async fn a_page_ends_with_the_event_that_fills_it_and_no_more_is_asked_for_than_has_room() {
        assert_eq!(steps(200, 10).await, (vec![8, 64, 128], 200));
        assert_eq!(steps(5, 10).await, (vec![5], 5));
        assert_eq!(steps(200, PAGE_BYTES).await, (vec![8], 1), "one at least");
        assert_eq!(steps(200, PAGE_BYTES / 2).await, (vec![8], 2));
        assert_eq!(steps(200, PAGE_BYTES / 16).await, (vec![8, 8], 16));
        assert_eq!(steps(i64::MAX, PAGE_BYTES / 1_000).await.1, 1_001);
        let full: Vec<StoredEvent> = (0..2).map(|_| event(PAGE_BYTES / 2).into()).collect();
        assert!(is_full(&full, 200) && is_full(&full[..1], 1) && !is_full(&full[..1], 200));
    }
}
