//! An event as a message, and a message as an event: CloudEvents 1.0, Kafka's binary mode.
//!
//! The key is the stream, the value the event's data as the log keeps it. Attributes of CloudEvents are headers that begin with `ce_`; those of our
//! own are extensions. Together they hold all that the log holds of an event, down to the texts that were hashed.

#[cfg(test)]
mod tests;

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
};

use event_schemas::{Metadata, Timestamp, ids::CommandId};
use rdkafka::{
    Message,
    message::{Header, Headers, OwnedHeaders},
};
use uuid::Uuid;

use crate::{StoredEvent, Timeline};

/// The headers' names.
pub mod header {
    /// What the value is: `application/json`.
    pub const CONTENT_TYPE: &str = "content-type";
    /// The version of CloudEvents: 1.0.
    pub const SPECVERSION: &str = "ce_specversion";
    /// The event's id.
    pub const ID: &str = "ce_id";
    /// The event's type.
    pub const TYPE: &str = "ce_type";
    /// The shop: `/<prefix of topics>`.
    pub const SOURCE: &str = "ce_source";
    /// The stream.
    pub const SUBJECT: &str = "ce_subject";
    /// When it was recorded, to the microsecond.
    pub const TIME: &str = "ce_time";
    /// Its number in the whole log.
    pub const POSITION: &str = "ce_position";
    /// The position of the event before it in the same partition; 0 where there is none.
    pub const PREVIOUS_POSITION: &str = "ce_previousposition";
    /// Which of its histories the log was on.
    pub const TIMELINE: &str = "ce_timeline";
    /// The last position that this history has in common with those before; 0 for the first.
    pub const TIMELINE_SINCE: &str = "ce_timelinesince";
    /// Its number in its stream.
    pub const STREAM_VERSION: &str = "ce_streamversion";
    /// The version of its data's schema.
    pub const SCHEMA_VERSION: &str = "ce_schemaversion";
    /// The command whose decision it is.
    pub const COMMAND_ID: &str = "ce_commandid";
    /// The first command of the whole chain.
    pub const CORRELATION_ID: &str = "ce_correlationid";
    /// The event that a process manager reacted to; absent where there is none.
    pub const CAUSATION_ID: &str = "ce_causationid";
    /// Who asked.
    pub const ACTOR: &str = "ce_actor";
    /// Its hash, in hexadecimal digits.
    pub const HASH: &str = "ce_hash";
    /// Who and why, as the log keeps it: only where the headers above don't say the same.
    pub const METADATA: &str = "ce_metadata";
}

/// How many headers a message has at most.
const HEADERS: usize = 19;

/// `ce_source` of the shop whose topics begin with `prefix`.
#[must_use]
pub fn source(prefix: &str) -> String {
    format!("/{prefix}")
}

/// The headers of `event`, which stands in its partition after the event at `previous_position`, in a log that is on `timeline`.
#[must_use]
pub fn headers(event: &StoredEvent, source: &str, timeline: &Timeline, previous_position: i64) -> OwnedHeaders {
    let mut headers = OwnedHeaders::new_with_capacity(HEADERS);
    headers = with(headers, header::CONTENT_TYPE, "application/json");
    headers = with(headers, header::SPECVERSION, "1.0");
    headers = with(headers, header::ID, uuid_text(event.event_id, &mut [0; 36]));
    headers = with(headers, header::TYPE, &event.event_type);
    headers = with(headers, header::SOURCE, source);
    headers = with(headers, header::SUBJECT, &event.stream_id);
    headers = with(headers, header::TIME, &event.recorded_at.to_string());
    headers = with(headers, header::POSITION, &event.position.to_string());
    headers = with(headers, header::PREVIOUS_POSITION, &previous_position.to_string());
    headers = with(headers, header::TIMELINE, uuid_text(timeline.id, &mut [0; 36]));
    headers = with(headers, header::TIMELINE_SINCE, &timeline.since.to_string());
    headers = with(headers, header::STREAM_VERSION, &event.version.to_string());
    headers = with(headers, header::SCHEMA_VERSION, &event.schema_version.to_string());
    headers = with(headers, header::HASH, &hexadecimal(&event.hash));
    let metadata = serde_json::from_str::<Metadata>(&event.metadata).ok();
    if let Some(Metadata { command_id, correlation_id, causation_id, actor }) = &metadata {
        headers = with(headers, header::COMMAND_ID, uuid_text(command_id.uuid(), &mut [0; 36]));
        headers = with(headers, header::CORRELATION_ID, uuid_text(*correlation_id, &mut [0; 36]));
        if let Some(causation_id) = causation_id {
            headers = with(headers, header::CAUSATION_ID, uuid_text(*causation_id, &mut [0; 36]));
        }
        headers = with(headers, header::ACTOR, actor);
    }
    // Metadata of a newer program, or of none: nothing of it is lost.
    if !metadata.is_some_and(|metadata| serde_json::to_string(&metadata).is_ok_and(|text| text == event.metadata)) {
        headers = with(headers, header::METADATA, &event.metadata);
    }
    headers
}

fn with(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

/// The timestamp of the message of `event`, in milliseconds: when it was recorded. Brokers refuse one that lies far ahead of their clock, and
/// librdkafka takes 0 for none.
#[must_use]
pub fn timestamp_ms(event: &StoredEvent, now: Timestamp) -> i64 {
    event.recorded_at.min(now).micros().div_euclid(1_000).max(1)
}

/// An event as it came from Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The position of the event before it in the same partition; 0 where there is none. Who has not seen it lacks something.
    pub previous_position: i64,
    /// Which history of the log it is of; none in messages of older programs, which knew of no other than the first.
    pub timeline: Option<Uuid>,
    /// The event, as the log holds it.
    pub event: StoredEvent,
}

/// Why a message is no event of the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the message at offset {offset} of partition {partition} of {topic} is no event of this log: {reason}")]
pub struct Foreign {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What is wrong with a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Every event has it.
    #[error("it has no header {0}")]
    Missing(&'static str),
    /// A header has a value that no event has.
    #[error("its header {0} has a value that no event has")]
    Malformed(&'static str),
    /// It belongs to the log of another shop.
    #[error("it comes from {0:?}")]
    Source(String),
    /// The key is not the stream, as the headers name it.
    #[error("its key is not its stream")]
    Key,
    /// The value is no text.
    #[error("its value is no text in UTF-8")]
    Value,
    /// The headers can't be read at all.
    #[error("its headers are no text")]
    Headers,
}

/// The event that `message` of the shop `source` bears.
///
/// # Errors
/// It bears none. That this program can't read the event is not an error here, but when it is decoded.
pub fn decode(message: &impl Message, source: &str) -> Result<Received, Foreign> {
    received(message, source).map_err(|reason| Foreign {
        topic: message.topic().to_owned(),
        partition: message.partition(),
        offset: message.offset(),
        reason,
    })
}

fn received(message: &impl Message, source: &str) -> Result<Received, Reason> {
    let fields = Fields::of(message)?;
    let from = fields.required(header::SOURCE)?;
    if from != source {
        return Err(Reason::Source(from.chars().take(100).collect()));
    }
    let stream_id = fields.required(header::SUBJECT)?;
    if message.key() != Some(stream_id.as_bytes()) {
        return Err(Reason::Key);
    }
    let payload = message.payload().and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(Reason::Value)?;
    let event = StoredEvent {
        position: fields.at_least(header::POSITION, 1)?,
        stream_id: stream_id.to_owned(),
        version: fields.at_least(header::STREAM_VERSION, 1)?,
        event_id: fields.parsed(header::ID)?,
        event_type: fields.required(header::TYPE)?.to_owned(),
        schema_version: fields.parsed(header::SCHEMA_VERSION)?,
        payload: payload.to_owned(),
        metadata: fields.metadata()?.into_owned(),
        recorded_at: fields.parsed(header::TIME)?,
        hash: from_hexadecimal(fields.required(header::HASH)?).ok_or(Reason::Malformed(header::HASH))?,
    };
    let previous_position = fields.at_least(header::PREVIOUS_POSITION, 0)?;
    if previous_position >= event.position {
        return Err(Reason::Malformed(header::PREVIOUS_POSITION));
    }
    let timeline = match fields.get(header::TIMELINE) {
        Some(_) => Some(fields.parsed(header::TIMELINE)?),
        None => None,
    };
    Ok(Received { previous_position, timeline, event })
}

/// The headers of a message that we know.
struct Fields<'m>(Vec<(&'m str, &'m str)>);

impl<'m> Fields<'m> {
    fn of(message: &'m impl Message) -> Result<Self, Reason> {
        let Some(headers) = message.headers() else { return Ok(Self(Vec::new())) };
        let all = || {
            let text = |value: Option<&'m [u8]>| value.and_then(|value| std::str::from_utf8(value).ok());
            // A header that is none of ours may hold anything.
            headers.iter().filter_map(|header| Some((header.key, text(header.value)?))).collect()
        };
        // rdkafka panics where a header's name is no text.
        catch_unwind(AssertUnwindSafe(all)).map(Self).map_err(|_| Reason::Headers)
    }

    fn get(&self, name: &str) -> Option<&'m str> {
        self.0.iter().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn required(&self, name: &'static str) -> Result<&'m str, Reason> {
        self.get(name).ok_or(Reason::Missing(name))
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, Reason> {
        self.required(name)?.parse().map_err(|_| Reason::Malformed(name))
    }

    fn at_least(&self, name: &'static str, least: i64) -> Result<i64, Reason> {
        let number = self.parsed(name)?;
        if number >= least { Ok(number) } else { Err(Reason::Malformed(name)) }
    }

    /// The metadata as the log keeps it.
    fn metadata(&self) -> Result<Cow<'m, str>, Reason> {
        if let Some(kept) = self.get(header::METADATA) {
            return Ok(kept.into());
        }
        let causation_id = match self.get(header::CAUSATION_ID) {
            Some(_) => Some(self.parsed(header::CAUSATION_ID)?),
            None => None,
        };
        let metadata = Metadata {
            command_id: CommandId(self.parsed(header::COMMAND_ID)?),
            correlation_id: self.parsed(header::CORRELATION_ID)?,
            causation_id,
            actor: self.required(header::ACTOR)?.to_owned(),
        };
        serde_json::to_string(&metadata).map(Cow::from).map_err(|_| Reason::Malformed(header::ACTOR))
    }
}

fn uuid_text(id: Uuid, buffer: &mut [u8; 36]) -> &str {
    id.hyphenated().encode_lower(buffer)
}

fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
