//! Events as the log would hold them.

use std::{collections::HashMap, sync::Arc};

use event_schemas::{Event, Metadata, Recorded, Timestamp, ids::CommandId};
use event_store::{EventStore, Lineage, Part, Unit};
use serde_json::{Value, json};
use uuid::Uuid;

/// A UUID that is easy to read.
pub fn id(number: u32) -> String {
    format!("01920000-0000-7000-8000-{number:012}")
}

/// An amount in pounds.
pub fn gbp(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

/// Events, each a second after the one before.
pub struct Log {
    pub events: Vec<Arc<Recorded>>,
    versions: HashMap<String, i64>,
    now: Timestamp,
}

impl Default for Log {
    fn default() -> Self {
        Self { events: Vec::new(), versions: HashMap::new(), now: "2026-03-01T12:00:00Z".parse().expect("a time") }
    }
}

impl Log {
    /// The next event happens at `time`.
    pub fn at(&mut self, time: &str) -> &mut Self {
        self.now = time.parse().expect("a time");
        self
    }

    /// Adds an event of `event_type`, in its first version, to `stream`.
    pub fn add(&mut self, stream: &str, event_type: &str, payload: &Value) -> &mut Self {
        self.add_version(stream, event_type, 1, payload)
    }

    /// Adds an event of `event_type`, written in `schema_version`, to `stream`.
    pub fn add_version(&mut self, stream: &str, event_type: &str, schema_version: i16, payload: &Value) -> &mut Self {
        let version = self.versions.entry(stream.to_owned()).or_default();
        *version += 1;
        let position = self.events.len() as i64 + 1;
        let event_id = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + u128::from(position.unsigned_abs()) * 4096);
        self.events.push(Arc::new(Recorded {
            position,
            stream: stream.parse().expect("a stream"),
            version: *version,
            event_id,
            metadata: Metadata { command_id: CommandId(event_id), correlation_id: event_id, causation_id: None, actor: "client".into() },
            recorded_at: self.now,
            event: Event::decode(event_type, schema_version, &payload.to_string()).expect("an event"),
        }));
        self.now = self.now.plus(chrono::Duration::seconds(1));
        self
    }

    /// Puts all of it into a log in Postgres.
    pub async fn append_to(&self, store: &EventStore) {
        self.append_after(store, 0).await;
    }

    /// Puts what stands after a position into a log in Postgres, which has the rest; of streams that begin there.
    pub async fn append_after(&self, store: &EventStore, position: usize) {
        let mut lineages: HashMap<&str, Lineage> = HashMap::new();
        let mut pending = Vec::new();
        for recorded in &self.events[position..] {
            let lineage = lineages.entry(recorded.stream.as_str()).or_insert_with(|| Lineage::new(0, 0)).clone();
            let Recorded { stream, version, metadata, recorded_at, event, .. } = (**recorded).clone();
            let part = Part::new(stream, version - 1, vec![event], metadata, recorded_at, lineage).expect("a part");
            pending.push(store.submit(Unit::of(part)).expect("room in the queue"));
        }
        for pending in pending {
            pending.outcome().await.expect("committed");
        }
    }
}
