//! Staff: they receive and count units, announce flash sales and call them off, change prices, and see orders through.

use domain::{
    Aggregate,
    order::{self, Order},
    stock::{self, Stock},
};
use event_schemas::{
    Event, StreamId, Timestamp,
    events::{order::ItemQuantity, stock::Event as StockEvent},
    ids::{FlashSaleId, OrderId, ShipmentId, Sku},
    resource::OrderStatus,
};

use super::requests::{NewSale, Request, Shop, ask};
use crate::{scheduler::Sim, world::World};

/// Waits for some part of the time that the shop is open.
async fn some_time(sim: &Sim) {
    let at = {
        let mut world = sim.world();
        let (now, until) = (world.now, world.shape.opens_until);
        if until > now { world.rng.i64(now..until) } else { now + 1_000 }
    };
    sim.until(at).await;
}

/// A day at the warehouse.
pub(crate) async fn count(sim: &Sim) {
    for _ in 0..3 {
        some_time(sim).await;
        let request = {
            let mut world = sim.world();
            let skus = world.skus.len();
            let sku = world.rng.usize(0..skus);
            let sku = world.skus[sku].clone();
            match world.rng.u32(0..6) {
                0 | 1 => Request::Receive(sku, world.rng.u32(1..=8)),
                2 if world.rng.bool() => Request::Adjust(sku.clone(), -free(&world, &sku)),
                2 | 3 => Request::Adjust(sku, [-4, -3, -2, -1, 1, 2][world.rng.usize(0..6)]),
                4 => Request::Reprice(sku, Shop::pence(world.rng.i64(1..=3) * 250)),
                _ => Request::Archive(sku, world.rng.bool()),
            }
        };
        ask(sim, request).await;
    }
}

/// The units of a SKU that nobody holds: some count that all of them are gone.
fn free(world: &World, sku: &Sku) -> i64 {
    let stream = StreamId::stock(sku);
    let events = world.log.tail(&stream, 0);
    let own = events.filter_map(|recorded| Stock::own(&recorded.event).map(|event| (event, recorded.recorded_at)));
    let state = own.fold(stock::State::default(), |state, (event, at)| Stock::evolve(state, event, at));
    state.on_hand() - state.reserved_units()
}

/// In a rush, units are gone as soon as their reservation has run out.
pub(crate) async fn clear_away(sim: &Sim) {
    let mut position = 0;
    while sim.world().shape.is_rush {
        let expired: Vec<Sku> = {
            let world = sim.world();
            let events = world.log.after(position).iter();
            let expired = events.filter(|recorded| matches!(&recorded.event, Event::Stock(StockEvent::Expired(_))));
            expired.filter_map(|recorded| recorded.stream.key().parse().ok()).collect()
        };
        position = sim.world().log.head();
        for sku in expired {
            let gone = free(&sim.world(), &sku);
            if gone > 0 && sim.world().is_chaos() {
                ask(sim, Request::Adjust(sku, -gone)).await;
            }
        }
        if sim.world().log.head() == position {
            sim.park(None).await;
        }
    }
}

/// A flash sale: announced, and perhaps called off.
pub(crate) async fn hold_sale(sim: &Sim) {
    some_time(sim).await;
    let (sale, cancels, after) = {
        let mut world = sim.world();
        let skus = world.skus.len();
        let sku = world.rng.usize(0..skus);
        let begins = world.now + world.rng.i64(-20_000_000..40_000_000);
        let length = world.rng.i64(5_000_000..240_000_000);
        let limit = world.rng.u32(0..4);
        let sale = NewSale {
            sku: world.skus[sku].clone(),
            starts_at: Timestamp::from_micros(begins),
            ends_at: Timestamp::from_micros(begins + length),
            allotment: world.rng.u32(1..=6),
            price: Shop::pence(125),
            limit: (limit > 0).then_some(limit),
        };
        (sale, world.rng.u32(0..4) == 0, world.rng.i64(1_000_000..200_000_000))
    };
    if let Some(sale) = ask(sim, Request::Announce(sale)).await.map(FlashSaleId)
        && cancels
    {
        sim.sleep(after).await;
        ask(sim, Request::CancelSale(sale)).await;
    }
}

/// What staff is shown of an order: the log's own view, some moments old by the time they act.
fn view(sim: &Sim, order: OrderId) -> order::State {
    let (stream, world) = (StreamId::order(order), sim.world());
    let events = world.log.tail(&stream, 0);
    let own = events.filter_map(|recorded| Order::own(&recorded.event).map(|event| (event, recorded.recorded_at)));
    own.fold(order::State::default(), |state, (event, at)| Order::evolve(state, event, at))
}

/// Sees an order through, as far as it goes.
pub(crate) async fn follow(sim: &Sim, order: OrderId) {
    for _ in 0..7 {
        let pause = {
            let mut world = sim.world();
            if world.rng.u32(0..3) == 0 { world.rng.i64(1_000_000..120_000_000) } else { world.rng.i64(1_000..1_500_000) }
        };
        sim.sleep(pause).await;
        let state = view(sim, order);
        let Some(purchase) = state.purchase() else { return };
        let request = match purchase.status() {
            OrderStatus::Placed => continue,
            OrderStatus::Confirmed | OrderStatus::PartlyShipped => ship(sim, order, purchase),
            OrderStatus::Shipped => after_shipping(sim, order, purchase),
            OrderStatus::Delivered => take_back(sim, order, purchase),
            _ => refund(sim, order, purchase),
        };
        match request {
            Some(request) => drop(ask(sim, request).await),
            None => return,
        }
    }
}

fn ship(sim: &Sim, order: OrderId, purchase: &order::Purchase) -> Option<Request> {
    let mut world = sim.world();
    let left = purchase.unshipped();
    match world.rng.u32(0..5) {
        0 => left.first().map(|item| Request::Ship(order, Some(vec![ItemQuantity { sku: item.sku.clone(), quantity: 1 }]))),
        1 => None,
        _ => Some(Request::Ship(order, None)),
    }
}

fn after_shipping(sim: &Sim, order: OrderId, purchase: &order::Purchase) -> Option<Request> {
    let shipment: Option<ShipmentId> = purchase.shipments.iter().find(|known| known.delivered_at.is_none()).map(|known| known.id);
    if sim.world().rng.u32(0..4) == 0 {
        return take_back(sim, order, purchase);
    }
    shipment.map(|shipment| Request::Deliver(order, shipment))
}

fn take_back(sim: &Sim, order: OrderId, purchase: &order::Purchase) -> Option<Request> {
    if sim.world().rng.bool() {
        return refund(sim, order, purchase);
    }
    let mut world = sim.world();
    let line = world.rng.usize(0..purchase.lines.len());
    let line = purchase.lines.get(line)?;
    let items = vec![ItemQuantity { sku: line.sku.clone(), quantity: world.rng.u32(1..=line.quantity) }];
    let restock = world.rng.bool();
    Some(Request::TakeBack(order, items, restock))
}

fn refund(sim: &Sim, order: OrderId, purchase: &order::Purchase) -> Option<Request> {
    let mut world = sim.world();
    let total = purchase.totals.total;
    match world.rng.u32(0..4) {
        0 => None,
        1 => Some(Request::Refund(order, total)),
        _ => Some(Request::Refund(order, Shop::pence(world.rng.i64(1..400)))),
    }
}
