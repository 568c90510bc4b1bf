//! Payments of orders: what was asked of the gateway, what it answered, and what goes back. Refunds never exceed captures.

mod decide;
mod evolve;
#[cfg(test)]
mod properties;
#[cfg(test)]
pub(crate) mod tests;

use event_schemas::{
    Currency, Event as LogEvent, Money, Timestamp,
    events::{
        order::PaymentMeans,
        payment::{Event, PaymentCancellation},
    },
    ids::RefundId,
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Aggregate;

/// The payment of an order.
#[derive(Debug, Clone, Copy)]
pub struct Payment;

/// What is known of a payment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// The gateway has not decided yet.
    Pending(Charge),
    /// The gateway refused.
    Declined(Declined),
    /// No longer wanted.
    Cancelled(Cancelled),
    /// The money is ours, but for what goes back.
    Captured(Captured),
}

/// What the gateway is asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charge {
    /// How much.
    pub amount: Money,
    /// From what.
    pub means: PaymentMeans,
    /// What every attempt bears, so that the gateway charges once.
    pub idempotency_key: Uuid,
    /// When it must have succeeded.
    pub deadline: Timestamp,
    /// The number of attempts that failed.
    pub attempts: u32,
}

/// A payment that the gateway refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    /// What it was asked for.
    #[serde(flatten)]
    pub charge: Charge,
    /// Why, in the gateway's words.
    pub decline_code: String,
}

/// A payment that is no longer wanted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// What the gateway was asked for.
    #[serde(flatten)]
    pub charge: Charge,
    /// Why.
    pub reason: PaymentCancellation,
}

/// A payment whose money is ours, but for what goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Captured {
    /// What the gateway was asked for.
    #[serde(flatten)]
    pub charge: Charge,
    /// How much was captured.
    pub captured: Money,
    /// The gateway's name for it.
    pub gateway_reference: String,
    /// What goes back, or went.
    pub refunds: Vec<Refund>,
}

/// Money that goes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refund {
    /// The refund; the gateway's idempotency key too.
    pub refund: RefundId,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// The outcome so far.
    pub outcome: RefundOutcome,
}

/// The outcome of a refund so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RefundOutcome {
    /// The gateway has not answered yet.
    Pending {
        /// The number of attempts that failed.
        attempts: u32,
        /// The time at which the gateway is asked again, where one failed.
        retry_at: Option<Timestamp>,
    },
    /// The money went back.
    Succeeded {
        /// The gateway's name for it.
        gateway_reference: String,
    },
    /// The gateway refused: the amount may be asked back otherwise.
    Failed {
        /// Why, in the gateway's words.
        failure: String,
    },
}

/// What may be asked of a payment.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Charge the buyer. Once: the same again changes nothing.
    Request {
        /// How much.
        amount: Money,
        /// From what.
        means: PaymentMeans,
        /// What every attempt bears.
        idempotency_key: Uuid,
        /// When it must have succeeded.
        deadline: Timestamp,
    },
    /// Note that the gateway could not be asked, or did not answer.
    RecordFailure {
        /// Which attempt, from 1.
        attempt: u32,
        /// The reason why it failed.
        reason: String,
        /// The time at which it is asked again.
        retry_at: Timestamp,
    },
    /// Note that the gateway captured.
    RecordCapture {
        /// How much.
        amount: Money,
        /// The gateway's name for it.
        gateway_reference: String,
        /// The refund to ask for, should the payment no longer be wanted.
        refund: RefundId,
    },
    /// Note that the gateway refused.
    RecordDecline {
        /// Why, in the gateway's words.
        decline_code: String,
    },
    /// It is no longer wanted: what was captured goes back where its order was cancelled.
    Cancel {
        /// Why.
        reason: PaymentCancellation,
        /// The refund to ask for, should it have been captured.
        refund: RefundId,
    },
    /// Cancel it if its deadline has passed.
    Expire,
    /// Let money go back. Once for each refund.
    RequestRefund {
        /// The refund.
        refund: RefundId,
        /// How much.
        amount: Money,
        /// Why.
        reason: String,
    },
    /// Note that the gateway sent money back.
    RecordRefund {
        /// The refund.
        refund: RefundId,
        /// The gateway's name for it.
        gateway_reference: String,
    },
    /// Note that the gateway could not be asked to send money back, or did not answer.
    RecordRefundAttempt {
        /// The refund.
        refund: RefundId,
        /// Which attempt at it, from 1.
        attempt: u32,
        /// The reason why it failed.
        reason: String,
        /// The time at which it is asked again.
        retry_at: Timestamp,
    },
    /// Note that the gateway refuses to send money back.
    RecordRefundFailure {
        /// The refund.
        refund: RefundId,
        /// Why, in the gateway's words.
        failure: String,
    },
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// More would go back than came in.
    #[error("{captured} was captured and {refunded} of it goes back already: refund no more than the difference")]
    MoreThanCaptured {
        /// What was captured.
        captured: Money,
        /// What went back, or is about to.
        refunded: Money,
    },
    /// The refund is in another currency than the payment.
    #[error("the payment is in {expected}, the refund in {found}: refund in {expected}")]
    CurrencyMismatch {
        /// The payment's currency.
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
            Self::MoreThanCaptured { .. } => "more_than_captured",
            Self::CurrencyMismatch { .. } => "currency_mismatch",
            Self::InvalidAmount { .. } => "invalid_amount",
        }
    }
}

impl State {
    /// What the gateway is asked for, once it is.
    #[must_use]
    pub fn charge(&self) -> Option<&Charge> {
        match self {
            Self::Nothing => None,
            Self::Pending(charge)
            | Self::Declined(Declined { charge, .. })
            | Self::Cancelled(Cancelled { charge, .. })
            | Self::Captured(Captured { charge, .. }) => Some(charge),
        }
    }

    /// How much the gateway is asked for.
    #[must_use]
    pub fn amount(&self) -> Option<Money> {
        self.charge().map(|charge| charge.amount)
    }

    /// From what the buyer pays.
    #[must_use]
    pub fn means(&self) -> Option<&PaymentMeans> {
        self.charge().map(|charge| &charge.means)
    }

    /// What every attempt bears.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<Uuid> {
        self.charge().map(|charge| charge.idempotency_key)
    }

    /// When it must have succeeded.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.charge().map(|charge| charge.deadline)
    }

    /// The number of attempts that failed.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.charge().map_or(0, |charge| charge.attempts)
    }

    /// Whether the gateway has still to decide.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Pending(_))
    }

    /// What was captured.
    #[must_use]
    pub fn captured(&self) -> Option<Money> {
        self.capture().map(|capture| capture.captured)
    }

    /// What may still be asked back; none where nothing was captured.
    #[must_use]
    pub fn refundable(&self) -> Option<Money> {
        self.capture().map(Captured::refundable)
    }

    /// Every refund, in the order they were asked for.
    #[must_use]
    pub fn refunds(&self) -> &[Refund] {
        self.capture().map_or(&[], |capture| &capture.refunds)
    }

    /// The refunds that the gateway has still to make.
    pub fn pending_refunds(&self) -> impl Iterator<Item = &Refund> {
        self.refunds().iter().filter(|refund| matches!(refund.outcome, RefundOutcome::Pending { .. }))
    }

    fn capture(&self) -> Option<&Captured> {
        match self {
            Self::Captured(capture) => Some(capture),
            _ => None,
        }
    }
}

impl Captured {
    /// The sum of the refunds that are pending or have succeeded; failed ones don't count.
    #[must_use]
    pub fn refunded(&self) -> Money {
        let counts = |refund: &&Refund| !matches!(refund.outcome, RefundOutcome::Failed { .. });
        let sum: Decimal = self.refunds.iter().filter(counts).map(|refund| refund.amount.amount).sum();
        Money::new(sum, self.captured.currency).rounded()
    }

    /// True where `refund` was asked for, whatever has become of it.
    #[must_use]
    pub fn has_refund(&self, refund: RefundId) -> bool {
        self.refunds.iter().any(|known| known.refund == refund)
    }

    /// What may still be asked back.
    #[must_use]
    pub fn refundable(&self) -> Money {
        Money::new(self.captured.amount - self.refunded().amount, self.captured.currency)
    }
}

impl Aggregate for Payment {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 2;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        decide::decide(state, command, now)
    }

    fn evolve(state: State, event: &Event, _: Timestamp) -> State {
        evolve::evolve(state, event)
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Payment(event) => Some(event),
            _ => None,
        }
    }
}
