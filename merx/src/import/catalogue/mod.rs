//! A catalogue: `sku,title,description,category,brand,price,currency,stock`; further columns become attributes.
//!
//! The file says how a product is to be: one that is there and different is changed. Categories that are unknown are created. The units
//! of a row are received once for each SKU and quantity, so importing a file again receives nothing, and a row whose `stock` was
//! edited receives the units it has now.

mod row;
mod writing;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    path::Path,
};

use event_schemas::ids::{CategoryId, Sku};
use event_store::EventStore;
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::{
    Error, Products, Rejection, Rejections, Tally,
    run::{IN_FLIGHT, Run},
    source::Source,
};
use row::{Columns, Row, Said};
use writing::Writer;

/// What its events call the source.
const SOURCE: &str = "catalogue";

/// What to do with a product that is there and different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Change it.
    Change,
    /// Leave it as it is.
    Keep,
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The rows after the header.
    pub rows: u64,
    /// Categories.
    pub categories: Tally,
    /// Products.
    pub products: Products,
    /// Products that units were received of.
    pub received: Tally,
    /// The rows that make no product.
    pub rejected: Rejections,
}

/// Imports `file`, CSV or xz-compressed CSV.
///
/// # Errors
/// The file is damaged (then nothing was changed), or the log does not take an event.
pub async fn run(store: &EventStore, file: &Path, progress: &ProgressBar) -> Result<Summary, Error> {
    import(store, Source::File(file.to_owned()), Existing::Change, progress).await
}

/// Imports `source`.
pub(super) async fn import(store: &EventStore, source: Source, existing: Existing, progress: &ProgressBar) -> Result<Summary, Error> {
    progress.set_message("reading");
    let surveyed = source.clone();
    let survey = tokio::task::spawn_blocking(move || Survey::of(&surveyed)).await.map_err(|error| Error::Internal(error.to_string()))??;
    let mut summary = Summary { rows: survey.rows, ..Summary::default() };
    let run = Run::new(SOURCE);
    let writer = Writer::new(store, &run, existing);
    progress.set_length(survey.rows);
    progress.set_message("products");
    for (id, name) in survey.categories {
        summary.categories.count(writer.write_category(id, name).await?);
    }
    let (to, mut rows) = mpsc::channel(IN_FLIGHT);
    let reading = tokio::task::spawn_blocking(move || send_rows(&source, &to));
    let mut written = stream::poll_fn(|context| rows.poll_recv(context)).map(|row| writer.write(row)).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = written.next().await {
        progress.inc(1);
        match outcome? {
            Err(rejection) => summary.rejected.add(rejection),
            Ok((written, received)) => {
                summary.products.count(written);
                if let Some(is_new) = received {
                    summary.received.count(is_new);
                }
            }
        }
    }
    let rejected = reading.await.map_err(|error| Error::Internal(error.to_string()))?.map_err(Error::at_second_reading)?;
    progress.inc(rejected.rows);
    summary.rejected.merge(rejected);
    progress.finish_and_clear();
    Ok(summary)
}

/// What the first reading finds.
#[derive(Default)]
struct Survey {
    rows: u64,
    categories: BTreeMap<CategoryId, String>,
}

impl Survey {
    fn of(source: &Source) -> Result<Self, Error> {
        let mut survey = Self::default();
        each_row(source, |row| {
            survey.rows += 1;
            if let Ok(Row { category: Said::This(category), .. }) = row {
                survey.categories.entry(category.id).or_insert(category.name);
            }
            true
        })?;
        Ok(survey)
    }
}

/// Sends every row; those that make no product come back. Ends early where nobody receives any more.
fn send_rows(source: &Source, to: &mpsc::Sender<Row>) -> Result<Rejections, Error> {
    let mut rejected = Rejections::default();
    let mut lines: HashMap<Sku, u64> = HashMap::new();
    each_row(source, |row| {
        let first_of_its_sku = row.and_then(|row| match lines.insert(row.sku.clone(), row.line) {
            None => Ok(row),
            Some(earlier) => {
                Err(Rejection { line: row.line, rows: 1, reason: format!("sku {} is on line {earlier} already", row.sku), amount: None })
            }
        });
        match first_of_its_sku {
            Ok(row) => return to.blocking_send(row).is_ok(),
            Err(rejection) => rejected.add(rejection),
        }
        true
    })?;
    Ok(rejected)
}

/// Reads `source` for as long as `take` returns true.
fn each_row(source: &Source, mut take: impl FnMut(Result<Row, Rejection>) -> bool) -> Result<(), Error> {
    let mut rows = source.rows()?;
    let header = rows.next().map_err(|damage| source.damaged(damage))?.map(|record| record.fields).unwrap_or_default();
    let columns = Columns::read(&header).map_err(|reason| Error::Header { file: source.to_string(), reason })?;
    while let Some(record) = rows.next().map_err(|damage| source.damaged(damage))? {
        if !take(columns.row(&record)) {
            break;
        }
    }
    Ok(())
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rows: {}", self.rows)?;
        writeln!(f, "categories: {}", self.categories)?;
        writeln!(f, "products: {}", self.products)?;
        writeln!(f, "products with stock received: {}", self.received)?;
        self.rejected.fmt(f)
    }
}
