//! What stands on Kafka, described: an AsyncAPI 3.0 document made from the event types.
//!
//! A channel for each topic, a message for each version of an event type that a topic may hold, and the headers that all of them have. It says of
//! messages what `event-store` writes into them; a test reads real ones by it.

mod headers;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::{
    events::CATEGORIES,
    schemas::{Version, versions},
};

const KAFKA_BINDING: &str = "0.5.0";

const DESCRIPTION: &str = "\
Every event of the log, as CloudEvents 1.0 in Kafka's binary mode. A topic holds the events of one category of streams; the key is the stream, so that a \
stream stands in order in one partition. Messages may come again: keep the `ce_position` of the last message of each partition, and drop what is at or \
below it. A message whose `ce_previousposition` is above it tells that something is missing between the two.";

/// What a shop calls its topics.
#[derive(Debug, Clone, Copy)]
pub struct Topics<'a> {
    /// Topics are `<prefix>.<category>`.
    pub prefix: &'a str,
    /// How many partitions of each topic are used.
    pub partitions: i32,
}

/// The document of a shop with these topics, as `release` of the program writes them.
///
/// # Errors
/// Never for the types here: they are plain data.
pub fn document(topics: Topics<'_>, release: &str) -> Result<Value, serde_json::Error> {
    let versions = versions()?;
    let channels: Map<_, _> = CATEGORIES.iter().map(|category| ((*category).to_owned(), channel(topics, category, &versions))).collect();
    let operations: Map<_, _> = CATEGORIES.iter().map(|category| (format!("send_{category}"), operation(category))).collect();
    let messages: Map<_, _> = versions.iter().map(|version| (name(version), message(version))).collect();
    let payloads = versions.iter().map(|version| (name(version), payload(version)));
    let schemas: Map<_, _> = payloads.chain([("Headers".to_owned(), headers::schema(topics.prefix))]).collect();
    Ok(json!({
        "asyncapi": "3.0.0",
        "info": {"title": "Merx: events", "version": release, "description": DESCRIPTION},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "schemas": schemas,
            "messages": messages,
            "correlationIds": {"correlation": {"description": "The first command of the whole chain.", "location": "$message.header#/ce_correlationid"}},
        },
    }))
}

/// `OrderPlaced.v1`.
fn name(version: &Version) -> String {
    format!("{}.v{}", version.event_type, version.schema_version)
}

fn channel(topics: Topics<'_>, category: &str, versions: &[Version]) -> Value {
    let address = format!("{}.{category}", topics.prefix);
    let own = versions.iter().filter(|version| version.category == category).map(name);
    let messages: Map<_, _> = own.map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")}))).collect();
    json!({
        "address": address,
        "description": format!("The events of streams `{category}-…`."),
        "messages": messages,
        "bindings": {"kafka": {"topic": address, "partitions": topics.partitions, "bindingVersion": KAFKA_BINDING}},
    })
}

fn operation(category: &str) -> Value {
    json!({
        "action": "send",
        "channel": {"$ref": format!("#/channels/{category}")},
        "summary": format!("Merx publishes what happened in streams `{category}-…`, at least once and in order."),
    })
}

fn message(version: &Version) -> Value {
    let description = version.schema["description"].as_str().unwrap_or_default();
    let summary =
        if version.is_current { description.to_owned() } else { format!("No longer written, but topics may hold it. {description}") };
    let own = json!({"ce_type": {"const": version.event_type}, "ce_schemaversion": {"const": version.schema_version.to_string()}});
    let mut message = json!({
        "name": version.event_type,
        "title": format!("{}, version {}", version.event_type, version.schema_version),
        "contentType": "application/json",
        "headers": {"type": "object", "allOf": [{"$ref": "#/components/schemas/Headers"}, {"properties": own}]},
        "payload": {"$ref": format!("#/components/schemas/{}", name(version))},
        "correlationId": {"$ref": "#/components/correlationIds/correlation"},
        "bindings": {"kafka": {"key": headers::stream(version.category), "bindingVersion": KAFKA_BINDING}},
        "examples": [{"name": "example", "payload": version.example}],
    });
    if !summary.is_empty() {
        message["summary"] = summary.into();
    }
    message
}

/// The schema as a component: what it defines for itself is found from the document's root.
fn payload(version: &Version) -> Value {
    let mut schema = version.schema.clone();
    let place = format!("#/components/schemas/{}/definitions/", name(version));
    lead(&mut schema, &place);
    if let Value::Object(keywords) = &mut schema {
        for own in ["$schema", "$id", "x-merx-category"] {
            keywords.shift_remove(own);
        }
        if let Some(definitions) = keywords.shift_remove("$defs") {
            keywords.insert("definitions".to_owned(), definitions);
        }
    }
    schema
}

/// Makes references to `$defs` lead to `place`.
fn lead(schema: &mut Value, place: &str) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(definition) = reference.strip_prefix("#/$defs/")
            {
                *reference = format!("{place}{definition}");
            }
            members.values_mut().for_each(|member| lead(member, place));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| lead(item, place)),
        _ => {}
    }
}
