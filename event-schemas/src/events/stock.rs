//! Stock of one SKU: what is on hand, what orders hold of it, and what is set aside for flash sales.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::{
    Money, Timestamp,
    ids::{FlashSaleId, OrderId, ReturnId},
};

events! { "stock",
    /// Units came in.
    Received(StockReceived, 1),
    /// Units were found or lost.
    Adjusted(StockAdjusted, 1),
    /// An order holds units.
    Reserved(StockReserved, 1),
    /// What an order held has left stock: the order was confirmed.
    Committed(StockCommitted, 1),
    /// What an order held is free again.
    Released(StockReleased, 1),
    /// What an order held is free again, since its time ran out.
    Expired(StockExpired, 1),
    /// Units that had left stock for an order are on hand again.
    Returned(StockReturned, 1),
    /// Units are set aside for a flash sale.
    Allotted(StockAllotted, 1),
    /// A flash sale is over: what it did not sell is ordinary stock again.
    AllotmentClosed(StockAllotmentClosed, 1),
    /// A correction of an imported history, from before Merx counted.
    CorrectionImported(StockCorrectionImported, 1),
    /// Nothing leaves stock any more for an order that was cancelled.
    Withheld(StockWithheld, 1),
}

/// Units came in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReceived {
    /// How many.
    pub quantity: u32,
    /// The client's name for the delivery.
    pub reference: String,
}

/// Units were found (positive) or lost (negative).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockAdjusted {
    /// The difference.
    pub quantity: i64,
    /// Why.
    pub reason: String,
}

/// An order holds units.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: u32,
    /// When the hold may be ended by expiry.
    pub until: Timestamp,
    /// Who buys, as flash sales tell customers apart.
    pub customer: String,
    /// The flash sale whose allotment the units are of.
    pub sale: Option<FlashSaleId>,
}

/// What an order held has left stock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockCommitted {
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: u32,
    /// The flash sale they were reserved in, even if it is over by now.
    pub sale: Option<FlashSaleId>,
}

/// What an order held is free again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReleased {
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: u32,
    /// The flash sale they were reserved in, even if it is over by now.
    pub sale: Option<FlashSaleId>,
    /// Whether they go back to that sale's allotment (it is not closed), rather than to ordinary stock.
    pub to_allotment: bool,
}

/// What an order held is free again, since its time ran out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockExpired {
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: u32,
    /// The flash sale they were reserved in, even if it is over by now.
    pub sale: Option<FlashSaleId>,
    /// Whether they go back to that sale's allotment (it is not closed), rather than to ordinary stock.
    pub to_allotment: bool,
}

/// Units that had left stock for an order are on hand again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockReturned {
    /// The order.
    pub order: OrderId,
    /// How many.
    pub quantity: u32,
    /// The return they came with; none where a confirmed order was cancelled.
    #[serde(rename = "return")]
    pub return_id: Option<ReturnId>,
    /// The flash sale they go back to, where a sale that still runs had sold them to an order that was cancelled.
    pub sale: Option<FlashSaleId>,
    /// Who had bought them.
    pub customer: String,
}

/// Units are set aside for a flash sale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockAllotted {
    /// The sale.
    pub sale: FlashSaleId,
    /// How many.
    pub quantity: u32,
    /// From when on the SKU sells only from the allotment.
    pub starts_at: Timestamp,
    /// When that ends (exclusive).
    pub ends_at: Timestamp,
    /// What a unit costs meanwhile.
    pub price: Money,
    /// The most that one customer may hold or have bought; none is no limit.
    pub limit_per_customer: Option<u32>,
}

/// Why an allotment was closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AllotmentEnd {
    /// Its time was over.
    Ended,
    /// It was cancelled.
    Cancelled,
}

/// A flash sale is over: what it did not sell is ordinary stock again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockAllotmentClosed {
    /// The sale.
    pub sale: FlashSaleId,
    /// How many units are ordinary stock again.
    pub unsold: u32,
    /// Why.
    pub reason: AllotmentEnd,
}

/// A correction of an imported history. It tells of the time before Merx counted, so it changes no count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockCorrectionImported {
    /// The difference.
    pub quantity: i64,
    /// What the source says of it.
    pub reason: String,
    /// The source's number for it.
    pub invoice: String,
    /// When it happened.
    pub at: Timestamp,
}

/// Nothing leaves stock any more for an order that was cancelled before its units had left. It takes the place of their leaving: whichever of the two
/// the log has first, the other one never comes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StockWithheld {
    /// The order.
    pub order: OrderId,
}
