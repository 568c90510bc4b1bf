//! Flash sales start and end on time. The stock aggregate sells by the clock of each command; this only records that it is so.

use domain::{flash_sale, stock};
use event_schemas::{
    Event, Recorded,
    events::stock::{AllotmentEnd, Event as StockEvent},
    ids::{FlashSaleId, Sku},
};

use super::{Reaction, Reminder};

/// An allotment asks for its start and its end; a closed one for nothing more.
#[must_use]
pub fn react(event: &Recorded) -> Vec<Reaction> {
    let (Event::Stock(happened), Ok(sku)) = (&event.event, event.stream.key().parse::<Sku>()) else { return Vec::new() };
    match happened {
        StockEvent::Allotted(allotted) => vec![
            Reaction::Remind(Reminder::SaleStart(allotted.sale, sku.clone()), allotted.starts_at),
            Reaction::Remind(Reminder::SaleEnd(allotted.sale, sku), allotted.ends_at),
        ],
        StockEvent::AllotmentClosed(closed) if closed.reason == AllotmentEnd::Cancelled => {
            vec![Reaction::Forget(Reminder::SaleStart(closed.sale, sku.clone())), Reaction::Forget(Reminder::SaleEnd(closed.sale, sku))]
        }
        _ => Vec::new(),
    }
}

/// The window has opened.
#[must_use]
pub fn when_start_is_due(sale: FlashSaleId, _sku: &Sku) -> Vec<Reaction> {
    vec![Reaction::FlashSale(sale, flash_sale::Command::Start)]
}

/// The window has closed.
#[must_use]
pub fn when_end_is_due(sale: FlashSaleId, sku: &Sku) -> Vec<Reaction> {
    vec![
        Reaction::Stock(sku.clone(), stock::Command::CloseAllotment { sale, reason: AllotmentEnd::Ended }),
        Reaction::FlashSale(sale, flash_sale::Command::End),
    ]
}
