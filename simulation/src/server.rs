//! A server's write side: decides on the state that it remembers, perhaps a stale one, and appends; what is refused for its version is read
//! and decided again. As `command-api/src/handler`, without deciding ahead of commits.

use std::{collections::HashMap, mem};

use command_api::handler::Failure;
use domain::{
    Aggregate,
    cart::{self, Cart},
    flash_sale::{self, FlashSale},
    order::{self, Order},
    payment::{self, Payment},
    product::{self, Product},
    stock::{self, Stock},
};
use event_schemas::{
    Event, Metadata, StreamId, Timestamp,
    events::{
        order::OrderRefundRequested,
        payment::PaymentRefundRequested,
        stock::{StockCommitted, StockReleased, StockReserved},
    },
    ids::CommandId,
};
use event_store::{Committed, Error};

use crate::{
    counts::Sight,
    log::{Kept, Part, Unit},
    mutation::Mutation,
    scheduler::{Sim, Slot},
    world::{Caches, ServerId, World},
};

/// How often a command is decided again, as a server does.
pub(crate) const MAX_ATTEMPTS: u32 = 64;

/// A stream as a server remembers it.
pub(crate) struct Cached<A: Aggregate> {
    state: A::State,
    version: i64,
    /// Whether the log must be read before anything is decided.
    is_stale: bool,
}

impl<A: Aggregate> Cached<A> {
    /// The state.
    pub fn state(&self) -> &A::State {
        &self.state
    }
}

/// What a command brings along besides its intent.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub now: Timestamp,
    pub metadata: Metadata,
    /// Whether it may be in the log already: then a refusal is not believed before that was looked up.
    pub may_repeat: bool,
}

/// What a command would lead to.
pub(crate) enum Staging<A: Aggregate> {
    Stale,
    Unchanged(i64),
    Refused(i64, A::Refusal),
    Staged(Vec<Event>, i64),
}

/// An aggregate of the shop: the real one, but for the rule that a mutation breaks.
pub(crate) trait Simulated: Aggregate + Sized {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>>;

    fn decide_under(
        mutation: Option<Mutation>,
        state: &Self::State,
        command: &Self::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, Self::Refusal> {
        let _ = mutation;
        Self::decide(state, command, now)
    }
}

impl Simulated for Cart {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.carts
    }
}

impl Simulated for FlashSale {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.flash_sales
    }
}

impl Simulated for Product {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.products
    }
}

impl Simulated for Order {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.orders
    }

    fn decide_under(
        mutation: Option<Mutation>,
        state: &order::State,
        command: &order::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, order::Refusal> {
        match (mutation, command, Self::decide(state, command, now)) {
            (
                Some(Mutation::RefundedBlindly),
                order::Command::RequestRefund { refund, amount, reason, metadata },
                Err(order::Refusal::MoreThanCaptured { .. }),
            ) => Ok(vec![
                OrderRefundRequested { refund: *refund, amount: *amount, reason: reason.clone(), metadata: metadata.clone() }.into(),
            ]),
            (.., decided) => decided,
        }
    }
}

impl Simulated for Payment {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.payments
    }

    fn decide_under(
        mutation: Option<Mutation>,
        state: &payment::State,
        command: &payment::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, payment::Refusal> {
        match (mutation, command, Self::decide(state, command, now)) {
            (
                Some(Mutation::RefundedBlindly),
                payment::Command::RequestRefund { refund, amount, reason },
                Err(payment::Refusal::MoreThanCaptured { .. }),
            ) => Ok(vec![PaymentRefundRequested { refund: *refund, amount: *amount, reason: reason.clone() }.into()]),
            (.., decided) => decided,
        }
    }
}

impl Simulated for Stock {
    fn cache(caches: &mut Caches) -> &mut HashMap<StreamId, Cached<Self>> {
        &mut caches.stock
    }

    fn decide_under(
        mutation: Option<Mutation>,
        state: &stock::State,
        command: &stock::Command,
        now: Timestamp,
    ) -> Result<Vec<Self::Event>, stock::Refusal> {
        match (mutation, command, Self::decide(state, command, now)) {
            (Some(Mutation::CommittedAfterExpiry), stock::Command::Commit { order }, Err(stock::Refusal::NoReservation { .. })) => {
                Ok(vec![StockCommitted { order: *order, quantity: 1, sale: None }.into()])
            }
            (Some(Mutation::ReleasedAgain), stock::Command::Release { order }, Ok(events)) if events.is_empty() => {
                Ok(vec![StockReleased { order: *order, quantity: 1, sale: None, to_allotment: false }.into()])
            }
            (
                Some(Mutation::LimitOfOneOrder),
                stock::Command::Reserve { order, quantity, until, customer, sale },
                Err(stock::Refusal::LimitPerCustomer { limit, .. }),
            ) if *quantity <= limit => {
                let (order, quantity, until, customer, sale) = (*order, *quantity, *until, customer.clone(), *sale);
                Ok(vec![StockReserved { order, quantity, until, customer, sale }.into()])
            }
            (.., decided) => decided,
        }
    }
}

impl World {
    /// What a server remembers of a stream.
    pub fn cached<A: Simulated>(&mut self, server: ServerId, stream: &StreamId) -> Option<&mut Cached<A>> {
        let caches = &mut self.servers.get_mut(server)?.caches;
        A::cache(caches).get_mut(stream)
    }

    /// Takes in what the log has of a stream.
    pub fn refresh<A: Simulated>(&mut self, server: ServerId, stream: &StreamId) {
        self.absorb::<A>(server, stream, i64::MAX);
    }

    /// Takes in what the log has of a stream up to a version.
    pub fn absorb<A: Simulated>(&mut self, server: ServerId, stream: &StreamId, up_to: i64) {
        let Some(remembered) = self.servers.get_mut(server) else { return };
        let cached = A::cache(&mut remembered.caches).entry(stream.clone()).or_insert_with(|| Cached {
            state: A::State::default(),
            version: 0,
            is_stale: true,
        });
        for recorded in self.log.tail(stream, cached.version).take_while(|recorded| recorded.version <= up_to) {
            if let Some(event) = A::own(&recorded.event) {
                cached.state = A::evolve(mem::take(&mut cached.state), event, recorded.recorded_at);
            }
            cached.version = recorded.version;
        }
        cached.is_stale = false;
    }

    /// The stream has moved under the server: it must read it again.
    pub fn doubt<A: Simulated>(&mut self, server: ServerId, stream: &StreamId) {
        if let Some(cached) = self.cached::<A>(server, stream) {
            cached.is_stale = true;
        }
    }

    /// Decides on what the server remembers.
    pub fn stage<A: Simulated>(&mut self, server: ServerId, stream: &StreamId, command: &A::Command, now: Timestamp) -> Staging<A> {
        let mutation = self.mutation;
        let Some(cached) = self.cached::<A>(server, stream).filter(|cached| !cached.is_stale) else { return Staging::Stale };
        match A::decide_under(mutation, &cached.state, command, now) {
            Err(refusal) => Staging::Refused(cached.version, refusal),
            Ok(events) if events.is_empty() => Staging::Unchanged(cached.version),
            Ok(events) => Staging::Staged(events.into_iter().map(Into::into).collect(), cached.version),
        }
    }

    /// [`Self::stage`] for several commands, each decided on what the one before leads to.
    pub fn stage_each<A: Simulated>(&mut self, server: ServerId, stream: &StreamId, commands: &[A::Command], now: Timestamp) -> Staging<A> {
        let mutation = self.mutation;
        let Some(cached) = self.cached::<A>(server, stream).filter(|cached| !cached.is_stale) else { return Staging::Stale };
        let (mut state, mut events) = (cached.state.clone(), Vec::new());
        for command in commands {
            match A::decide_under(mutation, &state, command, now) {
                Err(refusal) => return Staging::Refused(cached.version, refusal),
                Ok(more) => {
                    state = more.iter().fold(state, |state, event| A::evolve(state, event, now));
                    events.extend(more.into_iter().map(Into::into));
                }
            }
        }
        if events.is_empty() { Staging::Unchanged(cached.version) } else { Staging::Staged(events, cached.version) }
    }
}

impl Sim {
    /// A command of its own.
    pub fn context(&self, server: ServerId, actor: &str) -> Context {
        let mut world = self.world();
        let id = world.new_id();
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: actor.into() };
        Context { now: world.clock(server), metadata, may_repeat: false }
    }

    /// Another command of the same request.
    pub fn next(&self, context: &Context) -> Context {
        let metadata = Metadata { command_id: CommandId(self.world().new_id()), ..context.metadata.clone() };
        Context { metadata, ..context.clone() }
    }

    /// What `look` sees of the newest state of a stream.
    pub async fn current<A: Simulated, T>(&self, server: ServerId, stream: &StreamId, look: impl FnOnce(&A::State) -> T) -> Option<T> {
        self.hop().await;
        let mut world = self.world();
        world.refresh::<A>(server, stream);
        world.cached::<A>(server, stream).map(|cached| look(&cached.state))
    }

    /// What `look` sees of a state of a stream that has at least `version`; read only where it is not at hand.
    pub async fn at_least<A: Simulated, T>(
        &self,
        server: ServerId,
        stream: &StreamId,
        version: i64,
        look: impl FnOnce(&A::State) -> T,
    ) -> Option<T> {
        let at_hand = self.world().cached::<A>(server, stream).map(|cached| cached.version);
        if at_hand.is_none_or(|at_hand| at_hand < version) {
            return self.current::<A, T>(server, stream, look).await;
        }
        self.world().cached::<A>(server, stream).map(|cached| look(&cached.state))
    }

    /// Reads a stream where the server does not know it, or knows that it has moved.
    pub async fn ready<A: Simulated>(&self, server: ServerId, stream: &StreamId) {
        let is_ready = self.world().cached::<A>(server, stream).is_some_and(|cached| !cached.is_stale);
        if !is_ready {
            self.hop().await;
            self.world().refresh::<A>(server, stream);
        }
    }

    /// Whether a version is the newest there is of a stream.
    pub async fn confirm<A: Simulated>(&self, server: ServerId, stream: &StreamId, version: i64) -> bool {
        self.hop().await;
        let mut world = self.world();
        if world.log.version(stream) == version {
            return true;
        }
        world.refresh::<A>(server, stream);
        false
    }

    /// Appends a unit. The connection may break: then its outcome is not known, and it may still be committed, even after the server is gone.
    pub async fn append(&self, unit: Unit) -> Result<Committed, Error> {
        let rate = self.world().shape.unknown_outcomes;
        if !self.world().strikes(rate) {
            self.hop().await;
            let outcome = self.world().append(&unit);
            self.hop().await;
            return outcome;
        }
        self.world().see(Sight::Unknown);
        let (is_lost, reached) = (self.world().rng.u32(0..3) == 0, Slot::new());
        let (sim, told) = (self.clone(), reached.clone());
        self.spawn("append on a broken connection", async move {
            sim.hop().await;
            if !is_lost {
                let before = sim.world().log.head();
                let _ = sim.world().append(&unit);
                if sim.world().log.head() > before {
                    sim.world().see(Sight::LandedLate);
                }
            }
            told.answer(&sim, ());
        });
        let gives_up_at = {
            let mut world = self.world();
            world.now + world.rng.i64(1_000..3_000_000)
        };
        reached.wait(self, gives_up_at).await;
        Err(Error::Unavailable("the connection broke".into()))
    }

    /// Decides a command on the newest state of a stream and commits what it leads to.
    pub async fn execute<A: Simulated>(
        &self,
        server: ServerId,
        stream: &StreamId,
        command: &A::Command,
        context: &Context,
        answer: Option<Kept>,
    ) -> Result<(), Failure<A::Refusal>> {
        for _ in 0..MAX_ATTEMPTS {
            self.ready::<A>(server, stream).await;
            let staging = self.world().stage::<A>(server, stream, command, context.now);
            match staging {
                Staging::Stale => {}
                Staging::Staged(events, expected_version) => {
                    let (metadata, recorded_at) = (context.metadata.clone(), context.now);
                    let part = Part { stream: stream.clone(), expected_version, metadata, recorded_at, events };
                    let newest = expected_version + part.events.len() as i64;
                    let outcome = self.append(Unit::of(part, answer)).await;
                    if matches!(outcome, Ok(Committed { repeated: false, .. })) {
                        // No more than that: what others write meanwhile is not known here.
                        self.world().absorb::<A>(server, stream, newest);
                        return Ok(());
                    }
                    self.world().doubt::<A>(server, stream);
                    match outcome {
                        Ok(_) => return Ok(()),
                        Err(Error::Conflict) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Staging::Refused(version, refusal) => {
                    if self.confirm::<A>(server, stream, version).await {
                        let is_repeated = context.may_repeat && self.world().log.position_of(context.metadata.command_id).is_some();
                        return if is_repeated { self.keep(answer).await } else { Err(Failure::Refused(refusal)) };
                    }
                }
                Staging::Unchanged(version) => {
                    if self.confirm::<A>(server, stream, version).await {
                        return self.keep(answer).await;
                    }
                }
            }
        }
        Err(Error::Overloaded.into())
    }

    /// Keeps the answer to a request that had nothing to change.
    async fn keep<R: std::error::Error>(&self, answer: Option<Kept>) -> Result<(), Failure<R>> {
        if answer.is_some() {
            self.append(Unit { parts: Vec::new(), answer }).await?;
        }
        Ok(())
    }
}

/// The commands of aggregates, for short.
pub(crate) type CartCommand = cart::Command;
pub(crate) type SaleCommand = flash_sale::Command;
pub(crate) type ProductCommand = product::Command;
