//! Checks what must hold, from the log alone: by books of its own, not by the aggregates.

mod money;
mod orders;
mod stock;

use std::collections::{BTreeMap, HashMap, HashSet};

use event_schemas::{
    Event, Recorded, StreamId,
    events::{cart::Event as CartEvent, flash_sale::Event as SaleEvent},
    ids::{FlashSaleId, OrderId, Sku},
};
use uuid::Uuid;

use crate::{
    counts::{Counts, Sight},
    verdict::{Invariant, Violation},
    world::{Role, World},
};
use money::Payment;
use orders::Order;
use stock::Stock;

type Checked = Result<(), Violation>;

fn broken(invariant: Invariant, detail: impl Into<String>) -> Checked {
    Err(Violation::new(invariant, detail))
}

/// The books of one run.
#[derive(Default)]
pub(crate) struct Audit {
    position: i64,
    versions: HashMap<StreamId, i64>,
    ids: HashSet<Uuid>,
    stock: BTreeMap<Sku, Stock>,
    orders: BTreeMap<OrderId, Order>,
    payments: BTreeMap<OrderId, Payment>,
    /// The order that each cart became.
    carts: BTreeMap<StreamId, OrderId>,
    /// Whether each flash sale is over.
    sales: BTreeMap<FlashSaleId, bool>,
    /// Orders that their buyers were told of.
    acknowledged: Vec<OrderId>,
}

impl Audit {
    /// Takes an event into the books.
    pub fn take(&mut self, recorded: &Recorded, counts: &mut Counts) -> Checked {
        self.position += 1;
        let version = self.versions.entry(recorded.stream.clone()).or_default();
        *version += 1;
        if (recorded.position, recorded.version) != (self.position, *version) {
            let (stream, position) = (&recorded.stream, recorded.position);
            return broken(Invariant::Sequence, format!("{stream} has version {} at position {position}", recorded.version));
        }
        if !self.ids.insert(recorded.event_id) {
            return broken(Invariant::Sequence, format!("the id of {} {} is there twice", recorded.stream, recorded.version));
        }
        let key = recorded.stream.key();
        match (&recorded.event, key.parse::<Uuid>(), key.parse::<Sku>()) {
            (Event::Stock(event), _, Ok(sku)) => self.stock.entry(sku).or_default().take(event, counts),
            (Event::Order(event), Ok(order), _) => self.orders.entry(OrderId(order)).or_default().take(event, counts),
            (Event::Payment(event), Ok(order), _) => self.payments.entry(OrderId(order)).or_default().take(event, counts),
            (Event::Cart(CartEvent::CheckedOut(event)), ..) => match self.carts.insert(recorded.stream.clone(), event.order) {
                Some(first) => broken(Invariant::CartBoughtOnce, format!("{} was bought by {first} and {}", recorded.stream, event.order)),
                None => Ok(()),
            },
            (Event::FlashSale(event), Ok(sale), _) => {
                self.take_sale(FlashSaleId(sale), event, counts);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_sale(&mut self, sale: FlashSaleId, event: &SaleEvent, counts: &mut Counts) {
        match event {
            SaleEvent::Announced(_) => counts.see(Sight::SaleAnnounced),
            SaleEvent::Cancelled(_) => counts.see(Sight::SaleCancelled),
            SaleEvent::Ended(_) => counts.see(Sight::SaleEnded),
            SaleEvent::Started(_) => {}
        }
        self.sales.insert(sale, matches!(event, SaleEvent::Cancelled(_) | SaleEvent::Ended(_)));
    }

    /// A buyer was told that an order is placed.
    pub fn acknowledge(&mut self, order: OrderId) {
        self.acknowledged.push(order);
    }

    /// What must hold after everything that is committed as a whole.
    pub fn after_unit(&self) -> Checked {
        self.stock.iter().try_for_each(|(sku, stock)| stock.check(sku))
    }

    /// What must hold in the end.
    pub fn finish(&self, world: &World) -> Checked {
        for (sku, stock) in &self.stock {
            stock.finish(sku, &world.log)?;
        }
        if let Some((sale, _)) = self.sales.iter().find(|(_, is_over)| !**is_over) {
            return broken(Invariant::NothingHeld, format!("flash sale {sale} neither ended nor was cancelled"));
        }
        for (id, order) in &self.orders {
            order.finish(*id, &self.stock)?;
            money::finish(*id, order, self.payments.get(id))?;
            let bought = self.carts.iter().any(|(_, by)| by == id);
            if order.was_placed() != bought {
                return broken(Invariant::CartBoughtOnce, format!("order {id} and its cart disagree on whether it was bought"));
            }
        }
        if let Some((cart, order)) = self.carts.iter().find(|(_, order)| !self.orders.get(order).is_some_and(Order::was_placed)) {
            return broken(Invariant::CartBoughtOnce, format!("{cart} was bought by order {order}, which was never placed"));
        }
        if let Some(order) = self.acknowledged.iter().find(|order| !self.orders.get(order).is_some_and(Order::was_placed)) {
            return broken(Invariant::OrderFinal, format!("a buyer was told of order {order}, which was never placed"));
        }
        money::compare(&self.payments, &world.gateway)?;
        consumers(world)
    }
}

/// Every consumer is at the head, with nothing left to do.
fn consumers(world: &World) -> Checked {
    let head = world.log.head();
    for role in Role::ALL {
        let position = world.kept.position(role);
        if position != head {
            return broken(Invariant::ConsumersAtHead, format!("{role:?} is at {position} of {head}"));
        }
    }
    let (reminders, open) = (&world.kept.reminders, &world.kept.open_payments);
    if !reminders.is_empty() || !open.is_empty() {
        return broken(Invariant::ConsumersAtHead, format!("still to be done: reminders {reminders:?}, payments {open:?}"));
    }
    Ok(())
}
