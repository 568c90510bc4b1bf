//! An index that all servers share: one of them keeps it at a time, by a lease, and says in Postgres how far it is and what it could not take.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use event_store::{
    checkpoint, lease,
    parked::{self, Mended, Mending, Parked},
};
use search::{Index, Place, Refused};
use sqlx::PgPool;
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{indexer, rows};

/// What it is called among the consumers of the log.
pub const NAME: &str = "search-index";
/// Each shape of the index has a keeper of its own: two versions of Merx that run side by side keep one each.
const LEASE: &str = "search-indexer";
/// The most times that a product is taken in again because it has changed meanwhile.
const MOST_CHANGES: usize = 5;
/// How long it may take to say that something may have been written after the lease was lost.
const TELLING_LIMIT: Duration = Duration::from_secs(30);

/// Keeps `index` whenever it has the lease, until `stopping`. Where a newer program has written the rows it gives the lease away.
pub async fn run(index: Arc<dyn Index>, pool: PgPool, holder: Uuid, stopping: CancellationToken) {
    while !stopping.is_cancelled() {
        let candidacy = stopping.child_token();
        let held = lease::keep(pool.clone(), format!("{LEASE}-{}", search::meilisearch::SHAPE), holder, candidacy.clone());
        take_turns(&index, &pool, held.clone(), &candidacy).await;
        lease::give_away(&candidacy, held, &stopping).await;
    }
}

/// Keeps it whenever the lease is `held`, until `stopping`, or until only a newer program can go on.
async fn take_turns(index: &Arc<dyn Index>, pool: &PgPool, mut held: watch::Receiver<bool>, stopping: &CancellationToken) {
    let is_unsettled = Arc::new(AtomicBool::new(false));
    while matches!(stopping.run_until_cancelled(held.wait_for(|held| *held)).await, Some(Ok(_))) {
        let stop = stopping.child_token();
        let ledger = indexer::Ledger::Shared(is_unsettled.clone());
        let worker = indexer::keep(&**index, pool, &ledger, &stop);
        // Not merely told to stop: what it waits for may take longer than others wait for the lease.
        let is_lost = tokio::select! {
            () = worker => return,
            lost = held.wait_for(|held| !*held) => lost.is_ok() && !stopping.is_cancelled(),
        };
        if is_lost && is_unsettled.swap(false, Ordering::SeqCst) {
            tell(pool, stopping).await;
        }
    }
}

/// What was under way when the lease was lost may have been written over what the next holder wrote: the index is filled anew.
async fn tell(pool: &PgPool, stopping: &CancellationToken) {
    let telling = async {
        while !stopping.is_cancelled() {
            let told = async { checkpoint::revise(&mut *pool.acquire().await?, NAME).await };
            if told.await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    if timeout(TELLING_LIMIT, telling).await.is_err() {
        tracing::error!(
            "a batch may have been written to the search index after its lease was lost, and nobody could be told: rebuild `search`"
        );
    }
}

/// Says that the index has come to `place`.
pub async fn note(pool: &PgPool, place: Place) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into checkpoints as c (name, version, position) values ($1, $2, $3)
        on conflict (name) do update set version = excluded.version, position = excluded.position, failure = null, updated_at = now()
            where (c.version, c.position) <> (excluded.version, excluded.position) or c.failure is not null
        "#,
        NAME,
        place.version,
        place.position,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Says why it does not go on.
pub async fn note_failure(pool: &PgPool, failure: &str) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"
        insert into checkpoints (name, version, position, failure) values ($1, 0, 0, $2)
        on conflict (name) do update set failure = excluded.failure, updated_at = now()
        "#,
        NAME,
        failure,
    )
    .execute(pool)
    .await?;
    Ok(())
}

/// Parks what was refused, each with the last event of its product that is known, and takes out what was `taken`.
pub async fn settle(pool: &PgPool, taken: &[String], refused: &[Refused]) -> Result<(), event_store::Error> {
    let streams = |skus: &[String]| skus.iter().map(|sku| format!("product-{sku}")).collect::<Vec<_>>();
    let mut transaction = pool.begin().await?;
    let all: Vec<String> = taken.iter().cloned().chain(refused.iter().map(|refused| refused.sku.clone())).collect();
    sqlx::query!("delete from parked_streams where consumer = $1 and stream_id = any($2)", NAME, &streams(&all))
        .execute(&mut *transaction)
        .await?;
    let mut parked = Vec::with_capacity(refused.len());
    for Refused { sku, reason } in refused {
        let stream = format!("product-{sku}");
        let last = sqlx::query!(
            "select position, version, type as event_type from events where stream_id = $1 order by version desc limit 1",
            stream
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(last) = last else { continue };
        parked.push(Parked { stream, position: last.position, version: last.version, event_type: last.event_type, reason: reason.clone() });
    }
    parked::park(&mut transaction, NAME, &parked).await?;
    transaction.commit().await?;
    parked::report(NAME, &parked);
    Ok(())
}

/// Takes out whatever is parked.
pub async fn take_all_out(pool: &PgPool) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from parked_streams where consumer = $1", NAME).execute(pool).await?;
    Ok(())
}

/// Removes what stands of an index that no server shares any more.
pub async fn forget(pool: &PgPool) -> Result<(), sqlx::Error> {
    take_all_out(pool).await?;
    sqlx::query!("delete from checkpoints where name = $1", NAME).execute(pool).await?;
    Ok(())
}

/// Why a parked product can't be mended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no index that servers share.
    #[error("set MEILI_URL: streams are parked in {NAME} for the index of a Meilisearch server")]
    NoServer,
    /// The stream is not parked, or the database can't be reached.
    #[error(transparent)]
    Store(#[from] event_store::Error),
    /// The product can't be read or taken in.
    #[error(transparent)]
    Index(#[from] indexer::Error),
}

/// Tries again to have the product of `stream` taken in, or leaves it out until it changes.
pub async fn mend(index: Option<&dyn Index>, pool: &PgPool, stream: &str, how: Mending) -> Result<Mended, Error> {
    let mut transaction = pool.begin().await.map_err(event_store::Error::from)?;
    let parked = parked::take_out(&mut transaction, NAME, stream).await?;
    if let Mending::Retry = how {
        let refused = retry(index.ok_or(Error::NoServer)?, pool, stream.strip_prefix("product-").unwrap_or(stream)).await?;
        if let Some(Refused { reason, .. }) = refused {
            return Ok(Mended { events: 0, parked_again: Some(Parked { reason, ..parked }) });
        }
    }
    transaction.commit().await.map_err(event_store::Error::from)?;
    Ok(Mended { events: 1, parked_again: None })
}

/// Has a product taken in as it is now. Whoever keeps the index may do the same at once: an older state must not come after a newer one.
async fn retry(index: &dyn Index, pool: &PgPool, sku: &str) -> Result<Option<Refused>, indexer::Error> {
    if index.place().await?.is_none() {
        return Err(search::Error::Unavailable("the index is being made".to_owned()).into());
    }
    let mut row = rows::one(pool, sku).await?;
    for _ in 0..MOST_CHANGES {
        let changed_position = row.as_ref().map(|row| row.changed_position);
        let changes = indexer::changes(pool, row.into_iter().collect()).await?;
        let refused = index.take(changes).await?;
        row = rows::one(pool, sku).await?;
        if !refused.is_empty() || row.as_ref().map(|row| row.changed_position) == changed_position {
            return Ok(refused.into_iter().next());
        }
    }
    Err(search::Error::Unavailable(format!("{sku} changes all the time; try again")).into())
}
