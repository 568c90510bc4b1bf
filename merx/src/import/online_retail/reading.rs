//! The two readings of the file.

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::{Currency, ids::Sku};
use rust_decimal::Decimal;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    invoice::{Document, Invoices},
    row::{HEADER, Kind, Row},
};
use crate::import::{
    Error, Rejections,
    rows::{Damage, Rows},
    run::Room,
    source::{Reader, Source},
};

/// The most countries that are remembered.
const MAX_COUNTRIES: usize = 1_000;

/// What the file says of a product.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// Its last description on a line at a price. Other lines tell what became of units ("damaged", "thrown away"), not what they are.
    pub title: Option<String>,
    /// Its last price above zero.
    pub price: Option<Decimal>,
}

/// What the first reading finds.
#[derive(Debug, Default)]
pub struct Survey {
    /// How many rows there are.
    pub rows: u64,
    /// Every product.
    pub products: BTreeMap<Sku, Listing>,
}

impl Survey {
    /// Reads all of `source`: every product there is, or where the file is damaged.
    pub fn of(source: &Source) -> Result<Self, Error> {
        let mut rows = open(source)?;
        let mut survey = Self::default();
        let mut countries = BTreeSet::new();
        while let Some(record) = rows.next().map_err(|damage| source.damaged(damage))? {
            survey.rows += 1;
            let is_terminated = record.is_terminated;
            let Ok(row) = Row::read(record) else { continue };
            if !is_terminated && is_part_of_another(&row.country, &countries) {
                return Err(source.damaged((row.line, Damage::CutOff)));
            }
            if countries.len() < MAX_COUNTRIES && !countries.contains(&row.country) {
                countries.insert(row.country);
            }
            if let Some(sku) = row.sku {
                let listing = survey.products.entry(sku).or_default();
                if row.kind != Kind::Adjustment {
                    listing.take_in(&row.description, row.unit_price);
                }
            }
        }
        Ok(survey)
    }
}

impl Listing {
    fn take_in(&mut self, description: &str, price: Decimal) {
        if price <= Decimal::ZERO {
            return;
        }
        self.price = Some(price);
        let title = description.trim();
        if !title.is_empty() && self.title.as_deref() != Some(title) {
            self.title = Some(title.to_owned());
        }
    }
}

/// Reads `source` again and sends every invoice; what fits nowhere comes back. Ends early where nobody receives any more.
pub fn send_documents(
    source: &Source,
    currency: Currency,
    to: &mpsc::Sender<(Document, OwnedSemaphorePermit)>,
) -> Result<Rejections, Error> {
    let room = Room::new();
    let send = |document: Document| room.take(document.bytes).is_some_and(|room| to.blocking_send((document, room)).is_ok());
    let mut rows = open(source)?;
    let mut invoices = Invoices::new(currency);
    let mut rejected = Rejections::default();
    while let Some(record) = rows.next().map_err(|damage| source.damaged(damage))? {
        match Row::read(record).and_then(|row| invoices.add(row)) {
            Ok(()) => {}
            Err(rejection) => rejected.add(rejection),
        }
        for document in invoices.complete() {
            if !send(document) {
                return Ok(rejected);
            }
        }
    }
    for document in invoices.rest() {
        if !send(document) {
            break;
        }
    }
    Ok(rejected)
}

fn open(source: &Source) -> Result<Rows<Reader>, Error> {
    let mut rows = source.rows()?;
    let header = rows.next().map_err(|damage| source.damaged(damage))?.map(|record| record.fields).unwrap_or_default();
    if header.len() == HEADER.len() && header.iter().zip(HEADER).all(|(name, expected)| name.trim().eq_ignore_ascii_case(expected)) {
        return Ok(rows);
    }
    let found: String = header.join(",").chars().take(200).collect();
    let reason = format!("the first line must be {:?}, and is {found:?}", HEADER.join(","));
    Err(Error::Header { file: source.to_string(), reason })
}

/// Whether the last field of a file that ends without a line break is likely to have been cut off.
fn is_part_of_another(country: &str, countries: &BTreeSet<String>) -> bool {
    !countries.contains(country) && countries.iter().any(|other| other.starts_with(country))
}
