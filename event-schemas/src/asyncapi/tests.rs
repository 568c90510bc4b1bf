use std::{collections::BTreeSet, fs, path::Path};

use jsonschema::Validator;

use super::*;
use crate::{events::descriptors, samples};

const PREFIX: &str = "shop-1.eu";

fn described() -> Value {
    document(Topics { prefix: PREFIX, partitions: 7 }, "1.2.3").unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// What validates by a part of the document.
fn validator(document: &Value, part: &Value) -> Validator {
    let schema = json!({"allOf": [part], "components": document["components"]});
    jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap()
}

#[test]
fn the_official_schema_takes_it_and_refuses_what_is_wrong() {
    let official = jsonschema::validator_for(&read(&root().join("../tests/asyncapi/schema-3.0.0.json"))).unwrap();
    let document = described();
    let faults: Vec<_> = official.iter_errors(&document).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let wrong = [
        ("/asyncapi", json!("2.6.0")),
        ("/channels/order/messages", json!([])),
        ("/channels/order/bindings/kafka/partitions", json!("many")),
        ("/operations/send_order/action", json!("publish")),
        ("/components/messages/OrderPlaced.v1/bindings/kafka/key", json!(7)),
        ("/components/messages/OrderPlaced.v1/headers", json!([])),
        ("/components/schemas/OrderPlaced.v1/type", json!("thing")),
    ];
    for (pointer, value) in wrong {
        let mut broken = document.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        assert!(!official.is_valid(&broken), "{pointer}");
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn follow(document: &Value, value: &Value, found: &mut usize) {
        match value {
            Value::Object(members) => {
                if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                    *found += 1;
                    assert!(document.pointer(&reference[1..]).is_some(), "{reference} leads nowhere");
                }
                members.values().for_each(|member| follow(document, member, found));
            }
            Value::Array(items) => items.iter().for_each(|item| follow(document, item, found)),
            _ => {}
        }
    }
    let (document, mut found) = (described(), 0);
    follow(&document, &document, &mut found);
    assert!(found > 200, "{found}");
}

#[test]
fn every_version_of_every_event_type_is_in_the_channel_of_its_topic_and_in_no_other() {
    let document = described();
    let channels = document["channels"].as_object().unwrap();
    assert!(channels.keys().map(String::as_str).eq(CATEGORIES.iter().copied()));
    for (category, channel) in channels {
        assert_eq!(channel["address"], format!("{PREFIX}.{category}"));
        assert_eq!(channel["bindings"]["kafka"], json!({"topic": channel["address"], "partitions": 7, "bindingVersion": "0.5.0"}));
        let own = descriptors().filter(|d| d.category == category);
        let known: BTreeSet<_> = own.flat_map(|d| (1..=d.schema_version).map(|version| format!("{}.v{version}", d.event_type))).collect();
        let told: BTreeSet<_> = channel["messages"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(told, known, "{category}");
        assert_eq!(document["operations"][format!("send_{category}")]["channel"]["$ref"], format!("#/channels/{category}"));
    }
    assert_eq!(document["operations"].as_object().unwrap().len(), CATEGORIES.len());
    assert!(document["components"]["messages"]["OrderCancelled.v1"]["summary"].as_str().unwrap().starts_with("No longer written"));
}

#[test]
fn every_example_file_fits_the_payload_of_its_message_and_of_no_other_version() {
    let document = described();
    let by_name = |name: &str| validator(&document, &document["components"]["messages"][name]["payload"]);
    let mut files = 0;
    for entry in fs::read_dir(root().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".json") else { continue };
        let (name, example) = (name.trim_end_matches(".minimal"), read(&path));
        if let Err(error) = by_name(name).validate(&example) {
            panic!("{}: {error} at {}", path.display(), error.instance_path());
        }
        files += 1;
    }
    assert!(files >= samples::full().len() + samples::minimal().len(), "{files}");
    let old = read(&root().join(samples::example_path("OrderCancelled", 1, false)));
    assert!(!by_name("OrderCancelled.v2").is_valid(&old) && !by_name("OrderConfirmed.v1").is_valid(&old));
}

#[test]
fn the_examples_it_gives_fit_too() {
    let document = described();
    for version in versions().unwrap() {
        let message = &document["components"]["messages"][name(&version)];
        let example = &message["examples"][0]["payload"];
        assert!(validator(&document, &message["payload"]).is_valid(example), "{}", name(&version));
    }
}

#[test]
fn headers_are_those_of_an_event_of_the_type() {
    let document = described();
    let message = &document["components"]["messages"]["OrderPlaced.v1"];
    let headers = validator(&document, &message["headers"]);
    let id = "019cae0e-03c0-7651-8317-1ff4a6a3a450";
    let right = json!({
        "content-type": "application/json", "ce_specversion": "1.0", "ce_id": id, "ce_type": "OrderPlaced", "ce_source": "/shop-1.eu",
        "ce_subject": format!("order-{id}"), "ce_time": "2026-03-02T10:18:00.250000Z", "ce_position": "17", "ce_previousposition": "0",
        "ce_streamversion": "2", "ce_schemaversion": "1", "ce_hash": "0a".repeat(32), "ce_commandid": id, "ce_correlationid": id,
        "ce_actor": "client",
    });
    let faults: Vec<_> = headers.iter_errors(&right).map(|error| error.to_string()).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let wrong = [
        ("ce_type", "OrderConfirmed"),
        ("ce_schemaversion", "2"),
        ("ce_source", "/merx"),
        ("ce_position", "-1"),
        ("ce_previousposition", "01"),
        ("ce_id", "1"),
        ("ce_time", "yesterday"),
        ("ce_hash", "0A"),
        ("ce_subject", "order"),
    ];
    for (name, value) in wrong {
        let mut broken = right.clone();
        broken[name] = value.into();
        assert!(!headers.is_valid(&broken), "{name}: {value}");
        broken.as_object_mut().unwrap().shift_remove(name);
        assert!(!headers.is_valid(&broken), "no {name}");
    }
    let key = validator(&document, &message["bindings"]["kafka"]["key"]);
    assert!(key.is_valid(&right["ce_subject"]) && !key.is_valid(&json!("cart-1")));
}
