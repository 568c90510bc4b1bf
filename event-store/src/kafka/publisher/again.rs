//! Sending again, for topics that were lost.

use sqlx::PgPool;

use super::NAME;
use crate::{Checkpoint, Error};

/// Why nothing is sent again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Positions begin at 1.
    #[error("there is no position {0}: the first event of the log is at 1")]
    NoPosition(i64),
    /// It will be sent anyway, or is not there.
    #[error("position {from} has not been published yet: the log is published up to {published}")]
    NotPublished {
        /// What was asked for.
        from: i64,
        /// How far the log has been published.
        published: i64,
    },
    /// The database can't be reached.
    #[error(transparent)]
    Log(#[from] Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Log(error.into())
    }
}

/// Has the publisher send again whatever stands at `from` and after it. How many events these are by now.
///
/// # Errors
/// [`Refusal`].
pub async fn send_again(pool: &PgPool, from: i64) -> Result<i64, Refusal> {
    if from < 1 {
        return Err(Refusal::NoPosition(from));
    }
    let mut transaction = pool.begin().await?;
    let published = Checkpoint::lock(&mut transaction, NAME).await?.map_or(0, |checkpoint| checkpoint.position);
    if from > published {
        return Err(Refusal::NotPublished { from, published });
    }
    // A publisher that is at work finds another revision, and begins anew.
    sqlx::query!("update checkpoints set position = $2, revision = revision + 1, updated_at = now() where name = $1", NAME, from - 1)
        .execute(&mut *transaction)
        .await?;
    // A topic that was lost begins at offset 0 again. A position that is too high makes consumers look into the log once, one that is too low would
    // let them miss something.
    sqlx::query!("update kafka_published set next_offset = 0, position = least(position, $1)", from - 1).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(published - from + 1)
}
