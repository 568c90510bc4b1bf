//! Events into rows, and how far their consumer has come: both or neither, whatever they are read from.

use std::{borrow::Cow, sync::Arc};

use event_schemas::Recorded;
use event_store::{Batch, Parked, ParkedStreams, parked};
use futures::future::BoxFuture;
use sqlx::{Connection as _, PgConnection};

use crate::{Error, Projection, careful};

/// How far a consumer will have come with a batch.
pub trait Step: Sync {
    /// Takes it, within the transaction that writes the batch; whether the consumer stood where it thought it did. Where not, somebody else works
    /// too, or has mended something, and nothing may be written.
    fn take<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<bool, Error>>;
}

/// Applies `batch` for the consumer `name` that has `parked` these streams, and takes its `step`. What had to be parked; none where the step could
/// not be taken.
pub async fn write(
    connection: &mut PgConnection,
    projection: &dyn Projection,
    name: &str,
    parked: &ParkedStreams,
    batch: &Batch,
    step: &dyn Step,
) -> Result<Option<Vec<Parked>>, Error> {
    let mut bad = newly_undecodable(batch, parked);
    let events = left_in(batch, parked, &bad);
    let mut transaction = connection.begin().await?;
    // First, so that of two workers the second one waits here, and then sees that it comes too late.
    if !step.take(&mut transaction).await? {
        transaction.rollback().await?;
        return Ok(None);
    }
    if !events.is_empty() {
        match careful::guarded(projection.apply(&mut transaction, &events)).await {
            Ok(()) => {}
            Err(error) if error.is_passing() => return Err(error),
            Err(_) => {
                transaction.rollback().await?;
                transaction = connection.begin().await?;
                if !step.take(&mut transaction).await? {
                    transaction.rollback().await?;
                    return Ok(None);
                }
                bad.extend(careful::apply(projection, &mut transaction, events.into_owned()).await?);
            }
        }
    }
    if !bad.is_empty() {
        bad.sort_by_key(|parked| parked.position);
        parked::park(&mut transaction, name, &bad).await?;
    }
    transaction.commit().await?;
    Ok(Some(bad))
}

fn newly_undecodable(batch: &Batch, parked: &ParkedStreams) -> Vec<Parked> {
    batch.undecodable.iter().filter(|event| !parked.contains(&event.stream)).cloned().map(Parked::from).collect()
}

/// The events whose streams are not parked when they come.
pub fn left_in<'a>(batch: &'a Batch, parked: &ParkedStreams, undecodable: &[Parked]) -> Cow<'a, [Arc<Recorded>]> {
    if parked.is_empty() && undecodable.is_empty() {
        return Cow::Borrowed(&batch.events);
    }
    let is_left_out = |event: &Recorded| {
        let stream = event.stream.as_str();
        parked.contains(stream) || undecodable.iter().any(|parked| parked.stream == stream && parked.version < event.version)
    };
    batch.events.iter().filter(|event| !is_left_out(event)).cloned().collect()
}
