//! The words of Merx: event types, their envelope, ids, money and time, and the shapes that clients see.
//!
//! Everything here is data. Rules live in `domain`, storage in `event-store`.

pub mod asyncapi;
pub mod country;
pub mod customer;
pub mod email;
pub mod envelope;
pub mod events;
pub mod ids;
pub mod money;
pub mod resource;
pub mod samples;
pub mod schemas;
#[cfg(test)]
mod tests;
pub mod text;
pub mod time;
pub mod upcasters;

pub use country::Country;
pub use email::Email;
pub use envelope::{Metadata, Recorded, StreamId};
pub use events::{DecodeError, Event};
pub use money::{Currency, Money};
pub use time::Timestamp;
