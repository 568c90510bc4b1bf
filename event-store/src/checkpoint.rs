//! How far a consumer has come.

use sqlx::{PgConnection, PgPool};

use crate::Error;

/// The position that the consumer `name` of `version` has come to; 0 at first, which is recorded.
///
/// # Errors
/// The database can't be reached.
pub async fn read(pool: &PgPool, name: &str, version: i32) -> Result<i64, Error> {
    sqlx::query!("insert into checkpoints (name, version, position) values ($1, $2, 0) on conflict (name) do nothing", name, version)
        .execute(pool)
        .await?;
    Ok(sqlx::query_scalar!("select position from checkpoints where name = $1", name).fetch_one(pool).await?)
}

/// Moves the checkpoint of `name` from `from` to `to`, within the caller's transaction; whether it stood at `from`. Where it did not, somebody
/// else has moved it, and the caller must write nothing.
///
/// # Errors
/// The database can't be reached.
pub async fn advance(connection: &mut PgConnection, name: &str, from: i64, to: i64) -> Result<bool, Error> {
    let moved = sqlx::query!("update checkpoints set position = $3, updated_at = now() where name = $1 and position = $2", name, from, to)
        .execute(connection)
        .await?;
    Ok(moved.rows_affected() == 1)
}
