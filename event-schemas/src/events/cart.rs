//! Carts.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::{
    Currency, Money,
    ids::{OrderId, Sku},
};

events! { "cart",
    /// It was created, empty.
    Created(CartCreated, 1),
    /// A line was put in, or its quantity changed.
    ItemSet(CartItemSet, 1),
    /// A line was taken out.
    ItemRemoved(CartItemRemoved, 1),
    /// It was bought.
    CheckedOut(CartCheckedOut, 1),
}

/// A cart was created, empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CartCreated {
    /// What its prices are in.
    pub currency: Currency,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// A line was put in, or its quantity changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CartItemSet {
    /// The product.
    pub sku: Sku,
    /// How many from now on.
    pub quantity: u32,
    /// What one cost when it was put in: what the buyer was shown.
    pub unit_price: Option<Money>,
}

/// A line was taken out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CartItemRemoved {
    /// The product.
    pub sku: Sku,
}

/// A cart was bought, once and for all. Recorded in one transaction with the order's `OrderPlaced`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CartCheckedOut {
    /// The order it became.
    pub order: OrderId,
}
