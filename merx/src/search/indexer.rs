//! The rows of search into its index: what has changed, every few milliseconds; all of it where the rows were made anew or the index is empty.

use std::{sync::Arc, time::Duration};

use metrics::{counter, gauge, histogram};
use search::{Changes, Document, Index, Place};
use sqlx::PgPool;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::rows::{self, Row};

/// How often it is looked for changes.
const PACE: Duration = Duration::from_millis(40);
/// How long nothing is tried again after a failure.
const BACK_OFF: Duration = Duration::from_secs(1);
/// The most rows of a batch.
const BATCH_ROWS: i64 = 2_000;
/// What comes after every SKU in the order of bytes.
const PAST_ALL_SKUS: &str = "~";

/// Why the index is not brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the rows can't be read: {0}")]
    Rows(#[from] sqlx::Error),
    #[error("a row can't be read: {0}")]
    Document(#[from] serde_json::Error),
    #[error(transparent)]
    Index(#[from] search::Error),
}

/// Keeps `index` up to date with what the projection `search` writes, until `stopping`.
pub async fn run(index: Arc<dyn Index>, pool: PgPool, stopping: CancellationToken) {
    let mut is_failing = false;
    while !stopping.is_cancelled() {
        let pause = match step(&*index, &pool, &stopping).await {
            Ok(()) => {
                if std::mem::take(&mut is_failing) {
                    tracing::info!(index = index.name(), "the search index is kept again");
                }
                PACE
            }
            Err(error) => {
                counter!("merx_search_index_failures_total", "index" => index.name()).increment(1);
                if !std::mem::replace(&mut is_failing, true) {
                    tracing::warn!(index = index.name(), %error, "the search index is not up to date; trying again");
                }
                BACK_OFF
            }
        };
        gauge!("merx_search_index_failing", "index" => index.name()).set(f64::from(u8::from(is_failing)));
        let _ = stopping.run_until_cancelled(sleep(pause)).await;
    }
}

/// Takes in what there is to take in.
async fn step(index: &dyn Index, pool: &PgPool, stopping: &CancellationToken) -> Result<(), Error> {
    // Before the rows: they have at least what is up to here.
    let Some(target) = rows::place(pool).await? else { return Ok(()) };
    match index.place().await? {
        Some(known) if known.leads_to(target) => {
            catch_up(index, pool, known, target, stopping).await?;
        }
        _ => rebuild(index, pool, target, stopping).await?,
    }
    measure(index, target);
    Ok(())
}

async fn catch_up(index: &dyn Index, pool: &PgPool, known: Place, target: Place, stopping: &CancellationToken) -> Result<(), Error> {
    let mut after = (known.position, PAST_ALL_SKUS.to_owned());
    loop {
        let began = Instant::now();
        let rows = if known.position < target.position { rows::changed(pool, &after, BATCH_ROWS).await? } else { Vec::new() };
        let is_last = rows.len() < usize::try_from(BATCH_ROWS).unwrap_or(usize::MAX);
        if let Some(last) = rows.last() {
            after = (last.changed_position, last.sku.clone());
        }
        let many = rows.len();
        let changes = changes(pool, rows).await?;
        // Rows of one position may be in two batches, so that the place moves at the end only.
        index.apply(changes, if is_last { target } else { known }).await?;
        if many > 0 {
            counter!("merx_search_indexed_total", "index" => index.name()).increment(many as u64);
            histogram!("merx_search_batch_seconds", "index" => index.name()).record(began.elapsed().as_secs_f64());
        }
        if is_last || stopping.is_cancelled() {
            return Ok(());
        }
    }
}

async fn rebuild(index: &dyn Index, pool: &PgPool, target: Place, stopping: &CancellationToken) -> Result<(), Error> {
    tracing::debug!(index = index.name(), position = target.position, "the search index is filled anew");
    let began = Instant::now();
    index.begin_rebuild().await?;
    let (mut after, mut many) = (String::new(), 0);
    loop {
        let rows = rows::all(pool, &after, BATCH_ROWS).await?;
        let Some(last) = rows.last() else { break };
        after.clone_from(&last.sku);
        let Changes { documents, .. } = changes(pool, rows).await?;
        many += documents.len();
        index.rebuild(documents).await?;
        if stopping.is_cancelled() {
            return Ok(());
        }
    }
    index.finish_rebuild(target).await?;
    if many > 0 {
        tracing::info!(index = index.name(), products = many, seconds = began.elapsed().as_secs_f64(), "the search index was filled anew");
    }
    Ok(())
}

async fn changes(pool: &PgPool, rows: Vec<Row>) -> Result<Changes, Error> {
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
    let Some((product, facts)) = row.product()? else { return Ok(None) };
    let above = product.category.as_ref().map(|id| categories.from(id.as_str())).unwrap_or_default();
    Ok(Document::of(product, above, facts))
}

#[expect(clippy::cast_precision_loss, reason = "metrics are floats")]
fn measure(index: &dyn Index, target: Place) {
    gauge!("merx_search_index_position", "index" => index.name()).set(target.position as f64);
}
