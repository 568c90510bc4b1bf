//! What operators do about the consumers of the log: read models, process managers, the payment worker, the search index, the publisher.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::events;
use crate::StreamId;

events! { "projection",
    /// Somebody asked for the read model to be built anew.
    RebuildRequested(ProjectionRebuildRequested, 1),
    /// Somebody asked for a parked stream to be tried again.
    RetryRequested(ProjectionRetryRequested, 1),
    /// Somebody asked for the event that a stream is parked for to be left out.
    SkipRequested(ProjectionSkipRequested, 1),
    /// Somebody asked for what has been published to be sent again.
    PublishRequested(ProjectionPublishRequested, 1),
}

/// Somebody asked for the read model to be built anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionRebuildRequested {}

/// Somebody asked for a parked stream to be tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionRetryRequested {
    /// The stream.
    #[schemars(with = "String")]
    pub stream: StreamId,
    /// Where the event stands that it is parked for.
    pub position: i64,
}

/// Somebody asked for the event that a stream is parked for to be left out for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionSkipRequested {
    /// The stream.
    #[schemars(with = "String")]
    pub stream: StreamId,
    /// Where the event stands.
    pub position: i64,
    /// Why.
    pub reason: Option<String>,
}

/// Somebody asked for what has been published to be sent again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProjectionPublishRequested {
    /// The first event that is sent again.
    pub from: i64,
}
