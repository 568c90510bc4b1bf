//! Fulfilment of what was paid, as far as there is stock, whoever was away.

use std::collections::{BTreeMap, HashMap};

use event_schemas::{
    Event, Recorded,
    events::{
        order::{CancellationCause, Event as OrderEvent},
        payment::Event as PaymentEvent,
        stock::Event as StockEvent,
    },
    ids::{CommandId, OrderId, Sku},
};
use uuid::Uuid;

use super::{Checked, broken, orders::Order, stock::Stock};
use crate::{
    counts::{Counts, Sight},
    verdict::Invariant,
};

/// The promises made to those who paid, and the stock there was to keep them with.
#[derive(Default)]
pub(super) struct Promises {
    /// The log's head at the time for which a command ends what is due, by command.
    due: HashMap<Uuid, i64>,
    /// The position at which each order's payment was captured.
    captured: BTreeMap<OrderId, i64>,
    /// The position at which each order was confirmed.
    confirmed: BTreeMap<OrderId, i64>,
    /// From which position on how many units of a SKU were free.
    free: BTreeMap<Sku, Vec<(i64, i64)>>,
}

impl Promises {
    /// A command ends what is due at a time at which the log reached to `head`.
    pub fn due(&mut self, command: CommandId, head: i64) {
        self.due.insert(command.uuid(), head);
    }

    /// Takes an event in that the other books have taken.
    pub fn take(
        &mut self,
        recorded: &Recorded,
        orders: &BTreeMap<OrderId, Order>,
        stock: &BTreeMap<Sku, Stock>,
        counts: &mut Counts,
    ) -> Checked {
        let (position, key) = (recorded.position, recorded.stream.key());
        match (&recorded.event, key.parse::<Uuid>().map(OrderId), key.parse::<Sku>()) {
            (Event::Payment(PaymentEvent::Captured(_)), Ok(order), _) => drop(self.captured.insert(order, position)),
            (Event::Order(OrderEvent::Confirmed(_)), Ok(order), _) => drop(self.confirmed.insert(order, position)),
            (Event::Order(OrderEvent::Cancelled(event)), Ok(order), _) => {
                if let CancellationCause::StockLost { skus } = &event.cause {
                    return skus.iter().try_for_each(|sku| self.was_short(order, sku, orders));
                }
            }
            (Event::Order(OrderEvent::Shipped(event)), Ok(order), _) => {
                let left = |sku: &Sku| stock.get(sku).is_some_and(|stock| stock.moved(order).committed > 0);
                if let Some(item) = event.items.iter().find(|item| !left(&item.sku)) {
                    let detail = format!("order {order} is shipped, and no units of {} have left stock for it", item.sku);
                    return broken(Invariant::StockFollowsOrder, detail);
                }
            }
            (Event::Stock(event), _, Ok(sku)) => {
                let free = stock.get(&sku).map_or(0, Stock::free);
                self.free.entry(sku).or_default().push((position, free));
                match event {
                    StockEvent::Expired(expired) => return self.was_unpaid(expired.order, recorded, orders),
                    StockEvent::Reserved(reserved) if orders.get(&reserved.order).is_some_and(Order::is_confirmed) => {
                        counts.see(Sight::ReservedAgain);
                    }
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A reservation expires: its order was not paid as far as could be seen by then, or was cancelled.
    fn was_unpaid(&self, order: OrderId, expired: &Recorded, orders: &BTreeMap<OrderId, Order>) -> Checked {
        let seen = self.due.get(&expired.metadata.command_id.uuid());
        let is_wanted = orders.get(&order).is_some_and(|order| !order.is_cancelled());
        match (self.captured.get(&order), seen) {
            (Some(captured), Some(seen)) if is_wanted && captured <= seen => {
                let detail = format!("order {order} was paid at {captured} and its reservation expires by a log up to {seen}");
                broken(Invariant::PaidIsFulfilled, detail)
            }
            _ => Ok(()),
        }
    }

    /// A confirmed order is cancelled for want of a SKU: at some time since its confirmation there was too little.
    fn was_short(&self, order: OrderId, sku: &Sku, orders: &BTreeMap<OrderId, Order>) -> Checked {
        let confirmed = self.confirmed.get(&order).copied().unwrap_or_default();
        let wanted = orders.get(&order).map_or(0, |order| order.quantity(sku));
        let history = self.free.get(sku).map_or(&[][..], Vec::as_slice);
        let since = history.iter().rposition(|(from, _)| *from <= confirmed).unwrap_or_default();
        let least = history.iter().skip(since).map(|(_, free)| *free).min().unwrap_or_default();
        if least < wanted {
            return Ok(());
        }
        let detail = format!("order {order} is cancelled for want of {wanted} of {sku}, of which {least} were free all the time");
        broken(Invariant::PaidIsFulfilled, detail)
    }
}
