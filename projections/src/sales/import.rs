//! Imported history: as it was charged, to the last decimal. Its lines have no category.

use event_schemas::events::order::{ImportedLine, OrderImported, OrderReturnImported};
use rust_decimal::Decimal;

use super::{
    Sold,
    tally::{Amounts, Place, Tally},
};

/// An invoice: what was sold at a price is gross; corrections, gifts and discounts are in net only, and all of an invoice that adjusts accounts.
pub fn invoice(event: &OrderImported, tally: &mut Tally) -> Option<()> {
    let place = Place { day: event.placed_at.utc().date_naive(), currency: event.currency, country: &event.country };
    let mut products = Sold::new();
    for line in &event.lines {
        let is_sale = is_sale(line) && !event.is_adjustment();
        let (units, gross) = if is_sale { (line.quantity, line.line_total) } else { (0, Decimal::ZERO) };
        tally.line(&place, &line.code, "", &Amounts { units, gross, returned: Decimal::ZERO, net: line.line_total })?;
        if is_sale {
            products.insert(&line.code);
        }
    }
    if !products.is_empty() {
        tally.order(&place, &products, &Sold::from([""]));
    }
    Some(())
}

/// A return, on the day it was made out.
pub fn returned(event: &OrderReturnImported, tally: &mut Tally) -> Option<()> {
    let place = Place { day: event.returned_at.utc().date_naive(), currency: event.currency, country: &event.country };
    event.lines.iter().try_for_each(|line| {
        let amounts = Amounts { units: 0, gross: Decimal::ZERO, returned: line.line_total, net: line.line_total };
        tally.line(&place, &line.code, "", &amounts)
    })
}

fn is_sale(line: &ImportedLine) -> bool {
    line.quantity > 0 && line.unit_price > Decimal::ZERO
}
