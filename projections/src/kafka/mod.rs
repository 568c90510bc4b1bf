//! Read models kept from Kafka.
//!
//! A projection has a place for each partition of its topics, committed with the rows. A group spreads the partitions over all servers that keep
//! the projection. What Kafka does not bring is in the log: whoever owns a partition reads it there.
//!
//! - `consumer`: what the group gives, into rows
//! - `writer`: a batch and the places that it moves, in one transaction; what is missing, from the log
//! - `caretaker`: partitions that nobody looks after
//! - [`hand_over`]: from the log to Kafka, and back
//! - [`watermarks`]: how far everything is applied, for `Merx-Min-Position`

mod caretaker;
mod consumer;
pub mod hand_over;
mod watermark;
mod writer;

use event_store::kafka::{Settings, topics};

use crate::Projection;

pub use caretaker::care;
pub use consumer::Consumer;
pub use watermark::keep as watermarks;

/// The topics that a projection reads.
fn topics_of(settings: &Settings, projection: &dyn Projection) -> Vec<String> {
    projection.categories().iter().map(|category| topics::of_category(&settings.prefix, category)).collect()
}
