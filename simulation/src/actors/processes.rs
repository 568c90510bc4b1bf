//! The process managers' runner: as `command-api/src/process/runner.rs`, with the same pure decisions, on this world's log and tables.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    rc::Rc,
    sync::Arc,
};

use command_api::{
    handler::Failure,
    process::{
        CATEGORIES, Changes, Known, LeftStock, Manager, Reaction, Reminder,
        horizon::Horizon,
        order_of,
        plan::{self, Shown},
        react, react_to_loss, react_when_due,
    },
};
use domain::{flash_sale::FlashSale, order::Order, payment::Payment, stock, stock::Stock};
use event_schemas::{
    Event, Recorded, StreamId, Timestamp,
    events::stock::Event as StockEvent,
    ids::{OrderId, Sku},
};
use event_store::Error;

use super::chaos::{is_in_charge, may_write};
use crate::{
    counts::Sight,
    mutation::Mutation,
    scheduler::{Sim, Slot},
    server::{Context, Simulated},
    world::{Role, ServerId},
};

const ROLE: Role = Role::ProcessManagers;

/// Runs the process managers until the server notices that another one does.
pub(crate) async fn run(sim: &Sim, server: ServerId, fence: u64) {
    while is_in_charge(sim, ROLE, fence) {
        sim.hop().await;
        let (position, set) = {
            let mut world = sim.world();
            if world.is_mutated(Mutation::RemindersForgotten) {
                world.kept.reminders.clear();
            }
            (world.kept.position(ROLE), world.kept.reminders.iter().map(|(reminder, at)| (reminder.clone(), *at)).collect())
        };
        let mut runner = Runner { sim: sim.clone(), server, fence, position, written: position, set, waiting: None };
        if runner.work().await.is_ok() {
            return;
        }
        let pause = sim.world().rng.i64(50_000..2_000_000);
        sim.sleep(pause).await;
    }
}

struct Runner {
    sim: Sim,
    server: ServerId,
    fence: u64,
    /// How far everything is done.
    position: i64,
    /// How far that is written down.
    written: i64,
    /// The reminders that are set, so that what changes nothing is not written.
    set: HashMap<Reminder, Timestamp>,
    /// The part of the log that must be seen before the reminders that were found due may be seen to; none while none wait for that.
    waiting: Option<(Horizon, AsOf)>,
}

/// The time of a server at which something is due, and how far the log reached then.
#[derive(Clone, Copy)]
struct AsOf {
    now: Timestamp,
    head: i64,
}

impl Runner {
    async fn work(&mut self) -> Result<(), Error> {
        while is_in_charge(&self.sim, ROLE, self.fence) {
            let (batch, up_to) = self.batch();
            let due = self.due();
            let reminders_first = self.sim.world().rng.bool();
            if let Some((as_of, due)) = due.filter(|_| reminders_first || up_to == self.position) {
                self.see_to(as_of, due).await?;
            } else if up_to > self.position {
                self.take(batch, up_to).await?;
            } else {
                let next_due = {
                    let world = self.sim.world();
                    let offset = world.servers.get(self.server).map_or(0, |server| server.clock_offset);
                    world.kept.reminders.values().min().map(|at| at.micros() - offset)
                };
                self.sim.park(next_due).await;
            }
        }
        Ok(())
    }

    /// Some of the events that are next, and how far that is.
    fn batch(&self) -> (Vec<Arc<Recorded>>, i64) {
        let mut world = self.sim.world();
        let most = world.rng.usize(1..40);
        let next: Vec<Arc<Recorded>> = world.log.after(self.position).iter().take(most).cloned().collect();
        let up_to = next.last().map_or(self.position, |recorded| recorded.position);
        (next.into_iter().filter(|recorded| CATEGORIES.contains(&recorded.stream.category())).collect(), up_to)
    }

    /// The reminders that may be seen to: those of a time up to which the log was seen.
    fn due(&mut self) -> Option<(AsOf, Vec<Reminder>)> {
        let world = self.sim.world();
        let due = |at: Timestamp| world.kept.reminders.iter().filter(move |(_, due)| **due <= at).map(|(reminder, _)| reminder.clone());
        let newest = AsOf { now: world.clock(self.server), head: world.log.head() };
        if world.is_mutated(Mutation::ExpiredUnseen) {
            let due: Vec<Reminder> = due(newest.now).collect();
            return (!due.is_empty()).then_some((newest, due));
        }
        let (mut horizon, as_of) = match self.waiting.take() {
            Some(waiting) => waiting,
            None if due(newest.now).next().is_some() => (Horizon::new(newest.now, newest.head), newest),
            None => return None,
        };
        if horizon.seen(self.position, newest.head).is_none() {
            self.waiting = Some((horizon, as_of));
            return None;
        }
        let due: Vec<Reminder> = due(as_of.now).collect();
        (!due.is_empty()).then_some((as_of, due))
    }

    async fn take(&mut self, batch: Vec<Arc<Recorded>>, up_to: i64) -> Result<(), Error> {
        if self.sim.world().is_mutated(Mutation::CheckpointFirst) {
            self.position = up_to;
            self.write_down(Changes::default()).await?;
        }
        let mut subjects: BTreeMap<String, Vec<Arc<Recorded>>> = BTreeMap::new();
        for event in batch {
            subjects.entry(plan::subject(&event)).or_default().push(event);
        }
        let mut changes = side_by_side(&self.sim, subjects.into_values(), {
            let (sim, server) = (self.sim.clone(), self.server);
            move |events| {
                let sim = sim.clone();
                async move {
                    let mut changes = Changes::default();
                    for event in events {
                        handle(&sim, server, &event, &mut changes).await?;
                        if sim.world().strikes(10) {
                            sim.world().see(Sight::EventRepeated);
                            handle(&sim, server, &event, &mut changes).await?;
                        }
                    }
                    Ok(changes)
                }
            }
        })
        .await?;
        self.position = up_to;
        changes.drop_what_stands(&self.set);
        self.write_down(changes).await
    }

    /// Commits the checkpoint and what is to be reminded of.
    async fn write_down(&mut self, changes: Changes) -> Result<(), Error> {
        if self.position == self.written && changes.is_empty() {
            return Ok(());
        }
        self.sim.hop().await;
        {
            let mut world = self.sim.world();
            if world.is_mutated(Mutation::CheckpointUnfenced) {
                let stands = world.kept.position(ROLE);
                world.kept.advance(ROLE, stands, self.position);
            } else if !may_write(&mut world, ROLE, self.fence) || !world.kept.advance(ROLE, self.written, self.position) {
                return Err(Error::Conflict); // another server has taken over
            }
            world.kept.change(&changes);
        }
        self.sim.wake_watchers();
        changes.note(&mut self.set);
        self.written = self.position;
        self.sim.hop().await;
        Ok(())
    }

    async fn see_to(&mut self, as_of: AsOf, due: Vec<Reminder>) -> Result<(), Error> {
        self.sim.world().see(Sight::Reminded);
        let changes = side_by_side(&self.sim, due.clone().into_iter(), {
            let (sim, server) = (self.sim.clone(), self.server);
            move |reminder| {
                let sim = sim.clone();
                async move { see_to(&sim, server, &reminder, as_of).await }
            }
        })
        .await?;
        self.sim.hop().await;
        {
            let mut world = self.sim.world();
            if !may_write(&mut world, ROLE, self.fence) {
                return Err(Error::Conflict); // another server has taken over
            }
            world.kept.done(as_of.now, &due);
            world.kept.change(&changes);
        }
        self.sim.wake_watchers();
        for reminder in &due {
            self.set.remove(reminder);
        }
        changes.note(&mut self.set);
        self.sim.hop().await;
        Ok(())
    }
}

/// What came of each of several things done side by side, as far as they are done.
type Results = Rc<RefCell<Vec<Option<Result<Changes, Error>>>>>;

/// Does each of `things` as an actor of this server, and waits for all; what they want changed, in their order.
async fn side_by_side<T: 'static, F>(
    sim: &Sim,
    things: impl ExactSizeIterator<Item = T>,
    act: impl Fn(T) -> F + Clone + 'static,
) -> Result<Changes, Error>
where
    F: Future<Output = Result<Changes, Error>> + 'static,
{
    let many = things.len();
    let results: Results = Rc::new(RefCell::new(vec![None; many]));
    let done = Slot::new();
    for (index, thing) in things.enumerate() {
        let (results, done, actor, act) = (results.clone(), done.clone(), sim.clone(), act.clone());
        sim.spawn_here("subject", async move {
            let result = act(thing).await;
            let mut results = results.borrow_mut();
            results[index] = Some(result);
            if results.iter().all(Option::is_some) {
                done.answer(&actor, ());
            }
        });
    }
    if many > 0 {
        done.wait(sim, i64::MAX).await;
    }
    let mut changes = Changes::default();
    for result in results.take() {
        changes.merge(result.unwrap_or(Err(Error::Conflict))?);
    }
    Ok(changes)
}

/// Does all that is to be done about one reminder that is due.
async fn see_to(sim: &Sim, server: ServerId, reminder: &Reminder, as_of: AsOf) -> Result<Changes, Error> {
    let mut changes = Changes::default();
    let of = |manager: Manager| {
        let context = Context { now: as_of.now, ..sim.context(server, manager.actor()) };
        sim.world().audit.due(context.metadata.command_id, as_of.head);
        context
    };
    if let Some(first) = plan::comes_first(reminder) {
        let context = of(first.by);
        issue(sim, server, first.reaction, &context).await?;
    }
    let wanted = match reminder {
        Reminder::Reservations(sku) => {
            let look = |state: &stock::State| react_when_due(reminder, state);
            sim.current::<Stock, _>(server, &StreamId::stock(sku), look).await.unwrap_or_default()
        }
        _ => react_when_due(reminder, &stock::State::Nothing),
    };
    for command in plan::commands(wanted, &mut changes) {
        let context = of(command.by);
        issue(sim, server, command.reaction, &context).await?;
    }
    Ok(changes)
}

/// Sees to it that the units of a confirmed order have left stock before a parcel does: as `command-api/src/process/ahead.rs`.
pub(crate) async fn let_units_go(sim: &Sim, server: ServerId, order: OrderId) -> Result<(), Error> {
    let stream = StreamId::order(order);
    let is_confirmed = sim.current::<Order, _>(server, &stream, plan::must_have_left_stock).await.unwrap_or_default();
    if !is_confirmed || sim.world().is_mutated(Mutation::ShippedUnseen) {
        return Ok(());
    }
    let events: Vec<Arc<Recorded>> = sim.world().log.tail(&stream, 0).cloned().collect();
    for event in events {
        let look = |state: &_| plan::commit_commands(&event, state);
        for (_, command) in sim.at_least::<Order, _>(server, &stream, event.version, look).await.unwrap_or_default() {
            sim.hop().await;
            if sim.world().log.position_of(command).is_none() {
                sim.world().see(Sight::LetGoAhead);
                return handle(sim, server, &event, &mut Changes::default()).await;
            }
        }
    }
    Ok(())
}

/// Does all that is to be done about one event.
async fn handle(sim: &Sim, server: ServerId, event: &Recorded, changes: &mut Changes) -> Result<(), Error> {
    let now = sim.world().clock(server);
    let left_stock = left_stock(sim, server, event).await?;
    let wanted = match Shown::with(event) {
        Shown::Order(_) => {
            let look = |state: &_| react(Known::of_order(state, &left_stock), event, now);
            sim.at_least::<Order, _>(server, &event.stream, event.version, look).await
        }
        Shown::Payment(_) => {
            let look = |state: &_| react(Known::of_payment(state, &left_stock), event, now);
            sim.at_least::<Payment, _>(server, &event.stream, event.version, look).await
        }
        Shown::Nothing => Some(react(Known::of_nothing(&left_stock), event, now)),
    };
    let mut commands = plan::commands(wanted.unwrap_or_default(), changes);
    // They are under way together: in any order.
    sim.world().rng.shuffle(&mut commands);
    let mut lost: Vec<Sku> = Vec::new();
    for command in commands {
        let context = Context { now, metadata: plan::metadata(event, &command), may_repeat: true };
        lost.extend(issue(sim, server, command.reaction, &context).await?);
    }
    if let (false, Some(order)) = (lost.is_empty(), order_of(event)) {
        sim.world().see(Sight::ExpiryWon);
        for command in react_to_loss(order, lost) {
            let context = Context { now, metadata: plan::metadata(event, &command), may_repeat: true };
            issue(sim, server, command.reaction, &context).await?;
        }
    }
    Ok(())
}

/// The lines whose units have left stock, where `event` cancels an order that had been confirmed: those whose commands are in the log.
async fn left_stock(sim: &Sim, server: ServerId, event: &Recorded) -> Result<LeftStock, Error> {
    let mut left = LeftStock::new();
    if !plan::needs_left_stock(event) {
        return Ok(left);
    }
    sim.hop().await;
    let earlier: Vec<Arc<Recorded>> = sim.world().log.tail(&event.stream, 0).filter(|e| e.version <= event.version).cloned().collect();
    for earlier in earlier {
        let look = |state: &_| plan::commit_commands(&earlier, state);
        let commands = sim.at_least::<Order, _>(server, &event.stream, event.version, look).await.unwrap_or_default();
        for (sku, command) in commands {
            sim.hop().await;
            let is_lacking = sim.world().log.position_of(command).is_none();
            if let (true, Some((withhold, metadata))) = (is_lacking, plan::withholding(event, command)) {
                let context = Context { now: sim.world().clock(server), metadata, may_repeat: true };
                settle::<Stock>(sim, server, &StreamId::stock(&sku), &withhold, &context).await?;
                sim.world().see(Sight::Withheld);
            }
            let world = sim.world();
            let stored = world.log.position_of(command).and_then(|position| world.log.after(position - 1).first());
            if let Some(Event::Stock(StockEvent::Committed(committed))) = stored.map(|stored| &stored.event) {
                left.insert(sku, committed.sale);
            }
        }
    }
    Ok(left)
}

/// Issues one command; the SKU whose stock could not be committed, if that is what came of it.
async fn issue(sim: &Sim, server: ServerId, reaction: Reaction, context: &Context) -> Result<Option<Sku>, Error> {
    match reaction {
        Reaction::Order(order, command) => settle::<Order>(sim, server, &StreamId::order(order), &command, context).await?,
        Reaction::Payment(order, command) => settle::<Payment>(sim, server, &StreamId::payment(order), &command, context).await?,
        Reaction::FlashSale(sale, command) => settle::<FlashSale>(sim, server, &StreamId::flash_sale(sale), &command, context).await?,
        Reaction::Stock(sku, command) => {
            let outcome = sim.execute::<Stock>(server, &StreamId::stock(&sku), &command, context, None).await;
            match outcome {
                Err(Failure::Refused(refusal)) => return Ok(plan::lost_stock(&sku, &refusal)),
                Err(Failure::Store(failure)) => return Err(failure.0),
                Ok(()) | Err(Failure::VersionMismatch(_)) => {}
            }
        }
        Reaction::Remind(..) | Reaction::Forget(..) => {}
    }
    Ok(None)
}

/// A refusal is an answer too: the aggregate has been in another state already.
async fn settle<A: Simulated>(
    sim: &Sim,
    server: ServerId,
    stream: &StreamId,
    command: &A::Command,
    context: &Context,
) -> Result<(), Error> {
    match sim.execute::<A>(server, stream, command, context, None).await {
        Err(Failure::Store(failure)) => Err(failure.0),
        Ok(()) | Err(_) => Ok(()),
    }
}
