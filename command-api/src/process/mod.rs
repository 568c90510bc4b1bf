//! Process managers: what one aggregate's events ask of another. Their decisions are pure; the [`runner`] carries them out.
//!
//! - [`checkout`]: an order that nobody comes back to place is rejected, and what a rejected order held is released
//! - [`payment`]: the order follows its payment, and the payment its order
//! - [`fulfilment`]: stock follows the order
//! - [`expiry`]: no reservation outlives its time
//! - [`flash_sale`]: sales start and end on time
//! - [`ahead`]: what a client's request must find done
//! - [`plan`]: how what they decide is carried out, as far as that is pure too

pub mod ahead;
#[cfg(test)]
mod ahead_tests;
mod changes;
pub mod checkout;
pub mod expiry;
pub mod flash_sale;
pub mod fulfilment;
pub mod payment;
pub mod plan;
mod reminders;
mod runner;
#[cfg(test)]
mod runner_tests;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use domain::{flash_sale as sale, order, payment as pay, stock};
use event_schemas::{
    Event, Recorded, Timestamp,
    ids::{FlashSaleId, OrderId, Sku},
};
use uuid::Uuid;

pub use changes::Changes;
pub use reminders::Reminder;
pub use runner::{NAME, mend, run};

/// What a process manager wants done.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// A command for an order.
    Order(OrderId, order::Command),
    /// A command for an order's payment.
    Payment(OrderId, pay::Command),
    /// A command for a SKU's stock.
    Stock(Sku, stock::Command),
    /// A command for a flash sale.
    FlashSale(FlashSaleId, sale::Command),
    /// Be reminded at a time; where the same reminder is set already, at the earlier one.
    Remind(Reminder, Timestamp),
    /// The reminder is not needed any more.
    Forget(Reminder),
}

/// What a process manager is shown besides the event: the newest state of the order it is about, which may be past that event.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The order that the event is about, or whose payment it is about.
    pub order: &'a order::State,
    /// That order's payment.
    pub payment: &'a pay::State,
    /// The lines whose units have left stock for the order, where the event is its cancellation after it was confirmed.
    pub left_stock: &'a HashSet<Sku>,
}

impl<'a> Known<'a> {
    /// With an event of an order.
    #[must_use]
    pub fn of_order(order: &'a order::State, left_stock: &'a HashSet<Sku>) -> Self {
        Self { order, payment: &pay::State::Nothing, left_stock }
    }

    /// With an event of an order's payment.
    #[must_use]
    pub fn of_payment(payment: &'a pay::State, left_stock: &'a HashSet<Sku>) -> Self {
        Self { order: &order::State::Nothing, payment, left_stock }
    }

    /// With any other event.
    #[must_use]
    pub fn of_nothing(left_stock: &'a HashSet<Sku>) -> Self {
        Self { order: &order::State::Nothing, payment: &pay::State::Nothing, left_stock }
    }
}

/// What all process managers together want done about `event` at `now`. Pure: the same event again leads to the same commands, whose ids
/// are derived from the event's, so that doing them twice is doing them once.
#[must_use]
pub fn react(known: Known<'_>, event: &Recorded, now: Timestamp) -> Vec<Reaction> {
    let mut reactions = checkout::react(known, event, now);
    reactions.extend(payment::react(known, event, now));
    reactions.extend(fulfilment::react(known, event, now));
    reactions.extend(expiry::react(event));
    reactions.extend(flash_sale::react(event));
    reactions
}

/// What is to be done when a reminder comes due.
#[must_use]
pub fn react_when_due(reminder: &Reminder, stock: &stock::State) -> Vec<Reaction> {
    match reminder {
        Reminder::Placement(order) => checkout::when_due(*order),
        Reminder::PaymentDeadline(order) => payment::when_due(*order),
        Reminder::Reservations(sku) => expiry::when_due(sku, stock),
        Reminder::SaleStart(sale, sku) => flash_sale::when_start_is_due(*sale, sku),
        Reminder::SaleEnd(sale, sku) => flash_sale::when_end_is_due(*sale, sku),
    }
}

/// The categories of streams that process managers read.
pub const CATEGORIES: &[&str] = &["order", "payment", "stock", "flashsale"];

/// The order that an event is about, where process managers must know it.
#[must_use]
pub fn order_of(event: &Recorded) -> Option<OrderId> {
    match event.event {
        Event::Order(_) | Event::Payment(_) => event.stream.key().parse().ok(),
        _ => None,
    }
}

/// The id of something that a process manager makes because of `event`: the same one each time. It keeps the event id's leading bits, so
/// that it is as ordered in time as these are; the rest is a hash.
#[must_use]
pub fn derived_id(event: Uuid, purpose: &str) -> Uuid {
    use sha2::{Digest, Sha256};
    let hash: [u8; 32] = Sha256::new().chain_update(event.as_bytes()).chain_update(purpose).finalize().into();
    let mut bytes = *event.as_bytes();
    bytes[6..].copy_from_slice(&hash[..10]);
    bytes[6] = 0x80 | (bytes[6] & 0x0f); // version 8 of RFC 9562: custom
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    Uuid::from_bytes(bytes)
}
