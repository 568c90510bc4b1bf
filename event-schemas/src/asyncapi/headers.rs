//! The headers that every message has.

use serde_json::{Map, Value, json};

use crate::StreamId;

const UUID: &str = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$";
const NUMBER: &str = "^(0|[1-9][0-9]{0,18})$";
const STREAM_KEY: &str = "[0-9A-Za-z._-]+";

/// The schema of headers, as an object of texts in UTF-8.
pub(super) fn schema(prefix: &str) -> Value {
    let all = [of_cloud_events(prefix), places(), cause()].concat();
    let required: Vec<_> = all.iter().filter(|header| header.always).map(|header| header.name).collect();
    let described = |header: &Header| {
        let mut schema = header.schema.clone();
        schema["type"] = "string".into();
        schema["description"] = header.meaning.into();
        (header.name.to_owned(), schema)
    };
    let properties: Map<_, _> = all.iter().map(described).collect();
    json!({
        "type": "object",
        "description": "CloudEvents 1.0 in Kafka's binary mode, with extensions of Merx. Every value is text in UTF-8, numbers in decimal.",
        "properties": properties,
        "required": required,
    })
}

/// The schema of the name of a stream of `category`, which is the key of its messages.
pub(super) fn stream(category: &str) -> Value {
    json!({
        "type": "string",
        "description": "The stream, as in ce_subject.",
        "pattern": format!("^{category}-{STREAM_KEY}$"),
        "maxLength": StreamId::MAX_LEN,
    })
}

#[derive(Clone)]
struct Header {
    name: &'static str,
    schema: Value,
    meaning: &'static str,
    always: bool,
}

fn always(name: &'static str, schema: Value, meaning: &'static str) -> Header {
    Header { name, schema, meaning, always: true }
}

fn sometimes(name: &'static str, schema: Value, meaning: &'static str) -> Header {
    Header { name, schema, meaning, always: false }
}

fn of_cloud_events(prefix: &str) -> Vec<Header> {
    let stream = json!({"pattern": format!("^[a-z]+-{STREAM_KEY}$"), "maxLength": StreamId::MAX_LEN});
    vec![
        always("content-type", json!({"const": "application/json"}), "What the value is."),
        always("ce_specversion", json!({"const": "1.0"}), "The version of CloudEvents."),
        always("ce_id", json!({"format": "uuid", "pattern": UUID}), "The event's id."),
        always("ce_type", json!({}), "The event's type."),
        always("ce_source", json!({"const": format!("/{prefix}")}), "The shop: `/` and what its topics begin with."),
        always("ce_subject", stream, "The stream: a category, `-`, and the aggregate's id. It is the key too."),
        always("ce_time", json!({"format": "date-time"}), "When it was recorded, in UTC, to the microsecond."),
    ]
}

fn places() -> Vec<Header> {
    let number = || json!({"pattern": NUMBER});
    vec![
        always("ce_position", number(), "Its number in the whole log, from 1 without gaps, in commit order. Within a partition it grows."),
        always("ce_previousposition", number(), "The position of the event before it in the same partition; 0 where there is none."),
        sometimes(
            "ce_timeline",
            json!({"format": "uuid", "pattern": UUID}),
            "Which history of the log it is of; that of a later one is greater. Another one begins where the log was restored or failed over. Absent in what older programs have published, which is of the first.",
        ),
        sometimes(
            "ce_timelinesince",
            number(),
            "The last position that this timeline has in common with those before; 0 for the first. Of those, nothing beyond it is in the log.",
        ),
        always("ce_streamversion", number(), "Its number in its stream, from 1 without gaps."),
        always("ce_schemaversion", number(), "The version of the schema of its data."),
        always("ce_hash", json!({"pattern": "^[0-9a-f]{64}$"}), "SHA-256 of the event's canonical encoding, in hexadecimal digits."),
    ]
}

fn cause() -> Vec<Header> {
    let uuid = || json!({"format": "uuid", "pattern": UUID});
    vec![
        sometimes("ce_commandid", uuid(), "The command whose decision it is."),
        sometimes("ce_correlationid", uuid(), "The first command of the whole chain: what a client asked for."),
        sometimes("ce_causationid", uuid(), "The event that a process manager reacted to; absent where a client asked directly."),
        sometimes("ce_actor", json!({}), "Who asked: `client`, `process:checkout`, `import:online-retail`, …"),
        sometimes("ce_metadata", json!({}), "Who and why as JSON, where the log keeps more of it than the headers say."),
    ]
}
