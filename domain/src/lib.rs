//! The rules of a shop: one module for each aggregate, each a state, commands, refusals, `decide` and `evolve`.
//!
//! Everything here is pure: no clock, no randomness, no I/O. `now`, ids and looked-up facts come in with the command.

pub mod cart;
pub mod category;
pub mod flash_sale;
pub mod order;
pub mod payment;
pub mod product;
pub mod projection;
pub mod review;
pub mod stock;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod state_versions;
#[cfg(test)]
mod tests;

use event_schemas::Timestamp;

/// An aggregate's rules, as a Decider (Jérémie Chassaing, "Functional Event Sourcing Decider").
pub trait Aggregate: Send + Sync + 'static {
    /// The category of its streams.
    const CATEGORY: &'static str;
    /// The version of [`Self::State`]'s JSON and of the rules that make it, from 1. Count it up with every change of the state's shape, of
    /// `evolve`, or of what an upcaster makes of old events: snapshots of another version are never read, and streams are folded anew.
    const STATE_VERSION: i32;
    /// True where clients see it before anything happened to it, at version 0: then a version that a write is for is compared with that,
    /// too. Of others that have no events the rules say that they are not there.
    const EXISTS_WITHOUT_EVENTS: bool = false;
    /// What is known of it: a sum type whose default is "nothing happened yet". Written as JSON and read again it is the same.
    type State: Default + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned + Send + Sync + 'static;
    /// What may be asked of it.
    type Command: Send + Sync + 'static;
    /// What may happen to it.
    type Event: Into<event_schemas::Event> + Clone + Send + Sync + 'static;
    /// Why a command may be refused.
    type Refusal: std::error::Error + Clone + PartialEq + Send + Sync + 'static;

    /// What a command leads to: events (none where nothing is to change), or a refusal.
    ///
    /// # Errors
    /// The refusal.
    fn decide(state: &Self::State, command: &Self::Command, now: Timestamp) -> Result<Vec<Self::Event>, Self::Refusal>;

    /// The state after an event that was recorded `at`. Total: an event that can't be is ignored.
    fn evolve(state: Self::State, event: &Self::Event, at: Timestamp) -> Self::State;

    /// The aggregate's own event within an event of the log; `None` where it is another aggregate's.
    fn own(event: &event_schemas::Event) -> Option<&Self::Event>;
}
