//! The rows of search into its index: what has changed, every few milliseconds; all of it where the rows were made anew or the index is empty.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use metrics::{counter, gauge, histogram};
use search::{Changes, Document, Index, Place, Refused};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    rows::{self, Row},
    shared,
};

/// How long nothing is tried again after a failure.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The most rows of a batch; how many bytes they may have, [`rows::PAGE_BYTES`] says.
const BATCH_ROWS: i64 = 2_000;
/// As much is gathered when an index is filled anew: servers take much at once in far less time than little by little.
const REBUILD_BYTES: usize = 16 << 20;
const REBUILD_DOCUMENTS: usize = 25_000;
/// What comes after every SKU in the order of bytes.
const PAST_ALL_SKUS: &str = "~";

/// Why the index is not brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Postgres does not answer.
    #[error("the rows can't be read: {0}")]
    Rows(#[from] sqlx::Error),
    /// A read model holds something else than what was written.
    #[error("a row can't be read: {0}")]
    Document(#[from] serde_json::Error),
    /// What was refused can't be parked.
    #[error(transparent)]
    Parking(#[from] event_store::Error),
    /// A newer program keeps the rows: it is for that one to take them in.
    #[error(
        "the rows of search are of version {found} of the projection, and this version of merx knows {kept}: a newer one takes them in"
    )]
    Newer {
        /// The version of the rows.
        found: i32,
        /// The newest that this program knows.
        kept: i32,
    },
    /// The index does not take anything, or not in time.
    #[error(transparent)]
    Index(#[from] search::Error),
}

/// Where it is noted how far the index is, and what it refuses.
pub enum Ledger {
    /// Nowhere: the index is this process's own, and takes everything.
    Own,
    /// In Postgres. The flag is up while something was sent that the index has not come to yet.
    Shared(Arc<AtomicBool>),
}

impl Ledger {
    /// How soon it is looked for changes again, after some were taken in or none. Every commit costs something, however little is in it, and another
    /// server is asked less often than one's own files.
    fn pace(&self, has_changed: bool) -> Duration {
        match (self, has_changed) {
            (Self::Own, false) => Duration::from_millis(40),
            (Self::Own, true) => Duration::from_millis(200),
            (Self::Shared(_), _) => Duration::from_millis(150),
        }
    }

    fn set_unsettled(&self, is_unsettled: bool) {
        if let Self::Shared(flag) = self {
            flag.store(is_unsettled, Ordering::SeqCst);
        }
    }

    async fn settle(&self, pool: &PgPool, taken: &[String], refused: &[Refused]) -> Result<(), Error> {
        if let Self::Shared(_) = self {
            shared::settle(pool, taken, refused).await?;
        }
        Ok(())
    }

    /// Everything is tried again: what was parked is not, until it is refused again.
    async fn begin_rebuild(&self, pool: &PgPool) -> Result<(), Error> {
        if let Self::Shared(_) = self {
            shared::take_all_out(pool).await?;
        }
        Ok(())
    }

    async fn note(&self, pool: &PgPool, place: Place) -> Result<(), Error> {
        if let Self::Shared(_) = self {
            shared::note(pool, place).await?;
        }
        Ok(())
    }

    async fn note_failure(&self, pool: &PgPool, error: &Error) {
        if let Self::Shared(_) = self
            && let Err(error) = shared::note_failure(pool, &error.to_string()).await
        {
            tracing::debug!(%error, "the failure was not noted");
        }
    }
}

/// Keeps this process's own `index`, until `stopping`.
pub async fn run(index: Arc<dyn Index>, pool: PgPool, stopping: CancellationToken) {
    keep(&*index, &pool, &Ledger::Own, &stopping).await;
}

/// Keeps `index` up to date with what the projection `search` writes, until `stopping`; one that is shared only until a newer program has written
/// the rows.
pub async fn keep(index: &dyn Index, pool: &PgPool, ledger: &Ledger, stopping: &CancellationToken) {
    let (mut is_failing, mut is_prepared) = (false, false);
    while !stopping.is_cancelled() {
        let worked = async {
            if !is_prepared {
                index.prepare().await?;
                is_prepared = true;
            }
            step(index, pool, ledger, stopping).await
        };
        let pause = match worked.await {
            Ok(has_changed) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(index = index.name(), "the search index is kept again");
                }
                ledger.pace(has_changed)
            }
            Err(error) => {
                is_prepared = false;
                counter!("merx_search_index_failures_total", "index" => index.name()).increment(1);
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(index = index.name(), %error, "the search index is not up to date; trying again");
                }
                ledger.note_failure(pool, &error).await;
                if let (Error::Newer { .. }, Ledger::Shared(_)) = (&error, ledger) {
                    return;
                }
                BACK_OFF
            }
        };
        measure(index, is_failing);
        let _ = stopping.run_until_cancelled(sleep(pause)).await;
    }
}

/// Takes in what there is to take in; whether there was anything.
async fn step(index: &dyn Index, pool: &PgPool, ledger: &Ledger, stopping: &CancellationToken) -> Result<bool, Error> {
    // Before the rows: they have at least what is up to here.
    let Some(target) = rows::place(pool).await? else { return Ok(false) };
    let kept = rows::kept_version();
    if target.version > kept {
        return Err(Error::Newer { found: target.version, kept });
    }
    let has_changed = match index.place().await? {
        Some(known) if known == target => false,
        Some(known) if known.leads_to(target) && rows::is_in_log(pool, known).await? => {
            catch_up(index, pool, ledger, (known, target), stopping).await?
        }
        _ => {
            rebuild(index, pool, ledger, target, stopping).await?;
            true
        }
    };
    ledger.note(pool, target).await?;
    index.rest().await?;
    Ok(has_changed)
}

/// The place moves at the end only, since rows of one position may be in two batches, and once all that was refused is parked.
async fn catch_up(
    index: &dyn Index,
    pool: &PgPool,
    ledger: &Ledger,
    (known, target): (Place, Place),
    stopping: &CancellationToken,
) -> Result<bool, Error> {
    let (mut after, mut has_changed) = ((known.position, PAST_ALL_SKUS.to_owned()), false);
    loop {
        let began = Instant::now();
        let rows::Page { rows, is_last } = rows::changed(pool, &after, BATCH_ROWS).await?;
        if let Some(last) = rows.last() {
            after = (last.changed_position, last.sku.clone());
            let (many, skus) = (rows.len(), skus(&rows));
            let changes = changes(pool, rows).await?;
            has_changed = true;
            ledger.set_unsettled(true);
            let refused = index.take(changes).await?;
            ledger.settle(pool, &skus, &refused).await?;
            counter!("merx_search_indexed_total", "index" => index.name()).increment(many as u64);
            histogram!("merx_search_batch_seconds", "index" => index.name()).record(began.elapsed().as_secs_f64());
        }
        if is_last {
            index.reach(target).await?;
            ledger.set_unsettled(false);
            return Ok(has_changed);
        }
        if stopping.is_cancelled() {
            return Ok(has_changed);
        }
    }
}

async fn rebuild(index: &dyn Index, pool: &PgPool, ledger: &Ledger, target: Place, stopping: &CancellationToken) -> Result<(), Error> {
    tracing::debug!(index = index.name(), position = target.position, "the search index is filled anew");
    let began = Instant::now();
    index.begin_rebuild().await?;
    ledger.begin_rebuild(pool).await?;
    let (mut after, mut many) = (String::new(), 0);
    let (mut waiting, mut bytes, mut is_end) = (Vec::new(), 0, false);
    while !is_end {
        let rows::Page { rows, is_last } = rows::all(pool, &after, BATCH_ROWS).await?;
        is_end = is_last;
        if let Some(last) = rows.last() {
            after.clone_from(&last.sku);
        }
        let Changes { documents, .. } = changes(pool, rows).await?;
        bytes += documents.iter().map(Document::bytes).sum::<usize>();
        waiting.extend(documents);
        if is_end || bytes >= REBUILD_BYTES || waiting.len() >= REBUILD_DOCUMENTS {
            many += waiting.len();
            bytes = 0;
            let skus: Vec<String> = waiting.iter().map(|document| document.sku.clone()).collect();
            let refused = index.rebuild(std::mem::take(&mut waiting)).await?;
            ledger.settle(pool, &skus, &refused).await?;
        }
        if stopping.is_cancelled() {
            return Ok(());
        }
    }
    ledger.set_unsettled(true);
    index.finish_rebuild(target).await?;
    ledger.set_unsettled(false);
    if many > 0 {
        tracing::info!(index = index.name(), products = many, seconds = began.elapsed().as_secs_f64(), "the search index was filled anew");
    }
    Ok(())
}

fn skus(rows: &[Row]) -> Vec<String> {
    rows.iter().map(|row| row.sku.clone()).collect()
}

/// What becomes of an index by `rows`.
pub async fn changes(pool: &PgPool, rows: Vec<Row>) -> Result<Changes, Error> {
    if rows.is_empty() {
        return Ok(Changes::default());
    }
    let categories = rows::categories(pool, &rows).await?;
    let mut changes = Changes::default();
    for row in rows {
        let sku = row.sku.clone();
        match document(row, &categories)? {
            Some(document) => changes.documents.push(document),
            None => changes.removed.push(sku),
        }
    }
    Ok(changes)
}

fn document(row: Row, categories: &rows::Categories) -> Result<Option<Document>, Error> {
    let Some((product, sales, facts)) = row.product()? else { return Ok(None) };
    let above = product.category.as_ref().map(|id| categories.from(id.as_str())).unwrap_or_default();
    Ok(Document::of(product, above, sales, facts))
}

/// Says whether this process fails to keep `index`: not where it does not keep it.
pub fn measure(index: &dyn Index, is_failing: bool) {
    gauge!("merx_search_index_failing", "index" => index.name()).set(f64::from(u8::from(is_failing)));
}
