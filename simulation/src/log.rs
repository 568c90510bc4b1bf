//! The log in memory, with the semantics of the real one: a unit of several streams is appended as a whole or not at all, only as the next
//! versions of its streams; a command that is in it already changes nothing and gets its first outcome; positions count up without gaps.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use event_schemas::{Event, Metadata, Recorded, StreamId, Timestamp, ids::CommandId};
use event_store::{Committed, Error, append::event_id};
use uuid::Uuid;

/// The events that one command leads to on one stream.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub stream: StreamId,
    pub expected_version: i64,
    pub metadata: Metadata,
    pub recorded_at: Timestamp,
    pub events: Vec<Event>,
}

/// The answer to a request with an idempotency key: what the request made, or was about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub key: u64,
    pub made: Uuid,
    pub at: Timestamp,
}

/// What is appended as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unit {
    pub parts: Vec<Part>,
    pub answer: Option<Kept>,
}

impl Unit {
    pub fn of(part: Part, answer: Option<Kept>) -> Self {
        Self { parts: vec![part], answer }
    }
}

/// The log.
#[derive(Default)]
pub(crate) struct Log {
    events: Vec<Arc<Recorded>>,
    /// The positions of each stream's events. Only ever looked up: the order of a hash map is nobody's.
    streams: HashMap<StreamId, Vec<usize>>,
    /// The position of the last event of each command.
    commands: HashMap<Uuid, i64>,
    answers: BTreeMap<u64, Kept>,
    /// A rule broken on purpose: nothing is refused for its version.
    pub skips_version_check: bool,
}

impl Log {
    /// Appends `unit`, or says why not; what was appended are the events after the head that was.
    pub fn append(&mut self, unit: &Unit) -> Result<Committed, Error> {
        // In the order of the appender's verdicts: `event-store/src/appender/take_apart.rs`.
        let repeated = unit.parts.iter().filter_map(|part| self.commands.get(&part.metadata.command_id.uuid())).max();
        if let Some(position) = repeated {
            return Ok(Committed { position: *position, repeated: true });
        }
        if unit.answer.is_some_and(|answer| self.answers.contains_key(&answer.key)) {
            return Err(Error::KeyTaken);
        }
        let moved = |part: &&Part| !part.events.is_empty() && self.version(&part.stream) != part.expected_version;
        if !self.skips_version_check && unit.parts.iter().any(|part| moved(&part)) {
            return Err(Error::Conflict);
        }
        for part in &unit.parts {
            self.write(part);
        }
        if let Some(answer) = unit.answer {
            self.answers.insert(answer.key, answer);
        }
        Ok(Committed { position: if unit.parts.is_empty() { 0 } else { self.head() }, repeated: false })
    }

    fn write(&mut self, part: &Part) {
        let stream = self.streams.entry(part.stream.clone()).or_default();
        for (index, event) in part.events.iter().enumerate() {
            stream.push(self.events.len());
            self.events.push(Arc::new(Recorded {
                position: self.events.len() as i64 + 1,
                stream: part.stream.clone(),
                version: stream.len() as i64,
                event_id: event_id(part.metadata.command_id, index),
                metadata: part.metadata.clone(),
                recorded_at: part.recorded_at,
                event: event.clone(),
            }));
        }
        if !part.events.is_empty() {
            self.commands.insert(part.metadata.command_id.uuid(), self.events.len() as i64);
        }
    }

    /// The position of the newest event.
    pub fn head(&self) -> i64 {
        self.events.len() as i64
    }

    /// A stream's version; 0 where there is none.
    pub fn version(&self, stream: &StreamId) -> i64 {
        self.streams.get(stream).map_or(0, |positions| positions.len() as i64)
    }

    /// A stream's events after `version`.
    pub fn tail(&self, stream: &StreamId, version: i64) -> impl Iterator<Item = &Arc<Recorded>> {
        let positions = self.streams.get(stream).map_or(&[][..], Vec::as_slice);
        positions.iter().skip(usize::try_from(version).unwrap_or(0)).filter_map(|at| self.events.get(*at))
    }

    /// The events after a position.
    pub fn after(&self, position: i64) -> &[Arc<Recorded>] {
        self.events.get(usize::try_from(position).unwrap_or(0)..).unwrap_or(&[])
    }

    /// Where a command's last event is; none where it led to none.
    pub fn position_of(&self, command: CommandId) -> Option<i64> {
        self.commands.get(&command.uuid()).copied()
    }

    /// What was answered to a request with this key.
    pub fn answer(&self, key: u64) -> Option<Kept> {
        self.answers.get(&key).copied()
    }

    /// An answer need not be kept any longer.
    pub fn remove_answer(&mut self, key: u64) {
        self.answers.remove(&key);
    }

    /// A rule broken on purpose: which commands were committed is forgotten.
    pub fn forget_commands(&mut self) {
        self.commands.clear();
    }
}
