//! Query strings, read as strictly as bodies: each parameter comes once, and with a value.

use std::collections::HashSet;

use axum::{
    extract::{FromRequestParts, Request},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::request::Parts;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    FieldError, Problem, body, refusal,
    shape::{self, Reading},
};

/// A query string that is a `T`. Lists take commas; a property that is a map takes `name.key=value`, or `name[key]=value`.
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
    let mut names = HashSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, text) = pair.split_once('=').unwrap_or((pair, ""));
        match (decoded(name), decoded(text)) {
            (Some(name), _) if names.contains(&name) => errors.push(FieldError::new(format!("?{name}"), "repeated", "must be sent once")),
            (Some(name), Some(text)) => {
                names.insert(name.clone());
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
        errors.extend(found);
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
    let refused = |code, detail: &str| Err(FieldError::new(format!("?{name}"), code, detail));
    let in_map = entry(&name).and_then(|(map, key)| Some((map, key, shape.parameters.get(map)?)));
    let reading = match in_map {
        Some((_, _, Reading::Map(item))) => Some(&**item),
        _ => shape.parameters.get(&name),
    };
    let value = match reading {
        Some(Reading::Map(_)) => return refused("malformed", &format!("is sent as {name}.NAME=value")),
        Some(Reading::Text) if text.is_empty() => return refused("empty", "must not be empty; leave it out"),
        Some(Reading::List(_)) if text.split(',').all(str::is_empty) => return refused("empty", "must not be empty; leave it out"),
        Some(reading) => value(reading, text),
        None => Value::String(text), // The validator tells that it is unknown.
    };
    match in_map {
        Some((map, key, Reading::Map(_))) => {
            if let Value::Object(inner) = object.entry(map).or_insert_with(|| Value::Object(Map::new()))
                && inner.insert(key.to_owned(), value).is_some()
            {
                return refused("repeated", "must be sent once");
            }
        }
        _ => {
            object.insert(name, value);
        }
    }
    Ok(())
}

/// The map and the key that a name stands for: `attributes.colour`, or `attributes[colour]`.
fn entry(name: &str) -> Option<(&str, &str)> {
    name.strip_suffix(']').and_then(|name| name.split_once('[')).or_else(|| name.split_once('.'))
}

/// The text as the schema wants it; as it is where it can't be that, for the validator to refuse.
fn value(reading: &Reading, text: String) -> Value {
    let parsed = match reading {
        Reading::List(item) => {
            let parts = text.split(',').filter(|part| !part.is_empty());
            Some(Value::Array(parts.map(|part| value(item, part.to_owned())).collect()))
        }
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
