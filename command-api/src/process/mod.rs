//! Process managers: what one aggregate's events ask of another. Their decisions are pure; the [`runner`] carries them out.
//!
//! - [`checkout`]: an order that nobody comes back to place is rejected, and what a rejected order held is released
//! - [`payment`]: the order follows its payment, and the payment its order
//! - [`fulfilment`]: stock follows the order
//! - [`expiry`]: no reservation outlives its time
//! - [`flash_sale`]: sales start and end on time
//! - [`ahead`]: what a client's request must find done
//! - [`horizon`]: nothing that is due is seen to before the log was seen up to that moment
//! - [`plan`]: how what they decide is carried out, as far as that is pure too

pub mod ahead;
#[cfg(test)]
mod ahead_tests;
mod changes;
pub mod checkout;
pub mod expiry;
pub mod flash_sale;
pub mod fulfilment;
pub mod horizon;
pub mod payment;
pub mod plan;
mod reminders;
mod runner;
#[cfg(test)]
mod runner_tests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

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

/// The lines of an order whose units have left stock, and the flash sale that they were sold in.
pub type LeftStock = HashMap<Sku, Option<FlashSaleId>>;

/// What a process manager is shown besides the event: the newest state of the order it is about, which may be past that event.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The order that the event is about, or whose payment it is about.
    pub order: &'a order::State,
    /// That order's payment.
    pub payment: &'a pay::State,
    /// The lines whose units have left stock, where the event is the order's cancellation after it was confirmed.
    pub left_stock: &'a LeftStock,
}

impl<'a> Known<'a> {
    /// With an event of an order.
    #[must_use]
    pub fn of_order(order: &'a order::State, left_stock: &'a LeftStock) -> Self {
        Self { order, payment: &pay::State::Nothing, left_stock }
    }

    /// With an event of an order's payment.
    #[must_use]
    pub fn of_payment(payment: &'a pay::State, left_stock: &'a LeftStock) -> Self {
        Self { order: &order::State::Nothing, payment, left_stock }
    }

    /// With any other event.
    #[must_use]
    pub fn of_nothing(left_stock: &'a LeftStock) -> Self {
        Self { order: &order::State::Nothing, payment: &pay::State::Nothing, left_stock }
    }
}

/// A process manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// See [`checkout`].
    Checkout,
    /// See [`payment`].
    Payment,
    /// See [`fulfilment`].
    Fulfilment,
    /// See [`expiry`].
    Expiry,
    /// See [`flash_sale`].
    FlashSale,
}

impl Manager {
    /// The actor that the events of its commands name.
    #[must_use]
    pub fn actor(self) -> &'static str {
        match self {
            Self::Checkout => "process:checkout",
            Self::Payment => "process:payment",
            Self::Fulfilment => "process:fulfilment",
            Self::Expiry => "process:expiry",
            Self::FlashSale => "process:flash-sale",
        }
    }

    fn wants(self, reactions: Vec<Reaction>) -> impl Iterator<Item = Wanted> {
        reactions.into_iter().map(move |reaction| Wanted { by: self, reaction })
    }
}

/// A reaction, and who wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// The process manager that decided it.
    pub by: Manager,
    /// The command to issue, or the reminder to set or forget.
    pub reaction: Reaction,
}

/// What all process managers together want done about `event` at `now`. Pure: the same event again leads to the same commands, whose ids
/// are derived from the event's, so that doing them twice is doing them once.
#[must_use]
pub fn react(known: Known<'_>, event: &Recorded, now: Timestamp) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Manager::Checkout.wants(checkout::react(known, event, now)).collect();
    wanted.extend(Manager::Payment.wants(payment::react(known, event, now)));
    wanted.extend(Manager::Fulfilment.wants(fulfilment::react(known, event, now)));
    wanted.extend(Manager::Expiry.wants(expiry::react(event)));
    wanted.extend(Manager::FlashSale.wants(flash_sale::react(event)));
    wanted
}

/// The reactions to stock that refused to let units of `order` go ([`fulfilment::when_stock_is_lost`]).
#[must_use]
pub fn react_to_loss(order: OrderId, skus: Vec<Sku>) -> Vec<Wanted> {
    Manager::Fulfilment.wants(fulfilment::when_stock_is_lost(order, skus)).collect()
}

/// What is to be done when a reminder comes due.
#[must_use]
pub fn react_when_due(reminder: &Reminder, stock: &stock::State) -> Vec<Wanted> {
    let (manager, reactions) = match reminder {
        Reminder::Placement(order) => (Manager::Checkout, checkout::when_due(*order)),
        Reminder::PaymentDeadline(order) => (Manager::Payment, payment::when_due(*order)),
        Reminder::Reservations(sku) => (Manager::Expiry, expiry::when_due(sku, stock)),
        Reminder::SaleStart(sale, sku) => (Manager::FlashSale, flash_sale::when_start_is_due(*sale, sku)),
        Reminder::SaleEnd(sale, sku) => (Manager::FlashSale, flash_sale::when_end_is_due(*sale, sku)),
    };
    manager.wants(reactions).collect()
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
