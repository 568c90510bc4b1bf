//! The log on Kafka: what stands where, and who puts it there.
//!
//! - [`settings`]: the cluster and how to reach it, from `KAFKA_*` variables
//! - [`topics`]: a topic for each category of streams
//! - [`partition`]: the partition of a stream
//! - [`message`]: an event as a message, and a message as an event
//! - [`client`]: what all clients of Kafka have in common
//! - [`publisher`]: sends the log
//! - [`places`]: how far consumers have applied partitions, and what has been published of these
//! - [`reader`]: messages as they arrive
//! - [`feed`]: the same in the order of the log
//!
//! Kafka is never the truth: everything on it can be read from the log again, and whoever reads it can tell when something is missing.

pub mod client;
pub mod feed;
pub mod message;
pub mod partition;
pub mod places;
pub mod publisher;
pub mod reader;
pub mod settings;
pub mod topics;

pub use feed::Feed;
pub use settings::Settings;
