//! What has been sent and not yet been acknowledged, and how far everything has been.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::mark::{Hash, Mark};

/// Not acknowledged yet.
const WAITING: i64 = i64::MIN;

/// The last event of a partition, and the offset after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub next_offset: i64,
    pub position: i64,
}

/// How far everything has been acknowledged, and the partitions that moved since the last time.
#[derive(Debug, PartialEq, Eq)]
pub struct Progress {
    pub mark: Mark,
    pub moved: Vec<(usize, Place)>,
}

/// Shared by the task that sends, the thread that hears of acknowledgements, and the task that commits.
pub struct Flight {
    inner: Mutex<Inner>,
    /// Something was acknowledged, or failed: for the task that commits.
    news: Notify,
    /// The same, for the task that sends.
    room: Notify,
    stopped: AtomicBool,
}

struct Inner {
    /// Everything up to here has been acknowledged.
    acknowledged: i64,
    /// Of the event there.
    hash: Hash,
    /// What has been taken out by [`Flight::progress`].
    reported: i64,
    /// What was sent after that, in order and without gaps.
    sent: VecDeque<Sent>,
    bytes: usize,
    places: Vec<Place>,
    moved: Vec<bool>,
    failure: Option<String>,
    /// When the oldest of what is under way began to wait.
    waiting_since: Instant,
}

struct Sent {
    place: usize,
    hash: Hash,
    bytes: usize,
    offset: i64,
}

impl Flight {
    /// Nothing has been sent after `mark`, as of which partitions are at `places`.
    pub fn new(mark: Mark, places: Vec<Place>) -> Self {
        let inner = Inner {
            acknowledged: mark.position,
            hash: mark.hash,
            reported: mark.position,
            sent: VecDeque::new(),
            bytes: 0,
            moved: vec![false; places.len()],
            places,
            failure: None,
            waiting_since: Instant::now(),
        };
        Self { inner: Mutex::new(inner), news: Notify::new(), room: Notify::new(), stopped: AtomicBool::new(false) }
    }

    /// The next event, which has this `hash`, is about to be sent, to the partition of `place`.
    pub fn sending(&self, place: usize, hash: Hash, bytes: usize) {
        let mut inner = self.inner.lock();
        if inner.sent.is_empty() {
            inner.waiting_since = Instant::now();
        }
        inner.bytes += bytes;
        inner.sent.push_back(Sent { place, hash, bytes, offset: WAITING });
    }

    /// The event at `position` has been acknowledged and stands at `offset`, which is negative where the broker did not say.
    pub fn acknowledge(&self, position: i64, offset: i64) {
        let mut inner = self.inner.lock();
        let Ok(index) = usize::try_from(position - inner.acknowledged - 1) else { return };
        let Some(sent) = inner.sent.get_mut(index) else { return };
        sent.offset = offset.max(-1);
        let before = inner.acknowledged;
        inner.settle();
        let news = inner.acknowledged > before;
        drop(inner);
        if news {
            self.tell();
        }
    }

    /// An event can't be sent: nothing more will be, and everything begins anew.
    pub fn fail(&self, why: String) {
        self.inner.lock().failure.get_or_insert(why);
        self.stop();
    }

    /// Nothing more is to be sent.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.tell();
    }

    fn tell(&self) {
        self.news.notify_one();
        self.room.notify_one();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub fn failure(&self) -> Option<String> {
        self.inner.lock().failure.clone()
    }

    /// Waits until something was acknowledged or failed since the last time. For the one task that commits.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// Waits until less than `events` and `bytes` are under way, or nothing more is to be sent. For the one task that sends.
    pub async fn room(&self, events: usize, bytes: usize) {
        loop {
            let (events_now, bytes_now) = self.under_way();
            if self.is_stopped() || (events_now < events && bytes_now < bytes) {
                return;
            }
            self.room.notified().await;
        }
    }

    /// How many events and bytes are under way.
    pub fn under_way(&self) -> (usize, usize) {
        let inner = self.inner.lock();
        (inner.sent.len(), inner.bytes)
    }

    /// How long the oldest event under way has been the oldest.
    pub fn waiting(&self) -> Option<Duration> {
        let inner = self.inner.lock();
        (!inner.sent.is_empty()).then(|| inner.waiting_since.elapsed())
    }

    /// How far everything has been acknowledged, if that is further than the last time.
    pub fn progress(&self) -> Option<Progress> {
        let mut inner = self.inner.lock();
        if inner.acknowledged == inner.reported {
            return None;
        }
        inner.reported = inner.acknowledged;
        let Inner { places, moved, acknowledged, hash, .. } = &mut *inner;
        let changed = moved.iter_mut().zip(places.iter()).enumerate();
        let moved = changed.filter_map(|(nth, (moved, place))| std::mem::take(moved).then_some((nth, *place))).collect();
        Some(Progress { mark: Mark { position: *acknowledged, hash: *hash }, moved })
    }
}

impl Inner {
    /// Takes out what has been acknowledged without anything before it that has not.
    fn settle(&mut self) {
        while let Some(Sent { place, hash, bytes, offset }) = self.sent.front()
            && *offset != WAITING
        {
            self.acknowledged += 1;
            self.hash = *hash;
            let at = &mut self.places[*place];
            at.position = self.acknowledged;
            // A repeated request may be acknowledged without its offset: what is later still comes after the one known before.
            if *offset >= 0 {
                at.next_offset = offset + 1;
            }
            self.moved[*place] = true;
            self.bytes -= bytes;
            self.sent.pop_front();
            self.waiting_since = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Place = Place { next_offset: 5, position: 7 };

    const HASH: Hash = [7; 32];

    fn mark(position: i64) -> Mark {
        Mark { position, hash: HASH }
    }

    fn at(next_offset: i64, position: i64) -> Place {
        Place { next_offset, position }
    }

    #[test]
    fn everything_before_the_first_that_is_not_acknowledged_is_done() {
        let flight = Flight::new(mark(10), vec![START, START]);
        for place in [0, 1, 0, 1] {
            flight.sending(place, HASH, 100);
        }
        assert_eq!((flight.under_way(), flight.progress()), ((4, 400), None));
        flight.acknowledge(12, 50);
        flight.acknowledge(14, 51);
        assert_eq!(flight.progress(), None, "11 is missing");
        flight.acknowledge(11, 5);
        assert_eq!(flight.progress(), Some(Progress { mark: mark(12), moved: vec![(0, at(6, 11)), (1, at(51, 12))] }));
        assert_eq!((flight.under_way(), flight.progress()), ((2, 200), None), "told once");
        flight.acknowledge(13, 6);
        assert_eq!(flight.progress(), Some(Progress { mark: mark(14), moved: vec![(0, at(7, 13)), (1, at(52, 14))] }));
        assert_eq!((flight.under_way(), flight.waiting()), ((0, 0), None));
    }

    #[test]
    fn an_offset_that_is_not_known_leaves_the_one_before() {
        let flight = Flight::new(mark(10), vec![START]);
        flight.sending(0, HASH, 1);
        flight.acknowledge(11, -1_001);
        assert_eq!(flight.progress(), Some(Progress { mark: mark(11), moved: vec![(0, at(5, 11))] }));
    }

    #[test]
    fn what_was_not_sent_is_not_acknowledged() {
        let flight = Flight::new(mark(10), vec![START]);
        for position in [i64::MIN + 100, 0, 10, 11, i64::MAX] {
            flight.acknowledge(position, 1);
        }
        assert_eq!(flight.progress(), None);
    }

    #[tokio::test]
    async fn a_failure_is_news_and_the_first_one_counts() {
        let flight = Flight::new(mark(10), vec![START]);
        flight.fail("no".into());
        flight.fail("never".into());
        flight.news().await;
        assert_eq!((flight.failure().as_deref(), flight.is_stopped()), (Some("no"), true));
    }
}
