//! Orders, from submission to the last return.

mod command;
mod decide;
mod evolve;
#[cfg(test)]
mod properties;
mod resource;
#[cfg(test)]
mod resource_tests;
mod ship;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use event_schemas::{
    Currency, Event as LogEvent, Money, Timestamp,
    events::order::{Address, Event, ItemQuantity, Line, OrderImported, OrderReturnImported, PaymentMeans, RejectionReason, Totals},
    ids::{CartId, Sku},
    resource::{Cancellation, OrderStatus, Refund, Return, Shipment, TimelineEntry},
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;
pub use command::{Command, Excess, Refusal};

/// An order.
#[derive(Debug, Clone, Copy)]
pub struct Order;

/// What is known of an order.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum State {
    /// Nothing happened yet.
    #[default]
    Nothing,
    /// Somebody buys, or bought, here.
    Purchase(Box<Purchase>),
    /// An invoice of another shop's history.
    Imported(Box<Imported<OrderImported>>),
    /// A return of another shop's history.
    ReturnImported(Box<Imported<OrderReturnImported>>),
}

/// What somebody buys, and all that became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Purchase {
    /// Where it is in its life.
    #[serde(flatten)]
    pub stage: Stage,
    /// The cart it comes from.
    pub cart: CartId,
    /// Where to write to.
    pub email: String,
    /// Who buys, as flash sales tell customers apart.
    pub customer: String,
    /// Where it goes.
    pub shipping_address: Address,
    /// What is bought.
    pub lines: Vec<Line>,
    /// What it costs.
    pub totals: Totals,
    /// How it is to be paid.
    pub payment: PaymentMeans,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
    /// What was captured.
    pub captured: Option<Money>,
    /// What has left.
    pub shipments: Vec<Shipment>,
    /// What came back.
    pub returns: Vec<Return>,
    /// What money went back, or is about to.
    pub refunds: Vec<Refund>,
    /// Every status it had, in order.
    pub timeline: Vec<TimelineEntry>,
    /// When it was submitted.
    pub submitted_at: Timestamp,
    /// When it was placed.
    pub placed_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Where an order is in its life. What follows on confirmation is told by its shipments and returns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "stage", rename_all = "snake_case")]
pub enum Stage {
    /// Recorded; nothing is reserved yet.
    Submitted,
    /// It could not be placed.
    Rejected {
        /// Why.
        reason: RejectionReason,
        /// The lines it failed on.
        skus: Vec<Sku>,
    },
    /// Every line is reserved; payment is under way.
    Placed {
        /// When the payment must have succeeded.
        payment_deadline: Timestamp,
    },
    /// Paid.
    Confirmed,
    /// Called off.
    Cancelled {
        /// Why.
        #[serde(flatten)]
        cancellation: Cancellation,
        /// Whether it had been confirmed, so that its units had left stock.
        was_confirmed: bool,
    },
}

/// A document of another shop's history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Imported<Document> {
    /// The document, as it stood.
    #[serde(flatten)]
    pub document: Document,
    /// When it was imported.
    pub imported_at: Timestamp,
}

impl State {
    /// What somebody buys here.
    #[must_use]
    pub fn purchase(&self) -> Option<&Purchase> {
        match self {
            Self::Purchase(purchase) => Some(purchase),
            Self::Nothing | Self::Imported(_) | Self::ReturnImported(_) => None,
        }
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> Option<OrderStatus> {
        match self {
            Self::Nothing => None,
            Self::Purchase(purchase) => Some(purchase.status()),
            Self::Imported(_) => Some(OrderStatus::Delivered),
            Self::ReturnImported(_) => Some(OrderStatus::Returned),
        }
    }
}

impl Purchase {
    /// What its amounts are in.
    #[must_use]
    pub fn currency(&self) -> Currency {
        self.totals.total.currency
    }

    /// Where it is in its life.
    #[must_use]
    pub fn status(&self) -> OrderStatus {
        match self.stage {
            Stage::Submitted => OrderStatus::Submitted,
            Stage::Rejected { .. } => OrderStatus::Rejected,
            Stage::Placed { .. } => OrderStatus::Placed,
            Stage::Cancelled { .. } => OrderStatus::Cancelled,
            Stage::Confirmed => self.fulfilment(),
        }
    }

    /// How far a confirmed order has come.
    fn fulfilment(&self) -> OrderStatus {
        let units = |items: &Vec<ItemQuantity>| items.iter().map(|item| u64::from(item.quantity)).sum::<u64>();
        let ordered: u64 = self.lines.iter().map(|line| u64::from(line.quantity)).sum();
        let shipped: u64 = self.shipments.iter().map(|shipment| units(&shipment.items)).sum();
        let returned: u64 = self.returns.iter().map(|returned| units(&returned.items)).sum();
        match () {
            () if shipped == 0 => OrderStatus::Confirmed,
            () if returned >= ordered => OrderStatus::Returned,
            () if shipped < ordered => OrderStatus::PartlyShipped,
            () if self.shipments.iter().all(|shipment| shipment.delivered_at.is_some()) => OrderStatus::Delivered,
            () => OrderStatus::Shipped,
        }
    }
}

impl Aggregate for Order {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 3;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(state: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        decide::decide(state, command)
    }

    fn evolve(state: State, event: &Event, at: Timestamp) -> State {
        evolve::evolve(state, event, at)
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Order(event) => Some(event),
            _ => None,
        }
    }
}
