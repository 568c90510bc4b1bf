//! Fulfilment: stock follows the order. Units leave at confirmation, from what is free where the reservation has ended before; what a cancelled
//! order held or had taken goes back.

use domain::{order, stock};
use event_schemas::{
    Event, Recorded, StreamId, Timestamp,
    events::order::{Event as OrderEvent, Line},
    ids::{CommandId, OrderId, Sku},
};
use uuid::Uuid;

use super::{Known, Reaction, derived_id, order_of};

/// What an order's events ask of the stock of its lines.
#[must_use]
pub fn react(known: Known<'_>, event: &Recorded, _now: Timestamp) -> Vec<Reaction> {
    let (Event::Order(happened), Some(order)) = (&event.event, order_of(event)) else { return Vec::new() };
    let Some(purchase) = known.order.purchase() else { return Vec::new() };
    let each = |command: &dyn Fn(&Line) -> stock::Command| -> Vec<Reaction> {
        purchase.lines.iter().map(|line| Reaction::Stock(line.sku.clone(), command(line))).collect()
    };
    match happened {
        OrderEvent::Confirmed(_) if purchase.stage == order::Stage::Confirmed => {
            each(&|line| stock::Command::Fulfil { order, quantity: line.quantity, customer: purchase.customer.clone(), sale: line.sale })
        }
        // Cancelled since: what it holds goes the usual way, and nothing is taken that somebody else may want.
        OrderEvent::Confirmed(_) => each(&|_| stock::Command::Commit { order }),
        OrderEvent::Cancelled(cancelled) if !cancelled.was_confirmed => each(&|_| stock::Command::Release { order }),
        OrderEvent::Cancelled(_) => {
            // A line whose reservation had ended before its units could leave has nothing to give back.
            let went = purchase.lines.iter().filter_map(|line| Some((line, *known.left_stock.get(&line.sku)?)));
            went.map(|(line, sale)| {
                let (quantity, customer) = (line.quantity, purchase.customer.clone());
                let back = stock::Command::Return { order, quantity, return_id: None, sale, customer };
                Reaction::Stock(line.sku.clone(), back)
            })
            .collect()
        }
        OrderEvent::Returned(returned) if returned.restock => returned
            .items
            .iter()
            .map(|item| {
                let (quantity, customer) = (item.quantity, purchase.customer.clone());
                let back = stock::Command::Return { order, quantity, return_id: Some(returned.return_id), sale: None, customer };
                Reaction::Stock(item.sku.clone(), back)
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The reactions to stock that refused to let the units of a confirmed order go: their reservation had ended, and none are free.
#[must_use]
pub fn when_stock_is_lost(order: OrderId, skus: Vec<Sku>) -> Vec<Reaction> {
    vec![Reaction::Order(order, order::Command::RecordStockLost { skus })]
}

/// The command that lets the units of a line go when its order is confirmed, as that event's reaction is numbered.
#[must_use]
pub fn commit_command(confirmed: Uuid, sku: &Sku) -> CommandId {
    CommandId(derived_id(confirmed, StreamId::stock(sku).as_str()))
}
