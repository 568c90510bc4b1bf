//! Orders made here, as long as they may still be confirmed, cancelled or returned.

use chrono::NaiveDate;
use event_schemas::{
    Currency, Money, Timestamp,
    events::order::{ItemQuantity, OrderSubmitted},
    ids::{CategoryId, Sku},
};
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use super::{
    Sold,
    tally::{Amounts, Place, Tally},
};

/// What must be remembered of an order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenOrder {
    /// The day it was placed; until then, submitted.
    placed_on: NaiveDate,
    currency: Currency,
    country: String,
    lines: Vec<OpenLine>,
    #[serde(skip)]
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct OpenLine {
    sku: Sku,
    category: Option<CategoryId>,
    quantity: u32,
    line_total: Decimal,
    /// Units that came back.
    returned: u32,
}

impl OpenOrder {
    pub fn of(event: &OrderSubmitted, at: Timestamp) -> Self {
        let lines = event.lines.iter().map(|line| OpenLine {
            sku: line.sku.clone(),
            category: line.category.clone(),
            quantity: line.quantity,
            line_total: line.line_total.amount,
            returned: 0,
        });
        Self {
            placed_on: at.utc().date_naive(),
            currency: event.totals.total.currency,
            country: event.shipping_address.country.clone(),
            lines: lines.collect(),
            changed: true,
        }
    }

    /// Whether it is not as it was when it was read.
    pub fn is_changed(&self) -> bool {
        self.changed
    }

    pub fn placed(&mut self, at: Timestamp) {
        let day = at.utc().date_naive();
        self.changed |= self.placed_on != day;
        self.placed_on = day;
    }

    /// It is paid: all of it counts.
    pub fn count(&self, tally: &mut Tally) -> Option<()> {
        let place = self.on(self.placed_on);
        let (mut products, mut categories) = (Sold::new(), Sold::new());
        for line in &self.lines {
            let amounts =
                Amounts { units: i64::from(line.quantity), gross: line.line_total, returned: Decimal::ZERO, net: line.line_total };
            tally.line(&place, line.sku.as_str(), line.category(), &amounts)?;
            products.insert(line.sku.as_str());
            categories.insert(line.category());
        }
        tally.order(&place, &products, &categories);
        Some(())
    }

    /// Some of it came back.
    pub fn take_back(&mut self, items: &[ItemQuantity], at: Timestamp, tally: &mut Tally) -> Option<()> {
        let place = Place { day: at.utc().date_naive(), currency: self.currency, country: &self.country };
        for item in items {
            let mut left = item.quantity;
            for line in self.lines.iter_mut().filter(|line| line.sku == item.sku) {
                let quantity = left.min(line.quantity - line.returned);
                line.take_back(quantity, &place, tally)?;
                left -= quantity;
            }
        }
        self.changed = true;
        Some(())
    }

    /// All of it that is not back yet does not count any more.
    pub fn take_all_back(mut self, at: Timestamp, tally: &mut Tally) -> Option<()> {
        let place = Place { day: at.utc().date_naive(), currency: self.currency, country: &self.country };
        self.lines.iter_mut().try_for_each(|line| line.take_back(line.quantity - line.returned, &place, tally))
    }

    pub fn is_all_back(&self) -> bool {
        self.lines.iter().all(|line| line.returned == line.quantity)
    }

    fn on(&self, day: NaiveDate) -> Place<'_> {
        Place { day, currency: self.currency, country: &self.country }
    }
}

impl OpenLine {
    /// The table has an empty text where there is no category.
    fn category(&self) -> &str {
        self.category.as_ref().map_or("", CategoryId::as_str)
    }

    fn take_back(&mut self, quantity: u32, place: &Place<'_>, tally: &mut Tally) -> Option<()> {
        if quantity == 0 {
            return Some(());
        }
        let before = self.value_of(self.returned, place.currency)?;
        self.returned += quantity;
        let returned = before - self.value_of(self.returned, place.currency)?;
        tally.line(place, self.sku.as_str(), self.category(), &Amounts { units: 0, gross: Decimal::ZERO, returned, net: returned })
    }

    /// What the line's first `units` units cost: rounded, but all of them cost the line's total. So whatever the steps in which
    /// units come back, they add up to it.
    fn value_of(&self, units: u32, currency: Currency) -> Option<Decimal> {
        if units >= self.quantity {
            return Some(self.line_total);
        }
        let value = self.line_total.checked_mul(Decimal::from(units))?.checked_div(Decimal::from(self.quantity))?;
        Some(Money::new(value, currency).rounded().amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_that_come_back_one_by_one_add_up_to_the_line() {
        let line = |total: &str, quantity| OpenLine {
            sku: "A".parse().unwrap(),
            category: None,
            quantity,
            line_total: total.parse().unwrap(),
            returned: 0,
        };
        for (total, quantity) in [("10.00", 3), ("0.01", 7), ("99.99", 13), ("5", 5), ("0.00", 4)] {
            let (mut line, mut tally) = (line(total, quantity), Tally::default());
            let place = Place { day: NaiveDate::default(), currency: "GBP".parse().unwrap(), country: "GB" };
            (0..quantity).for_each(|_| line.take_back(1, &place, &mut tally).unwrap());
            assert_eq!(tally.net(), -total.parse::<Decimal>().unwrap(), "{quantity} for {total}");
        }
    }
}
