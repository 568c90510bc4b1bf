//! Projector workers and the read models they keep.
//!
//! A [`Projection`] folds the events of some categories into tables of the schema `read_model`: whole batches in memory, each touched
//! row written once. A worker ([`run`]) feeds it the log, in order or by way of Kafka, and commits how far it has come with the rows, so that
//! nothing is applied twice.
//!
//! - `catalogue`, `stock`, `flash_sales`, `reviews`, `carts`, `orders`, `sales`, `search`: one projection each
//! - `streams`: a batch, stream by stream
//! - `consumer`: the log into rows, with checkpoint and pace; `careful`: so that a bad event can't stop the others
//! - `write`: a batch of either feed, in one transaction
//! - [`kafka`]: Kafka into rows, and the hand-over between it and the log
//! - `worker`: leases and back-off
//! - [`rebuild`]: a read model built anew beside the one in use
//! - [`compare`]: read models compared with a fold of the log
//! - [`mend`]: what an operator does about a stream that was parked

mod careful;
mod carts;
mod catalogue;
pub mod compare;
mod consumer;
mod flash_sales;
pub mod kafka;
pub mod mend;
mod orders;
pub mod rebuild;
mod reviews;
mod sales;
mod search;
mod stock;
mod streams;
mod worker;
mod write;

use std::sync::Arc;

use event_schemas::Recorded;
use futures::future::BoxFuture;
use sqlx::PgConnection;

pub use worker::{Source, State, Worker, catch_up, run};

/// The answer of [`Projection::apply`].
pub type Applied<'a> = BoxFuture<'a, Result<(), Error>>;

/// A named, versioned fold of the log into a read model.
pub trait Projection: Send + Sync {
    /// Its name: that of its checkpoint and, after `projection:`, of its lease.
    fn name(&self) -> &'static str;

    /// The version of its fold. Where the read model in use is of an older one, it is rebuilt.
    fn version(&self) -> i32;

    /// The tables it keeps, in the schema `read_model`; their shape comes from migrations. Its statements name them without a schema, since
    /// a rebuild fills others of the same names elsewhere.
    fn tables(&self) -> &'static [&'static str];

    /// The categories of the streams it reads.
    fn categories(&self) -> &'static [&'static str];

    /// Folds `events`, which follow in the log on those it was given before, into the read model, within the transaction that
    /// `connection` is in. How events are cut into batches makes no difference to the rows.
    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a>;
}

/// Every projection there is.
#[must_use]
pub fn all() -> Vec<Arc<dyn Projection>> {
    vec![
        Arc::new(catalogue::Catalogue),
        Arc::new(stock::Stock),
        Arc::new(flash_sales::FlashSales),
        Arc::new(reviews::Reviews),
        Arc::new(carts::Carts),
        Arc::new(orders::Orders),
        Arc::new(sales::Sales),
        Arc::new(search::Search),
    ]
}

/// Why events are not applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log or the database can't be read, or refuses.
    #[error(transparent)]
    Log(#[from] event_store::Error),
    /// A document of the read model can't be read or written.
    #[error("the document of {key} can't be read or written: {source}")]
    Document {
        /// Whose it is.
        key: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// An event can't be folded.
    #[error("event {position} can't be applied: {detail}")]
    Event {
        /// Where it stands in the log.
        position: i64,
        /// What is wrong with it.
        detail: String,
    },
    /// The code that folds an event panicked.
    #[error("{detail}")]
    Panicked {
        /// What it said.
        detail: String,
    },
    /// Somebody else is rebuilding the read model.
    #[error("a rebuild of {projection} is under way already")]
    RebuildUnderWay {
        /// The projection.
        projection: String,
    },
    /// A rebuild was broken off; it can be gone on with.
    #[error("the rebuild was broken off, and goes on where it was when it is asked for again")]
    Stopped,
    /// The read model is kept from Kafka, not from the log.
    #[error("the read model of {projection} is kept from Kafka")]
    OnKafka {
        /// The projection.
        projection: String,
    },
    /// There is no place to fold the log into.
    #[error(
        "read models are compared by way of temporary tables, and none can be made here: {source}; ask a primary, as a role that may make them"
    )]
    NoTemporaryTables {
        /// Why.
        source: sqlx::Error,
    },
    /// A read model was changed whenever it was looked at.
    #[error(
        "the read model of {projection} was never still for long enough to be compared; try again when less is written, rebuilt or mended"
    )]
    NeverStill {
        /// The projection.
        projection: String,
    },
    /// The log does not have the event that the read model has come to: it has gone back.
    #[error("the log has gone back, and does not have what the read model of {projection} has come to, position {position}: it is rebuilt")]
    Astray {
        /// The projection.
        projection: String,
        /// The position of the read model.
        position: i64,
    },
    /// The checkpoint belongs to another version of the projection.
    #[error("the read model is of version {found} of the projection, this version of merx keeps version {kept}")]
    OtherVersion {
        /// The version that the checkpoint says.
        found: i32,
        /// The version of this program.
        kept: i32,
    },
}

impl Error {
    /// Whether it is not about events or rows: the same again may well succeed.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_passing())
    }

    /// Returns true where it is for a newer version of the program to go on.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        matches!(self, Self::Log(error) if error.is_newer())
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// Writes a row's document.
fn to_document<T: serde::Serialize>(key: impl std::fmt::Display, row: &T) -> Result<String, Error> {
    serde_json::to_string(row).map_err(|source| Error::Document { key: key.to_string(), source })
}

/// Reads a row's document.
fn from_document<T: serde::de::DeserializeOwned>(key: impl std::fmt::Display, document: &str) -> Result<T, Error> {
    serde_json::from_str(document).map_err(|source| Error::Document { key: key.to_string(), source })
}
