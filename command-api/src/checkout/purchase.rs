//! A checkout as far as it is decided and not done: from what was read to the commands, and from their outcomes to what comes next. The
//! [`run`](super::run) of a server and the simulator both go by it.

use std::collections::{BTreeMap, HashMap};

use chrono::Duration;
use domain::{cart, order, payment, stock};
use event_schemas::{
    Currency, Money, Timestamp, customer,
    events::order::{ItemQuantity, Line, OrderSubmitted, RejectionReason, Totals},
    ids::{CartId, OrderId, Sku},
};
use gateway::Problem;

use super::{Checkout, refusal};
use crate::{
    pricing::{self, Offer},
    refusals::Told as _,
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
    /// The time from which its reservations may be ended by expiry, later than `deadline`.
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
        let (lines, totals) = pricing::order_lines(&wanted, offers, contents.currency).map_err(refusal::of_total)?;
        refusal::unless_expected(checkout.expected_total, &totals, &contents, offers)?;
        let Checkout { cart, email, shipping_address, payment, metadata, .. } = checkout;
        let customer = customer::of_email(&email);
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

    /// Records what is asked for.
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

/// An order that is not placed, for a reason that it says itself.
#[derive(Debug, Clone)]
pub struct Rejection {
    /// Why.
    pub reason: RejectionReason,
    /// The lines it failed on.
    pub skus: Vec<Sku>,
    /// The answer to the client.
    pub problem: Problem,
}

impl Rejection {
    /// Lines that can't be had.
    #[must_use]
    pub fn of_lines(refusals: &[(&Line, stock::Refusal)]) -> Self {
        let (reason, problem) = refusal::of_reservations(refusals);
        Self { reason, skus: refusals.iter().map(|(line, _)| line.sku.clone()).collect(), problem }
    }

    /// A cart that does not hold any more what the order is for; none where there is nothing that the order could say of it.
    #[must_use]
    pub fn of_cart(refusal: &cart::Refusal) -> Option<Self> {
        let moved = matches!(refusal, cart::Refusal::Changed | cart::Refusal::Empty);
        moved.then(|| Self { reason: RejectionReason::CartChanged, skus: Vec::new(), problem: refusal.told() })
    }
}
