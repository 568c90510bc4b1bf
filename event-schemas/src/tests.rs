//! The code, the schema files and the example files say the same, and what has landed stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use jsonschema::Validator;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    DecodeError, Event,
    events::{CATEGORIES, descriptors},
    samples, schemas,
};

/// A file of `schemas/` or `examples/`.
#[derive(Debug)]
struct File {
    path: String,
    event_type: String,
    schema_version: i16,
    text: String,
}

impl File {
    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    fn decoded(&self) -> Event {
        Event::decode(&self.event_type, self.schema_version, &self.text).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> Value {
    let text =
        fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}; `cargo run -p event-schemas` writes it"));
    serde_json::from_str(&text).unwrap()
}

/// The files of `folder`, by name. A name that is none of `<Type>.v<n>.json` and `<Type>.v<n>.minimal.json` fails.
fn files(folder: &str) -> Vec<File> {
    let names = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = names.filter(|name| name != "SHA256SUMS").collect();
    names
        .into_iter()
        .map(|name| {
            let path = format!("{folder}/{name}");
            let parts: Vec<_> = name.split('.').collect();
            let ([event_type, version, "json"] | [event_type, version, "minimal", "json"]) = parts[..] else {
                panic!("{path} is no file of an event type");
            };
            let schema_version = version.strip_prefix('v').and_then(|n| n.parse().ok()).unwrap_or_else(|| panic!("{path} has no version"));
            let text = fs::read_to_string(root().join(&path)).unwrap();
            File { path, event_type: event_type.to_owned(), schema_version, text }
        })
        .collect()
}

fn validator(event_type: &str, schema_version: i16) -> Validator {
    let schema = read(&schemas::schema_path(event_type, schema_version));
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

#[test]
fn every_schema_file_is_what_its_type_says() {
    for (path, schema) in schemas::current() {
        assert!(read(&path) == schema, "{path} is not the schema of its type: run `cargo run -p event-schemas`");
    }
}

#[test]
fn every_example_fits_the_schema_of_its_version() {
    for file in files("examples") {
        if let Err(error) = validator(&file.event_type, file.schema_version).validate(&file.value()) {
            panic!("{}: {error} at {}", file.path, error.instance_path());
        }
    }
}

#[test]
fn every_sample_is_what_its_example_decodes_to_and_is_written_as() {
    let samples = samples::full().into_iter().map(|event| (event, false)).chain(samples::minimal().into_iter().map(|event| (event, true)));
    for (event, is_minimal) in samples {
        let path = samples::example_path(event.event_type(), event.schema_version(), is_minimal);
        let example = read(&path);
        let decoded = Event::decode(event.event_type(), event.schema_version(), &example.to_string()).unwrap();
        assert_eq!(decoded, event, "{path}");
        assert_eq!(serde_json::from_str::<Value>(&decoded.payload().unwrap()).unwrap(), example, "{path}");
    }
}

#[test]
fn every_type_has_a_sample_in_order() {
    let of_samples: Vec<_> = samples::full().iter().map(|event| (event.category(), event.event_type(), event.schema_version())).collect();
    let of_types: Vec<_> = descriptors().map(|d| (d.category, d.event_type, d.schema_version)).collect();
    assert_eq!(of_samples, of_types);
}

#[test]
fn full_samples_leave_nothing_empty_and_minimal_ones_leave_out_what_they_can() {
    let minimal: BTreeSet<_> = samples::minimal().iter().map(Event::event_type).collect();
    for (descriptor, (path, schema)) in descriptors().zip(schemas::current()) {
        let example = read(&samples::example_path(descriptor.event_type, descriptor.schema_version, false));
        assert!(!has_empty(&example), "{path}: an option of the full example is empty: {example}");
        let no_members = serde_json::Map::new();
        for name in schema["properties"].as_object().unwrap_or(&no_members).keys() {
            assert!(example.get(name).is_some(), "{path}: the full example lacks {name}");
        }
        let has_options = schema.to_string().contains("\"null\"");
        assert_eq!(
            minimal.contains(descriptor.event_type),
            has_options,
            "{}: a minimal example where there are options",
            descriptor.event_type
        );
    }
    for event in samples::minimal() {
        let example: Value = serde_json::from_str(&event.payload().unwrap()).unwrap();
        let full = read(&samples::example_path(event.event_type(), event.schema_version(), false));
        assert!(has_empty(&example) && example != full, "{}", event.event_type());
    }
}

fn has_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty() || items.iter().any(has_empty),
        Value::Object(members) => members.values().any(|member| has_empty(member) || *member == json!({})),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[test]
fn a_schema_refuses_what_its_type_refuses() {
    for event in samples::full() {
        let (event_type, schema_version) = (event.event_type(), event.schema_version());
        let validator = validator(event_type, schema_version);
        let example: Value = serde_json::from_str(&event.payload().unwrap()).unwrap();
        for name in example.as_object().unwrap().keys() {
            let mut lacking = example.clone();
            lacking.as_object_mut().unwrap().shift_remove(name);
            let mut wrong = example.clone();
            wrong[name] = json!([[]]);
            for payload in [lacking, wrong] {
                let is_read = Event::decode(event_type, schema_version, &payload.to_string()).is_ok();
                assert_eq!(validator.is_valid(&payload), is_read, "{event_type}: {name} in {payload}");
            }
        }
    }
}

#[test]
fn every_version_ever_written_has_a_schema_and_an_example_that_still_decodes() {
    let named = |files: &[File]| files.iter().map(|file| (file.event_type.clone(), file.schema_version)).collect::<BTreeSet<_>>();
    let known: BTreeSet<_> = descriptors().flat_map(|d| (1..=d.schema_version).map(|version| (d.event_type.to_owned(), version))).collect();
    let examples = files("examples");
    for (folder, found) in [("schemas", named(&files("schemas"))), ("examples", named(&examples))] {
        let orphans: Vec<_> = found.difference(&known).collect();
        assert!(orphans.is_empty(), "{folder}/ has files of types or versions that the code does not know: {orphans:?}");
        let missing: Vec<_> = known.difference(&found).collect();
        assert!(missing.is_empty(), "{folder}/ lacks {missing:?}: old ones stay for ever, `cargo run -p event-schemas` writes new ones");
    }
    for example in &examples {
        assert_eq!(example.decoded().event_type(), example.event_type, "{}", example.path);
    }
}

#[test]
fn every_version_is_told_with_the_schema_and_the_example_of_its_files() {
    let told = schemas::versions().unwrap();
    let known =
        descriptors().flat_map(|d| (1..=d.schema_version).map(|version| (d.category, d.event_type, version, version == d.schema_version)));
    let of_told = told.iter().map(|version| (version.category, version.event_type, version.schema_version, version.is_current));
    assert!(of_told.eq(known), "PAST of src/schemas.rs has to name every version that is no longer written, in order");
    for version in told {
        assert_eq!(read(&schemas::schema_path(version.event_type, version.schema_version)), version.schema);
        assert_eq!(read(&samples::example_path(version.event_type, version.schema_version, false)), version.example);
    }
}

#[test]
fn an_example_of_an_old_version_is_lifted_to_what_the_newest_schema_allows() {
    let newest: BTreeMap<_, _> = descriptors().map(|d| (d.event_type, d.schema_version)).collect();
    for example in files("examples") {
        let lifted: Value = serde_json::from_str(&example.decoded().payload().unwrap()).unwrap();
        if let Err(error) = validator(&example.event_type, newest[example.event_type.as_str()]).validate(&lifted) {
            panic!("{}: lifted, {error} at {}", example.path, error.instance_path());
        }
    }
}

#[test]
fn the_examples_of_a_cancellation_mean_the_same_in_both_versions() {
    let decoded = |version, is_minimal| {
        let path = samples::example_path("OrderCancelled", version, is_minimal);
        Event::decode("OrderCancelled", version, &read(&path).to_string()).unwrap()
    };
    for is_minimal in [false, true] {
        assert_eq!(decoded(1, is_minimal), decoded(2, is_minimal));
    }
}

#[test]
fn a_landed_example_never_changes() {
    let sums = fs::read_to_string(root().join("examples/SHA256SUMS")).unwrap();
    let landed: BTreeMap<_, _> = sums.lines().map(|line| line.split_once("  ").unwrap()).map(|(sum, name)| (name, sum)).collect();
    for (name, sum) in &landed {
        let path = root().join("examples").join(name);
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("examples/{name} has landed and must stay: {error}"));
        assert_eq!(
            format!("{:x}", Sha256::digest(bytes)),
            *sum,
            "examples/{name} has landed: logs hold such events, so it must not change. Put it back; docs/changing-an-event.md tells what to do instead"
        );
    }
    for file in files("examples") {
        let name = file.path.trim_start_matches("examples/");
        assert!(landed.contains_key(name), "examples/SHA256SUMS lacks {name}: run `cargo run -p event-schemas`");
    }
}

#[test]
fn types_are_named_after_their_aggregate_in_the_past_tense() {
    let aggregates = ["Category", "Product", "Stock", "FlashSale", "Cart", "Order", "Payment", "Review", "Projection"];
    let of_categories: BTreeMap<_, _> = CATEGORIES.iter().copied().zip(aggregates).collect();
    let mut seen = BTreeSet::new();
    for d in descriptors() {
        let name = d.event_type;
        assert!(seen.insert(name), "{name} is there twice");
        assert!(d.schema_version >= 1, "{name}");
        let aggregate = of_categories[d.category];
        assert_eq!(aggregate.to_lowercase(), d.category);
        let what = name.strip_prefix(aggregate).unwrap_or_else(|| panic!("{name} does not begin with {aggregate}"));
        assert!(name.bytes().all(|b| b.is_ascii_alphanumeric()) && what.starts_with(|c: char| c.is_ascii_uppercase()), "{name}");
        let is_past = what.contains("ed") || what.ends_with("Set") || what.ends_with("Withheld");
        assert!(is_past, "{name} is not in the past tense");
    }
}

#[test]
fn what_can_not_be_read_is_told_by_kind() {
    let decoded = |event_type, version, payload| Event::decode(event_type, version, payload).unwrap_err();
    let unknown = decoded("OrderEaten", 1, "{}");
    assert_eq!(unknown, DecodeError::UnknownType("OrderEaten".to_owned()));
    assert_eq!(unknown.to_string(), "event type \"OrderEaten\" is unknown to this version of merx");

    for found in [2, 0, -1, i16::MAX] {
        let newer = decoded("FlashSaleStarted", found, "{}");
        assert_eq!(newer, DecodeError::UnknownVersion { event_type: "FlashSaleStarted".to_owned(), found, newest: 1 });
    }

    for payload in ["", "null", "{}", "{\"captured\": 3}", "{\"captured\": {\"amount\": \"-1\", \"currency\": \"GBP\"}}"] {
        let malformed = decoded("OrderConfirmed", 1, payload);
        assert!(
            matches!(&malformed, DecodeError::Malformed { event_type, .. } if event_type == "OrderConfirmed"),
            "{payload}: {malformed}"
        );
    }
    assert_eq!(decoded("OrderConfirmed", 1, "{}").to_string(), "event type OrderConfirmed: missing field `captured` at line 1 column 2");
}
