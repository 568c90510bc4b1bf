//! Checkout: submit the order, reserve every line or none, then place the order, buy the cart and ask for the payment in one transaction.
//!
//! The submission is in the log before any reservation, so that a crash anywhere is finished or undone by the process managers.

pub mod purchase;
mod refusal;

use std::collections::BTreeMap;

use domain::{cart, order, payment, stock};
use event_schemas::{
    Money, StreamId,
    events::order::{Address, Line, PaymentMeans, RejectionReason},
    ids::{CartId, OrderId, Sku},
};
use event_store::{Unit, append::Pending};
use futures::future;
use gateway::Problem;
use uuid::Uuid;

use crate::{
    handler::{Context, Failure, MAX_ATTEMPTS, Staged, Staging},
    pricing,
    refusals::{problem, unstored},
    shop::Shop,
    write::{Answer, Draft, Write},
};
use purchase::{AfterReserving, Contents, NotPlaced, Purchase};

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

/// An order that is about to be placed.
struct Attempt<'a> {
    shop: &'a Shop,
    write: &'a Write,
    purchase: Purchase,
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
    let purchase = Purchase::new(OrderId(Uuid::now_v7()), checkout, contents, &offers, now, shop.settings.payment_deadline)?;
    let attempt = Attempt { shop, write, purchase };
    attempt.submit_and_reserve().await?;
    attempt.place().await
}

/// What the cart holds; a refusal where it can't be bought.
async fn contents(shop: &Shop, write: &Write, cart: CartId) -> Result<Contents, Problem> {
    let look = |state: &cart::State, version: i64| -> Result<Contents, Failure<cart::Refusal>> {
        match state {
            cart::State::Open(_) if !write.context.if_match.allows(version) => Err(Failure::VersionMismatch(version)),
            state => purchase::contents(state).map_err(Failure::Refused),
        }
    };
    let (contents, ..) = shop.carts.current(&StreamId::cart(cart), look).await.map_err(|error| unstored(&error))?;
    contents.map_err(problem)
}

impl Attempt<'_> {
    /// Records the submission and reserves every line; where one can't be, releases the others and rejects the order.
    async fn submit_and_reserve(&self) -> Result<(), Problem> {
        let stream = StreamId::order(self.purchase.order);
        self.shop.orders.begin(&stream);
        let (submit, context) = (self.purchase.submit(), self.write.context.next());
        // The submission enters the queue first, so it stands before the reservations in the log; nobody waits for it alone.
        let submitted = self.shop.orders.run(&stream, &submit, &context, |_, _| ());
        let reserved = future::join_all(self.purchase.lines().iter().map(|line| self.reserve(line)));
        let (submitted, reserved) = futures::join!(submitted, reserved);
        match purchase::after_reserving(self.purchase.lines(), submitted.map(|_| ()).map_err(problem), reserved) {
            AfterReserving::Place => Ok(()),
            AfterReserving::Release(problem) => {
                self.release().await;
                Err(problem)
            }
            AfterReserving::Reject { reason, skus, problem } => {
                self.reject(reason, skus).await;
                Err(problem)
            }
        }
    }

    async fn reserve(&self, line: &Line) -> Result<(), Failure<stock::Refusal>> {
        let command = self.purchase.reserve(line);
        self.shop.stock.run(&StreamId::stock(&line.sku), &command, &self.write.context.next(), |_, _| ()).await.map(|_| ())
    }

    /// Rejects the order and releases what it holds. What fails here is done by the process managers.
    async fn reject(&self, reason: RejectionReason, skus: Vec<Sku>) {
        let (stream, context) = (StreamId::order(self.purchase.order), self.write.context.next());
        let command = order::Command::Reject { reason, skus };
        let (rejected, ()) = futures::join!(self.shop.orders.run(&stream, &command, &context, |_, _| ()), self.release());
        if let Err(failure) = rejected {
            tracing::warn!(order = %self.purchase.order, %failure, "an order that can't be placed was not rejected yet");
        }
    }

    async fn release(&self) {
        let released = self.purchase.lines().iter().map(|line| async move {
            let (stream, context) = (StreamId::stock(&line.sku), self.write.context.next());
            self.shop.stock.run(&stream, &self.purchase.release(), &context, |_, _| ()).await
        });
        for failure in future::join_all(released).await.into_iter().filter_map(Result::err) {
            tracing::warn!(order = %self.purchase.order, %failure, "what an order held is not released yet");
        }
    }

    /// Places the order, buys the cart and asks for the payment: all or nothing.
    async fn place(&self) -> Result<Answer, Problem> {
        for _ in 0..MAX_ATTEMPTS {
            match self.try_to_place().await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(failure) if failure.is_passing() => {}
                Err(failure) => {
                    if !failure.is_unknown() {
                        self.reject(RejectionReason::CartChanged, Vec::new()).await;
                    }
                    return Err(match failure {
                        NotPlaced::Refused(problem) => problem,
                        NotPlaced::Outage(error) => unstored(&error),
                    });
                }
            }
        }
        self.reject(RejectionReason::CartChanged, Vec::new()).await;
        Err(unstored(&event_store::Error::Overloaded))
    }

    async fn try_to_place(&self) -> Result<Option<Answer>, NotPlaced> {
        let (cart_stream, order_stream, payment_stream) =
            (StreamId::cart(self.purchase.cart), StreamId::order(self.purchase.order), StreamId::payment(self.purchase.order));
        self.shop.payments.begin(&payment_stream);
        let cart = self.shop.carts.entity(&cart_stream).await?;
        let order = self.shop.orders.entity(&order_stream).await?;
        let payment = self.shop.payments.entity(&payment_stream).await?;
        let contexts = [self.write.context.next(), self.write.context.next()];
        let for_cart = Context { if_match: self.write.context.if_match.clone(), ..self.write.context.next() };
        let (check_out, place, request) = self.purchase.place();
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
        let id = self.purchase.order;
        let resource = order.state().resource(id, order.version());
        let draft = resource.and_then(|resource| Draft::created(format!("/v1/orders/{id}"), order.version(), &resource));
        let draft = draft.ok_or_else(|| NotPlaced::Refused(Problem::internal()))?;
        let unit = Unit { parts: vec![cart.part()?, order.part()?, payment.part()?], answer: self.write.keep(&draft) };
        let pending = self.shop.store.submit(unit)?;
        cart.submitted();
        order.submitted();
        payment.submitted();
        Ok((pending, draft))
    }
}
