//! How reactions are carried out, as far as that is decided and not done: what is shown with an event, which ids commands bear, what is
//! looked up or done first. The [`runner`](super::run) and the simulator both go by it.

use domain::{Aggregate, order, payment, stock};
use event_schemas::{
    Event, Metadata, Recorded, StreamId,
    events::order::{Event as OrderEvent, OrderCancelled},
    ids::{CommandId, OrderId, Sku},
};

use super::{Manager, Reaction, Reminder, Wanted, changes::Changes, derived_id, fulfilment, order_of};

/// Whose newest state process managers are shown with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// That of the order, which the event is about.
    Order(OrderId),
    /// That of the order's payment, which the event is about.
    Payment(OrderId),
    /// Nobody's.
    Nothing,
}

impl Shown {
    /// With `event`.
    #[must_use]
    pub fn with(event: &Recorded) -> Self {
        match (order_of(event), event.stream.category()) {
            (Some(order), order::Order::CATEGORY) => Self::Order(order),
            (Some(order), payment::Payment::CATEGORY) => Self::Payment(order),
            _ => Self::Nothing,
        }
    }
}

/// What an event is about: events of one subject are taken one after the other. An order and its payment are one subject.
#[must_use]
pub fn subject(event: &Recorded) -> String {
    order_of(event).map_or_else(|| event.stream.to_string(), |order| order.to_string())
}

/// Takes the reminders among what is `wanted` over into `changes`; the commands that are left.
pub fn commands(wanted: Vec<Wanted>, changes: &mut Changes) -> Vec<Wanted> {
    let mut commands = Vec::with_capacity(wanted.len());
    for Wanted { by, reaction } in wanted {
        match reaction {
            Reaction::Remind(reminder, at) => changes.set(reminder, at),
            Reaction::Forget(reminder) => changes.forget(reminder),
            reaction => commands.push(Wanted { by, reaction }),
        }
    }
    commands
}

/// The stream that a reaction is for; none where it is about a reminder.
#[must_use]
pub fn target(reaction: &Reaction) -> Option<StreamId> {
    match reaction {
        Reaction::Order(order, _) => Some(StreamId::order(*order)),
        Reaction::Payment(order, _) => Some(StreamId::payment(*order)),
        Reaction::Stock(sku, _) => Some(StreamId::stock(sku)),
        Reaction::FlashSale(sale, _) => Some(StreamId::flash_sale(*sale)),
        Reaction::Remind(..) | Reaction::Forget(..) => None,
    }
}

/// Metadata of the command that is `wanted` because of `event`: the same each time the event is taken.
#[must_use]
pub fn metadata(event: &Recorded, wanted: &Wanted) -> Metadata {
    let target = target(&wanted.reaction);
    Metadata {
        command_id: CommandId(derived_id(event.event_id, target.as_ref().map_or("", StreamId::as_str))),
        correlation_id: event.metadata.correlation_id,
        causation_id: Some(event.event_id),
        actor: wanted.by.actor().into(),
    }
}

/// The SKU whose units did not leave, where that is what a refusal of a reaction's command means: its reservation had ended, and none are free.
#[must_use]
pub fn lost_stock(sku: &Sku, refusal: &stock::Refusal) -> Option<Sku> {
    matches!(refusal, stock::Refusal::NoReservation { .. } | stock::Refusal::OutOfStock { .. }).then(|| sku.clone())
}

/// Whether `event` cancels an order after its confirmation, so that it must be known which of its units had left stock.
#[must_use]
pub fn needs_left_stock(event: &Recorded) -> bool {
    matches!(&event.event, Event::Order(OrderEvent::Cancelled(OrderCancelled { was_confirmed: true, .. })))
}

/// The commands that let the units of each line of an order go once `event` confirmed it; none where it did not. A line's units have left
/// stock if its command is in the log.
#[must_use]
pub fn commit_commands(event: &Recorded, order: &order::State) -> Vec<(Sku, CommandId)> {
    let (Event::Order(OrderEvent::Confirmed(_)), Some(purchase)) = (&event.event, order.purchase()) else { return Vec::new() };
    purchase.lines.iter().map(|line| (line.sku.clone(), fulfilment::commit_command(event.event_id, &line.sku))).collect()
}

/// The command by which nothing leaves any more for the cancelled order that `event` is about, in place of the one of the id `command` that would let
/// the units of a line go: somebody who was late may still issue that one. Where it was first, this one changes nothing.
#[must_use]
pub fn withholding(event: &Recorded, command: CommandId) -> Option<(stock::Command, Metadata)> {
    let withhold = stock::Command::Withhold { order: order_of(event)? };
    let metadata = Metadata {
        command_id: command,
        correlation_id: event.metadata.correlation_id,
        causation_id: Some(event.event_id),
        actor: Manager::Fulfilment.actor().into(),
    };
    Some((withhold, metadata))
}

/// Whether the units of an order must have left stock before any of them is shipped: it is confirmed, and nothing has been shipped yet.
#[must_use]
pub fn must_have_left_stock(order: &order::State) -> bool {
    order.purchase().is_some_and(|purchase| purchase.stage == order::Stage::Confirmed && !purchase.has_shipped())
}

/// What is done before a reminder that is due is reacted to: reservations are expired first, so that the next time asked for is that of one
/// that is left.
#[must_use]
pub fn comes_first(reminder: &Reminder) -> Option<Wanted> {
    match reminder {
        Reminder::Reservations(sku) => Some(Wanted { by: Manager::Expiry, reaction: Reaction::Stock(sku.clone(), stock::Command::Expire) }),
        _ => None,
    }
}
