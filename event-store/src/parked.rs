//! Streams that a consumer could not go on with. The rest of the log goes on without them, until an operator retries or skips them.

use std::{collections::HashSet, panic::AssertUnwindSafe, sync::Arc};

use event_schemas::{Recorded, Timestamp};
use futures::FutureExt as _;
use sqlx::{PgConnection, PgPool};

use crate::{Checkpoint, Error, StoredEvent, checkpoint, feed::Undecodable, read};

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

/// Says how many streams `consumer` has parked.
pub fn measure(consumer: &str, streams: usize) {
    metrics::gauge!("merx_parked_streams", "consumer" => consumer.to_owned()).set(u32::try_from(streams).unwrap_or(u32::MAX));
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

/// Takes what was left out of the parked `stream`, up to `checkpoint`, where its consumer stands, and has the consumer go on with it from there.
/// All of it happens in the transaction that `connection` is in and that has locked the checkpoint, so that the consumer waits, which is why
/// `connection` must not be one of the store's pool where `take` needs that; the caller commits it, or rolls it back after an error. `take` is given events in order, and answers with the first that can't be taken.
///
/// # Errors
/// [`Error::NotParked`]; [`Error::StillBad`], where the same event can't be taken again; those of `take`; the database can't be reached.
pub async fn mend<E: From<Error>>(
    connection: &mut PgConnection,
    checkpoint: &Checkpoint,
    stream: &str,
    how: Mending,
    mut take: impl AsyncFnMut(&mut PgConnection, Vec<Arc<Recorded>>) -> Result<Option<Parked>, E>,
) -> Result<Mended, E> {
    let consumer = checkpoint.name.as_str();
    let was = take_out(connection, consumer, stream).await?;
    let mut from = was.version + i64::from(how == Mending::Skip);
    let mut mended = Mended::default();
    while mended.parked_again.is_none() {
        let mut page = read::stream_page(&mut *connection, stream, from, i64::MAX, PAGE_EVENTS).await?;
        page.retain(|event| event.position <= checkpoint.position);
        let Some(last) = page.last().map(|event| event.version) else { break };
        let (events, undecodable) = decoded(page);
        let bad = take(connection, events).await?.or(undecodable);
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
fn decoded(page: Vec<StoredEvent>) -> (Vec<Arc<Recorded>>, Option<Parked>) {
    let mut events = Vec::with_capacity(page.len());
    for stored in page {
        match stored.decode() {
            Ok(recorded) => events.push(Arc::new(recorded)),
            Err(undecodable) => return (events, Some(undecodable.into())),
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
