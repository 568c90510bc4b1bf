//! What a team would write first: a function in the database that checks the version, called for each event.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};

use super::draft::{Draft, Drafts};
use crate::{error::Error, load::Caller};

/// As long as a hash of the log: computing it is not asked of the baseline.
const HASH: [u8; 32] = [7; 32];

/// What the function sees to.
#[derive(Debug, Clone, Copy)]
pub enum Law {
    /// That an event goes on where its stream is.
    VersionOnly,
    /// That too, and that positions have no gaps and are in commit order.
    GapFree,
}

impl Law {
    fn statement(self) -> &'static str {
        match self {
            Self::VersionOnly => "select append_version_only($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            Self::GapFree => "select append_gap_free($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        }
    }
}

/// Makes the tables and the functions.
pub async fn create(database: &PgConnectOptions) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(database).await?;
    sqlx::raw_sql(include_str!("schema.sql")).execute(&mut connection).await?;
    Ok(())
}

/// Appends through a function, on a connection of its own.
pub struct Appender {
    connection: PgConnection,
    law: Law,
    drafts: Drafts,
}

impl Appender {
    /// Connects to `database`.
    pub async fn connect(database: &PgConnectOptions, law: Law, drafts: Drafts) -> Result<Self, Error> {
        Ok(Self { connection: PgConnection::connect_with(database).await?, law, drafts })
    }
}

impl Caller for Appender {
    async fn call(&mut self) -> Result<(), Error> {
        let Draft { stream, expected_version, event, metadata, at } = self.drafts.next();
        let recorded_at: DateTime<Utc> = at.utc();
        let version: i64 = sqlx::query_scalar(self.law.statement())
            .bind(stream.as_str())
            .bind(expected_version)
            .bind(metadata.command_id.uuid())
            .bind(event.event_type())
            .bind(event.schema_version())
            .bind(event.payload()?)
            .bind(serde_json::to_string(&metadata)?)
            .bind(recorded_at)
            .bind(HASH.as_slice())
            .fetch_one(&mut self.connection)
            .await?;
        if version == expected_version + 1 { Ok(()) } else { Err(Error::Wrong(format!("version {version} after {expected_version}"))) }
    }
}
