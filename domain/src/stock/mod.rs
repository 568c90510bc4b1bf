//! Stock of one SKU: what is on hand, what orders hold of it, and what is set aside for flash sales.
//!
//! `available = on hand - held by orders - set aside` is never negative. While a flash sale runs, the SKU sells only from its
//! allotment. The state knows open reservations and open sales only, so it does not grow with history.

mod decide;
mod evolve;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod sale_tests;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::{
    Event as LogEvent, Money, Timestamp, customer,
    events::stock::{AllotmentEnd, Event, StockCorrectionImported},
    ids::{FlashSaleId, OrderId, ReturnId, Sku},
    resource,
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// The longest that a flash sale runs, in days: any year.
pub const MAX_SALE_DAYS: i64 = 366;

/// The most units that are on hand.
pub const MAX_ON_HAND: i64 = 1_000_000_000_000;

/// The stock of a SKU.
#[derive(Debug, Clone, Copy)]
pub struct Stock;

/// What is known of a SKU's stock.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet: no units.
    #[default]
    Nothing,
    /// It is counted.
    Counted(Count),
}

/// A SKU's units, and who holds them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written")]
pub struct Count {
    /// Units in the warehouse.
    on_hand: i64,
    /// Units of these that orders hold: the sum of the reservations.
    held: i64,
    /// What orders hold, until it is committed, released or expired.
    reservations: BTreeMap<OrderId, Reservation>,
    /// The same orders by when their hold ends.
    #[serde(skip)]
    expiries: BTreeSet<(Timestamp, OrderId)>,
    /// Flash sales that are not closed.
    sales: BTreeMap<FlashSaleId, Sale>,
}

/// A count as it is written: without what can be derived.
#[derive(Deserialize)]
struct Written {
    on_hand: i64,
    held: i64,
    reservations: BTreeMap<OrderId, Reservation>,
    sales: BTreeMap<FlashSaleId, Sale>,
}

impl From<Written> for Count {
    fn from(written: Written) -> Self {
        let Written { on_hand, held, reservations, mut sales } = written;
        // Snapshots of before addresses were normalised have some customers twice.
        for sale in sales.values_mut() {
            for (customer, units) in std::mem::take(&mut sale.customers) {
                *sale.customers.entry(customer::of_email(&customer)).or_default() += units;
            }
        }
        let expiries = reservations.iter().map(|(order, reservation)| (reservation.until, *order)).collect();
        Self { on_hand, held, reservations, expiries, sales }
    }
}

/// What an order holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reservation {
    /// How many units.
    pub quantity: u32,
    /// When the hold may be ended by expiry.
    pub until: Timestamp,
    /// Who buys, as flash sales tell customers apart.
    pub customer: String,
    /// The flash sale they were reserved in, even if it is over by now.
    pub sale: Option<FlashSaleId>,
    /// Whether they go back to that sale's allotment (it is not closed), rather than to ordinary stock.
    pub of_allotment: bool,
}

/// A flash sale that is not closed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sale {
    /// The sale.
    pub id: FlashSaleId,
    /// How many units it has.
    pub allotment: u32,
    /// From when on the SKU sells only from the allotment.
    pub starts_at: Timestamp,
    /// When that ends (exclusive).
    pub ends_at: Timestamp,
    /// What a unit costs meanwhile.
    pub price: Money,
    /// The most that one customer may hold or have bought; none is no limit.
    pub limit_per_customer: Option<u32>,
    /// Units that confirmed orders bought.
    pub sold: i64,
    /// Units that orders hold.
    pub reserved: i64,
    /// Units that each customer holds or bought, by [`customer::of_email`].
    pub customers: BTreeMap<String, i64>,
}

/// What may be asked of a SKU's stock.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Units came in.
    Receive {
        /// How many.
        quantity: u32,
        /// The client's name for the delivery.
        reference: String,
    },
    /// Units were found (positive) or lost (negative).
    Adjust {
        /// The difference.
        quantity: i64,
        /// Why.
        reason: String,
    },
    /// So many units are on hand, as somebody counted: what differs from that is adjusted.
    Count {
        /// The number of units counted.
        on_hand: u32,
        /// Why, as the adjustment says it.
        reason: String,
    },
    /// Hold units for an order. Once for each order: the same again changes nothing.
    Reserve {
        /// The order.
        order: OrderId,
        /// How many.
        quantity: u32,
        /// When the hold may be ended by expiry.
        until: Timestamp,
        /// Who buys.
        customer: String,
        /// The flash sale whose price the buyer was shown; none is the ordinary price.
        sale: Option<FlashSaleId>,
    },
    /// What the order holds leaves stock.
    Commit {
        /// The order.
        order: OrderId,
    },
    /// The units of a paid order leave stock: those that it holds or, where its hold has ended, free ones, held and let go at once.
    Fulfil {
        /// The order.
        order: OrderId,
        /// The number of units it bought.
        quantity: u32,
        /// The customer who bought them.
        customer: String,
        /// The flash sale that they were bought in: while it runs, its allotment is asked first.
        sale: Option<FlashSaleId>,
    },
    /// Nothing is to leave for the order any more. It bears the id of the command that would let its units go, so that the log takes one of the two.
    Withhold {
        /// The order.
        order: OrderId,
    },
    /// What the order holds is free again.
    Release {
        /// The order.
        order: OrderId,
    },
    /// End every hold whose time has run out.
    Expire,
    /// Units that had left stock for an order are on hand again.
    Return {
        /// The order.
        order: OrderId,
        /// How many.
        quantity: u32,
        /// The return they came with; none where a confirmed order was cancelled.
        return_id: Option<ReturnId>,
        /// The flash sale that had sold them, where they are to go back to it.
        sale: Option<FlashSaleId>,
        /// Who had bought them.
        customer: String,
    },
    /// Set units aside for a flash sale. Once for each sale: the same again changes nothing.
    Allot {
        /// The sale.
        sale: FlashSaleId,
        /// How many.
        quantity: u32,
        /// From when on the SKU sells only from the allotment.
        starts_at: Timestamp,
        /// When that ends (exclusive).
        ends_at: Timestamp,
        /// What a unit costs meanwhile.
        price: Money,
        /// The most that one customer may hold or have bought; none is no limit.
        limit_per_customer: Option<u32>,
    },
    /// A flash sale is over, or was called off.
    CloseAllotment {
        /// The sale.
        sale: FlashSaleId,
        /// Why. [`AllotmentEnd::Ended`] means nothing before its time is over.
        reason: AllotmentEnd,
    },
    /// Note a correction of an imported history. It changes no count.
    ImportCorrection(StockCorrectionImported),
}

/// Why a command is refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// More units would go, or be set aside, than are available.
    #[error("{requested} units are asked for and {available} are available: ask for no more than these, or receive more first")]
    InsufficientStock {
        /// How many units were asked for.
        requested: i64,
        /// How many are neither held by orders nor set aside.
        available: i64,
    },
    /// More units would be on hand than can be counted.
    #[error("{on_hand} units are on hand and {quantity} more would be too many, the most is {MAX_ON_HAND}: correct the quantity")]
    Overflow {
        /// How many units are on hand.
        on_hand: i64,
        /// How many were to come.
        quantity: i64,
    },
    /// More units would be reserved than are available.
    #[error("{requested} units are asked for and {available} are available: ask for fewer")]
    OutOfStock {
        /// How many were asked for.
        requested: u32,
        /// How many there are.
        available: i64,
    },
    /// A customer would have more units of a flash sale than one customer may.
    #[error("a customer may have {limit} units in this flash sale and has {held} already: ask for fewer")]
    LimitPerCustomer {
        /// The most units for each customer.
        limit: u32,
        /// How many the customer holds or bought.
        held: i64,
    },
    /// A flash sale began or ended since the buyer was shown a price.
    #[error("the price changed because a flash sale began or ended: look at the cart again, then check out")]
    SaleChanged {
        /// The sale whose price the buyer was shown.
        priced: Option<FlashSaleId>,
        /// The sale that runs.
        running: Option<FlashSaleId>,
    },
    /// The order holds nothing here, or no longer.
    #[error("order {order} holds no units: its reservation was released, expired or committed, or never made; reserve again")]
    NoReservation {
        /// The order.
        order: OrderId,
    },
    /// Two flash sales of the SKU would run at one time.
    #[error("flash sale {sale} runs from {starts_at} to {ends_at}: choose a time outside of that")]
    OverlappingSale {
        /// The other sale.
        sale: FlashSaleId,
        /// When it starts.
        starts_at: Timestamp,
        /// When it ends (exclusive).
        ends_at: Timestamp,
    },
    /// A flash sale would end before it starts, or has ended already.
    #[error("a flash sale from {starts_at} to {ends_at} can't be: it must end after it starts, and in the future")]
    InvalidWindow {
        /// The start of the sale.
        starts_at: Timestamp,
        /// The end of the sale.
        ends_at: Timestamp,
    },
    /// A flash sale would run for longer than a year.
    #[error(
        "a flash sale from {starts_at} to {ends_at} would run for more than {MAX_SALE_DAYS} days: let it end earlier, or change the price"
    )]
    SaleTooLong {
        /// The start of the sale.
        starts_at: Timestamp,
        /// The end of the sale.
        ends_at: Timestamp,
    },
}

impl Refusal {
    /// The code that clients match on.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InsufficientStock { .. } => "insufficient_stock",
            Self::Overflow { .. } => "stock_overflow",
            Self::OutOfStock { .. } => "out_of_stock",
            Self::LimitPerCustomer { .. } => "limit_per_customer",
            Self::SaleChanged { .. } => "price_changed",
            Self::NoReservation { .. } => "no_reservation",
            Self::OverlappingSale { .. } => "overlapping_sale",
            Self::InvalidWindow { .. } => "invalid_window",
            Self::SaleTooLong { .. } => "sale_too_long",
        }
    }
}

impl State {
    /// Units in the warehouse.
    #[must_use]
    pub fn on_hand(&self) -> i64 {
        self.count().map_or(0, |count| count.on_hand)
    }

    /// Units of these that orders hold or that are set aside for flash sales that are not closed.
    #[must_use]
    pub fn reserved_units(&self) -> i64 {
        self.count().map_or(0, |count| count.held + count.sales.values().map(Sale::remaining).sum::<i64>())
    }

    /// What can be reserved now: of the sale that runs what is left of it, else what is neither held nor set aside.
    #[must_use]
    pub fn available(&self, now: Timestamp) -> i64 {
        self.running_sale(now).map_or_else(|| self.ordinary(now), Sale::remaining)
    }

    /// The sale that runs now.
    #[must_use]
    pub fn running_sale(&self, now: Timestamp) -> Option<&Sale> {
        self.sales().find(|sale| sale.runs(now))
    }

    /// A sale that is not closed.
    #[must_use]
    pub fn sale(&self, id: FlashSaleId) -> Option<&Sale> {
        self.count()?.sales.get(&id)
    }

    /// The sales that are not closed.
    pub fn sales(&self) -> impl Iterator<Item = &Sale> {
        self.count().into_iter().flat_map(|count| count.sales.values())
    }

    /// What an order holds.
    #[must_use]
    pub fn reservation(&self, order: OrderId) -> Option<&Reservation> {
        self.count()?.reservations.get(&order)
    }

    /// What orders hold.
    pub fn reservations(&self) -> impl Iterator<Item = (OrderId, &Reservation)> {
        self.count().into_iter().flat_map(|count| &count.reservations).map(|(order, reservation)| (*order, reservation))
    }

    /// When the first hold may be ended by expiry.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Timestamp> {
        self.count()?.expiries.first().map(|(until, _)| *until)
    }

    /// What clients see of it. Nothing yet: zeros.
    #[must_use]
    pub fn resource(&self, sku: Sku, version: i64) -> resource::Stock {
        let (on_hand, reserved) = (self.on_hand(), self.reserved_units());
        resource::Stock { id: sku.clone(), sku, on_hand, reserved, available: (on_hand - reserved).max(0), version }
    }

    /// What is neither held by orders nor set aside for sales that are not over.
    fn ordinary(&self, now: Timestamp) -> i64 {
        let set_aside: i64 = self.sales().filter(|sale| !sale.is_over(now)).map(Sale::remaining).sum();
        let held = self.count().map_or(0, |count| count.held);
        (self.on_hand() - held - set_aside).max(0)
    }

    fn count(&self) -> Option<&Count> {
        match self {
            Self::Nothing => None,
            Self::Counted(count) => Some(count),
        }
    }
}

impl Sale {
    /// Units that can still be bought of it.
    #[must_use]
    pub fn remaining(&self) -> i64 {
        (i64::from(self.allotment) - self.sold - self.reserved).max(0)
    }

    /// Whether it runs now.
    #[must_use]
    pub fn runs(&self, now: Timestamp) -> bool {
        self.starts_at <= now && now < self.ends_at
    }

    /// Whether its time is over, closed or not.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }

    /// Units that a customer holds or bought.
    #[must_use]
    pub fn held_by(&self, customer: &str) -> i64 {
        self.customers.get(&customer::of_email(customer)).copied().unwrap_or(0)
    }
}

impl Aggregate for Stock {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 2;
    const EXISTS_WITHOUT_EVENTS: bool = true;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
        decide::decide(state, command, now)
    }

    fn evolve(state: State, event: &Event, _: Timestamp) -> State {
        State::Counted(evolve::evolve(state, event))
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Stock(event) => Some(event),
            _ => None,
        }
    }
}
