//! What becomes of a SKU's stock.

use event_schemas::{
    customer,
    events::stock::{Event, StockAllotted, StockReserved, StockReturned},
    ids::{FlashSaleId, OrderId},
};

use super::{Count, Reservation, Sale, State};

pub(super) fn evolve(state: State, event: &Event) -> Count {
    let mut count = match state {
        State::Nothing => Count::default(),
        State::Counted(count) => count,
    };
    match event {
        Event::Received(received) => count.add(i64::from(received.quantity)),
        Event::Adjusted(adjusted) => count.add(adjusted.quantity),
        Event::Reserved(reserved) => count.reserve(reserved),
        Event::Committed(committed) => count.commit(committed.order),
        Event::Released(released) => count.free(released.order),
        Event::Expired(expired) => count.free(expired.order),
        Event::Returned(returned) => count.take_back(returned),
        Event::Allotted(allotted) => count.allot(allotted),
        Event::AllotmentClosed(closed) => count.close(closed.sale),
        Event::CorrectionImported(_) | Event::Withheld(_) => {}
    }
    count
}

impl Count {
    fn add(&mut self, quantity: i64) {
        self.on_hand = self.on_hand.saturating_add(quantity);
    }

    fn reserve(&mut self, event: &StockReserved) {
        let StockReserved { order, quantity, until, customer, sale } = event.clone();
        if self.reservations.contains_key(&order) {
            return;
        }
        self.held = self.held.saturating_add(i64::from(quantity));
        self.expiries.insert((until, order));
        let open_sale = sale.and_then(|sale| self.sales.get_mut(&sale));
        let of_allotment = open_sale.is_some();
        if let Some(sale) = open_sale {
            sale.reserved = sale.reserved.saturating_add(i64::from(quantity));
            sale.count_customer(&customer, i64::from(quantity));
        }
        self.reservations.insert(order, Reservation { quantity, until, customer, sale, of_allotment });
    }

    /// The order's hold ends; its units leave stock.
    fn commit(&mut self, order: OrderId) {
        let Some(held) = self.end_hold(order) else { return };
        let quantity = i64::from(held.quantity);
        self.add(-quantity);
        if let Some(sale) = self.sale_of(&held) {
            sale.reserved -= quantity;
            sale.sold = sale.sold.saturating_add(quantity);
        }
    }

    /// The order's hold ends; its units go back to where they are of: their sale while it is open, else ordinary stock.
    fn free(&mut self, order: OrderId) {
        let Some(held) = self.end_hold(order) else { return };
        let quantity = i64::from(held.quantity);
        if let Some(sale) = self.sale_of(&held) {
            sale.reserved -= quantity;
            sale.count_customer(&held.customer, -quantity);
        }
    }

    fn end_hold(&mut self, order: OrderId) -> Option<Reservation> {
        let held = self.reservations.remove(&order)?;
        self.expiries.remove(&(held.until, order));
        self.held -= i64::from(held.quantity);
        Some(held)
    }

    /// The sale whose allotment the units are of, while it is open.
    fn sale_of(&mut self, held: &Reservation) -> Option<&mut Sale> {
        held.sale.filter(|_| held.of_allotment).and_then(|sale| self.sales.get_mut(&sale))
    }

    fn take_back(&mut self, event: &StockReturned) {
        let quantity = i64::from(event.quantity);
        self.add(quantity);
        if let Some(sale) = event.sale.and_then(|sale| self.sales.get_mut(&sale)) {
            sale.sold = (sale.sold - quantity).max(0);
            sale.count_customer(&event.customer, -quantity);
        }
    }

    fn allot(&mut self, event: &StockAllotted) {
        let StockAllotted { sale: id, quantity: allotment, starts_at, ends_at, price, limit_per_customer } = *event;
        let (sold, reserved, customers) = (0, 0, std::collections::BTreeMap::new());
        let sale = Sale { id, allotment, starts_at, ends_at, price, limit_per_customer, sold, reserved, customers };
        self.sales.entry(id).or_insert(sale);
    }

    /// What orders still hold of the sale goes back to ordinary stock from now on, should it come back.
    fn close(&mut self, sale: FlashSaleId) {
        if self.sales.remove(&sale).is_some() {
            self.reservations.values_mut().filter(|held| held.sale == Some(sale)).for_each(|held| held.of_allotment = false);
        }
    }
}

impl Sale {
    fn count_customer(&mut self, customer: &str, quantity: i64) {
        // Old events have addresses in lower case only.
        let customer = customer::of_email(customer);
        let held = self.customers.entry(customer.clone()).or_default();
        *held = held.saturating_add(quantity).max(0);
        if *held == 0 {
            self.customers.remove(&customer);
        }
    }
}
