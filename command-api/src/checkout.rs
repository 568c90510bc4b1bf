//! Checkout: the order is placed, every line of it reserved, the cart bought and the payment asked for in one transaction, or nothing is.
//!
//! So nobody ever sees units held by an order that comes to nothing, nor is refused for them; and of two checkouts of one cart the log lets
//! one through, whatever the other one meets.

pub mod purchase;
mod refusal;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, sync::Arc};

use domain::{cart, order, payment, stock};
use event_schemas::{
    Money, StreamId,
    events::order::{Address, Line, PaymentMeans},
    ids::{CartId, OrderId, Sku},
};
use event_store::{Unit, append::Pending};
use futures::future;
use gateway::Problem;
use uuid::Uuid;

use crate::{
    handler::{Basis, Context, Decided, Decision, Entity, Failure, MAX_ATTEMPTS, Staged, Staging},
    pricing,
    refusals::{problem, unstored},
    shop::Shop,
    write::{Answer, Draft, Write},
};
use purchase::{Contents, Purchase, Rejection};

/// What a buyer asks for.
pub struct Checkout {
    /// The cart.
    pub cart: CartId,
    /// Where to write to.
    pub email: String,
    /// Where it goes.
    pub shipping_address: Address,
    /// How it is to be paid.
    pub payment: PaymentMeans,
    /// What the buyer was shown.
    pub expected_total: Option<Money>,
    /// The client's own notes.
    pub metadata: BTreeMap<String, String>,
}

/// The reason why a cart was not bought.
enum NotBought {
    /// It may not be.
    Refused(Problem),
    /// It may not be, and an order that says so is kept.
    Rejected(Box<Purchase>, Rejection),
    /// The log did not take it, or did not say.
    Outage(event_store::Error),
}

impl From<event_store::Error> for NotBought {
    fn from(error: event_store::Error) -> Self {
        Self::Outage(error)
    }
}

impl From<Problem> for NotBought {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// Checks a cart out.
///
/// # Errors
/// Why it can't be bought; then nothing is held.
pub async fn run(shop: &Shop, write: &Write, checkout: Checkout) -> Result<Answer, Problem> {
    let cart = StreamId::cart(checkout.cart);
    let refused = match buy(shop, write, checkout).await {
        Ok(answer) => return Ok(answer),
        Err(NotBought::Outage(error)) => return Err(unstored(&error)),
        Err(refused) => refused,
    };
    // Whatever it met on its way: where another checkout of the same cart came first, that is why, and there is nothing to keep of this one.
    let order = shop.carts.settled(&cart, cart::State::order).await.map_err(|error| unstored(&error))?;
    match (order, refused) {
        (Some(order), _) => Err(problem(Failure::Refused(cart::Refusal::CheckedOut { order }))),
        (None, NotBought::Refused(problem)) => Err(problem),
        (None, NotBought::Outage(error)) => Err(unstored(&error)),
        (None, NotBought::Rejected(purchase, rejection)) => {
            keep_rejected(shop, write, &purchase, &rejection).await;
            Err(rejection.problem)
        }
    }
}

async fn buy(shop: &Shop, write: &Write, checkout: Checkout) -> Result<Answer, NotBought> {
    let now = write.context.now;
    let contents = contents(shop, write, checkout.cart).await?;
    let skus: Vec<Sku> = contents.items.iter().map(|item| item.sku.clone()).collect();
    let offers = pricing::offers(shop, &skus, now).await?;
    let purchase = Purchase::new(OrderId(Uuid::now_v7()), checkout, contents, &offers, now, shop.settings.payment_deadline)?;
    let attempt = Attempt::new(shop, write, purchase);
    for _ in 0..MAX_ATTEMPTS {
        match attempt.make().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) | Err(NotBought::Outage(event_store::Error::Conflict)) => {}
            Err(other) => return Err(other),
        }
    }
    Err(event_store::Error::Overloaded.into())
}

/// What the cart holds; a refusal where it can't be bought.
async fn contents(shop: &Shop, write: &Write, cart: CartId) -> Result<Contents, NotBought> {
    let look = |state: &cart::State, version: i64| -> Result<Contents, Failure<cart::Refusal>> {
        match state {
            cart::State::Open(_) if !write.context.if_match.allows(version) => Err(Failure::VersionMismatch(version)),
            state => purchase::contents(state).map_err(Failure::Refused),
        }
    };
    let (contents, ..) = shop.carts.current(&StreamId::cart(cart), look).await?;
    Ok(contents.map_err(problem)?)
}

/// Keeps an order that says why it was not placed, for whoever asks later. The client is told the same whether or not it can be kept.
async fn keep_rejected(shop: &Shop, write: &Write, purchase: &Purchase, rejection: &Rejection) {
    let stream = StreamId::order(purchase.order);
    shop.orders.begin(&stream);
    let reject = order::Command::Reject { reason: rejection.reason, skus: rejection.skus.clone() };
    if let Err(failure) = shop.orders.run_each(&stream, &[purchase.submit(), reject], &write.context.next(), |_, _| ()).await {
        tracing::warn!(order = %purchase.order, %failure, "an order that could not be placed was not kept");
    }
}

/// An order that is about to be placed.
struct Attempt<'a> {
    shop: &'a Shop,
    write: &'a Write,
    purchase: Purchase,
    cart: StreamId,
    order: StreamId,
    payment: StreamId,
    /// The reservation of each line, ordered by SKU: streams are locked in this order, so that no two checkouts wait for each other.
    reservations: Vec<Reservation>,
}

struct Reservation {
    /// The line's place in the order.
    line: usize,
    stream: StreamId,
    command: stock::Command,
}

/// The streams of an order, as far as they are known here.
struct Entities {
    cart: Arc<Entity<cart::Cart>>,
    order: Arc<Entity<order::Order>>,
    payment: Arc<Entity<payment::Payment>>,
    /// By SKU.
    stock: Vec<Arc<Entity<stock::Stock>>>,
}

/// The outcome of an attempt before anything is committed.
enum Outcome {
    /// Something must be read again first.
    Again,
    /// The cart can't be bought.
    RefusedByCart(Basis, Failure<cart::Refusal>),
    /// Lines can't be had: their places in the order.
    RefusedByStock(Vec<(usize, Basis, stock::Refusal)>),
    /// All of it is in the queue of the log, with the versions that the stock of its SKUs will have.
    Submitted(Pending, Draft, Vec<i64>),
}

impl<'a> Attempt<'a> {
    fn new(shop: &'a Shop, write: &'a Write, purchase: Purchase) -> Self {
        let mut lines: Vec<_> = purchase.lines().iter().enumerate().collect();
        lines.sort_by(|(_, one), (_, other)| one.sku.cmp(&other.sku));
        let reservation =
            |(line, of): (usize, &Line)| Reservation { line, stream: StreamId::stock(&of.sku), command: purchase.reserve(of) };
        let reservations = lines.into_iter().map(reservation).collect();
        let (cart, order) = (StreamId::cart(purchase.cart), StreamId::order(purchase.order));
        let payment = StreamId::payment(purchase.order);
        Self { shop, write, purchase, cart, order, payment, reservations }
    }

    /// Tries once; none where something moved meanwhile.
    async fn make(&self) -> Result<Option<Answer>, NotBought> {
        let entities = self.entities().await?;
        match self.stage(&entities)? {
            Outcome::Submitted(pending, draft, versions) => {
                let position = pending.outcome().await?.position;
                entities.stock.iter().zip(versions).for_each(|(stock, version)| self.shop.stock.committed(stock, version));
                Ok(Some(draft.at(position)))
            }
            Outcome::RefusedByCart(basis, failure) if entities.cart.confirm(&self.shop.store, &basis).await? => {
                let rejection = match &failure {
                    Failure::Refused(refusal) => Rejection::of_cart(refusal),
                    Failure::VersionMismatch(_) | Failure::Store(_) => None,
                };
                let refused = NotBought::Refused(problem(failure));
                Err(rejection.map_or(refused, |rejection| NotBought::Rejected(Box::new(self.purchase.clone()), rejection)))
            }
            Outcome::Again | Outcome::RefusedByCart(..) => Ok(None),
            Outcome::RefusedByStock(refusals) => self.reject(&entities, refusals).await,
        }
    }

    async fn entities(&self) -> Result<Entities, event_store::Error> {
        self.shop.orders.begin(&self.order);
        self.shop.payments.begin(&self.payment);
        let stock = future::try_join_all(self.reservations.iter().map(|reservation| self.shop.stock.entity(&reservation.stream)));
        let (cart, stock) = futures::try_join!(self.shop.carts.entity(&self.cart), stock)?;
        let (order, payment) = (self.shop.orders.entity(&self.order).await?, self.shop.payments.entity(&self.payment).await?);
        Ok(Entities { cart, order, payment, stock })
    }

    /// Believes the stock's refusals only if the log bears them out.
    async fn reject(&self, entities: &Entities, refusals: Vec<(usize, Basis, stock::Refusal)>) -> Result<Option<Answer>, NotBought> {
        let place = |line: usize| self.reservations.iter().position(|reservation| reservation.line == line);
        let confirmed =
            refusals.iter().filter_map(|(line, basis, _)| Some(entities.stock.get(place(*line)?)?.confirm(&self.shop.store, basis)));
        if future::try_join_all(confirmed).await?.contains(&false) {
            return Ok(None);
        }
        let mut refusals: Vec<_> =
            refusals.into_iter().filter_map(|(line, _, refusal)| Some((line, self.purchase.lines().get(line)?, refusal))).collect();
        refusals.sort_by_key(|(line, ..)| *line);
        let refusals: Vec<_> = refusals.into_iter().map(|(_, line, refusal)| (line, refusal)).collect();
        Err(NotBought::Rejected(Box::new(self.purchase.clone()), Rejection::of_lines(&refusals)))
    }

    /// Decides all of it on what is known here, and puts it into the log's queue as one unit if nothing stands against it. The streams are
    /// locked in the alphabetical order of their categories and, within stock, of their SKUs.
    fn stage(&self, entities: &Entities) -> Result<Outcome, NotBought> {
        let next = || self.write.context.next();
        let (for_cart, for_order, for_payment) = (Context { if_match: self.write.context.if_match.clone(), ..next() }, next(), next());
        let for_stock: Vec<Context> = self.reservations.iter().map(|_| next()).collect();
        let (check_out, place, request) = self.purchase.place();
        let cart = match entities.cart.decide(&[check_out], &for_cart) {
            Decision::Events(cart) => cart,
            Decision::None(Staging::Refused(basis, refusal)) => return Ok(Outcome::RefusedByCart(basis, Failure::Refused(refusal))),
            Decision::None(Staging::Mismatch(basis)) => {
                let version = basis.version;
                return Ok(Outcome::RefusedByCart(basis, Failure::VersionMismatch(version)));
            }
            Decision::None(_) => return Ok(Outcome::Again),
        };
        let Decision::Events(order) = entities.order.decide(&[self.purchase.submit(), place], &for_order) else {
            return Ok(Outcome::Again);
        };
        let Decision::Events(payment) = entities.payment.decide(&[request], &for_payment) else { return Ok(Outcome::Again) };
        let (mut stock, mut refusals) = (Vec::with_capacity(self.reservations.len()), Vec::new());
        for ((reservation, entity), context) in self.reservations.iter().zip(&entities.stock).zip(&for_stock) {
            match entity.decide(std::slice::from_ref(&reservation.command), context) {
                Decision::Events(decided) => stock.push(decided),
                Decision::None(Staging::Refused(basis, refusal)) => refusals.push((reservation.line, basis, refusal)),
                Decision::None(_) => return Ok(Outcome::Again),
            }
        }
        if !refusals.is_empty() {
            return Ok(Outcome::RefusedByStock(refusals));
        }
        self.submit(cart.stage(), order.stage(), payment.stage(), stock.into_iter().map(Decided::stage).collect())
    }

    fn submit(
        &self,
        cart: Staged<'_, cart::Cart>,
        order: Staged<'_, order::Order>,
        payment: Staged<'_, payment::Payment>,
        stock: Vec<Staged<'_, stock::Stock>>,
    ) -> Result<Outcome, NotBought> {
        let id = self.purchase.order;
        let resource = order.state().resource(id, order.version());
        let draft = resource.and_then(|resource| Draft::created(format!("/v1/orders/{id}"), order.version(), &resource));
        let draft = draft.ok_or_else(|| NotBought::Refused(Problem::internal()))?;
        let mut parts = vec![cart.part()?, order.part()?, payment.part()?];
        for stock in &stock {
            parts.push(stock.part()?);
        }
        let pending = self.shop.store.submit(Unit { parts, answer: self.write.keep(&draft) })?;
        let versions = stock.iter().map(Staged::version).collect();
        cart.submitted();
        order.submitted();
        payment.submitted();
        stock.into_iter().for_each(Staged::submitted);
        Ok(Outcome::Submitted(pending, draft, versions))
    }
}
