//! What can go wrong with a read, and how clients are told.

use gateway::Problem;

/// Why something can't be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database, or the log in it.
    #[error(transparent)]
    Store(#[from] event_store::Error),
    /// A read model holds what is none of its documents.
    #[error("the read model holds a document that can't be read: {0}")]
    Document(#[from] serde_json::Error),
    /// A read model holds an amount that is no money.
    #[error("the read model holds an amount that can't be read: {0}")]
    Money(#[from] event_schemas::money::Error),
    /// A read model holds a sum that is no decimal.
    #[error("the read model holds a sum that can't be read: {0}")]
    Decimal(#[from] rust_decimal::Error),
    /// The search index does not answer.
    #[error("the search index does not answer: {0}")]
    Search(search::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Error::Store(event_store::Error::Unavailable(_)) = error {
            tracing::warn!(%error, "a read can't be served");
            return Self::unavailable("The database can't be reached.");
        }
        if let Error::Store(event_store::Error::Newer(_)) = error {
            return Self::unavailable("A newer version of merx has written to this, and a server of that version can show it. Ask again.");
        }
        tracing::error!(%error, "a read failed");
        Self::internal()
    }
}
