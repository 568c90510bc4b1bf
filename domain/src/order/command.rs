//! What may be asked of an order, and why it may be refused.

use std::{collections::BTreeMap, fmt};

use event_schemas::{
    Currency, Money, Timestamp,
    events::order::{ItemQuantity, OrderImported, OrderReturnImported, OrderSubmitted, RejectionReason},
    ids::{RefundId, ReturnId, ShipmentId, Sku},
    resource::OrderStatus,
};

/// What may be asked of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Record that somebody wants to buy. Once: the same again changes nothing.
    Submit(Box<OrderSubmitted>),
    /// Every line is reserved.
    Place {
        /// When the payment must have succeeded.
        payment_deadline: Timestamp,
    },
    /// It can't be placed.
    Reject {
        /// Why.
        reason: RejectionReason,
        /// The lines it failed on.
        skus: Vec<Sku>,
    },
    /// Reject it if whoever submitted it never came back to place it.
    Abandon,
    /// Its payment was captured.
    RecordCapture {
        /// How much.
        amount: Money,
    },
    /// Its payment was declined.
    RecordDecline {
        /// Why, in the gateway's words.
        decline_code: String,
    },
    /// Its payment did not succeed in time.
    RecordPaymentExpiry,
    /// A reservation had ended before the order was confirmed.
    RecordStockLost {
        /// The lines that could not be committed.
        skus: Vec<Sku>,
    },
    /// Call it off.
    Cancel {
        /// What the one who asks says.
        note: Option<String>,
    },
    /// Some or all of it leaves. Once for each shipment.
    Ship {
        /// The shipment.
        shipment: ShipmentId,
        /// What is in it; none is all that is left.
        items: Option<Vec<ItemQuantity>>,
        /// The carrier, where one is named.
        carrier: Option<String>,
        /// The carrier's number, where that is said.
        tracking_number: Option<String>,
    },
    /// A shipment arrived.
    Deliver {
        /// The shipment.
        shipment: ShipmentId,
    },
    /// Some or all of it came back. Once for each return.
    Return {
        /// The return.
        return_id: ReturnId,
        /// What came back.
        items: Vec<ItemQuantity>,
        /// Why.
        reason: String,
        /// Whether it can be sold again.
        restock: bool,
    },
    /// Let money go back, in one transaction with the payment's `RequestRefund`. Once for each refund.
    RequestRefund {
        /// The refund.
        refund: RefundId,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
        /// The client's own notes.
        metadata: BTreeMap<String, String>,
    },
    /// Money went back. Once for each refund.
    RecordRefund {
        /// The refund.
        refund: RefundId,
        /// How much.
        amount: Money,
        /// Why, where the order did not record the request itself.
        reason: String,
    },
    /// Money could not be sent back. Once for each refund.
    RecordRefundFailure {
        /// The refund.
        refund: RefundId,
        /// The amount.
        amount: Money,
        /// The reason for which it was to go back, where the order did not record the request itself.
        reason: String,
        /// The reason for which it could not, in the gateway's words.
        failure: String,
    },
    /// Take over an invoice of another shop's history.
    Import(Box<OrderImported>),
    /// Take over a return of another shop's history.
    ImportReturn(Box<OrderReturnImported>),
}

/// More units of a SKU than there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excess {
    /// The product.
    pub sku: Sku,
    /// How many units were asked for.
    pub requested: u64,
    /// How many are left.
    pub left: u64,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} where {} are left", self.requested, self.sku, self.left)
    }
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It was never submitted.
    #[error("there is no such order: check a cart out first")]
    Unknown,
    /// It is another shop's history.
    #[error("the order was imported and is closed: nothing can be done to another shop's history")]
    Imported,
    /// It holds nothing yet.
    #[error("the order is submitted and not placed yet: try again in a moment")]
    NotPlaced,
    /// It could not be placed.
    #[error("the order was rejected when it was checked out: check out again")]
    Rejected,
    /// It was called off.
    #[error("the order is cancelled: check out again")]
    Cancelled,
    /// Some of it has left.
    #[error("the order is {} and units of it have left: let them come back as a return", status.as_str())]
    Shipped {
        /// Where it is in its life.
        status: OrderStatus,
    },
    /// It is not paid, or no longer wanted.
    #[error("the order is {} and not confirmed: only a paid order that was not cancelled can be shipped", status.as_str())]
    NotConfirmed {
        /// Where it is in its life.
        status: OrderStatus,
    },
    /// More units than there are.
    #[error("too many units: {}; ask for no more than are left", listed(items))]
    TooManyUnits {
        /// What there is too little of.
        items: Vec<Excess>,
    },
    /// No such shipment.
    #[error("the order has no shipment {shipment}: give the id of one of its shipments")]
    UnknownShipment {
        /// The shipment.
        shipment: ShipmentId,
    },
    /// More would go back than came in.
    #[error("{captured} was captured and {refunded} of it goes back already: refund no more than the difference")]
    MoreThanCaptured {
        /// What was captured.
        captured: Money,
        /// What went back, or is about to.
        refunded: Money,
    },
    /// The refund is in another currency than the order.
    #[error("the order is in {expected}, the refund in {found}: refund in {expected}")]
    CurrencyMismatch {
        /// The order's currency.
        expected: Currency,
        /// The refund's currency.
        found: Currency,
    },
    /// Nothing, less than nothing, or a fraction of the minor unit.
    #[error("{amount} can't be refunded: refund more than nothing, in whole minor units of {}", amount.currency)]
    InvalidAmount {
        /// The amount.
        amount: Money,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "not_found",
            Self::Imported => "order_imported",
            Self::NotPlaced => "order_not_placed",
            Self::Rejected => "order_rejected",
            Self::Cancelled => "order_cancelled",
            Self::Shipped { .. } => "order_shipped",
            Self::NotConfirmed { .. } => "order_not_confirmed",
            Self::TooManyUnits { .. } => "too_many_units",
            Self::UnknownShipment { .. } => "unknown_shipment",
            Self::MoreThanCaptured { .. } => "more_than_captured",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::InvalidAmount { .. } => "invalid_amount",
        }
    }
}

fn listed(items: &[Excess]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
