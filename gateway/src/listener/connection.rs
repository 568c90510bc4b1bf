//! Connections and their states: each is judged by how long it has been in one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::Limits;

/// Fate of a connection, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is kept.
    Stays,
    /// It ends once what was asked is answered.
    Ends,
    /// It ends at once.
    Cut,
}

/// Activity of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Doing {
    /// Nothing, since this time.
    Waits { since: Instant },
    /// It sends a request, and has begun then; before that it did nothing.
    Reads { waited_since: Instant, since: Instant },
    /// It has asked something.
    Asks,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    began_at: Instant,
    state: Mutex<State>,
    fate: watch::Sender<Fate>,
}

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Since when its client takes nothing of what was written.
    stalled_since: Option<Instant>,
}

impl Connection {
    fn new(now: Instant) -> Self {
        let state = State { doing: Doing::Waits { since: now }, stalled_since: None };
        Self { began_at: now, state: Mutex::new(state), fate: watch::Sender::new(Fate::Stays) }
    }

    /// Something has come over it.
    pub fn has_read(&self) {
        let mut state = self.state.lock();
        if let Doing::Waits { since: waited_since } = state.doing {
            state.doing = Doing::Reads { waited_since, since: Instant::now() };
        }
    }

    /// Something was written, or could not be.
    pub fn has_written(&self, is_stalled: bool) {
        let mut state = self.state.lock();
        if !is_stalled {
            state.stalled_since = None;
        } else if state.stalled_since.is_none() {
            state.stalled_since = Some(Instant::now());
        }
    }

    /// Returns true where a part of a request has come, and not all of it.
    pub fn is_reading(&self) -> bool {
        matches!(self.state.lock().doing, Doing::Reads { .. })
    }

    fn ask(&self) {
        self.state.lock().doing = Doing::Asks;
    }

    fn answered(&self) {
        self.state.lock().doing = Doing::Waits { since: Instant::now() };
    }

    /// Fate of the connection as of `now`, by `limits`.
    fn judge(&self, now: Instant, limits: &Limits) -> Fate {
        let state = self.state.lock();
        let is_over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        match state.doing {
            _ if state.stalled_since.is_some_and(|since| is_over(since, limits.stall)) => Fate::Cut,
            Doing::Reads { since, .. } if is_over(since, limits.header) => Fate::Cut,
            Doing::Waits { since } if state.stalled_since.is_none() && is_over(since, limits.idle) => Fate::Ends,
            _ if is_over(self.began_at, limits.age) => Fate::Ends,
            _ => Fate::Stays,
        }
    }

    /// Since when it holds a place for nothing, unless it is about to end.
    fn waiting_since(&self) -> Option<Instant> {
        if *self.fate.borrow() != Fate::Stays {
            return None;
        }
        let state = self.state.lock();
        match state.doing {
            Doing::Waits { since } if state.stalled_since.is_none() => Some(since),
            Doing::Reads { waited_since, .. } => Some(waited_since),
            Doing::Waits { .. } | Doing::Asks => None,
        }
    }

    fn meet(&self, fate: Fate) {
        self.fate.send_if_modified(|now| {
            let is_worse = fate > *now;
            *now = fate.max(*now);
            is_worse
        });
    }
}

/// Every connection there is.
#[derive(Default)]
pub struct Connections {
    next: AtomicU64,
    all: Arc<Mutex<HashMap<u64, Arc<Connection>>>>,
}

impl Connections {
    /// A new one, which is among them until the last copy of what is returned is dropped; and what becomes of it.
    pub fn enter(&self) -> (Entered, watch::Receiver<Fate>) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(Instant::now()));
        let fate = connection.fate.subscribe();
        self.all.lock().insert(number, connection.clone());
        let leave = Leave { number, all: Arc::downgrade(&self.all) };
        (Entered { connection, _leave: Arc::new(leave) }, fate)
    }

    /// Ends those that have taken too long for something; how many there are, and how many of them have asked something.
    pub fn end_overdue(&self, limits: &Limits) -> (f64, f64) {
        let now = Instant::now();
        let (mut open, mut busy) = (0.0, 0.0);
        for connection in self.all.lock().values() {
            open += 1.0;
            busy += if connection.state.lock().doing == Doing::Asks { 1.0 } else { 0.0 };
            connection.meet(connection.judge(now, limits));
        }
        (open, busy)
    }

    /// Ends the one that has held its place for nothing the longest; whether there is one.
    pub fn end_longest_waiting(&self) -> bool {
        let all = self.all.lock();
        let waiting = all.values().filter_map(|connection| Some((connection.waiting_since()?, connection)));
        let Some((_, longest)) = waiting.min_by_key(|(since, _)| *since) else { return false };
        longest.meet(Fate::Ends);
        ::metrics::counter!("merx_http_connections_shed_total").increment(1);
        true
    }
}

/// A connection that is among all.
#[derive(Clone)]
pub struct Entered {
    connection: Arc<Connection>,
    _leave: Arc<Leave>,
}

impl Entered {
    /// The connection, for whoever does not keep it among all.
    pub fn connection(&self) -> Arc<Connection> {
        self.connection.clone()
    }

    /// It has asked something; what is returned is dropped once that is answered.
    pub fn begin(&self) -> Asking {
        self.connection.ask();
        Asking(self.connection.clone())
    }
}

struct Leave {
    number: u64,
    all: Weak<Mutex<HashMap<u64, Arc<Connection>>>>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        if let Some(all) = self.all.upgrade() {
            all.lock().remove(&self.number);
        }
    }
}

/// A request that is not answered yet.
pub struct Asking(Arc<Connection>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.answered();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        connections: 9,
        header: Duration::from_secs(10),
        idle: Duration::from_secs(75),
        stall: Duration::from_secs(30),
        age: Duration::from_hours(1),
    };

    fn after(connection: &Connection, seconds: u64) -> Fate {
        connection.judge(connection.began_at + Duration::from_secs(seconds), &LIMITS)
    }

    #[tokio::test(start_paused = true)]
    async fn each_thing_that_a_connection_does_has_its_limit() {
        let connection = Connection::new(Instant::now());
        assert_eq!((after(&connection, 74), after(&connection, 75)), (Fate::Stays, Fate::Ends), "it asks nothing");
        connection.has_read();
        assert_eq!((after(&connection, 9), after(&connection, 10)), (Fate::Stays, Fate::Cut), "it never comes to the end of a header");
        connection.ask();
        connection.has_read();
        assert_eq!((after(&connection, 3_599), after(&connection, 3_600)), (Fate::Stays, Fate::Ends), "it waits for its answer");
        connection.has_written(true);
        assert_eq!((after(&connection, 29), after(&connection, 30)), (Fate::Stays, Fate::Cut), "it does not take its answer");
        connection.has_written(false);
        connection.answered();
        assert_eq!((after(&connection, 74), after(&connection, 75)), (Fate::Stays, Fate::Ends));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_waited_longest_gives_up_its_place_and_whoever_has_asked_never() {
        let connections = Connections::default();
        assert!(!connections.end_longest_waiting(), "there is none");
        let mut entered = Vec::new();
        for _ in 0..3 {
            entered.push(connections.enter());
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        let asking = entered[0].0.begin();
        entered[1].0.connection().has_read();
        let fates = || entered.iter().map(|(_, fate)| *fate.borrow()).collect::<Vec<_>>();
        assert!(connections.end_longest_waiting());
        assert_eq!(fates(), [Fate::Stays, Fate::Ends, Fate::Stays], "half a request is none");
        assert!(connections.end_longest_waiting());
        assert_eq!(fates(), [Fate::Stays, Fate::Ends, Fate::Ends]);
        assert!(!connections.end_longest_waiting(), "one asks, and two are about to end");
        drop(asking);
        assert!(connections.end_longest_waiting());
        entered.clear();
        assert!(connections.all.lock().is_empty());
    }
}
