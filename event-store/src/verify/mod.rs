//! Whether the log is whole: read from its beginning to its end, the first thing that is wrong is told.
//!
//! One task reads pages within one snapshot, so that servers may go on appending; meanwhile other threads check what was read.

mod finding;
mod page;
mod versions;

use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use crate::{Error, StoredEvent};
use finding::Stored;
pub use finding::{Finding, Place};
use page::{Before, Page};
use versions::Versions;

/// Events that are read at once: about 1 to 4 MB.
const PAGE_EVENTS: i64 = 4_000;
/// The most pages that are being checked, or wait for it.
const PAGES_AHEAD: usize = 3;

/// What guards the log, by migration: each is in force, and always.
const TRIGGERS: [(&str, &str); 4] = [
    ("events", "events_are_never_changed"),
    ("events", "appended_events_go_on_where_the_log_ended"),
    ("log_head", "log_head_is_never_removed"),
    ("log_head", "log_head_never_goes_back"),
];
const CONSTRAINTS: [(&str, &str); 3] = [("events", "events_pkey"), ("events", "events_stream_version"), ("events", "events_event_id")];

/// How far the reading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Events checked.
    pub events: u64,
    /// Events that there are.
    pub all: u64,
}

/// What a log that is whole consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Its events.
    pub events: u64,
    /// Its streams.
    pub streams: u64,
}

/// Reads the whole log behind `pool` as it is now, and tells `progress` of every page. The first thing that is wrong, if anything is: in order of
/// position; then the head and the checkpoints.
///
/// # Errors
/// The database can't be reached.
pub async fn verify(pool: &PgPool, progress: impl FnMut(Progress)) -> Result<Result<Whole, Finding>, Error> {
    // A connection of its own, whose snapshot ends with it.
    let reader = Reader::begin(PgConnection::connect_with(&pool.connect_options()).await?).await?;
    if let Some(finding) = &reader.unguarded {
        return Ok(Err(finding.clone()));
    }
    let (ends, all) = (reader.ends.clone(), reader.ends.head.unsigned_abs());
    let (pages, read) = mpsc::channel(1);
    let reading = tokio::spawn(reader.read_all(pages));
    let checked = check_all(read, all, progress).await?;
    let (last, streams) = match reading.await {
        Ok(read) => read?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(finding) = checked.or_else(|| ends.disagree_with(last)) {
        return Ok(Err(finding));
    }
    Ok(Ok(Whole { events: all, streams }))
}

/// Checks pages as they come, several at once; the first finding in the order of the log.
async fn check_all(mut read: mpsc::Receiver<Page>, all: u64, mut progress: impl FnMut(Progress)) -> Result<Option<Finding>, Error> {
    let mut under_way: VecDeque<(u64, JoinHandle<Option<Finding>>)> = VecDeque::new();
    let mut events = 0;
    loop {
        let page = if under_way.len() < PAGES_AHEAD { read.recv().await } else { None };
        if let Some(page) = page {
            under_way.push_back((page.rows.len() as u64, tokio::task::spawn_blocking(|| page::check(page))));
            continue;
        }
        let Some((count, checking)) = under_way.pop_front() else { return Ok(None) };
        match checking.await {
            Ok(None) => {
                events += count;
                progress(Progress { events, all });
            }
            Ok(finding) => return Ok(finding),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Where the log ends, and where its consumers are.
#[derive(Clone)]
struct Ends {
    head: i64,
    checkpoints: Vec<Stands>,
}

/// Where a consumer is.
#[derive(Clone)]
struct Stands {
    name: String,
    position: i64,
    /// Whether the log has the event that it has come to.
    fits: bool,
}

impl Ends {
    fn disagree_with(&self, last: i64) -> Option<Finding> {
        if self.head != last {
            return Some(Finding::Head { last, head: self.head });
        }
        let Stands { name, position, .. } = self.checkpoints.iter().find(|one| !one.fits)?.clone();
        Some(if position > last { Finding::Checkpoint { name, head: last, found: position } } else { Finding::Astray { name, position } })
    }
}

struct Reader {
    connection: PgConnection,
    ends: Ends,
    unguarded: Option<Finding>,
    versions: Versions,
}

impl Reader {
    /// Takes the snapshot that all is read in.
    async fn begin(mut connection: PgConnection) -> Result<Self, sqlx::Error> {
        sqlx::query("begin isolation level repeatable read read only").execute(&mut connection).await?;
        let head = sqlx::query_scalar!("select position from log_head").fetch_optional(&mut connection).await?.unwrap_or(-1);
        let checkpoints =
            sqlx::query_as!(Stands, r#"select name, position, log_has(position, hash) as "fits!" from checkpoints order by name"#);
        let ends = Ends { head, checkpoints: checkpoints.fetch_all(&mut connection).await? };
        let unguarded = unguarded(&mut connection).await?;
        Ok(Self { connection, ends, unguarded, versions: Versions::default() })
    }

    /// Sends every page until something is wrong with positions or versions, or nobody listens; the last position, and how many streams there are.
    async fn read_all(mut self, pages: mpsc::Sender<Page>) -> Result<(i64, u64), Error> {
        let (mut last, mut streams, mut before) = (0, 0, None);
        // From the very beginning: a position below 1 is one too many.
        let mut after = i64::MIN;
        loop {
            let rows = self.page(after).await?;
            let Some(newest) = rows.last() else { break };
            let next = Before { stream: newest.event.stream_id.as_str().into(), event_id: newest.event.event_id };
            after = newest.event.position;
            streams += rows.iter().filter(|stored| stored.event.version == 1).count() as u64;
            let gap = rows.iter().zip(last + 1..).find(|(stored, expected)| stored.event.position != *expected);
            let gap = gap.map(|(stored, expected)| (stored.event.position, Finding::PositionGap { place: stored.place(), expected }));
            let stray = self.versions.check(&mut self.connection, &rows).await?;
            // At one place a gap in the log is told rather than the one in the stream that it leads to.
            let finding = [gap, stray].into_iter().flatten().min_by_key(|(position, _)| *position);
            let is_wrong = finding.is_some();
            let page = Page { before: before.replace(next), rows, finding };
            if pages.send(page).await.is_err() || is_wrong {
                break;
            }
            last = after;
        }
        // What was read is true, whatever becomes of the connection.
        let _ = self.connection.close().await;
        Ok((last, streams))
    }

    async fn page(&mut self, after: i64) -> Result<Vec<Stored>, sqlx::Error> {
        let rows = sqlx::query_as!(
            Row,
            r#"
            select position, stream_id, version, event_id, type as event_type, schema_version, payload::text as "payload!",
                   metadata::text as "metadata!", hash,
                   case when recorded_at >= '0001-01-01Z' and recorded_at < '10000-01-01Z' then recorded_at end as recorded_at,
                   case when recorded_at >= '0001-01-01Z' and recorded_at < '10000-01-01Z' then null else recorded_at::text end as odd_time
            from events
            where position > $1
            order by position
            limit $2
            "#,
            after,
            PAGE_EVENTS,
        )
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows.into_iter().map(Stored::from).collect())
    }
}

async fn unguarded(connection: &mut PgConnection) -> Result<Option<Finding>, sqlx::Error> {
    let in_force = sqlx::query!(
        r#"
        select c.relname::text as "table!", t.tgname::text as "name!" from pg_trigger t join pg_class c on c.oid = t.tgrelid
        where c.oid in ('events'::regclass, 'log_head'::regclass) and t.tgenabled = 'A'
        union all
        select 'events', c.conname::text from pg_constraint c join pg_index i on i.indexrelid = c.conindid
        where c.conrelid = 'events'::regclass and i.indisunique and i.indisvalid and i.indimmediate
        "#
    )
    .fetch_all(connection)
    .await?;
    let is_missing = |(table, what): &(&str, &str)| !in_force.iter().any(|row| row.table == *table && row.name == *what);
    let missing = TRIGGERS.into_iter().chain(CONSTRAINTS).find(is_missing);
    Ok(missing.map(|(table, what)| Finding::Unguarded { table, what }))
}

struct Row {
    position: i64,
    stream_id: String,
    version: i64,
    event_id: Uuid,
    event_type: String,
    schema_version: i16,
    payload: String,
    metadata: String,
    hash: Vec<u8>,
    recorded_at: Option<DateTime<Utc>>,
    odd_time: Option<String>,
}

impl From<Row> for Stored {
    fn from(row: Row) -> Self {
        let (recorded_at, odd_time) = finding::time(row.recorded_at, row.odd_time);
        let event = StoredEvent {
            position: row.position,
            stream_id: row.stream_id,
            version: row.version,
            event_id: row.event_id,
            event_type: row.event_type,
            schema_version: row.schema_version,
            payload: row.payload,
            metadata: row.metadata,
            recorded_at,
            hash: row.hash,
        };
        Self { event, odd_time }
    }
}
