//! Price charged for a product at a moment: its list price, or that of the flash sale that runs.
//!
//! Both are in the index, with the time of each sale. So a sale starts and ends for filters and order at its very moment, and nothing is indexed
//! anew for that.

use std::collections::BTreeSet;

use event_schemas::{Currency, Money};
use rust_decimal::Decimal;
use tantivy::{DocId, DocSet as _, Searcher, SegmentReader, TERMINATED, columnar::Column, schema::IndexRecordOption};

use super::fields::Fields;
use crate::{Document, Error, Request, document::micros};

/// The moment that is asked about, and the currency that prices are compared in, where it is clear.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked {
    at: i64,
    currency: Option<i64>,
}

/// The prices of a segment.
pub struct Prices {
    column: Column<i64>,
    asked: Asked,
}

/// The list price in millionths and its currency; then of each sale when it starts and when it ends, and the same of its price.
pub fn column(document: &Document) -> impl Iterator<Item = i64> {
    let price = |price: &Money| [micros(price.amount), number(price.currency)];
    let sales = document.sales.iter().flat_map(move |sale| {
        let [amount, currency] = price(&sale.price);
        [sale.starts_at.micros(), sale.ends_at.micros(), amount, currency]
    });
    price(&document.price).into_iter().chain(sales)
}

impl Asked {
    /// The moment and currency that `request` asks about. Where it compares prices without a currency, the only one that the products have;
    /// fails where they have several.
    pub fn of(searcher: &Searcher, fields: &Fields, request: &Request) -> Result<Self, Error> {
        let at = request.at.micros();
        let currency = match request.filters.currency {
            None if request.compares_prices() => {
                let currencies = currencies(searcher, fields)?;
                if currencies.len() > 1 {
                    return Err(Error::CurrencyRequired(currencies.into_iter().collect()));
                }
                currencies.first().and_then(|code| code.parse().ok())
            }
            currency => currency,
        };
        Ok(Self { at, currency: currency.map(number) })
    }
}

impl Prices {
    pub fn open(segment: &SegmentReader, asked: Asked) -> Result<Self, Error> {
        Ok(Self { column: segment.fast_fields().i64("prices")?, asked })
    }

    /// Price of a document in the currency that prices are compared in, in millionths; none where it has no price in it.
    pub fn of(&self, doc: DocId) -> Option<i64> {
        let (amount, currency) = self.charged(doc)?;
        (Some(currency) == self.asked.currency).then_some(amount)
    }

    /// Price charged for a document, in millionths, and the number of its currency.
    fn charged(&self, doc: DocId) -> Option<(i64, i64)> {
        let mut values = self.column.values_for_doc(doc);
        let list = (values.next()?, values.next()?);
        while let (Some(starts_at), Some(ends_at), Some(amount), Some(currency)) =
            (values.next(), values.next(), values.next(), values.next())
        {
            if starts_at <= self.asked.at && self.asked.at < ends_at {
                return Some((amount, currency));
            }
        }
        Some(list)
    }
}

/// The least and the greatest price of what was found.
#[derive(Debug, Default)]
pub struct Range {
    found: Option<(i64, i64, i64)>,
    is_mixed: bool,
}

impl Range {
    /// Takes in a document: if a currency is asked for, only what has a price in it.
    pub fn add(&mut self, prices: &Prices, doc: DocId) {
        let Some((amount, currency)) = prices.charged(doc) else { return };
        if prices.asked.currency.is_some_and(|asked| asked != currency) {
            return;
        }
        let (known, least, most) = *self.found.get_or_insert((currency, amount, amount));
        self.is_mixed |= known != currency;
        self.found = Some((known, least.min(amount), most.max(amount)));
    }

    /// None where nothing was found, or prices in more than one currency.
    pub fn money(self) -> Option<(Money, Money)> {
        let (currency, least, most) = self.found.filter(|_| !self.is_mixed)?;
        let currency = of_number(currency)?;
        Some((money(least, currency), money(most, currency)))
    }
}

/// The currencies that the products have prices in.
fn currencies(searcher: &Searcher, fields: &Fields) -> Result<BTreeSet<String>, Error> {
    let mut currencies = BTreeSet::new();
    for segment in searcher.segment_readers() {
        let index = segment.inverted_index(fields.currency)?;
        let mut terms = index.terms().stream()?;
        while let Some((term, info)) = terms.next() {
            let Ok(code) = std::str::from_utf8(term) else { continue };
            let mut postings = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            // Of products that are otherwise by now the dictionary keeps the words for a while.
            while postings.doc() != TERMINATED && segment.is_deleted(postings.doc()) {
                postings.advance();
            }
            if postings.doc() != TERMINATED {
                currencies.insert(code.to_owned());
            }
        }
    }
    Ok(currencies)
}

/// The number that stands for a currency: its three letters.
fn number(currency: Currency) -> i64 {
    currency.code().bytes().fold(0, |number, byte| number << 8 | i64::from(byte))
}

fn of_number(number: i64) -> Option<Currency> {
    let [.., a, b, c] = number.to_be_bytes();
    std::str::from_utf8(&[a, b, c]).ok()?.parse().ok()
}

fn money(micros: i64, currency: Currency) -> Money {
    let mut amount = Decimal::new(micros, 6).normalize();
    if amount.scale() < currency.minor_digits() {
        amount.rescale(currency.minor_digits());
    }
    Money::new(amount, currency)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_currency_has_a_number_of_its_own() {
        for code in ["GBP", "JPY", "AED", "ZWG"] {
            let currency: Currency = code.parse().unwrap();
            assert_eq!(of_number(number(currency)).unwrap().code(), code);
        }
        assert!(of_number(0).is_none());
    }
}
