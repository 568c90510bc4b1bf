//! Why a benchmark has no result.

use std::io;

/// Why a benchmark has no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something of the system failed.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// What failed.
        source: io::Error,
    },
    /// A program that is needed did not do its work.
    #[error("{program}: {why}")]
    Program {
        /// The program.
        program: String,
        /// What it said.
        why: String,
    },
    /// Postgres refused, or is gone.
    #[error("Postgres: {0}")]
    Sql(#[from] sqlx::Error),
    /// The migrations failed.
    #[error("migrating: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// The log did not take something.
    #[error("the log: {0}")]
    Store(#[from] event_store::Error),
    /// A read model can't be made.
    #[error("a read model: {0}")]
    Projection(#[from] projections::Error),
    /// The search index does not answer.
    #[error("search: {0}")]
    Search(#[from] search::Error),
    /// JSON that can't be read or written.
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// An answer over HTTP that nobody expected.
    #[error("HTTP: {0}")]
    Http(String),
    /// What was measured is wrong: then how fast it was does not matter.
    #[error("wrong result: {0}")]
    Wrong(String),
    /// Told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl Error {
    /// `source` happened while `doing`.
    pub fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}
