//! Prices charged at a moment, in Meilisearch's terms.
//!
//! A record has its list price and, in a few numbered places, its flash sales that are not closed: from when until when, and at which price. Which of
//! these counts at a moment is told by filters, so that a sale starts and ends for whoever asks at its very moment, and nothing is indexed anew.

use std::collections::BTreeMap;

use event_schemas::{Currency, Money};
use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::Number;

use crate::{
    Document, Sale,
    query::{Filters, Sort},
};

/// The sales of one product that are kept: the first ones. One that is over is closed soon after, and then the next moves up.
pub const SALES: usize = 4;

/// An amount by its currency.
type Price = BTreeMap<&'static str, Number>;

/// Prices as a record has them.
#[derive(Debug, Serialize)]
pub struct Prices {
    price: Price,
    /// The list price whatever its currency, for the range of what was found.
    amount: Number,
    sales: BTreeMap<String, Slot>,
    currency: Vec<&'static str>,
}

#[derive(Debug, Serialize)]
struct Slot {
    // Microseconds: floats tell them apart for 285 years to come.
    from: i64,
    until: i64,
    price: Price,
}

impl Prices {
    pub fn of(document: &Document) -> Result<Self, serde_json::Error> {
        let slot = |(at, sale): (usize, &Sale)| {
            Ok((at.to_string(), Slot { from: sale.starts_at.micros(), until: sale.ends_at.micros(), price: price(&sale.price)? }))
        };
        let mut currency = vec![document.price.currency.code()];
        currency.extend(document.sales.iter().map(|sale| sale.price.currency.code()));
        currency.sort_unstable();
        currency.dedup();
        Ok(Self {
            price: price(&document.price)?,
            amount: amount(document.price.amount)?,
            sales: document.sales.iter().take(SALES).enumerate().map(slot).collect::<Result<_, serde_json::Error>>()?,
            currency,
        })
    }
}

fn price(money: &Money) -> Result<Price, serde_json::Error> {
    Ok(BTreeMap::from([(money.currency.code(), amount(money.amount)?)]))
}

// Meilisearch has no other numbers than floats; up to 15 digits they are told apart.
fn amount(amount: Decimal) -> Result<Number, serde_json::Error> {
    serde_json::from_str(&amount.normalize().to_string())
}

/// One of the places of a price, and the filter that says of which records it is the one that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Which records.
    pub filter: String,
    /// The field of their price.
    pub field: String,
}

/// The moment that is asked about, and the currency that prices are compared in, where it is clear.
#[derive(Debug, Clone, Copy)]
pub struct Charge {
    pub at: i64,
    pub currency: Option<Currency>,
    /// True where the records are of the shape before this one, which knows list prices only.
    pub is_earlier: bool,
}

impl Charge {
    /// The places of prices in the currency that count at the moment. Each record is of exactly one of them.
    pub fn parts(self) -> Vec<Part> {
        let Some(currency) = self.currency else { return Vec::new() };
        let (at, code) = (self.at, currency.code());
        if self.is_earlier {
            return vec![Part { filter: format!("currency = \"{code}\""), field: "price".to_owned() }];
        }
        let runs = |slot: usize| format!("(sales.{slot}.from <= {at} AND sales.{slot}.until > {at})");
        let any: Vec<String> = (0..SALES).map(runs).collect();
        let list = Part { filter: format!("NOT ({})", any.join(" OR ")), field: format!("price.{code}") };
        let sale = |slot: usize| Part { filter: runs(slot), field: format!("sales.{slot}.price.{code}") };
        std::iter::once(list).chain((0..SALES).map(sale)).collect()
    }

    /// The filter by the bounds of `filters`; none where there are none, or no product that has a price.
    pub fn bounds(self, filters: &Filters) -> Option<String> {
        let Filters { price_min, price_max, .. } = filters;
        let parts = self.parts();
        if parts.is_empty() || price_min.is_none() && price_max.is_none() {
            return None;
        }
        let within = |Part { filter, field }: Part| {
            let least = price_min.map_or_else(String::new, |least| format!(" AND {field} >= {least}"));
            let most = price_max.map_or_else(String::new, |most| format!(" AND {field} <= {most}"));
            format!("({filter}{least}{most})")
        };
        Some(parts.into_iter().map(within).collect::<Vec<_>>().join(" OR "))
    }

    /// Parts that an order by price is put together from: which records, and what they are sorted by. The server merges them by the values
    /// of these fields, whichever each of them is. Empty for any other order, and without a currency.
    pub fn sorted(self, sort: Sort) -> Vec<(String, String)> {
        let direction = match sort {
            Sort::Price => "asc",
            Sort::PriceDown => "desc",
            Sort::Relevance | Sort::Newest | Sort::Rating => return Vec::new(),
        };
        self.parts().into_iter().map(|Part { filter, field }| (filter, format!("{field}:{direction}"))).collect()
    }
}
