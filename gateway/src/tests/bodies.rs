use axum::{
    Router,
    body::Body,
    extract::Request,
    routing::{patch, post as on_post, put},
};
use event_schemas::{Money, Timestamp, ids::Sku};
use http::{Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{mistakes, post, send};
use crate::{Json, JsonBytes, body};

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProduct {
    sku: Sku,
    #[schemars(length(min = 1, max = 300))]
    title: String,
    price: Money,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Address {
    #[schemars(length(min = 1))]
    name: String,
    #[schemars(regex(pattern = "^[A-Z]{2}$"))]
    country: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, tag = "kind", rename_all = "snake_case")]
enum Way {
    Post { days: u32 },
    Courier { phone: String },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Speed {
    /// In a week.
    Slow,
    /// Tomorrow.
    Fast,
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Parcel {
    shipping_address: Option<Address>,
    #[schemars(range(min = 1, max = 1_000_000_000))]
    quantity: Option<u32>,
    count: Option<u64>,
    at: Option<Timestamp>,
    way: Option<Way>,
    speed: Option<Speed>,
    fragile: Option<bool>,
    #[schemars(length(max = 2))]
    tags: Vec<String>,
    notes: std::collections::BTreeMap<String, String>,
    #[serde(deserialize_with = "body::present", skip_serializing_if = "Option::is_none")]
    #[expect(clippy::option_option, reason = "absent, null or a value")]
    brand: Option<Option<String>>,
    #[schemars(with = "String")]
    title: Option<String>,
}

fn router() -> Router {
    Router::new()
        .route("/products", on_post(async |Json(product): Json<NewProduct>| Json(product)))
        .route("/parcels", on_post(async |Json(parcel): Json<Parcel>| Json(parcel)))
        .route("/raw", on_post(async |body: JsonBytes<Parcel>| body.bytes))
        .route("/patched", patch(async |Json(parcel): Json<Parcel>| Json(parcel)))
        .route("/put", put(async |Json(parcel): Json<Parcel>| Json(parcel)))
}

async fn mistakes_in(path: &str, body: &Value) -> Vec<String> {
    let (status, problem) = post(&router(), path, &body.to_string()).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(problem["code"], "invalid_request");
    mistakes(&problem)
}

async fn parcel(body: &str) -> (StatusCode, Value) {
    post(&router(), "/parcels", body).await
}

async fn status_of(method: Method, path: &str, media_type: Option<&str>, body: &'static str) -> StatusCode {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(media_type) = media_type {
        request = request.header("content-type", media_type);
    }
    send(&router(), request.body(Body::from(body)).unwrap()).await.status()
}

#[tokio::test]
async fn everything_wrong_with_a_body_is_named_at_once() {
    let body = json!({"sku": "bad sku!", "title": "", "price": {"amount": "-1", "currency": "GBPP"}, "colour": "red"});
    let expected = ["/colour unknown_field", "/price/amount malformed", "/price/currency malformed", "/sku malformed", "/title length"];
    assert_eq!(mistakes_in("/products", &body).await, expected);
}

#[tokio::test]
async fn a_good_body_is_read() {
    let body = r#"{"sku":"85123A","title":"A mug","price":{"amount":"2.550","currency":"GBP"}}"#;
    let (status, product) = post(&router(), "/products", body).await;
    assert_eq!((status.as_u16(), product.to_string().as_str()), (200, body));
}

#[tokio::test]
async fn missing_fields_are_named_and_an_empty_post_is_an_empty_object() {
    let expected = ["/price required", "/sku required", "/title required"];
    assert_eq!(mistakes_in("/products", &json!({})).await, expected);
    let (status, problem) = post(&router(), "/products", "").await;
    assert_eq!((status.as_u16(), mistakes(&problem)), (422, expected.map(str::to_owned).to_vec()));
    assert_eq!(status_of(Method::POST, "/parcels", None, "").await, 200);
    assert_eq!(status_of(Method::PUT, "/put", Some("application/json"), "").await, 400);
}

#[tokio::test]
async fn money_is_closed_though_its_type_is_lenient() {
    let body = json!({"sku": "A", "title": "A", "price": {"amount": "1", "currency": "ZZZ", "tax": 1}});
    assert_eq!(mistakes_in("/products", &body).await, ["/price/currency malformed", "/price/tax unknown_field"]);
}

#[tokio::test]
async fn mistakes_inside_nullable_things_are_named_at_their_own_place() {
    let body = json!({"shipping_address": {"name": "", "country": "gb", "planet": "Earth"}});
    let expected = ["/shipping_address/country malformed", "/shipping_address/name length", "/shipping_address/planet unknown_field"];
    assert_eq!(mistakes_in("/parcels", &body).await, expected);
    assert_eq!(mistakes_in("/parcels", &json!({"shipping_address": 7})).await, ["/shipping_address wrong_type"]);
    assert_eq!(
        mistakes_in("/parcels", &json!({"shipping_address": {}})).await,
        ["/shipping_address/country required", "/shipping_address/name required"]
    );
    assert_eq!(parcel(r#"{"shipping_address": null}"#).await.0, 200);
}

#[tokio::test]
async fn a_mistake_in_one_kind_of_thing_is_not_told_about_the_other_kinds() {
    assert_eq!(mistakes_in("/parcels", &json!({"way": {"kind": "courier", "phone": 7}})).await, ["/way/phone wrong_type"]);
    assert_eq!(mistakes_in("/parcels", &json!({"way": {"kind": "post"}})).await, ["/way/days required"]);
    assert_eq!(mistakes_in("/parcels", &json!({"way": {"kind": "post", "days": 1, "x": 1}})).await, ["/way/x unknown_field"]);
    assert_eq!(mistakes_in("/parcels", &json!({"way": {"kind": "pigeon"}})).await, ["/way/kind unknown_value"]);
    assert_eq!(mistakes_in("/parcels", &json!({"way": {}})).await, ["/way/kind required"]);
    assert_eq!(parcel(r#"{"way": {"kind": "post", "days": 3}}"#).await.1["way"], json!({"kind": "post", "days": 3}));
}

#[tokio::test]
async fn an_unknown_word_is_answered_with_the_known_ones() {
    let (_, problem) = parcel(r#"{"speed": "medium"}"#).await;
    assert_eq!(problem["detail"], r#"/speed: must be "slow" or "fast""#);
    assert_eq!(mistakes(&problem), ["/speed unknown_value"]);
}

#[tokio::test]
async fn numbers_out_of_range_or_of_another_type_are_refused() {
    for (body, code) in [
        (r#"{"quantity": 0}"#, "/quantity out_of_range"),
        (r#"{"quantity": 1000000001}"#, "/quantity out_of_range"),
        (r#"{"quantity": -1}"#, "/quantity out_of_range"),
        (r#"{"quantity": 1e300}"#, "/quantity out_of_range"),
        (r#"{"quantity": 1e999}"#, "/quantity out_of_range"),
        (r#"{"quantity": 1.5}"#, "/quantity wrong_type"),
        (r#"{"quantity": "1"}"#, "/quantity wrong_type"),
        (r#"{"quantity": true}"#, "/quantity wrong_type"),
        (r#"{"count": 18446744073709551616}"#, "/count out_of_range"),
        (r#"{"count": -1}"#, "/count out_of_range"),
        (r#"{"fragile": "true"}"#, "/fragile wrong_type"),
    ] {
        let (status, problem) = parcel(body).await;
        assert_eq!((status.as_u16(), mistakes(&problem)), (422, vec![code.to_owned()]), "{body}");
    }
}

#[tokio::test]
async fn an_integer_may_be_written_with_a_point_or_an_exponent() {
    for (written, read) in [("1.0", 1_u64), ("1e3", 1000), ("5E0", 5)] {
        let (status, parcel) = parcel(&format!(r#"{{"quantity": {written}}}"#)).await;
        assert_eq!((status.as_u16(), &parcel["quantity"]), (200, &json!(read)), "{written}");
    }
    assert_eq!(parcel(r#"{"count": 18446744073709551615}"#).await.1["count"], json!(u64::MAX));
}

#[tokio::test]
async fn times_and_lists_are_checked() {
    for at in ["yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", ""] {
        assert_eq!(mistakes_in("/parcels", &json!({"at": at})).await, ["/at malformed"], "{at}");
    }
    assert_eq!(parcel(r#"{"at": "2024-01-01T02:00:00+02:00"}"#).await.1["at"], "2024-01-01T00:00:00.000000Z");
    assert_eq!(mistakes_in("/parcels", &json!({"tags": ["a", "b", "c"]})).await, ["/tags length"]);
    assert_eq!(
        mistakes_in("/parcels", &json!({"tags": [1, "b"], "notes": {"a/b": 1}})).await,
        ["/notes/a~1b wrong_type", "/tags/0 wrong_type"]
    );
}

#[tokio::test]
async fn a_merge_patch_tells_null_from_absent() {
    let patched = async |body: &'static str| {
        let request = Request::patch("/patched").header("content-type", "application/merge-patch+json").body(Body::from(body)).unwrap();
        super::json(send(&router(), request).await).await.1
    };
    assert_eq!(patched(r#"{"brand": null}"#).await.get("brand"), Some(&Value::Null));
    assert_eq!(patched(r#"{"brand": "Acme"}"#).await["brand"], "Acme");
    assert_eq!(patched("{}").await.get("brand"), None);
    assert_eq!(mistakes(&patched(r#"{"brand": 7}"#).await), ["/brand wrong_type"]);
    assert_eq!(mistakes(&patched(r#"{"title": null}"#).await), ["/title wrong_type"]);
}

#[tokio::test]
async fn a_nul_in_any_string_is_refused_and_an_escaped_backslash_is_not() {
    let (status, problem) = parcel(r#"{"tags": ["a\u0000b"], "notes": {"\u0000": "x"}, "brand": "\u0000"}"#).await;
    assert_eq!(status, 422);
    assert_eq!(mistakes(&problem), ["/brand malformed", "/notes/\0 malformed", "/tags/0 malformed"]);
    assert_eq!(parcel(r#"{"brand": "\\u0000"}"#).await.0, 200);
}

#[tokio::test]
async fn names_that_occur_twice_are_all_told() {
    let body = r#"{"brand": "a", "brand": "b", "way": {"kind": "post", "days": 1, "days": 2}, "notes": {"x": "1", "x": "1"}, "colour": 1, "colour": 1}"#;
    let (status, problem) = parcel(body).await;
    assert_eq!(
        (status.as_u16(), mistakes(&problem)),
        (422, ["/brand repeated", "/colour repeated", "/notes/x repeated", "/way/days repeated"].map(str::to_owned).to_vec())
    );
    assert_eq!(parcel(r#"{"brand": "a", "notes": {"brand": "a"}}"#).await.0, 200);
}

#[tokio::test]
async fn a_post_may_come_without_a_body_whatever_it_says_of_it() {
    let none = || Body::from_stream(futures::stream::empty::<Result<Vec<u8>, std::io::Error>>());
    for media_type in [None, Some("application/json"), Some("application/x-www-form-urlencoded")] {
        for body in [Body::empty(), none()] {
            let request = Request::post("/parcels");
            let request = media_type.into_iter().fold(request, |request, media_type| request.header("content-type", media_type));
            assert_eq!(send(&router(), request.body(body).unwrap()).await.status(), 200, "{media_type:?}");
        }
    }
    let request = Request::post("/products").body(Body::empty()).unwrap();
    assert_eq!(mistakes(&super::json(send(&router(), request).await).await.1), ["/price required", "/sku required", "/title required"]);
    assert_eq!(status_of(Method::PUT, "/put", None, "").await, 400);
}

#[tokio::test]
async fn what_is_not_json_is_400_and_says_where() {
    for body in ["{", "nonsense", r#"{"a": }"#, "{} {}", "\u{feff}{}", "{'a': 1}", r#"{"brand": "\ud800"}"#, " "] {
        let (status, problem) = parcel(body).await;
        assert_eq!((status.as_u16(), &problem["code"]), (400, &json!("malformed_json")), "{body}");
    }
    let (_, problem) = parcel("{\n  \"a\": ?}").await;
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(8)));
    let request =
        Request::post("/parcels").header("content-type", "application/json").body(Body::from(&b"{\"brand\": \"\xff\"}"[..])).unwrap();
    assert_eq!(send(&router(), request).await.status(), 400);
}

#[tokio::test]
async fn json_of_another_shape_is_422() {
    for body in ["[]", "null", "7", "\"text\""] {
        let (status, problem) = parcel(body).await;
        assert_eq!((status.as_u16(), mistakes(&problem)), (422, vec![" wrong_type".to_owned()]), "{body}");
    }
}

#[tokio::test]
async fn a_body_nested_too_deeply_is_refused() {
    for bomb in [format!("{}1", "[".repeat(100_000)), format!("{}1{}", r#"{"a":"#.repeat(100_000), "}".repeat(100_000))] {
        let (status, problem) = parcel(&bomb).await;
        assert_eq!((status.as_u16(), mistakes(&problem)), (422, vec![" too_deep".to_owned()]));
    }
}

#[tokio::test]
async fn very_many_mistakes_are_answered_in_bounds() {
    let tags = vec![0; 300_000];
    let (status, problem) = parcel(&json!({ "tags": tags }).to_string()).await;
    assert_eq!(status, 422);
    assert!(problem["errors"].as_array().unwrap().len() <= 1001);
}

#[tokio::test]
async fn only_json_media_types_are_read() {
    let json = "application/json";
    for (method, path, media_type, status) in [
        (Method::POST, "/parcels", Some(json), 200),
        (Method::POST, "/parcels", Some("Application/JSON; charset=UTF-8"), 200),
        (Method::POST, "/parcels", Some("application/vnd.shop+json"), 200),
        (Method::POST, "/parcels", Some("application/json; charset=latin1"), 415),
        (Method::POST, "/parcels", Some("text/plain"), 415),
        (Method::POST, "/parcels", Some("application/x-www-form-urlencoded"), 415),
        (Method::POST, "/parcels", Some("application/merge-patch+json"), 415),
        (Method::POST, "/parcels", None, 415),
        (Method::PATCH, "/patched", Some(json), 200),
        (Method::PATCH, "/patched", Some("application/merge-patch+json"), 200),
        (Method::PATCH, "/patched", Some("application/json-patch+json"), 415),
    ] {
        assert_eq!(status_of(method.clone(), path, media_type, "{}").await, status, "{method} {media_type:?}");
    }
    let request = Request::post("/parcels").header("content-type", json).header("content-encoding", "gzip").body(Body::from("{}")).unwrap();
    assert_eq!(send(&router(), request).await.status(), 415);
}

#[tokio::test]
async fn a_body_of_one_mebibyte_is_read_and_a_longer_one_is_not() {
    let body = |bytes: usize| format!(r#"{{"brand": "{}"}}"#, "x".repeat(bytes - 13));
    assert_eq!(parcel(&body(body::LIMIT_BYTES)).await.0, 200);
    let (status, problem) = parcel(&body(body::LIMIT_BYTES + 1)).await;
    assert_eq!((status.as_u16(), &problem["code"]), (413, &json!("body_too_large")));
    let endless = Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 4096])));
    let request = Request::post("/parcels").header("content-type", "application/json").body(endless).unwrap();
    assert_eq!(send(&router(), request).await.status(), 413);
}

#[tokio::test]
async fn the_bytes_sent_are_there_for_whoever_compares_requests() {
    let request = Request::post("/raw").header("content-type", "application/json").body(Body::from(r#"{ "brand":null }"#)).unwrap();
    let bytes = axum::body::to_bytes(send(&router(), request).await.into_body(), 100).await.unwrap();
    assert_eq!(bytes, r#"{ "brand":null }"#);
}
