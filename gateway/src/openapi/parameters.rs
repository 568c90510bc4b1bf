//! Parameters of operations: names in the path, queries, headers.

use http::Method;
use serde_json::{Value, json};

use super::{Route, schemas::Schemas, tidy};
use crate::{conditional::if_match_schema, idempotency::KEY_PATTERN, shape};

/// One of several texts that have commas between them.
const LISTED: &str = r"^[^,\u0000-\u001f\u007f-\u009f]+$";
/// Several of them, or one.
const LIST: &str = r"^[^\u0000-\u001f\u007f-\u009f]*[^,\u0000-\u001f\u007f-\u009f][^\u0000-\u001f\u007f-\u009f]*$";

pub(super) fn of<S>(path: &str, route: &Route<S>, schemas: &mut Schemas) -> Vec<Value> {
    let described = |(name, own_name): (&str, &str)| {
        let known = route.about.path_params.iter().find(|known| known.name == own_name);
        let description = known.map_or("", |known| known.description);
        let mut schema = known.map_or_else(|| json!({"type": "string"}), |known| schemas.request(known.schema));
        tidy::request(&mut schema);
        if schema["type"] == "string" {
            schema["minLength"] = 1.into();
        }
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": schema})
    };
    let mut parameters: Vec<_> = names(path).zip(names(route.path)).map(described).collect();
    if let Some(query) = route.about.query {
        let schema = schemas.request(query);
        queries(schema, &mut parameters);
    }
    if route.path.starts_with("/v1/") {
        parameters.extend(headers(route).map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    }
    parameters
}

/// The headers that mean something to a route: a condition only where there is a version.
fn headers<S>(route: &Route<S>) -> impl Iterator<Item = &'static str> {
    let is_read = route.method == Method::GET;
    let is_conditional = route.about.answers.iter().any(|answer| answer.status == 304);
    let has_version = !is_read && route.path.contains('{');
    let all = [("MinPosition", is_read), ("IfNoneMatch", is_conditional), ("IdempotencyKey", !is_read), ("IfMatch", has_version)];
    all.into_iter().filter(|(_, means_something)| *means_something).map(|(name, _)| name)
}

/// The names in braces.
pub(super) fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split(['{', '}']).skip(1).step_by(2)
}

fn queries(mut schema: Value, parameters: &mut Vec<Value>) {
    shape::close(&mut schema);
    tidy::request(&mut schema);
    let required: Vec<_> = schema["required"].as_array().cloned().unwrap_or_default();
    let Value::Object(properties) = schema["properties"].take() else { return };
    for (name, mut property) in properties {
        let description = property.as_object_mut().and_then(|members| members.remove("description")).unwrap_or_else(|| "".into());
        let mut parameter = json!({"name": name, "in": "query", "description": description, "required": required.contains(&json!(name))});
        sent(&mut parameter, &mut property);
        parameter["schema"] = property;
        parameters.push(parameter);
    }
}

/// Describes a parameter as queries have it instead of JSON: texts are not empty, there is no null, lists have commas, and maps are
/// sent entry by entry.
fn sent(parameter: &mut Value, property: &mut Value) {
    let Some(members) = property.as_object_mut() else { return };
    if let Some(Value::Array(types)) = members.get("type") {
        members["type"] = types.iter().find(|name| **name != "null").cloned().unwrap_or_else(|| "string".into());
    }
    if let Some(Value::Array(mut choices)) = members.remove("anyOf") {
        choices.retain(|choice| choice["type"] != "null");
        match <[Value; 1]>::try_from(choices) {
            Ok([only]) => only.as_object().into_iter().flatten().for_each(|(keyword, member)| {
                members.entry(keyword).or_insert_with(|| member.clone());
            }),
            Err(several) => {
                members.insert("anyOf".to_owned(), several.into());
            }
        }
    }
    members
        .remove("default")
        .filter(|default| *default != json!([]) && *default != json!({}) && *default != json!(""))
        .into_iter()
        .for_each(|default| {
            members.insert("default".to_owned(), default);
        });
    match members.get("type").and_then(Value::as_str) {
        Some("string") => {
            members.entry("minLength").or_insert_with(|| 1.into());
        }
        Some("array") => {
            parameter["style"] = "form".into();
            parameter["explode"] = false.into();
            members.entry("minItems").or_insert_with(|| 1.into());
            if members["items"]["type"] == "string" && ["enum", "pattern"].iter().all(|keyword| members["items"].get(keyword).is_none()) {
                members["items"]["minLength"] = 1.into();
                members["items"]["pattern"] = LISTED.into();
            }
        }
        Some("object") => {
            parameter["style"] = "deepObject".into();
            parameter["explode"] = true.into();
            if members["additionalProperties"]["type"] == "array" {
                members["additionalProperties"] = entry(members["additionalProperties"]["items"].take());
            }
        }
        _ => {}
    }
}

/// An entry of a map of lists: its values with commas between them, in one text.
fn entry(mut item: Value) -> Value {
    item["minLength"] = 1.into();
    item["description"] = "one value, or several with commas between them".into();
    let Some(members) = item.as_object_mut() else { return item };
    if let Some(most) = members.remove("maxLength").and_then(|most| most.as_u64()) {
        members.insert("not".to_owned(), json!({"pattern": format!("[^,]{{{}}}", most.saturating_add(1))}));
    }
    if members.get("pattern").is_some_and(|pattern| *pattern == LISTED) {
        members.insert("pattern".to_owned(), LIST.into());
    }
    item
}

/// The parameters that many operations have.
pub(super) fn shared() -> Value {
    let header =
        |name: &str, description: &str, schema: &Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    json!({
        "MinPosition": header("Merx-Min-Position", "answer at least as new as this position, waiting up to two seconds",
            &json!({"type": "integer", "minimum": 0, "maximum": i64::MAX})),
        "IfNoneMatch": header("If-None-Match", "answer 304 if the tag is still one of these", &json!({"type": "string", "examples": ["\"7\""]})),
        "IfMatch": header("If-Match", "write only if the resource in the path (at checkout the cart, at reviews the product) is still at the version of one of these tags",
            &if_match_schema()),
        "IdempotencyKey": header("Idempotency-Key", "the same request with the same key is done once and answered alike, for seven days; without a credential it has at least 32 characters, random ones",
            &json!({"type": "string", "pattern": KEY_PATTERN})),
    })
}
