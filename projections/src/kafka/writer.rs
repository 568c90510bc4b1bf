//! Batches of partitions into rows, each in one transaction with the places that it moves.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use event_store::{
    Batch, Checkpoint, EventStore, Feed, Mark, ParkedStreams,
    kafka::places::{self, Layout, Part, Place, Places, Published},
    parked,
};
use futures::{FutureExt as _, future::BoxFuture};
use metrics::{counter, histogram};
use sqlx::PgConnection;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    Error, Projection,
    consumer::{BATCH_LIMIT, BATCH_POSITIONS, LIVE_SCHEMA, connect, out_of_time, read},
    write::{self, Step},
};

/// How long this process may take to learn how far the log goes.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
const HEAD_INTERVAL: Duration = Duration::from_millis(10);

/// The steps of partitions.
pub type Steps = BTreeMap<Part, places::Step>;

/// Writes what a projection gets from partitions.
pub struct Writer {
    pub projection: Arc<dyn Projection>,
    pub connection: PgConnection,
    /// As it was read. Its position is that of the watermark then: everything up to it is applied.
    pub checkpoint: Checkpoint,
    parked: ParkedStreams,
}

impl Writer {
    pub async fn open(store: &EventStore, projection: Arc<dyn Projection>) -> Result<Self, Error> {
        let mut connection = connect(store, &*projection, LIVE_SCHEMA).await?;
        let (checkpoint, parked) = read(&mut connection, projection.name(), projection.version()).await?;
        if let Some(position) = places::astray(&mut connection, projection.name()).await? {
            return Err(Error::Astray { projection: projection.name().into(), position });
        }
        Ok(Self { projection, connection, checkpoint, parked })
    }

    /// Reads its checkpoint anew, after somebody else has changed it, and the places as they are now.
    pub async fn read_again(&mut self) -> Result<Places, Error> {
        let projection = &self.projection;
        (self.checkpoint, self.parked) = read(&mut self.connection, projection.name(), projection.version()).await?;
        Ok(places::read(&mut self.connection, projection.name()).await?)
    }

    /// Applies `batch` and takes `steps`, both or neither; whether the places and the checkpoint were as they had been read. Where not, they must
    /// be read again.
    pub async fn write(&mut self, batch: &Batch, steps: &Steps) -> Result<bool, Error> {
        let started_at = Instant::now();
        let Self { projection, connection, checkpoint, parked, .. } = self;
        let name = projection.name();
        let forward = Forward { checkpoint, steps };
        let written = write::write(connection, &**projection, name, parked, batch, &forward);
        let Some(bad) = timeout(BATCH_LIMIT, written).await.map_err(|_| out_of_time())?? else { return Ok(false) };
        parked::report(name, &bad);
        parked.add(bad);
        counter!("merx_projection_events_total", "projection" => name).increment(batch.events.len() as u64);
        histogram!("merx_projection_batch_seconds", "projection" => name).record(started_at.elapsed().as_secs_f64());
        Ok(true)
    }

    /// Applies from the log what `places` lack up to `up_to`, some thousand positions at a time, and moves them there. Where everything that is
    /// `published` is among it, they go on after that. Whether the places were as they had been read.
    pub async fn fill(
        &mut self,
        feed: &Feed,
        layout: &Layout,
        places: &mut Places,
        up_to: i64,
        published: &Published,
    ) -> Result<bool, Error> {
        let Some(lowest) = places.values().map(|place| place.position).min() else { return Ok(true) };
        // Partitions with nothing new stay far behind the checkpoint, and lack nothing up to it.
        let mut at = lowest.max(self.checkpoint.position);
        while at < up_to {
            let most = usize::try_from(up_to - at).map_or(BATCH_POSITIONS, |left| left.min(BATCH_POSITIONS));
            let mut batch = page(feed, at, most).await?;
            let end = batch.end();
            let is_lacking = |stream: &str, position: i64| {
                let place = layout.part_of(stream).and_then(|part| places.get(&part));
                place.is_some_and(|place| position > place.position)
            };
            batch.events.retain(|event| is_lacking(event.stream.as_str(), event.position));
            batch.undecodable.retain(|event| is_lacking(&event.stream, event.position));
            let steps = steps_to(places, end, published);
            if !self.write(&batch, &steps).await? {
                return Ok(false);
            }
            take(places, steps);
            at = end.position;
        }
        Ok(true)
    }
}

/// The places are where their steps lead.
pub fn take(places: &mut Places, steps: Steps) {
    places.extend(steps.into_iter().map(|(part, (_, next))| (part, next)));
}

fn steps_to(places: &Places, end: Mark, published: &Published) -> Steps {
    let behind = places.iter().filter(|(_, place)| place.position < end.position);
    let step = |(part, place): (&Part, &Place)| {
        let offset = published.parts.get(part).filter(|_| end.position >= published.position).map(|(offset, _)| *offset);
        let next = Place { position: end.position, hash: end.hash, next_offset: offset.unwrap_or(place.next_offset), ..*place };
        (part.clone(), (*place, next))
    };
    behind.map(step).collect()
}

/// Reads up to `most` positions of the log after `at`, where it is known to go on; fails where none comes within `HEAD_LIMIT`.
async fn page(feed: &Feed, at: i64, most: usize) -> Result<Batch, Error> {
    let asked_at = Instant::now();
    loop {
        let batch = feed.read(at, most).await?;
        if batch.up_to > at {
            return Ok(batch);
        }
        if asked_at.elapsed() > HEAD_LIMIT {
            return Err(event_store::Error::Unavailable("how far the log goes is not known".into()).into());
        }
        sleep(HEAD_INTERVAL).await;
    }
}

/// Steps of partitions, while the checkpoint stays as it is but for its position.
struct Forward<'a> {
    checkpoint: &'a Checkpoint,
    steps: &'a Steps,
}

impl Step for Forward<'_> {
    fn take<'a>(&'a self, connection: &'a mut PgConnection) -> BoxFuture<'a, Result<bool, Error>> {
        async {
            let stands = self.checkpoint.stands(&mut *connection).await?;
            Ok(stands && places::advance(connection, &self.checkpoint.name, self.steps).await?)
        }
        .boxed()
    }
}
