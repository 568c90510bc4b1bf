//! The log in Postgres: append in groups, read, and feed.
//!
//! - [`append`]: what is appended, and what may come of it
//! - [`appender`]: the thread that commits in groups
//! - [`tails`]: what streams have got since a version, read for many at once
//! - [`snapshots`]: states of long streams, kept so that loading them is cheap
//! - [`feed`]: the log as an ordered source for consumers
//! - [`kafka`]: the log on Kafka: topics, messages, and the publisher
//! - [`read`]: streams and the log as they are stored, for auditors
//! - [`bounded`]: answers of Postgres that have more than is to be taken
//! - [`checkpoint`]: how far a consumer has come
//! - [`progress`]: how far all consumers have come, and whether they keep up
//! - [`parked`]: the streams that it had to leave behind
//! - [`newer`]: events of a newer program, in front of which everybody stops
//! - [`lease`]: which of several servers works for a name
//! - [`timeline`]: whether the log is still the one that is remembered; [`Mark`]: what is remembered of it
//! - [`turn`]: rules that span streams, one command at a time
//! - [`hash`]: the canonical encoding of an event and its hash
//! - [`digests`]: a running digest of the log, kept at some positions
//! - [`verify`]: whether the log is whole
//! - [`program`]: whether this program knows all that stands in a database

pub mod append;
mod appender;
pub mod bounded;
pub mod checkpoint;
mod decode;
pub mod digests;
pub mod feed;
pub mod hash;
pub mod kafka;
pub mod lease;
mod lineage;
mod mark;
pub mod newer;
pub mod parked;
pub mod program;
pub mod progress;
pub mod read;
pub mod snapshots;
pub mod tails;
pub mod timeline;
pub mod turn;
pub mod verify;

use std::sync::Arc;

use event_schemas::{Recorded, StreamId};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

pub use append::{Committed, KeyedAnswer, Part, Unit};
pub use checkpoint::Checkpoint;
pub use digests::Digest;
pub use feed::{Batch, Feed, Undecodable};
pub use lineage::Lineage;
pub use mark::{Hash, Mark};
pub use parked::{Parked, ParkedStreams};
pub use read::StoredEvent;
pub use snapshots::{NewSnapshot, Snapshot};
pub use tails::{Tail, Wanted};
pub use timeline::Timeline;
pub use turn::Turn;

/// The migrations of the whole database, in order.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// What can go wrong with the log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A stream is not at the expected version, or something that this was built on was not committed: read again and decide again.
    #[error("the stream has moved on")]
    Conflict,
    /// The idempotency key has been used by a request that was committed meanwhile.
    #[error("the idempotency key has been used")]
    KeyTaken,
    /// The queue of the appender is full.
    #[error("too much is waiting to be written; try again in a moment")]
    Overloaded,
    /// Postgres can't be reached, or has no room. Whether an append was committed is unknown.
    #[error("the log can't be reached: {0}")]
    Unavailable(String),
    /// The log has gone back: events that were read or written here are not in it any more. Whoever holds anything made from it drops that and
    /// reads again.
    #[error("the log has gone back to position {0}: what was built on later events begins anew there")]
    WentBack(i64),
    /// An event in the log is none that any program knows.
    #[error(transparent)]
    Undecodable(Box<Undecodable>),
    /// An event in the log is from a newer version of the program: it is for a server of that version to take.
    #[error(transparent)]
    Newer(Box<newer::Newer>),
    /// A consumer has parked so many streams that it is not the events that are bad.
    #[error("{consumer} has parked more than {} streams and stops: something else than these events is wrong", parked::MOST_STREAMS)]
    TooManyParked {
        /// The consumer.
        consumer: String,
    },
    /// There is nothing to retry or skip.
    #[error("the stream {stream} is not parked in {consumer}")]
    NotParked {
        /// The consumer.
        consumer: String,
        /// The stream.
        stream: String,
    },
    /// The event that a stream is parked for can't be taken yet.
    #[error("{stream} stays parked: {reason}")]
    StillBad {
        /// The stream.
        stream: String,
        /// Why.
        reason: String,
    },
    /// Kafka can't be used.
    #[error("{0}")]
    Kafka(String),
    /// The database refused for a reason that is our bug.
    #[error("the database refused: {0}")]
    Refused(String),
}

impl Error {
    /// Returns true where the same may well succeed in a moment, here or on another server: the error is not about what was asked.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        use Error::{Conflict, Kafka, KeyTaken, Newer, Overloaded, Unavailable, WentBack};
        matches!(self, Conflict | KeyTaken | Overloaded | Unavailable(_) | WentBack(_) | Kafka(_) | Newer(_))
    }

    /// Returns true where it is for a newer version of the program to go on.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Newer(_))
    }
}

impl From<Undecodable> for Error {
    fn from(undecodable: Undecodable) -> Self {
        Self::Undecodable(Box::new(undecodable))
    }
}

impl From<newer::Newer> for Error {
    fn from(newer: newer::Newer) -> Self {
        Self::Newer(Box::new(newer))
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(ref database) if !appender::is_outage(database.code().as_deref()) => Self::Refused(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}

/// The log. Cheap to clone; all clones share one appender.
#[derive(Clone)]
pub struct EventStore {
    inner: Arc<Inner>,
    /// The pool that streams, the log and snapshots are read over for whoever asks what happened.
    reads: PgPool,
}

struct Inner {
    pool: PgPool,
    appender: appender::Handle,
    tails: tails::Handle,
    snapshots: snapshots::Handle,
    hub: feed::Hub,
    turns: turn::Turns,
}

impl EventStore {
    /// Opens the log behind `pool`, whose database has been migrated, and starts its appender.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn open(pool: PgPool) -> Result<Self, Error> {
        let hub = feed::Hub::open(pool.clone()).await?;
        let appender = appender::start(&pool, hub.clone())?;
        let tails = tails::start(pool.clone(), hub.clone());
        let snapshots = snapshots::start(pool.clone());
        let turns = turn::Turns::new(pool.clone());
        Ok(Self { reads: pool.clone(), inner: Arc::new(Inner { pool, appender, tails, snapshots, hub, turns }) })
    }

    /// The same log, whose history is read over `reads`: so that no reader of much of it keeps a writer waiting.
    #[must_use]
    pub fn reading_over(&self, reads: PgPool) -> Self {
        Self { inner: self.inner.clone(), reads }
    }

    /// The pool it writes with, and reads what writing needs.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.inner.pool
    }

    /// Puts `unit` into the queue of the next group. The order of calls is the order in the log. Answers once it is committed.
    ///
    /// # Errors
    /// At once: [`Error::Overloaded`]. The answer: any [`Error`].
    pub fn submit(&self, unit: Unit) -> Result<append::Pending, Error> {
        self.inner.appender.submit(unit)
    }

    /// Appends `unit` and waits until it is committed.
    ///
    /// # Errors
    /// Any [`Error`]; but after `Unavailable` it is not known whether the unit was committed.
    pub async fn append(&self, unit: Unit) -> Result<Committed, Error> {
        self.submit(unit)?.outcome().await
    }

    /// The events that `stream` has after `version`, oldest first, as committed now: all of them, however large. Calls of the same moment share
    /// a query. Whoever may meet much data goes through it by [`Self::load`].
    ///
    /// # Errors
    /// The database can't be reached, or an event can't be decoded.
    pub async fn tail(&self, stream: &StreamId, version: i64) -> Result<Vec<Recorded>, Error> {
        let mut tails = self.tails(vec![(stream.clone(), version)]).await?;
        Ok(tails.pop().unwrap_or_default())
    }

    /// [`Self::tail`] for several streams: the answers in the order of the questions.
    ///
    /// # Errors
    /// The database can't be reached, or an event can't be decoded.
    pub async fn tails(&self, of: Vec<(StreamId, i64)>) -> Result<Vec<Vec<Recorded>>, Error> {
        let wanted = |(stream, version): &(StreamId, i64)| Wanted { stream: stream.clone(), version: *version, state_version: None };
        let mut read = self.load(of.iter().map(wanted).collect()).await?;
        for ((stream, version), tail) in of.into_iter().zip(&mut read) {
            while tail.is_partial {
                let known = tail.events.last().map_or(version, |last| last.version);
                let more = self.load(vec![wanted(&(stream.clone(), known))]).await?.pop().unwrap_or_default();
                tail.events.extend(more.events);
                tail.is_partial = more.is_partial;
            }
        }
        Ok(read.into_iter().map(|tail| tail.events).collect())
    }

    /// The tails of streams, from a snapshot on where one is wanted and there is one, in the order of the questions. Where they have much data they
    /// are partial. Calls of the same moment share a query, with [`Self::tail`] too.
    ///
    /// # Errors
    /// The database can't be reached, or an event can't be decoded.
    pub async fn load(&self, wanted: Vec<Wanted>) -> Result<Vec<Tail>, Error> {
        match self.inner.tails.read(wanted).await {
            Err(Error::Undecodable(event)) => Err(newer::told(self.pool(), *event).await),
            read => read,
        }
    }

    /// A connection of the caller's own, outside of the pool: for whoever holds a lock while it waits for others, who may need the pool to go on.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn connect(&self) -> Result<PgConnection, Error> {
        turn::connect(self.pool(), &[]).await
    }

    /// Waits until nobody else, in whichever process, has the turn `name`, and takes it until what is returned is dropped. For rules that
    /// span streams and are too rare to matter for speed.
    ///
    /// # Errors
    /// [`Error::Overloaded`], where too many wait or it has not come after twenty seconds; the database can't be reached.
    pub async fn take_turn(&self, name: &'static str) -> Result<Turn, Error> {
        self.inner.turns.take(name).await
    }

    /// The position of the newest event that this process knows of. Others may have written more within the last tenth of a second.
    #[must_use]
    pub fn known_head(&self) -> i64 {
        self.inner.hub.head()
    }

    /// Looks whether the log has what this process remembers of it, and drops what it holds in memory where not.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn look(&self) -> Result<(), Error> {
        self.inner.hub.poll().await
    }

    /// The last event that the log has in common with what is remembered, where it does not have `astray`; a new timeline begins there, unless
    /// somebody has seen to that.
    async fn part_at(&self, astray: Mark) -> Result<Mark, Error> {
        self.inner.hub.part_at(astray).await
    }

    /// Which of its histories the log is on, as far as this process knows.
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.inner.hub.timeline()
    }

    /// Returns `Some(true)` where the event that stood at `position` on `timeline` is in the log; `None` where this process knows no such
    /// timeline. Without one it is the first.
    #[must_use]
    pub fn has(&self, timeline: Option<Uuid>, position: i64) -> Option<bool> {
        self.inner.hub.have(timeline, position)
    }

    /// Number of times this process has found that the log had gone back. Anything made from events and kept in memory is of no use once
    /// this has changed.
    #[must_use]
    pub fn breaks(&self) -> u64 {
        self.inner.hub.breaks()
    }

    /// Waits until this process knows of an event after `after`; how far the log reaches then.
    ///
    /// # Errors
    /// [`Error::WentBack`] where the log goes back meanwhile.
    pub async fn reached(&self, after: i64) -> Result<i64, Error> {
        self.inner.hub.reached(after, self.breaks()).await
    }

    /// The log as an ordered source of the events of `categories`.
    #[must_use]
    pub fn feed(&self, categories: &'static [&'static str]) -> Feed {
        Feed::new(self.inner.hub.clone(), categories)
    }
}
