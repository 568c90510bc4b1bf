//! What an operator does about a stream that a projection has parked.

use event_store::{
    Checkpoint, EventStore,
    kafka::places::{self, Layout},
    parked::{self, Mended, Mending},
};
use sqlx::Connection as _;

use crate::{
    Error, Projection, careful,
    consumer::{LIVE_SCHEMA, connect},
};

/// Applies what was left out of the parked `stream`, up to where `projection` stands, and has it go on from there with the others. The
/// projection waits meanwhile, wherever it runs.
///
/// # Errors
/// [`event_store::Error::NotParked`]; [`event_store::Error::StillBad`], where the same event can't be taken again; the read model is of
/// another version; the database can't be reached. Nothing is changed then.
pub async fn mend(store: &EventStore, projection: &dyn Projection, stream: &str, how: Mending) -> Result<Mended, Error> {
    let mut connection = connect(store, projection, LIVE_SCHEMA).await?;
    let mut transaction = connection.begin().await?;
    let not_parked = || event_store::Error::NotParked { consumer: projection.name().into(), stream: stream.into() };
    let mut checkpoint = Checkpoint::lock(&mut transaction, projection.name()).await?.ok_or_else(not_parked)?;
    if checkpoint.version != projection.version() {
        return Err(Error::OtherVersion { found: checkpoint.version, kept: projection.version() });
    }
    // On Kafka the partition of the stream may be ahead of others.
    let places = places::read(&mut transaction, projection.name()).await?;
    if let Some(place) = Layout::of(places.keys()).part_of(stream).and_then(|part| places.get(&part)) {
        checkpoint.position = checkpoint.position.max(place.position);
    }
    let mended = parked::mend(&mut transaction, &checkpoint, stream, how, async |connection, events| {
        Ok::<_, Error>(careful::apply(projection, connection, events).await?.pop())
    });
    let mended = mended.await?;
    sqlx::query!("set local synchronous_commit = on").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(mended)
}
