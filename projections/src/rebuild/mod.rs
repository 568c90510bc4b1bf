//! A read model built anew from the log, beside the one that GETs are answered from, and swapped in once it has caught up.
//!
//! What is built so far is kept with a checkpoint of its own, so a rebuild that was broken off goes on where it was. One at a time works on
//! a projection, whichever process it is in.

mod tables;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use event_store::{
    Checkpoint, EventStore,
    kafka::places::{self, Part, Places},
};
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Projection,
    consumer::{Consumer, connect},
};

/// This many positions behind the live one, it is time to swap.
const SWAP_LAG: i64 = 2_000;
/// How often the swap is tried: GETs that hold the tables for longer than it waits have it tried again.
const SWAP_TRIES: u32 = 200;
/// How long it lets the others go before it tries again.
const SWAP_PAUSE: Duration = Duration::from_millis(100);

/// The name of the checkpoint of a rebuild of the projection `name`.
#[must_use]
pub fn checkpoint_name(name: &str) -> String {
    format!("{name}:rebuild")
}

/// Rebuilds `projection`, or goes on with a rebuild that was broken off; the position it had come to when it was swapped in. Calls
/// `progressed` with the position and the head of the log. At `stop` it breaks off, and can be gone on with.
///
/// # Errors
/// [`Error::RebuildUnderWay`]; [`Error::OtherVersion`] where the read model is of a newer version than this program's; [`Error::Stopped`];
/// the database can't be reached.
pub async fn rebuild(
    store: &EventStore,
    projection: &Arc<dyn Projection>,
    stop: &CancellationToken,
    progressed: impl Fn(i64, i64),
) -> Result<i64, Error> {
    let mut connection = connect(store, &**projection, &tables::schema_of(&**projection)).await?;
    take(&mut connection, &**projection).await?;
    prepare(&mut connection, &**projection).await?;
    let name = checkpoint_name(projection.name());
    let mut consumer = Consumer::of(store, projection.clone(), connection, &name).await?;
    let rebuilt = build(&mut consumer, stop, progressed).await;
    // Where this fails, the lock ends with the connection.
    let _ = leave(consumer.connection, &**projection).await;
    rebuilt
}

async fn build(consumer: &mut Consumer, stop: &CancellationToken, progressed: impl Fn(i64, i64)) -> Result<i64, Error> {
    let projection = consumer.projection.clone();
    let mut is_indexed = false;
    for _ in 0..SWAP_TRIES {
        while consumer.feed.head() - consumer.catch_up(stop, &progressed).await? > SWAP_LAG && !stop.is_cancelled() {}
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        if !is_indexed {
            tables::index(&mut consumer.connection, &*projection).await?;
            is_indexed = true;
            continue; // making indexes takes a while, and there is more to catch up with now
        }
        match swap(consumer).await {
            Ok(Some(position)) => return Ok(position),
            Ok(None) => {}
            Err(error) if error.is_passing() => tracing::debug!(%error, projection = projection.name(), "the swap is tried again"),
            Err(error) => return Err(error),
        }
        sqlx::query!("rollback").execute(&mut consumer.connection).await?;
        sleep(SWAP_PAUSE).await;
    }
    Err(event_store::Error::Unavailable("the tables of the read model are never free to be swapped".into()).into())
}

/// Whether the rebuild of `projection` has been begun, by whomever, and not ended.
///
/// # Errors
/// The database can't be reached.
pub async fn is_begun(pool: &PgPool, projection: &dyn Projection) -> Result<bool, Error> {
    let begun = sqlx::query_scalar!(
        r#"select exists (select from checkpoints where name = $1 and version = $2) as "begun!""#,
        checkpoint_name(projection.name()),
        projection.version()
    );
    Ok(begun.fetch_one(pool).await?)
}

/// Makes what a rebuild begins with and leaves the rest to whoever keeps the projection; one that was broken off is gone on with.
///
/// # Errors
/// As [`require_possible`].
pub async fn begin(store: &EventStore, projection: &dyn Projection) -> Result<(), Error> {
    let mut connection = connect(store, projection, &tables::schema_of(projection)).await?;
    take(&mut connection, projection).await?;
    prepare(&mut connection, projection).await?;
    leave(connection, projection).await
}

/// Refuses where a rebuild can't be begun now; changes nothing.
///
/// # Errors
/// [`Error::RebuildUnderWay`]; [`Error::OtherVersion`] where the read model is of a newer version than this program's; the database can't be reached.
pub async fn require_possible(store: &EventStore, projection: &dyn Projection) -> Result<(), Error> {
    let mut connection = connect(store, projection, &tables::schema_of(projection)).await?;
    take(&mut connection, projection).await?;
    let live = Checkpoint::read(&mut connection, projection.name()).await?;
    leave(connection, projection).await?;
    match live {
        Some(live) if live.version > projection.version() => Err(Error::OtherVersion { found: live.version, kept: projection.version() }),
        _ => Ok(()),
    }
}

/// Keeps others from rebuilding the same projection for as long as `connection` lives.
async fn take(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    let taken =
        sqlx::query_scalar!(r#"select pg_try_advisory_lock(hashtextextended('merx rebuild ' || $1, 0)) as "taken!""#, projection.name())
            .fetch_one(connection)
            .await?;
    if taken { Ok(()) } else { Err(Error::RebuildUnderWay { projection: projection.name().into() }) }
}

/// Lets others rebuild the projection from now on. Postgres ends a connection that was closed in its own time, and what it holds only then: whoever
/// came right after this would find it held.
async fn leave(mut connection: PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    sqlx::query!(r#"select pg_advisory_unlock(hashtextextended('merx rebuild ' || $1, 0)) as "left!""#, projection.name())
        .fetch_one(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

/// Makes what a rebuild begins with, unless one of this version was broken off that fits the log.
async fn prepare(connection: &mut PgConnection, projection: &dyn Projection) -> Result<(), Error> {
    let (name, version) = (checkpoint_name(projection.name()), projection.version());
    if let Some(live) = Checkpoint::read(connection, projection.name()).await?
        && live.version > version
    {
        return Err(Error::OtherVersion { found: live.version, kept: version });
    }
    let begun = Checkpoint::read(connection, &name).await?;
    if begun.is_some_and(|begun| begun.version == version && !begun.is_astray) {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    tables::create(&mut transaction, projection).await?;
    forget(&mut transaction, &name).await?;
    Checkpoint::open(&mut transaction, &name, version).await?;
    transaction.commit().await?;
    Ok(())
}

async fn forget(connection: &mut PgConnection, name: &str) -> Result<(), Error> {
    sqlx::query!("delete from checkpoints where name = $1", name).execute(&mut *connection).await?;
    sqlx::query!("delete from parked_streams where consumer = $1", name).execute(connection).await?;
    Ok(())
}

/// Breaks a rebuild off for good and removes what there is of it; whether there was any.
///
/// # Errors
/// [`Error::RebuildUnderWay`]; the database can't be reached.
pub async fn abandon(store: &EventStore, projection: &dyn Projection) -> Result<bool, Error> {
    let mut connection = connect(store, projection, &tables::schema_of(projection)).await?;
    take(&mut connection, projection).await?;
    let name = checkpoint_name(projection.name());
    let is_there = Checkpoint::read(&mut connection, &name).await?.is_some();
    let mut transaction = connection.begin().await?;
    tables::remove(&mut transaction, projection).await?;
    forget(&mut transaction, &name).await?;
    transaction.commit().await?;
    leave(connection, projection).await?;
    Ok(is_there)
}

/// Swaps the rebuilt read model in; none where it could not come as far as the live one. The live one stands still meanwhile, and learns
/// of it by the revision of its checkpoint. Where this fails the connection is still in the transaction.
async fn swap(consumer: &mut Consumer) -> Result<Option<i64>, Error> {
    let projection = consumer.projection.clone();
    let (name, version, rebuilt) = (projection.name(), projection.version(), consumer.checkpoint.name.clone());
    sqlx::query!("begin").execute(&mut consumer.connection).await?;
    sqlx::query!("set local synchronous_commit = on").execute(&mut consumer.connection).await?;
    let live = Checkpoint::lock(&mut consumer.connection, name).await?;
    // Readers never see a read model go back. On Kafka partitions are ahead of the checkpoint, and begin where everything is published.
    let places = places::read(&mut consumer.connection, name).await?;
    // But where the log has gone back: how far they had come is no measure then.
    let is_astray = live.as_ref().is_some_and(|live| live.is_astray) || places::astray(&mut consumer.connection, name).await?.is_some();
    let live_position = live.as_ref().filter(|_| !is_astray).map_or(0, |live| live.position);
    let mut position = live_position.max(consumer.checkpoint.position);
    if !places.is_empty() {
        let furthest = places.values().map(|place| place.position).max().filter(|_| !is_astray).unwrap_or(0);
        let published = places::published(&mut consumer.connection, &[]).await?.position;
        position = position.max(furthest).max(published);
    }
    if !consumer.apply_up_to(position).await? {
        return Ok(None);
    }
    let connection = &mut consumer.connection;
    tables::swap(connection, &*projection).await?;
    if live.is_none() {
        Checkpoint::open(connection, name, version).await?;
    }
    if are_those_of(&places, &*projection) && is_astray {
        places::put(connection, name, position).await?;
    } else if are_those_of(&places, &*projection) {
        places::raise(connection, name, position).await?;
    } else {
        // It reads other categories than the version before: it is handed over to Kafka anew.
        places::unseat(connection, name).await?;
    }
    sqlx::query!(
        r#"
        update checkpoints
        set version = $2, position = $3, hash = hash_at($3), revision = revision + 1, failure = null, updated_at = now()
        where name = $1
        "#,
        name,
        version,
        position,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from parked_streams where consumer = $1", name).execute(&mut *connection).await?;
    sqlx::query!("update parked_streams set consumer = $1 where consumer = $2", name, rebuilt).execute(&mut *connection).await?;
    sqlx::query!("delete from checkpoints where name = $1", rebuilt).execute(&mut *connection).await?;
    sqlx::query!("commit").execute(&mut *connection).await?;
    Ok(Some(position))
}

/// Whether `places` are of the topics that `projection` reads.
fn are_those_of(places: &Places, projection: &dyn Projection) -> bool {
    let there: BTreeSet<&str> = places.keys().map(Part::category).collect();
    there == projection.categories().iter().copied().collect()
}
