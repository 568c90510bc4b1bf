//! Buyers: they fill a cart, check it out, perhaps change their mind, and ask again where no answer comes.

use event_schemas::{
    events::order::ItemQuantity,
    ids::{CartId, OrderId},
};

use super::{
    checkout::Wanted,
    requests::{Request, Shop, ask},
    staff,
};
use crate::scheduler::Sim;

/// The tokens of `API.md`, the good one more often.
const TOKENS: [&str; 9] = ["tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined", "tok_slow", "tok_flaky", "tok_lost", "tok_down"];

/// One buyer's visit.
pub(crate) async fn visit(sim: &Sim) {
    let begins_at = {
        let mut world = sim.world();
        let opens_until = world.shape.opens_until;
        let now = world.now;
        world.rng.i64(now..opens_until)
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
