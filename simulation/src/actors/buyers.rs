//! Buyers: they fill a cart, check it out, perhaps change their mind, and ask again where no answer comes.

use command_api::pricing;
use domain::{product::Product, stock::Stock};
use event_schemas::{
    StreamId, Timestamp,
    events::order::ItemQuantity,
    ids::{CartId, OrderId},
};

use super::{
    checkout::Wanted,
    requests::{Request, Shop, ask},
    staff,
};
use crate::scheduler::{Sim, Slot};

/// The tokens of `API.md`, the good one more often.
const TOKENS: [&str; 10] =
    ["tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_slow", "tok_flaky", "tok_lost", "tok_down", "tok_no_refund"];

/// One buyer's visit.
pub(crate) async fn visit(sim: &Sim) {
    let begins_at = {
        let mut world = sim.world();
        let (now, until) = (world.now, world.shape.buyers_until);
        world.rng.i64(now..until)
    };
    sim.until(begins_at).await;
    let items = some_items(sim);
    let Some(cart) = ask(sim, Request::CreateCart(items)).await.map(CartId) else { return };
    change_mind(sim, cart).await;
    let wanted = {
        let mut world = sim.world();
        let customers = world.shape.customers;
        let (customer, token) = (world.rng.usize(0..customers), world.rng.usize(0..TOKENS.len()));
        let expects = world.rng.u32(0..6) == 0;
        let expected_total = expects.then(|| Shop::pence(world.rng.i64(1..=4) * 250));
        // The same customer writes the address in several ways.
        let email = if world.rng.bool() { format!("c{customer}@shop.example") } else { format!("C{customer}@Shop.example") };
        Wanted { cart, email, token: TOKENS[token], expected_total }
    };
    let twice = sim.world().rng.u32(0..12) == 0;
    if twice {
        // In two windows at once, each with a key of its own: at most one of them buys the cart.
        let (actor, again) = (sim.clone(), wanted.clone());
        sim.spawn("second window", async move {
            ask(&actor, Request::CheckOut(again)).await;
        });
    }
    let Some(order) = ask(sim, Request::CheckOut(wanted)).await.map(OrderId) else { return };
    sim.world().audit.acknowledge(order);
    let (cancels, after) = {
        let mut world = sim.world();
        let deadline = world.shape.payment_deadline.num_microseconds().unwrap_or(0);
        let most = if world.rng.bool() { 3_000_000 } else { deadline * 3 / 2 };
        (world.rng.u32(0..4) == 0, world.rng.i64(1_000..most))
    };
    if cancels {
        sim.sleep(after).await;
        ask(sim, Request::Cancel(order)).await;
    }
    staff::follow(sim, order).await;
}

/// At the end, when nothing goes wrong any more and nobody holds anything, two buyers want all that is free, at once and in opposite order,
/// and one of them gets it. Servers of the version before refuse both: there they come one after the other.
pub(crate) async fn come_late(sim: &Sim) {
    let begins_at = {
        let world = sim.world();
        // Whoever is away from the last moment of the day on is back by then, and has done what there was to do.
        world.shape.settles_at.max(world.shape.opens_until + world.shape.longest_hold() + 300_000_000) + 600_000_000
    };
    sim.until(begins_at).await;
    let items = free_items(sim);
    if items.is_empty() {
        return;
    }
    let reversed: Vec<ItemQuantity> = items.iter().rev().cloned().collect();
    let at_once = sim.world().servers.iter().all(|server| !server.is_older);
    let (slot, actor) = (Slot::new(), sim.clone());
    let told = slot.clone();
    let first = async move {
        let order = buy_all(&actor, items, "first@shop.example").await;
        told.answer(&actor, order);
    };
    sim.spawn("latecomer", first);
    let mut orders = Vec::new();
    if !at_once {
        orders.extend(slot.wait(sim, i64::MAX).await.flatten());
    }
    orders.extend(buy_all(sim, reversed, "second@shop.example").await);
    if at_once {
        orders.extend(slot.wait(sim, i64::MAX).await.flatten());
    }
    sim.world().audit.note_last(orders);
}

/// All units that anybody may buy at the ordinary price.
fn free_items(sim: &Sim) -> Vec<ItemQuantity> {
    let mut world = sim.world();
    let now = Timestamp::from_micros(world.now);
    let mut items = Vec::new();
    for sku in world.skus.clone() {
        let (product, stock) = (StreamId::product(&sku), StreamId::stock(&sku));
        world.refresh::<Product>(0, &product);
        world.refresh::<Stock>(0, &stock);
        let is_sold = world
            .cached::<Product>(0, &product)
            .is_some_and(|product| pricing::listed(product.state()).is_some_and(|offer| offer.price_in(Shop::currency()).is_some()));
        let available = world.cached::<Stock>(0, &stock).map_or(0, |stock| stock.state().available(now));
        if let (true, Ok(quantity @ 1..)) = (is_sold, u32::try_from(available)) {
            items.push(ItemQuantity { sku, quantity });
        }
    }
    items
}

async fn buy_all(sim: &Sim, items: Vec<ItemQuantity>, email: &str) -> Option<OrderId> {
    let cart = ask(sim, Request::CreateCart(items)).await.map(CartId)?;
    let wanted = Wanted { cart, email: email.into(), token: "tok_ok", expected_total: None };
    let order = ask(sim, Request::CheckOut(wanted)).await.map(OrderId)?;
    sim.world().audit.acknowledge(order);
    Some(order)
}

fn some_items(sim: &Sim) -> Vec<ItemQuantity> {
    let mut world = sim.world();
    let mut skus = world.skus.clone();
    world.rng.shuffle(&mut skus);
    let many = world.rng.usize(1..=skus.len());
    skus.into_iter().take(many).map(|sku| ItemQuantity { sku, quantity: world.rng.u32(1..=3) }).collect()
}

/// Perhaps changes a line.
async fn change_mind(sim: &Sim, cart: CartId) {
    let change = {
        let mut world = sim.world();
        let skus = world.skus.len();
        let sku = world.rng.usize(0..skus);
        let sku = world.skus[sku].clone();
        match world.rng.u32(0..8) {
            0 => Some(Request::SetItem(cart, sku, world.rng.u32(1..=4))),
            1 => Some(Request::RemoveItem(cart, sku)),
            _ => None,
        }
    };
    if let Some(change) = change {
        ask(sim, change).await;
    }
}
