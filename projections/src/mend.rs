//! What an operator does about a stream that a projection has parked.

use std::sync::Arc;

use event_schemas::Recorded;
use event_store::{
    Checkpoint, EventStore, Parked,
    kafka::places::{self, Layout},
    parked::{self, Mended, Mending, Taker},
};
use futures::{FutureExt as _, future::BoxFuture};
use sqlx::{Connection as _, PgConnection};

use crate::{
    Error, Projection, careful,
    consumer::{LIVE_SCHEMA, connect},
};

/// Takes up what an older program has parked since it could not read it.
///
/// # Errors
/// The database can't be reached.
pub async fn take_up(store: &EventStore, projection: &dyn Projection) -> Result<(), Error> {
    let name = projection.name();
    for stream in parked::readable(store.pool(), name).await? {
        let retried = match mend(store, projection, &stream, Mending::Retry).await {
            Ok(mended) => Ok(mended),
            Err(Error::Log(error)) => Err(error),
            Err(error) => return Err(error),
        };
        parked::taken_up(store.pool(), name, &stream, retried).await?;
    }
    Ok(())
}

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
    let mended = parked::mend(&mut transaction, &checkpoint, stream, how, &mut Applying(projection)).await?;
    sqlx::query!("set local synchronous_commit = on").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(mended)
}

struct Applying<'p>(&'p dyn Projection);

impl Taker<Error> for Applying<'_> {
    fn take<'a>(
        &'a mut self,
        connection: &'a mut PgConnection,
        events: Vec<Arc<Recorded>>,
    ) -> BoxFuture<'a, Result<Option<Parked>, Error>> {
        async { Ok(careful::apply(self.0, connection, events).await?.pop()) }.boxed()
    }
}
