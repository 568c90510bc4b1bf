//! JSON as it was sent. Of a name that stands twice in one object parsers keep one value and say nothing; here it is a mistake.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::{
    FieldError,
    refusal::{MAX_ERRORS, push},
};

/// Reads `bytes` as one JSON value, and tells the names that occur more than once in an object, at any depth: at most
/// `MAX_ERRORS` of them.
pub(crate) fn parse(bytes: &[u8]) -> serde_json::Result<(Value, Vec<FieldError>)> {
    let mut repeated = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node { place: Place::Root, repeated: &mut repeated }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, repeated))
}

/// Place of a value in the body.
#[derive(Clone, Copy)]
enum Place<'p> {
    Root,
    Item(&'p Place<'p>, usize),
    Member(&'p Place<'p>, &'p str),
}

impl Place<'_> {
    fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Item(parent, index) => parent.then(&index.to_string()),
            Self::Member(parent, name) => parent.then(name),
        }
    }

    fn then(&self, name: &str) -> String {
        let mut pointer = self.pointer();
        push(&mut pointer, name);
        pointer
    }
}

struct Node<'p, 'r> {
    place: Place<'p>,
    repeated: &'r mut Vec<FieldError>,
}

impl<'de> DeserializeSeed<'de> for Node<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_, '_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let Self { place, repeated } = self;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Node { place: Place::Item(&place, list.len()), repeated: &mut *repeated })? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let Self { place, repeated } = self;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(Node { place: Place::Member(&place, &name), repeated: &mut *repeated })?;
            if object.contains_key(&name) && repeated.len() < MAX_ERRORS {
                repeated.push(FieldError::new(place.then(&name), "repeated", "stands more than once in its object; send it once"));
            }
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn repeated(text: &str) -> Vec<String> {
        parse(text.as_bytes()).unwrap().1.into_iter().map(|error| error.pointer).collect()
    }

    #[test]
    fn what_is_sent_is_what_is_read() {
        let text = r#"{"a": [1, -2, 2.5, 1e3, 18446744073709551615, "x\u00e9", true, null, {}], "b": {"c": "d"}}"#;
        let (value, repeated) = parse(text.as_bytes()).unwrap();
        assert_eq!((value, repeated), (serde_json::from_str(text).unwrap(), Vec::new()));
        assert!(parse(b"{} {}").is_err() && parse(b"[1,]").is_err() && parse(b"").is_err());
    }

    #[test]
    fn every_name_that_occurs_twice_is_told_with_its_place() {
        assert_eq!(repeated(r#"{"a": 1, "a": 1, "b": {"a": 1}}"#), ["/a"]);
        assert_eq!(repeated(r#"{"a": {"b": 1, "b": 2}, "a": 3}"#), ["/a/b", "/a"]);
        assert_eq!(repeated(r#"[{"x": [{"y": 1, "\u0079": 2}]}, {"a/b~": 0, "a/b~": 0}]"#), ["/0/x/0/y", "/1/a~1b~0"]);
        assert_eq!(parse(br#"{"a": 1, "a": 2}"#).unwrap().0, json!({"a": 2}));
    }

    #[test]
    fn very_many_are_told_in_bounds() {
        let many = r#""a": 1,"#.repeat(5_000);
        assert_eq!(repeated(&format!("{{{many} \"b\": 1}}")).len(), MAX_ERRORS);
    }
}
