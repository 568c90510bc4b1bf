//! The history of a British giftware shop: UCI's *Online Retail* (Daqing Chen, UCI Machine Learning Repository, CC BY 4.0).
//!
//! | in the file | in the log |
//! | --- | --- |
//! | an invoice | an `OrderImported` in an order's stream, with the time of its first row |
//! | a `C…` invoice | an `OrderReturnImported` in a stream of its own, as the source does not say what it returns |
//! | an invoice whose number begins with another letter | an `OrderImported` that adjusts accounts: it counts in net, and not among orders or units |
//! | a row with units below zero at price 0 on another invoice | a `StockCorrectionImported` of the product's stock |
//! | a code with four digits or more | a product, and lines that are items |
//! | any other code: `POST`, `M`, `BANK CHARGES`, … | lines that are charges |
//!
//! A product's title and price are those of its last row at a price above zero. One that never had a price is archived, at 0.

mod documents;
mod invoice;
mod products;
mod reading;
mod row;
#[cfg(test)]
mod tests;

use std::{fmt, path::Path};

use event_schemas::Currency;
use event_store::EventStore;
use futures::{StreamExt, stream};
use indicatif::ProgressBar;
use rust_decimal::Decimal;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    Error, Products, Rejections, Tally,
    run::{IN_FLIGHT, Run},
    source::Source,
};
use documents::{Imported, Outcome};
use reading::{Listing, Survey};

/// What its events call the source.
pub const SOURCE: &str = "online-retail";

/// What may be asked of the import.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// Receive so many of each product, so that it can be sold. Each product once, at whichever import.
    pub stock: Option<u32>,
}

/// What became of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// The rows after the header.
    pub rows: u64,
    /// Products.
    pub products: Products,
    /// Products that units were received of.
    pub received: Tally,
    /// Ordinary invoices.
    pub orders: Tally,
    /// Invoices that adjust accounts.
    pub adjustments: Tally,
    /// `C…` invoices.
    pub returns: Tally,
    /// Stock corrections.
    pub corrections: Tally,
    /// Lines of orders and returns that are items.
    pub item_lines: u64,
    /// Lines of orders and returns that are charges.
    pub charge_lines: u64,
    /// What the lines of orders with quantity and price above zero come to.
    pub gross: Decimal,
    /// What the returns come to: below zero.
    pub returned: Decimal,
    /// What all lines come to.
    pub net: Decimal,
    /// The rows that fit nowhere.
    pub rejected: Rejections,
}

/// Imports `file`, CSV, packed or not.
///
/// # Errors
/// The file is damaged (then nothing was changed), or the log does not take an event.
pub async fn run(store: &EventStore, file: &Path, options: Options, progress: &ProgressBar) -> Result<Summary, Error> {
    import(store, Source::File { path: file.to_owned(), separator: None }, options, progress).await
}

/// Imports `source`.
pub(super) async fn import(store: &EventStore, source: Source, options: Options, progress: &ProgressBar) -> Result<Summary, Error> {
    let currency: Currency = "GBP".parse().map_err(|error| Error::Internal(format!("{error}")))?;
    progress.set_message("reading");
    let surveyed = source.clone();
    let survey = in_background(move || Survey::of(&surveyed)).await?;
    let mut summary = Summary { rows: survey.rows, ..Summary::default() };
    let run = Run::new(SOURCE);
    progress.set_length(survey.products.len() as u64 + survey.rows);
    progress.set_message("products");
    write_products(store, &run, survey, currency, options, &mut summary, progress).await?;
    progress.set_message("invoices");
    write_documents(store, &run, source, currency, &mut summary, progress).await?;
    progress.finish_and_clear();
    Ok(summary)
}

async fn write_products(
    store: &EventStore,
    run: &Run,
    survey: Survey,
    currency: Currency,
    options: Options,
    summary: &mut Summary,
    progress: &ProgressBar,
) -> Result<(), Error> {
    let writer = products::Writer::new(store, run, currency, options.stock);
    let write = |(sku, listing): (_, Listing)| writer.write(sku, listing);
    let mut written = stream::iter(survey.products).map(write).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = written.next().await {
        let outcome = outcome?;
        summary.products.count(outcome.written);
        if let Some(is_new) = outcome.received {
            summary.received.count(is_new);
        }
        if let Some(rejection) = outcome.refused {
            summary.rejected.add(rejection);
        }
        progress.inc(1);
    }
    Ok(())
}

async fn write_documents(
    store: &EventStore,
    run: &Run,
    source: Source,
    currency: Currency,
    summary: &mut Summary,
    progress: &ProgressBar,
) -> Result<(), Error> {
    let (to, mut documents) = mpsc::channel(IN_FLIGHT);
    let reading = tokio::task::spawn_blocking(move || reading::send_documents(&source, currency, &to));
    let writer = documents::Writer::new(store, run);
    let write = async |(document, room)| {
        let written = writer.write(document).await;
        drop::<OwnedSemaphorePermit>(room);
        written
    };
    let mut imported = stream::poll_fn(|context| documents.poll_recv(context)).map(write).buffer_unordered(IN_FLIGHT);
    while let Some(outcome) = imported.next().await {
        let outcome = outcome?;
        progress.inc(outcome.rows);
        summary.count(outcome);
    }
    let rejected = reading.await.map_err(|error| Error::Internal(error.to_string()))?.map_err(Error::at_second_reading)?;
    progress.inc(rejected.rows);
    summary.rejected.merge(rejected);
    Ok(())
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(error.to_string()))?
}

impl Summary {
    fn count(&mut self, imported: Imported) {
        match imported.outcome {
            Outcome::Order { is_new } => self.orders.count(is_new),
            Outcome::Adjustment { is_new } => self.adjustments.count(is_new),
            Outcome::Return { is_new } => self.returns.count(is_new),
            Outcome::NoBody => {}
            Outcome::Refused(rejection) => self.rejected.add(rejection),
        }
        self.corrections.new += imported.corrections.new;
        self.corrections.already += imported.corrections.already;
        self.item_lines += imported.item_lines;
        self.charge_lines += imported.charge_lines;
        self.gross = self.gross.saturating_add(imported.gross);
        self.returned = self.returned.saturating_add(imported.returned);
        self.net = self.net.saturating_add(imported.net);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rows: {}", self.rows)?;
        writeln!(f, "products: {}", self.products)?;
        if self.received != Tally::default() {
            writeln!(f, "products with stock received: {}", self.received)?;
        }
        writeln!(f, "orders: {}", self.orders)?;
        writeln!(f, "returns: {}", self.returns)?;
        if self.adjustments != Tally::default() {
            writeln!(f, "adjustments of accounts: {}", self.adjustments)?;
        }
        writeln!(f, "stock corrections: {}", self.corrections)?;
        writeln!(f, "lines: {} items, {} charges", self.item_lines, self.charge_lines)?;
        writeln!(f, "amounts in GBP: gross {}, returned {}, net {}", self.gross, self.returned, self.net)?;
        self.rejected.fmt(f)
    }
}
