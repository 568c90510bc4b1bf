//! The payment worker: as `command-api/src/payment_gateway/worker.rs`, with the same pure decisions, and the network between it and the
//! gateway, which delays, loses and repeats what is asked and answered.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use command_api::payment_gateway::{
    NoAnswer,
    open::Open,
    question::{self, ANSWER_LIMIT, Answer, Next, Question},
};
use domain::payment::Payment;
use event_schemas::{StreamId, ids::OrderId};
use event_store::Error;

use super::chaos::{is_in_charge, may_write};
use crate::{
    counts::Sight,
    mutation::Mutation,
    scheduler::{Sim, Slot},
    world::{Role, ServerId},
};

const ROLE: Role = Role::PaymentWorker;
/// How long the checkpoint waits for the payments of a batch, in microseconds.
const SETTLE_LIMIT: i64 = 40_000;
/// The newest version counts.
const NEWEST: i64 = i64::MAX;

/// What was worked on, and what came of it.
type Done = Rc<RefCell<Vec<(OrderId, Result<Next, Error>)>>>;

/// Runs the payment worker until the server notices that another one does.
pub(crate) async fn run(sim: &Sim, server: ServerId, fence: u64) {
    while is_in_charge(sim, ROLE, fence) {
        sim.hop().await;
        let (position, open) = {
            let world = sim.world();
            let position = world.kept.position(ROLE);
            (position, Open::found(position, world.kept.open_payments.iter().copied()))
        };
        let mut worker = Worker { sim: sim.clone(), server, fence, position, open, busy: BTreeMap::new(), done: Rc::default() };
        if worker.work().await.is_ok() {
            return;
        }
        let pause = sim.world().rng.i64(50_000..2_000_000);
        sim.sleep(pause).await;
    }
}

struct Worker {
    sim: Sim,
    server: ServerId,
    fence: u64,
    position: i64,
    open: Open,
    /// The orders whose payment is being worked on, and the version for which it must be looked at again then.
    busy: BTreeMap<OrderId, Option<i64>>,
    done: Done,
}

impl Worker {
    async fn work(&mut self) -> Result<(), Error> {
        // Whoever was at work before may have been stopped in the middle of anything that is open.
        for order in self.open.orders() {
            self.begin(order, NEWEST);
        }
        while is_in_charge(&self.sim, ROLE, self.fence) {
            self.note()?;
            let now = self.sim.world().clock(self.server);
            for order in self.open.due(now) {
                self.begin(order, NEWEST);
            }
            if self.take().await? || self.write_down().await? {
                continue;
            }
            if self.done.borrow().is_empty() {
                let offset = self.sim.world().servers.get(self.server).map_or(0, |server| server.clock_offset);
                let next = self.open.next_due().map(|at| at.micros() - offset);
                self.sim.park(next).await;
            }
        }
        Ok(())
    }

    /// Takes the next events; whether there were any.
    async fn take(&mut self) -> Result<bool, Error> {
        let (asking, up_to) = {
            let mut world = self.sim.world();
            let most = world.rng.usize(1..60);
            let next: Vec<_> = world.log.after(self.position).iter().take(most).cloned().collect();
            let asking: BTreeMap<OrderId, i64> =
                next.iter().filter_map(|recorded| Some((question::asks(recorded)?, recorded.version))).collect();
            (asking, next.last().map_or(self.position, |recorded| recorded.position))
        };
        if up_to == self.position {
            return Ok(false);
        }
        for (order, version) in &asking {
            self.begin(*order, *version);
        }
        let patience = self.sim.world().now + SETTLE_LIMIT;
        while asking.keys().any(|order| self.busy.contains_key(order)) && self.sim.world().now < patience {
            self.sim.sleep(2_000).await;
            self.note()?;
        }
        self.position = up_to;
        if !asking.is_empty() || self.open.is_changed() {
            self.write_down().await?;
        }
        Ok(true)
    }

    /// Commits how far everything is settled or known to be open; whether there was something to write.
    async fn write_down(&mut self) -> Result<bool, Error> {
        let Some(writing) = self.open.writing(self.position) else { return Ok(false) };
        self.sim.hop().await;
        {
            let mut world = self.sim.world();
            if !may_write(&mut world, ROLE, self.fence) || !world.kept.advance(ROLE, writing.from, writing.to) {
                return Err(Error::Conflict); // another server has taken over
            }
            let now = world.now;
            let (server, fence) = (self.server, self.fence);
            world.trace.note(now, || format!("payment worker {fence} on server {server} writes down {writing:?}"));
            world.kept.open_payments.extend(&writing.added);
            world.kept.open_payments.retain(|order| !writing.gone.contains(order));
        }
        self.sim.hop().await;
        self.open.written(&writing);
        Ok(true)
    }

    /// Works on an order's payment in the background.
    fn begin(&mut self, order: OrderId, version: i64) {
        if let Some(again) = self.busy.get_mut(&order) {
            *again = Some(version);
            return;
        }
        self.busy.insert(order, None);
        self.open.begin(order);
        let (sim, server, done, worker) = (self.sim.clone(), self.server, self.done.clone(), self.sim.current_task());
        self.sim.spawn_here("payment", async move {
            let next = settle(&sim, server, order, version).await;
            done.borrow_mut().push((order, next));
            let now = sim.world().now;
            sim.wake(worker, now);
        });
    }

    fn note(&mut self) -> Result<(), Error> {
        let done = self.done.take();
        for (order, next) in done {
            let again = self.busy.remove(&order).flatten();
            {
                let mut world = self.sim.world();
                let now = world.now;
                let (server, fence) = (self.server, self.fence);
                world
                    .trace
                    .note(now, || format!("payment worker {fence} on server {server}: {order} is next looked at: {next:?}, {again:?}"));
            }
            match next? {
                Next::Nothing => self.open.settled(order),
                Next::At(at) => self.open.wait(order, at),
            }
            if let Some(version) = again {
                self.begin(order, version);
            }
        }
        Ok(())
    }
}

/// Does what the payment of `order` needs now; when to look at it again.
async fn settle(sim: &Sim, server: ServerId, order: OrderId, version: i64) -> Result<Next, Error> {
    let stream = StreamId::payment(order);
    let state = sim.at_least::<Payment, _>(server, &stream, version, Clone::clone).await.unwrap_or_default();
    let Some(charge) = state.charge() else { return Ok(Next::Nothing) };
    let now = sim.world().clock(server);
    let (questions, mut next) = question::questions(&state, now);
    for question in questions {
        let answer = ask(sim, &question).await;
        let later = |attempt, most| {
            let mut world = sim.world();
            let random = world.rng.u32(..);
            question::later(world.clock(server), attempt, most, random)
        };
        let (command, again) = question::follow(charge, &question, answer, later);
        if let Some(command) = command {
            let context = sim.context(server, "worker:payment");
            if let Err(command_api::handler::Failure::Store(failure)) =
                sim.execute::<Payment>(server, &stream, &command, &context, None).await
            {
                return Err(failure.0);
            }
        }
        next = next.or(again);
    }
    Ok(next)
}

/// Asks the gateway, over a network that does to questions and answers what networks do.
async fn ask(sim: &Sim, question: &Question) -> Answer {
    let mut question = question.clone();
    {
        let mut world = sim.world();
        match &mut question {
            Question::Charge(request) if world.is_mutated(Mutation::NewKeyEachAttempt) => request.idempotency_key = world.new_id(),
            Question::Void(_) if world.is_mutated(Mutation::NeverVoided) => {
                return Answer::Void(Ok(command_api::payment_gateway::VoidOutcome::Voided));
            }
            _ => {}
        }
    }
    let (slot, gives_up_at) = (Slot::new(), sim.world().now + i64::try_from(ANSWER_LIMIT.as_micros()).unwrap_or(i64::MAX));
    let doubles = sim.world().shape.doubles;
    let times = if sim.world().strikes(doubles) { 2 } else { 1 };
    for _ in 0..times {
        let (actor, slot, question) = (sim.clone(), slot.clone(), question.clone());
        sim.spawn("gateway call", async move {
            let drops = actor.world().shape.drops;
            actor.hop().await;
            if actor.world().strikes(drops / 2) {
                return actor.world().see(Sight::Dropped);
            }
            if matches!(&question, Question::Charge(request) if request.token == "tok_slow") {
                actor.sleep(2_000_000).await;
            }
            let answer = at_the_gateway(&actor, &question);
            actor.hop().await;
            if actor.world().strikes(drops / 2) {
                return actor.world().see(Sight::Dropped);
            }
            slot.answer(&actor, answer);
        });
    }
    if times == 2 {
        sim.world().see(Sight::Doubled);
    }
    let answer = slot.wait(sim, gives_up_at).await;
    answer.unwrap_or_else(|| {
        sim.world().see(Sight::NoAnswer);
        let nothing = NoAnswer("no answer in time".into());
        match question {
            Question::Charge(_) => Answer::Charge(Err(nothing)),
            Question::Void(_) => Answer::Void(Err(nothing)),
            Question::Refund(..) => Answer::Refund(Err(nothing)),
        }
    })
}

fn at_the_gateway(sim: &Sim, question: &Question) -> Answer {
    let mut world = sim.world();
    let world = &mut *world;
    let answer = match question {
        Question::Charge(request) => Answer::Charge(world.gateway.charge(request, &mut world.counts)),
        Question::Void(request) => Answer::Void(Ok(world.gateway.void(request, &mut world.counts))),
        Question::Refund(request, ..) => Answer::Refund(Ok(world.gateway.refund(request, &mut world.counts))),
    };
    world.trace.note(world.now, || format!("gateway: {question:?} -> {answer:?}"));
    answer
}
