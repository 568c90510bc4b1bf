//! The book of a SKU.

use std::collections::BTreeMap;

use domain::{Aggregate, stock};
use event_schemas::{
    StreamId,
    events::stock::Event,
    ids::{FlashSaleId, OrderId, Sku},
};

use super::{Checked, broken};
use crate::{
    counts::{Counts, Sight},
    log::Log,
    verdict::{Invariant, Violation},
};

#[derive(Default)]
pub(super) struct Stock {
    received: i64,
    adjusted: i64,
    committed: i64,
    returned: i64,
    held: BTreeMap<OrderId, Hold>,
    sales: BTreeMap<FlashSaleId, Sale>,
    moved: BTreeMap<OrderId, Moved>,
}

struct Hold {
    quantity: i64,
    customer: String,
    sale: Option<FlashSaleId>,
}

struct Sale {
    left: i64,
    limit: Option<i64>,
    customers: BTreeMap<String, i64>,
}

/// What left stock for an order, and came back.
#[derive(Default, Clone, Copy)]
pub(super) struct Moved {
    pub committed: i64,
    pub returned: i64,
}

impl Stock {
    fn on_hand(&self) -> i64 {
        self.received + self.adjusted - self.committed + self.returned
    }

    /// Units that are neither held nor set aside.
    pub fn free(&self) -> i64 {
        let held: i64 = self.held.values().map(|hold| hold.quantity).sum();
        let set_aside: i64 = self.sales.values().map(|sale| sale.left).sum();
        self.on_hand() - held - set_aside
    }

    pub fn moved(&self, order: OrderId) -> Moved {
        self.moved.get(&order).copied().unwrap_or_default()
    }

    pub fn take(&mut self, event: &Event, counts: &mut Counts) -> Checked {
        match event {
            Event::Received(event) => self.received += i64::from(event.quantity),
            Event::Adjusted(event) => self.adjusted += event.quantity,
            Event::Reserved(event) => {
                let (quantity, customer, sale) = (i64::from(event.quantity), event.customer.clone(), event.sale);
                if let Some(id) = sale {
                    counts.see(Sight::SoldInSale);
                    self.sell(id, &customer, quantity)?;
                }
                if self.held.insert(event.order, Hold { quantity, customer, sale }).is_some() {
                    return broken(Invariant::ReservationsEndOnce, format!("order {} holds units twice", event.order));
                }
            }
            Event::Committed(event) => {
                let hold = self.end(event.order, event.quantity, "committed")?;
                self.committed += hold.quantity;
                self.moved.entry(event.order).or_default().committed += hold.quantity;
            }
            Event::Released(event) => {
                let hold = self.end(event.order, event.quantity, "released")?;
                self.give_back(&hold, event.to_allotment)?;
            }
            Event::Expired(event) => {
                counts.see(Sight::Expired);
                let hold = self.end(event.order, event.quantity, "expired")?;
                self.give_back(&hold, event.to_allotment)?;
            }
            Event::Returned(event) => {
                let quantity = i64::from(event.quantity);
                self.returned += quantity;
                self.moved.entry(event.order).or_default().returned += quantity;
                let hold = Hold { quantity, customer: event.customer.clone(), sale: event.sale };
                self.give_back(&hold, event.sale.is_some())?;
            }
            Event::Allotted(event) => {
                let (left, limit) = (i64::from(event.quantity), event.limit_per_customer.map(i64::from));
                self.sales.insert(event.sale, Sale { left, limit, customers: BTreeMap::new() });
            }
            Event::AllotmentClosed(event) => match self.sales.remove(&event.sale) {
                Some(sale) if sale.left == i64::from(event.unsold) => {}
                Some(sale) => {
                    let detail = format!("sale {} closes with {} unsold where {} are left", event.sale, event.unsold, sale.left);
                    return broken(Invariant::NotOversold, detail);
                }
                None => return broken(Invariant::NotOversold, format!("sale {} closes and was not open", event.sale)),
            },
            Event::CorrectionImported(_) | Event::Withheld(_) => {}
        }
        Ok(())
    }

    fn sell(&mut self, id: FlashSaleId, customer: &str, quantity: i64) -> Checked {
        let Some(sale) = self.sales.get_mut(&id) else {
            return broken(Invariant::NotOversold, format!("sale {id} sells and is not open"));
        };
        sale.left -= quantity;
        let has = sale.customers.entry(customer.to_owned()).or_default();
        *has += quantity;
        if sale.left < 0 {
            return broken(Invariant::NotOversold, format!("sale {id} has sold {} more than its allotment", -sale.left));
        }
        if sale.limit.is_some_and(|limit| *has > limit) {
            return broken(Invariant::LimitPerCustomer, format!("{customer} has {has} units of sale {id}, the limit is {:?}", sale.limit));
        }
        Ok(())
    }

    fn end(&mut self, order: OrderId, quantity: u32, how: &str) -> Result<Hold, Violation> {
        match self.held.remove(&order) {
            Some(hold) if hold.quantity == i64::from(quantity) => Ok(hold),
            Some(hold) => {
                let detail = format!("order {order} held {} units and {quantity} are {how}", hold.quantity);
                Err(Violation::new(Invariant::ReservationsEndOnce, detail))
            }
            None => Err(Violation::new(Invariant::ReservationsEndOnce, format!("order {order} holds nothing and {quantity} are {how}"))),
        }
    }

    fn give_back(&mut self, hold: &Hold, to_allotment: bool) -> Checked {
        let Some(sale) = hold.sale.and_then(|sale| self.sales.get_mut(&sale)) else {
            return if to_allotment {
                broken(Invariant::NotOversold, format!("{} units go back to a sale that is not open", hold.quantity))
            } else {
                Ok(())
            };
        };
        sale.left += hold.quantity;
        *sale.customers.entry(hold.customer.clone()).or_default() -= hold.quantity;
        Ok(())
    }

    /// What must hold at any time.
    pub fn check(&self, sku: &Sku) -> Checked {
        let held: i64 = self.held.values().map(|hold| hold.quantity).sum();
        let set_aside: i64 = self.sales.values().map(|sale| sale.left).sum();
        let on_hand = self.on_hand();
        if on_hand < held + set_aside || on_hand < 0 {
            let detail = format!("{sku}: {held} are held and {set_aside} set aside of {on_hand} on hand");
            return broken(Invariant::NotOversold, detail);
        }
        Ok(())
    }

    /// What must hold in the end.
    pub fn finish(&self, sku: &Sku, log: &Log) -> Checked {
        self.check(sku)?;
        if let Some((order, hold)) = self.held.iter().next() {
            return broken(Invariant::NothingHeld, format!("order {order} still holds {} of {sku}", hold.quantity));
        }
        if let Some(sale) = self.sales.keys().next() {
            return broken(Invariant::NothingHeld, format!("the allotment of sale {sale} of {sku} is still open"));
        }
        let stream = StreamId::stock(sku);
        let own = log.tail(&stream, 0).filter_map(|recorded| Some((stock::Stock::own(&recorded.event)?, recorded.recorded_at)));
        let state = own.fold(stock::State::default(), |state, (event, at)| stock::Stock::evolve(state, event, at));
        if state.on_hand() != self.on_hand() || state.reserved_units() != 0 {
            let (on_hand, reserved) = (state.on_hand(), state.reserved_units());
            let detail =
                format!("{sku}: the aggregate has {on_hand} on hand and {reserved} reserved, the events say {} and 0", self.on_hand());
            return broken(Invariant::OnHand, detail);
        }
        Ok(())
    }
}
