//! What is answered to a search.

use std::collections::{BTreeMap, HashMap};

use ::search::{Answer, Kind, Request, Suggestion, highlight::Marker};
use event_schemas::{
    Money,
    resource::{Product, ProductStatus},
};
use schemars::JsonSchema;
use serde::Serialize;

/// Products that match.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SearchAnswer")]
pub struct Found {
    /// The best first.
    items: Vec<Item>,
    /// How many there are on all pages: exact up to 10,000.
    total: u64,
    /// For each facet that was asked for how often its values occur, the most frequent first.
    facets: BTreeMap<String, Vec<FacetValue>>,
    /// The least and the greatest price that is charged for what was found, in one currency; null where nothing was, or it is in several.
    price: Option<PriceRange>,
    /// What `cursor` must be for the next page; null on the last.
    next_cursor: Option<String>,
}

/// A product, and what matched in it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "SearchItem")]
struct Item {
    #[serde(flatten)]
    product: Product,
    /// HTML: matched words are in `<em>`, everything else is escaped.
    highlight: Highlight,
}

/// HTML: matched words are in `<em>`, everything else is escaped.
#[derive(Debug, Serialize, JsonSchema)]
struct Highlight {
    /// The title.
    title: String,
    /// The part of the description around the first match.
    description: Option<String>,
    /// The maker.
    brand: Option<String>,
    /// The SKU.
    sku: String,
}

/// A value of a facet.
#[derive(Debug, Serialize, JsonSchema)]
struct FacetValue {
    /// The value, as its filter takes it.
    value: String,
    /// How many products have it.
    count: u64,
}

/// Two prices.
#[derive(Debug, Serialize, JsonSchema)]
struct PriceRange {
    /// The least.
    min: Money,
    /// The greatest.
    max: Money,
}

impl Found {
    /// `answer`, with `products` in its order. What was archived a moment ago is left out.
    pub fn of(request: &Request, answer: Answer, products: Vec<Product>, next_cursor: Option<String>) -> Self {
        let marker = Marker::of(&request.words);
        let mut by_sku: HashMap<String, Product> = products
            .into_iter()
            .filter(|product| product.status == ProductStatus::Active)
            .map(|product| (product.sku.to_string(), product))
            .collect();
        let item = |product: Product| Item { highlight: Highlight::of(&product, &marker), product };
        let values = |values: Vec<(String, u64)>| values.into_iter().map(|(value, count)| FacetValue { value, count }).collect();
        Self {
            items: answer.skus.iter().filter_map(|sku| by_sku.remove(sku)).map(item).collect(),
            total: answer.total,
            facets: answer.facets.into_iter().map(|facet| (facet.name, values(facet.values))).collect(),
            price: answer.price.map(|(min, max)| PriceRange { min, max }),
            next_cursor,
        }
    }
}

impl Highlight {
    fn of(product: &Product, marker: &Marker<'_>) -> Self {
        Self {
            title: marker.whole(&product.title),
            description: product.description.as_deref().map(|text| marker.excerpt(text)),
            brand: product.brand.as_deref().map(|text| marker.whole(text)),
            sku: marker.whole(product.sku.as_str()),
        }
    }
}

/// What somebody may mean.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Suggestions")]
pub struct Suggestions {
    /// Categories and makers first, then products.
    pub items: Vec<Suggested>,
}

/// What somebody may mean.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Suggestion")]
pub struct Suggested {
    /// What it is.
    kind: SuggestedKind,
    /// What people read.
    text: String,
    /// The product's SKU, the maker, the category's id.
    value: String,
}

/// What a suggestion is.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum SuggestedKind {
    /// A product.
    Product,
    /// A maker.
    Brand,
    /// A category.
    Category,
}

impl From<Suggestion> for Suggested {
    fn from(Suggestion { kind, text, value }: Suggestion) -> Self {
        let kind = match kind {
            Kind::Product => SuggestedKind::Product,
            Kind::Brand => SuggestedKind::Brand,
            Kind::Category => SuggestedKind::Category,
        };
        Self { kind, text, value }
    }
}
