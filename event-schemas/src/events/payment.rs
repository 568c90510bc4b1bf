//! Payments of orders: what was asked of the gateway, and what it answered.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{events, order::PaymentMeans};
use crate::{Money, Timestamp, ids::RefundId};

events! { "payment",
    /// The buyer is to be charged.
    Requested(PaymentRequested, 1),
    /// The gateway could not be asked, or did not answer; it is asked again.
    AttemptFailed(PaymentAttemptFailed, 1),
    /// The money is ours.
    Captured(PaymentCaptured, 1),
    /// The gateway refused.
    Declined(PaymentDeclined, 1),
    /// No longer wanted.
    Cancelled(PaymentCancelled, 1),
    /// Money is to go back.
    RefundRequested(PaymentRefundRequested, 1),
    /// Money went back.
    Refunded(PaymentRefunded, 1),
    /// The gateway could not be asked to send money back, or did not answer; it is asked again.
    RefundAttemptFailed(PaymentRefundAttemptFailed, 1),
    /// The gateway refuses to send money back.
    RefundFailed(PaymentRefundFailed, 1),
}

/// The buyer is to be charged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRequested {
    /// How much.
    pub amount: Money,
    /// From what.
    pub means: PaymentMeans,
    /// What every attempt bears, so that the gateway charges once.
    pub idempotency_key: Uuid,
    /// When it must have succeeded.
    pub deadline: Timestamp,
}

/// The gateway could not be asked, or did not answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentAttemptFailed {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// What went wrong.
    pub reason: String,
    /// When it is asked again.
    pub retry_at: Timestamp,
}

/// The money is ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCaptured {
    /// How much.
    pub amount: Money,
    /// The gateway's name for it.
    pub gateway_reference: String,
}

/// The gateway refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentDeclined {
    /// Why, in the gateway's words.
    pub decline_code: String,
}

/// Why a payment is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentCancellation {
    /// Its order was cancelled.
    OrderCancelled,
    /// It did not succeed in time.
    DeadlinePassed,
}

/// A payment is no longer wanted. Should it be captured all the same, it is refunded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentCancelled {
    /// Why.
    pub reason: PaymentCancellation,
}

/// Money is to go back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefundRequested {
    /// The refund; the gateway's idempotency key too.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
}

/// Money went back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// The gateway's name for it.
    pub gateway_reference: String,
}

/// The gateway could not be asked to send money back, or did not answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefundAttemptFailed {
    /// The refund.
    pub refund: RefundId,
    /// Which attempt at it, from 1.
    pub attempt: u32,
    /// What went wrong.
    pub reason: String,
    /// When it is asked again.
    pub retry_at: Timestamp,
}

/// The gateway refuses to send money back: it stays ours, and may be refunded otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefundFailed {
    /// The refund.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// Why, in the gateway's words.
    pub failure: String,
}
