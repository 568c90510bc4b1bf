//! Orders, from submission to the last return.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::{
    Currency, Money, Timestamp,
    ids::{CartId, CategoryId, FlashSaleId, RefundId, ReturnId, ShipmentId, Sku},
};

events! { "order",
    /// Somebody wants to buy; nothing is reserved yet.
    Submitted(OrderSubmitted, 1),
    /// Every line is reserved; payment is under way.
    Placed(OrderPlaced, 1),
    /// It could not be placed.
    Rejected(OrderRejected, 1),
    /// It is paid.
    Confirmed(OrderConfirmed, 1),
    /// It was called off.
    Cancelled(OrderCancelled, 2),
    /// A payment arrived after it was cancelled.
    CapturedLate(OrderCapturedLate, 1),
    /// Some or all of it left.
    Shipped(OrderShipped, 2),
    /// A shipment arrived.
    Delivered(OrderDelivered, 1),
    /// Some or all of it came back.
    Returned(OrderReturned, 1),
    /// Money is to go back.
    RefundRequested(OrderRefundRequested, 1),
    /// Money went back.
    Refunded(OrderRefunded, 1),
    /// An invoice of another shop's history.
    Imported(OrderImported, 1),
    /// A return of another shop's history.
    ReturnImported(OrderReturnImported, 1),
}

/// Where a parcel goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Who gets it.
    #[schemars(length(min = 1, max = 200))]
    pub name: String,
    /// Street and number.
    #[schemars(length(min = 1, max = 200))]
    pub line1: String,
    /// Flat, floor, building.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub line2: Option<String>,
    /// Town.
    #[schemars(length(min = 1, max = 200))]
    pub city: String,
    /// County, state, province.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub region: Option<String>,
    /// Post code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-2.
    #[schemars(regex(pattern = "^[A-Z]{2}$"))]
    pub country: String,
}

/// A line of an order, at the price it was sold for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// The product.
    pub sku: Sku,
    /// Its title when it was bought.
    pub title: String,
    /// Its category when it was bought.
    pub category: Option<CategoryId>,
    /// How many.
    pub quantity: u32,
    /// What one cost.
    pub unit_price: Money,
    /// What the line cost, rounded half-even to the minor unit.
    pub line_total: Money,
    /// The flash sale it was bought in.
    pub sale: Option<FlashSaleId>,
}

/// A sum of money, and what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    /// The sum of the lines.
    pub subtotal: Money,
    /// What is taken off.
    pub discount: Money,
    /// What the parcel costs.
    pub shipping: Money,
    /// What the state takes.
    pub tax: Money,
    /// What is charged.
    pub total: Money,
}

/// How it is to be paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentMeans {
    /// Which gateway: `simulated`.
    pub method: String,
    /// What the gateway knows the buyer's means by.
    pub token: String,
}

/// Somebody wants to buy. Recorded before anything is reserved, so that a crash is finished or undone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderSubmitted {
    /// The cart it comes from.
    pub cart: CartId,
    /// Where to write to.
    pub email: String,
    /// Who buys, as flash sales tell customers apart.
    pub customer: String,
    /// Where it goes.
    pub shipping_address: Address,
    /// What is bought, at least one line.
    pub lines: Vec<Line>,
    /// What it costs.
    pub totals: Totals,
    /// How it is to be paid.
    pub payment: PaymentMeans,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// Every line is reserved, the cart is bought, and payment is under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderPlaced {
    /// When the payment must have succeeded.
    pub payment_deadline: Timestamp,
}

/// Why an order was rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RejectionReason {
    /// A line could not be reserved.
    OutOfStock,
    /// A line would take the customer past a flash sale's limit.
    LimitPerCustomer,
    /// A flash sale began or ended since the prices were looked up.
    PriceChanged,
    /// The cart had been bought or changed meanwhile.
    CartChanged,
    /// Whoever submitted it never came back to place it.
    Abandoned,
}

/// An order could not be placed; it holds nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRejected {
    /// Why.
    pub reason: RejectionReason,
    /// The lines it failed on.
    pub skus: Vec<Sku>,
}

/// An order is paid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {
    /// What was captured.
    pub captured: Money,
}

/// Why an order was cancelled, with what is known of that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum CancellationCause {
    /// Somebody asked.
    Requested,
    /// The payment was declined.
    PaymentDeclined {
        /// Why, in the gateway's words.
        decline_code: Option<String>,
    },
    /// The payment did not succeed in time.
    PaymentExpired,
    /// A reservation had ended before the order was confirmed.
    StockLost {
        /// The lines that had not left stock, although the order was confirmed: they don't go back.
        skus: Vec<Sku>,
    },
}

impl CancellationCause {
    /// The word for it: its `kind`.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::PaymentExpired => "payment_expired",
            Self::StockLost { .. } => "stock_lost",
        }
    }
}

/// An order was called off. What it held is released; what had left stock goes back; what was captured is refunded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// Why.
    pub cause: CancellationCause,
    /// What the one who asked said.
    pub note: Option<String>,
    /// Whether it had been confirmed.
    pub was_confirmed: bool,
}

/// A payment arrived after the order was cancelled; it is refunded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCapturedLate {
    /// What was captured.
    pub captured: Money,
}

/// How many of a SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ItemQuantity {
    /// The product.
    pub sku: Sku,
    /// How many.
    #[schemars(range(min = 1, max = 1_000_000_000))]
    pub quantity: u32,
}

/// Some or all of an order left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderShipped {
    /// The shipment.
    pub shipment: ShipmentId,
    /// What is in it.
    pub items: Vec<ItemQuantity>,
    /// Who carries it, where that was said.
    pub carrier: Option<String>,
    /// The carrier's number, where that was said.
    pub tracking_number: Option<String>,
}

/// A shipment arrived.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderDelivered {
    /// The shipment.
    pub shipment: ShipmentId,
}

/// Some or all of an order came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderReturned {
    /// The return.
    #[serde(rename = "return")]
    pub return_id: ReturnId,
    /// What came back.
    pub items: Vec<ItemQuantity>,
    /// Why.
    pub reason: String,
    /// Whether it can be sold again.
    pub restock: bool,
}

/// Money is to go back. Recorded in one transaction with the payment's `PaymentRefundRequested`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRefundRequested {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// Money went back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderRefunded {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// Why, where the order had not recorded the request itself.
    pub reason: String,
}

/// What an imported line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportedLineKind {
    /// Units of a product.
    Item,
    /// Postage, fees, discounts: a code that is no product.
    Charge,
}

/// A line of an imported invoice, as it was charged, to the last decimal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ImportedLine {
    /// The source's code; a SKU where the line is an item.
    pub code: String,
    /// What it is.
    pub kind: ImportedLineKind,
    /// What the source says of it.
    pub description: String,
    /// How many; negative where units came back.
    pub quantity: i64,
    /// What one cost; may be negative where the source says so.
    #[schemars(with = "String")]
    pub unit_price: Decimal,
    /// Quantity times unit price, unrounded.
    #[schemars(with = "String")]
    pub line_total: Decimal,
}

/// An invoice of another shop's history, delivered long ago.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderImported {
    /// Which history: `online-retail`.
    pub source: String,
    /// The source's number.
    pub invoice: String,
    /// When it was made out.
    pub placed_at: Timestamp,
    /// The source's number for the customer.
    pub customer: Option<String>,
    /// The country as the source names it.
    pub country: String,
    /// What its amounts are in.
    pub currency: Currency,
    /// Its lines, as they stood.
    pub lines: Vec<ImportedLine>,
    /// The sum of its lines, unrounded.
    #[schemars(with = "String")]
    pub total: Decimal,
}

impl OrderImported {
    /// Whether it adjusts accounts (a bad debt is written off) and sells nothing: it counts in what is left in the end, and not among orders,
    /// units or what they came to.
    #[must_use]
    pub fn is_adjustment(&self) -> bool {
        adjusts_accounts(&self.invoice)
    }
}

/// Whether the invoice of this number adjusts accounts: sales have numbers, and what begins with a letter is none. Returns, whose numbers begin
/// with a letter too, are no [`OrderImported`].
#[must_use]
pub fn adjusts_accounts(invoice: &str) -> bool {
    invoice.chars().next().is_some_and(char::is_alphabetic)
}

/// A return of another shop's history; the source does not say of which invoice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OrderReturnImported {
    /// Which history: `online-retail`.
    pub source: String,
    /// The source's number.
    pub invoice: String,
    /// When it was made out.
    pub returned_at: Timestamp,
    /// The source's number for the customer.
    pub customer: Option<String>,
    /// The country as the source names it.
    pub country: String,
    /// What its amounts are in.
    pub currency: Currency,
    /// Its lines, as they stood: quantities below zero.
    pub lines: Vec<ImportedLine>,
    /// The sum of its lines, unrounded: below zero.
    #[schemars(with = "String")]
    pub total: Decimal,
}
