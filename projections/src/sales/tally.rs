//! What a batch adds to the cells of the tables.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use event_schemas::Currency;
use rust_decimal::Decimal;
use sqlx::PgConnection;

use super::{Sold, tables};
use crate::Error;

/// Where lines count.
pub struct Place<'a> {
    pub day: NaiveDate,
    pub currency: Currency,
    pub country: &'a str,
}

/// What a line counts.
pub struct Amounts {
    pub units: i64,
    pub gross: Decimal,
    /// Zero or below.
    pub returned: Decimal,
    pub net: Decimal,
}

impl Amounts {
    fn is_nothing(&self) -> bool {
        self.units == 0 && self.gross.is_zero() && self.returned.is_zero() && self.net.is_zero()
    }
}

/// What is added to a cell.
#[derive(Default)]
pub struct Sums {
    pub orders: i64,
    pub units: i64,
    pub gross: Decimal,
    pub returned: Decimal,
    pub net: Decimal,
}

impl Sums {
    fn add(&mut self, amounts: &Amounts) -> Option<()> {
        self.units = self.units.checked_add(amounts.units)?;
        self.gross = self.gross.checked_add(amounts.gross)?;
        self.returned = self.returned.checked_add(amounts.returned)?;
        self.net = self.net.checked_add(amounts.net)?;
        Some(())
    }
}

/// Cells of one table: by its own key, then by day and currency.
#[derive(Default)]
pub struct Cells(BTreeMap<String, BTreeMap<(NaiveDate, &'static str), Sums>>);

impl Cells {
    fn at(&mut self, place: &Place<'_>, key: &str) -> &mut Sums {
        self.0.entry(key.to_owned()).or_default().entry((place.day, place.currency.code())).or_default()
    }

    /// What is added, cell by cell: key, day, currency and sums.
    pub fn iter(&self) -> impl Iterator<Item = (&str, NaiveDate, &'static str, &Sums)> {
        self.0.iter().flat_map(|(key, days)| days.iter().map(move |((day, currency), sums)| (key.as_str(), *day, *currency, sums)))
    }
}

/// Sums to be added to totals: by kind, currency and key, the order in which rows are locked.
pub type Totals = BTreeMap<(&'static str, &'static str, String), Sums>;

/// What a batch adds.
#[derive(Default)]
pub struct Tally {
    countries: Cells,
    products: Cells,
    categories: Cells,
    totals: Totals,
}

impl Tally {
    /// Adds a line to its three cells; a line that counts nothing makes none. None where a sum can't be held.
    pub fn line(&mut self, place: &Place<'_>, product: &str, category: &str, amounts: &Amounts) -> Option<()> {
        if amounts.is_nothing() {
            return Some(());
        }
        self.countries.at(place, place.country).add(amounts)?;
        self.products.at(place, product).add(amounts)?;
        self.categories.at(place, category).add(amounts)?;
        self.total("day", place, place.day.to_string()).add(amounts)?;
        [("country", place.country), ("product", product), ("category", category)]
            .into_iter()
            .try_for_each(|(by, key)| self.total(by, place, key.to_owned()).add(amounts))
    }

    /// Counts an order once in each cell it has lines in.
    pub fn order(&mut self, place: &Place<'_>, products: &Sold<'_>, categories: &Sold<'_>) {
        self.countries.at(place, place.country).orders += 1;
        for product in products {
            self.products.at(place, product).orders += 1;
        }
        for category in categories {
            self.categories.at(place, category).orders += 1;
        }
        self.total("day", place, place.day.to_string()).orders += 1;
        let country = std::iter::once(("country", place.country));
        let keys = country.chain(products.iter().map(|key| ("product", *key))).chain(categories.iter().map(|key| ("category", *key)));
        for (by, key) in keys {
            self.total(by, place, key.to_owned()).orders += 1;
        }
    }

    fn total(&mut self, by: &'static str, place: &Place<'_>, key: String) -> &mut Sums {
        self.totals.entry((by, place.currency.code(), key)).or_default()
    }

    pub async fn write(&self, connection: &mut PgConnection) -> Result<(), Error> {
        tables::add_by_country(&mut *connection, &self.countries).await?;
        tables::add_by_product(&mut *connection, &self.products).await?;
        tables::add_by_category(&mut *connection, &self.categories).await?;
        tables::add_to_totals(connection, &self.totals).await
    }

    #[cfg(test)]
    pub fn net(&self) -> Decimal {
        self.countries.iter().map(|(_, _, _, sums)| sums.net).sum()
    }
}
