//! Orders as clients see them.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Currency, Money, Timestamp,
    events::order::{Address, CancellationCause, ItemQuantity},
    ids::{CartId, OrderId, RefundId, ReturnId, ShipmentId, Sku},
};

/// Where an order is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// Recorded; nothing is reserved yet.
    Submitted,
    /// Every line is reserved; payment is under way.
    Placed,
    /// It could not be placed.
    Rejected,
    /// Paid.
    Confirmed,
    /// Called off.
    Cancelled,
    /// Some units have left.
    PartlyShipped,
    /// All units have left.
    Shipped,
    /// All units have arrived.
    Delivered,
    /// All units came back.
    Returned,
}

impl OrderStatus {
    /// The word that stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Submitted => "submitted",
            Self::Placed => "placed",
            Self::Rejected => "rejected",
            Self::Confirmed => "confirmed",
            Self::Cancelled => "cancelled",
            Self::PartlyShipped => "partly_shipped",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Returned => "returned",
        }
    }
}

/// Where an order's payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Not decided yet.
    Pending,
    /// The money is ours.
    Captured,
    /// The gateway refused.
    Declined,
    /// No longer wanted.
    Cancelled,
    /// All of it went back.
    Refunded,
    /// Some of it went back.
    PartlyRefunded,
}

/// An order and all that became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Order {
    /// Its id.
    pub id: OrderId,
    /// The cart it comes from; none where it was imported.
    pub cart: Option<CartId>,
    /// Where it is in its life.
    pub status: OrderStatus,
    /// Where to write to; none where it was imported.
    pub email: Option<String>,
    /// The source's number, where it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<String>,
    /// Where it goes; none where it was imported.
    pub shipping_address: Option<Address>,
    /// What was bought.
    pub items: Vec<OrderItem>,
    /// What its amounts are in.
    pub currency: Currency,
    /// The sum of the lines.
    pub subtotal: SignedMoney,
    /// What is taken off.
    pub discount: Money,
    /// What the parcel costs.
    pub shipping: Money,
    /// What the state takes.
    pub tax: Money,
    /// What is charged.
    pub total: SignedMoney,
    /// Where its payment is.
    pub payment: Payment,
    /// What has left.
    pub shipments: Vec<Shipment>,
    /// What came back.
    pub returns: Vec<Return>,
    /// What money went back, or is about to.
    pub refunds: Vec<Refund>,
    /// Why it was cancelled, where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation: Option<Cancellation>,
    /// What happened, in order.
    pub timeline: Vec<TimelineEntry>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// When it was placed; its submission where it never was.
    pub placed_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// The version of its stream.
    pub version: i64,
}

/// An amount that an imported history may have below zero (a return). Orders made here are never below zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SignedMoney {
    /// The amount, in whole units of the currency.
    #[schemars(with = "String")]
    pub amount: Decimal,
    /// The currency.
    pub currency: Currency,
}

impl From<Money> for SignedMoney {
    fn from(money: Money) -> Self {
        Self { amount: money.amount, currency: money.currency }
    }
}

impl SignedMoney {
    /// `amount` written with at least the currency's minor digits, and with no zeros past them.
    #[must_use]
    pub fn exact(amount: Decimal, currency: Currency) -> Self {
        let mut amount = amount.normalize();
        if amount.scale() < currency.minor_digits() {
            amount.rescale(currency.minor_digits());
        }
        Self { amount, currency }
    }
}

/// A line of an order, at the price it was sold for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderItem {
    /// The product, or the source's code of a charge.
    pub sku: String,
    /// Its title when it was bought.
    pub title: String,
    /// How many; negative in an imported return.
    pub quantity: i64,
    /// What one cost.
    pub unit_price: SignedMoney,
    /// What the line cost.
    pub line_total: SignedMoney,
}

/// An order's payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Payment {
    /// Where it is.
    pub status: PaymentStatus,
    /// What was captured.
    pub captured: Money,
    /// What went back.
    pub refunded: Money,
    /// Why the gateway declined.
    pub decline_code: Option<String>,
}

impl Payment {
    /// The status that follows from the sums, once something was captured.
    #[must_use]
    pub fn settled_status(captured: Money, refunded: Money) -> PaymentStatus {
        if !refunded.is_positive() {
            PaymentStatus::Captured
        } else if refunded.amount < captured.amount {
            PaymentStatus::PartlyRefunded
        } else {
            PaymentStatus::Refunded
        }
    }
}

/// A parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shipment {
    /// Its id.
    pub id: ShipmentId,
    /// Who carries it, where that was said.
    pub carrier: Option<String>,
    /// The carrier's number, where that was said.
    pub tracking_number: Option<String>,
    /// What is in it.
    pub items: Vec<ItemQuantity>,
    /// When it left.
    pub shipped_at: Timestamp,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Return {
    /// Its id.
    pub id: ReturnId,
    /// What came back.
    pub items: Vec<ItemQuantity>,
    /// Why.
    pub reason: String,
    /// Whether it is on hand again.
    pub restocked: bool,
    /// When.
    pub at: Timestamp,
}

/// Whether a refund has reached the buyer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// The gateway has not answered yet.
    Pending,
    /// The money went back.
    Succeeded,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refund {
    /// Its id.
    pub id: RefundId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// Whether it has reached the buyer.
    pub status: RefundStatus,
    /// When it was asked for.
    pub at: Timestamp,
    /// The client's own notes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

/// Why an order was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cancellation {
    /// The cause, with what is known of it.
    pub cause: CancellationCause,
    /// What the one who asked said.
    pub note: Option<String>,
}

impl Cancellation {
    /// What the timeline says of it: the cause in a word, and what was said or which lines were lost.
    #[must_use]
    pub fn in_words(&self) -> String {
        let lost = match &self.cause {
            CancellationCause::StockLost { skus } if !skus.is_empty() => Some(skus.iter().map(Sku::as_str).collect::<Vec<_>>().join(", ")),
            _ => None,
        };
        let word = self.cause.as_str();
        self.note.as_ref().or(lost.as_ref()).map_or_else(|| word.to_owned(), |said| format!("{word}: {said}"))
    }
}

/// One step of an order's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TimelineEntry {
    /// What it became.
    pub status: OrderStatus,
    /// When.
    pub at: Timestamp,
    /// Why, where there is more to say.
    pub reason: Option<String>,
}
