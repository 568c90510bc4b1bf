//! Checkout: submit the order, reserve every line or none, then place the order, buy the cart and ask for the payment in one transaction.
//!
//! The submission is in the log before any reservation, so that a crash anywhere is finished or undone by the process managers.

mod refusal;

use std::collections::{BTreeMap, HashMap};

use chrono::Duration;
use domain::{cart, order, payment, stock};
use event_schemas::{
    Currency, Money, StreamId, Timestamp,
    events::order::{Address, ItemQuantity, Line, OrderSubmitted, PaymentMeans, RejectionReason, Totals},
    ids::{CartId, OrderId, Sku},
};
use event_store::{Unit, append::Pending};
use futures::future;
use gateway::Problem;
use uuid::Uuid;

use crate::{
    handler::{Context, Failure, MAX_ATTEMPTS, Staged, Staging},
    pricing::{self, Offer},
    refusals::{conflict, problem, unstored},
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// How long a reservation outlives the payment's deadline, so that the order is always cancelled first, in seconds.
const RESERVATION_MARGIN_S: i64 = 300;

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

/// What a cart holds, as it was read for a checkout.
struct Contents {
    currency: Currency,
    items: Vec<ItemQuantity>,
    shown: BTreeMap<Sku, Money>,
}

/// An order that is about to be placed.
struct Attempt<'a> {
    shop: &'a Shop,
    write: &'a Write,
    order: OrderId,
    cart: CartId,
    customer: String,
    items: Vec<ItemQuantity>,
    lines: Vec<Line>,
    totals: Totals,
    payment: PaymentMeans,
    deadline: Timestamp,
}

/// Checks a cart out.
///
/// # Errors
/// Why it can't be bought; then nothing is held.
pub async fn run(shop: &Shop, write: &Write, checkout: Checkout) -> Result<Answer, Problem> {
    let now = write.context.now;
    let contents = contents(shop, write, checkout.cart).await?;
    let skus: Vec<Sku> = contents.items.iter().map(|item| item.sku.clone()).collect();
    let offers = pricing::offers(shop, &skus, now).await.map_err(|error| unstored(&error))?;
    refusal::unless_for_sale(&contents, &offers)?;
    let wanted: Vec<(Sku, u32)> = contents.items.iter().map(|item| (item.sku.clone(), item.quantity)).collect();
    let (lines, totals) =
        pricing::order_lines(&wanted, &offers, contents.currency).map_err(|error| conflict("total_too_large", error.to_string()))?;
    refusal::unless_expected(checkout.expected_total, &totals, &contents, &offers)?;
    let attempt = Attempt {
        shop,
        write,
        order: OrderId(Uuid::now_v7()),
        cart: checkout.cart,
        customer: checkout.email.to_lowercase(),
        items: contents.items,
        lines,
        totals,
        payment: checkout.payment,
        deadline: now.plus(shop.settings.payment_deadline),
    };
    attempt.submit_and_reserve(checkout.email, checkout.shipping_address, checkout.metadata).await?;
    attempt.place().await
}

/// What the cart holds; a refusal where it can't be bought.
async fn contents(shop: &Shop, write: &Write, cart: CartId) -> Result<Contents, Problem> {
    let look = |state: &cart::State, version: i64| -> Result<Contents, Failure<cart::Refusal>> {
        let refused = |refusal| Err(Failure::Refused(refusal));
        match state {
            cart::State::Nothing => refused(cart::Refusal::Unknown),
            cart::State::CheckedOut(bought) => refused(cart::Refusal::CheckedOut { order: bought.order }),
            cart::State::Open(_) if !write.context.if_match.allows(version) => Err(Failure::VersionMismatch(version)),
            cart::State::Open(contents) if contents.items.is_empty() => refused(cart::Refusal::Empty),
            cart::State::Open(contents) => {
                Ok(Contents { currency: contents.currency, items: contents.items.clone(), shown: contents.shown.clone() })
            }
        }
    };
    let (contents, ..) = shop.carts.current(&StreamId::cart(cart), look).await.map_err(|error| unstored(&error))?;
    contents.map_err(problem)
}

impl Attempt<'_> {
    /// Records the submission and reserves every line; where one can't be, releases the others and rejects the order.
    async fn submit_and_reserve(
        &self,
        email: String,
        shipping_address: Address,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), Problem> {
        let stream = StreamId::order(self.order);
        self.shop.orders.begin(&stream);
        let submit = order::Command::Submit(Box::new(OrderSubmitted {
            cart: self.cart,
            email,
            customer: self.customer.clone(),
            shipping_address,
            lines: self.lines.clone(),
            totals: self.totals,
            payment: self.payment.clone(),
            metadata,
        }));
        let context = self.write.context.next();
        // The submission enters the queue first, so it stands before the reservations in the log; nobody waits for it alone.
        let submitted = self.shop.orders.run(&stream, &submit, &context, |_, _| ());
        let reserved = future::join_all(self.lines.iter().map(|line| self.reserve(line)));
        let (submitted, reserved) = futures::join!(submitted, reserved);
        let refusals: Vec<(&Line, Failure<stock::Refusal>)> =
            self.lines.iter().zip(reserved).filter_map(|(line, outcome)| outcome.err().map(|failure| (line, failure))).collect();
        if let Err(failure) = submitted {
            self.release().await;
            return Err(problem(failure));
        }
        if refusals.is_empty() {
            return Ok(());
        }
        let (reason, problem) = refusal::of_reservations(refusals.as_slice());
        let skus = refusals.iter().map(|(line, _)| line.sku.clone()).collect();
        self.reject(reason, skus).await;
        Err(problem)
    }

    async fn reserve(&self, line: &Line) -> Result<(), Failure<stock::Refusal>> {
        let command = stock::Command::Reserve {
            order: self.order,
            quantity: line.quantity,
            until: self.deadline.plus(Duration::seconds(RESERVATION_MARGIN_S)),
            customer: self.customer.clone(),
            sale: line.sale,
        };
        self.shop.stock.run(&StreamId::stock(&line.sku), &command, &self.write.context.next(), |_, _| ()).await.map(|_| ())
    }

    /// Rejects the order and releases what it holds. What fails here is done by the process managers.
    async fn reject(&self, reason: RejectionReason, skus: Vec<Sku>) {
        let (stream, context) = (StreamId::order(self.order), self.write.context.next());
        let command = order::Command::Reject { reason, skus };
        let (rejected, ()) = futures::join!(self.shop.orders.run(&stream, &command, &context, |_, _| ()), self.release());
        if let Err(failure) = rejected {
            tracing::warn!(order = %self.order, %failure, "an order that can't be placed was not rejected yet");
        }
    }

    async fn release(&self) {
        let released = self.lines.iter().map(|line| async move {
            let (stream, context) = (StreamId::stock(&line.sku), self.write.context.next());
            self.shop.stock.run(&stream, &stock::Command::Release { order: self.order }, &context, |_, _| ()).await
        });
        for failure in future::join_all(released).await.into_iter().filter_map(Result::err) {
            tracing::warn!(order = %self.order, %failure, "what an order held is not released yet");
        }
    }

    /// Places the order, buys the cart and asks for the payment: all or nothing.
    async fn place(&self) -> Result<Answer, Problem> {
        for _ in 0..MAX_ATTEMPTS {
            match self.try_to_place().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) | Err(NotPlaced::Outage(event_store::Error::Conflict)) => {}
                // It may have been placed all the same: then there is nothing to reject. If not, it is abandoned in time.
                Err(NotPlaced::Outage(error @ event_store::Error::Unavailable(_))) => return Err(unstored(&error)),
                Err(NotPlaced::Outage(error)) => {
                    self.reject(RejectionReason::CartChanged, Vec::new()).await;
                    return Err(unstored(&error));
                }
                Err(NotPlaced::Refused(problem)) => {
                    self.reject(RejectionReason::CartChanged, Vec::new()).await;
                    return Err(problem);
                }
            }
        }
        self.reject(RejectionReason::CartChanged, Vec::new()).await;
        Err(unstored(&event_store::Error::Overloaded))
    }

    async fn try_to_place(&self) -> Result<Option<Answer>, NotPlaced> {
        let (cart_stream, order_stream, payment_stream) =
            (StreamId::cart(self.cart), StreamId::order(self.order), StreamId::payment(self.order));
        self.shop.payments.begin(&payment_stream);
        let cart = self.shop.carts.entity(&cart_stream).await?;
        let order = self.shop.orders.entity(&order_stream).await?;
        let payment = self.shop.payments.entity(&payment_stream).await?;
        let contexts = [self.write.context.next(), self.write.context.next()];
        let for_cart = Context { if_match: self.write.context.if_match.clone(), ..self.write.context.next() };
        let check_out = cart::Command::CheckOut { order: self.order, items: self.items.clone() };
        let place = order::Command::Place { payment_deadline: self.deadline };
        let request = payment::Command::Request {
            amount: self.totals.total,
            means: self.payment.clone(),
            idempotency_key: self.order.uuid(),
            deadline: self.deadline,
        };
        // Staged in the alphabetical order of their categories, as everywhere.
        let submitted = match cart.stage(&check_out, &for_cart) {
            Staging::Stale | Staging::Unchanged(_) => return Ok(None),
            Staging::Refused(basis, refusal) => Err((basis, problem(Failure::Refused(refusal)))),
            Staging::Mismatch(basis) => {
                let version = basis.version;
                Err((basis, problem(Failure::<cart::Refusal>::VersionMismatch(version))))
            }
            Staging::Staged(cart) => match (order.stage(&place, &contexts[0]), payment.stage(&request, &contexts[1])) {
                (Staging::Staged(order), Staging::Staged(payment)) => Ok(self.submit_placement(cart, order, payment)?),
                (Staging::Refused(_, refusal), _) => return Err(NotPlaced::Refused(problem(Failure::Refused(refusal)))),
                _ => return Ok(None),
            },
        };
        match submitted {
            Ok((pending, draft)) => Ok(Some(draft.at(pending.outcome().await?.position))),
            Err((basis, problem)) if cart.confirm(&self.shop.store, &basis).await? => Err(NotPlaced::Refused(problem)),
            Err(_) => Ok(None),
        }
    }

    fn submit_placement(
        &self,
        cart: Staged<'_, cart::Cart>,
        order: Staged<'_, order::Order>,
        payment: Staged<'_, payment::Payment>,
    ) -> Result<(Pending, Draft), NotPlaced> {
        let resource = order.state().resource(self.order, order.version());
        let draft = resource.and_then(|resource| Draft::created(format!("/v1/orders/{}", self.order), order.version(), &resource));
        let draft = draft.ok_or_else(|| NotPlaced::Refused(Problem::internal()))?;
        let unit = Unit { parts: vec![cart.part()?, order.part()?, payment.part()?], answer: self.write.keep(&draft) };
        let pending = self.shop.store.submit(unit)?;
        cart.submitted();
        order.submitted();
        payment.submitted();
        Ok((pending, draft))
    }
}

/// Why an order was not placed.
enum NotPlaced {
    /// It may not be.
    Refused(Problem),
    /// The log did not take it, or did not say.
    Outage(event_store::Error),
}

impl From<event_store::Error> for NotPlaced {
    fn from(error: event_store::Error) -> Self {
        Self::Outage(error)
    }
}

/// The offers by SKU.
type Offers = HashMap<Sku, Offer>;
