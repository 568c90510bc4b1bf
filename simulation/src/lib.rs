//! Simulates whole shops in memory.
mod actors;
mod audit;
pub mod counts;
mod gateway;
mod log;
pub mod mutation;
mod run;
mod scheduler;
mod server;
mod shape;
mod trace;
pub mod verdict;
mod world;

pub use counts::{Counts, Sight};
pub use mutation::Mutation;
pub use run::{Outcome, run};
pub use verdict::{Invariant, Violation};
