//! Memory of entities, estimated in bytes: what the state is written as, twice, since the committed one is kept beside the newest.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use domain::Aggregate;
use event_schemas::StreamId;
use quick_cache::{
    DefaultHashBuilder,
    sync::{DefaultLifecycle, EntryAction},
};
use serde::Serialize;

use super::Entity;

/// The bytes of a handler's entities. How many there are has a limit besides.
const CACHE_BYTES: usize = 12 << 20;
/// Parts of the cache, each with its share of the bytes.
const SHARDS: usize = 4;
/// The fewest entities that have room in a part, however large they are: a busy stream whose state outgrows all measures must not be read again for each command.
const LEAST_ENTITIES: usize = 4;
/// The largest weight, which stands for any that is larger.
const MOST_WEIGHT: usize = CACHE_BYTES / SHARDS / LEAST_ENTITIES;
/// The fewest bytes of events that a state is measured again for.
const LEAST_GROWTH: usize = 4 << 10;

/// The weight of a state, measured now and then.
#[derive(Default)]
pub struct Weight {
    /// The bytes that it had when it was measured last.
    measured: AtomicUsize,
    /// The bytes of the events since, each of which may have added as much.
    since: AtomicUsize,
}

impl Weight {
    /// Events of so many `bytes` were folded in: where the state may have doubled since, it is measured again, and true is returned.
    pub fn add(&self, bytes: usize, state: &impl Serialize) -> bool {
        let since = self.since.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let is_due = since > self.measured.load(Ordering::Relaxed).max(LEAST_GROWTH);
        if is_due {
            self.measure(state);
        }
        is_due
    }

    /// Measures it.
    pub fn measure(&self, state: &impl Serialize) {
        let mut counter = Counter(0);
        // Counting can't fail, nor can a state be written otherwise than as JSON.
        drop(serde_json::to_writer(&mut counter, state));
        self.measured.store(2 * counter.0, Ordering::Relaxed);
        self.since.store(0, Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.measured.load(Ordering::Relaxed) + self.since.load(Ordering::Relaxed)
    }
}

struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An entity in a cache, with the weight that it was put in with: that must stay as it is while it is there.
pub struct Kept<A: Aggregate> {
    /// The entity.
    pub entity: Arc<Entity<A>>,
    weight: u64,
}

impl<A: Aggregate> Clone for Kept<A> {
    fn clone(&self) -> Self {
        Self { entity: self.entity.clone(), weight: self.weight }
    }
}

/// Tells a cache what its entities weigh.
#[derive(Clone)]
pub struct Weigher;

impl<A: Aggregate> quick_cache::Weighter<StreamId, Kept<A>> for Weigher {
    fn weight(&self, _: &StreamId, kept: &Kept<A>) -> u64 {
        kept.weight
    }
}

/// The entities of a handler.
pub struct Entities<A: Aggregate> {
    cache: quick_cache::sync::Cache<StreamId, Kept<A>, Weigher>,
    /// The least weight of an entity, in bytes, so that no more than a number of them has room.
    least: usize,
}

impl<A: Aggregate> Entities<A> {
    /// Room for about `capacity` entities, or for fewer where they are large.
    pub fn new(capacity: usize) -> Self {
        let options = quick_cache::OptionsBuilder::new()
            .shards(SHARDS)
            .estimated_items_capacity(capacity)
            .weight_capacity(CACHE_BYTES as u64)
            .build();
        // Only what is missing could be wrong with them, and nothing is.
        let cache = match options {
            Ok(options) => {
                quick_cache::sync::Cache::with_options(options, Weigher, DefaultHashBuilder::default(), DefaultLifecycle::default())
            }
            Err(_) => quick_cache::sync::Cache::with_weighter(capacity, CACHE_BYTES as u64, Weigher),
        };
        Self { cache, least: (CACHE_BYTES / capacity.max(1)).min(MOST_WEIGHT) }
    }

    /// The entity of `stream`, which is made where there is none.
    pub fn get_or_make(&self, stream: &StreamId) -> Arc<Entity<A>> {
        let made: Result<_, std::convert::Infallible> =
            self.cache.get_or_insert_with(stream, || Ok(self.weighed(Arc::new(Entity::new(stream.clone())))));
        match made {
            Ok(kept) => kept.entity,
            Err(never) => match never {},
        }
    }

    /// Puts `entity` in.
    pub fn put(&self, entity: Arc<Entity<A>>) {
        self.cache.insert(entity.stream().clone(), self.weighed(entity));
    }

    /// Weighs `entity` again, if it is there.
    pub fn weigh_again(&self, entity: &Arc<Entity<A>>) {
        // Within the cache's lock: what is forgotten meanwhile must not come back.
        let weighed = self.cache.entry(entity.stream(), None, |_, kept| {
            if Arc::ptr_eq(&kept.entity, entity) {
                kept.weight = self.weighed(entity.clone()).weight;
            }
            EntryAction::Retain(())
        });
        drop(weighed);
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        self.cache.clear();
    }

    fn weighed(&self, entity: Arc<Entity<A>>) -> Kept<A> {
        let weight = entity.weight().bytes().clamp(self.least, MOST_WEIGHT) as u64;
        Kept { entity, weight }
    }
}

#[cfg(test)]
mod tests {
    use domain::stock::Stock;
    use event_store::EventStore;

    use super::*;
    use crate::{
        handler::{
            Context, Handler, Staging,
            tests::{order, receive, reserve},
        },
        shop::now,
        test_database::Database,
    };

    fn stream(nth: usize) -> StreamId {
        StreamId::stock(&format!("S{nth}").parse().unwrap())
    }

    /// As many entities as are kept of a thousand, each of which has so many `bytes`.
    fn kept(capacity: usize, bytes: usize) -> usize {
        let entities = Entities::<Stock>::new(capacity);
        for nth in 0..1_000 {
            let entity = Entity::unborn(stream(nth));
            entity.weight().measured.store(bytes, Ordering::Relaxed);
            entities.put(Arc::new(entity));
        }
        assert!(entities.cache.weight() <= CACHE_BYTES as u64);
        entities.cache.len()
    }

    #[test]
    fn fewer_entities_are_kept_where_they_are_large_but_always_some() {
        assert_eq!(kept(10_000, 100), 1_000);
        let many = kept(100, 100);
        assert!((64..=100).contains(&many), "{many} of a hundred");
        let large = CACHE_BYTES / 40;
        let few = kept(10_000, large);
        assert!((16..=40).contains(&few), "{few} of {large} bytes");
        let fewest = kept(10_000, 100 * CACHE_BYTES);
        assert!((4..=16).contains(&fewest), "{fewest} of the largest");
    }

    #[test]
    fn an_entity_that_grows_is_weighed_again() {
        let entities = Entities::<Stock>::new(10_000);
        let entity = Arc::new(Entity::unborn(stream(1)));
        entities.put(entity.clone());
        let context = Context::new(now(), "test");
        let before = entities.cache.weight();
        for nth in 0..100 {
            let command = if nth == 0 { receive(1_000) } else { reserve(order(), 1) };
            let Staging::Staged(staged) = entity.stage(&command, &context) else { panic!("it is not staged") };
            drop(staged.part().unwrap());
            staged.submitted();
        }
        assert!(entity.take_growth() && !entity.take_growth());
        entities.weigh_again(&entity);
        let after = entities.cache.weight();
        assert!(after > 10 * before, "from {before} to {after}");
        entities.clear();
        entities.weigh_again(&entity);
        assert_eq!(entities.cache.len(), 0, "it was forgotten meanwhile");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_others_add_to_a_state_weighs_too() {
        let Some(database) = Database::make().await else { return };
        let store = EventStore::open(database.pool.clone()).await.unwrap();
        let [handler, other] = [(); 2].map(|()| Handler::<Stock>::new(store.clone(), 10_000));
        let weight = async || {
            handler.current_all(&[stream(1)], |_, _| ()).await.unwrap();
            handler.entities.cache.weight()
        };
        let change = async |command| {
            other.run(&stream(1), &command, &Context::new(now(), "another server"), |_, _| ()).await.unwrap();
        };
        change(receive(1_000)).await;
        let before = weight().await;
        // A few at a time, none of which says much.
        for _ in 0..20 {
            for _ in 0..10 {
                change(reserve(order(), 1)).await;
            }
            weight().await;
        }
        let after = weight().await;
        assert!(after > 10 * before, "from {before} to {after}");
    }

    #[test]
    fn a_state_is_measured_again_once_it_may_have_doubled() {
        let weight = Weight::default();
        assert!(!weight.add(LEAST_GROWTH, &"small"));
        assert!(weight.add(1, &"x".repeat(100_000)));
        assert_eq!(weight.bytes(), 2 * 100_002);
        assert!(!weight.add(200_004, &"x".repeat(100_000)));
        assert_eq!(weight.bytes(), 4 * 100_002);
        assert!(weight.add(1, &"x"));
        assert_eq!(weight.bytes(), 6);
    }
}
