//! What is searched of a product.

use event_schemas::{
    Money, Timestamp,
    resource::{Product, ProductStatus},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

/// How many steps of the six decimals that a price may have make one whole.
const MICROS: i64 = 1_000_000;

/// A category that a product is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its id.
    pub id: String,
    /// What people read.
    pub name: String,
}

/// A flash sale that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// From when on its price is charged.
    pub starts_at: Timestamp,
    /// End of the sale (exclusive).
    pub ends_at: Timestamp,
    /// Price of one unit during the sale.
    pub price: Money,
}

/// A product as it is indexed.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The SKU: the document's key.
    pub sku: String,
    /// Its name.
    pub title: String,
    /// What people read about it.
    pub description: String,
    /// Its maker.
    pub brand: Option<String>,
    /// Its category and all above it, the nearest first.
    pub categories: Vec<Category>,
    /// Named properties.
    pub attributes: Vec<(String, String)>,
    /// Price of one unit while no flash sale runs.
    pub price: Money,
    /// Its flash sales that are not closed, in the order in which they start. No two run at once.
    pub sales: Vec<Sale>,
    /// Whether any unit can be bought.
    pub in_stock: bool,
    /// The sum of its ratings.
    pub rating_sum: i64,
    /// How many ratings there are.
    pub rating_count: i64,
    /// Where the log first told of it: the greater, the newer. No two products share it.
    pub created: i64,
}

impl Document {
    /// Of `product`, which is in `categories` and has these `sales`; none where it is not sold.
    #[must_use]
    pub fn of(product: Product, categories: Vec<Category>, sales: Vec<Sale>, facts: Facts) -> Option<Self> {
        (product.status == ProductStatus::Active).then(|| Self {
            sku: product.sku.to_string(),
            title: product.title,
            description: product.description.unwrap_or_default(),
            brand: product.brand,
            categories,
            attributes: product.attributes.into_iter().collect(),
            price: product.price,
            sales,
            in_stock: facts.available > 0,
            rating_sum: facts.rating_sum,
            rating_count: facts.rating_count,
            created: facts.created,
        })
    }
}

impl Document {
    /// About how many bytes of text it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + value.len());
        self.title.len() + self.description.len() + attributes.sum::<usize>()
    }
}

/// What other streams than the product's say of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Units that can be bought.
    pub available: i64,
    /// The sum of its ratings.
    pub rating_sum: i64,
    /// How many ratings there are.
    pub rating_count: i64,
    /// Where the log first told of it.
    pub created: i64,
}

/// An amount in millionths, which every price can be told in exactly; the greatest is 10^18.
#[must_use]
pub fn micros(amount: Decimal) -> i64 {
    let scaled = amount.checked_mul(Decimal::from(MICROS)).unwrap_or(Decimal::MAX);
    i64::try_from(scaled.trunc()).unwrap_or(i64::MAX)
}

/// The order of ratings: by the mean, then by how many there are; below all others where there is none.
#[must_use]
pub fn rating_order(sum: i64, count: i64) -> u64 {
    const COUNT_BITS: u32 = 24;
    if count <= 0 {
        return 0;
    }
    let mean = (i128::from(sum) * 1_000_000 / i128::from(count)).clamp(0, 1 << 30);
    let many = count.clamp(0, (1 << COUNT_BITS) - 1);
    (u64::try_from(mean).unwrap_or(0) << COUNT_BITS) | u64::try_from(many).unwrap_or(0)
}
