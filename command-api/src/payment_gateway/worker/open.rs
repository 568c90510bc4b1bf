//! The payments that are not settled: kept in memory, and in Postgres for whoever comes after a crash.

use chrono::{DateTime, Utc};
use event_schemas::ids::OrderId;
use event_store::{Checkpoint, EventStore, Mark, lease};
use sqlx::{PgConnection, PgPool};

use super::super::open::Open;
use crate::shop::now;

const KIND: &str = "payment";

/// Where the worker before this one stopped, and what was open then.
pub(super) async fn read(store: &EventStore) -> Result<(Checkpoint, Open), event_store::Error> {
    let (checkpoint, pool) = (Checkpoint::resume(store, super::NAME, super::VERSION).await?, store.pool());
    let position = checkpoint.position;
    let subjects = sqlx::query_scalar!("select subject from reminders where kind = $1", KIND).fetch_all(pool).await?;
    Ok((checkpoint, Open::found(position, subjects.iter().filter_map(|subject| subject.parse().ok()))))
}

/// Writes down what is open and that everything up to `at` is either settled or open; nothing where the lease has
/// another `fence` by now. What is open changes without the checkpoint too, so that it alone can't tell: a worker that wakes up late would count
/// on a row that its successor has removed.
pub(super) async fn write(
    open: &mut Open,
    checkpoint: &mut Checkpoint,
    pool: &PgPool,
    fence: i64,
    at: Mark,
) -> Result<(), event_store::Error> {
    let Some(writing) = open.writing(at.position) else { return Ok(()) };
    let texts = |orders: &[OrderId]| orders.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (added, gone) = (texts(&writing.added), texts(&writing.gone));
    let due: DateTime<Utc> = now().utc();
    let mut transaction = pool.begin().await?;
    sqlx::query!("set local synchronous_commit = off").execute(&mut *transaction).await?;
    if !lease::stands(&mut transaction, super::NAME, fence).await? || !checkpoint.advance(&mut transaction, at).await? {
        return Err(event_store::Error::Conflict); // another server has taken over, or the log has gone back
    }
    if !added.is_empty() {
        sqlx::query!(
            "insert into reminders (kind, subject, due_at) select $1, subject, $3 from unnest($2::text[]) as a (subject) on conflict do nothing",
            KIND,
            &added,
            due
        )
        .execute(&mut *transaction)
        .await?;
    }
    if !gone.is_empty() {
        sqlx::query!("delete from reminders where kind = $1 and subject = any($2)", KIND, &gone).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    checkpoint.moved(at);
    open.written(&writing);
    Ok(())
}

/// Has the payment of the order in `subject` looked at by the next worker that starts.
pub(super) async fn reopen(connection: &mut PgConnection, subject: &str) -> Result<(), event_store::Error> {
    sqlx::query!("insert into reminders (kind, subject, due_at) values ($1, $2, $3) on conflict do nothing", KIND, subject, now().utc())
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::test_database::Database;

    #[tokio::test]
    async fn a_worker_that_wakes_up_late_does_not_count_on_what_its_successor_has_removed() {
        let Some(database) = Database::make().await else { return };
        let (pool, order) = (&database.pool, OrderId(Uuid::now_v7()));
        let store = EventStore::open(pool.clone()).await.unwrap();
        let mark = async |position| database.mark(&store, position).await;
        let lease = async || lease::acquire(pool, super::super::NAME, Uuid::now_v7()).await.unwrap().unwrap();
        let first = lease().await;
        let (mut at, mut late) = read(&store).await.unwrap();
        late.begin(order);
        write(&mut late, &mut at, pool, first, mark(7).await).await.unwrap();
        sqlx::query("update leases set expires_at = now() - interval '1 millisecond'").execute(pool).await.unwrap();
        let second = lease().await;
        let (mut successor_at, mut successor) = read(&store).await.unwrap();
        assert_eq!(successor.orders(), [order]);
        // It settles the payment; the checkpoint stays where it is, so that it can't tell who is late.
        successor.settled(order);
        write(&mut successor, &mut successor_at, pool, second, mark(7).await).await.unwrap();
        let refused = write(&mut late, &mut at, pool, first, mark(9).await).await;
        assert!(matches!(refused, Err(event_store::Error::Conflict)));
        assert_eq!(read(&store).await.unwrap().0.position, 7);
        successor.begin(order);
        write(&mut successor, &mut successor_at, pool, second, mark(8).await).await.unwrap();
        assert_eq!(read(&store).await.unwrap().1.orders(), [order]);
    }
}
