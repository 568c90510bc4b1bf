use axum::{Router, body::Body, extract::Request, extract::State};
use event_schemas::{Money, ids::Sku};
use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{get, json as read, send};
use crate::{Json, Limit, Page, Path, Query, Route, Routes};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewThing {
    sku: Sku,
    price: Money,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Thing {
    sku: Sku,
    price: Option<Money>,
    quantity: u32,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described")]
struct List {
    #[serde(default)]
    limit: Limit,
    /// Which to start from.
    cursor: Option<String>,
    #[serde(default)]
    types: Vec<String>,
}

async fn create(State(_): State<u8>, Json(thing): Json<NewThing>) -> Json<Thing> {
    Json(Thing { sku: thing.sku, price: Some(thing.price), quantity: 1 })
}

fn writes() -> Routes {
    Routes::new()
        .add(Route::post("/v1/things", create).summary("Add a thing").tag("things").body::<NewThing>().answers::<Thing>(201).problem(
            409,
            "sku_taken",
            "There is one with this SKU.",
        ))
        .add(Route::patch("/v1/things/{id}", async |Path(sku): Path<Sku>| sku.to_string()).body::<NewThing>().answers::<Thing>(200))
        .with_state(1_u8)
}

fn reads() -> Routes {
    Routes::new()
        .add(
            Route::get("/v1/things", async |_: Query<List>, State(state): State<String>| state)
                .tag("things")
                .query::<List>()
                .answers::<Page<Thing>>(200),
        )
        .add(
            Route::get("/v1/things/{sku}", async |Path(sku): Path<Sku>| sku.to_string())
                .path_param("sku", "the thing's code")
                .answers::<Thing>(200)
                .answers_with(304, ""),
        )
        .add(Route::get("/metrics", async || "").answers_with(200, "text/plain"))
        .with_state("state".to_owned())
}

fn router() -> Router {
    writes().merge(reads()).into_router()
}

fn document() -> Value {
    writes().merge(reads()).openapi("Merx", "0.1.0")
}

#[tokio::test]
async fn tables_of_different_states_become_one_router() {
    assert_eq!(get(&router(), "/v1/things").await.0, 200);
    let body = json!({"sku": "A", "price": {"amount": "1", "currency": "GBP"}}).to_string();
    assert_eq!(super::post(&router(), "/v1/things", &body).await.0, 200);
    assert_eq!(get(&router(), "/v1/things/A").await.0, 200);
}

#[tokio::test]
async fn another_method_is_answered_with_those_of_all_tables() {
    for (method, path, allow) in [
        (Method::DELETE, "/v1/things", "GET, HEAD, POST"),
        (Method::POST, "/v1/things/A", "GET, HEAD, PATCH"),
        (Method::OPTIONS, "/metrics", "GET, HEAD"),
    ] {
        let response = send(&router(), Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["allow"], allow, "{path}");
        let (status, problem) = read(response).await;
        assert_eq!((status.as_u16(), &problem["code"]), (405, &json!("method_not_allowed")));
    }
}

#[tokio::test]
async fn an_unknown_path_is_a_problem_too() {
    let (status, problem) = get(&router(), "/v2/things").await;
    assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")));
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn check(root: &Value, value: &Value) {
        match value {
            Value::Object(members) => {
                if let Some(target) = members.get("$ref") {
                    let pointer = target.as_str().unwrap().strip_prefix('#').unwrap();
                    assert!(root.pointer(pointer).is_some(), "{target}");
                }
                members.values().for_each(|member| check(root, member));
            }
            Value::Array(items) => items.iter().for_each(|item| check(root, item)),
            _ => {}
        }
    }
    let document = document();
    check(&document, &document);
}

#[test]
fn the_document_says_what_the_routes_do() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let post = &document["paths"]["/v1/things"]["post"];
    assert_eq!(post["operationId"], "post_things");
    assert_eq!(post["requestBody"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/NewThing");
    assert_eq!(post["responses"]["201"]["content"]["application/json"]["schema"]["$ref"], "#/components/schemas/Thing");
    assert!(post["responses"]["409"]["description"].as_str().unwrap().contains("sku_taken"));
    assert!(post["responses"]["201"]["headers"]["Location"].is_object());
    let get = &document["paths"]["/v1/things"]["get"]["parameters"];
    assert_eq!(
        (&get[0]["name"], &get[0]["schema"]["maximum"], &get[1]["description"]),
        (&json!("limit"), &json!(200), &json!("Which to start from."))
    );
    let patch = &document["paths"]["/v1/things/{id}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object());
    assert_eq!(document["paths"]["/v1/things/{id}"]["get"]["parameters"][0]["name"], "id");
}

#[test]
fn requests_are_closed_and_answers_are_open() {
    let schemas = &document()["components"]["schemas"];
    assert_eq!(schemas["MoneyInput"]["additionalProperties"], false);
    assert_eq!(schemas["Money"].get("additionalProperties"), None);
    assert_eq!(schemas["NewThing"]["properties"]["price"]["$ref"], "#/components/schemas/MoneyInput");
    assert!(schemas.get("Sku").is_some() && schemas.get("SkuInput").is_none());
}

#[test]
fn every_schema_of_the_document_is_a_schema() {
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        assert!(jsonschema::draft202012::meta::is_valid(schema), "{name}");
    }
}

#[test]
fn all_kinds_of_refusals_are_listed_once() {
    let kinds = writes().merge(reads()).problems();
    let codes: Vec<_> = kinds.iter().map(|kind| (kind.status, kind.code)).collect();
    assert!(codes.contains(&(409, "sku_taken")) && codes.contains(&(422, "invalid_request")));
    assert!(codes.is_sorted());
}
