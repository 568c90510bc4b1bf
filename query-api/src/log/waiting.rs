//! Long polls at the head of the log: served from memory.
//!
//! However many wait, the log is read once for each time that it has grown, and only while somebody waits. Where very many wait they are answered
//! in rounds, so that what is written is not held up by telling everybody of it.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use event_store::{
    EventStore,
    read::{Filter, PAGE_BYTES},
};
use gateway::Problem;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::Item;

/// The most requests that wait; one more is refused.
const MOST_WAITING: usize = 2_000;
/// The most events that are kept for whoever waits, and their most bytes.
const KEPT_EVENTS: usize = 1_024;
const KEPT_BYTES: usize = 4 << 20;
/// The most events of one reading.
const PAGE: i64 = 500;
/// The shortest time between two rounds, and what each request that waits adds to it.
const ROUND: Duration = Duration::from_millis(20);
const ROUND_OF_EACH: Duration = Duration::from_millis(2);
/// The time between two looks whether anybody waits, while the log does not grow.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Whoever waits for the log to grow.
pub struct Waiters {
    store: EventStore,
    places: Arc<Semaphore>,
    recent: Mutex<Recent>,
    /// The position up to which the log has been read.
    end: watch::Sender<i64>,
    is_reading: AtomicBool,
    /// The number of those who ever waited.
    entered: AtomicU32,
}

/// The events after `after`, without gaps.
#[derive(Default)]
struct Recent {
    after: i64,
    bytes: usize,
    events: VecDeque<Arc<Item>>,
}

impl Recent {
    fn push(&mut self, events: Vec<Item>) {
        for event in events {
            self.bytes += event.bytes();
            self.events.push_back(Arc::new(event));
        }
        while self.events.len() > KEPT_EVENTS || self.bytes > KEPT_BYTES {
            let Some(oldest) = self.events.pop_front() else { break };
            self.bytes -= oldest.bytes();
            self.after = oldest.position;
        }
    }

    /// Those after `after` that `filter` wants, at most `most` and a page's bytes, and how far that reaches; none where not all of them are here.
    fn read(&self, after: i64, filter: &Filter, most: usize) -> Option<(Vec<Arc<Item>>, i64)> {
        if after < self.after {
            return None;
        }
        let skip = usize::try_from(after - self.after).ok()?;
        let mut up_to = self.events.back().map_or(self.after, |last| last.position).max(after);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for event in self.events.iter().skip(skip).filter(|event| filter.wants(&event.stream_id, &event.event_type)) {
            found.push(Arc::clone(event));
            bytes += event.bytes();
            if found.len() == most || bytes >= PAGE_BYTES {
                up_to = event.position;
                break;
            }
        }
        Some((found, up_to))
    }
}

impl Waiters {
    /// Nobody waits yet for the log of `store`.
    pub fn new(store: EventStore) -> Self {
        Self {
            store,
            places: Arc::new(Semaphore::new(MOST_WAITING)),
            recent: Mutex::default(),
            end: watch::Sender::default(),
            is_reading: AtomicBool::new(false),
            entered: AtomicU32::new(0),
        }
    }

    /// A place among those who wait; 503 where there is none.
    pub fn enter(self: &Arc<Self>) -> Result<Waiter, Problem> {
        let full = |_| {
            Problem::unavailable("As many requests wait for events as may. Try again in a moment, or ask without `wait`.").retry_after(1)
        };
        let place = self.places.clone().try_acquire_owned().map_err(full)?;
        let end = self.end.subscribe();
        self.read_while_somebody_waits();
        let turn = self.entered.fetch_add(1, Ordering::Relaxed);
        Ok(Waiter { waiters: self.clone(), end, turn, _place: place })
    }

    fn waiting(&self) -> usize {
        self.end.receiver_count()
    }

    /// The position that those who wait have been told of; none where nobody waits. What is newer they are told of in the next round, and so
    /// is whoever comes back meanwhile: a crowd that came for each event would have the log read for each of its requests.
    pub fn told(&self) -> Option<i64> {
        (self.waiting() > 0).then(|| *self.end.borrow())
    }

    fn read_while_somebody_waits(self: &Arc<Self>) {
        if self.is_reading.swap(true, Ordering::SeqCst) {
            return;
        }
        let waiters = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                waiters.begin();
                while waiters.waiting() > 0 {
                    waiters.round().await;
                }
                waiters.is_reading.store(false, Ordering::SeqCst);
                // Somebody may have come who still saw this task at work.
                if waiters.waiting() == 0 || waiters.is_reading.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        });
    }

    /// Begins anew at the log's head. What was kept is of another time: what lies between is nobody's business.
    fn begin(&self) {
        let after = self.store.known_head();
        *self.recent.lock() = Recent { after, ..Recent::default() };
        self.end.send_replace(after);
    }

    /// Reads what the log has got, once it has got something.
    async fn round(&self) {
        let at = *self.end.borrow();
        let head = match timeout(LOOK_INTERVAL, self.store.reached(at)).await {
            Ok(Ok(head)) => head,
            // The log has gone back: what was kept may be of events that it has lost.
            Ok(Err(_)) => return self.begin(),
            Err(_) => return,
        };
        match self.store.read_log(at, head.min(at + PAGE), &Filter::default(), PAGE).await {
            Ok(events) => {
                let Some(end) = events.last().map(|last| last.position) else { return sleep(ROUND).await };
                // Written as JSON once, for however many they are sent to.
                match events.into_iter().map(Item::try_from).collect() {
                    Ok(items) => self.recent.lock().push(items),
                    Err(error) => return cannot_be_read(&error).await,
                }
                self.end.send_replace(end);
                if end == head {
                    sleep(ROUND + ROUND_OF_EACH * u32::try_from(self.waiting()).unwrap_or(u32::MAX)).await;
                }
            }
            Err(error) => cannot_be_read(&error).await,
        }
    }
}

async fn cannot_be_read(error: &(dyn std::error::Error + Sync)) {
    tracing::warn!(%error, "the log can't be read for those who wait for it");
    sleep(LOOK_INTERVAL).await;
}

/// One who waits.
pub struct Waiter {
    waiters: Arc<Waiters>,
    end: watch::Receiver<i64>,
    /// Its turn in each round.
    turn: u32,
    _place: OwnedSemaphorePermit,
}

impl Waiter {
    /// Waits until the log has anything after `after`. Returns what `filter` wants of that, at most `most`, and the position that it
    /// reaches up to; none where it must be read from the log itself.
    pub async fn next(&mut self, after: i64, filter: &Filter, most: usize) -> Option<(Vec<Arc<Item>>, i64)> {
        // The sender lives as long as this, so waiting can't fail.
        let _ = self.end.wait_for(|end| *end > after).await;
        sleep(delay(self.turn, self.waiters.waiting())).await;
        self.waiters.recent.lock().read(after, filter, most)
    }
}

/// The time from a round's beginning to the answer of whoever has this `turn` among so many that are `waiting`: one after the other, so that writes
/// find room in between.
fn delay(turn: u32, waiting: usize) -> Duration {
    ROUND_OF_EACH * (turn % u32::try_from(waiting).unwrap_or(u32::MAX).max(1))
}

#[cfg(test)]
pub mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[test]
    fn those_who_wait_are_answered_one_after_the_other_within_a_round() {
        let mut delays: Vec<Duration> = (997..1_997).map(|turn| delay(turn, 1_000)).collect();
        delays.sort_unstable();
        assert!(delays.iter().copied().eq((0..1_000).map(|nth| ROUND_OF_EACH * nth)));
        assert_eq!((delay(7, 1), delay(7, 0)), (Duration::ZERO, Duration::ZERO), "who waits alone has no turn to wait for");
    }

    pub fn event(position: i64, stream: &str, event_type: &str, bytes: usize) -> Item {
        let json = RawValue::from_string("1".repeat(bytes)).unwrap();
        Item { position, stream_id: stream.into(), event_type: event_type.into(), json }
    }

    fn positions(read: Option<(Vec<Arc<Item>>, i64)>) -> Option<(Vec<i64>, i64)> {
        read.map(|(events, up_to)| (events.iter().map(|event| event.position).collect(), up_to))
    }

    #[test]
    fn what_is_kept_is_read_by_filter_and_what_is_not_is_known() {
        let mut recent = Recent { after: 10, ..Recent::default() };
        recent.push(vec![
            event(11, "cart-1", "CartOpened", 1),
            event(12, "stock-A", "StockReceived", 1),
            event(13, "cart-2", "CartOpened", 1),
        ]);
        let carts = Filter { category: Some("cart".into()), ..Filter::default() };
        assert_eq!(positions(recent.read(10, &Filter::default(), 9)), Some((vec![11, 12, 13], 13)));
        assert_eq!(positions(recent.read(11, &carts, 9)), Some((vec![13], 13)));
        assert_eq!(positions(recent.read(10, &carts, 1)), Some((vec![11], 11)), "what follows is for the next page");
        let received = Filter { types: vec!["StockReceived".into()], ..Filter::default() };
        assert_eq!(positions(recent.read(12, &received, 9)), Some((vec![], 13)), "it has been read all the same");
        assert_eq!(positions(recent.read(9, &carts, 9)), None);
        let category = Filter { category: Some("car".into()), ..Filter::default() };
        assert_eq!(positions(recent.read(10, &category, 9)), Some((vec![], 13)));
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_in_bytes() {
        let mut recent = Recent::default();
        recent.push((1..=KEPT_EVENTS as i64 + 5).map(|at| event(at, "cart-1", "CartOpened", 1)).collect());
        assert_eq!((recent.events.len(), recent.after), (KEPT_EVENTS, 5));
        let next = KEPT_EVENTS as i64 + 6;
        recent.push((next..next + 3).map(|at| event(at, "cart-1", "CartOpened", KEPT_BYTES / 2)).collect());
        assert_eq!((recent.bytes, recent.events.len(), recent.after), (KEPT_BYTES, 2, next), "two of them are all that may be kept");
        let all = Filter::default();
        assert_eq!(positions(recent.read(next, &all, 9)), Some((vec![next + 1], next + 1)), "which is a page");
        assert_eq!(positions(recent.read(next + 1, &all, 9)), Some((vec![next + 2], next + 2)));
    }
}
