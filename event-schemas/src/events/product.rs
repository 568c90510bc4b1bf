//! Products of the catalogue.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::{
    Money,
    ids::{CategoryId, Sku},
};

events! { "product",
    /// It was created.
    Created(ProductCreated, 1),
    /// Its description changed.
    Described(ProductDescribed, 1),
    /// Its price changed.
    Repriced(ProductRepriced, 1),
    /// It is no longer sold.
    Archived(ProductArchived, 1),
    /// It is sold again.
    Activated(ProductActivated, 1),
}

/// What a product is, but for its price and whether it is sold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Description {
    /// Its name.
    pub title: String,
    /// What people read about it.
    pub description: Option<String>,
    /// Its category.
    pub category: Option<CategoryId>,
    /// Its maker.
    pub brand: Option<String>,
    /// Pictures of it, the first one first.
    pub images: Vec<Image>,
    /// Named properties: colour, size, …
    pub attributes: BTreeMap<String, String>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// A picture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Where it is: an http or https address.
    #[schemars(length(max = 2048), regex(pattern = "^https?://[^\\s]+$"))]
    pub url: String,
    /// What it shows, for those who can't see it.
    #[serde(default)]
    #[schemars(length(max = 500))]
    pub alt: String,
}

/// A product was created, active.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductCreated {
    /// The client's code.
    pub sku: Sku,
    /// What it is.
    #[serde(flatten)]
    pub description: Description,
    /// What one unit costs, as it was sent.
    pub price: Money,
}

/// A product's description is from now on this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductDescribed {
    /// What it is, whole.
    #[serde(flatten)]
    pub description: Description,
}

/// A product's price changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductRepriced {
    /// What one unit cost.
    pub from: Money,
    /// What one unit costs from now on.
    pub to: Money,
}

/// A product is no longer sold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductArchived {}

/// An archived product is sold again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProductActivated {}
