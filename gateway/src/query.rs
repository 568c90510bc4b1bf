//! Query strings, read as strictly as bodies.

use axum::{
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, map::Entry};

use crate::{
    FieldError, Problem, body, refusal,
    shape::{self, Reading},
};

/// A query string that is a `T`. Lists take repeats and commas; a property that is a map takes `name.key=value`,
/// each of them as often as its lists need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned + JsonSchema + 'static, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

/// Reads a query string as a `T`, or names every parameter that is wrong.
pub fn parse<T: DeserializeOwned + JsonSchema + 'static>(query: &str) -> Result<T, Problem> {
    let shape = shape::of::<T>()?;
    let mut object = Map::new();
    let mut errors = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        match (decoded(name), decoded(text)) {
            (Some(name), Some(text)) => {
                if let Err(error) = put(&mut object, shape, name, text) {
                    errors.push(error);
                }
            }
            _ => errors.push(FieldError::new(format!("?{name}"), "malformed", "must be percent-encoded UTF-8")),
        }
    }
    let object = Value::Object(object);
    if query.contains("%00") {
        let mut found = Vec::new();
        body::find_nul(&object, &mut String::new(), &mut found);
        errors.extend(found.into_iter().map(|error| named(shape, error)));
    }
    refusal::read(shape, object, errors).map_err(|errors| Problem::invalid(errors.into_iter().map(|error| named(shape, error)).collect()))
}

/// Middleware for routes that read no query: every parameter is unknown to them.
pub(crate) async fn refuse_any(request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    if query.is_empty() {
        return next.run(request).await;
    }
    let unknown = |pair: &str| {
        let name = pair.split_once('=').map_or(pair, |(name, _)| name);
        let name = decoded(name).unwrap_or_else(|| name.to_owned());
        FieldError::new(format!("?{name}"), "unknown_parameter", "is not known here; leave it out")
    };
    Problem::invalid(query.split('&').filter(|pair| !pair.is_empty()).map(unknown).collect()).into_response()
}

fn put(object: &mut Map<String, Value>, shape: &shape::Shape, name: String, text: String) -> Result<(), FieldError> {
    let map = name.split_once('.').and_then(|(map, key)| Some((map, key, shape.parameters.get(map)?)));
    if let Some((map, key, Reading::Map(item))) = map {
        let inner = object.entry(map).or_insert_with(|| Value::Object(Map::new()));
        let Value::Object(inner) = inner else { return Ok(()) };
        if let Reading::List(item) = &**item {
            let list = inner.entry(key).or_insert_with(|| Value::Array(Vec::new()));
            add_values(list, item, &text);
            return Ok(());
        }
        return once(inner, key.to_owned(), value(item, text)).map_err(|_| repeated(&name));
    }
    match shape.parameters.get(&name) {
        Some(Reading::List(item)) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            add_values(list, item, &text);
            Ok(())
        }
        Some(Reading::Map(_)) => Err(FieldError::new(format!("?{name}"), "malformed", format!("is sent as {name}.NAME=value"))),
        Some(reading) => once(object, name, value(reading, text)),
        None => {
            object.insert(name, Value::String(text)); // The validator tells that it is unknown.
            Ok(())
        }
    }
}

fn add_values(list: &mut Value, item: &Reading, text: &str) {
    if let Value::Array(list) = list {
        list.extend(text.split(',').filter(|part| !part.is_empty()).map(|part| value(item, part.to_owned())));
    }
}

fn once(object: &mut Map<String, Value>, name: String, value: Value) -> Result<(), FieldError> {
    match object.entry(name) {
        Entry::Vacant(place) => {
            place.insert(value);
            Ok(())
        }
        Entry::Occupied(taken) => Err(repeated(taken.key())),
    }
}

fn repeated(name: &str) -> FieldError {
    FieldError::new(format!("?{name}"), "repeated", "must be sent once")
}

/// The text as the schema wants it; as it is where it can't be that, for the validator to refuse.
fn value(reading: &Reading, text: String) -> Value {
    let parsed = match reading {
        Reading::Integer if is_integer(&text) => serde_json::from_str(&text).ok(),
        Reading::Number if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-')) => serde_json::from_str(&text).ok(),
        Reading::Boolean => text.parse().ok().map(Value::Bool),
        _ => None,
    };
    parsed.unwrap_or(Value::String(text))
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// An error at a JSON Pointer, told about the parameter: `/limit` is `?limit`, `/types/0` is `?types`, `/attributes/colour` is
/// `?attributes.colour`.
fn named(shape: &shape::Shape, mut error: FieldError) -> FieldError {
    let Some(path) = error.pointer.strip_prefix('/') else { return error };
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    let (name, below) = path.split_once('/').map_or((path, None), |(name, below)| (name, Some(below)));
    let name = unescape(name);
    let pointer = match (shape.parameters.get(&name), below) {
        (Some(Reading::Map(_)), Some(key)) => format!("?{name}.{}", unescape(key)),
        _ => format!("?{name}"),
    };
    error.pointer = pointer;
    if error.code == "unknown_field" {
        error.code = "unknown_parameter";
    }
    error
}

/// Undoes percent-encoding and `+` for a space; none where that leaves no UTF-8.
fn decoded(text: &str) -> Option<String> {
    if !text.bytes().any(|b| matches!(b, b'%' | b'+')) {
        return Some(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'+' => b' ',
            b'%' => {
                let (pair, after) = rest.split_at_checked(2)?;
                rest = after;
                hex(pair[0])? << 4 | hex(pair[1])?
            }
            plain => *plain,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
