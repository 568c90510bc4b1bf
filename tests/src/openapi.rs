//! The description of the API: it is an OpenAPI 3.1 document, and the server has all that it describes.

use std::collections::HashSet;

use serde_json::Value;

use crate::shop::{Shop, product};

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Every operation: its path, its method and its description.
pub fn operations(document: &Value) -> Vec<(&String, &String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    paths
        .iter()
        .flat_map(|(path, item)| item.as_object().expect("a path item").iter().map(move |(method, operation)| (path, method, operation)))
        .collect()
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|member| references(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_is_whole() {
    let Some(shop) = Shop::open().await else { return };
    let document = shop.get("/openapi.json").await.expect(200);
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = &document.body;
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1.")), "{}", document["openapi"]);
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string(), "{}", document["info"]);
    let mut found = Vec::new();
    references(document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let mut ids = HashSet::new();
    for (path, method, operation) in operations(document) {
        let told = format!("{method} {path}: {operation}");
        assert!(path.starts_with('/') && METHODS.contains(&method.as_str()), "{told}");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{told}");
        if let Some(id) = operation["operationId"].as_str() {
            assert!(ids.insert(id), "two operations are called {id}");
        }
        let responses = operation["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with('2')), "{told}");
        for (status, response) in responses {
            assert!(status == "default" || status.parse::<u16>().is_ok_and(|status| (200..600).contains(&status)), "{told}");
            assert!(response["description"].is_string() || response["$ref"].is_string(), "{status} of {told}");
        }
        let of_path: HashSet<&str> = path.split(['{', '}']).skip(1).step_by(2).collect();
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let resolved = parameters.iter().map(|parameter| match parameter["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).expect("a parameter"),
            None => parameter,
        });
        let resolved: Vec<&Value> = resolved.collect();
        for parameter in &resolved {
            assert!(parameter["name"].is_string() && parameter["schema"].is_object(), "{parameter} of {told}");
            assert!(["path", "query", "header"].contains(&parameter["in"].as_str().unwrap_or_default()), "{parameter} of {told}");
        }
        let named = resolved.iter().filter(|parameter| parameter["in"] == "path" && parameter["required"] == true);
        let named: HashSet<&str> = named.map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(named, of_path, "{told}");
        let wants_body = operation["requestBody"].is_object();
        assert!(!wants_body || operation["requestBody"]["content"].as_object().is_some_and(|content| !content.is_empty()), "{told}");
        assert!(!wants_body || method != "get", "{told}");
    }
}

#[tokio::test]
async fn every_path_of_the_contract_is_described_and_every_described_one_is_there() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let document = shop.get("/openapi.json").await.expect(200).body;
    let described: HashSet<String> = operations(&document).iter().map(|(path, method, _)| format!("{method} {}", unnamed(path))).collect();
    for line in CONTRACT {
        assert!(described.contains(*line), "{line} is not described");
    }
    for (path, method, _) in operations(&document) {
        let path = path.split('/').map(|part| part.strip_prefix('{').map_or(part, |name| value(name, &sku))).collect::<Vec<_>>().join("/");
        let answer = shop.request(method.to_uppercase().parse().unwrap(), &path).await;
        assert_ne!(answer.status, 405, "{answer}");
        assert!(answer.status < 500, "{answer}");
        let is_nothing = answer.status == 404 && answer["detail"].as_str().is_some_and(|detail| detail.contains("openapi.json"));
        assert!(!is_nothing, "{answer}");
    }
}

/// A path whose names are left out of its braces.
fn unnamed(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn value<'a>(name: &str, sku: &'a str) -> &'a str {
    match name.trim_end_matches('}') {
        "sku" => sku,
        "stream" => "order-x",
        _ => "00000000-0000-7000-8000-000000000000",
    }
}

/// Of `API.md`, what this milestone has.
const CONTRACT: &[&str] = &[
    "post /v1/categories",
    "get /v1/categories",
    "get /v1/categories/{}",
    "patch /v1/categories/{}",
    "post /v1/products",
    "get /v1/products",
    "get /v1/products/{}",
    "patch /v1/products/{}",
    "post /v1/stock/{}/receipts",
    "post /v1/stock/{}/adjustments",
    "get /v1/stock/{}",
    "post /v1/flash-sales",
    "get /v1/flash-sales/{}",
    "post /v1/flash-sales/{}/cancel",
    "post /v1/products/{}/reviews",
    "get /v1/products/{}/reviews",
    "post /v1/projections/{}/rebuild",
    "post /v1/projections/{}/retry",
    "post /v1/projections/{}/skip",
    "post /v1/carts",
    "get /v1/carts/{}",
    "put /v1/carts/{}/items/{}",
    "delete /v1/carts/{}/items/{}",
    "post /v1/carts/{}/checkout",
    "get /v1/orders",
    "get /v1/orders/{}",
    "post /v1/orders/{}/cancel",
    "post /v1/orders/{}/shipments",
    "post /v1/orders/{}/delivery",
    "post /v1/orders/{}/returns",
    "post /v1/orders/{}/refunds",
    "get /v1/streams/{}",
    "get /v1/streams/{}/state",
    "get /v1/events",
    "get /v1/sales",
    "get /v1/projections",
    "get /healthz",
    "get /readyz",
    "get /metrics",
];

#[tokio::test]
async fn the_page_of_problems_lists_what_the_server_refuses_for() {
    let Some(shop) = Shop::open().await else { return };
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/problems.md")).expect("docs/problems.md");
    let listed: Vec<&str> = page.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    let answer = shop.get("/problems").await.expect(200);
    let kinds = answer.body["items"].as_array().expect("items");
    let row = |kind: &Value| {
        let text = |name: &str| kind[name].as_str().unwrap_or_default().to_owned();
        format!("| {} | `{}` | {} |", kind["status"], text("code"), text("meaning"))
    };
    let told: Vec<String> = kinds.iter().map(row).collect();
    assert_eq!(listed, told, "docs/problems.md is not what GET /problems says");
    let one = shop.get("/problems/out_of_stock").await.expect(200);
    assert_eq!(one.body["status"], 409, "{}", one.body);
}
