//! What a request's type may look like: its JSON Schema, made strict and compiled once.

use std::{
    any::{TypeId, type_name},
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

use event_schemas::{Currency, email, ids};
use jsonschema::{Draft, PatternOptions, Validator};
use parking_lot::RwLock;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use crate::Problem;

/// The compiled schema of one type.
pub(crate) struct Shape {
    pub(crate) schema: Value,
    pub(crate) validator: Validator,
    /// How to read each property from a query string.
    pub(crate) parameters: HashMap<String, Reading>,
}

/// How a query parameter's text becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    Text,
    Integer,
    Number,
    Boolean,
    /// Comes several times or with commas.
    List(Box<Reading>),
    /// `name.key=value`.
    Map(Box<Reading>),
}

static SHAPES: LazyLock<RwLock<HashMap<TypeId, &'static Shape>>> = LazyLock::new(RwLock::default);

/// The shape of `T`, compiled at its first use (which is when its route is declared) and kept for ever.
pub(crate) fn of<T: JsonSchema + 'static>() -> Result<&'static Shape, Problem> {
    let id = TypeId::of::<T>();
    if let Some(shape) = SHAPES.read().get(&id) {
        return Ok(shape);
    }
    let shape = compile::<T>().map_err(|error| {
        tracing::error!(%error, r#type = type_name::<T>(), "a request type's schema can't be compiled");
        Problem::internal()
    })?;
    Ok(SHAPES.write().entry(id).or_insert_with(|| Box::leak(Box::new(shape))))
}

fn compile<T: JsonSchema>() -> Result<Shape, Box<jsonschema::ValidationError<'static>>> {
    let root = SchemaSettings::draft2020_12().for_deserialize().into_generator().into_root_schema_for::<T>();
    let mut schema = root.to_value();
    close(&mut schema);
    let validator = jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .with_format("idn-email", email::is_deliverable)
        .with_format("iso-4217", |code: &str| Currency::in_use(code).is_ok())
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .map_err(Box::new)?;
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    let parameters = properties.map(|(name, property)| (name.clone(), reading(&schema, property))).collect();
    Ok(Shape { schema, validator, parameters })
}

fn reading(root: &Value, property: &Value) -> Reading {
    let property = resolved(root, property);
    let types: Vec<&str> = match property.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let part = |name: &str| Box::new(property.get(name).map_or(Reading::Text, |schema| reading(root, schema)));
    match types.iter().find(|name| **name != "null") {
        Some(&"integer") => Reading::Integer,
        Some(&"number") => Reading::Number,
        Some(&"boolean") => Reading::Boolean,
        Some(&"array") => Reading::List(part("items")),
        Some(&"object") => Reading::Map(part("additionalProperties")),
        _ => Reading::Text,
    }
}

/// Follows references, and the one branch of an `anyOf` that is not null.
fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..8 {
        let target = schema.get("$ref").and_then(Value::as_str).and_then(|target| root.pointer(target.strip_prefix('#')?));
        let branch = || schema.get("anyOf")?.as_array()?.iter().find(|branch| branch["type"] != "null");
        match target.or_else(branch) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// Makes a schema refuse fields it doesn't know, in types that only ever deserialize leniently too (as money does), and integers that their
/// Rust type can't hold.
pub(crate) fn close(root: &mut Value) {
    let mut parts = HashSet::new();
    restrict_codes(root);
    find_parts(root, &mut parts);
    close_below(root, false);
    for group in ["$defs", "schemas"] {
        for (name, schema) in root.get_mut(group).and_then(Value::as_object_mut).into_iter().flatten() {
            close_below(schema, parts.contains(name));
        }
    }
}

/// Names of the definitions that are only a part of the object they describe, so that they can't know all of its fields.
fn find_parts(schema: &Value, parts: &mut HashSet<String>) {
    let name = |schema: &Value| schema.get("$ref")?.as_str()?.rsplit('/').next().map(str::to_owned);
    match schema {
        Value::Object(members) => {
            if members.contains_key("properties") {
                parts.extend(name(schema));
            }
            for composed in ["allOf", "anyOf", "oneOf"] {
                if composed == "allOf" || members.contains_key("properties") {
                    parts.extend(members.get(composed).and_then(Value::as_array).into_iter().flatten().filter_map(name));
                }
            }
            members.values().for_each(|member| find_parts(member, parts));
        }
        Value::Array(items) => items.iter().for_each(|item| find_parts(item, parts)),
        _ => {}
    }
}

fn close_below(schema: &mut Value, is_part: bool) {
    let Value::Object(members) = schema else { return };
    bound(members);
    let has_properties = members.contains_key("properties");
    let composed = ["$ref", "allOf", "anyOf", "oneOf"].iter().any(|keyword| members.contains_key(*keyword));
    let is_open = !members.contains_key("additionalProperties") && !members.contains_key("unevaluatedProperties");
    if has_properties && is_open && !is_part {
        members.insert(if composed { "unevaluatedProperties" } else { "additionalProperties" }.to_owned(), Value::Bool(false));
    }
    for (keyword, below) in members.iter_mut() {
        match keyword.as_str() {
            "properties" | "patternProperties" => {
                below.as_object_mut().into_iter().flatten().for_each(|(_, schema)| close_below(schema, false));
            }
            "items" | "additionalProperties" | "contains" => close_below(below, false),
            "allOf" | "anyOf" | "oneOf" => {
                let are_parts = is_part || has_properties || keyword == "allOf";
                below.as_array_mut().into_iter().flatten().for_each(|schema| close_below(schema, are_parts));
            }
            "prefixItems" => below.as_array_mut().into_iter().flatten().for_each(|schema| close_below(schema, false)),
            _ => {}
        }
    }
}

/// Narrows the form of codes in events, which a schema may share, to that of codes that clients choose.
pub(crate) fn restrict_codes(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("pattern").is_some_and(|pattern| pattern == ids::RECORDED_CODE_PATTERN) {
                members.insert("pattern".to_owned(), ids::CODE_PATTERN.into());
                members.insert("maxLength".to_owned(), ids::MAX_CODE_LENGTH.into());
            }
            members.values_mut().for_each(restrict_codes);
        }
        Value::Array(items) => items.iter_mut().for_each(restrict_codes),
        _ => {}
    }
}

/// Adds the range of the Rust integer, which schemars tells only as a format.
fn bound(members: &mut Map<String, Value>) {
    let (least, most) = match members.get("format").and_then(Value::as_str) {
        Some("int32") => (json!(i32::MIN), json!(i32::MAX)),
        Some("int64") => (json!(i64::MIN), json!(i64::MAX)),
        Some("uint32") => (json!(0), json!(u32::MAX)),
        Some("uint64" | "uint") => (json!(0), json!(u64::MAX)),
        _ => return,
    };
    members.entry("minimum").or_insert(least);
    members.entry("maximum").or_insert(most);
}
