//! Categories, products, stock, flash sales and reviews as clients see them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Money, Timestamp,
    events::product::Image,
    ids::{CategoryId, FlashSaleId, ReviewId, Sku},
};

/// A category of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Category {
    /// The client's code.
    pub id: CategoryId,
    /// What people read.
    pub name: String,
    /// The category it is below.
    pub parent: Option<CategoryId>,
    /// The version of its stream.
    pub version: i64,
}

/// Whether a product is sold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// It is.
    Active,
    /// It is not.
    Archived,
}

/// A product, with what can be bought of it now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Product {
    /// The SKU.
    pub id: Sku,
    /// The SKU.
    pub sku: Sku,
    /// Its name.
    pub title: String,
    /// What people read about it.
    pub description: Option<String>,
    /// Its category.
    pub category: Option<CategoryId>,
    /// Its maker.
    pub brand: Option<String>,
    /// Pictures of it.
    pub images: Vec<Image>,
    /// What one unit costs, as it was sent.
    pub price: Money,
    /// Named properties.
    pub attributes: BTreeMap<String, String>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// Whether it is sold.
    pub status: ProductStatus,
    /// What can be bought of it now.
    pub stock: ProductStock,
    /// What reviews say of it.
    pub rating: Rating,
    /// The sale that runs now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flash_sale: Option<ProductFlashSale>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The version of its stream.
    pub version: i64,
}

/// How much of a product there is, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StockState {
    /// Plenty.
    InStock,
    /// Not more than [`StockState::LOW`].
    Low,
    /// Nothing.
    OutOfStock,
}

impl StockState {
    /// The most units that count as low.
    pub const LOW: i64 = 5;

    /// The word for `available` units.
    #[must_use]
    pub fn of(available: i64) -> Self {
        match available {
            ..=0 => Self::OutOfStock,
            1..=Self::LOW => Self::Low,
            _ => Self::InStock,
        }
    }
}

/// What can be bought of a product now; while a flash sale runs, of its allotment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductStock {
    /// How many units.
    pub available: i64,
    /// The same in words.
    pub state: StockState,
}

impl ProductStock {
    /// For `available` units.
    #[must_use]
    pub fn of(available: i64) -> Self {
        Self { available, state: StockState::of(available) }
    }
}

/// What reviews say of a product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rating {
    /// The mean of all ratings to one decimal; none where there are none.
    pub average: Option<f64>,
    /// How many there are.
    pub count: i64,
}

impl Rating {
    /// For `count` ratings that sum to `sum`. The mean is rounded half-up to one decimal.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a tenth of a rating is exact far past any count of reviews")]
    pub fn of(sum: i64, count: i64) -> Self {
        let average = (count > 0).then(|| ((sum * 20 + count) / (count * 2)) as f64 / 10.0);
        Self { average, count }
    }
}

/// The flash sale that runs on a product now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductFlashSale {
    /// The sale.
    pub id: FlashSaleId,
    /// What a unit costs in it.
    pub price: Money,
    /// When it ends.
    pub ends_at: Timestamp,
    /// How many units are left of it.
    pub remaining: i64,
    /// The most for each customer.
    pub limit_per_customer: Option<u32>,
}

/// The stock of a SKU. Never received: zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stock {
    /// The SKU.
    pub id: Sku,
    /// The SKU.
    pub sku: Sku,
    /// Units in the warehouse.
    pub on_hand: i64,
    /// Units of these that orders hold, or that are set aside for flash sales.
    pub reserved: i64,
    /// `on_hand - reserved`; never negative.
    pub available: i64,
    /// The version of its stream; 0 where nothing ever happened.
    pub version: i64,
}

/// Where a flash sale is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FlashSaleState {
    /// Before its window.
    Scheduled,
    /// Within its window.
    Running,
    /// Past its window.
    Ended,
    /// Called off.
    Cancelled,
}

/// A flash sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSale {
    /// Its id.
    pub id: FlashSaleId,
    /// What it sells.
    pub sku: Sku,
    /// When it starts.
    pub starts_at: Timestamp,
    /// When it ends (exclusive).
    pub ends_at: Timestamp,
    /// How many units it has.
    pub allotment: u32,
    /// What a unit costs meanwhile.
    pub price: Money,
    /// The most for each customer.
    pub limit_per_customer: Option<u32>,
    /// Units that confirmed orders bought.
    pub sold: i64,
    /// Units that orders hold whose payment is under way.
    pub reserved: i64,
    /// Units that can still be bought of it; 0 once it is over.
    pub remaining: i64,
    /// Where it is in its life.
    pub state: FlashSaleState,
    /// The version of its stream.
    pub version: i64,
}

/// A review of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Review {
    /// Its id.
    pub id: ReviewId,
    /// The product.
    pub sku: Sku,
    /// 1 to 5.
    pub rating: u8,
    /// In a few words.
    pub title: String,
    /// In more words.
    pub text: String,
    /// Who wrote it.
    pub author: String,
    /// When.
    pub created_at: Timestamp,
    /// The version of its stream.
    pub version: i64,
}
