//! The JSON Schema of every event type: of what is written today generated from its Rust type, of what was written before the file that it left.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::{
    events::{Descriptor, descriptors},
    samples,
};

/// What is no longer written, but stands in logs: the type, its version, and that version's schema and example.
const PAST: &[(&str, i16, &str, &str)] = &[
    ("OrderCancelled", 1, include_str!("../schemas/OrderCancelled.v1.json"), include_str!("../examples/OrderCancelled.v1.json")),
    ("OrderShipped", 1, include_str!("../schemas/OrderShipped.v1.json"), include_str!("../examples/OrderShipped.v1.json")),
];

/// A version of an event type.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    /// The category of the streams it stands in.
    pub category: &'static str,
    /// The type's name.
    pub event_type: &'static str,
    /// The version of its schema.
    pub schema_version: i16,
    /// Whether this is the one that is written today.
    pub is_current: bool,
    /// The JSON Schema of its payload.
    pub schema: Value,
    /// A payload.
    pub example: Value,
}

/// The path of a version of an event type's schema, below `event-schemas/`.
#[must_use]
pub fn schema_path(event_type: &str, schema_version: i16) -> String {
    format!("schemas/{event_type}.v{schema_version}.json")
}

/// The schema of every event type as it is written today: its file's path and its content.
#[must_use]
pub fn current() -> Vec<(String, Value)> {
    descriptors().map(|d| (schema_path(d.event_type, d.schema_version), schema_of(d))).collect()
}

/// Every version of every event type that a log may hold: types in the order of [`descriptors`], versions from 1 on.
///
/// # Errors
/// Never for the types here: they are plain data.
pub fn versions() -> Result<Vec<Version>, serde_json::Error> {
    let mut all = Vec::new();
    for (descriptor, sample) in descriptors().zip(samples::full()) {
        let &Descriptor { category, event_type, schema_version, .. } = descriptor;
        for (_, past, schema, example) in PAST.iter().filter(|(name, ..)| *name == event_type) {
            let (schema, example) = (serde_json::from_str(schema)?, serde_json::from_str(example)?);
            all.push(Version { category, event_type, schema_version: *past, is_current: false, schema, example });
        }
        let (schema, example) = (schema_of(descriptor), serde_json::from_str(&sample.payload()?)?);
        all.push(Version { category, event_type, schema_version, is_current: true, schema, example });
    }
    Ok(all)
}

fn schema_of(descriptor: &Descriptor) -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut schema = (descriptor.schema)(&mut generator).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        object.insert("$id".into(), json!(schema_path(descriptor.event_type, descriptor.schema_version)));
        object.insert("title".into(), json!(descriptor.event_type));
        object.insert("x-merx-category".into(), json!(descriptor.category));
        let definitions = generator.take_definitions(true);
        if !definitions.is_empty() {
            object.insert("$defs".into(), Value::Object(definitions));
        }
    }
    schema
}
