//! Which of several servers works for a name: a projection, the process managers, the payment worker.
//!
//! A lease saves work that would be done twice; that somebody has it is never what makes results right. These are kept right by the
//! version check of the log and by the checkpoint, which moves only from where its mover read it; and where something is kept beside the
//! checkpoint that changes without it, by the lease's fence, which is looked at within the transaction ([`stands`]).

use std::time::Duration;

use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Error;

/// How long a lease holds without being renewed.
pub const LEASE_TIME: Duration = Duration::from_secs(5);
/// How often a holder renews it, and how often others ask for it.
pub const RENEWAL_INTERVAL: Duration = Duration::from_secs(1);

/// Time for which a lease that was given away is left to others: they ask for it more often than that.
pub const ASIDE: Duration = Duration::from_secs(5);
/// The longest that giving it back may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// Takes or renews the lease on `name` for `holder`: its fence if it is held now, `None` where another holds it.
///
/// # Errors
/// The database can't be reached.
pub async fn acquire(pool: &PgPool, name: &str, holder: Uuid) -> Result<Option<i64>, Error> {
    let fence = sqlx::query_scalar!(
        r#"
        insert into leases as l (name, holder, fence, expires_at) values ($1, $2, 1, now() + $3::float8 * interval '1 second')
        on conflict (name) do update
            set fence = l.fence + (l.holder <> excluded.holder)::int, holder = excluded.holder, expires_at = excluded.expires_at
            where l.holder = excluded.holder or l.expires_at < now()
        returning fence
        "#,
        name,
        holder,
        LEASE_TIME.as_secs_f64(),
    )
    .fetch_optional(pool)
    .await?;
    Ok(fence)
}

/// Whether the lease on `name` still has `fence`, asked within the caller's transaction: until that ends nobody else gets it, and Postgres ends it
/// where it stands still for longer than a lease. Where it has not,
/// somebody else has been at work meanwhile, and the caller must write nothing.
///
/// # Errors
/// The database can't be reached.
pub async fn stands(connection: &mut PgConnection, name: &str, fence: i64) -> Result<bool, Error> {
    // Who is frozen in the middle of the transaction would keep the lease from others for as long as that lasts.
    let limit_ms = LEASE_TIME.as_millis().to_string();
    let found = sqlx::query!(
        r#"
        select fence, set_config('idle_in_transaction_session_timeout', $3, true) as "limit" from leases
        where name = $1 and fence = $2 for share
        "#,
        name,
        fence,
        limit_ms,
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Returns true where anybody holds the lease on `name` now.
///
/// # Errors
/// The database can't be reached.
pub async fn is_held(pool: &PgPool, name: &str) -> Result<bool, Error> {
    let held = sqlx::query_scalar!(r#"select exists (select from leases where name = $1 and expires_at > now()) as "held!""#, name);
    Ok(held.fetch_one(pool).await?)
}

/// Gives the lease on `name` back, so that another server takes over at once.
///
/// # Errors
/// The database can't be reached.
pub async fn release(pool: &PgPool, name: &str, holder: Uuid) -> Result<(), Error> {
    sqlx::query!("update leases set expires_at = '-infinity' where name = $1 and holder = $2", name, holder).execute(pool).await?;
    Ok(())
}

/// Asks for the lease on `name` and renews it until `shutdown`, then gives it back. What it returns says whether it is held now.
#[must_use]
pub fn keep(pool: PgPool, name: String, holder: Uuid, shutdown: CancellationToken) -> watch::Receiver<bool> {
    let (held, receiver) = watch::channel(false);
    tokio::spawn(async move {
        let mut renewal = tokio::time::interval(RENEWAL_INTERVAL);
        renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                _ = renewal.tick() => {}
            }
            let is_held = match tokio::time::timeout(LEASE_TIME / 2, acquire(&pool, &name, holder)).await {
                Ok(Ok(fence)) => fence.is_some(),
                Ok(Err(error)) => {
                    tracing::debug!(%error, name, "a lease can't be renewed");
                    false
                }
                Err(_) => false,
            };
            held.send_if_modified(|before| std::mem::replace(before, is_held) != is_held);
        }
        held.send_replace(false);
        if let Err(error) = release(&pool, &name, holder).await {
            tracing::debug!(%error, name, "a lease was not given back: it runs out by itself");
        }
    });
    receiver
}

/// Gives away the lease that `held` tells of, kept until `candidacy` is cancelled, and leaves it to others for a while: they can do what this program
/// can't. Returns at once after `shutdown`.
pub async fn give_away(candidacy: &CancellationToken, mut held: watch::Receiver<bool>, shutdown: &CancellationToken) {
    candidacy.cancel();
    // Its sender is gone once the lease has been given back.
    let _ = tokio::time::timeout(RELEASE_LIMIT, async { while held.changed().await.is_ok() {} }).await;
    let _ = shutdown.run_until_cancelled(tokio::time::sleep(ASIDE)).await;
}
