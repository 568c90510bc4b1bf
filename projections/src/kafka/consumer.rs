//! What the group gives, into rows.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
    time::Duration,
};

use event_store::{
    Batch, EventStore, Feed, Mark, checkpoint,
    kafka::{
        Settings,
        places::{self, Layout, Part, Place, Places},
        reader::{Arrival, Arrived, MOST_MESSAGES, Reader},
    },
    newer,
};
use metrics::gauge;
use tokio::{
    sync::oneshot,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    topics_of,
    writer::{Steps, Writer, take},
};
use crate::{
    Error, Projection,
    consumer::{BATCH_BYTES, BATCH_POSITIONS, PACE},
};

/// This many events are not waited with.
const PLENTY: usize = 1_000;
/// How often it is looked whether anything is overdue.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// What is published and has not come for this long is read from the log.
const OVERDUE: Duration = Duration::from_secs(3);
/// Who has lost a partition to somebody else, and still has it by the word of the group after this time, takes it again.
const LOST_TIME: Duration = Duration::from_secs(3);
/// How long leaving the group may take.
const LEAVE_LIMIT: Duration = Duration::from_secs(2);
/// How often a batch is tried where somebody mends something meanwhile.
const TRIES: u32 = 5;

/// Applies what the group gives to this server of a projection's topics.
pub struct Consumer {
    store: EventStore,
    writer: Writer,
    reader: Reader,
    /// For what Kafka does not bring.
    feed: Feed,
    topics: Vec<String>,
    /// Where streams go, in partitions of others too.
    layout: Layout,
    /// The places of its own partitions, as it has left them.
    owned: Places,
    /// Partitions that somebody else has taken although the group has not, and since when.
    lost: BTreeMap<Part, Instant>,
    /// What is to be written next.
    gathered: Gathered,
    written_at: Instant,
    /// Places that lack something that is published, and since when they stand there.
    lacking: BTreeMap<Part, (i64, Instant)>,
}

/// Whether Kafka can be read: none where it can, or why not.
pub type Health = Option<String>;

impl Consumer {
    /// One for a projection that has been handed over to Kafka.
    pub async fn open(store: &EventStore, projection: Arc<dyn Projection>, settings: &Settings) -> Result<Self, Error> {
        let topics = topics_of(settings, &*projection);
        let mut writer = Writer::open(store, projection.clone()).await?;
        let all = writer.read_again().await?;
        let reader = Reader::of_group(store, settings, &settings.projection_group(projection.name()), topics.clone())?;
        Ok(Self {
            store: store.clone(),
            feed: store.feed(projection.categories()),
            writer,
            reader,
            topics,
            layout: Layout::of(all.keys()),
            owned: Places::new(),
            lost: BTreeMap::new(),
            gathered: Gathered::default(),
            written_at: Instant::now(),
            lacking: BTreeMap::new(),
        })
    }

    fn name(&self) -> &'static str {
        self.writer.projection.name()
    }

    /// Applies what comes until `stop`, or until the projection is handed back to the log. Tells `health` at first and whenever it changes.
    pub async fn follow(mut self, stop: &CancellationToken, health: impl Fn(Health)) -> Result<(), Error> {
        let followed = self.run(stop, health).await;
        self.owned.clear();
        self.measure();
        // Others get the partitions at once then.
        let _ = timeout(LEAVE_LIMIT, self.reader.close()).await;
        followed
    }

    async fn run(&mut self, stop: &CancellationToken, health: impl Fn(Health)) -> Result<(), Error> {
        let mut check = interval(CHECK_INTERVAL);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_full = self.gathered.is_full();
            let due = if self.gathered.arrived.len() >= PLENTY { self.written_at } else { self.written_at + PACE };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = check.tick() => if !self.check().await? { return Ok(()) },
                arrival = self.reader.next(), if !is_full => self.take(arrival?, &health).await?,
                () = sleep_until(due), if !self.gathered.arrived.is_empty() => self.write().await?,
            }
        }
    }

    async fn take(&mut self, arrival: Arrival, health: &impl Fn(Health)) -> Result<(), Error> {
        match arrival {
            Arrival::Events(events) => {
                for event in events {
                    self.gather(event).await?;
                }
            }
            Arrival::Assigned(parts, reply) => self.own(&parts, reply).await?,
            Arrival::Revoked(parts) => {
                // What has come is written as long as nobody else has the partitions.
                self.write().await?;
                for part in &parts {
                    self.owned.remove(part);
                    self.lost.remove(part);
                }
                self.measure();
            }
            Arrival::Away(reason) => {
                let mut connection = self.store.pool().acquire().await?;
                checkpoint::note_failure(&mut connection, self.name(), &reason).await?;
                health(Some(reason));
            }
            Arrival::Back => {
                let mut connection = self.store.pool().acquire().await?;
                checkpoint::note_recovery(&mut connection, self.name()).await?;
                health(None);
            }
        }
        Ok(())
    }

    /// Owns `parts` from now on, which are read from where they are applied to.
    async fn own(&mut self, parts: &[Part], reply: oneshot::Sender<BTreeMap<Part, i64>>) -> Result<(), Error> {
        self.write().await?;
        let places = self.open_places(parts).await?;
        // Where the reader is gone, there will be no messages.
        let _ = reply.send(places.into_iter().map(|(part, place)| (part, place.next_offset)).collect());
        Ok(())
    }

    async fn open_places(&mut self, parts: &[Part]) -> Result<Places, Error> {
        let mut connection = self.store.pool().acquire().await?;
        let places = places::open(&mut connection, self.name(), parts).await?;
        tracing::debug!(projection = self.name(), parts = places.len(), "partitions are owned");
        drop(connection);
        self.owned.extend(places.clone());
        self.lost.retain(|part, _| !parts.contains(part));
        // Whoever had them may have parked streams of theirs, and can't any more.
        self.read_again().await?;
        Ok(places)
    }

    /// Takes an event into the next batch; where something is missing before it, that comes first.
    async fn gather(&mut self, event: Arrived) -> Result<(), Error> {
        if let Err(undecodable) = &event.event
            && self.owned.get(&event.part).is_some_and(|place| place.position < event.position)
            && let Some(newer) = newer::first(self.store.pool(), std::slice::from_ref(undecodable)).await?
        {
            self.write().await?; // what stands before it
            return Err(event_store::Error::from(newer).into());
        }
        let Some(missing) = self.gathered.take(&self.owned, event) else { return Ok(()) };
        tracing::debug!(projection = self.name(), topic = %missing.part.topic, partition = missing.part.partition,
                        up_to = missing.previous_position, "something is missing: it is read from the log");
        self.write().await?;
        self.fill(missing.previous_position).await?;
        // Where it is still missing, somebody else has the partition, or changes something: it comes again, or is overdue.
        self.gathered.take(&self.owned, missing);
        Ok(())
    }

    /// Writes what was gathered. Where somebody has mended something meanwhile, it is seen anew what of it is to be applied.
    async fn write(&mut self) -> Result<(), Error> {
        for _ in 0..TRIES {
            if self.gathered.arrived.is_empty() {
                return Ok(());
            }
            let written = self.writer.write(&self.gathered.batch(), &self.gathered.steps).await?;
            self.written_at = Instant::now();
            let gathered = std::mem::take(&mut self.gathered);
            if written {
                take(&mut self.owned, gathered.steps);
                return Ok(());
            }
            self.read_again().await?;
            for event in gathered.arrived {
                self.gathered.take(&self.owned, event);
            }
        }
        Err(event_store::Error::Unavailable("others change the places all the time".into()).into())
    }

    /// Reads the places anew, after they were found changed. Partitions that somebody else has taken are not this server's any more.
    async fn read_again(&mut self) -> Result<Places, Error> {
        let all = self.writer.read_again().await?;
        let now = Instant::now();
        let lost = &mut self.lost;
        self.owned.retain(|part, own| match all.get(part) {
            Some(place) if place.fence == own.fence => {
                *own = *place;
                true
            }
            _ => {
                lost.insert(part.clone(), now);
                false
            }
        });
        self.measure();
        Ok(all)
    }

    /// Applies from the log what partitions lack up to `up_to` and up to what is published.
    async fn fill(&mut self, up_to: i64) -> Result<(), Error> {
        let mut connection = self.store.pool().acquire().await?;
        let published = places::published(&mut connection, &self.topics).await?;
        drop(connection);
        let up_to = up_to.max(published.position);
        if !self.writer.fill(&self.feed, &self.layout, &mut self.owned, up_to, &published).await? {
            self.read_again().await?;
        }
        Ok(())
    }

    /// Looks after what no message tells; false where the projection was handed back to the log.
    async fn check(&mut self) -> Result<bool, Error> {
        if !self.writer.checkpoint.stands(&mut self.writer.connection).await? && self.read_again().await?.is_empty() {
            return Ok(false);
        }
        let again = self.lost.iter().filter(|(_, since)| since.elapsed() > LOST_TIME).map(|(part, _)| part.clone());
        let again: Vec<Part> = again.collect();
        if !again.is_empty() {
            self.write().await?;
            self.open_places(&again).await?;
        }
        let mut connection = self.store.pool().acquire().await?;
        let published = places::published(&mut connection, &self.topics).await?;
        drop(connection);
        let now = Instant::now();
        let mut lacking = BTreeMap::new();
        for (part, place) in &self.owned {
            if published.parts.get(part).is_some_and(|(_, last)| place.position < *last) {
                let known = self.lacking.get(part).filter(|(position, _)| *position == place.position);
                lacking.insert(part.clone(), known.copied().unwrap_or((place.position, now)));
            }
        }
        self.lacking = lacking;
        if self.lacking.values().any(|(_, since)| since.elapsed() > OVERDUE) {
            tracing::debug!(projection = self.name(), "what is published does not come: it is read from the log");
            self.write().await?;
            self.fill(0).await?;
        }
        Ok(true)
    }

    fn measure(&self) {
        let many = u32::try_from(self.owned.len()).unwrap_or(u32::MAX);
        gauge!("merx_projection_partitions", "projection" => self.name()).set(f64::from(many));
    }
}

/// Events that are to be written next, and where that leads.
#[derive(Default)]
struct Gathered {
    arrived: Vec<Arrived>,
    /// Of their data.
    bytes: usize,
    steps: Steps,
}

impl Gathered {
    /// True where another arrival may have no room.
    fn is_full(&self) -> bool {
        self.arrived.len() + MOST_MESSAGES > BATCH_POSITIONS || self.bytes >= BATCH_BYTES
    }

    /// Takes an event that is not applied yet. Gives it back where something is missing before it, or where what was gathered is of another
    /// timeline: that is written by itself, or is found not to be in the log any more.
    fn take(&mut self, owned: &Places, event: Arrived) -> Option<Arrived> {
        let place = owned.get(&event.part)?;
        let reached = self.steps.get(&event.part).map_or(place.position, |(_, next)| next.position);
        if event.position <= reached {
            return None;
        }
        let is_of_another = self.arrived.last().is_some_and(|last| last.timeline != event.timeline);
        if event.previous_position > reached || is_of_another {
            return Some(event);
        }
        let next = Place { next_offset: event.offset + 1, position: event.position, hash: event.hash, ..*place };
        match self.steps.entry(event.part.clone()) {
            Entry::Occupied(mut step) => step.get_mut().1 = next,
            Entry::Vacant(step) => drop(step.insert((*place, next))),
        }
        self.bytes += event.bytes;
        self.arrived.push(event);
        None
    }

    /// In the order of the log, as far as that is known.
    fn batch(&self) -> Batch {
        let mut batch = Batch::empty(Mark::START);
        for arrived in &self.arrived {
            match &arrived.event {
                Ok(event) => batch.events.push(event.clone()),
                Err(undecodable) => batch.undecodable.push(undecodable.clone()),
            }
        }
        batch.events.sort_unstable_by_key(|event| event.position);
        batch.undecodable.sort_unstable_by_key(|event| event.position);
        batch
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::DecodeError;
    use event_store::Undecodable;

    use super::*;

    fn part(partition: i32) -> Part {
        Part { topic: "merx.stock".into(), partition }
    }

    fn arrived(partition: i32, previous_position: i64, position: i64) -> Arrived {
        let source = DecodeError::UnknownType("New".into());
        let event = Undecodable { position, stream: "stock-A".into(), version: 1, event_type: "New".into(), schema_version: 1, source };
        Arrived {
            part: part(partition),
            offset: position * 2,
            position,
            bytes: 1,
            hash: [position.to_be_bytes()[7]; 32],
            timeline: None,
            previous_position,
            event: Err(event),
        }
    }

    #[test]
    fn a_batch_is_of_one_timeline() {
        let owned = Places::from([(part(0), Place { next_offset: 5, position: 10, hash: [10; 32], fence: 3 })]);
        let of = |timeline: u128, event: Arrived| Arrived { timeline: Some(uuid::Uuid::from_u128(timeline)), ..event };
        let mut gathered = Gathered::default();
        assert!(gathered.take(&owned, of(1, arrived(0, 7, 11))).is_none(), "it was lost, as nobody here knows yet");
        assert!(gathered.take(&owned, of(2, arrived(0, 11, 12))).is_some(), "with it nobody would see that 11 is another one now");
        gathered = Gathered::default();
        assert!(gathered.take(&owned, of(2, arrived(0, 7, 12))).is_none());
    }

    #[test]
    fn events_are_taken_once_and_what_is_missing_is_seen() {
        let place = Place { next_offset: 5, position: 10, hash: [10; 32], fence: 3 };
        let owned = Places::from([(part(0), place)]);
        let mut gathered = Gathered::default();
        assert!(gathered.take(&owned, arrived(0, 0, 10)).is_none(), "it is applied");
        assert!(gathered.take(&owned, arrived(1, 0, 11)).is_none(), "it belongs to others");
        assert!(gathered.arrived.is_empty());
        assert!(gathered.take(&owned, arrived(0, 11, 12)).is_some(), "11 is missing");
        for (previous, position) in [(7, 13), (13, 15), (7, 13)] {
            assert!(gathered.take(&owned, arrived(0, previous, position)).is_none());
        }
        assert!(gathered.take(&owned, arrived(0, 16, 17)).is_some(), "16 is missing");
        assert_eq!(gathered.arrived.iter().map(|event| event.position).collect::<Vec<_>>(), [13, 15]);
        assert_eq!(gathered.steps, Steps::from([(part(0), (place, Place { next_offset: 31, position: 15, hash: [15; 32], fence: 3 }))]));
        assert_eq!(gathered.batch().undecodable.len(), 2);
    }
    #[test]
    fn a_batch_is_full_by_its_number_or_by_its_bytes() {
        let place = Place { next_offset: 0, position: 0, hash: [0; 32], fence: 3 };
        let owned = Places::from([(part(0), place)]);
        let full_after = |bytes| {
            let mut gathered = Gathered::default();
            (1..1_000_000).find(|position| {
                assert!(gathered.take(&owned, Arrived { bytes, ..arrived(0, position - 1, *position) }).is_none());
                gathered.is_full()
            })
        };
        assert_eq!(full_after(1), Some((BATCH_POSITIONS - MOST_MESSAGES) as i64 + 1));
        assert_eq!(full_after(BATCH_BYTES / 4), Some(4));
    }
}
