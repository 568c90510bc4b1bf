//! Search over the catalogue: what is searched of a product, what may be asked, and the indexes that answer.
//!
//! - [`document`]: what is indexed
//! - [`text`]: text into words, the same for what is indexed and what is asked
//! - [`query`]: a request, checked and bounded
//! - [`highlight`]: matched words marked in what is shown
//! - [`embedded`]: an index inside the process, in files of its own
//! - [`meilisearch`]: an index of a Meilisearch server
//!
//! Nothing here knows of the log: whoever keeps an index says how far what it is given has come ([`Place`]).

pub mod document;
pub mod embedded;
pub mod highlight;
pub mod meilisearch;
pub mod query;
pub mod text;

use event_schemas::Money;
use futures::{FutureExt as _, future::BoxFuture};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use document::{Category, Document, Sale};
pub use embedded::Embedded;
pub use meilisearch::Meilisearch;
pub use query::{Request, Sort};

/// How far what an index was made from has come: of which rows, and up to which event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Place {
    /// The log: the id of its first event, none while it is empty. Another database is another log.
    pub log: Option<Uuid>,
    /// The version of the fold that made the rows.
    pub version: i32,
    /// How often the rows were changed otherwise than by going on: rebuilt or mended.
    pub revision: i64,
    /// Everything up to here is in it.
    pub position: i64,
    /// The hash of the event there: a log that was put back has another one, or none. Zeros in what older programs have written.
    #[serde(default)]
    pub hash: [u8; 32],
}

impl Place {
    /// Returns true where `later` is here or further on in the same rows, so that going on from here comes to it. That the log still has
    /// the event that this has come to is for others to say.
    #[must_use]
    pub fn leads_to(self, later: Self) -> bool {
        (self.log, self.version, self.revision) == (later.log, later.version, later.revision) && self.position <= later.position
    }
}

/// What becomes of an index, all of it or none.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Documents that are new or otherwise now.
    pub documents: Vec<Document>,
    /// SKUs that are no longer found.
    pub removed: Vec<String>,
}

/// A document that an index can't take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The SKU.
    pub sku: String,
    /// Why, in the words of the index.
    pub reason: String,
}

/// Something that finds products.
pub trait Index: Send + Sync {
    /// What it is, for people: `embedded`.
    fn name(&self) -> &'static str;

    /// How far it has come, if it was ever filled.
    fn place(&self) -> BoxFuture<'_, Result<Option<Place>, Error>>;

    /// What whoever keeps it does before anything else, and again after each failure: what a crash has left is put in order.
    fn prepare(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Takes `changes` in, all but what it refuses. It is found at the latest from the moment [`Index::reach`] returns.
    fn take(&self, changes: Changes) -> BoxFuture<'_, Result<Vec<Refused>, Error>>;

    /// What was taken in has made it come to `place`. A crash before this leaves it where it was, and the same may be taken in again.
    fn reach(&self, place: Place) -> BoxFuture<'_, Result<(), Error>>;

    /// Does what could wait while there was more to take in; called again and again.
    fn rest(&self) -> BoxFuture<'_, Result<(), Error>> {
        std::future::ready(Ok(())).boxed()
    }

    /// Begins to fill it anew. Until the end everything is answered from what it was before.
    fn begin_rebuild(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// Adds `documents`, which were not added before, to what is filled anew, all but what it refuses.
    fn rebuild(&self, documents: Vec<Document>) -> BoxFuture<'_, Result<Vec<Refused>, Error>>;

    /// Puts what was filled anew in the place of what was before, all at once; it has come to `place`.
    fn finish_rebuild(&self, place: Place) -> BoxFuture<'_, Result<(), Error>>;

    /// Place of the index that searches are answered from; none where there is nothing to answer from.
    fn serves(&self) -> BoxFuture<'_, Result<Option<Place>, Error>> {
        self.place()
    }

    /// What `request` finds.
    fn search<'a>(&'a self, request: &'a Request) -> BoxFuture<'a, Result<Answer, Error>>;

    /// What somebody who has typed `text` may mean.
    fn suggest<'a>(&'a self, text: &'a str, most: usize) -> BoxFuture<'a, Result<Vec<Suggestion>, Error>>;
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answer {
    /// The SKUs of this page, the best first.
    pub skus: Vec<String>,
    /// How many there are on all pages.
    pub total: u64,
    /// The facets that were asked for.
    pub facets: Vec<Facet>,
    /// The least and the greatest price that is charged for what was found: in the currency that was asked for, else where all are in one.
    pub price: Option<(Money, Money)>,
    /// Where the next page begins.
    pub next: Option<query::After>,
    /// How far the index had come.
    pub position: i64,
}

/// How often each value occurs in what was found, or would, if nothing was asked of this very facet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facet {
    /// As it was asked for: `brand`, `attributes.colour`.
    pub name: String,
    /// The most frequent first.
    pub values: Vec<(String, u64)>,
}

/// What a suggestion completes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A product's title.
    Product,
    /// A maker.
    Brand,
    /// A category's name.
    Category,
}

/// What somebody may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What it is.
    pub kind: Kind,
    /// What people read.
    pub text: String,
    /// The SKU, the brand or the category's id.
    pub value: String,
}

/// Why an index does not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request names something that the catalogue has not.
    #[error("{name} is not known: no product has it")]
    Unknown {
        /// The parameter and, for a facet, what it names.
        parameter: String,
        /// What it is.
        name: String,
    },
    /// Prices are compared, and it is not clear in which of these currencies.
    #[error("prices are in {}: say which of these counts", .0.join(", "))]
    CurrencyRequired(Vec<String>),
    /// The index can't be used now; the same again may well succeed.
    #[error("{0}")]
    Unavailable(String),
    /// What it is told of where it is, is wrong.
    #[error("{0}")]
    Settings(String),
    /// A document can't be written as JSON.
    #[error("a document can't be written: {0}")]
    Document(#[from] serde_json::Error),
    /// Its files can't be written or read.
    #[error("the index can't be written or read: {0}")]
    Tantivy(#[from] tantivy::TantivyError),
    /// Its files can't be written or read.
    #[error("the index's files can't be written or read: {0}")]
    Files(#[from] std::io::Error),
    /// The thread that worked on it panicked.
    #[error("the index gave up: {0}")]
    Panicked(String),
}
