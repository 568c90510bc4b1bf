//! Streams that a consumer could not go on with. The rest of the log goes on without them, until an operator retries or skips them.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use event_schemas::{Event, Recorded, Timestamp};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{PgConnection, PgPool};

use crate::{Checkpoint, Error, StoredEvent, checkpoint, feed::Undecodable, newer, read};

/// The most streams that a consumer parks. Where more fail, it is not the events that are bad, and the consumer stops.
pub const MOST_STREAMS: usize = 10_000;
/// The most events that are read at a time.
const PAGE_EVENTS: i64 = 1_000;
/// The most characters of a reason that are kept.
const REASON_CHARACTERS: usize = 2_000;

/// A parked stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The stream.
    pub stream: String,
    /// Where the event stands that could not be taken.
    pub position: i64,
    /// Its number in the stream.
    pub version: i64,
    /// Its type.
    pub event_type: String,
    /// Why it could not be taken.
    pub reason: String,
}

impl Parked {
    /// The stream of `event`, which could not be taken because of `reason`.
    #[must_use]
    pub fn at(event: &Recorded, reason: &impl ToString) -> Self {
        Self {
            stream: event.stream.to_string(),
            position: event.position,
            version: event.version,
            event_type: event.event.event_type().into(),
            reason: reason.to_string(),
        }
    }
}

impl From<Undecodable> for Parked {
    fn from(event: Undecodable) -> Self {
        let reason = event.to_string();
        Self { stream: event.stream, position: event.position, version: event.version, event_type: event.event_type, reason }
    }
}

/// The streams that a consumer has parked, as it knows them.
#[derive(Debug, Clone, Default)]
pub struct ParkedStreams(HashSet<String>);

impl ParkedStreams {
    /// Those of `consumer`.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn read(connection: &mut PgConnection, consumer: &str) -> Result<Self, Error> {
        let streams = sqlx::query_scalar!("select stream_id from parked_streams where consumer = $1", consumer).fetch_all(connection);
        Ok(Self(streams.await?.into_iter().collect()))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `stream` is parked.
    #[must_use]
    pub fn contains(&self, stream: &str) -> bool {
        !self.0.is_empty() && self.0.contains(stream)
    }

    /// Takes those in that have been written.
    pub fn add(&mut self, parked: Vec<Parked>) {
        self.0.extend(parked.into_iter().map(|parked| parked.stream));
    }
}

/// Parks streams of `consumer`, in the transaction that moves its checkpoint past the events. A stream that is parked already stays so from
/// where it was.
///
/// # Errors
/// The database can't be reached; [`Error::TooManyParked`].
pub async fn park(connection: &mut PgConnection, consumer: &str, parked: &[Parked]) -> Result<(), Error> {
    for parked in parked {
        let reason: String = parked.reason.chars().take(REASON_CHARACTERS).collect();
        sqlx::query!(
            r#"
            insert into parked_streams (consumer, stream_id, position, version, type, reason) values ($1, $2, $3, $4, $5, $6)
            on conflict (consumer, stream_id) do nothing
            "#,
            consumer,
            parked.stream,
            parked.position,
            parked.version,
            parked.event_type,
            reason,
        )
        .execute(&mut *connection)
        .await?;
    }
    let many = sqlx::query_scalar!(r#"select count(*) as "count!" from parked_streams where consumer = $1"#, consumer)
        .fetch_one(connection)
        .await?;
    if many > MOST_STREAMS as i64 { Err(Error::TooManyParked { consumer: consumer.into() }) } else { Ok(()) }
}

/// Pattern (SQL `like`) of the reason that a stream is parked for where its event can't be read, as [`Undecodable`] says it.
const UNREADABLE: &str = "event % of the log can't be read: %";

/// The streams that `consumer` has parked for an event that could not be read, and that this program can read: an older one has parked them.
///
/// # Errors
/// The database can't be reached.
pub async fn readable(pool: &PgPool, consumer: &str) -> Result<Vec<String>, Error> {
    let (mut readable, mut after) = (Vec::new(), 0);
    loop {
        let page = sqlx::query!(
            r#"
            select p.stream_id, p.position, e.type as event_type, e.schema_version, e.payload::text as "payload!"
            from parked_streams p join events e on e.position = p.position
            where p.consumer = $1 and p.reason like $2 and p.position > $3
            order by p.position limit $4
            "#,
            consumer,
            UNREADABLE,
            after,
            PAGE_EVENTS,
        )
        .fetch_all(pool)
        .await?;
        let Some(last) = page.last() else { return Ok(readable) };
        after = last.position;
        let known = page.iter().filter(|row| Event::decode(&row.event_type, row.schema_version, &row.payload).is_ok());
        readable.extend(known.map(|row| row.stream_id.clone()));
    }
}

/// Notes the outcome of a retry of one of the [`readable`] streams: it goes on, or stays parked for what else is wrong with it.
///
/// # Errors
/// It can't be tried now; the database can't be reached.
pub async fn taken_up(pool: &PgPool, consumer: &str, stream: &str, retried: Result<Mended, Error>) -> Result<(), Error> {
    match retried {
        Ok(Mended { events, .. }) => tracing::info!(consumer, stream, events, "an older version had parked the stream: it goes on"),
        // Somebody else was faster.
        Err(Error::NotParked { .. }) => {}
        Err(Error::StillBad { reason, .. }) => {
            tracing::error!(consumer, stream, reason, "an older version had parked the stream, and it stays so");
            restate(pool, consumer, stream, &reason).await?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Says why a stream is parked now.
async fn restate(pool: &PgPool, consumer: &str, stream: &str, reason: &str) -> Result<(), Error> {
    let reason: String = reason.chars().take(REASON_CHARACTERS).collect();
    sqlx::query!("update parked_streams set reason = $3 where consumer = $1 and stream_id = $2", consumer, stream, reason)
        .execute(pool)
        .await?;
    Ok(())
}

/// Tells the log of what was parked, once it is committed.
pub fn report(consumer: &str, parked: &[Parked]) {
    for Parked { stream, position, version, event_type, reason } in parked {
        tracing::error!(
            consumer,
            stream,
            position,
            version,
            event_type,
            reason,
            "a stream is parked: `merx projections retry` or `skip` it"
        );
    }
}

/// Takes the parked `stream` of `consumer` out, within the caller's transaction, which does its events.
///
/// # Errors
/// [`Error::NotParked`]; the database can't be reached.
pub async fn take_out(connection: &mut PgConnection, consumer: &str, stream: &str) -> Result<Parked, Error> {
    let row = sqlx::query!(
        r#"
        delete from parked_streams where consumer = $1 and stream_id = $2
        returning stream_id, position, version, type as event_type, reason
        "#,
        consumer,
        stream,
    )
    .fetch_optional(connection)
    .await?;
    let row = row.ok_or_else(|| Error::NotParked { consumer: consumer.into(), stream: stream.into() })?;
    Ok(Parked { stream: row.stream_id, position: row.position, version: row.version, event_type: row.event_type, reason: row.reason })
}

/// The parked `stream` of `consumer`, if it is parked.
///
/// # Errors
/// The database can't be reached.
pub async fn find(pool: &PgPool, consumer: &str, stream: &str) -> Result<Option<Parked>, Error> {
    let found = sqlx::query_as!(
        Parked,
        r#"
        select stream_id as stream, position, version, type as event_type, reason from parked_streams
        where consumer = $1 and stream_id = $2
        "#,
        consumer,
        stream,
    );
    Ok(found.fetch_optional(pool).await?)
}

/// The position of the event that the parked `stream` of `consumer` could not go on with.
///
/// # Errors
/// [`Error::NotParked`]; the database can't be reached.
pub async fn position(pool: &PgPool, consumer: &str, stream: &str) -> Result<i64, Error> {
    let found = sqlx::query_scalar!("select position from parked_streams where consumer = $1 and stream_id = $2", consumer, stream);
    let found = found.fetch_optional(pool).await?;
    found.ok_or_else(|| Error::NotParked { consumer: consumer.into(), stream: stream.into() })
}

/// The streams that `consumer` has parked, the longest parked first, at most `most`.
///
/// # Errors
/// The database can't be reached.
pub async fn streams(pool: &PgPool, consumer: &str, most: i64) -> Result<Vec<String>, Error> {
    let streams =
        sqlx::query_scalar!("select stream_id from parked_streams where consumer = $1 order by since, position limit $2", consumer, most);
    Ok(streams.fetch_all(pool).await?)
}

/// A parked stream and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The consumer that has parked it.
    pub consumer: String,
    /// What is parked.
    pub parked: Parked,
    /// Since when.
    pub since: Timestamp,
}

/// All parked streams, by consumer, the longest parked first, up to `most` of each consumer.
///
/// # Errors
/// The database can't be reached.
pub async fn all(pool: &PgPool, most: i64) -> Result<Vec<Listed>, Error> {
    let rows = sqlx::query!(
        r#"
        select consumer, stream_id, position, version, type as event_type, reason, since
        from (select *, row_number() over (partition by consumer order by since, position) as nth from parked_streams) p
        where nth <= $1
        order by consumer, nth
        "#,
        most,
    )
    .fetch_all(pool)
    .await?;
    let listed = rows.into_iter().map(|row| Listed {
        consumer: row.consumer,
        parked: Parked {
            stream: row.stream_id,
            position: row.position,
            version: row.version,
            event_type: row.event_type,
            reason: row.reason,
        },
        since: row.since.into(),
    });
    Ok(listed.collect())
}

/// What an operator wants done with the event that could not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mending {
    /// It is tried again.
    Retry,
    /// It is left out for ever.
    Skip,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mended {
    /// How many events of the stream were taken.
    pub events: usize,
    /// A later event that can't be taken either: the stream is parked there now.
    pub parked_again: Option<Parked>,
}

/// Whoever takes the events of a stream that was parked.
pub trait Taker<E>: Send {
    /// Takes `events`, within the transaction that `connection` is in. The first that can't be taken, if any.
    fn take<'a>(&'a mut self, connection: &'a mut PgConnection, events: Vec<Arc<Recorded>>) -> BoxFuture<'a, Result<Option<Parked>, E>>;
}

/// Takes what was left out of the parked `stream`, up to `checkpoint`, where its consumer stands, and has the consumer go on with it from there.
/// All of it happens in the transaction that `connection` is in and that has locked the checkpoint, so that the consumer waits; the caller commits
/// it, or rolls it back after an error. `taker` is given events in order; where it needs the store's pool, `connection` must not be one of that.
///
/// # Errors
/// [`Error::NotParked`]; [`Error::StillBad`], where the same event can't be taken again; [`Error::Newer`]; those of `taker`; the database can't be
/// reached.
pub async fn mend<E: From<Error>>(
    connection: &mut PgConnection,
    checkpoint: &Checkpoint,
    stream: &str,
    how: Mending,
    taker: &mut dyn Taker<E>,
) -> Result<Mended, E> {
    let consumer = checkpoint.name.as_str();
    let was = take_out(connection, consumer, stream).await?;
    let mut from = was.version + i64::from(how == Mending::Skip);
    let mut mended = Mended::default();
    while mended.parked_again.is_none() {
        let mut page = read::page_of_stream(connection, stream, from, i64::MAX, PAGE_EVENTS).await?.0;
        page.retain(|event| event.position <= checkpoint.position);
        let Some(last) = page.last().map(|event| event.version) else { break };
        let (events, undecodable) = decoded(page);
        if let Some(newer) = newer::first(&mut *connection, undecodable.as_slice()).await? {
            return Err(Error::from(newer).into());
        }
        let bad = taker.take(connection, events).await?.or(undecodable.map(Parked::from));
        let end = bad.as_ref().map_or(last + 1, |bad| bad.version);
        mended.events += usize::try_from(end - from).unwrap_or(0);
        mended.parked_again = bad;
        from = last + 1;
    }
    if let Some(bad) = &mended.parked_again {
        if bad.version == was.version {
            return Err(Error::StillBad { stream: stream.into(), reason: bad.reason.clone() }.into());
        }
        park(connection, consumer, std::slice::from_ref(bad)).await?;
    }
    checkpoint::revise(connection, consumer).await?;
    Ok(mended)
}

/// The events up to the first that can't be decoded, and that.
fn decoded(page: Vec<StoredEvent>) -> (Vec<Arc<Recorded>>, Option<Undecodable>) {
    let mut events = Vec::with_capacity(page.len());
    for stored in page {
        match stored.decode() {
            Ok(recorded) => events.push(Arc::new(recorded)),
            Err(undecodable) => return (events, Some(undecodable)),
        }
    }
    (events, None)
}

/// Waits for `work`; where it panics, what it said. A panic is a failure as any other: it must not stop whoever takes events.
///
/// # Errors
/// What the panic said.
pub async fn unwound<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        format!("the code panicked: {}", text.unwrap_or("no message"))
    })
}

#[cfg(test)]
mod tests {
    use event_schemas::DecodeError;

    use super::*;

    #[test]
    fn what_could_not_be_read_is_known_by_its_reason() {
        let source = DecodeError::UnknownType("OrderEaten".into());
        let event =
            Undecodable { position: 7, stream: "order-1".into(), version: 2, event_type: "OrderEaten".into(), schema_version: 1, source };
        let (begin, middle) = UNREADABLE.trim_end_matches('%').split_once('%').unwrap();
        let reason = Parked::from(event).reason;
        assert!(reason.starts_with(begin) && reason.contains(middle), "{reason}");
    }
}
