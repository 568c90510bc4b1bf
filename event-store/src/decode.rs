//! Rows of the log as events.

use chrono::{DateTime, Utc};
use event_schemas::{Event, Metadata, Recorded, StreamId, events::DecodeError};
use uuid::Uuid;

use crate::feed::Undecodable;

/// A row of `events`, but for its hash.
pub(crate) struct Row {
    pub position: i64,
    pub stream_id: String,
    pub version: i64,
    pub event_id: Uuid,
    pub event_type: String,
    pub schema_version: i16,
    pub payload: String,
    pub metadata: String,
    pub recorded_at: DateTime<Utc>,
}

impl Row {
    /// The event of this row.
    pub fn decode(self) -> Result<Recorded, Undecodable> {
        match self.parts() {
            Ok((event, metadata, stream)) => Ok(Recorded {
                position: self.position,
                stream,
                version: self.version,
                event_id: self.event_id,
                metadata,
                recorded_at: self.recorded_at.into(),
                event,
            }),
            Err(source) => Err(Undecodable {
                position: self.position,
                stream: self.stream_id,
                version: self.version,
                event_type: self.event_type,
                schema_version: self.schema_version,
                source,
            }),
        }
    }

    fn parts(&self) -> Result<(Event, Metadata, StreamId), DecodeError> {
        let malformed = |detail: String| DecodeError::Malformed { event_type: self.event_type.clone(), detail };
        let event = Event::decode(&self.event_type, self.schema_version, &self.payload)?;
        let metadata: Metadata = serde_json::from_str(&self.metadata).map_err(|e| malformed(format!("metadata: {e}")))?;
        let stream: StreamId = self.stream_id.parse().map_err(|e| malformed(format!("{e}")))?;
        Ok((event, metadata, stream))
    }
}
