//! The payment worker: asks the gateway for what payments need, with no lock and no connection held meanwhile, and records what it says
//! as commands. What is still open when the checkpoint moves is kept as a reminder, so that a crash asks again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Aggregate, payment};
use event_schemas::{
    Event, Recorded, StreamId, Timestamp,
    events::payment::Event as PaymentEvent,
    ids::{OrderId, RefundId},
};
use event_store::{Batch, checkpoint, lease};
use metrics::{counter, gauge, histogram};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{ChargeOutcome, ChargeRequest, NoAnswer, PaymentGateway, RefundRequest, VoidOutcome};
use crate::{
    handler::{Context, Failure},
    process::derived_id,
    shop::{Shop, now},
};

mod open;

use open::Open;

const NAME: &str = "payment-worker";
/// The most positions of a batch.
const BATCH: usize = 1_024;
/// The most questions to the gateway at a time: one that hangs takes one of these places until it times out.
const QUESTIONS: usize = 1_024;
/// How long the gateway may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// How long the checkpoint waits for the payments of a batch, so that most are settled without ever being written down as open.
const SETTLE_LIMIT: Duration = Duration::from_millis(40);
/// How often the checkpoint follows where there was nothing to do.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// The first pause after a failed attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause between two tries while the database is away.
const MAX_OUTAGE_PAUSE: Duration = Duration::from_secs(2);

/// How long to wait after the `attempt`-th failed attempt, from 1: doubling from 400 ms to a minute, of which a random half is left out, so
/// that what failed together does not come back together ("full jitter" halved; Brooker, "Exponential Backoff And Jitter").
#[must_use]
pub fn pause_after(attempt: u32, random: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(MAX_PAUSE);
    whole / 2 + whole.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
}

/// Runs the payment worker while this server holds its lease, until `shutdown`.
pub async fn run(shop: Shop, gateway: Arc<dyn PaymentGateway>, holder: Uuid, shutdown: CancellationToken) {
    let mut held = lease::keep(shop.store.pool().clone(), NAME.into(), holder, shutdown.clone());
    let mut pause = Duration::from_millis(50);
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = held.wait_for(|held| *held) => if changed.is_err() { break },
        }
        let stopped = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = held.wait_for(|held| !*held) => continue,
            stopped = work(&shop, &gateway) => stopped,
        };
        if let Err(error) = stopped {
            tracing::warn!(%error, "the payment worker was stopped and goes on where it was");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_OUTAGE_PAUSE);
        }
    }
}

/// What is to be done for a payment after it was worked on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    Nothing,
    At(Timestamp),
}

struct Worker {
    shop: Shop,
    gateway: Arc<dyn PaymentGateway>,
    places: Arc<Semaphore>,
    position: i64,
    open: Open,
    running: JoinSet<(OrderId, Result<Next, event_store::Error>)>,
    /// The orders whose payment is being worked on.
    busy: HashMap<OrderId, Busy>,
}

/// A payment that is being worked on.
struct Busy {
    /// What it must be looked at for next, where something happened to it meanwhile.
    again: Option<Cause>,
}

/// Why a payment is looked at.
#[derive(Debug, Clone, Copy)]
struct Cause {
    /// The version that the state must have at least.
    version: i64,
    /// The event that asks for it and what that belongs to; none where a reminder does.
    event: Option<(Uuid, Uuid)>,
}

impl Cause {
    /// Not an event, but that it is time to: the newest state counts.
    const TIME: Self = Self { version: i64::MAX, event: None };

    fn of(recorded: &Recorded) -> Self {
        Self { version: recorded.version, event: Some((recorded.event_id, recorded.metadata.correlation_id)) }
    }

    fn context(self) -> Context {
        let mut context = Context::new(now(), "worker:payment");
        if let Some((event, correlation)) = self.event {
            context.metadata.causation_id = Some(event);
            context.metadata.correlation_id = correlation;
        }
        context
    }
}

async fn work(shop: &Shop, gateway: &Arc<dyn PaymentGateway>) -> Result<(), event_store::Error> {
    let pool = shop.store.pool();
    let mut worker = Worker {
        position: checkpoint::read(pool, NAME, 1).await?,
        open: Open::read(pool).await?,
        shop: shop.clone(),
        gateway: gateway.clone(),
        places: Arc::new(Semaphore::new(QUESTIONS)),
        running: JoinSet::new(),
        busy: HashMap::new(),
    };
    // Whoever was at work before may have been stopped in the middle of anything that is open.
    for order in worker.open.orders() {
        worker.begin(order, Cause::TIME);
    }
    let mut feed = shop.store.feed(&[payment::Payment::CATEGORY]);
    let mut tick = tokio::time::interval(CHECKPOINT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = worker.open.next_due(&worker.busy);
        tokio::select! {
            batch = feed.next(worker.position, BATCH) => worker.take(batch?).await?,
            Some(done) = worker.running.join_next() => worker.note(done)?,
            _ = tick.tick() => worker.write_down().await?,
            () = sleep_until(due) => for order in worker.open.due(now()) { worker.begin(order, Cause::TIME) },
        }
        gauge!("merx_payments_open").set(u32::try_from(worker.open.len() + worker.busy.len()).unwrap_or(u32::MAX));
    }
}

async fn sleep_until(due: Option<Timestamp>) {
    match due {
        Some(at) => tokio::time::sleep(at.since(now()).to_std().unwrap_or_default().max(Duration::from_millis(5))).await,
        None => std::future::pending().await,
    }
}

impl Worker {
    async fn take(&mut self, batch: Batch) -> Result<(), event_store::Error> {
        let asks = |event: &Event| {
            use PaymentEvent::{Cancelled, RefundRequested, Requested};
            matches!(event, Event::Payment(Requested(_) | RefundRequested(_) | Cancelled(_)))
        };
        let orders: HashMap<OrderId, Cause> = batch
            .events
            .iter()
            .filter(|recorded| asks(&recorded.event))
            .filter_map(|recorded| Some((recorded.stream.key().parse().ok()?, Cause::of(recorded))))
            .collect();
        let asked = !orders.is_empty();
        for (order, cause) in &orders {
            self.begin(*order, *cause);
        }
        let patience = Instant::now() + SETTLE_LIMIT;
        while orders.keys().any(|order| self.busy.contains_key(order)) {
            match tokio::time::timeout_at(patience, self.running.join_next()).await {
                Ok(Some(done)) => self.note(done)?,
                Ok(None) | Err(_) => break,
            }
        }
        self.position = batch.up_to;
        if asked || self.open.is_changed() { self.write_down().await } else { Ok(()) }
    }

    /// Commits how far everything is settled or known to be open.
    async fn write_down(&mut self) -> Result<(), event_store::Error> {
        let still_busy: Vec<OrderId> = self.busy.keys().copied().collect();
        self.open.write(self.shop.store.pool(), &still_busy, NAME, self.position).await
    }

    /// Works on an order's payment in the background.
    fn begin(&mut self, order: OrderId, cause: Cause) {
        if let Some(busy) = self.busy.get_mut(&order) {
            busy.again = Some(cause);
            return;
        }
        self.busy.insert(order, Busy { again: None });
        let (shop, gateway, places) = (self.shop.clone(), self.gateway.clone(), self.places.clone());
        self.running.spawn(async move {
            let Ok(_place) = places.acquire().await else { return (order, Ok(Next::Nothing)) };
            (order, settle(&shop, &*gateway, order, cause).await)
        });
    }

    fn note(
        &mut self,
        done: Result<(OrderId, Result<Next, event_store::Error>), tokio::task::JoinError>,
    ) -> Result<(), event_store::Error> {
        let (order, next) = done.map_err(|error| event_store::Error::Unavailable(error.to_string()))?;
        let again = self.busy.remove(&order).and_then(|busy| busy.again);
        match next? {
            Next::Nothing => self.open.settled(order),
            Next::At(at) => self.open.wait(order, at),
        }
        if let Some(cause) = again {
            self.begin(order, cause);
        }
        Ok(())
    }
}

/// Does what the payment of `order` needs now; when to look at it again.
async fn settle(shop: &Shop, gateway: &dyn PaymentGateway, order: OrderId, cause: Cause) -> Result<Next, event_store::Error> {
    let stream = StreamId::payment(order);
    let state = shop.payments.at_least(&stream, cause.version, |state, _| state.clone()).await?;
    match &state {
        payment::State::Nothing | payment::State::Declined(_) => Ok(Next::Nothing),
        payment::State::Pending(charge) if now() >= charge.deadline => Ok(Next::Nothing),
        payment::State::Pending(charge) => {
            let command = ask_for_charge(gateway, order, charge).await;
            let next = match &command {
                payment::Command::RecordFailure { retry_at, .. } => Next::At(*retry_at),
                _ => Next::Nothing,
            };
            record(shop, &stream, cause, &command).await?;
            Ok(next)
        }
        payment::State::Cancelled(cancelled) => {
            let charge = &cancelled.charge;
            let request = charge_request(charge);
            match answer(gateway.void(&request)).await {
                Ok(VoidOutcome::Voided) => Ok(Next::Nothing),
                Ok(VoidOutcome::Captured { reference }) => {
                    let refund = RefundId(derived_id(charge.idempotency_key, "late-capture"));
                    let command = payment::Command::RecordCapture { amount: charge.amount, gateway_reference: reference, refund };
                    record(shop, &stream, cause, &command).await?;
                    Ok(Next::Nothing)
                }
                Err(_) => Ok(Next::At(later(charge.attempts + 1))),
            }
        }
        payment::State::Captured(captured) => {
            for refund in state.pending_refunds() {
                let request =
                    RefundRequest { idempotency_key: refund.refund.uuid(), charge: captured.charge.idempotency_key, amount: refund.amount };
                match answer(gateway.refund(&request)).await {
                    Ok(gateway_reference) => {
                        record(shop, &stream, cause, &payment::Command::RecordRefund { refund: refund.refund, gateway_reference }).await?;
                    }
                    Err(_) => return Ok(Next::At(later(3))),
                }
            }
            Ok(Next::Nothing)
        }
    }
}

/// Asks for a charge; the command that records what came of it.
async fn ask_for_charge(gateway: &dyn PaymentGateway, order: OrderId, charge: &payment::Charge) -> payment::Command {
    let started = Instant::now();
    let outcome = answer(gateway.charge(&charge_request(charge))).await;
    histogram!("merx_payment_gateway_seconds").record(started.elapsed());
    match outcome {
        Ok(ChargeOutcome::Captured { reference }) => {
            let refund = RefundId(derived_id(charge.idempotency_key, "late-capture"));
            payment::Command::RecordCapture { amount: charge.amount, gateway_reference: reference, refund }
        }
        Ok(ChargeOutcome::Declined { code }) => payment::Command::RecordDecline { decline_code: code },
        Err(NoAnswer(reason)) => {
            counter!("merx_payment_attempts_failed_total").increment(1);
            tracing::debug!(%order, reason, "the payment gateway gave no answer");
            let attempt = charge.attempts + 1;
            payment::Command::RecordFailure { attempt, reason, retry_at: later(attempt).min(charge.deadline) }
        }
    }
}

fn charge_request(charge: &payment::Charge) -> ChargeRequest {
    ChargeRequest { idempotency_key: charge.idempotency_key, amount: charge.amount, token: charge.means.token.clone() }
}

/// Waits for the gateway, but not for ever.
async fn answer<T>(question: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    tokio::time::timeout(ANSWER_LIMIT, question)
        .await
        .unwrap_or_else(|_| Err(NoAnswer(format!("the gateway gave no answer within {} seconds", ANSWER_LIMIT.as_secs()))))
}

fn later(attempt: u32) -> Timestamp {
    let random = u32::from_be_bytes(Uuid::now_v7().as_bytes()[12..].try_into().unwrap_or_default());
    now().plus(chrono::Duration::from_std(pause_after(attempt, random)).unwrap_or_default())
}

async fn record(shop: &Shop, stream: &StreamId, cause: Cause, command: &payment::Command) -> Result<(), event_store::Error> {
    match shop.payments.run(stream, command, &cause.context(), |_, _| ()).await {
        Ok(_) => Ok(()),
        Err(Failure::Store(failure)) => Err(failure.0),
        Err(refused) => {
            tracing::warn!(%refused, %stream, "what the gateway said was refused");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_a_random_half_is_left_out() {
        let bounds = |attempt| (pause_after(attempt, 0).as_millis(), pause_after(attempt, u32::MAX).as_millis());
        assert_eq!(bounds(1), (200, 400));
        assert_eq!(bounds(2), (400, 800));
        assert_eq!(bounds(5), (3_200, 6_400));
        assert_eq!(bounds(40), (30_000, 60_000));
    }
}
