use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::map_response,
    response::Response,
};
use event_schemas::{Money, ids::Sku};
use http::{HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{get, json as read, send};
use crate::{Json, Limit, Page, Path, Query, Route, Routes, openapi::Information};

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
    #[serde(default)]
    colours: std::collections::BTreeMap<String, Vec<String>>,
    #[serde(default)]
    #[schemars(schema_with = "sizes")]
    sizes: std::collections::BTreeMap<String, Vec<String>>,
}

fn sizes(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let item = json!({"type": "string", "maxLength": 30, "pattern": r"^[^,\u0000-\u001f\u007f-\u009f]+$"});
    schemars::json_schema!({"type": "object", "additionalProperties": {"type": "array", "items": item}})
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only described")]
struct Wish {
    #[serde(default)]
    #[schemars(with = "String")]
    note: Option<String>,
    #[serde(default)]
    kind: Option<Kind>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// There is no other.
    Only,
}

async fn create(State(_): State<u8>, Json(thing): Json<NewThing>) -> Json<Thing> {
    Json(Thing { sku: thing.sku, price: Some(thing.price), quantity: 1 })
}

fn writes() -> Routes {
    Routes::new()
        .add(
            Route::post("/v1/things", create)
                .summary("Add a thing")
                .tag("things")
                .body::<NewThing>()
                .example(json!({"sku": "A", "price": {"amount": "1", "currency": "GBP"}}))
                .answers::<Thing>(201)
                .leads_to("/v1/things/{id}", "$response.body#/id")
                .problem(409, "sku_taken", "There is one with this SKU."),
        )
        .add(Route::post("/v1/things/{id}/b", async || "").body::<Wish>())
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
                .path_param::<Sku>("sku", "the thing's code")
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
    writes().merge(reads()).openapi(&Information {
        title: "Merx",
        version: "0.1.0",
        description: "Things.",
        license: "MIT",
        tags: &[("things", "All things.")],
    })
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
        (Method::TRACE, "/metrics", "GET, HEAD"),
        (Method::from_bytes(b"BREW").unwrap(), "/v1/things?x=%ff&limit", "GET, HEAD, POST"),
        (Method::DELETE, "/v1/things/A/b", "POST"),
    ] {
        let response = send(&router(), Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers()["allow"], allow, "{path}");
        let (status, problem) = read(response).await;
        assert_eq!((status.as_u16(), &problem["code"]), (405, &json!("method_not_allowed")));
    }
    assert_eq!(send(&router(), Request::head("/v1/things/A/b").body(Body::empty()).unwrap()).await.status(), 405);
}

#[tokio::test]
async fn options_tell_the_methods() {
    for (path, allow) in [("/v1/things", "GET, HEAD, POST"), ("/v1/things/A", "GET, HEAD, PATCH"), ("/v1/things?x=1", "GET, HEAD, POST")] {
        let response = send(&router(), Request::options(path).body(Body::empty()).unwrap()).await;
        assert_eq!((response.status().as_u16(), &response.headers()["allow"]), (204, &allow.parse().unwrap()), "{path}");
        assert!(axum::body::to_bytes(response.into_body(), 1).await.unwrap().is_empty());
    }
    assert_eq!(send(&router(), Request::options("/v2").body(Body::empty()).unwrap()).await.status(), 404);
}

#[tokio::test]
async fn what_is_put_around_writes_is_around_nothing_else() {
    let marked = |mut response: Response| async {
        response.headers_mut().insert("x-write", HeaderValue::from_static("yes"));
        response
    };
    let router = writes().merge(reads()).around_writes(|route| route.layer(map_response(marked))).into_router();
    for (method, path, is_write) in [
        (Method::POST, "/v1/things", true),
        (Method::PATCH, "/v1/things/A", true),
        (Method::GET, "/v1/things", false),
        (Method::HEAD, "/v1/things", false),
        (Method::OPTIONS, "/v1/things", false),
        (Method::TRACE, "/v1/things", false),
        (Method::DELETE, "/v1/things/A", false),
        (Method::POST, "/v2", false),
    ] {
        let response = send(&router, Request::builder().method(&method).uri(path).body(Body::empty()).unwrap()).await;
        assert_eq!(response.headers().contains_key("x-write"), is_write, "{method} {path}");
    }
}

#[tokio::test]
async fn what_is_read_may_be_kept_but_is_asked_for_again() {
    let cached = async |method: Method, path: &str| {
        let response = send(&router(), Request::builder().method(method).uri(path).body(Body::empty()).unwrap()).await;
        response.headers().get("cache-control").map(|value| value.to_str().unwrap().to_owned())
    };
    for path in ["/v1/things", "/v1/things/A", "/v1/things?x=1", "/metrics"] {
        assert_eq!(cached(Method::GET, path).await.as_deref(), Some("no-cache"), "{path}");
    }
    assert_eq!(cached(Method::POST, "/v1/things").await, None);
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
    assert_eq!(post["requestBody"]["content"]["application/json"]["example"]["sku"], "A");
    assert_eq!(
        post["responses"].as_object().unwrap().keys().collect::<Vec<_>>(),
        ["201", "400", "408", "409", "413", "415", "422", "500", "503"]
    );
    let patch = &document["paths"]["/v1/things/{id}"]["patch"];
    assert!(patch["requestBody"]["content"]["application/merge-patch+json"].is_object());
    let id = &document["paths"]["/v1/things/{id}"]["get"]["parameters"][0];
    assert_eq!((&id["name"], &id["schema"]["$ref"]), (&json!("id"), &json!("#/components/schemas/Sku")));
}

/// The parameters of an operation, by their names.
fn parameters(document: &Value, path: &str, method: &str) -> std::collections::BTreeMap<String, Value> {
    let listed = document["paths"][path][method]["parameters"].as_array().unwrap();
    let resolved = listed.iter().map(|parameter| match parameter["$ref"].as_str() {
        Some(target) => document.pointer(&target[1..]).unwrap().clone(),
        None => parameter.clone(),
    });
    resolved.map(|parameter| (parameter["name"].as_str().unwrap().to_owned(), parameter)).collect()
}

#[test]
fn headers_are_told_where_they_mean_something() {
    let document = document();
    let names = |path: &str, method: &str| parameters(&document, path, method).into_keys().collect::<Vec<_>>();
    assert_eq!(names("/v1/things", "post"), ["Idempotency-Key"]);
    assert_eq!(names("/v1/things/{id}", "patch"), ["Idempotency-Key", "If-Match", "id"]);
    assert_eq!(names("/v1/things/{id}", "get"), ["If-None-Match", "Merx-Min-Position", "id"]);
    assert_eq!(names("/metrics", "get"), [""; 0]);
}

#[test]
fn queries_are_told_as_they_are_read() {
    let document = document();
    let of = parameters(&document, "/v1/things", "get");
    assert_eq!((&of["types"]["explode"], &of["types"]["schema"]["minItems"]), (&json!(false), &json!(1)));
    assert_eq!((&of["colours"]["style"], &of["colours"]["explode"]), (&json!("deepObject"), &json!(true)));
    assert_eq!(of["colours"]["schema"]["additionalProperties"]["type"], "string");
    let sizes = &of["sizes"]["schema"]["additionalProperties"];
    let is_allowed = |text: &str| jsonschema::draft202012::is_valid(sizes, &json!(text));
    let long = "x".repeat(30);
    assert!(["S", "S,M", ",S", long.as_str(), format!("{long},{long}").as_str()].into_iter().all(is_allowed), "{sizes}");
    assert!(["", ",", "S\n", "xS,\u{7}", format!("{long}x").as_str()].into_iter().all(|text| !is_allowed(text)), "{sizes}");
    assert_eq!((&of["cursor"]["schema"]["type"], &of["cursor"]["schema"]["minLength"]), (&json!("string"), &json!(1)));
}

#[test]
fn bodies_are_told_as_they_are_read() {
    let document = document();
    let body = |path: &str, method: &str| document["paths"][path][method]["requestBody"]["required"].clone();
    assert_eq!((body("/v1/things", "post"), body("/v1/things/{id}", "patch")), (json!(true), json!(true)));
    assert_eq!(body("/v1/things/{id}/b", "post"), json!(false));
    let schemas = &document["components"]["schemas"];
    let currencies = schemas["CurrencyInput"]["enum"].as_array().unwrap();
    assert!(currencies.contains(&json!("GBP")) && !currencies.contains(&json!("AAA")));
    assert_eq!(schemas["Wish"]["properties"]["note"], json!({"type": "string", "pattern": r"^[^\u0000]*$"}));
    assert_eq!(schemas["Kind"]["const"], "only");
}

#[test]
fn an_answer_links_to_what_may_be_asked_of_it() {
    let links = &document()["paths"]["/v1/things"]["post"]["responses"]["201"]["links"];
    assert_eq!(links["get_things_sku"], json!({"operationId": "get_things_sku", "parameters": {"id": "$response.body#/id"}}));
    assert!(links["post_things_id_b"].is_object() && links["get_things"].is_null(), "{links}");
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
