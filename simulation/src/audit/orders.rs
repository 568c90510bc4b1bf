//! The book of an order.

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::{
    Money,
    events::order::{CancellationCause, Event, ItemQuantity, RejectionReason},
    ids::{OrderId, RefundId, Sku},
};

use super::{Checked, broken, stock::Stock};
use crate::{
    counts::{Counts, Sight},
    verdict::Invariant,
};

#[derive(Default, Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    #[default]
    Nothing,
    Submitted,
    Placed,
    Confirmed,
    Rejected,
    Cancelled,
}

#[derive(Default)]
pub(super) struct Order {
    stage: Stage,
    was_placed: bool,
    was_confirmed: bool,
    lines: BTreeMap<Sku, i64>,
    shipped: BTreeMap<Sku, i64>,
    returned: BTreeMap<Sku, i64>,
    restocked: BTreeMap<Sku, i64>,
    pub total: Option<Money>,
    pub captured: Option<Money>,
    /// What went back, as the order tells.
    pub refunded: BTreeMap<RefundId, Money>,
    /// The refunds that failed, as the order tells.
    pub failed_refunds: BTreeSet<RefundId>,
}

impl Order {
    pub fn was_placed(&self) -> bool {
        self.was_placed
    }

    pub fn is_cancelled(&self) -> bool {
        self.stage == Stage::Cancelled
    }

    /// The number of units of a SKU that were bought; 0 where it is in no line.
    pub fn quantity(&self, sku: &Sku) -> i64 {
        self.lines.get(sku).copied().unwrap_or(0)
    }

    pub fn is_confirmed(&self) -> bool {
        self.stage == Stage::Confirmed
    }

    pub fn take(&mut self, event: &Event, counts: &mut Counts) -> Checked {
        match event {
            Event::Submitted(event) => {
                counts.see(Sight::Order);
                self.lines = event.lines.iter().map(|line| (line.sku.clone(), i64::from(line.quantity))).collect();
                self.total = Some(event.totals.total);
                self.go(Stage::Nothing, Stage::Submitted)?;
            }
            Event::Placed(_) => {
                self.was_placed = true;
                self.go(Stage::Submitted, Stage::Placed)?;
            }
            Event::Rejected(event) => {
                counts.see(rejection(event.reason));
                self.go(Stage::Submitted, Stage::Rejected)?;
            }
            Event::Confirmed(event) => {
                counts.see(Sight::Confirmed);
                self.was_confirmed = true;
                self.captured = Some(event.captured);
                self.go(Stage::Placed, Stage::Confirmed)?;
            }
            Event::Cancelled(event) => {
                counts.see(match event.cause {
                    CancellationCause::Requested => Sight::CancelledOnRequest,
                    CancellationCause::PaymentDeclined { .. } => Sight::Declined,
                    CancellationCause::PaymentExpired => Sight::PaymentExpired,
                    CancellationCause::StockLost { .. } => Sight::StockLost,
                });
                if event.was_confirmed {
                    counts.see(Sight::CancelledConfirmed);
                }
                self.go(if event.was_confirmed { Stage::Confirmed } else { Stage::Placed }, Stage::Cancelled)?;
                if !self.shipped.is_empty() {
                    return broken(Invariant::StockFollowsOrder, "an order was cancelled of which units had left");
                }
            }
            Event::CapturedLate(event) => {
                counts.see(Sight::CapturedLate);
                self.captured = Some(event.captured);
            }
            Event::Shipped(event) => {
                counts.see(Sight::Shipped);
                add(&mut self.shipped, &event.items);
            }
            Event::Delivered(_) => counts.see(Sight::Delivered),
            Event::Returned(event) => {
                counts.see(if event.restock { Sight::Restocked } else { Sight::NotRestocked });
                add(&mut self.returned, &event.items);
                if event.restock {
                    add(&mut self.restocked, &event.items);
                }
            }
            Event::Refunded(event) => {
                if self.refunded.insert(event.refund, event.amount).is_some() {
                    return broken(Invariant::Money, format!("refund {} is told twice", event.refund));
                }
            }
            Event::RefundFailed(event) => {
                if !self.failed_refunds.insert(event.refund) {
                    return broken(Invariant::Money, format!("the failure of refund {} is told twice", event.refund));
                }
            }
            Event::RefundRequested(_) | Event::Imported(_) | Event::ReturnImported(_) => {}
        }
        self.check_units()
    }

    fn go(&mut self, from: Stage, to: Stage) -> Checked {
        if self.stage != from {
            return broken(Invariant::OrderFinal, format!("an order goes to {to:?} from {:?}", self.stage));
        }
        self.stage = to;
        Ok(())
    }

    fn check_units(&self) -> Checked {
        let within = |some: &BTreeMap<Sku, i64>, all: &BTreeMap<Sku, i64>| {
            some.iter().all(|(sku, quantity)| all.get(sku).is_some_and(|all| quantity <= all))
        };
        if within(&self.shipped, &self.lines) && within(&self.returned, &self.shipped) {
            return Ok(());
        }
        broken(Invariant::StockFollowsOrder, "more units left, or came back, than there were")
    }

    /// What must hold in the end. Nobody ships or delivers any more, so that confirmed and shipped orders stay as they are.
    pub fn finish(&self, id: OrderId, stock: &BTreeMap<Sku, Stock>) -> Checked {
        if matches!(self.stage, Stage::Nothing | Stage::Submitted | Stage::Placed) {
            return broken(Invariant::OrderFinal, format!("order {id} is still {:?}", self.stage));
        }
        for (sku, quantity) in &self.lines {
            let moved = stock.get(sku).map(|stock| stock.moved(id)).unwrap_or_default();
            let restocked = self.restocked.get(sku).copied().unwrap_or(0);
            let follows = match self.stage {
                Stage::Confirmed => moved.committed == *quantity && moved.returned == restocked,
                // What was lost never left; what left came back.
                Stage::Cancelled if self.was_confirmed => moved.committed == moved.returned && moved.committed <= *quantity,
                _ => moved.committed == 0 && moved.returned == 0,
            };
            if !follows {
                let detail = format!(
                    "order {id} is {:?}: of {quantity} units of {sku}, {} left stock and {} came back",
                    self.stage, moved.committed, moved.returned
                );
                return broken(Invariant::StockFollowsOrder, detail);
            }
        }
        Ok(())
    }
}

fn add(units: &mut BTreeMap<Sku, i64>, items: &[ItemQuantity]) {
    for item in items {
        *units.entry(item.sku.clone()).or_default() += i64::from(item.quantity);
    }
}

fn rejection(reason: RejectionReason) -> Sight {
    match reason {
        RejectionReason::Abandoned => Sight::Abandoned,
        RejectionReason::OutOfStock => Sight::OutOfStock,
        RejectionReason::LimitPerCustomer => Sight::LimitReached,
        RejectionReason::PriceChanged => Sight::PriceChanged,
        RejectionReason::CartChanged => Sight::Rejected,
    }
}
