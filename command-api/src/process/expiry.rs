//! Expiry: every reservation has an end. Whether it ends by expiry or by confirmation is decided by the stock aggregate, once.

use domain::stock;
use event_schemas::{Event, Recorded, events::stock::Event as StockEvent, ids::Sku};

use super::{Reaction, Reminder};

/// A reservation asks to be looked at when its time is over.
#[must_use]
pub fn react(event: &Recorded) -> Vec<Reaction> {
    match (&event.event, event.stream.key().parse::<Sku>()) {
        (Event::Stock(StockEvent::Reserved(reserved)), Ok(sku)) => vec![Reaction::Remind(Reminder::Reservations(sku), reserved.until)],
        _ => Vec::new(),
    }
}

/// The time of the first reservation is over: end all whose time is over, and look again when that of the next one is.
#[must_use]
pub fn when_due(sku: &Sku, stock: &stock::State) -> Vec<Reaction> {
    let expire = Reaction::Stock(sku.clone(), stock::Command::Expire);
    let next = stock.next_expiry().map(|until| Reaction::Remind(Reminder::Reservations(sku.clone()), until));
    std::iter::once(expire).chain(next).collect()
}
