//! What is appended, and what may come of it.

use event_schemas::{Event, Metadata, StreamId, Timestamp, ids::CommandId};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{Error, Lineage, hash};

/// The most events that one command may lead to: their ids count up from the command's.
pub const MAX_EVENTS_OF_COMMAND: usize = 1_000;

/// The id of a command's `index`-th event, from 0: the command's id counted up.
#[must_use]
pub fn event_id(command: CommandId, index: usize) -> Uuid {
    Uuid::from_u128(command.uuid().as_u128().wrapping_add(index as u128))
}

/// The events that one command leads to on one stream.
#[derive(Debug)]
pub struct Part {
    pub(crate) stream: StreamId,
    pub(crate) expected_version: i64,
    pub(crate) command: CommandId,
    pub(crate) metadata: Metadata,
    pub(crate) metadata_json: String,
    pub(crate) recorded_at: Timestamp,
    pub(crate) events: Vec<Encoded>,
    pub(crate) lineage: Lineage,
}

/// An event with the texts that are kept of it.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub event: Event,
    pub payload: String,
    pub hash: [u8; 32],
}

impl Part {
    /// `events` for `stream`, which must be at `expected_version` (0: must not exist). `lineage` is the chain of the cached state
    /// they were decided on; where there is none, a new one.
    ///
    /// # Errors
    /// More than [`MAX_EVENTS_OF_COMMAND`] events, or one that can't be written as JSON.
    pub fn new(
        stream: StreamId,
        expected_version: i64,
        events: Vec<Event>,
        metadata: Metadata,
        recorded_at: Timestamp,
        lineage: Lineage,
    ) -> Result<Self, Error> {
        if events.len() > MAX_EVENTS_OF_COMMAND {
            return Err(Error::Refused(format!("{} events of one command: {MAX_EVENTS_OF_COMMAND} at most", events.len())));
        }
        let refused = |error: serde_json::Error| Error::Refused(error.to_string());
        let metadata_json = serde_json::to_string(&metadata).map_err(refused)?;
        let command = metadata.command_id;
        let mut encoded = Vec::with_capacity(events.len());
        for (index, event) in events.into_iter().enumerate() {
            let payload = event.payload().map_err(refused)?;
            let hash = hash::leaf(&hash::Leaf {
                stream: &stream,
                version: expected_version + 1 + index as i64,
                event_id: event_id(command, index),
                event_type: event.event_type(),
                schema_version: event.schema_version(),
                recorded_at,
                metadata: &metadata_json,
                payload: &payload,
            });
            encoded.push(Encoded { event, payload, hash });
        }
        Ok(Self { stream, expected_version, command, metadata, metadata_json, recorded_at, events: encoded, lineage })
    }

    /// Bytes of its events and their metadata.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.events.iter().map(|encoded| encoded.payload.len() + self.metadata_json.len()).sum()
    }
}

/// The answer to a request that bore an idempotency key, to be kept with what it led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedAnswer {
    /// SHA-256 of the credential and the key.
    pub scope: [u8; 32],
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// The HTTP status.
    pub status: i16,
    /// Where the resource is, if it was created.
    pub location: Option<String>,
    /// The resource's version.
    pub version: i64,
    /// The resource as it was answered.
    pub body: String,
    /// When.
    pub created_at: Timestamp,
    /// The position to keep where the unit has no events; otherwise that of its last event.
    pub position_without_events: i64,
}

/// What is committed or refused as a whole: the events of one or several streams, and an answer to keep.
#[derive(Debug, Default)]
pub struct Unit {
    /// The streams' parts; each stream at most once.
    pub parts: Vec<Part>,
    /// The answer to keep.
    pub answer: Option<KeyedAnswer>,
}

impl Unit {
    /// A unit of one stream, with no answer to keep.
    #[must_use]
    pub fn of(part: Part) -> Self {
        Self { parts: vec![part], answer: None }
    }

    pub(crate) fn event_count(&self) -> usize {
        self.parts.iter().map(|part| part.events.len()).sum()
    }

    /// Bytes of events, their metadata and the answer.
    pub(crate) fn byte_count(&self) -> usize {
        let answer = self.answer.as_ref().map_or(0, |answer| answer.body.len());
        self.parts.iter().map(Part::bytes).sum::<usize>() + answer
    }

    pub(crate) fn sever(&self) {
        self.parts.iter().for_each(|part| part.lineage.sever());
    }
}

/// What became of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// The position of its last event; where it had none, 0.
    pub position: i64,
    /// Whether its command had been committed before: then nothing was appended now.
    pub repeated: bool,
}

/// A unit in the queue.
#[derive(Debug)]
pub struct Pending(pub(crate) oneshot::Receiver<Result<Committed, Error>>);

impl Pending {
    /// Waits until it is committed or refused.
    ///
    /// # Errors
    /// What the appender says of it.
    pub async fn outcome(self) -> Result<Committed, Error> {
        self.0.await.unwrap_or_else(|_| Err(Error::Unavailable("the appender has stopped".into())))
    }
}
