//! Writes a route table as an OpenAPI 3.1 document.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};

use super::{
    Answer, Information, Route, parameters, same_path,
    schemas::{Schemas, rename},
    tidy,
};
use crate::problem::{Kind, MEDIA_TYPE, STANDARD};

pub(super) fn of<S>(routes: &[Route<S>], information: &Information<'_>) -> Value {
    let mut schemas = Schemas::new();
    let operations: Vec<_> = routes
        .iter()
        .map(|route| {
            let path = template(routes, route);
            (path, operation(routes, path, route, &mut schemas))
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
        "info": {
            "title": information.title,
            "version": information.version,
            "description": information.description,
            "license": {"name": information.license, "identifier": information.license},
        },
        "servers": [{"url": "/"}],
        "tags": tags(routes, information),
        "security": [{}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": named,
            "headers": headers(),
            "parameters": parameters::shared(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "an API key or an access token"}},
        },
    })
}

/// Routes of one path share the first one's names.
fn template<S>(routes: &[Route<S>], route: &Route<S>) -> &'static str {
    routes.iter().find(|other| same_path(other.path, route.path)).map_or(route.path, |first| first.path)
}

fn tags<S>(routes: &[Route<S>], information: &Information<'_>) -> Vec<Value> {
    let mut names = Vec::new();
    for route in routes {
        if !route.about.tag.is_empty() && !names.contains(&route.about.tag) {
            names.push(route.about.tag);
        }
    }
    let described = |name: &str| information.tags.iter().find(|(known, _)| *known == name).map_or("", |(_, description)| description);
    names.into_iter().map(|name| json!({"name": name, "description": described(name)})).collect()
}

fn operation<S>(routes: &[Route<S>], path: &str, route: &Route<S>, schemas: &mut Schemas) -> Value {
    let about = &route.about;
    let mut operation = json!({
        "operationId": operation_id(route),
        "summary": about.summary,
        "parameters": parameters::of(path, route, schemas),
        "responses": responses(routes, route, schemas),
    });
    if !about.description.is_empty() {
        operation["description"] = about.description.into();
    }
    if !about.tag.is_empty() {
        operation["tags"] = json!([about.tag]);
    }
    if let Some(body) = about.body {
        let mut schema = schemas.request(body.schema);
        tidy::request(&mut schema);
        let mut media = json!({"schema": schema});
        if let Some(example) = &about.example {
            media["example"] = example.clone();
        }
        let content = if route.method == Method::PATCH {
            json!({"application/merge-patch+json": media, "application/json": media})
        } else {
            json!({"application/json": media})
        };
        operation["requestBody"] = json!({"required": body.is_required, "content": content});
    }
    operation
}

/// `post /v1/stock/{sku}/receipts` is `post_stock_sku_receipts`.
fn operation_id<S>(route: &Route<S>) -> String {
    let words = route.path.split(['/', '{', '}', '.', '-']).filter(|word| !word.is_empty() && *word != "v1");
    words.fold(route.method.as_str().to_ascii_lowercase(), |id, word| id + "_" + word)
}

fn responses<S>(routes: &[Route<S>], route: &Route<S>, schemas: &mut Schemas) -> Value {
    let mut responses: BTreeMap<String, Value> = BTreeMap::new();
    for answer in &route.about.answers {
        let mut success = success(route, answer, schemas);
        if answer.schema.is_some() && !route.about.links.is_empty() {
            success["links"] = links(routes, route);
        }
        responses.insert(answer.status.to_string(), success);
    }
    let mut kinds: BTreeMap<u16, Vec<&Kind>> = BTreeMap::new();
    for kind in STANDARD.iter().filter(|kind| applies(route, kind)).chain(&route.about.problems) {
        kinds.entry(kind.status).or_default().push(kind);
    }
    for (status, kinds) in kinds {
        let lines: Vec<_> = kinds.iter().map(|kind| format!("`{}`: {}", kind.code, kind.meaning)).collect();
        responses.insert(status.to_string(), refusal(&lines.join("\n\n")));
    }
    json!(responses)
}

fn applies<S>(route: &Route<S>, kind: &Kind) -> bool {
    let about = &route.about;
    match kind.status {
        400 | 415 => about.body.is_some(),
        // A body is taken in for the sake of an `Idempotency-Key`, too.
        408 | 413 => route.method != Method::GET,
        404 => route.path.contains('{'),
        405 => false,
        412 => route.method != Method::GET && route.path.contains('{'),
        _ => true,
    }
}

fn refusal(description: &str) -> Value {
    let header = json!({"$ref": "#/components/headers/RequestId"});
    let schema = json!({"$ref": "#/components/schemas/Problem"});
    json!({"description": description, "headers": {"X-Request-Id": header}, "content": {MEDIA_TYPE: {"schema": schema}}})
}

/// Returns true for a route that answers with one resource, which has a version.
fn about_one<S>(route: &Route<S>) -> bool {
    route.about.answers.iter().any(|answer| answer.status == 304)
}

/// Links to the operations that may be asked next of what an answer shows.
fn links<S>(routes: &[Route<S>], route: &Route<S>) -> Value {
    let mut links = Map::new();
    for (address, expression) in &route.about.links {
        for target in routes {
            let path = template(routes, target);
            let below = path.strip_prefix(address).filter(|below| below.is_empty() || below.starts_with('/'));
            let name = parameters::names(address).last();
            if let (Some(_), Some(name)) = (below, name) {
                let id = operation_id(target);
                links.insert(id.clone(), json!({"operationId": id, "parameters": {name: expression}}));
            }
        }
    }
    links.into()
}

fn success<S>(route: &Route<S>, answer: &Answer, schemas: &mut Schemas) -> Value {
    let mut names = vec![("X-Request-Id", "RequestId")];
    if route.path.starts_with("/v1/") {
        names.push(("Merx-Position", "Position"));
        if route.method != Method::GET || about_one(route) {
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
        Some(schema) => {
            let schema = Some(schemas.answer(schema)).filter(Value::is_object).unwrap_or_else(|| json!({}));
            success["content"] = json!({answer.media_type: {"schema": schema}});
        }
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
        "ETag": header("the resource's version, quoted; where the body shows more than the resource's own stream, with a digest of the body",
            json!({"type": "string", "pattern": r#"^"[0-9]+(\.[A-Za-z0-9_-]{16})?"$"#, "examples": ["\"7\""]})),
        "Location": header("the resource that now shows the write", json!({"type": "string", "format": "uri-reference"})),
        "Replayed": header("`true` where the answer was given before to the same key", json!({"type": "string", "const": "true"})),
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
