//! Whether versions go on where their streams were.
//!
//! Logs have any number of streams, so a map of them all would have no bound. The newest versions of the streams seen last are kept, and for
//! the others the database is asked, a page at a time, by the unique index. A shop goes on with streams that it has begun lately, so it is
//! seldom asked; sorting the whole log by stream in the database costs more, and finds what is wrong by stream, not the first in the log.

use std::collections::{HashMap, hash_map::Entry};

use sqlx::PgConnection;

use super::finding::{Finding, Stored};

/// Streams of each of the two generations: about 50 MB in all.
const GENERATION_STREAMS: usize = 200_000;

/// The newest versions of streams, of those seen last.
#[derive(Default)]
pub(super) struct Versions {
    young: HashMap<Box<str>, i64>,
    old: HashMap<Box<str>, i64>,
}

impl Versions {
    /// The first event of a page that does not go on where its stream was, and its position.
    pub async fn check(&mut self, connection: &mut PgConnection, rows: &[Stored]) -> Result<Option<(i64, Finding)>, sqlx::Error> {
        let mut unknown: Vec<&Stored> = Vec::new();
        let mut wrong: Option<&Stored> = None;
        for stored in rows {
            let event = &stored.event;
            let follows = match self.last(&event.stream_id) {
                Some(last) => event.version == last + 1,
                None if event.version > 1 => {
                    unknown.push(stored);
                    true
                }
                None => event.version == 1,
            };
            if !follows {
                wrong = Some(stored);
                break;
            }
            self.young.insert(event.stream_id.as_str().into(), event.version);
        }
        if self.young.len() > GENERATION_STREAMS {
            self.old = std::mem::take(&mut self.young);
        }
        let orphan = first_orphan(connection, &unknown).await?;
        Ok(orphan.map(|nth| unknown[nth]).or(wrong).map(|stored| {
            let place = stored.place();
            (place.position, if place.version < 1 { Finding::NoVersion { place } } else { Finding::VersionGap { place } })
        }))
    }

    fn last(&mut self, stream: &str) -> Option<i64> {
        if let Some(last) = self.young.get(stream) {
            return Some(*last);
        }
        let (stream, last) = self.old.remove_entry(stream)?;
        if let Entry::Vacant(entry) = self.young.entry(stream) {
            entry.insert(last);
        }
        Some(last)
    }
}

/// The first of `events` with no version before it further up in the log.
async fn first_orphan(connection: &mut PgConnection, events: &[&Stored]) -> Result<Option<usize>, sqlx::Error> {
    if events.is_empty() {
        return Ok(None);
    }
    let streams: Vec<&str> = events.iter().map(|stored| stored.event.stream_id.as_str()).collect();
    let versions: Vec<i64> = events.iter().map(|stored| stored.event.version).collect();
    let positions: Vec<i64> = events.iter().map(|stored| stored.event.position).collect();
    let nth = sqlx::query_scalar!(
        r#"
        select min(a.nth) from unnest($1::text[], $2::bigint[], $3::bigint[]) with ordinality as a (stream_id, version, position, nth)
        where (
            select true from events e where e.stream_id = a.stream_id collate "C" and e.version = a.version - 1 and e.position < a.position
        ) is null
        "#,
        &streams as &[&str],
        &versions,
        &positions,
    )
    .fetch_one(connection)
    .await?;
    Ok(nth.and_then(|nth| usize::try_from(nth - 1).ok()))
}
