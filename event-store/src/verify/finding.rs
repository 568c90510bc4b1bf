//! What can be wrong with a log.

use std::fmt;

use event_schemas::Timestamp;
use uuid::Uuid;

use crate::Digest;

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its number in the whole log.
    pub position: i64,
    /// Its stream.
    pub stream: String,
    /// Its number in its stream.
    pub version: i64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "position {}, stream {}, version {}", self.position, self.stream, self.version)
    }
}

/// The first thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// The law of the log is not in force.
    #[error("{what} of table {table} is missing or switched off: the database does not guard the log any more")]
    Unguarded {
        /// The table.
        table: &'static str,
        /// The constraint or trigger.
        what: &'static str,
    },
    /// The law of the log is another one.
    #[error("{kind} {name} is not what the migrations of merx make: the database does not guard the log any more")]
    Altered {
        /// Its kind, as in "the trigger".
        kind: &'static str,
        /// Its name, and the table's.
        name: String,
    },
    /// The log up to a position is not the one that it was.
    #[error("position {}: expected the digest of the log up to here that was {by}, {expected}, found {found}: some event up to here was changed, moved or removed", found.position)]
    Digest {
        /// The place of the first of both, as in "kept in the database".
        by: &'static str,
        /// The digest that was noted.
        expected: Digest,
        /// The digest of the events that there are.
        found: Digest,
    },
    /// The log ends before a position that it had come to.
    #[error("the log ends at position {last}, and its digest at position {} was {by}: what stood between is gone", digest.position)]
    DigestBeyond {
        /// Its place, as in "noted".
        by: &'static str,
        /// The digest that was noted.
        digest: Digest,
        /// The last event.
        last: i64,
    },
    /// Positions have a gap.
    #[error("{place}: expected position {expected}, found {}: what stood between is gone", place.position)]
    PositionGap {
        /// The event after the gap.
        place: Place,
        /// What should have come.
        expected: i64,
    },
    /// The head and the last event are not the same.
    #[error("the head of the log: expected it at the last event, position {last}, found {head}")]
    Head {
        /// The position of the last event; 0 where there is none.
        last: i64,
        /// Where the head is.
        head: i64,
    },
    /// An event does not go on where its stream was.
    #[error("{place}: expected version {} of the stream before it, found none", place.version - 1)]
    VersionGap {
        /// The event after the gap.
        place: Place,
    },
    /// The version of an event is 0 or less.
    #[error("{place}: expected a version from 1 on, found {}", place.version)]
    NoVersion {
        /// The event.
        place: Place,
    },
    /// The hash is not that of the event.
    #[error("{place}: expected hash {}, found {}", Hex(expected), Hex(found))]
    Hash {
        /// The event.
        place: Place,
        /// The hash of what the event says.
        expected: [u8; 32],
        /// The hash beside it.
        found: Vec<u8>,
    },
    /// The ids of a command's events do not count up.
    #[error("{place}: expected event id {expected}, found {found}")]
    EventId {
        /// The event.
        place: Place,
        /// The id that follows from its command.
        expected: Uuid,
        /// Its id.
        found: Uuid,
    },
    /// Its time can't be written.
    #[error("{place}: expected a time between the years 1 and 9999, found {found}")]
    Time {
        /// The event.
        place: Place,
        /// The time.
        found: String,
    },
    /// No event that this program knows.
    #[error("{place}: expected an event that this version of merx knows, found: {found}")]
    Undecodable {
        /// The event.
        place: Place,
        /// What is wrong with it.
        found: String,
    },
    /// A consumer has done what is not in the log.
    #[error(
        "the checkpoint of {name}: expected it at an event of this log, found it at another one, at position {position}: the log has gone back, and \
         a server that keeps {name} makes it fit again"
    )]
    Astray {
        /// The consumer.
        name: String,
        /// The position of the checkpoint.
        position: i64,
    },
    /// A consumer claims to have come further than there is anything.
    #[error("the checkpoint of {name}: expected a position up to {head}, the head of the log, found {found}")]
    Checkpoint {
        /// The consumer.
        name: String,
        /// Where the log ends.
        head: i64,
        /// The position of the checkpoint.
        found: i64,
    },
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A row of the log: its time apart, as it may be none.
pub(super) struct Stored {
    /// The event; its time is the epoch where it can't be told.
    pub event: crate::StoredEvent,
    /// The time as Postgres writes it, where it can't be told.
    pub odd_time: Option<String>,
}

impl Stored {
    pub fn place(&self) -> Place {
        Place { position: self.event.position, stream: self.event.stream_id.clone(), version: self.event.version }
    }
}

/// The time of a row, and its text where that is no time.
pub(super) fn time(at: Option<chrono::DateTime<chrono::Utc>>, text: Option<String>) -> (Timestamp, Option<String>) {
    at.map_or_else(|| (Timestamp::from_micros(0), text), |at| (at.into(), None))
}
