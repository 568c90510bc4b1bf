//! Writes a route table as an OpenAPI 3.1 document.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Answer, Route, same_path,
    schemas::{Schemas, rename},
};
use crate::{
    problem::{Kind, MEDIA_TYPE, STANDARD},
    shape,
};

pub(super) fn of<S>(routes: &[Route<S>], title: &str, version: &str) -> Value {
    let mut schemas = Schemas::new();
    let operations: Vec<_> = routes
        .iter()
        .map(|route| {
            let path = template(routes, route);
            (path, operation(path, route, &mut schemas))
        })
        .collect();
    let (mut named, renamed) = schemas.finish();
    named.insert("Problem".to_owned(), problem_schema());
    let mut paths = Map::new();
    for (route, (path, mut described)) in routes.iter().zip(operations) {
        for part in ["requestBody", "parameters"] {
            described.get_mut(part).into_iter().for_each(|part| rename(part, &renamed));
        }
        paths.entry(path).or_insert_with(|| json!({}))[route.method.as_str().to_ascii_lowercase()] = described;
    }
    json!({
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "servers": [{"url": "/"}],
        "tags": tags(routes),
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": named,
            "headers": headers(),
            "parameters": header_parameters(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "an API key or an access token"}},
        },
    })
}

/// Routes of one path share the first one's names.
fn template<S>(routes: &[Route<S>], route: &Route<S>) -> &'static str {
    routes.iter().find(|other| same_path(other.path, route.path)).map_or(route.path, |first| first.path)
}

fn tags<S>(routes: &[Route<S>]) -> Vec<Value> {
    let mut names = Vec::new();
    for route in routes {
        if !route.about.tag.is_empty() && !names.contains(&route.about.tag) {
            names.push(route.about.tag);
        }
    }
    names.into_iter().map(|name| json!({"name": name})).collect()
}

fn operation<S>(path: &str, route: &Route<S>, schemas: &mut Schemas) -> Value {
    let about = &route.about;
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": about.summary,
        "parameters": parameters(path, route, schemas),
        "responses": responses(route, schemas),
    });
    if !about.description.is_empty() {
        operation["description"] = about.description.into();
    }
    if !about.tag.is_empty() {
        operation["tags"] = json!([about.tag]);
    }
    if let Some(body) = about.body {
        let schema = schemas.request(body);
        let content = if route.method == Method::PATCH {
            json!({"application/merge-patch+json": {"schema": schema}, "application/json": {"schema": schema}})
        } else {
            json!({"application/json": {"schema": schema}})
        };
        operation["requestBody"] = json!({"required": route.method != Method::POST, "content": content});
    }
    operation
}

/// `post /v1/stock/{sku}/receipts` is `post_stock_sku_receipts`.
fn operation_id<S>(route: &Route<S>) -> String {
    let words = route.path.split(['/', '{', '}', '.', '-']).filter(|word| !word.is_empty() && *word != "v1");
    words.fold(route.method.as_str().to_ascii_lowercase(), |id, word| id + "_" + word)
}

fn parameters<S>(path: &str, route: &Route<S>, schemas: &mut Schemas) -> Vec<Value> {
    let described = |(name, own_name): (&str, &str)| {
        let known = route.about.path_params.iter().find(|(known, _)| *known == own_name);
        let description = known.map_or("", |(_, description)| description);
        json!({"name": name, "in": "path", "required": true, "description": description, "schema": {"type": "string"}})
    };
    let mut parameters: Vec<_> = names(path).zip(names(route.path)).map(described).collect();
    if let Some(query) = route.about.query {
        let schema = schemas.request(query);
        query_parameters(schema, &mut parameters);
    }
    let is_read = route.method == Method::GET;
    let headers: &[_] = if is_read { &["MinPosition", "IfNoneMatch"] } else { &["IdempotencyKey", "IfMatch"] };
    let is_plain = is_read && !route.path.starts_with("/v1/");
    if !is_plain {
        parameters.extend(headers.iter().map(|name| json!({"$ref": format!("#/components/parameters/{name}")})));
    }
    parameters
}

/// The names in braces.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split(['{', '}']).skip(1).step_by(2)
}

fn query_parameters(mut schema: Value, parameters: &mut Vec<Value>) {
    shape::close(&mut schema);
    let required: Vec<_> = schema["required"].as_array().cloned().unwrap_or_default();
    let Value::Object(properties) = schema["properties"].take() else { return };
    for (name, mut property) in properties {
        let description = property.as_object_mut().and_then(|members| members.remove("description")).unwrap_or_else(|| "".into());
        let kind = property["type"].to_string();
        let mut parameter = json!({"name": name, "in": "query", "description": description, "required": required.contains(&json!(name))});
        if kind.contains("array") {
            parameter["style"] = "form".into();
            parameter["explode"] = false.into();
        } else if kind.contains("object") {
            parameter["description"] = format!("{} (sent as {name}.NAME=value)", description.as_str().unwrap_or_default()).trim().into();
            parameter["style"] = "form".into();
        }
        parameter["schema"] = property;
        parameters.push(parameter);
    }
}

fn responses<S>(route: &Route<S>, schemas: &mut Schemas) -> Value {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for answer in &route.about.answers {
        responses.insert(answer.status.to_string(), success(route, answer, schemas));
    }
    let mut kinds: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for kind in STANDARD.iter().filter(|kind| applies(route, kind)).chain(&route.about.problems) {
        kinds.entry(kind.status).or_default().push(kind);
    }
    for (status, kinds) in kinds {
        let lines: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}", kind.code, kind.meaning)).collect();
        responses.insert(status.to_string(), refusal(&lines.join("\n\n")));
    }
    responses.insert("default".to_owned(), refusal("Any other refusal."));
    json!(responses)
}

fn applies<S>(route: &Route<S>, kind: &Kind) -> bool {
    let about = &route.about;
    match kind.status {
        400 | 408 | 413 | 415 => about.body.is_some(),
        404 => route.path.contains('{'),
        405 => false,
        412 => route.method != Method::GET && route.path.contains('{'),
        422 => about.body.is_some() || about.query.is_some(),
        _ => true,
    }
}

fn refusal(description: &str) -> Value {
    let header = json!({"$ref": "#/components/headers/RequestId"});
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "headers": {"X-Request-Id": header}, "content": {MEDIA_TYPE: {"schema": schema}}})
}

fn success<S>(route: &Route<S>, answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut names = vec![("X-Request-Id", "RequestId")];
    if route.path.starts_with("/v1/") {
        names.push(("Merx-Position", "Position"));
        if route.path.contains('{') || route.method != Method::GET {
            names.push(("ETag", "ETag"));
        }
    }
    if answer.status == 201 {
        names.push(("Location", "Location"));
    }
    if route.method != Method::GET {
        names.push(("Idempotent-Replayed", "Replayed"));
    }
    let header = |(name, component): (&str, &str)| (name.to_owned(), json!({"$ref": format!("#/components/headers/{component}")}));
    let headers: Map<_, _> = names.into_iter().map(header).collect();
    let description = match answer.status {
        201 => "Created.",
        204 => "Done; there is nothing to show.",
        304 => "The client has this version already.",
        _ => "Done.",
    };
    let mut success = json!({"description": description, "headers": headers});
    match answer.schema {
        Some(schema) => success["content"] = json!({answer.media_type: {"schema": schemas.answer(schema)}}),
        None if !answer.media_type.is_empty() => success["content"] = json!({answer.media_type: {}}),
        None => {}
    }
    success
}

fn headers() -> Value {
    let header = |description: &str, schema: Value| json!({"description": description, "schema": schema});
    json!({
        "RequestId": header("the request's name, in the answer and in the log", json!({"type": "string"})),
        "Position": header("the position of the log that the answer was read at, or that the write came to", json!({"type": "integer", "minimum": 0})),
        "ETag": header("the resource's version, quoted", json!({"type": "string", "examples": ["\"7\""]})),
        "Location": header("the resource that now shows the write", json!({"type": "string", "format": "uri-reference"})),
        "Replayed": header("`true` where the answer was given before to the same key", json!({"type": "string", "const": "true"})),
    })
}

fn header_parameters() -> Value {
    let header =
        |name: &str, description: &str, schema: &Value| json!({"name": name, "in": "header", "description": description, "schema": schema});
    let tag = json!({"type": "string", "examples": ["\"7\""]});
    json!({
        "MinPosition": header("Merx-Min-Position", "answer at least as new as this position, waiting up to two seconds",
            &json!({"type": "integer", "minimum": 0})),
        "IfNoneMatch": header("If-None-Match", "answer 304 if the resource is still at this version", &tag),
        "IfMatch": header("If-Match", "write only if the resource in the path (at checkout the cart) is still at this version", &tag),
        "IdempotencyKey": header("Idempotency-Key", "the same request with the same key is done once and answered alike, for seven days",
            &json!({"type": "string", "minLength": 1, "maxLength": 255})),
    })
}

fn problem_schema() -> Value {
    json!({
        "type": "object",
        "description": "A refusal as RFC 9457 tells it. Some codes have members of their own besides.",
        "required": ["type", "title", "status", "detail", "code"],
        "properties": {
            "type": {"type": "string", "format": "uri-reference"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "detail": {"type": "string", "description": "what to do about it, for a person"},
            "code": {"type": "string", "description": "what went wrong, for a program"},
            "request_id": {"type": "string"},
            "errors": {"type": "array", "items": {
                "type": "object",
                "required": ["pointer", "code", "detail"],
                "properties": {
                    "pointer": {"type": "string", "description": "a JSON Pointer into the body, `?name` for the query, or a header's name"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            }},
        },
    })
}
