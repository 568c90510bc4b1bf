//! A catalogue: `sku,title,description,category,brand,price,currency,stock`; further columns become attributes.
//!
//! The file says how a product is to be: one that is there and different is changed. Categories that are unknown are created. `stock` is what is
//! on hand afterwards: an adjustment makes up the difference, and where the cell is empty nothing is said of it.

mod categories;
mod row;
mod writing;

use std::{collections::HashMap, fmt, path::Path};

use event_schemas::ids::Sku;
use event_store::EventStore;
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Error, Products, Rejection, Rejections, Tally,
    run::{IN_FLIGHT, Room, Run},
    source::Source,
};
use categories::{MAX_CATEGORIES, Names};
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
    /// Products whose units on hand are said: adjusted now, or as many already.
    pub counted: Tally,
    /// The rows that make no product.
    pub rejected: Rejections,
}

/// Imports `file`, CSV, packed or not, whose fields `separator` separates; by default what its first line says.
///
/// # Errors
/// The file is damaged (then nothing was changed), or the log does not take an event.
pub async fn run(store: &EventStore, file: &Path, separator: Option<char>, progress: &ProgressBar) -> Result<Summary, Error> {
    import(store, Source::File { path: file.to_owned(), separator }, Existing::Change, progress).await
}

/// Imports `source`.
pub(super) async fn import(store: &EventStore, source: Source, existing: Existing, progress: &ProgressBar) -> Result<Summary, Error> {
    progress.set_message("reading");
    let surveyed = source.clone();
    let survey = tokio::task::spawn_blocking(move || Survey::of(&surveyed)).await.map_err(|error| Error::Internal(error.to_string()))??;
    let mut summary = Summary { rows: survey.rows, ..Summary::default() };
    let run = Run::new(SOURCE);
    progress.set_length(survey.rows);
    progress.set_message("products");
    let (categories, tally) = categories::write(store, &run, survey.categories).await?;
    summary.categories = tally;
    let writer = Writer::new(store, &run, existing, categories);
    let (to, mut rows) = mpsc::channel(IN_FLIGHT);
    let reading = tokio::task::spawn_blocking(move || send_rows(&source, &to));
    let write = async |(row, room)| {
        let written = writer.write(row).await;
        drop::<OwnedSemaphorePermit>(room);
        written
    };
    let mut written = stream::poll_fn(|context| rows.poll_recv(context)).map(write).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = written.next().await {
        progress.inc(1);
        match outcome? {
            Err(rejection) => summary.rejected.add(rejection),
            Ok((written, counted)) => {
                summary.products.count(written);
                if let Some(is_new) = counted {
                    summary.counted.count(is_new);
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
    categories: Names,
}

impl Survey {
    fn of(source: &Source) -> Result<Self, Error> {
        let mut survey = Self::default();
        let mut has_room = true;
        each_row(source, |row| {
            survey.rows += 1;
            if let Ok(Row { category: Said::This(category), .. }) = row {
                has_room = survey.categories.add(&category);
            }
            has_room
        })?;
        if !has_room {
            return Err(Error::TooManyCategories { file: source.to_string(), most: MAX_CATEGORIES });
        }
        Ok(survey)
    }
}

/// Sends every row; those that make no product come back. Ends early where nobody receives any more.
fn send_rows(source: &Source, to: &mpsc::Sender<(Row, OwnedSemaphorePermit)>) -> Result<Rejections, Error> {
    let room = Room::new();
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
            Ok(row) => return room.take(row.bytes()).is_some_and(|room| to.blocking_send((row, room)).is_ok()),
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
        writeln!(f, "stock: {} adjusted, {} as it was", self.counted.new, self.counted.already)?;
        self.rejected.fmt(f)
    }
}
