//! The payment worker: asks the gateway for what payments need, with no lock and no connection held meanwhile, and records what it says
//! as commands. What is still open when the checkpoint moves is kept as a reminder, so that a crash asks again.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Aggregate, payment};
use event_schemas::{Recorded, StreamId, Timestamp, ids::OrderId};
use event_store::{
    Batch, Checkpoint, EventStore, Mark, Parked, ParkedStreams, checkpoint, kafka, lease,
    parked::{self, Mended, Mending},
};
use metrics::{counter, gauge, histogram};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    NoAnswer, PaymentGateway,
    open::Open,
    question::{self, ANSWER_LIMIT, Answer, Next, Question},
};
use crate::{
    handler::{Context, Failure},
    shop::{Shop, now},
};

mod open;

/// The name of its checkpoint and its lease.
pub const NAME: &str = "payment-worker";
/// The version of its checkpoint: what was asked for is never asked for anew, so it stays.
const VERSION: i32 = 1;
/// The most positions of a batch.
const BATCH: usize = 1_024;
/// The most questions to the gateway at a time: one that hangs takes one of these places until it times out.
const QUESTIONS: usize = 1_024;
/// How long the checkpoint waits for the payments of a batch, so that most are settled without ever being written down as open.
const SETTLE_LIMIT: Duration = Duration::from_millis(40);
/// How often the checkpoint follows where there was nothing to do.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(500);
/// The longest pause between two tries while the database is away.
const MAX_OUTAGE_PAUSE: Duration = Duration::from_secs(2);

/// Where the worker hears of payments: in the order of the log either way.
enum Source {
    Log(event_store::Feed),
    Kafka(kafka::Feed),
}

impl Source {
    fn of(store: &EventStore, kafka: Option<&Arc<kafka::Settings>>) -> Self {
        const CATEGORIES: &[&str] = &[payment::Payment::CATEGORY];
        match kafka {
            None => Self::Log(store.feed(CATEGORIES)),
            Some(settings) => Self::Kafka(kafka::Feed::new(store.clone(), settings.clone(), CATEGORIES)),
        }
    }

    async fn next(&mut self, after: i64) -> Result<Batch, event_store::Error> {
        match self {
            Self::Log(feed) => feed.next(after, BATCH).await,
            Self::Kafka(feed) => feed.next(after, BATCH).await,
        }
    }
}

/// Runs the payment worker while this server holds its lease, until `shutdown`. It hears of payments from `kafka` where that is given, otherwise
/// from the log. In front of an event of a newer program it gives the lease away.
pub async fn run(
    shop: Shop,
    gateway: Arc<dyn PaymentGateway>,
    kafka: Option<Arc<kafka::Settings>>,
    holder: Uuid,
    shutdown: CancellationToken,
) {
    while !shutdown.is_cancelled() {
        let candidacy = shutdown.child_token();
        let held = lease::keep(shop.store.pool().clone(), NAME.into(), holder, candidacy.clone());
        take_turns(&shop, &gateway, kafka.as_ref(), holder, held.clone(), &candidacy).await;
        lease::give_away(&candidacy, held, &shutdown).await;
    }
}

/// Works whenever the lease is `held`, until `shutdown`, or until only a newer program can go on.
async fn take_turns(
    shop: &Shop,
    gateway: &Arc<dyn PaymentGateway>,
    kafka: Option<&Arc<kafka::Settings>>,
    holder: Uuid,
    mut held: watch::Receiver<bool>,
    shutdown: &CancellationToken,
) {
    let mut pause = Duration::from_millis(50);
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = held.wait_for(|held| *held) => if changed.is_err() { break },
        }
        let stopped = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = held.wait_for(|held| !*held) => continue,
            stopped = work(shop, gateway, kafka, holder) => stopped,
        };
        if let Err(error) = stopped {
            if error.is_newer() {
                checkpoint::tell_newer(shop.store.pool(), NAME, &error).await;
                return;
            }
            tracing::warn!(%error, "the payment worker was stopped and goes on where it was");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_OUTAGE_PAUSE);
        }
    }
}

struct Worker {
    shop: Shop,
    gateway: Arc<dyn PaymentGateway>,
    places: Arc<Semaphore>,
    /// Of the lease: whoever takes over has another one.
    fence: i64,
    at: Mark,
    checkpoint: Checkpoint,
    parked: ParkedStreams,
    open: Open,
    running: JoinSet<(OrderId, Settled)>,
    /// The orders whose payment is being worked on.
    busy: HashMap<OrderId, Busy>,
}

/// When a payment is to be looked at again, or why it could not be settled, and for whom.
type Settled = Result<Next, (Cause, event_store::Error)>;

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
    /// Where the event stands that asks for it, and its type.
    asked_at: (i64, &'static str),
    /// The event that asks for it and what that belongs to; none where a reminder does.
    event: Option<(Uuid, Uuid)>,
}

impl Cause {
    /// Not an event, but that it is time to: the newest state counts.
    const TIME: Self = Self { version: i64::MAX, asked_at: (0, ""), event: None };

    fn of(recorded: &Recorded) -> Self {
        let asked_at = (recorded.position, recorded.event.event_type());
        Self { version: recorded.version, asked_at, event: Some((recorded.event_id, recorded.metadata.correlation_id)) }
    }

    /// The payment of `order`, which can't be settled because of `error`.
    fn parked(self, order: OrderId, error: &event_store::Error) -> Parked {
        let stream = StreamId::payment(order).to_string();
        match error {
            event_store::Error::Undecodable(event) if event.stream == stream => Parked::from((**event).clone()),
            error => Parked {
                stream,
                position: self.asked_at.0,
                version: self.event.map_or(0, |_| self.version),
                event_type: self.asked_at.1.into(),
                reason: error.to_string(),
            },
        }
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

async fn work(
    shop: &Shop,
    gateway: &Arc<dyn PaymentGateway>,
    kafka: Option<&Arc<kafka::Settings>>,
    holder: Uuid,
) -> Result<(), event_store::Error> {
    let pool = shop.store.pool();
    for stream in parked::readable(pool, NAME).await? {
        parked::taken_up(pool, NAME, &stream, mend(shop, &stream, Mending::Retry).await).await?;
    }
    let fence = lease::acquire(pool, NAME, holder).await?.ok_or(event_store::Error::Conflict)?;
    let (checkpoint, open) = open::read(&shop.store).await?;
    let mut worker = Worker {
        fence,
        at: checkpoint.mark(),
        checkpoint,
        parked: ParkedStreams::read(&mut *pool.acquire().await?, NAME).await?,
        open,
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
    let mut source = Source::of(&shop.store, kafka);
    let mut tick = tokio::time::interval(CHECKPOINT_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let due = worker.open.next_due();
        tokio::select! {
            batch = source.next(worker.at.position) => worker.take(batch?).await?,
            Some(done) = worker.running.join_next() => worker.note(done).await?,
            _ = tick.tick() => worker.write_down().await?,
            () = sleep_until(due) => for order in worker.open.due(now()) { worker.begin(order, Cause::TIME) },
        }
        gauge!("merx_payments_open").set(u32::try_from(worker.open.len()).unwrap_or(u32::MAX));
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
        let end = batch.end();
        let undecodable = batch.undecodable.into_iter().filter(|event| !self.parked.contains(&event.stream));
        let bad: Vec<Parked> = undecodable.map(Parked::from).collect();
        self.park(bad).await?;
        let events = batch.events.iter().filter(|event| !self.parked.contains(event.stream.as_str()));
        let asking = events.filter_map(|recorded| Some((question::asks(recorded)?, Cause::of(recorded))));
        let orders: HashMap<OrderId, Cause> = asking.collect();
        let asked = !orders.is_empty();
        for (order, cause) in &orders {
            self.begin(*order, *cause);
        }
        let patience = Instant::now() + SETTLE_LIMIT;
        while orders.keys().any(|order| self.busy.contains_key(order)) {
            match tokio::time::timeout_at(patience, self.running.join_next()).await {
                Ok(Some(done)) => self.note(done).await?,
                Ok(None) | Err(_) => break,
            }
        }
        self.at = end;
        if asked || self.open.is_changed() { self.write_down().await } else { Ok(()) }
    }

    /// Commits how far everything is settled or known to be open.
    async fn write_down(&mut self) -> Result<(), event_store::Error> {
        open::write(&mut self.open, &mut self.checkpoint, self.shop.store.pool(), self.fence, self.at).await
    }

    /// Works on an order's payment in the background.
    fn begin(&mut self, order: OrderId, cause: Cause) {
        if let Some(busy) = self.busy.get_mut(&order) {
            busy.again = Some(cause);
            return;
        }
        self.busy.insert(order, Busy { again: None });
        self.open.begin(order);
        let (shop, gateway, places) = (self.shop.clone(), self.gateway.clone(), self.places.clone());
        self.running.spawn(async move {
            let Ok(_place) = places.acquire().await else { return (order, Ok(Next::Nothing)) };
            let settled = parked::unwound(settle(&shop, &*gateway, order, cause)).await;
            let settled = settled.unwrap_or_else(|panic| Err(event_store::Error::Refused(panic)));
            (order, settled.map_err(|error| (cause, error)))
        });
    }

    /// Leaves streams alone until an operator retries or skips them.
    async fn park(&mut self, parked: Vec<Parked>) -> Result<(), event_store::Error> {
        if parked.is_empty() {
            return Ok(());
        }
        let mut transaction = self.shop.store.pool().begin().await?;
        parked::park(&mut transaction, NAME, &parked).await?;
        transaction.commit().await?;
        parked::report(NAME, &parked);
        self.parked.add(parked);
        parked::measure(NAME, self.parked.len());
        Ok(())
    }

    async fn note(&mut self, done: Result<(OrderId, Settled), tokio::task::JoinError>) -> Result<(), event_store::Error> {
        let (order, next) = done.map_err(|error| event_store::Error::Unavailable(error.to_string()))?;
        let again = self.busy.remove(&order).and_then(|busy| busy.again);
        match next {
            Ok(Next::Nothing) => self.open.settled(order),
            Ok(Next::At(at)) => self.open.wait(order, at),
            Err((_, error)) if error.is_passing() => return Err(error),
            Err((cause, error)) => {
                self.park(vec![cause.parked(order, &error)]).await?;
                self.open.settled(order);
                return Ok(());
            }
        }
        if let Some(cause) = again {
            self.begin(order, cause);
        }
        Ok(())
    }
}

/// Has the payment of the parked `stream` looked at again, by the worker at work or the next one. Where it is skipped, only when something
/// more happens to it: the worker follows the state of a payment and not its single events.
///
/// # Errors
/// [`event_store::Error::NotParked`]; the database can't be reached.
pub async fn mend(shop: &Shop, stream: &str, how: Mending) -> Result<Mended, event_store::Error> {
    let not_parked = || event_store::Error::NotParked { consumer: NAME.into(), stream: stream.into() };
    let mut transaction = shop.store.pool().begin().await?;
    Checkpoint::lock(&mut transaction, NAME).await?.ok_or_else(not_parked)?;
    parked::take_out(&mut transaction, NAME, stream).await?;
    if how == Mending::Retry
        && let Some((_, order)) = stream.split_once('-')
    {
        open::reopen(&mut transaction, order).await?;
    }
    checkpoint::revise(&mut transaction, NAME).await?;
    transaction.commit().await?;
    Ok(Mended::default())
}

/// Does what the payment of `order` needs now; when to look at it again.
async fn settle(shop: &Shop, gateway: &dyn PaymentGateway, order: OrderId, cause: Cause) -> Result<Next, event_store::Error> {
    let stream = StreamId::payment(order);
    let state = shop.payments.at_least(&stream, cause.version, |state, _| state.clone()).await?;
    let Some(charge) = state.charge() else { return Ok(Next::Nothing) };
    let (questions, mut next) = question::questions(&state, now());
    for question in questions {
        let answer = ask(gateway, order, &question).await;
        let (command, again) = question::follow(charge, &question, answer, later);
        if let Some(command) = command {
            record(shop, &stream, cause, &command).await?;
        }
        next = next.or(again);
    }
    Ok(next)
}

/// Asks one question.
async fn ask(gateway: &dyn PaymentGateway, order: OrderId, question: &Question) -> Answer {
    match question {
        Question::Charge(request) => {
            let started = Instant::now();
            let outcome = answer(gateway.charge(request)).await;
            histogram!("merx_payment_gateway_seconds").record(started.elapsed());
            if let Err(NoAnswer(reason)) = &outcome {
                counter!("merx_payment_attempts_failed_total").increment(1);
                tracing::debug!(%order, reason, "the payment gateway gave no answer");
            }
            Answer::Charge(outcome)
        }
        Question::Void(request) => Answer::Void(answer(gateway.void(request)).await),
        Question::Refund(request, ..) => Answer::Refund(answer(gateway.refund(request)).await),
    }
}

/// Waits for the gateway, but not for ever.
async fn answer<T>(question: impl Future<Output = Result<T, NoAnswer>>) -> Result<T, NoAnswer> {
    tokio::time::timeout(ANSWER_LIMIT, question)
        .await
        .unwrap_or_else(|_| Err(NoAnswer(format!("the gateway gave no answer within {} seconds", ANSWER_LIMIT.as_secs()))))
}

fn later(attempt: u32, most: Duration) -> Timestamp {
    let random = u32::from_be_bytes(Uuid::now_v7().as_bytes()[12..].try_into().unwrap_or_default());
    question::later(now(), attempt, most, random)
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
