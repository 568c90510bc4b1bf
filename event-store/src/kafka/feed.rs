//! Some categories from Kafka as an ordered source of events, as [`crate::Feed`] is one from the log.
//!
//! What is published already is read from the log. What comes after that arrives by partitions, and is held back until all that stands before it in
//! the log has arrived too: until Kafka has acknowledged everything up to it, and no partition lacks anything of that. Where something does
//! not come at all, it is in the log: the feed begins anew where it was.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use event_schemas::Recorded;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use super::{
    Settings,
    places::{self, Part, Published},
    reader::{Arrival, Arrived, Reader},
    topics,
};
use crate::{
    Batch, Error, EventStore, Mark,
    feed::{BATCH_BYTES, Undecodable},
    mark::Hash,
    newer,
};

/// How often it is asked what is published.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// The same where nothing has come for a while.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// What is published and has not come for this long is read from the log.
const OVERDUE: Duration = Duration::from_secs(3);
/// How many batches wait at most to be taken.
const WAITING: usize = 2;
/// The most events that are held back, and the most bytes of their data: more of them are read from the log again.
const MOST_HELD: usize = 50_000;
const MOST_HELD_BYTES: usize = 16 << 20;

/// The events of some categories, in the order of the log.
pub struct Feed {
    store: EventStore,
    settings: Arc<Settings>,
    categories: &'static [&'static str],
    running: Option<Running>,
}

struct Running {
    batches: mpsc::Receiver<Result<Batch, Error>>,
    /// Where the batch begins that comes next.
    after: i64,
    _stop: DropGuard,
}

impl Feed {
    /// The events of `categories`.
    #[must_use]
    pub fn new(store: EventStore, settings: Arc<Settings>, categories: &'static [&'static str]) -> Self {
        Self { store, settings, categories, running: None }
    }

    /// What comes after position `after`: waits until there is something, then up to `most` positions of the log at once, or as many events
    /// from Kafka. The batch may hold no event. Nothing is lost where the caller does not wait for the answer.
    ///
    /// # Errors
    /// The database can't be reached, or no client can be made. Where Kafka is away, it waits.
    pub async fn next(&mut self, after: i64, most: usize) -> Result<Batch, Error> {
        let running = match &mut self.running {
            Some(running) if running.after == after => running,
            running => running.insert(start(&self.store, &self.settings, self.categories, after, most)),
        };
        let batch = running.batches.recv().await.unwrap_or_else(|| Err(Error::Kafka("the feed has ended".into())));
        match &batch {
            Ok(batch) => running.after = batch.up_to,
            Err(_) => self.running = None,
        }
        batch
    }
}

fn start(store: &EventStore, settings: &Arc<Settings>, categories: &'static [&'static str], after: i64, most: usize) -> Running {
    let (out, batches) = mpsc::channel(WAITING);
    let stop = CancellationToken::new();
    let task = Task {
        store: store.clone(),
        settings: settings.clone(),
        categories,
        topics: categories.iter().map(|category| topics::of_category(&settings.prefix, category)).collect(),
        up_to: after,
        most,
        is_away: false,
        breaks: store.breaks(),
    };
    let stopped = stop.clone();
    tokio::spawn(async move {
        if let Some(Err(error)) = stopped.run_until_cancelled(task.run(&out)).await {
            let _ = out.send(Err(error)).await;
        }
    });
    Running { batches, after, _stop: stop.drop_guard() }
}

struct Task {
    store: EventStore,
    settings: Arc<Settings>,
    categories: &'static [&'static str],
    topics: Vec<String>,
    /// Everything up to here has been handed on.
    up_to: i64,
    most: usize,
    is_away: bool,
    /// Number of times the log had been found to have gone back when the task began.
    breaks: u64,
}

impl Task {
    /// Hands batches on until nobody takes them.
    async fn run(mut self, out: &mpsc::Sender<Result<Batch, Error>>) -> Result<(), Error> {
        while !out.is_closed() {
            if self.breaks != self.store.breaks() {
                return Err(Error::WentBack(self.store.timeline().since));
            }
            let published = self.published().await?;
            if published.position > self.up_to {
                self.hand_on_from_log(published.position, out).await?;
            } else if published.parts.is_empty() {
                sleep(IDLE_INTERVAL).await; // nothing has ever been published
            } else {
                self.hand_on_from_kafka(&published, out).await?;
            }
        }
        Ok(())
    }

    async fn published(&self) -> Result<Published, Error> {
        let mut connection = self.store.pool().acquire().await?;
        places::published(&mut connection, &self.topics).await
    }

    async fn hand_on_from_log(&mut self, published: i64, out: &mpsc::Sender<Result<Batch, Error>>) -> Result<(), Error> {
        let feed = self.store.feed(self.categories);
        while self.up_to < published {
            let most = usize::try_from(published - self.up_to).map_or(self.most, |left| left.min(self.most));
            let batch = feed.read(self.up_to, most).await?;
            if batch.up_to == self.up_to {
                sleep(LOOK_INTERVAL).await; // this process does not know yet how far the log goes
                continue;
            }
            self.up_to = batch.up_to;
            if out.send(Ok(batch)).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Hands on what arrives, until something is missing.
    async fn hand_on_from_kafka(&mut self, published: &Published, out: &mpsc::Sender<Result<Batch, Error>>) -> Result<(), Error> {
        let offsets = published.parts.iter().map(|(part, (offset, _))| (part.clone(), *offset)).collect();
        let mut reader = Reader::of_parts(&self.store, &self.settings, offsets)?;
        let mut held = Held::new(published, self.up_to);
        let (mut looked_at, mut active_at) = (Instant::now(), Instant::now());
        let mut lacking_since = None;
        loop {
            let is_active = !held.events.is_empty() || active_at.elapsed() < IDLE_AFTER;
            let interval = if is_active { LOOK_INTERVAL } else { IDLE_INTERVAL };
            if let Ok(arrival) = timeout(interval.saturating_sub(looked_at.elapsed()), reader.next()).await {
                if !self.take(arrival?, &mut held) {
                    return Ok(());
                }
                if looked_at.elapsed() < LOOK_INTERVAL {
                    continue;
                }
            }
            let published = self.published().await?;
            if self.breaks != self.store.breaks() {
                return Ok(()); // which is seen above
            }
            if published.timeline != held.timeline {
                return Ok(()); // what is held may be of events that the log has lost
            }
            looked_at = Instant::now();
            while let Some(batch) = held.release(&published, self.up_to, self.most) {
                let (batch, newer) = newer::split(self.store.pool(), batch).await?;
                self.up_to = batch.up_to;
                active_at = looked_at;
                lacking_since = None;
                if out.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
                if let Some(newer) = newer {
                    return Err(newer.into());
                }
            }
            if published.position <= self.up_to {
                lacking_since = None;
            } else if lacking_since.get_or_insert(looked_at).elapsed() > OVERDUE {
                tracing::debug!(up_to = self.up_to, "what is published does not come: it is read from the log");
                return Ok(());
            }
        }
    }

    /// False where something is missing.
    fn take(&mut self, arrival: Arrival, held: &mut Held) -> bool {
        match arrival {
            Arrival::Events(events) => return events.into_iter().all(|event| held.take(event)) && !held.is_full(),
            Arrival::Away(reason) => {
                self.is_away = true;
                tracing::warn!(categories = ?self.categories, reason, "events are waited for");
            }
            Arrival::Back if std::mem::take(&mut self.is_away) => tracing::info!(categories = ?self.categories, "events come again"),
            Arrival::Back | Arrival::Assigned(..) | Arrival::Revoked(_) => {}
        }
        true
    }
}

/// What has arrived and was not handed on.
struct Held {
    /// The timeline that the log was on before anything of it had arrived.
    timeline: Uuid,
    /// How far each partition has arrived.
    seen: BTreeMap<Part, i64>,
    events: BTreeMap<i64, HeldEvent>,
    /// Of the data of all of them.
    bytes: usize,
}

struct HeldEvent {
    hash: Hash,
    bytes: usize,
    event: Result<Arc<Recorded>, Undecodable>,
}

impl Held {
    /// Everything up to `up_to` has been handed on.
    fn new(published: &Published, up_to: i64) -> Self {
        let seen = published.parts.keys().map(|part| (part.clone(), up_to)).collect();
        Self { timeline: published.timeline, seen, events: BTreeMap::new(), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.events.len() > MOST_HELD || self.bytes > MOST_HELD_BYTES
    }

    /// Takes what was not seen before; false where something is missing before it.
    fn take(&mut self, event: Arrived) -> bool {
        let Some(seen) = self.seen.get_mut(&event.part) else { return true };
        if event.position <= *seen {
            return true;
        }
        if event.previous_position > *seen {
            return false;
        }
        *seen = event.position;
        self.bytes += event.bytes;
        self.events.insert(event.position, HeldEvent { hash: event.hash, bytes: event.bytes, event: event.event });
        true
    }

    /// The events after `up_to` that nothing can come in between any more; none where there are none, or where another timeline has begun.
    fn release(&mut self, published: &Published, up_to: i64, most: usize) -> Option<Batch> {
        if published.timeline != self.timeline {
            return None;
        }
        let lacking = published.parts.iter().filter_map(|(part, (_, last))| self.seen.get(part).copied().filter(|seen| seen < last));
        let lacking = lacking.min().filter(|seen| *seen < published.position);
        // What is lacking comes after something that has come, or after what has been handed on.
        let hash_of = |position: i64| self.events.get(&position).map(|held| held.hash);
        let reached = match lacking {
            None => Mark { position: published.position, hash: published.hash },
            Some(position) => Mark { position, hash: hash_of(position)? },
        };
        if reached.position <= up_to {
            return None;
        }
        let (mut batch, mut batch_bytes) = (Batch::empty(reached), 0);
        while let Some(entry) = self.events.first_entry()
            && *entry.key() <= reached.position
        {
            let position = *entry.key();
            let HeldEvent { hash, bytes, event } = entry.remove();
            self.bytes -= bytes;
            batch_bytes += bytes;
            match event {
                Ok(event) => batch.events.push(event),
                Err(undecodable) => batch.undecodable.push(undecodable),
            }
            if batch.events.len() + batch.undecodable.len() >= most || batch_bytes >= BATCH_BYTES {
                (batch.up_to, batch.hash) = (position, hash);
                break;
            }
        }
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use event_schemas::DecodeError;

    use super::*;

    fn part(partition: i32) -> Part {
        Part { topic: "merx.payment".into(), partition }
    }

    fn published(position: i64, last: [i64; 2]) -> Published {
        Published {
            position,
            hash: [position.to_be_bytes()[7]; 32],
            timeline: Uuid::nil(),
            parts: (0..).zip(last).map(|(partition, last)| (part(partition), (0, last))).collect(),
        }
    }

    fn arrived(partition: i32, previous_position: i64, position: i64) -> Arrived {
        let source = DecodeError::UnknownType("New".into());
        let event = Undecodable { position, stream: "payment-1".into(), version: 1, event_type: "New".into(), schema_version: 1, source };
        let hash = [position.to_be_bytes()[7]; 32];
        Arrived { part: part(partition), offset: 0, position, bytes: 1, hash, timeline: None, previous_position, event: Err(event) }
    }

    fn positions(batch: Option<Batch>) -> Option<(Vec<i64>, i64)> {
        batch.map(|batch| {
            assert_eq!(batch.hash, [batch.up_to.to_be_bytes()[7]; 32], "of the event that it ends with");
            (batch.undecodable.iter().map(|event| event.position).collect(), batch.up_to)
        })
    }

    #[test]
    fn events_are_held_back_until_nothing_can_come_in_between() {
        let mut held = Held::new(&published(10, [8, 10]), 10);
        assert!(held.take(arrived(0, 8, 14)));
        assert_eq!(positions(held.release(&published(10, [8, 10]), 10, 9)), None, "Kafka may not have all before it");
        assert_eq!(positions(held.release(&published(13, [8, 12]), 10, 9)), None, "12 has not come");
        assert!(held.take(arrived(1, 10, 12)));
        assert_eq!(positions(held.release(&published(13, [8, 12]), 10, 9)), Some((vec![12], 13)));
        assert_eq!(positions(held.release(&published(16, [14, 12]), 13, 9)), Some((vec![14], 16)));
        assert_eq!(positions(held.release(&published(16, [14, 12]), 16, 9)), None);
    }

    #[test]
    fn what_comes_again_is_dropped_and_what_is_missing_is_seen() {
        let mut held = Held::new(&published(10, [8, 10]), 10);
        for again in [arrived(0, 0, 8), arrived(0, 8, 14), arrived(0, 0, 8), arrived(0, 8, 14)] {
            assert!(held.take(again));
        }
        assert!(!held.take(arrived(1, 11, 12)), "11 has not come");
        assert_eq!(positions(held.release(&published(14, [14, 10]), 10, 9)), Some((vec![14], 14)));
    }

    #[test]
    fn what_is_held_of_a_timeline_that_has_ended_is_not_handed_on() {
        let mut held = Held::new(&published(10, [8, 10]), 10);
        assert!(held.take(arrived(0, 8, 11)), "it was lost, as nobody here knows yet");
        let later = Published { timeline: Uuid::max(), ..published(11, [11, 10]) };
        assert_eq!(positions(held.release(&later, 10, 9)), None, "another event stands there now");
        assert_eq!(positions(held.release(&published(11, [11, 10]), 10, 9)), Some((vec![11], 11)));
    }

    #[test]
    fn a_batch_has_an_end() {
        let mut held = Held::new(&published(0, [0, 0]), 0);
        assert!((1..=5).all(|position| held.take(arrived(0, position - 1, position))));
        assert_eq!(positions(held.release(&published(6, [5, 0]), 0, 3)), Some((vec![1, 2, 3], 3)));
        assert_eq!(positions(held.release(&published(6, [5, 0]), 3, 3)), Some((vec![4, 5], 6)));
    }
    #[test]
    fn what_is_held_back_and_handed_on_is_bounded_in_bytes() {
        let mut held = Held::new(&published(0, [0, 0]), 0);
        let large = |position| Arrived { bytes: BATCH_BYTES / 2, ..arrived(0, position - 1, position) };
        let most = 2 * (MOST_HELD_BYTES / BATCH_BYTES) as i64;
        assert!((1..=most).all(|position| held.take(large(position))) && !held.is_full());
        assert!(held.take(large(most + 1)) && held.is_full());
        assert_eq!(positions(held.release(&published(most + 1, [most + 1, 0]), 0, 9)), Some((vec![1, 2], 2)));
        assert_eq!((held.bytes, held.is_full()), (MOST_HELD_BYTES - BATCH_BYTES / 2, false));
    }
}
