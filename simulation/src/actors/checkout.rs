//! A checkout on a server: as `command-api/src/checkout.rs`, with the same pure decisions.

use std::collections::{BTreeMap, HashMap};

use command_api::{
    checkout::{
        Checkout,
        purchase::{self, Purchase, Rejection},
    },
    pricing::{self, Offer},
};
use domain::{
    cart::{self, Cart},
    order::{self, Order},
    payment::Payment,
    product::Product,
    stock::{self, Stock},
};
use event_schemas::{
    Event, Money, StreamId, Timestamp,
    events::order::{Address, Line, PaymentMeans, RejectionReason},
    ids::{CartId, OrderId, Sku},
};
use event_store::Error;

use super::requests::Reply;
use crate::{
    log::{Kept, Part, Unit},
    scheduler::Sim,
    server::{Context, MAX_ATTEMPTS, Staging},
    world::ServerId,
};

/// What a buyer sends.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub cart: CartId,
    pub email: String,
    pub token: &'static str,
    pub expected_total: Option<Money>,
}

/// The reason why a cart is not bought.
enum NotBought {
    Refused,
    /// The order says why.
    Rejected(RejectionReason, Vec<Sku>),
    /// The log did not take it, or did not say.
    Outage(Error),
}

/// What SKUs cost at `now`, as a server sees it.
pub(crate) async fn offers(sim: &Sim, server: ServerId, skus: &[Sku], now: Timestamp) -> HashMap<Sku, Offer> {
    let mut offers = HashMap::new();
    sim.hop().await;
    let mut world = sim.world();
    for sku in skus {
        let (product, stock) = (StreamId::product(sku), StreamId::stock(sku));
        world.refresh::<Product>(server, &product);
        world.refresh::<Stock>(server, &stock);
        let listed = world.cached::<Product>(server, &product).and_then(|product| pricing::listed(product.state()));
        let sale = world.cached::<Stock>(server, &stock).and_then(|stock| pricing::running(stock.state(), now));
        offers.extend(listed.map(|offer| (sku.clone(), offer.during(sale))));
    }
    offers
}

/// An order that is about to be placed.
pub(super) struct Attempt {
    pub sim: Sim,
    pub server: ServerId,
    pub context: Context,
    pub key: Option<u64>,
    pub purchase: Purchase,
}

/// Checks a cart out.
pub(crate) async fn run(sim: &Sim, server: ServerId, key: Option<u64>, wanted: Wanted) -> Reply {
    let cart = StreamId::cart(wanted.cart);
    let Some(attempt) = begin(sim, server, key, wanted).await else { return Reply::Refused };
    let refused = match attempt.buy().await {
        Ok(reply) => return reply,
        Err(NotBought::Outage(_)) => return Reply::Unavailable,
        Err(NotBought::Refused) => None,
        Err(NotBought::Rejected(reason, skus)) => Some((reason, skus)),
    };
    let order = sim.current::<Cart, _>(server, &cart, cart::State::order).await.flatten();
    if let (None, Some((reason, skus))) = (order, refused) {
        attempt.keep_rejected(reason, skus).await;
    }
    Reply::Refused
}

/// Begins an attempt to buy what is wanted, at the prices of now; none where it can't be bought.
pub(super) async fn begin(sim: &Sim, server: ServerId, key: Option<u64>, wanted: Wanted) -> Option<Attempt> {
    let context = sim.context(server, "client");
    let look = |state: &_| purchase::contents(state);
    let Some(Ok(contents)) = sim.current::<Cart, _>(server, &StreamId::cart(wanted.cart), look).await else { return None };
    let skus: Vec<Sku> = contents.items.iter().map(|item| item.sku.clone()).collect();
    let offers = offers(sim, server, &skus, context.now).await;
    let (order, deadline) = {
        let mut world = sim.world();
        (OrderId(world.new_id()), world.shape.payment_deadline)
    };
    let purchase = Purchase::new(order, checkout(wanted), contents, &offers, context.now, deadline).ok()?;
    Some(Attempt { sim: sim.clone(), server, context, key, purchase })
}

fn checkout(wanted: Wanted) -> Checkout {
    let Wanted { cart, email, token, expected_total } = wanted;
    let shipping_address = Address {
        name: "Ann".into(),
        line1: "1 High St".into(),
        line2: None,
        city: "Leeds".into(),
        region: None,
        postal_code: None,
        country: "GB".into(),
    };
    let payment = PaymentMeans { method: "simulated".into(), token: token.into() };
    Checkout { cart, email, shipping_address, payment, expected_total, metadata: BTreeMap::new() }
}

/// The outcome of an attempt before anything is committed.
enum Outcome {
    Again,
    RefusedByCart(i64, cart::Refusal),
    RefusedByStock(Vec<(Line, i64, stock::Refusal)>),
    Decided(Vec<Part>),
}

impl Attempt {
    async fn buy(&self) -> Result<Reply, NotBought> {
        for _ in 0..MAX_ATTEMPTS {
            match self.make().await {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) | Err(NotBought::Outage(Error::Conflict)) => {}
                Err(other) => return Err(other),
            }
        }
        Err(NotBought::Outage(Error::Overloaded))
    }

    /// Tries once; none where something moved meanwhile.
    async fn make(&self) -> Result<Option<Reply>, NotBought> {
        let (sim, server, id) = (&self.sim, self.server, self.purchase.order);
        let cart = StreamId::cart(self.purchase.cart);
        sim.ready::<Cart>(server, &cart).await;
        for line in self.purchase.lines() {
            sim.ready::<Stock>(server, &StreamId::stock(&line.sku)).await;
        }
        match self.stage() {
            Outcome::Again => Ok(None),
            Outcome::RefusedByCart(version, refusal) => {
                if !sim.confirm::<Cart>(server, &cart, version).await {
                    return Ok(None);
                }
                let rejected = Rejection::of_cart(&refusal).map(|rejection| NotBought::Rejected(rejection.reason, rejection.skus));
                Err(rejected.unwrap_or(NotBought::Refused))
            }
            Outcome::RefusedByStock(refusals) => {
                for (line, version, _) in &refusals {
                    if !sim.confirm::<Stock>(server, &StreamId::stock(&line.sku), *version).await {
                        return Ok(None);
                    }
                }
                let refusals: Vec<_> = refusals.iter().map(|(line, _, refusal)| (line, refusal.clone())).collect();
                let rejection = Rejection::of_lines(&refusals);
                Err(NotBought::Rejected(rejection.reason, rejection.skus))
            }
            Outcome::Decided(parts) => {
                let answer = self.key.map(|key| Kept { key, made: id.uuid(), at: self.context.now });
                let outcome = sim.append(Unit { parts, answer }).await;
                let mut world = sim.world();
                world.doubt::<Cart>(server, &cart);
                world.doubt::<Order>(server, &StreamId::order(id));
                world.doubt::<Payment>(server, &StreamId::payment(id));
                for line in self.purchase.lines() {
                    world.doubt::<Stock>(server, &StreamId::stock(&line.sku));
                }
                outcome.map(|_| Some(Reply::Accepted(id.uuid()))).map_err(NotBought::Outage)
            }
        }
    }

    /// Decides all of it on what the server remembers.
    fn stage(&self) -> Outcome {
        let (id, server, now) = (self.purchase.order, self.server, self.context.now);
        let (cart, order, payment) = (StreamId::cart(self.purchase.cart), StreamId::order(id), StreamId::payment(id));
        let (check_out, place, request) = self.purchase.place();
        let mut parts = Vec::with_capacity(3 + self.purchase.lines().len());
        let mut staged = |stream: &StreamId, expected_version, events: Vec<Event>| {
            let metadata = self.sim.next(&self.context).metadata;
            parts.push(Part { stream: stream.clone(), expected_version, metadata, recorded_at: now, events });
        };
        let of_cart = self.sim.world().stage::<Cart>(server, &cart, &check_out, now);
        match of_cart {
            Staging::Stale | Staging::Unchanged(_) => return Outcome::Again,
            Staging::Refused(version, refusal) => return Outcome::RefusedByCart(version, refusal),
            Staging::Staged(events, version) => staged(&cart, version, events),
        }
        let (of_order, of_payment) = {
            let mut world = self.sim.world();
            world.refresh::<Order>(server, &order);
            world.refresh::<Payment>(server, &payment);
            let of_order = world.stage_each::<Order>(server, &order, &[self.purchase.submit(), place], now);
            (of_order, world.stage::<Payment>(server, &payment, &request, now))
        };
        let (Staging::Staged(of_order, order_version), Staging::Staged(of_payment, payment_version)) = (of_order, of_payment) else {
            return Outcome::Again;
        };
        staged(&order, order_version, of_order);
        staged(&payment, payment_version, of_payment);
        let mut refusals = Vec::new();
        for line in self.purchase.lines() {
            let stock = StreamId::stock(&line.sku);
            let of_stock = self.sim.world().stage::<Stock>(server, &stock, &self.purchase.reserve(line), now);
            match of_stock {
                Staging::Staged(events, version) => staged(&stock, version, events),
                Staging::Refused(version, refusal) => refusals.push((line.clone(), version, refusal)),
                Staging::Stale | Staging::Unchanged(_) => return Outcome::Again,
            }
        }
        if refusals.is_empty() { Outcome::Decided(parts) } else { Outcome::RefusedByStock(refusals) }
    }

    /// Keeps an order that says why it was not placed; whether or not that can be done, the client is told the same.
    async fn keep_rejected(&self, reason: RejectionReason, skus: Vec<Sku>) {
        let stream = StreamId::order(self.purchase.order);
        let commands = [self.purchase.submit(), order::Command::Reject { reason, skus }];
        let staging = {
            let mut world = self.sim.world();
            world.refresh::<Order>(self.server, &stream);
            world.stage_each::<Order>(self.server, &stream, &commands, self.context.now)
        };
        if let Staging::Staged(events, expected_version) = staging {
            let metadata = self.sim.next(&self.context).metadata;
            let part = Part { stream: stream.clone(), expected_version, metadata, recorded_at: self.context.now, events };
            let _ = self.sim.append(Unit::of(part, None)).await;
            self.sim.world().doubt::<Order>(self.server, &stream);
        }
    }
}
