//! The payments that are not settled: kept in memory, and in Postgres for whoever comes after a crash.

use chrono::{DateTime, Utc};
use event_schemas::ids::OrderId;
use event_store::checkpoint;
use sqlx::PgPool;

use super::super::open::Open;
use crate::shop::now;

const KIND: &str = "payment";

/// What was open when the worker before this one stopped.
pub(super) async fn read(pool: &PgPool) -> Result<Open, event_store::Error> {
    let position = sqlx::query_scalar!("select position from checkpoints where name = $1", super::NAME).fetch_one(pool).await?;
    let subjects = sqlx::query_scalar!("select subject from reminders where kind = $1", KIND).fetch_all(pool).await?;
    Ok(Open::found(position, subjects.iter().filter_map(|subject| subject.parse().ok())))
}

/// Writes down what is open (`busy` is, too) and that everything up to `position` is either settled or open.
pub(super) async fn write(open: &mut Open, pool: &PgPool, busy: &[OrderId], position: i64) -> Result<(), event_store::Error> {
    let Some(writing) = open.writing(busy, position) else { return Ok(()) };
    let texts = |orders: &[OrderId]| orders.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (added, gone) = (texts(&writing.added), texts(&writing.gone));
    let at: DateTime<Utc> = now().utc();
    let mut transaction = pool.begin().await?;
    sqlx::query!("set local synchronous_commit = off").execute(&mut *transaction).await?;
    if !checkpoint::advance(&mut transaction, super::NAME, writing.from, writing.to).await? {
        return Err(event_store::Error::Conflict); // another server has taken over
    }
    if !added.is_empty() {
        sqlx::query!(
            "insert into reminders (kind, subject, due_at) select $1, subject, $3 from unnest($2::text[]) as a (subject) on conflict do nothing",
            KIND,
            &added,
            at
        )
        .execute(&mut *transaction)
        .await?;
    }
    if !gone.is_empty() {
        sqlx::query!("delete from reminders where kind = $1 and subject = any($2)", KIND, &gone).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    open.written(&writing);
    Ok(())
}
