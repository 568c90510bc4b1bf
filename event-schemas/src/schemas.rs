//! The JSON Schema file of every event type, generated from its Rust type.

use schemars::generate::SchemaSettings;
use serde_json::{Value, json};

use crate::events::{Descriptor, descriptors};

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
