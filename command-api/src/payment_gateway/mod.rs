//! Payment gateways: other companies' systems, asked over a network that loses answers.
//!
//! - [`simulated`]: one to try the shop with, whose tokens fail in every way that a real one does
//! - [`question`]: what a payment needs of its gateway, and what the answer leads to
//! - [`worker`]: asks the gateway for what payments need, and records what it says

pub mod open;
pub mod question;
pub mod simulated;
pub mod worker;

use event_schemas::Money;
use futures::future::BoxFuture;
use uuid::Uuid;

/// A charge that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct ChargeRequest {
    /// The same for every attempt at one charge: the gateway charges once.
    pub idempotency_key: Uuid,
    /// How much.
    pub amount: Money,
    /// What the gateway knows the buyer's means by.
    pub token: String,
}

/// A refund that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct RefundRequest {
    /// The same for every attempt at one refund.
    pub idempotency_key: Uuid,
    /// The charge that it is of.
    pub charge: Uuid,
    /// How much.
    pub amount: Money,
}

/// What a gateway says of a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChargeOutcome {
    /// The money is ours.
    Captured {
        /// The gateway's name for it.
        reference: String,
    },
    /// It refuses.
    Declined {
        /// Why.
        code: String,
    },
}

/// What became of a charge that is no longer wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VoidOutcome {
    /// It was never captured, and never will be.
    Voided,
    /// It had been captured: the money is ours, and to be refunded.
    Captured {
        /// The gateway's name for it.
        reference: String,
    },
}

/// A gateway's answer to a refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    /// The money went back.
    Succeeded {
        /// The gateway's name for it.
        reference: String,
    },
    /// It refuses, and will not do it.
    Failed {
        /// Why.
        failure: String,
    },
}

/// The gateway gave no answer. What was asked for may have been done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoAnswer(pub String);

/// A payment gateway. Every question may be asked again: the idempotency key makes it the same question.
pub trait PaymentGateway: Send + Sync + 'static {
    /// Charges the buyer.
    fn charge<'a>(&'a self, request: &'a ChargeRequest) -> BoxFuture<'a, Result<ChargeOutcome, NoAnswer>>;

    /// Sees to it that a charge is not captured any more, or tells that it was.
    fn void<'a>(&'a self, request: &'a ChargeRequest) -> BoxFuture<'a, Result<VoidOutcome, NoAnswer>>;

    /// Sends money back, or tells why it does not.
    fn refund<'a>(&'a self, request: &'a RefundRequest) -> BoxFuture<'a, Result<RefundOutcome, NoAnswer>>;
}
