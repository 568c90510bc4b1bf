//! The database that a command works on: one's own server's, or the private cluster's.

use std::time::Duration;

use event_store::EventStore;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{Location, postgres};

/// Connections that commands, consumers and look-ups share. On two cores more of them only wait for each other.
const POOL_CONNECTIONS: u32 = 16;
/// Connections of a command that only reads.
const READING_CONNECTIONS: u32 = 2;
/// How long a statement may wait for a connection.
const ACQUIRE_LIMIT: Duration = Duration::from_secs(10);

/// Why there is no database to work on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The private cluster can't be had.
    #[error(transparent)]
    Cluster(#[from] postgres::Error),
    /// `DATABASE_URL` is no Postgres URL.
    #[error("DATABASE_URL is not the URL of a Postgres database, as in postgres://user@host/database: {0}")]
    Url(sqlx::Error),
    /// The server does not answer, or not to us.
    #[error("the database can't be reached: {0}. Is the server up, and does DATABASE_URL name it rightly?")]
    Unreachable(sqlx::Error),
    /// The tables can't be brought up to date, or are those of a newer program.
    #[error(transparent)]
    Program(#[from] event_store::program::Error),
    /// The log can't be opened.
    #[error(transparent)]
    Log(#[from] event_store::Error),
}

/// A database that is up to date, and the cluster that it is in, where that is ours.
pub struct Database {
    pub pool: PgPool,
    cluster: Option<postgres::Cluster>,
}

impl Database {
    /// The database at `location`: made where it is private and there is none.
    pub async fn open(location: &Location) -> Result<Self, Error> {
        let cluster = match location.database_url {
            Some(_) => None,
            None => Some(postgres::start(&location.data_dir).await?),
        };
        Self::migrated(location, cluster).await
    }

    /// As [`Self::open`], but a private one must be there already.
    pub async fn existing(location: &Location) -> Result<Self, Error> {
        let cluster = match location.database_url {
            Some(_) => None,
            None => Some(postgres::attach(&location.data_dir).await?),
        };
        Self::migrated(location, cluster).await
    }

    /// The database at `location`, to be read and no more: every transaction is read-only, so that a role that may only select and a standby will
    /// do, and nothing is made, migrated or written. Its tables must be those of this version.
    pub async fn to_read(location: &Location) -> Result<Self, Error> {
        let cluster = match location.database_url {
            Some(_) => None,
            None => Some(postgres::visit(&location.data_dir).await?),
        };
        let options = options(location, cluster.as_ref())?.options([("default_transaction_read_only", "on")]);
        let database = Self { pool: connect(options, READING_CONNECTIONS).await?, cluster };
        match event_store::program::check(&database.pool, crate::VERSION).await {
            Ok(()) => Ok(database),
            Err(error) => {
                database.close().await;
                Err(error.into())
            }
        }
    }

    async fn migrated(location: &Location, cluster: Option<postgres::Cluster>) -> Result<Self, Error> {
        let pool = connect(options(location, cluster.as_ref())?, POOL_CONNECTIONS).await?;
        let database = Self { pool, cluster };
        if let Err(error) = event_store::program::prepare(&database.pool, crate::VERSION).await {
            database.close().await;
            return Err(error.into());
        }
        Ok(database)
    }

    /// The log in it.
    pub async fn log(&self) -> Result<EventStore, Error> {
        Ok(EventStore::open(self.pool.clone()).await?)
    }

    /// Closes every connection; a private cluster is shut down unless others use it.
    pub async fn close(self) {
        // Connections that are still busy are not waited for for ever.
        if tokio::time::timeout(Duration::from_secs(5), self.pool.close()).await.is_err() {
            tracing::warn!("some connections were still busy when the database was closed");
        }
        if let Some(cluster) = self.cluster
            && let Err(error) = cluster.stop().await
        {
            tracing::warn!(%error, "the private Postgres was not stopped");
        }
    }
}

fn options(location: &Location, cluster: Option<&postgres::Cluster>) -> Result<PgConnectOptions, Error> {
    if let Some(cluster) = cluster {
        tracing::debug!(url = cluster.url(postgres::DATABASE), "psql can look into the private Postgres");
        return Ok(cluster.options(postgres::DATABASE));
    }
    location.database_url.as_deref().unwrap_or_default().parse().map_err(Error::Url)
}

async fn connect(options: PgConnectOptions, connections: u32) -> Result<PgPool, Error> {
    let pool = PgPoolOptions::new()
        .max_connections(connections)
        // A test is a round trip for each statement; what fails on a lost connection is tried again anyway.
        .test_before_acquire(false)
        .acquire_timeout(ACQUIRE_LIMIT);
    pool.connect_with(options.application_name("merx")).await.map_err(Error::Unreachable)
}
