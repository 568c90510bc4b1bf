//! Whole shops in memory, under a scheduler that a seed drives: messages are delayed, repeated, reordered and dropped, servers crash between
//! any two steps, gateways fail in every way, clocks jump. After each run books that know nothing of the aggregates check, from the log alone,
//! that nothing was lost, sold twice or charged twice.
//!
//! ```text
//! cargo run --release -p simulation -- --seeds 1000000          a million shops; exit code 1 if a rule did not hold
//! cargo run --release -p simulation -- --seed 4711              one of them, with its trace
//! cargo run --release -p simulation -- --mutation never-voided  with a rule broken on purpose
//! ```
//!
//! # One run
//!
//! [`run`] draws from its seed how large the shop is and how often what goes wrong, opens it, and lets the actors act until chaos ends. Then the
//! servers come back, clocks are right again, and time goes on from one thing that is due to the next until nothing is left to do. A run that
//! does not come to that end has failed, as has one that breaks an [`Invariant`]: some are checked after every append, the others in the end.
//!
//! An actor is a future that awaits its next step: a delay drawn from the seed, an answer, or more in the log. The scheduler runs one step at a
//! time, in the order of the times drawn. Before a step of a server it may crash it (its futures and caches are gone; the log, checkpoints,
//! reminders, kept answers and the gateway's book stay), stop it for a while (and others take over what it thinks it is still in charge of), or
//! set its clock to another time. There is no clock, no thread, no hash map's order and no id from the system in it, so that a seed gives the same
//! run each time: its [`Outcome`] bears a hash of all steps.
//!
//! # What is real
//!
//! - every aggregate: `decide` and `evolve` of `domain`
//! - the process managers: `command_api::process`, and how they are carried out as far as that is decided and not done (`plan`, `Changes`)
//! - the checkout from cart to placement: `command_api::checkout::purchase`, `command_api::pricing`
//! - the payment worker's decisions: `command_api::payment_gateway::question`, and what it keeps (`open`)
//!
//! # What is modelled
//!
//! The log (after the verdicts of `event-store`'s appender), the handler's loop of deciding, appending and deciding again, the runner's and the
//! worker's loops around the decisions above, leases, the gateway and the network, and clients. Where one of these changes, this must follow.
//!
//! # How it is known to look
//!
//! A [`Mutation`] breaks a rule on purpose, in what surrounds the real code or in a wrapping of its decisions; tests show that each is found. A
//! [`Sight`] is something worth seeing, from an expiry that wins against a confirmation to a charge that arrives after it was voided; a test
//! asserts that each was seen often enough.

mod actors;
mod audit;
mod campaign;
mod counts;
mod gateway;
mod log;
mod mutation;
mod run;
mod scheduler;
mod server;
mod shape;
mod trace;
mod verdict;
mod world;

pub use campaign::{Summary, campaign, told};
pub use counts::{Counts, Sight};
pub use mutation::Mutation;
pub use run::{Outcome, run};
pub use verdict::{Invariant, Violation};
