//! Flash sales: a window on a SKU, with an allotment that the SKU's stock keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::{Money, Timestamp, ids::Sku};

events! { "flashsale",
    /// It was announced.
    Announced(FlashSaleAnnounced, 1),
    /// Its window opened.
    Started(FlashSaleStarted, 1),
    /// Its window closed.
    Ended(FlashSaleEnded, 1),
    /// It was called off.
    Cancelled(FlashSaleCancelled, 1),
}

/// A flash sale was announced; its allotment is set aside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSaleAnnounced {
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
    /// The most for each customer; none is no limit.
    pub limit_per_customer: Option<u32>,
}

/// Its window opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSaleStarted {}

/// Its window closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSaleEnded {}

/// It was called off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FlashSaleCancelled {}
