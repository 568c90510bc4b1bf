//! Schemas of requests and answers, tidied: they say exactly what is read.

use std::sync::LazyLock;

use event_schemas::Currency;
use serde_json::{Map, Value, json};

/// NUL can be kept in no text.
const WITHOUT_NUL: &str = r"^[^\u0000]*$";

/// The codes of all currencies that are read.
static CURRENCIES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|a| letters().flat_map(move |b| letters().map(move |c| String::from_iter([a, b, c]))));
    codes.filter(|code| Currency::in_use(code).is_ok()).collect()
});

/// Tidies a schema of a request.
pub(super) fn request(schema: &mut Value) {
    each(schema, &|members| {
        plain(members);
        exact(members);
    });
}

/// Tidies a schema of an answer.
pub(super) fn answer(schema: &mut Value) {
    each(schema, &plain);
}

fn each(schema: &mut Value, tidy: &impl Fn(&mut Map<String, Value>)) {
    match schema {
        Value::Object(members) => {
            for (keyword, member) in members.iter_mut() {
                match keyword.as_str() {
                    // Names of properties, not keywords.
                    "properties" | "patternProperties" | "$defs" | "schemas" => {
                        member.as_object_mut().into_iter().flatten().for_each(|(_, schema)| each(schema, tidy));
                    }
                    "const" | "enum" | "examples" | "default" => {}
                    _ => each(member, tidy),
                }
            }
            tidy(members);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| each(item, tidy)),
        _ => {}
    }
}

/// A field that may be left out, but not be null, has no default to tell; a choice of one is no choice.
fn plain(members: &mut Map<String, Value>) {
    if members.get("default") == Some(&Value::Null) {
        members.remove("default");
    }
    if members.get("oneOf").and_then(Value::as_array).is_some_and(|choices| choices.len() == 1)
        && let Some(Value::Array(mut only)) = members.remove("oneOf")
        && let Some(Value::Object(only)) = only.pop()
    {
        only.into_iter().for_each(|(keyword, member)| {
            members.entry(keyword).or_insert(member);
        });
    }
}

fn exact(members: &mut Map<String, Value>) {
    if members.get("format") == Some(&json!("iso-4217")) {
        members.remove("format");
        members.remove("pattern");
        members.insert("enum".to_owned(), json!(*CURRENCIES));
    }
    let is_text = match members.get("type") {
        Some(Value::String(one)) => one == "string",
        Some(Value::Array(several)) => several.contains(&json!("string")),
        _ => false,
    };
    let is_bounded = ["pattern", "format", "enum", "const"].iter().any(|keyword| members.contains_key(*keyword));
    if is_text && !is_bounded {
        members.insert("pattern".to_owned(), json!(WITHOUT_NUL));
    }
}
