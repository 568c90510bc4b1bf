//! A checkout on a server of the version before, which has not been replaced yet: it submits the order, reserves the lines side by side, and
//! then places it. What it leaves half done in a crash is undone by the process managers.

use command_api::{checkout::purchase::Rejection, handler::Failure};
use domain::{cart::Cart, order, order::Order, payment::Payment, stock, stock::Stock};
use event_schemas::{
    StreamId,
    events::order::{Line, RejectionReason},
    ids::Sku,
};
use event_store::Error;
use uuid::Uuid;

use super::{
    checkout::{self, Attempt, Wanted},
    requests::Reply,
};
use crate::{
    log::{Kept, Part, Unit},
    scheduler::{Sim, Slot},
    server::{MAX_ATTEMPTS, Staging},
    world::ServerId,
};

/// The reason why an order was not placed.
enum NotPlaced {
    Refused,
    Outage(Error),
}

impl From<Error> for NotPlaced {
    fn from(error: Error) -> Self {
        Self::Outage(error)
    }
}

/// Checks a cart out, step by step.
pub(crate) async fn run(sim: &Sim, server: ServerId, key: Option<u64>, wanted: Wanted) -> Reply {
    let Some(attempt) = checkout::begin(sim, server, key, wanted).await else { return Reply::Refused };
    let stepwise = Stepwise(attempt);
    match stepwise.submit_and_reserve().await {
        Ok(()) => stepwise.place().await,
        Err(reply) => reply,
    }
}

struct Stepwise(Attempt);

impl Stepwise {
    /// Records the submission and reserves every line; where one can't be, releases the others and rejects the order.
    async fn submit_and_reserve(&self) -> Result<(), Reply> {
        let stream = StreamId::order(self.0.purchase.order);
        self.0.sim.world().refresh::<Order>(self.0.server, &stream);
        let submit = self.0.purchase.submit();
        let submitted = self.0.sim.execute::<Order>(self.0.server, &stream, &submit, &self.0.sim.next(&self.0.context), None).await;
        let lines = self.0.purchase.lines().to_vec();
        let reserved = self.reserve(&lines).await;
        if submitted.is_err() {
            self.release().await;
            return Err(Reply::Unavailable);
        }
        let failed: Vec<_> = lines.iter().zip(reserved).filter_map(|(line, outcome)| Some((line, outcome.err()?))).collect();
        if failed.is_empty() {
            return Ok(());
        }
        let refused = |(line, failure): &(&Line, Failure<stock::Refusal>)| match failure {
            Failure::Refused(refusal) => Some(((*line).clone(), refusal.clone())),
            Failure::VersionMismatch(_) | Failure::Store(_) => None,
        };
        let refusals: Vec<(Line, stock::Refusal)> = failed.iter().filter_map(refused).collect();
        if refusals.len() < failed.len() {
            self.reject(RejectionReason::Abandoned, Vec::new()).await;
            return Err(Reply::Unavailable);
        }
        let refusals: Vec<_> = refusals.iter().map(|(line, refusal)| (line, refusal.clone())).collect();
        let Rejection { reason, skus, .. } = Rejection::of_lines(&refusals);
        self.reject(reason, skus).await;
        Err(Reply::Refused)
    }

    /// Reserves the lines side by side.
    async fn reserve(&self, lines: &[Line]) -> Vec<Result<(), Failure<stock::Refusal>>> {
        let mut slots = Vec::with_capacity(lines.len());
        for line in lines {
            let (slot, answer) = (Slot::new(), Slot::clone);
            slots.push(answer(&slot));
            let (sim, server, context) = (self.0.sim.clone(), self.0.server, self.0.sim.next(&self.0.context));
            let (stream, command) = (StreamId::stock(&line.sku), self.0.purchase.reserve(line));
            self.0.sim.spawn_here("reservation", async move {
                let outcome = sim.execute::<Stock>(server, &stream, &command, &context, None).await;
                slot.answer(&sim, outcome);
            });
        }
        let mut outcomes = Vec::with_capacity(lines.len());
        for slot in slots {
            outcomes.push(slot.wait(&self.0.sim, i64::MAX).await.unwrap_or_else(|| Err(Error::Conflict.into())));
        }
        outcomes
    }

    /// Rejects the order and releases what it holds. What fails here is done by the process managers.
    async fn reject(&self, reason: RejectionReason, skus: Vec<Sku>) {
        let (stream, context) = (StreamId::order(self.0.purchase.order), self.0.sim.next(&self.0.context));
        let is_first = self.0.sim.world().rng.bool();
        if is_first {
            self.release().await;
        }
        let command = order::Command::Reject { reason, skus };
        let _ = self.0.sim.execute::<Order>(self.0.server, &stream, &command, &context, None).await;
        if !is_first {
            self.release().await;
        }
    }

    async fn release(&self) {
        for line in self.0.purchase.lines() {
            let (stream, context) = (StreamId::stock(&line.sku), self.0.sim.next(&self.0.context));
            let _ = self
                .0
                .sim
                .execute::<Stock>(self.0.server, &stream, &stock::Command::Release { order: self.0.purchase.order }, &context, None)
                .await;
        }
    }

    /// Places the order, buys the cart and asks for the payment: all or nothing.
    async fn place(&self) -> Reply {
        for _ in 0..MAX_ATTEMPTS {
            match self.try_to_place().await {
                Ok(Some(order)) => return Reply::Accepted(order),
                Ok(None) | Err(NotPlaced::Outage(Error::Conflict)) => {}
                // It may have been placed all the same: then there is nothing to reject. If not, it is abandoned in time.
                Err(NotPlaced::Outage(Error::Unavailable(_))) => return Reply::Unavailable,
                Err(failure) => {
                    self.reject(RejectionReason::CartChanged, Vec::new()).await;
                    return match failure {
                        NotPlaced::Refused => Reply::Refused,
                        NotPlaced::Outage(_) => Reply::Unavailable,
                    };
                }
            }
        }
        self.reject(RejectionReason::CartChanged, Vec::new()).await;
        Reply::Unavailable
    }

    async fn try_to_place(&self) -> Result<Option<Uuid>, NotPlaced> {
        let (id, server) = (self.0.purchase.order, self.0.server);
        let streams = (StreamId::cart(self.0.purchase.cart), StreamId::order(id), StreamId::payment(id));
        self.0.sim.ready::<Cart>(server, &streams.0).await;
        self.0.sim.ready::<Order>(server, &streams.1).await;
        self.0.sim.world().refresh::<Payment>(server, &streams.2);
        let (check_out, place, request) = self.0.purchase.place();
        let (now, mut parts) = (self.0.context.now, Vec::with_capacity(3));
        let mut staged = |stream: &StreamId, expected_version, events| {
            let metadata = self.0.sim.next(&self.0.context).metadata;
            parts.push(Part { stream: stream.clone(), expected_version, metadata, recorded_at: now, events });
        };
        let cart = self.0.sim.world().stage::<Cart>(server, &streams.0, &check_out, now);
        match cart {
            Staging::Stale | Staging::Unchanged(_) => return Ok(None),
            Staging::Refused(version, _) => {
                return if self.0.sim.confirm::<Cart>(server, &streams.0, version).await { Err(NotPlaced::Refused) } else { Ok(None) };
            }
            Staging::Staged(events, version) => staged(&streams.0, version, events),
        }
        let order = self.0.sim.world().stage::<Order>(server, &streams.1, &place, now);
        let payment = self.0.sim.world().stage::<Payment>(server, &streams.2, &request, now);
        match (order, payment) {
            (Staging::Staged(order, order_version), Staging::Staged(payment, payment_version)) => {
                staged(&streams.1, order_version, order);
                staged(&streams.2, payment_version, payment);
            }
            (Staging::Refused(..), _) => return Err(NotPlaced::Refused),
            _ => return Ok(None),
        }
        let answer = self.0.key.map(|key| Kept { key, made: id.uuid(), at: now });
        let outcome = self.0.sim.append(Unit { parts, answer }).await;
        let mut world = self.0.sim.world();
        world.doubt::<Cart>(server, &streams.0);
        world.doubt::<Order>(server, &streams.1);
        world.doubt::<Payment>(server, &streams.2);
        outcome.map(|_| Some(id.uuid())).map_err(Into::into)
    }
}
