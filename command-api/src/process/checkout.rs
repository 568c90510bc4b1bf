//! Checkout: whoever submits an order places or rejects it at once; a crash in between is undone here.

use chrono::Duration;
use domain::{order, stock};
use event_schemas::{Event, Recorded, Timestamp, events::order::Event as OrderEvent, ids::OrderId, resource::OrderStatus};

use super::{Known, Reaction, Reminder, order_of};

/// How long a checkout may take to place its order, in seconds.
pub const PLACEMENT_LIMIT_S: i64 = 15;

/// What an order's events ask for.
#[must_use]
pub fn react(known: Known<'_>, event: &Recorded, _now: Timestamp) -> Vec<Reaction> {
    let (Event::Order(happened), Some(order)) = (&event.event, order_of(event)) else { return Vec::new() };
    match happened {
        OrderEvent::Submitted(_) if known.order.status() == Some(OrderStatus::Submitted) => {
            vec![Reaction::Remind(Reminder::Placement(order), event.recorded_at.plus(Duration::seconds(PLACEMENT_LIMIT_S)))]
        }
        OrderEvent::Placed(_) => vec![Reaction::Forget(Reminder::Placement(order))],
        OrderEvent::Rejected(_) => {
            let lines = known.order.purchase().map(|purchase| purchase.lines.as_slice()).unwrap_or_default();
            let release = |line: &event_schemas::events::order::Line| Reaction::Stock(line.sku.clone(), stock::Command::Release { order });
            std::iter::once(Reaction::Forget(Reminder::Placement(order))).chain(lines.iter().map(release)).collect()
        }
        _ => Vec::new(),
    }
}

/// Nobody came back.
#[must_use]
pub fn when_due(order: OrderId) -> Vec<Reaction> {
    vec![Reaction::Order(order, order::Command::Abandon)]
}
