//! From the log to Kafka, and back: nothing is applied twice or left out.
//!
//! Who holds the lease of a projection hands it over. To Kafka: everything up to a position that is published is applied, and the places of all
//! partitions begin there. Back: what partitions lack up to the furthest of them is applied, and the checkpoint goes on from there.

use std::{collections::BTreeSet, sync::Arc};

use event_store::{
    Checkpoint, EventStore, checkpoint,
    kafka::{
        Settings,
        places::{self, Layout, Published},
    },
};
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::{topics_of, writer::Writer};
use crate::{Error, Projection, consumer};

/// This many positions behind the log at most, what is published has caught up: until then a projection goes on with the log.
const PUBLISHED_LAG: i64 = 2_000;
/// How often it is tried where others move the checkpoint or the places meanwhile.
const TRIES: u32 = 20;

/// Where the read model of a projection is kept from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// The log.
    FromLog,
    /// These topics.
    FromKafka,
    /// Topics of another prefix, or of other categories.
    FromOtherTopics,
}

/// Where the read model of `projection` is kept from now.
///
/// # Errors
/// The database can't be reached; it is kept from a number of partitions that is not that of `settings`.
pub async fn kept(store: &EventStore, projection: &dyn Projection, settings: &Settings) -> Result<Kept, Error> {
    let mut connection = store.pool().acquire().await?;
    let places = places::read(&mut connection, projection.name()).await?;
    if places.is_empty() {
        return Ok(Kept::FromLog);
    }
    let topics: BTreeSet<&str> = places.keys().map(|part| &*part.topic).collect();
    let wanted = topics_of(settings, projection);
    if topics != wanted.iter().map(String::as_str).collect() {
        return Ok(Kept::FromOtherTopics);
    }
    let many = places.len() / wanted.len();
    if usize::try_from(settings.partitions) == Ok(many) { Ok(Kept::FromKafka) } else { Err(other_number(many, settings)) }
}

fn other_number(many: usize, settings: &Settings) -> Error {
    let said = settings.partitions;
    let told = format!("the log was first published to {many} partitions of each topic, and KAFKA_PARTITIONS says {said}");
    event_store::Error::Kafka(told).into()
}

/// Whether `projection` can be handed over to Kafka: its topics are published, all but the newest events.
///
/// # Errors
/// The database can't be reached; the topics have a number of partitions that is not that of `settings`.
pub async fn is_ready(store: &EventStore, projection: &dyn Projection, settings: &Settings) -> Result<bool, Error> {
    let mut connection = store.pool().acquire().await?;
    let published = places::published(&mut connection, &topics_of(settings, projection)).await?;
    Ok(is_whole(&published, projection, settings)? && store.known_head() - published.position <= PUBLISHED_LAG)
}

/// Whether all topics have been published to.
fn is_whole(published: &Published, projection: &dyn Projection, settings: &Settings) -> Result<bool, Error> {
    let mut topics = topics_of(settings, projection);
    let many = |topic: &String| published.parts.keys().filter(|part| *part.topic == **topic).count();
    let wanted = usize::try_from(settings.partitions).unwrap_or(0);
    if let Some(many) = topics.iter().map(many).find(|many| *many != 0 && *many != wanted) {
        return Err(other_number(many, settings));
    }
    topics.retain(|topic| many(topic) == 0);
    Ok(topics.is_empty())
}

/// Hands `projection` over from the log to Kafka; whether it is kept from Kafka now. The caller holds its lease.
///
/// # Errors
/// The database can't be reached, or events can't be applied.
pub async fn seat(store: &EventStore, projection: &Arc<dyn Projection>, settings: &Settings) -> Result<bool, Error> {
    let mut consumer = consumer::Consumer::open(store, projection.clone()).await?;
    for _ in 0..TRIES {
        // What can't be applied is parked here, so that it is not in the way below.
        consumer.catch_up(&CancellationToken::new(), |_, _| ()).await?;
        let seated = try_to_seat(&mut consumer, settings).await;
        if matches!(seated, Ok(Some(true))) {
            tracing::info!(projection = projection.name(), "the read model is kept from Kafka from now on");
            return Ok(true);
        }
        sqlx::query!("rollback").execute(&mut consumer.connection).await?;
        match seated {
            Ok(Some(_)) => return Ok(false),
            Ok(None) => {}
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => tracing::debug!(%error, projection = projection.name(), "the hand-over to Kafka is tried again"),
        }
        consumer.read_again().await?;
    }
    Ok(false)
}

/// Whether it was handed over; none where it must be tried again. Unless it was, the connection is still in the transaction.
async fn try_to_seat(consumer: &mut consumer::Consumer, settings: &Settings) -> Result<Option<bool>, Error> {
    let projection = consumer.projection.clone();
    let name = projection.name();
    sqlx::query!("begin").execute(&mut consumer.connection).await?;
    sqlx::query!("set local synchronous_commit = on").execute(&mut consumer.connection).await?;
    if Checkpoint::lock(&mut consumer.connection, name).await?.as_ref() != Some(&consumer.checkpoint) {
        return Ok(None);
    }
    let published = places::published(&mut consumer.connection, &topics_of(settings, &*projection)).await?;
    if !is_whole(&published, &*projection, settings)? {
        return Ok(Some(false));
    }
    let position = published.position.max(consumer.checkpoint.position);
    if !consumer.apply_up_to(position).await? {
        return Ok(None);
    }
    places::seat(&mut consumer.connection, name, &published, position).await?;
    checkpoint::put(&mut consumer.connection, name, position).await?;
    sqlx::query!("commit").execute(&mut consumer.connection).await?;
    Ok(Some(true))
}

/// Hands `projection` back from Kafka to the log, where it is not kept from that already. The caller holds its lease.
///
/// # Errors
/// The database can't be reached, or events can't be applied; the read model is of another version.
pub async fn unseat(store: &EventStore, projection: &Arc<dyn Projection>) -> Result<(), Error> {
    let mut writer = Writer::open(store, projection.clone()).await?;
    let feed = store.feed(projection.categories());
    for _ in 0..TRIES {
        let mut places = writer.read_again().await?;
        let Some(furthest) = places.values().map(|place| place.position).max() else { return Ok(()) };
        let furthest = furthest.max(writer.checkpoint.position);
        let layout = Layout::of(places.keys());
        if !writer.fill(&feed, &layout, &mut places, furthest, &Published::default()).await? {
            continue;
        }
        let mut transaction = writer.connection.begin().await?;
        sqlx::query!("set local synchronous_commit = on").execute(&mut *transaction).await?;
        Checkpoint::lock(&mut transaction, projection.name()).await?;
        let is_as_left = writer.checkpoint.stands(&mut transaction).await?;
        if !is_as_left || places::read(&mut transaction, projection.name()).await? != places {
            transaction.rollback().await?;
            continue;
        }
        places::unseat(&mut transaction, projection.name()).await?;
        checkpoint::put(&mut transaction, projection.name(), furthest).await?;
        transaction.commit().await?;
        tracing::info!(projection = projection.name(), position = furthest, "the read model is kept from the log from now on");
        return Ok(());
    }
    Err(event_store::Error::Unavailable("others move the places of the read model all the time".into()).into())
}
