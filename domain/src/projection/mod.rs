//! Consumers of the log, as operators tend them: what they ask for is recorded, whoever carries it out.

#[cfg(test)]
pub(crate) mod tests;

use event_schemas::{
    Event as LogEvent, StreamId, Timestamp,
    events::projection::{
        Event, ProjectionPublishRequested, ProjectionRebuildRequested, ProjectionRetryRequested, ProjectionSkipRequested,
    },
};
use serde::{Deserialize, Serialize};

use crate::Aggregate;

/// A consumer of the log.
#[derive(Debug, Clone, Copy)]
pub struct Projection;

/// The record of how it was tended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum State {
    /// Nobody has ever asked for anything.
    #[default]
    Untended,
    /// Somebody has.
    Tended {
        /// The number of requests.
        requests: u64,
        /// The time of the last request.
        last_at: Timestamp,
    },
}

/// Requests that an operator may make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Build the read model anew.
    Rebuild,
    /// Try again the event that a stream is parked for.
    Retry {
        /// The stream.
        stream: StreamId,
        /// The event's position in the log.
        position: i64,
    },
    /// Leave it out for ever.
    Skip {
        /// The stream.
        stream: StreamId,
        /// The event's position in the log.
        position: i64,
        /// Why.
        reason: Option<String>,
    },
    /// Send again what has been published.
    Publish {
        /// The first event that is sent again.
        from: i64,
    },
}

/// Nothing is refused: whether it can be done is seen before it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {}

impl Aggregate for Projection {
    const CATEGORY: &'static str = Event::CATEGORY;
    const STATE_VERSION: i32 = 1;
    /// A consumer works before anything is asked of it.
    const EXISTS_WITHOUT_EVENTS: bool = true;
    type State = State;
    type Command = Command;
    type Event = Event;
    type Refusal = Refusal;

    fn decide(_: &State, command: &Command, _: Timestamp) -> Result<Vec<Event>, Refusal> {
        Ok(vec![match command.clone() {
            Command::Rebuild => ProjectionRebuildRequested {}.into(),
            Command::Retry { stream, position } => ProjectionRetryRequested { stream, position }.into(),
            Command::Skip { stream, position, reason } => ProjectionSkipRequested { stream, position, reason }.into(),
            Command::Publish { from } => ProjectionPublishRequested { from }.into(),
        }])
    }

    fn evolve(state: State, _: &Event, at: Timestamp) -> State {
        let requests = match state {
            State::Untended => 0,
            State::Tended { requests, .. } => requests,
        };
        State::Tended { requests: requests.saturating_add(1), last_at: at }
    }

    fn own(event: &LogEvent) -> Option<&Event> {
        match event {
            LogEvent::Projection(event) => Some(event),
            _ => None,
        }
    }
}
