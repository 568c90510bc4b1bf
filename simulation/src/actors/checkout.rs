//! A checkout on a server: as `command-api/src/checkout.rs`, with the same pure decisions.

use std::collections::{BTreeMap, HashMap};

use command_api::{
    checkout::{
        Checkout,
        purchase::{self, AfterReserving, NotPlaced, Purchase},
    },
    handler::Failure,
    pricing::{self, Offer},
    refusals::problem,
};
use domain::{cart::Cart, order, order::Order, payment::Payment, product::Product, stock, stock::Stock};
use event_schemas::{
    Money, StreamId, Timestamp,
    events::order::{Address, Line, PaymentMeans, RejectionReason},
    ids::{CartId, OrderId, Sku},
};
use event_store::Error;
use uuid::Uuid;

use super::requests::Reply;
use crate::{
    log::{Kept, Part, Unit},
    scheduler::{Sim, Slot},
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

struct Attempt {
    sim: Sim,
    server: ServerId,
    context: Context,
    key: Option<u64>,
    purchase: Purchase,
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

/// Checks a cart out.
pub(crate) async fn run(sim: &Sim, server: ServerId, key: Option<u64>, wanted: Wanted) -> Reply {
    let context = sim.context(server, "client");
    let look = |state: &_| purchase::contents(state);
    let Some(Ok(contents)) = sim.current::<Cart, _>(server, &StreamId::cart(wanted.cart), look).await else { return Reply::Refused };
    let skus: Vec<Sku> = contents.items.iter().map(|item| item.sku.clone()).collect();
    let offers = offers(sim, server, &skus, context.now).await;
    let (order, deadline) = {
        let mut world = sim.world();
        (OrderId(world.new_id()), world.shape.payment_deadline)
    };
    let Ok(purchase) = Purchase::new(order, checkout(wanted), contents, &offers, context.now, deadline) else { return Reply::Refused };
    let attempt = Attempt { sim: sim.clone(), server, context, key, purchase };
    match attempt.submit_and_reserve().await {
        Ok(()) => attempt.place().await,
        Err(reply) => reply,
    }
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

impl Attempt {
    /// Records the submission and reserves every line; where one can't be, releases the others and rejects the order.
    async fn submit_and_reserve(&self) -> Result<(), Reply> {
        let stream = StreamId::order(self.purchase.order);
        self.sim.world().refresh::<Order>(self.server, &stream);
        let submit = self.purchase.submit();
        let submitted = self.sim.execute::<Order>(self.server, &stream, &submit, &self.sim.next(&self.context), None).await;
        let lines = self.purchase.lines().to_vec();
        let reserved = self.reserve(&lines).await;
        match purchase::after_reserving(&lines, submitted.map_err(problem), reserved) {
            AfterReserving::Place => Ok(()),
            AfterReserving::Release(_) => {
                self.release().await;
                Err(Reply::Unavailable)
            }
            AfterReserving::Reject { reason, skus, .. } => {
                self.reject(reason, skus).await;
                Err(Reply::Refused)
            }
        }
    }

    /// Reserves the lines side by side.
    async fn reserve(&self, lines: &[Line]) -> Vec<Result<(), Failure<stock::Refusal>>> {
        let mut slots = Vec::with_capacity(lines.len());
        for line in lines {
            let (slot, answer) = (Slot::new(), Slot::clone);
            slots.push(answer(&slot));
            let (sim, server, context) = (self.sim.clone(), self.server, self.sim.next(&self.context));
            let (stream, command) = (StreamId::stock(&line.sku), self.purchase.reserve(line));
            self.sim.spawn_here("reservation", async move {
                let outcome = sim.execute::<Stock>(server, &stream, &command, &context, None).await;
                slot.answer(&sim, outcome);
            });
        }
        let mut outcomes = Vec::with_capacity(lines.len());
        for slot in slots {
            outcomes.push(slot.wait(&self.sim, i64::MAX).await.unwrap_or_else(|| Err(Error::Conflict.into())));
        }
        outcomes
    }

    /// Rejects the order and releases what it holds. What fails here is done by the process managers.
    async fn reject(&self, reason: RejectionReason, skus: Vec<Sku>) {
        let (stream, context) = (StreamId::order(self.purchase.order), self.sim.next(&self.context));
        let is_first = self.sim.world().rng.bool();
        if is_first {
            self.release().await;
        }
        let command = order::Command::Reject { reason, skus };
        let _ = self.sim.execute::<Order>(self.server, &stream, &command, &context, None).await;
        if !is_first {
            self.release().await;
        }
    }

    async fn release(&self) {
        for line in self.purchase.lines() {
            let (stream, context) = (StreamId::stock(&line.sku), self.sim.next(&self.context));
            let _ = self.sim.execute::<Stock>(self.server, &stream, &self.purchase.release(), &context, None).await;
        }
    }

    /// Places the order, buys the cart and asks for the payment: all or nothing.
    async fn place(&self) -> Reply {
        for _ in 0..MAX_ATTEMPTS {
            match self.try_to_place().await {
                Ok(Some(order)) => return Reply::Accepted(order),
                Ok(None) => {}
                Err(failure) if failure.is_passing() => {}
                Err(failure) => {
                    if !failure.is_unknown() {
                        self.reject(RejectionReason::CartChanged, Vec::new()).await;
                    }
                    return match failure {
                        NotPlaced::Refused(_) => Reply::Refused,
                        NotPlaced::Outage(_) => Reply::Unavailable,
                    };
                }
            }
        }
        self.reject(RejectionReason::CartChanged, Vec::new()).await;
        Reply::Unavailable
    }

    async fn try_to_place(&self) -> Result<Option<Uuid>, NotPlaced> {
        let (id, server) = (self.purchase.order, self.server);
        let streams = (StreamId::cart(self.purchase.cart), StreamId::order(id), StreamId::payment(id));
        self.sim.ready::<Cart>(server, &streams.0).await;
        self.sim.ready::<Order>(server, &streams.1).await;
        self.sim.world().refresh::<Payment>(server, &streams.2);
        let (check_out, place, request) = self.purchase.place();
        let (now, mut parts) = (self.context.now, Vec::with_capacity(3));
        let mut staged = |stream: &StreamId, expected_version, events| {
            let metadata = self.sim.next(&self.context).metadata;
            parts.push(Part { stream: stream.clone(), expected_version, metadata, recorded_at: now, events });
        };
        let cart = self.sim.world().stage::<Cart>(server, &streams.0, &check_out, now);
        match cart {
            Staging::Stale | Staging::Unchanged(_) => return Ok(None),
            Staging::Refused(version, refusal) => {
                return if self.sim.confirm::<Cart>(server, &streams.0, version).await {
                    Err(NotPlaced::Refused(problem(Failure::Refused(refusal))))
                } else {
                    Ok(None)
                };
            }
            Staging::Staged(events, version) => staged(&streams.0, version, events),
        }
        let order = self.sim.world().stage::<Order>(server, &streams.1, &place, now);
        let payment = self.sim.world().stage::<Payment>(server, &streams.2, &request, now);
        match (order, payment) {
            (Staging::Staged(order, order_version), Staging::Staged(payment, payment_version)) => {
                staged(&streams.1, order_version, order);
                staged(&streams.2, payment_version, payment);
            }
            (Staging::Refused(_, refusal), _) => return Err(NotPlaced::Refused(problem(Failure::Refused(refusal)))),
            _ => return Ok(None),
        }
        let answer = self.key.map(|key| Kept { key, made: id.uuid(), at: now });
        let outcome = self.sim.append(Unit { parts, answer }).await;
        let mut world = self.sim.world();
        world.doubt::<Cart>(server, &streams.0);
        world.doubt::<Order>(server, &streams.1);
        world.doubt::<Payment>(server, &streams.2);
        outcome.map(|_| Some(id.uuid())).map_err(Into::into)
    }
}
