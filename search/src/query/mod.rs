//! What may be asked: checked, folded and bounded before any index sees it.

mod words;

use std::{collections::BTreeMap, hash::Hash};

use event_schemas::{Currency, Timestamp};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

pub use words::Words;

use crate::text;

/// The longest query, in characters.
pub const MOST_CHARACTERS: usize = 1_000;
/// The most values of one filter.
pub const MOST_VALUES: usize = 100;
/// The longest value of a filter, in characters.
pub const MOST_VALUE_CHARACTERS: usize = 500;
/// The most attributes that one request filters by.
pub const MOST_ATTRIBUTES: usize = 20;
/// The most facets of one request.
pub const MOST_FACETS: usize = 20;
/// The most values of a facet that are told.
pub const MOST_FACET_VALUES: usize = 100;
/// Up to here a total is exact.
pub const EXACT_TOTAL: u64 = 10_000;
/// The longest page.
pub const MOST_LIMIT: usize = 200;

/// In which order products come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
pub enum Sort {
    /// The best match first; the newest where nothing was asked for.
    #[default]
    Relevance,
    /// The cheapest first.
    Price,
    /// The dearest first.
    PriceDown,
    /// The newest first.
    Newest,
    /// The best rated first.
    Rating,
}

/// Which products are looked at; empty lists mean all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Hash)]
pub struct Filters {
    /// In one of these categories, or below.
    pub categories: Vec<String>,
    /// Of one of these makers.
    pub brands: Vec<String>,
    /// The currency that prices are compared in.
    pub currency: Option<Currency>,
    /// Not cheaper than this.
    pub price_min: Option<Decimal>,
    /// Not dearer than this.
    pub price_max: Option<Decimal>,
    /// Whether any can be bought.
    pub in_stock: Option<bool>,
    /// With one of these values of each attribute.
    pub attributes: BTreeMap<String, Vec<String>>,
}

/// Something that is counted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FacetName {
    /// Categories, those above the product's own too.
    Category,
    /// Makers.
    Brand,
    /// Whether any can be bought.
    InStock,
    /// The values of an attribute.
    Attribute(String),
}

impl FacetName {
    /// What `name` means; none where it means nothing.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "category" => Some(Self::Category),
            "brand" => Some(Self::Brand),
            "in_stock" => Some(Self::InStock),
            _ => name.strip_prefix("attributes.").filter(|name| !name.is_empty()).map(|name| Self::Attribute(name.to_owned())),
        }
    }
}

impl std::fmt::Display for FacetName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Category => f.write_str("category"),
            Self::Brand => f.write_str("brand"),
            Self::InStock => f.write_str("in_stock"),
            Self::Attribute(name) => write!(f, "attributes.{name}"),
        }
    }
}

/// Where a page begins: after the product with this key. Keys descend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct After {
    /// What the order is by.
    pub key: u64,
    /// The newer of two with the same key comes first.
    pub created: i64,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// What was typed.
    pub words: Words,
    /// Which products are looked at.
    pub filters: Filters,
    /// In which order they come.
    pub sort: Sort,
    /// What is counted besides.
    pub facets: Vec<FacetName>,
    /// How many products at most.
    pub limit: usize,
    /// Where the page begins.
    pub after: Option<After>,
    /// The moment whose prices count.
    pub at: At,
}

/// A moment; by default the Unix epoch, at which no sale runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At(pub Timestamp);

impl At {
    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0.micros()
    }
}

impl Default for At {
    fn default() -> Self {
        Self(Timestamp::from_micros(0))
    }
}

/// What is wrong with a part of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{parameter}: {detail}")]
pub struct Wrong {
    /// The parameter.
    pub parameter: String,
    /// In what way: the `code` of a field error.
    pub code: &'static str,
    /// What it must be.
    pub detail: String,
}

impl Wrong {
    fn new(parameter: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { parameter: parameter.into(), code, detail: detail.into() }
    }
}

impl Request {
    /// What is wrong with the filters and facets of this request, one by one.
    #[must_use]
    pub fn wrong(&self) -> Vec<Wrong> {
        let Filters { categories, brands, currency: _, price_min, price_max, in_stock: _, attributes } = &self.filters;
        let mut wrong = Vec::new();
        let mut values = |parameter: String, values: &[String]| {
            if values.len() > MOST_VALUES {
                wrong.push(Wrong::new(&parameter, "length", format!("must have at most {MOST_VALUES} values")));
            }
            if let Some(value) = values.iter().find(|value| !is_plain(value, MOST_VALUE_CHARACTERS)) {
                let shown: String = value.chars().filter(|c| !c.is_control()).take(40).collect();
                let detail = format!("has {shown:?}: must be at most {MOST_VALUE_CHARACTERS} characters, none of them a control character");
                wrong.push(Wrong::new(&parameter, "malformed", detail));
            }
        };
        values("category".to_owned(), categories);
        values("brand".to_owned(), brands);
        for (name, of) in attributes.iter().take(MOST_ATTRIBUTES) {
            values(format!("attributes.{name}"), of);
        }
        if attributes.len() > MOST_ATTRIBUTES {
            wrong.push(Wrong::new("attributes", "length", format!("must name at most {MOST_ATTRIBUTES} attributes")));
        }
        if price_min.zip(*price_max).is_some_and(|(least, most)| least > most) {
            wrong.push(Wrong::new("price_min", "out_of_range", "must not be greater than price_max"));
        }
        if self.facets.len() > MOST_FACETS {
            wrong.push(Wrong::new("facets", "length", format!("must name at most {MOST_FACETS} facets")));
        }
        wrong
    }

    /// Returns true where prices are compared with each other or with a bound: then they must be in one currency.
    #[must_use]
    pub fn compares_prices(&self) -> bool {
        let Filters { price_min, price_max, .. } = &self.filters;
        price_min.is_some() || price_max.is_some() || matches!(self.sort, Sort::Price | Sort::PriceDown)
    }

    /// A number for all of it but the page: a cursor is good for no other request.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Self { words, filters, sort, .. } = self;
        text::number(&format!("{words:?} {filters:?} {sort:?}"))
    }
}

/// What is wrong with a typed query; none where nothing is.
#[must_use]
pub fn wrong_text(text: &str) -> Option<Wrong> {
    let characters = text.chars().count();
    if characters > MOST_CHARACTERS {
        return Some(Wrong::new("q", "length", format!("must be at most {MOST_CHARACTERS} characters long; this has {characters}")));
    }
    text.chars().any(char::is_control).then(|| Wrong::new("q", "malformed", "must have no control characters"))
}

/// All that a list of values may mean that was cut at commas: each of them, and neighbours with the comma between them.
#[must_use]
pub fn with_commas(parts: &[String]) -> Vec<String> {
    let parts = parts.get(..MOST_VALUES).unwrap_or(parts);
    let mut values = Vec::new();
    for first in 0..parts.len() {
        for last in first..parts.len().min(first + 4) {
            values.push(parts[first..=last].join(","));
        }
    }
    values.sort();
    values.dedup();
    values
}

fn is_plain(value: &str, most: usize) -> bool {
    value.chars().count() <= most && !value.chars().any(char::is_control)
}
