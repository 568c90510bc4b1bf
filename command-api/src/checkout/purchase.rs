//! A checkout as far as it is decided and not done: from what was read to the commands, and from their outcomes to what comes next. The
//! [`run`](super::run) of a server and the simulator both go by it.

use std::collections::{BTreeMap, HashMap};

use chrono::Duration;
use domain::{cart, order, payment, stock};
use event_schemas::{
    Currency, Money, Timestamp,
    events::order::{ItemQuantity, Line, OrderSubmitted, RejectionReason, Totals},
    ids::{CartId, OrderId, Sku},
};
use gateway::Problem;

use super::{Checkout, refusal};
use crate::{
    handler::Failure,
    pricing::{self, Offer},
    refusals::conflict,
};

/// The part of a payment's time by which a reservation outlives its deadline, so that the order is cancelled first: five of fifteen minutes.
const RESERVATION_MARGIN_PART: i32 = 3;

/// What a cart holds, as it was read for a checkout.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What its prices are in.
    pub currency: Currency,
    /// Its lines.
    pub items: Vec<ItemQuantity>,
    /// What one of each cost when it was put in.
    pub shown: BTreeMap<Sku, Money>,
}

/// What a cart holds.
///
/// # Errors
/// It can't be bought.
pub fn contents(state: &cart::State) -> Result<Contents, cart::Refusal> {
    match state {
        cart::State::Nothing => Err(cart::Refusal::Unknown),
        cart::State::CheckedOut(bought) => Err(cart::Refusal::CheckedOut { order: bought.order }),
        cart::State::Open(contents) if contents.items.is_empty() => Err(cart::Refusal::Empty),
        cart::State::Open(contents) => {
            Ok(Contents { currency: contents.currency, items: contents.items.clone(), shown: contents.shown.clone() })
        }
    }
}

/// An order that is about to be placed: its commands.
#[derive(Debug, Clone)]
pub struct Purchase {
    /// The order.
    pub order: OrderId,
    /// The cart it comes from.
    pub cart: CartId,
    /// What the cart held.
    pub items: Vec<ItemQuantity>,
    /// When the payment must have succeeded.
    pub deadline: Timestamp,
    /// When its reservations may be ended by expiry.
    held_until: Timestamp,
    submitted: OrderSubmitted,
}

impl Purchase {
    /// The order `order` of what a cart holds, at the prices of `offers`, asked for at `now`.
    ///
    /// # Errors
    /// Why it can't be bought.
    pub fn new(
        order: OrderId,
        checkout: Checkout,
        contents: Contents,
        offers: &HashMap<Sku, Offer>,
        now: Timestamp,
        payment_deadline: Duration,
    ) -> Result<Self, Problem> {
        refusal::unless_for_sale(&contents, offers)?;
        let wanted: Vec<(Sku, u32)> = contents.items.iter().map(|item| (item.sku.clone(), item.quantity)).collect();
        let (lines, totals) =
            pricing::order_lines(&wanted, offers, contents.currency).map_err(|error| conflict("total_too_large", error.to_string()))?;
        refusal::unless_expected(checkout.expected_total, &totals, &contents, offers)?;
        let Checkout { cart, email, shipping_address, payment, metadata, .. } = checkout;
        let customer = email.to_lowercase();
        let submitted = OrderSubmitted { cart, email, customer, shipping_address, lines, totals, payment, metadata };
        let deadline = now.plus(payment_deadline);
        let held_until = deadline.plus(payment_deadline / RESERVATION_MARGIN_PART);
        Ok(Self { order, cart, items: contents.items, deadline, held_until, submitted })
    }

    /// What is bought.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.submitted.lines
    }

    /// What it costs.
    #[must_use]
    pub fn totals(&self) -> &Totals {
        &self.submitted.totals
    }

    /// Records the submission: before any reservation, so that a crash is finished or undone by the process managers.
    #[must_use]
    pub fn submit(&self) -> order::Command {
        order::Command::Submit(Box::new(self.submitted.clone()))
    }

    /// Holds the units of a line.
    #[must_use]
    pub fn reserve(&self, line: &Line) -> stock::Command {
        stock::Command::Reserve {
            order: self.order,
            quantity: line.quantity,
            until: self.held_until,
            customer: self.submitted.customer.clone(),
            sale: line.sale,
        }
    }

    /// Frees what it holds of a SKU.
    #[must_use]
    pub fn release(&self) -> stock::Command {
        stock::Command::Release { order: self.order }
    }

    /// The three commands that place it, all or none: the cart is bought, the order placed, the payment asked for.
    #[must_use]
    pub fn place(&self) -> (cart::Command, order::Command, payment::Command) {
        let check_out = cart::Command::CheckOut { order: self.order, items: self.items.clone() };
        let place = order::Command::Place { payment_deadline: self.deadline };
        let request = payment::Command::Request {
            amount: self.submitted.totals.total,
            means: self.submitted.payment.clone(),
            idempotency_key: self.order.uuid(),
            deadline: self.deadline,
        };
        (check_out, place, request)
    }
}

/// What comes after the submission and the reservations.
pub enum AfterReserving {
    /// All lines are held: place it.
    Place,
    /// It was not submitted: release the lines.
    Release(Problem),
    /// Some lines are not held: reject it and release the others.
    Reject {
        /// Why it is rejected.
        reason: RejectionReason,
        /// The lines it failed on.
        skus: Vec<Sku>,
        /// How the client is told.
        problem: Problem,
    },
}

/// What comes after the submission and the reservations of `lines`, in their order.
#[must_use]
pub fn after_reserving(
    lines: &[Line],
    submitted: Result<(), Problem>,
    reserved: Vec<Result<(), Failure<stock::Refusal>>>,
) -> AfterReserving {
    let refusals: Vec<(&Line, Failure<stock::Refusal>)> =
        lines.iter().zip(reserved).filter_map(|(line, outcome)| outcome.err().map(|failure| (line, failure))).collect();
    match submitted {
        Err(problem) => AfterReserving::Release(problem),
        Ok(()) if refusals.is_empty() => AfterReserving::Place,
        Ok(()) => {
            let (reason, problem) = refusal::of_reservations(refusals.as_slice());
            let skus = refusals.iter().map(|(line, _)| line.sku.clone()).collect();
            AfterReserving::Reject { reason, skus, problem }
        }
    }
}

/// Why an order was not placed.
pub enum NotPlaced {
    /// It may not be.
    Refused(Problem),
    /// The log did not take it, or did not say.
    Outage(event_store::Error),
}

impl From<event_store::Error> for NotPlaced {
    fn from(error: event_store::Error) -> Self {
        Self::Outage(error)
    }
}

impl NotPlaced {
    /// Whether it is tried again: something moved meanwhile.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Outage(event_store::Error::Conflict))
    }

    /// Whether it may have been placed all the same: then there is nothing to reject. If not, it is abandoned in time.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Outage(event_store::Error::Unavailable(_)))
    }
}
