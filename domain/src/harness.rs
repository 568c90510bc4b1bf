//! `given([…]).at(now).when(command).then([…])`, or `.then_refused(…)`; and small names for small things.

use std::fmt::Debug;

use chrono::Duration;
use event_schemas::{Money, Timestamp, events::order::ItemQuantity, ids::Sku};
use uuid::Uuid;

use crate::Aggregate;

pub struct Given<A: Aggregate> {
    state: A::State,
    now: Timestamp,
}

pub struct Decided<A: Aggregate>(Result<Vec<A::Event>, A::Refusal>);

/// What happened before: at second 0, one after the other.
pub fn given<A: Aggregate>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    Given { state: after::<A>(events.into_iter().map(|event| (0, event))), now: t(0) }
}

/// The state after events, each recorded at its second.
pub fn after<A: Aggregate>(events: impl IntoIterator<Item = (i64, A::Event)>) -> A::State {
    events.into_iter().fold(A::State::default(), |state, (second, event)| A::evolve(state, &event, t(second)))
}

/// Decides, and takes the events over; gives what was decided.
pub fn act<A: Aggregate>(state: &mut A::State, command: &A::Command, now: Timestamp) -> Result<Vec<A::Event>, A::Refusal> {
    let events = A::decide(state, command, now)?;
    *state = events.iter().fold(std::mem::take(state), |state, event| A::evolve(state, event, now));
    Ok(events)
}

impl<A: Aggregate> Given<A> {
    pub fn at(self, second: i64) -> Self {
        Self { now: t(second), ..self }
    }

    #[expect(clippy::needless_pass_by_value, reason = "a test reads better without the &")]
    pub fn when(self, command: A::Command) -> Decided<A> {
        Decided(A::decide(&self.state, &command, self.now))
    }
}

impl<A: Aggregate<Event: Debug + PartialEq>> Decided<A> {
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = A::Event>) {
        assert_eq!(self.0, Ok(events.into_iter().collect()));
    }

    #[track_caller]
    pub fn then_nothing(self) {
        self.then([]);
    }

    #[track_caller]
    pub fn then_refused(self, refusal: A::Refusal) {
        assert_eq!(self.0, Err(refusal));
    }
}

/// Second `second` of the test's time.
pub fn t(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus(Duration::seconds(second))
}

/// The `n`th id of any kind: `OrderId(id(1))`.
pub fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

pub fn sku(code: &str) -> Sku {
    code.parse().unwrap()
}

pub fn item(code: &str, quantity: u32) -> ItemQuantity {
    ItemQuantity { sku: sku(code), quantity }
}

pub fn gbp(amount: &str) -> Money {
    Money::new(amount.parse().unwrap(), "GBP".parse().unwrap())
}

pub fn eur(amount: &str) -> Money {
    Money::new(amount.parse().unwrap(), "EUR".parse().unwrap())
}
