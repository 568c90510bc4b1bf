//! What clients ask of servers, and how servers answer: each once for each idempotency key.

use std::collections::{BTreeMap, HashMap};

use command_api::{handler::Failure, pricing::Offer};
use domain::{
    cart::Cart,
    flash_sale::FlashSale,
    order,
    order::Order,
    payment,
    payment::Payment,
    product,
    product::Product,
    stock::{self, Stock},
};
use event_schemas::{
    Currency, Event, Money, StreamId, Timestamp,
    events::{order::ItemQuantity, stock::AllotmentEnd},
    ids::{CartId, FlashSaleId, OrderId, RefundId, ReturnId, ShipmentId, Sku},
};
use event_store::Error;
use uuid::Uuid;

use super::{
    checkout::{self, Wanted, offers},
    stepwise,
};
use crate::{
    counts::Sight,
    log::{Kept, Part, Unit},
    scheduler::{Sim, Slot},
    server::{CartCommand, Context, MAX_ATTEMPTS, ProductCommand, SaleCommand, Simulated, Staging},
    world::ServerId,
};

/// How long an answer is kept for its idempotency key.
const KEPT: chrono::Duration = chrono::Duration::days(7);

/// A flash sale that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct NewSale {
    pub sku: Sku,
    pub starts_at: Timestamp,
    pub ends_at: Timestamp,
    pub allotment: u32,
    pub price: Money,
    pub limit: Option<u32>,
}

/// What a client asks.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    CreateCart(Vec<ItemQuantity>),
    SetItem(CartId, Sku, u32),
    RemoveItem(CartId, Sku),
    CheckOut(Wanted),
    Cancel(OrderId),
    Ship(OrderId, Option<Vec<ItemQuantity>>),
    Deliver(OrderId, ShipmentId),
    TakeBack(OrderId, Vec<ItemQuantity>, bool),
    Refund(OrderId, Money),
    Receive(Sku, u32),
    Adjust(Sku, i64),
    Announce(NewSale),
    CancelSale(FlashSaleId),
    Reprice(Sku, Money),
    Archive(Sku, bool),
}

/// How it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Done; what was made, or what it was about.
    Accepted(Uuid),
    /// The rules forbid it.
    Refused,
    /// It may have been done, or not.
    Unavailable,
}

/// Asks, and asks again with the same key where no answer comes, perhaps another server; none after so many tries.
pub(crate) async fn ask(sim: &Sim, request: Request) -> Option<Uuid> {
    let key = sim.world().rng.u64(..);
    for attempt in 0..6 {
        if attempt > 0 {
            sim.world().see(Sight::AskedAgain);
            let pause = sim.world().rng.i64(100_000..8_000_000);
            sim.sleep(pause).await;
        }
        match send(sim, key, &request).await {
            Some(Reply::Accepted(made)) => return Some(made),
            Some(Reply::Refused) => return None,
            Some(Reply::Unavailable) | None => {}
        }
    }
    None
}

/// Sends a request once; none where no answer came in time.
async fn send(sim: &Sim, key: u64, request: &Request) -> Option<Reply> {
    let slot = Slot::new();
    let (doubles, drops) = {
        let world = sim.world();
        (world.shape.doubles, world.shape.drops)
    };
    let times = if sim.world().strikes(doubles) { 2 } else { 1 };
    for _ in 0..times {
        let (actor, slot, request) = (sim.clone(), slot.clone(), request.clone());
        sim.spawn("request", async move {
            actor.hop().await;
            let server = {
                let mut world = actor.world();
                if world.strikes(drops) {
                    return world.see(Sight::Dropped);
                }
                let servers = world.servers.len();
                let server = world.rng.usize(0..servers);
                if !world.servers[server].is_up {
                    return;
                }
                let now = world.now;
                world.trace.note(now, || format!("server {server} is asked for {request:?}"));
                server
            };
            let on_server = actor.clone();
            actor.spawn_on(server, "request", async move {
                let reply = serve(&on_server, server, key, request).await;
                let (answers, drops) = (on_server.clone(), on_server.world().shape.drops);
                on_server.spawn("answer", async move {
                    answers.hop().await;
                    if answers.world().strikes(drops) {
                        return answers.world().see(Sight::Dropped);
                    }
                    slot.answer(&answers, reply);
                });
            });
        });
    }
    if times == 2 {
        sim.world().see(Sight::Doubled);
    }
    let until = {
        let mut world = sim.world();
        world.now + world.rng.i64(2_000_000..40_000_000)
    };
    slot.wait(sim, until).await
}

/// Answers a request: from its key, if that was used already.
async fn serve(sim: &Sim, server: ServerId, key: u64, request: Request) -> Reply {
    if let Some(made) = kept(sim, server, key).await {
        return Reply::Accepted(made);
    }
    let reply = act(sim, server, key, request).await;
    if matches!(reply, Reply::Accepted(_)) {
        return reply;
    }
    // Perhaps it was refused because the same request had been accepted by another server meanwhile.
    kept(sim, server, key).await.map_or(reply, Reply::Accepted)
}

async fn kept(sim: &Sim, server: ServerId, key: u64) -> Option<Uuid> {
    sim.hop().await;
    let mut world = sim.world();
    let kept = world.log.answer(key)?;
    if world.clock(server).since(kept.at) > KEPT {
        world.log.remove_answer(key);
        return None;
    }
    world.see(Sight::Replayed);
    Some(kept.made)
}

async fn act(sim: &Sim, server: ServerId, key: u64, request: Request) -> Reply {
    let context = sim.context(server, "client");
    let new_id = || sim.world().new_id();
    let one = One { sim, server, key, context: &context };
    match request {
        Request::CheckOut(wanted) if sim.world().is_older(server) => stepwise::run(sim, server, Some(key), wanted).await,
        Request::CheckOut(wanted) => checkout::run(sim, server, Some(key), wanted).await,
        Request::CreateCart(items) => create_cart(one, items).await,
        Request::SetItem(cart, sku, quantity) => {
            let unit_price = offers(sim, server, std::slice::from_ref(&sku), context.now).await.remove(&sku).map(|offer| offer.price);
            let command = CartCommand::SetItem { sku, quantity, unit_price };
            one.run::<Cart>(&StreamId::cart(cart), &command, cart.uuid()).await
        }
        Request::RemoveItem(cart, sku) => one.run::<Cart>(&StreamId::cart(cart), &CartCommand::RemoveItem { sku }, cart.uuid()).await,
        Request::Cancel(order) => one.run::<Order>(&StreamId::order(order), &order::Command::Cancel { note: None }, order.uuid()).await,
        Request::Ship(order, items) => {
            if super::processes::let_units_go(sim, server, order).await.is_err() {
                return Reply::Unavailable;
            }
            let shipment = ShipmentId(new_id());
            let command = order::Command::Ship { shipment, items, carrier: Some("Post".into()), tracking_number: None };
            one.run::<Order>(&StreamId::order(order), &command, shipment.uuid()).await
        }
        Request::Deliver(order, shipment) => {
            one.run::<Order>(&StreamId::order(order), &order::Command::Deliver { shipment }, order.uuid()).await
        }
        Request::TakeBack(order, items, restock) => {
            let command = order::Command::Return { return_id: ReturnId(new_id()), items, reason: "too small".into(), restock };
            one.run::<Order>(&StreamId::order(order), &command, order.uuid()).await
        }
        Request::Refund(order, amount) => refund(one, order, amount).await,
        Request::Receive(sku, quantity) => {
            let command = stock::Command::Receive { quantity, reference: String::new() };
            one.run::<Stock>(&StreamId::stock(&sku), &command, Uuid::nil()).await
        }
        Request::Adjust(sku, quantity) => {
            let command = stock::Command::Adjust { quantity, reason: "counted".into() };
            one.run::<Stock>(&StreamId::stock(&sku), &command, Uuid::nil()).await
        }
        Request::Announce(sale) => announce(one, sale).await,
        Request::CancelSale(sale) => cancel_sale(one, sale).await,
        Request::Reprice(sku, price) => change(one, &sku, product::Change { price: Some(price), ..product::Change::default() }).await,
        Request::Archive(sku, archived) => {
            change(one, &sku, product::Change { archived: Some(archived), ..product::Change::default() }).await
        }
    }
}

/// One request on its server.
#[derive(Clone, Copy)]
struct One<'a> {
    sim: &'a Sim,
    server: ServerId,
    key: u64,
    context: &'a Context,
}

impl One<'_> {
    fn answer(self, made: Uuid) -> Kept {
        Kept { key: self.key, made, at: self.context.now }
    }

    async fn run<A: Simulated>(self, stream: &StreamId, command: &A::Command, made: Uuid) -> Reply {
        let outcome = self.sim.execute::<A>(self.server, stream, command, self.context, Some(self.answer(made))).await;
        match outcome {
            Ok(()) => Reply::Accepted(made),
            Err(Failure::Store(_)) => Reply::Unavailable,
            Err(_) => Reply::Refused,
        }
    }

    /// Two commands in one transaction: both or neither; where the second one has nothing to change, the first one stands alone. As
    /// `command-api/src/together.rs`.
    async fn together<A: Simulated, B: Simulated>(
        self,
        first: (&StreamId, &A::Command),
        second: (&StreamId, &B::Command),
        made: Uuid,
    ) -> Reply {
        let (sim, server, now) = (self.sim, self.server, self.context.now);
        let for_second = sim.next(self.context);
        let part = |stream: &StreamId, context: &Context, events: Vec<Event>, expected_version| Part {
            stream: stream.clone(),
            expected_version,
            metadata: context.metadata.clone(),
            recorded_at: now,
            events,
        };
        let mut standing = None;
        for _ in 0..MAX_ATTEMPTS {
            sim.ready::<A>(server, first.0).await;
            sim.ready::<B>(server, second.0).await;
            let (one, two) = {
                let mut world = sim.world();
                (world.stage::<A>(server, first.0, first.1, now), world.stage::<B>(server, second.0, second.1, now))
            };
            let (parts, is_refused) = match (one, two) {
                (Staging::Stale, _) | (_, Staging::Stale) => continue,
                (Staging::Refused(version, _), _) if sim.confirm::<A>(server, first.0, version).await => (Vec::new(), true),
                (_, Staging::Refused(version, _)) if sim.confirm::<B>(server, second.0, version).await => (Vec::new(), true),
                (Staging::Refused(..), _) | (_, Staging::Refused(..)) => continue,
                (Staging::Unchanged(version), _) if sim.confirm::<A>(server, first.0, version).await => (Vec::new(), false),
                (Staging::Unchanged(_), _) => continue,
                (_, Staging::Unchanged(version)) if standing != Some(version) => {
                    if sim.confirm::<B>(server, second.0, version).await {
                        standing = Some(version);
                    }
                    continue;
                }
                (Staging::Staged(events, version), Staging::Unchanged(_)) => (vec![part(first.0, self.context, events, version)], false),
                (Staging::Staged(one, version), Staging::Staged(two, other)) => {
                    (vec![part(first.0, self.context, one, version), part(second.0, &for_second, two, other)], false)
                }
            };
            if is_refused {
                return Reply::Refused;
            }
            let outcome = sim.append(Unit { parts, answer: Some(self.answer(made)) }).await;
            let mut world = sim.world();
            world.doubt::<A>(server, first.0);
            world.doubt::<B>(server, second.0);
            match outcome {
                Ok(_) => return Reply::Accepted(made),
                Err(Error::Conflict) => {}
                Err(_) => return Reply::Unavailable,
            }
        }
        Reply::Unavailable
    }
}

async fn create_cart(one: One<'_>, items: Vec<ItemQuantity>) -> Reply {
    let skus: Vec<Sku> = items.iter().map(|item| item.sku.clone()).collect();
    let offers: HashMap<Sku, Offer> = offers(one.sim, one.server, &skus, one.context.now).await;
    let currency = currency();
    if !skus.iter().all(|sku| offers.get(sku).is_some_and(|offer| offer.price_in(currency).is_some())) {
        return Reply::Refused;
    }
    let cart = CartId(one.sim.world().new_id());
    let shown: BTreeMap<Sku, Money> = offers.into_iter().map(|(sku, offer)| (sku, offer.price)).collect();
    let command = CartCommand::Create { currency, metadata: BTreeMap::new(), items, shown };
    one.run::<Cart>(&StreamId::cart(cart), &command, cart.uuid()).await
}

async fn refund(one: One<'_>, order: OrderId, amount: Money) -> Reply {
    let refund = RefundId(one.sim.world().new_id());
    let of_order = order::Command::RequestRefund { refund, amount, reason: "broken".into(), metadata: BTreeMap::new() };
    let of_payment = payment::Command::RequestRefund { refund, amount, reason: "broken".into() };
    let (order_stream, payment_stream) = (StreamId::order(order), StreamId::payment(order));
    one.together::<Order, Payment>((&order_stream, &of_order), (&payment_stream, &of_payment), refund.uuid()).await
}

async fn announce(one: One<'_>, new: NewSale) -> Reply {
    let sale = FlashSaleId(one.sim.world().new_id());
    let NewSale { sku, starts_at, ends_at, allotment, price, limit: limit_per_customer } = new;
    let streams = (StreamId::flash_sale(sale), StreamId::stock(&sku));
    let announce = SaleCommand::Announce { sku, starts_at, ends_at, allotment, price, limit_per_customer };
    let allot = stock::Command::Allot { sale, quantity: allotment, starts_at, ends_at, price, limit_per_customer };
    one.together::<FlashSale, Stock>((&streams.0, &announce), (&streams.1, &allot), sale.uuid()).await
}

async fn cancel_sale(one: One<'_>, sale: FlashSaleId) -> Reply {
    let stream = StreamId::flash_sale(sale);
    let look = |state: &domain::flash_sale::State| state.terms().map(|terms| terms.sku.clone());
    let Some(Some(sku)) = one.sim.current::<FlashSale, _>(one.server, &stream, look).await else { return Reply::Refused };
    let close = stock::Command::CloseAllotment { sale, reason: AllotmentEnd::Cancelled };
    one.together::<FlashSale, Stock>((&stream, &SaleCommand::Cancel), (&StreamId::stock(&sku), &close), sale.uuid()).await
}

async fn change(one: One<'_>, sku: &Sku, change: product::Change) -> Reply {
    one.run::<Product>(&StreamId::product(sku), &ProductCommand::Change(Box::new(change)), Uuid::nil()).await
}

/// The currency of the shop.
pub(crate) fn currency() -> Currency {
    Shop::currency()
}

/// What is the same in all shops.
pub(crate) struct Shop;

impl Shop {
    /// Pounds.
    #[expect(clippy::expect_used, reason = "a constant")]
    pub fn currency() -> Currency {
        "GBP".parse().expect("a currency")
    }

    /// So many pence.
    pub fn pence(pence: i64) -> Money {
        Money::new(rust_decimal::Decimal::new(pence, 2), Self::currency())
    }
}
