//! What a validator finds wrong, as a client can mend it: every error at its own place, told once.

use std::collections::HashSet;

use event_schemas::{ids, text};
use jsonschema::{ValidationError, error::TypeKind, error::ValidationErrorKind as Kind};
use serde::de::DeserializeOwned;
use serde_json::{Number, Value};
use serde_path_to_error::{Path, Segment};

use crate::{FieldError, shape::Shape};

/// No client mends more at a time, and the answer stays small.
const MAX_ERRORS: usize = 1000;
/// The most values that a refusal lists; of longer enumerations it names the schema's description and an example.
const MAX_LISTED: usize = 40;

/// Reads `value` as a `T`, or says everything that is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(shape: &Shape, value: Value, extra: Vec<FieldError>) -> Result<T, Vec<FieldError>> {
    if !extra.is_empty() || !shape.validator.is_valid(&value) {
        return Err(errors(shape, &value, extra));
    }
    T::deserialize(&value).or_else(|_| read_slowly(value))
}

/// What the schema allows and `T` does not: most often an integer written as `1.0` or `1e3`.
fn read_slowly<T: DeserializeOwned>(mut value: Value) -> Result<T, Vec<FieldError>> {
    write_integers_plainly(&mut value);
    serde_path_to_error::deserialize(value)
        .map_err(|error| vec![FieldError::new(pointer(error.path()), "malformed", error.inner().to_string())])
}

fn write_integers_plainly(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let plain = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0);
            // Display writes a float without an exponent, and a whole one without a point.
            if let Some(plain) = plain.and_then(|float| float.to_string().parse::<i64>().ok()) {
                *number = Number::from(plain);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(write_integers_plainly),
        Value::Object(members) => members.values_mut().for_each(write_integers_plainly),
        _ => {}
    }
}

fn errors(shape: &Shape, value: &Value, extra: Vec<FieldError>) -> Vec<FieldError> {
    let mut found = extra;
    for error in shape.validator.iter_errors(value).take(MAX_ERRORS) {
        tell(shape, &error, &mut found);
    }
    let mut told = HashSet::new();
    found.retain(|error| told.insert(error.pointer.clone()));
    found
}

/// A JSON Pointer out of serde's path.
pub(crate) fn pointer(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => push(&mut pointer, &index.to_string()),
            Segment::Map { key } => push(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Adds a name to a JSON Pointer, escaped as RFC 6901 says.
pub(crate) fn push(pointer: &mut String, name: &str) {
    pointer.push('/');
    for c in name.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

fn child(parent: &str, name: &str) -> String {
    let mut pointer = parent.to_owned();
    push(&mut pointer, name);
    pointer
}

fn tell(shape: &Shape, error: &ValidationError<'_>, found: &mut Vec<FieldError>) {
    let at = error.instance_path().as_str();
    match error.kind() {
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            found
                .extend(unexpected.iter().map(|name| FieldError::new(child(at, name), "unknown_field", "is not known here; leave it out")));
        }
        Kind::Required { property } => {
            found.push(FieldError::new(child(at, property.as_str().unwrap_or_default()), "required", "is required"));
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => branches(shape, at, context, found),
        Kind::PropertyNames { error } => {
            let name = error.instance().as_str().unwrap_or_default();
            found.push(FieldError::new(child(at, name), "malformed", format!("has a name that {}", one(shape, error).1)));
        }
        _ => {
            let (code, detail) = one(shape, error);
            found.push(FieldError::new(at, code, detail));
        }
    }
}

/// Reports the branch that the client most likely meant.
fn branches(shape: &Shape, at: &str, context: &[Vec<ValidationError<'static>>], found: &mut Vec<FieldError>) {
    let is_of_type = |branch: &&Vec<ValidationError<'static>>| {
        !branch.iter().any(|error| matches!(error.kind(), Kind::Type { .. }) && error.instance_path().as_str() == at)
    };
    let right_type: Vec<_> = context.iter().filter(is_of_type).collect();
    if right_type.is_empty() {
        let types = context.iter().flatten().filter_map(|error| match error.kind() {
            Kind::Type { kind } => Some(types(kind)),
            _ => None,
        });
        found.push(FieldError::new(at, "wrong_type", format!("must be {}", listed(types))));
        return;
    }
    // A branch refused by one of its constants (a kind's name) is another kind than the one that was sent.
    let is_other_kind = |error: &ValidationError<'_>| matches!(error.kind(), Kind::Constant { .. } | Kind::Enum { .. });
    let meant = right_type.iter().filter(|branch| !branch.iter().any(is_other_kind));
    let told = meant.map(|branch| branch.iter().fold(Vec::new(), |told, error| tell_also(shape, error, told)));
    if let Some(told) = told.reduce(common) {
        found.extend(told);
        return;
    }
    let kinds: Vec<_> = right_type.iter().filter_map(|branch| branch.iter().find(|error| is_other_kind(error))).collect();
    let values = kinds.iter().flat_map(|error| allowed(error.kind()));
    let place = kinds.first().map_or(at, |error| error.instance_path().as_str());
    found.push(FieldError::new(place, "unknown_value", format!("must be {}", listed(values))));
}

fn tell_also(shape: &Shape, error: &ValidationError<'_>, mut told: Vec<FieldError>) -> Vec<FieldError> {
    tell(shape, error, &mut told);
    told
}

/// What both forms of a value lack (the name of its kind, say), or else what is wrong with the form that it is nearer to.
fn common(one: Vec<FieldError>, other: Vec<FieldError>) -> Vec<FieldError> {
    let in_both: Vec<_> = one.iter().filter(|error| other.contains(error)).cloned().collect();
    if !in_both.is_empty() {
        return in_both;
    }
    if other.len() < one.len() { other } else { one }
}

/// One error of a single value: its code and how to mend it. Never tells what was sent: it may be a secret.
fn one(shape: &Shape, error: &ValidationError<'_>) -> (&'static str, String) {
    let plural = |count: &u64, one: &str, many: &str| format!("{count} {}", if *count == 1 { one } else { many });
    match error.kind() {
        Kind::Type { kind } => ("wrong_type", format!("must be {}", types(kind))),
        Kind::Enum { options } if options.as_array().is_some_and(|values| values.len() > MAX_LISTED) => {
            ("unknown_value", format!("must be one of the values in the schema{}", hint(shape, error)))
        }
        Kind::Constant { .. } | Kind::Enum { .. } => ("unknown_value", format!("must be {}", listed(allowed(error.kind())))),
        Kind::Minimum { limit } => ("out_of_range", format!("must be at least {limit}")),
        Kind::Maximum { limit } => ("out_of_range", format!("must be at most {limit}")),
        Kind::ExclusiveMinimum { limit } => ("out_of_range", format!("must be more than {limit}")),
        Kind::ExclusiveMaximum { limit } => ("out_of_range", format!("must be less than {limit}")),
        Kind::MultipleOf { .. } => ("out_of_range", "must be a multiple of the step in the schema".to_owned()),
        Kind::MinLength { limit } => ("length", format!("must have at least {}", plural(limit, "character", "characters"))),
        Kind::MaxLength { limit } => ("length", format!("must have at most {}", plural(limit, "character", "characters"))),
        Kind::MinItems { limit } => ("length", format!("must have at least {}", plural(limit, "item", "items"))),
        Kind::MaxItems { limit } => ("length", format!("must have at most {}", plural(limit, "item", "items"))),
        Kind::MinProperties { limit } => ("length", format!("must have at least {}", plural(limit, "field", "fields"))),
        Kind::MaxProperties { limit } => ("length", format!("must have at most {}", plural(limit, "field", "fields"))),
        Kind::UniqueItems => ("repeated", "must not name the same thing twice".to_owned()),
        Kind::Pattern { pattern } if pattern == ids::CODE_PATTERN => {
            ("malformed", "must be letters, digits, `.`, `_` and `-`, and not `.` or `..`".to_owned())
        }
        Kind::Pattern { pattern } => match text::requirement(pattern) {
            Some(requirement) => ("malformed", requirement.to_owned()),
            None => ("malformed", format!("must match {pattern}{}", hint(shape, error))),
        },
        Kind::Format { format } => ("malformed", form(format).to_owned()),
        Kind::FalseSchema => ("unknown_field", "is not known here; leave it out".to_owned()),
        Kind::OneOfMultipleValid { .. } => ("ambiguous", "must be only one of the forms in the schema".to_owned()),
        _ => ("malformed", error.masked().to_string()),
    }
}

fn form(format: &str) -> &'static str {
    match format {
        "iso-4217" => "must be the code of a currency of ISO 4217 that is in use, as in \"GBP\"",
        "date-time" => "must be a time as RFC 3339 writes it, as in \"2024-05-01T12:00:00Z\"",
        "date" => "must be a date, as in \"2024-05-01\"",
        "uuid" => "must be a UUID",
        "idn-email" => "must be an e-mail address that mail can be sent to, as in \"ann@shop.example\"",
        "uri" => "must be an absolute URI, as in \"https://shop.example/a.jpg\"",
        _ => "must have the format that the schema names",
    }
}

/// What the schema around a failed pattern says about it.
fn hint(shape: &Shape, error: &ValidationError<'_>) -> String {
    let around = error.schema_path().as_str().rsplit_once('/').and_then(|(around, _)| shape.schema.pointer(around));
    let text = around.and_then(|schema| schema.get("description")?.as_str()).map(|text| format!(": {text}")).unwrap_or_default();
    match around.and_then(|schema| schema.get("examples")?.get(0)) {
        Some(example) => format!("{text}, as in {example}"),
        None => text,
    }
}

fn allowed(kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Constant { expected_value } => vec![expected_value.to_string()],
        Kind::Enum { options } => options.as_array().into_iter().flatten().map(Value::to_string).collect(),
        _ => Vec::new(),
    }
}

fn types(kind: &TypeKind) -> String {
    let named = |name: String| match name.as_str() {
        "null" => name,
        "integer" | "array" | "object" => format!("an {name}"),
        _ => format!("a {name}"),
    };
    match kind {
        TypeKind::Single(one) => named(one.to_string()),
        TypeKind::Multiple(several) => listed(several.iter().map(|one| named(one.to_string()))),
    }
}

fn listed(names: impl IntoIterator<Item = String>) -> String {
    let mut seen = Vec::new();
    for name in names {
        if !seen.contains(&name) {
            seen.push(name);
        }
    }
    match seen.as_slice() {
        [] => "as the schema says".to_owned(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
