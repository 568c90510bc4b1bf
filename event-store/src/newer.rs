//! Events that a newer version of the program has written: whoever meets one stops in front of it and leaves the work to that version.
//!
//! A program registers what it writes before it writes anything ([`crate::program`]). So an event that is not known here and is registered is
//! from a newer program; one that nobody has registered is wrong.

use sqlx::{PgExecutor, PgPool};

use crate::{Batch, Error, feed::Undecodable, mark::Mark};

/// An event that a newer version of the program has written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {position} of the log is {event_type} of schema version {schema_version}, and takes merx {program_version} or newer: nothing was \
     parked, and a server of that version goes on from here"
)]
pub struct Newer {
    /// Its position in the log.
    pub position: i64,
    /// Its stream.
    pub stream: String,
    /// Its type.
    pub event_type: String,
    /// The version of its payload's schema.
    pub schema_version: i16,
    /// The oldest version of the program that is known to write such events.
    pub program_version: String,
}

/// The first of `undecodable`, which are in order, that a newer program has written.
///
/// # Errors
/// The database can't be reached.
pub async fn first(executor: impl PgExecutor<'_>, undecodable: &[Undecodable]) -> Result<Option<Newer>, Error> {
    let unknown: Vec<&Undecodable> = undecodable.iter().filter(|event| event.source.may_be_newer()).collect();
    if unknown.is_empty() {
        return Ok(None);
    }
    let types: Vec<&str> = unknown.iter().map(|event| event.event_type.as_str()).collect();
    let versions: Vec<i16> = unknown.iter().map(|event| event.schema_version).collect();
    let found = sqlx::query!(
        r#"
        select u.nth as "nth!", s.program_version
        from unnest($1::text[], $2::smallint[]) with ordinality as u (event_type, schema_version, nth)
        join program_event_schemas s on s.event_type = u.event_type collate "C" and s.schema_version >= u.schema_version
        order by u.nth, s.schema_version
        limit 1
        "#,
        &types as &[&str],
        &versions,
    )
    .fetch_optional(executor)
    .await?;
    let newer = found.and_then(|row| {
        let event = unknown.get(usize::try_from(row.nth - 1).ok()?)?;
        Some(Newer {
            position: event.position,
            stream: event.stream.clone(),
            event_type: event.event_type.clone(),
            schema_version: event.schema_version,
            program_version: row.program_version,
        })
    });
    Ok(newer)
}

/// Splits off what can be taken of `batch`: all of it, or what stands before the first event of a newer program, and that event.
///
/// # Errors
/// The database can't be reached.
pub async fn split(pool: &PgPool, mut batch: Batch) -> Result<(Batch, Option<Newer>), Error> {
    let newer = first(pool, &batch.undecodable).await?;
    if let Some(Newer { position, .. }) = &newer {
        batch.events.retain(|event| event.position < *position);
        batch.undecodable.retain(|event| event.position < *position);
        batch.up_to = position - 1;
        let hash = sqlx::query_scalar!(r#"select hash_at($1) as "hash!""#, batch.up_to).fetch_one(pool).await?;
        batch.hash = Mark::new(batch.up_to, &hash).hash;
    }
    Ok((batch, newer))
}

/// The error for `undecodable`: [`Error::Newer`] where a newer program has written it, or else [`Error::Undecodable`]; that of the database
/// where it can't be asked.
pub async fn told(pool: &PgPool, undecodable: Undecodable) -> Error {
    match first(pool, std::slice::from_ref(&undecodable)).await {
        Ok(Some(newer)) => newer.into(),
        Ok(None) => undecodable.into(),
        Err(error) => error,
    }
}
