//! Carries out what process managers want: reads the feed, issues their commands, keeps their reminders.
//!
//! Events about one subject are taken one after the other, different subjects side by side. The checkpoint moves after every command of a
//! batch was answered, so a crash repeats commands and never skips one; repeated commands have the same ids and change nothing.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{Aggregate, order, payment, stock};
use event_schemas::{
    Event, Recorded, StreamId, Timestamp,
    events::stock::Event as StockEvent,
    ids::{CommandId, Sku},
};
use event_store::{
    Batch, Checkpoint, Mark, Parked, ParkedStreams, checkpoint, lease,
    parked::{self, Mended, Mending},
    read::Filter,
};
use futures::{
    FutureExt as _, StreamExt, TryStreamExt as _,
    future::{self, BoxFuture},
    stream,
};
use gateway::IfMatch;
use metrics::counter;
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    CATEGORIES, Changes, Known, LeftStock, Reaction, Reminder, Wanted,
    horizon::Horizon,
    order_of,
    plan::{self, Shown},
    react, react_to_loss, react_when_due, reminders,
};
use crate::{
    handler::{Context, Failure, Handler},
    shop::{Shop, now},
};

/// The name of their checkpoint and their lease.
pub const NAME: &str = "process-managers";
/// The version of their checkpoint: what they have done is never done again, so it stays.
const VERSION: i32 = 1;
/// The most positions of a batch.
const BATCH: usize = 1_024;
/// The most subjects that are worked on at a time.
const SUBJECTS: usize = 256;
/// How often reminders are looked at.
const REMINDER_INTERVAL: Duration = Duration::from_millis(200);
/// The most reminders that are seen to at a time.
const DUE: i64 = 500;
/// When a reminder that could not be seen to is looked at again.
const POSTPONED_S: i64 = 60;
/// How long a checkpoint may stay behind while there is nothing else to write.
const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(50);
/// The longest pause between two tries while the database is away.
const MAX_PAUSE: Duration = Duration::from_secs(2);

/// Runs the process managers while this server holds their lease, until `shutdown`. In front of an event of a newer program it gives the lease away.
pub async fn run(shop: Shop, holder: Uuid, shutdown: CancellationToken) {
    while !shutdown.is_cancelled() {
        let candidacy = shutdown.child_token();
        let held = lease::keep(shop.store.pool().clone(), NAME.into(), holder, candidacy.clone());
        take_turns(&shop, holder, held.clone(), &candidacy).await;
        lease::give_away(&candidacy, held, &shutdown).await;
    }
}

/// Works whenever the lease is `held`, until `shutdown`, or until only a newer program can go on.
async fn take_turns(shop: &Shop, holder: Uuid, mut held: watch::Receiver<bool>, shutdown: &CancellationToken) {
    let mut pause = Duration::from_millis(50);
    while !shutdown.is_cancelled() {
        tokio::select! {
            () = shutdown.cancelled() => break,
            changed = held.wait_for(|held| *held) => if changed.is_err() { break },
        }
        let started = async {
            for stream in parked::readable(shop.store.pool(), NAME).await? {
                parked::taken_up(shop.store.pool(), NAME, &stream, mend(shop, &stream, Mending::Retry).await).await?;
            }
            Runner::start(shop.clone(), holder).await
        };
        let mut runner = match started.await {
            Ok(runner) => runner,
            Err(error) => {
                tracing::warn!(%error, "process managers can't start");
                tokio::time::sleep(pause).await;
                continue;
            }
        };
        let stopped = tokio::select! {
            () = shutdown.cancelled() => break,
            _ = held.wait_for(|held| !*held) => continue,
            stopped = runner.work() => stopped,
        };
        if let Err(error) = stopped {
            if error.is_newer() {
                checkpoint::tell_newer(shop.store.pool(), NAME, &error).await;
                return;
            }
            counter!("merx_process_manager_retries_total").increment(1);
            tracing::warn!(%error, "process managers were stopped and go on where they were");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(MAX_PAUSE);
        }
    }
}

pub(super) struct Runner {
    shop: Shop,
    /// Of the lease: whoever takes over has another one.
    fence: i64,
    /// How far everything is done.
    at: Mark,
    /// How far that is written down.
    written: Checkpoint,
    parked: ParkedStreams,
    written_at: Instant,
    /// The reminders that are set, so that what changes nothing is not written.
    set: HashMap<Reminder, Timestamp>,
    /// The part of the log that must be seen before the reminders that were found due may be seen to; none while none wait for that.
    horizon: Option<Horizon>,
}

impl Runner {
    pub async fn start(shop: Shop, holder: Uuid) -> Result<Self, event_store::Error> {
        let fence = lease::acquire(shop.store.pool(), NAME, holder).await?.ok_or(event_store::Error::Conflict)?;
        let written = Checkpoint::resume(&shop.store, NAME, VERSION).await?;
        let mut connection = shop.store.pool().acquire().await?;
        let parked = ParkedStreams::read(&mut connection, NAME).await?;
        let set = reminders::all(&mut *connection).await?;
        Ok(Self { shop, fence, at: written.mark(), written, parked, written_at: Instant::now(), set, horizon: None })
    }

    pub async fn work(&mut self) -> Result<(), event_store::Error> {
        let mut feed = self.shop.store.feed(CATEGORIES);
        let mut tick = tokio::time::interval(REMINDER_INTERVAL);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                batch = feed.next(self.at.position, BATCH) => self.take(batch?).await?,
                _ = tick.tick() => {
                    self.write_down(Changes::default(), Vec::new()).await?;
                    self.see_to_reminders().await?;
                }
            }
        }
    }

    async fn take(&mut self, batch: Batch) -> Result<(), event_store::Error> {
        let end = batch.end();
        let undecodable = batch.undecodable.into_iter().filter(|event| !self.parked.contains(&event.stream));
        let mut parked: Vec<Parked> = undecodable.map(Parked::from).collect();
        let mut subjects: HashMap<String, Vec<Arc<Recorded>>> = HashMap::new();
        for event in batch.events {
            if !self.parked.contains(event.stream.as_str()) && !follows_on(&parked, &event) {
                subjects.entry(plan::subject(&event)).or_default().push(event);
            }
        }
        let shop = &self.shop;
        let mut done = stream::iter(subjects.into_values()).map(|events| take_subject(shop, events)).buffer_unordered(SUBJECTS);
        let mut changes = Changes::default();
        while let Some(of_subject) = done.next().await {
            let (wanted, bad) = of_subject?;
            changes.merge(wanted);
            parked.extend(bad);
        }
        drop(done);
        self.at = end;
        changes.drop_what_stands(&self.set);
        if changes.is_empty() && parked.is_empty() && self.written_at.elapsed() < CHECKPOINT_INTERVAL {
            return Ok(());
        }
        self.write_down(changes, parked).await
    }

    /// Commits the checkpoint, what is to be reminded of, and what had to be parked.
    async fn write_down(&mut self, changes: Changes, mut parked: Vec<Parked>) -> Result<(), event_store::Error> {
        if self.at.position == self.written.position && changes.is_empty() && parked.is_empty() {
            return Ok(());
        }
        let mut transaction = self.begin().await?;
        // Nobody is told of this commit; what is lost of it with a crash of Postgres is done again.
        sqlx::query!("set local synchronous_commit = off").execute(&mut *transaction).await?;
        if !self.written.advance(&mut transaction, self.at).await? {
            return Err(event_store::Error::Conflict); // another server has taken over, an operator has mended something, or the log has gone back
        }
        reminders::write(&changes, &mut transaction).await?;
        if !parked.is_empty() {
            parked.sort_by_key(|parked| parked.position);
            parked::park(&mut transaction, NAME, &parked).await?;
        }
        transaction.commit().await?;
        parked::report(NAME, &parked);
        self.parked.add(parked);
        changes.note(&mut self.set);
        self.written.moved(self.at);
        self.written_at = Instant::now();
        Ok(())
    }

    /// A transaction that ends before another server takes over; refused where one has. Reminders change without the checkpoint too, so
    /// that it alone can't tell: a runner that wakes up late would remove one that its successor counts on.
    async fn begin(&self) -> Result<Transaction<'static, Postgres>, event_store::Error> {
        let mut transaction = self.shop.store.pool().begin().await?;
        if lease::stands(&mut transaction, NAME, self.fence).await? { Ok(transaction) } else { Err(event_store::Error::Conflict) }
    }

    /// Sees to what is due, once the log was seen up to then: otherwise whoever was away would end what has been paid for since.
    pub async fn see_to_reminders(&mut self) -> Result<(), event_store::Error> {
        let Some(now) = self.moment_seen().await? else { return Ok(()) };
        let due = reminders::due(self.shop.store.pool(), now, DUE).await?;
        if due.is_empty() {
            return Ok(());
        }
        let shop = &self.shop;
        let seeing_to = |reminder: Reminder| async move { (reminder.clone(), unwound(see_to(shop, reminder, now)).await) };
        let mut seen_to = stream::iter(due.clone()).map(seeing_to).buffer_unordered(SUBJECTS);
        let mut changes = Changes::default();
        while let Some((reminder, outcome)) = seen_to.next().await {
            match outcome {
                Ok(wanted) => changes.merge(wanted),
                Err(error) if error.is_passing() => return Err(error),
                Err(error) => {
                    // Whatever is wrong with the stream is parked when its event comes; the reminder must not be lost meanwhile.
                    counter!("merx_process_manager_reminders_postponed_total").increment(1);
                    tracing::error!(?reminder, %error, "a reminder can't be seen to and is postponed");
                    changes.set(reminder, now.plus(chrono::Duration::seconds(POSTPONED_S)));
                }
            }
        }
        drop(seen_to);
        let mut transaction = self.begin().await?;
        reminders::done(&mut transaction, now, &due).await?;
        reminders::write(&changes, &mut transaction).await?;
        transaction.commit().await?;
        for reminder in &due {
            self.set.remove(reminder);
        }
        changes.note(&mut self.set);
        Ok(())
    }

    /// The time whose reminders may be seen to; none where nothing is due, or the log was not seen up to then.
    async fn moment_seen(&mut self) -> Result<Option<Timestamp>, event_store::Error> {
        let store = &self.shop.store;
        let mut horizon = if let Some(horizon) = self.horizon {
            horizon
        } else {
            let now = now();
            if reminders::due(store.pool(), now, 1).await?.is_empty() {
                return Ok(None);
            }
            Horizon::new(now, store.head().await?)
        };
        let moment = horizon.seen(self.at.position, store.head().await?);
        self.horizon = moment.is_none().then_some(horizon);
        Ok(moment)
    }
}

/// Whether `event` stands behind one of the same stream that is among `parked`.
fn follows_on(parked: &[Parked], event: &Recorded) -> bool {
    parked.iter().any(|parked| parked.version <= event.version && parked.stream == event.stream.as_str())
}

/// A panic of `work` is a failure that lasts.
async fn unwound<T>(work: impl Future<Output = Result<T, event_store::Error>>) -> Result<T, event_store::Error> {
    parked::unwound(work).await.unwrap_or_else(|panic| Err(event_store::Error::Refused(panic)))
}

/// Handles the events of one subject in turn. Those that can't be handled, now or ever, and what follows on them in their streams, are left out.
async fn take_subject(shop: &Shop, events: Vec<Arc<Recorded>>) -> Result<(Changes, Vec<Parked>), event_store::Error> {
    let (mut changes, mut parked) = (Changes::default(), Vec::new());
    for event in events {
        if follows_on(&parked, &event) {
            continue;
        }
        match unwound(Box::pin(handle(shop, &event, &mut changes))).await {
            Ok(()) => {}
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => parked.push(Parked::at(&event, &error)),
        }
    }
    Ok((changes, parked))
}

/// Handles what was left out of the parked `stream`, up to where the process managers stand, and has them go on from there. They wait meanwhile.
///
/// # Errors
/// [`event_store::Error::NotParked`]; [`event_store::Error::StillBad`]; the database can't be reached.
pub async fn mend(shop: &Shop, stream: &str, how: Mending) -> Result<Mended, event_store::Error> {
    // Not of the pool: the commands below need that, while others wait for the checkpoint.
    let mut connection = shop.store.connect().await?;
    let mut transaction = connection.begin().await?;
    let not_parked = || event_store::Error::NotParked { consumer: NAME.into(), stream: stream.into() };
    let checkpoint = Checkpoint::lock(&mut transaction, NAME).await?.ok_or_else(not_parked)?;
    let mut handling = Handling { shop, wanted: Changes::default() };
    let mended = parked::mend(&mut transaction, &checkpoint, stream, how, &mut handling).await?;
    reminders::write(&handling.wanted, &mut transaction).await?;
    transaction.commit().await?;
    Ok(mended)
}

/// Handles the events of a stream that was parked.
struct Handling<'s> {
    shop: &'s Shop,
    wanted: Changes,
}

impl parked::Taker<event_store::Error> for Handling<'_> {
    fn take<'a>(
        &'a mut self,
        _: &'a mut PgConnection,
        events: Vec<Arc<Recorded>>,
    ) -> BoxFuture<'a, Result<Option<Parked>, event_store::Error>> {
        let taking = async {
            let (changes, mut parked) = take_subject(self.shop, events).await?;
            self.wanted.merge(changes);
            Ok(parked.pop())
        };
        taking.boxed()
    }
}

/// Does all that is to be done about one reminder that is due.
async fn see_to(shop: &Shop, reminder: Reminder, now: Timestamp) -> Result<Changes, event_store::Error> {
    let mut changes = Changes::default();
    if let Some(first) = plan::comes_first(&reminder) {
        let context = Context::new(now, first.by.actor());
        issue(shop, first.reaction, &context).await?;
    }
    let wanted = match &reminder {
        Reminder::Reservations(sku) => shop.stock.current(&StreamId::stock(sku), |state, _| react_when_due(&reminder, state)).await?.0,
        _ => react_when_due(&reminder, &stock::State::Nothing),
    };
    for command in plan::commands(wanted, &mut changes) {
        let context = Context::new(now, command.by.actor());
        issue(shop, command.reaction, &context).await?;
    }
    Ok(changes)
}

/// Does all that is to be done about one event.
pub(super) async fn handle(shop: &Shop, event: &Recorded, changes: &mut Changes) -> Result<(), event_store::Error> {
    let now = now();
    let left_stock = left_stock(shop, event).await?;
    let wanted = match Shown::with(event) {
        Shown::Order(order) => {
            let known = |state: &order::State, _| react(Known::of_order(state, &left_stock), event, now);
            shop.orders.at_least(&StreamId::order(order), event.version, known).await?
        }
        Shown::Payment(order) => {
            let known = |state: &payment::State, _| react(Known::of_payment(state, &left_stock), event, now);
            shop.payments.at_least(&StreamId::payment(order), event.version, known).await?
        }
        Shown::Nothing => react(Known::of_nothing(&left_stock), event, now),
    };
    // Each command of one event is for another stream, so they can be under way together.
    let commands = plan::commands(wanted, changes).into_iter().map(|command| async move {
        let context = context_of(event, &command, now);
        issue(shop, command.reaction, &context).await
    });
    let lost: Vec<Sku> = future::try_join_all(commands).await?.into_iter().flatten().collect();
    if let (false, Some(order)) = (lost.is_empty(), order_of(event)) {
        tracing::error!(%order, ?lost, "reservations of a confirmed order had ended before its units left stock, and none are free");
        for command in react_to_loss(order, lost) {
            let context = context_of(event, &command, now);
            issue(shop, command.reaction, &context).await?;
        }
    }
    Ok(())
}

/// The lines whose units have left stock, where `event` cancels an order that had been confirmed: those whose commands are in the log. Of the others
/// none leave any more, once this has returned.
async fn left_stock(shop: &Shop, event: &Recorded) -> Result<LeftStock, event_store::Error> {
    let mut left = LeftStock::new();
    if !plan::needs_left_stock(event) {
        return Ok(left);
    }
    let mut events = shop.store.stream_up_to(&event.stream, event.version);
    while let Some(stored) = events.try_next().await? {
        let earlier = stored.decode()?;
        let commands = |state: &order::State, _| plan::commit_commands(&earlier, state);
        for (sku, command) in shop.orders.at_least(&event.stream, event.version, commands).await? {
            if shop.store.position_of(command).await?.is_none() {
                withhold(shop, event, &sku, command).await?;
            }
            let Some(position) = shop.store.position_of(command).await? else { continue };
            for stored in shop.store.read_log(position - 1, position, &Filter::default(), 1).await? {
                if let Event::Stock(StockEvent::Committed(committed)) = stored.decode()?.event {
                    left.insert(sku.clone(), committed.sale);
                }
            }
        }
    }
    Ok(left)
}

/// Sees to it that the units of a line stay, unless they have left meanwhile.
async fn withhold(shop: &Shop, event: &Recorded, sku: &Sku, command: CommandId) -> Result<(), event_store::Error> {
    let Some((withhold, metadata)) = plan::withholding(event, command) else { return Ok(()) };
    let context = Context { now: now(), metadata, if_match: IfMatch(None), may_repeat: true };
    run_on(&shop.stock, &StreamId::stock(sku), &withhold, &context).await
}

/// A command that is the same one each time the event is taken.
fn context_of(event: &Recorded, command: &Wanted, now: Timestamp) -> Context {
    Context { now, metadata: plan::metadata(event, command), if_match: IfMatch(None), may_repeat: true }
}

/// Issues one command; the SKU whose stock could not be committed, if that is what came of it.
async fn issue(shop: &Shop, reaction: Reaction, context: &Context) -> Result<Option<Sku>, event_store::Error> {
    match reaction {
        Reaction::Order(order, command) => run_on(&shop.orders, &StreamId::order(order), &command, context).await?,
        Reaction::Payment(order, command) => run_on(&shop.payments, &StreamId::payment(order), &command, context).await?,
        Reaction::FlashSale(sale, command) => run_on(&shop.flash_sales, &StreamId::flash_sale(sale), &command, context).await?,
        Reaction::Stock(sku, command) => {
            let outcome = shop.stock.run(&StreamId::stock(&sku), &command, context, |_, _| ()).await;
            if let Err(Failure::Refused(refusal)) = &outcome
                && let Some(lost) = plan::lost_stock(&sku, refusal)
            {
                return Ok(Some(lost));
            }
            settle(outcome, stock::Stock::CATEGORY)?;
        }
        Reaction::Remind(..) | Reaction::Forget(..) => {}
    }
    Ok(None)
}

async fn run_on<A: Aggregate>(
    handler: &Handler<A>,
    stream: &StreamId,
    command: &A::Command,
    context: &Context,
) -> Result<(), event_store::Error> {
    settle(handler.run(stream, command, context, |_, _| ()).await, A::CATEGORY)
}

/// A refusal is an answer too: the aggregate has been in another state already. It is told, and not tried again.
fn settle<T, R: std::error::Error>(outcome: Result<T, Failure<R>>, category: &'static str) -> Result<(), event_store::Error> {
    match outcome {
        Ok(_) => Ok(()),
        Err(Failure::Store(failure)) => Err(failure.0),
        Err(refused) => {
            counter!("merx_process_manager_refusals_total", "category" => category).increment(1);
            tracing::warn!(%refused, category, "a process manager's command was refused");
            Ok(())
        }
    }
}
