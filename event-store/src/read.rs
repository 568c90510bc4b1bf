//! Streams and the log as they are stored, for auditors and for whoever is far behind.

use event_schemas::{Recorded, StreamId, Timestamp, ids::CommandId};
use sqlx::{PgExecutor, PgPool};
use uuid::Uuid;

use crate::{Error, EventStore, append, decode::Row, feed::Undecodable};

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
    /// Returns true where `event` is of the wanted category and of one of the wanted types.
    #[must_use]
    pub fn wants(&self, event: &StoredEvent) -> bool {
        let is_of = |category: &String| event.stream_id.strip_prefix(category.as_str()).is_some_and(|rest| rest.starts_with('-'));
        self.category.as_ref().is_none_or(is_of) && (self.types.is_empty() || self.types.contains(&event.event_type))
    }
}

/// The bytes of the texts of `event`: nearly all that it takes.
#[must_use]
pub fn payload_bytes(event: &StoredEvent) -> usize {
    event.payload.len() + event.metadata.len()
}

impl EventStore {
    /// The events of `stream` with versions `from` to `to` (both inclusive), at most `limit`.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read_stream(&self, stream: &StreamId, from: i64, to: i64, limit: i64) -> Result<Vec<StoredEvent>, Error> {
        stream_page(&self.reads, stream.as_str(), from, to, limit).await
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

    /// The events after position `after` that `filter` wants, at most `limit`.
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

/// The events after position `after` up to `up_to` that `filter` wants, at most `limit`.
///
/// # Errors
/// The database can't be reached.
pub async fn log_page(pool: &PgPool, after: i64, up_to: i64, filter: &Filter, limit: i64) -> Result<Vec<StoredEvent>, Error> {
    let prefix = filter.category.as_ref().map(|category| format!("{category}-"));
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
        after,
        up_to,
        prefix.as_deref(),
        &filter.types,
        limit,
    )
    .fetch_all(pool)
    .await?;
    Ok(rows.into_iter().map(StoredEvent::from).collect())
}

/// The events of `stream` with versions `from` to `to` (both inclusive), at most `limit`.
///
/// # Errors
/// The database can't be reached.
pub async fn stream_page(executor: impl PgExecutor<'_>, stream: &str, from: i64, to: i64, limit: i64) -> Result<Vec<StoredEvent>, Error> {
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
        from,
        to,
        limit,
    )
    .fetch_all(executor)
    .await?;
    Ok(rows.into_iter().map(StoredEvent::from).collect())
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
