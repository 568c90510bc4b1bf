//! Whether the log is whole: read from its beginning to its end, the first thing that is wrong is told.
//!
//! One task reads pages; meanwhile other threads check what was read. Each page is read in a snapshot of its own: one snapshot of the whole would
//! keep every dead version of the head of the log for as long, and each append has to go past these. The log only grows, so the pages are of one log.

mod finding;
mod guards;
mod page;
mod versions;

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::{sync::mpsc, task::JoinHandle};
use uuid::Uuid;

use crate::{Digest, Error, StoredEvent};
use finding::Stored;
pub use finding::{Finding, Place};
use page::{Before, Page};
use versions::Versions;

/// Events that are read at once: about 1 to 4 MB.
const PAGE_EVENTS: i64 = 4_000;
/// The most pages that are being checked, or wait for it.
const PAGES_AHEAD: usize = 3;

/// The two places of digests, as findings name them.
const KEPT: &str = "kept in the database";
const NOTED: &str = "noted";

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
    /// The digest of all of it: whoever notes it elsewhere can tell later whether this part of the log is still the same.
    pub digest: Digest,
}

/// Reads the whole log behind `pool` as it is now, and tells `progress` of every page. The first thing that is wrong, if anything is: what guards the
/// log; in order of position; then the head, digests and checkpoints.
///
/// # Errors
/// The database can't be reached.
pub async fn verify(pool: &PgPool, progress: impl FnMut(Progress)) -> Result<Result<Whole, Finding>, Error> {
    verify_against(pool, None, progress).await
}

/// [`verify`], and compares with a digest that was `noted` elsewhere when the log had come to its position.
///
/// # Errors
/// The database can't be reached.
pub async fn verify_against(pool: &PgPool, noted: Option<Digest>, progress: impl FnMut(Progress)) -> Result<Result<Whole, Finding>, Error> {
    let mut reader = Reader::begin(PgConnection::connect_with(&pool.connect_options()).await?, noted).await?;
    if let Some(finding) = guards::missing(&mut reader.connection).await? {
        return Ok(Err(finding));
    }
    let all = reader.head.max(0).unsigned_abs();
    let (pages, read) = mpsc::channel(1);
    let reading = tokio::spawn(reader.read_all(pages));
    let checked = check_all(read, all, progress).await?;
    let read = match reading.await {
        Ok(read) => read?,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    if let Some(finding) = checked.or(read.at_the_end) {
        return Ok(Err(finding));
    }
    Ok(Ok(Whole { events: read.digest.position.unsigned_abs(), streams: read.streams, digest: read.digest }))
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

struct Reader {
    connection: PgConnection,
    /// The end of the log at the beginning: what is appended from then on is left to the next time.
    head: i64,
    versions: Versions,
    noted: Option<Digest>,
}

/// The outcome of the reading.
struct Read {
    streams: u64,
    digest: Digest,
    /// The first thing that is wrong although each page is right.
    at_the_end: Option<Finding>,
}

impl Reader {
    async fn begin(mut connection: PgConnection, noted: Option<Digest>) -> Result<Self, sqlx::Error> {
        // A page takes milliseconds: what takes longer is no page.
        sqlx::query("set default_transaction_read_only = on").execute(&mut connection).await?;
        let head = sqlx::query_scalar!("select position from log_head").fetch_optional(&mut connection).await?.unwrap_or(-1);
        Ok(Self { connection, head, versions: Versions::default(), noted })
    }

    /// Sends every page until something is wrong with positions, versions or digests, or nobody listens.
    async fn read_all(mut self, pages: mpsc::Sender<Page>) -> Result<Read, Error> {
        let (mut digest, mut streams, mut before) = (Digest::EMPTY, 0, None);
        // From the very beginning: a position below 1 is one too many.
        let mut after = i64::MIN;
        let mut is_broken_off = false;
        loop {
            let rows = self.page(after).await?;
            let Some(newest) = rows.last() else { break };
            let next = Before { stream: newest.event.stream_id.as_str().into(), event_id: newest.event.event_id };
            after = newest.event.position;
            streams += rows.iter().filter(|stored| stored.event.version == 1).count() as u64;
            let gap = rows.iter().zip(digest.position + 1..).find(|(stored, expected)| stored.event.position != *expected);
            let gap = gap.map(|(stored, expected)| (stored.event.position, Finding::PositionGap { place: stored.place(), expected }));
            let stray = self.versions.check(&mut self.connection, &rows).await?;
            let other = self.other_digest(&mut digest, &rows).await?;
            // At one place a gap in the log is told rather than the one in the stream that it leads to, and either rather than the digest.
            let finding = [gap, stray, other].into_iter().flatten().min_by_key(|(position, _)| *position);
            is_broken_off = finding.is_some();
            let page = Page { before: before.replace(next), rows, finding };
            if pages.send(page).await.is_err() || is_broken_off {
                is_broken_off = true;
                break;
            }
        }
        let at_the_end = if is_broken_off { None } else { self.at_the_end(digest.position).await? };
        // What was read is true, whatever becomes of the connection.
        let _ = self.connection.close().await;
        Ok(Read { streams, digest, at_the_end })
    }

    /// Takes `digest` along `rows`; the first place where it is another than was noted or kept.
    async fn other_digest(&mut self, digest: &mut Digest, rows: &[Stored]) -> Result<Option<(i64, Finding)>, sqlx::Error> {
        let (first, last) = (rows.first().map_or(0, |row| row.event.position), rows.last().map_or(0, |row| row.event.position));
        let kept =
            sqlx::query!("select position, digest from log_digests where position >= $1 and position <= $2 order by position", first, last)
                .fetch_all(&mut self.connection)
                .await?;
        let kept: HashMap<i64, [u8; 32]> = kept.into_iter().filter_map(|row| Some((row.position, row.digest.try_into().ok()?))).collect();
        let mut other = None;
        for row in rows {
            *digest = digest.after(row.event.position, &row.event.hash);
            let position = digest.position;
            let noted = self.noted.filter(|noted| noted.position == position).map(|noted| (NOTED, noted));
            let kept = kept.get(&position).map(|bytes| (KEPT, Digest { position, bytes: *bytes }));
            let wrong = [noted, kept].into_iter().flatten().find(|(_, expected)| expected.bytes != digest.bytes);
            if other.is_none() {
                other = wrong.map(|(by, expected)| (position, Finding::Digest { by, expected, found: *digest }));
            }
        }
        Ok(other)
    }

    /// The first thing that is wrong beyond the events that were read, the last of which is `last`: all of it asked in one statement, as it grows meanwhile.
    async fn at_the_end(&mut self, last: i64) -> Result<Option<Finding>, sqlx::Error> {
        let rows = sqlx::query!(
            r#"
            select coalesce((select position from log_head), -1) as "head!", coalesce((select max(position) from events), 0) as "last!",
                   (select position from log_digests order by position desc limit 1) as digest_position,
                   (select digest from log_digests order by position desc limit 1) as digest,
                   c.name as "name?", c.position as "position?", log_has(c.position, c.hash) as "fits?"
            from (select) one left join checkpoints c on true
            order by c.name
            "#
        )
        .fetch_all(&mut self.connection)
        .await?;
        let Some(now) = rows.first() else { return Ok(None) };
        if now.head != now.last || last < self.head {
            return Ok(Some(Finding::Head { last: now.last, head: now.head }));
        }
        let kept = now
            .digest_position
            .zip(now.digest.as_deref())
            .and_then(|(position, bytes)| Some((KEPT, Digest { position, bytes: bytes.try_into().ok()? })));
        let noted = self.noted.map(|digest| (NOTED, digest));
        if let Some((by, digest)) = [noted, kept].into_iter().flatten().find(|(_, digest)| digest.position > now.last) {
            return Ok(Some(Finding::DigestBeyond { by, digest, last: now.last }));
        }
        let astray = rows.iter().filter(|row| row.fits == Some(false)).find_map(|row| row.name.clone().zip(row.position));
        Ok(astray.map(|(name, position)| {
            if position > now.last {
                Finding::Checkpoint { name, head: now.last, found: position }
            } else {
                Finding::Astray { name, position }
            }
        }))
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
            where position > $1 and position <= $2
            order by position
            limit $3
            "#,
            after,
            self.head,
            PAGE_EVENTS,
        )
        .fetch_all(&mut self.connection)
        .await?;
        Ok(rows.into_iter().map(Stored::from).collect())
    }
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
