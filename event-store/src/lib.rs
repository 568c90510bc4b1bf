//! The log in Postgres: append in groups, read, and feed.
//!
//! - [`append`]: what is appended, and what may come of it
//! - [`appender`]: the thread that commits in groups
//! - [`tails`]: what streams have got since a version, read for many at once
//! - [`snapshots`]: states of long streams, kept so that loading them is cheap
//! - [`feed`]: the log as an ordered source for consumers
//! - [`kafka`]: the log on Kafka: topics, messages, and the publisher
//! - [`read`]: streams and the log as they are stored, for auditors
//! - [`checkpoint`]: how far a consumer has come
//! - [`parked`]: the streams that it had to leave behind
//! - [`newer`]: events of a newer program, in front of which everybody stops
//! - [`lease`]: which of several servers works for a name
//! - [`hash`]: the canonical encoding of an event and its hash
//! - [`digests`]: a running digest of the log, kept at some positions
//! - [`verify`]: whether the log is whole
//! - [`program`]: whether this program knows all that stands in a database

pub mod append;
mod appender;
pub mod checkpoint;
mod decode;
pub mod digests;
pub mod feed;
pub mod hash;
pub mod kafka;
pub mod lease;
mod lineage;
pub mod newer;
pub mod parked;
pub mod program;
pub mod read;
pub mod snapshots;
pub mod tails;
pub mod verify;

use std::sync::Arc;

use event_schemas::{Recorded, StreamId};
use sqlx::PgPool;

pub use append::{Committed, KeyedAnswer, Part, Unit};
pub use checkpoint::Checkpoint;
pub use digests::Digest;
pub use feed::{Batch, Feed, Undecodable};
pub use lineage::Lineage;
pub use parked::{Parked, ParkedStreams};
pub use read::StoredEvent;
pub use snapshots::{NewSnapshot, Snapshot};
pub use tails::{Tail, Wanted};

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
    /// Whether the same may well succeed in a moment, here or on another server: it is not about what was asked.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Conflict | Self::KeyTaken | Self::Overloaded | Self::Unavailable(_) | Self::Kafka(_) | Self::Newer(_))
    }

    /// Whether it is for a newer version of the program to go on.
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
}

struct Inner {
    pool: PgPool,
    appender: appender::Handle,
    tails: tails::Handle,
    snapshots: snapshots::Handle,
    hub: feed::Hub,
}

impl EventStore {
    /// Opens the log behind `pool`, whose database has been migrated, and starts its appender.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn open(pool: PgPool) -> Result<Self, Error> {
        let hub = feed::Hub::open(pool.clone()).await?;
        let appender = appender::start(&pool, hub.clone())?;
        let tails = tails::start(pool.clone());
        let snapshots = snapshots::start(pool.clone());
        Ok(Self { inner: Arc::new(Inner { pool, appender, tails, snapshots, hub }) })
    }

    /// The pool it reads with.
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

    /// The events that `stream` has after `version`, oldest first, as committed now. Calls of the same moment share a query.
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
        let wanted = of.into_iter().map(|(stream, version)| Wanted { stream, version, state_version: None }).collect();
        Ok(self.load(wanted).await?.into_iter().map(|tail| tail.events).collect())
    }

    /// What streams have got, from a snapshot on where one is wanted and there is one: the answers in the order of the questions. Calls of
    /// the same moment share a query, with [`Self::tail`] too.
    ///
    /// # Errors
    /// The database can't be reached, or an event can't be decoded.
    pub async fn load(&self, wanted: Vec<Wanted>) -> Result<Vec<Tail>, Error> {
        match self.inner.tails.read(wanted).await {
            Err(Error::Undecodable(event)) => Err(newer::told(self.pool(), *event).await),
            read => read,
        }
    }

    /// Waits until nobody else, in whichever process, has the turn `name`, and takes it until what is returned is dropped. For rules that
    /// span streams and are too rare to matter for speed.
    ///
    /// # Errors
    /// The database can't be reached.
    pub async fn take_turn(&self, name: &str) -> Result<Turn, Error> {
        let mut transaction = self.pool().begin().await?;
        sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))").bind(name).execute(&mut *transaction).await?;
        Ok(Turn { _transaction: transaction })
    }

    /// The position of the newest event that this process knows of. Others may have written more within the last tenth of a second.
    #[must_use]
    pub fn known_head(&self) -> i64 {
        self.inner.hub.head()
    }

    /// The log as an ordered source of the events of `categories`.
    #[must_use]
    pub fn feed(&self, categories: &'static [&'static str]) -> Feed {
        Feed::new(self.inner.hub.clone(), categories)
    }
}

/// A turn that was taken; dropping it gives it back.
pub struct Turn {
    _transaction: sqlx::Transaction<'static, sqlx::Postgres>,
}
