//! Applies events so that a bad one can't stop the others.

use std::{collections::HashSet, sync::Arc};

use event_schemas::Recorded;
use event_store::{Parked, parked};
use sqlx::{Connection as _, PgConnection};

use crate::{Applied, Error, Projection};

/// Applies `events` within the caller's transaction, but for those that can't be, and what follows on these in their streams: they
/// are found by halving.
///
/// # Errors
/// What the next try may not meet again: nothing is known of the events then.
pub async fn apply(projection: &dyn Projection, connection: &mut PgConnection, events: Vec<Arc<Recorded>>) -> Result<Vec<Parked>, Error> {
    let mut parked = Vec::new();
    let mut streams: HashSet<String> = HashSet::new();
    let mut ahead = vec![events];
    while let Some(mut part) = ahead.pop() {
        part.retain(|event| !streams.contains(event.stream.as_str()));
        if part.is_empty() {
            continue;
        }
        let mut savepoint = connection.begin().await?;
        let Err(error) = guarded(projection.apply(&mut savepoint, &part)).await else {
            savepoint.commit().await?;
            continue;
        };
        if error.is_passing() {
            return Err(error);
        }
        savepoint.rollback().await?;
        if let [event] = part.as_slice() {
            parked.push(Parked::at(event, &error));
            streams.insert(event.stream.to_string());
        } else {
            let later = part.split_off(part.len() / 2);
            ahead.push(later);
            ahead.push(part);
        }
    }
    Ok(parked)
}

/// Waits for `applied`; a panic is a failure as any other.
pub async fn guarded(applied: Applied<'_>) -> Result<(), Error> {
    parked::unwound(applied).await.unwrap_or_else(|detail| Err(Error::Panicked { detail }))
}
