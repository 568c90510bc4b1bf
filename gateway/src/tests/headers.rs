use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request},
    response::{IntoResponse, Response},
    routing::get as on_get,
};
use event_schemas::ids::{OrderId, Sku};
use http::StatusCode;
use serde_json::{Value, json};

use super::{get, json as read, mistakes, send};
use crate::{
    Credential, ETag, IdempotencyKey, IfMatch, IfNoneMatch, MinPosition, Path, Path2, Position, Problem, conditional::if_match_schema,
    idempotency,
};

const CURRENT: i64 = 7;

async fn reading(seen: IfNoneMatch) -> Response {
    tagged(&seen, ETag::of(CURRENT))
}

async fn reading_composed(seen: IfNoneMatch) -> Response {
    tagged(&seen, ETag::of_body(CURRENT, b"{}"))
}

fn tagged(seen: &IfNoneMatch, tag: ETag) -> Response {
    let status = if seen.has(&tag) { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    (status, Position(9), tag, ()).into_response()
}

fn router() -> Router {
    Router::new()
        .route("/write", on_get(async |condition: IfMatch| condition.check(CURRENT)))
        .route("/add", on_get(async |condition: IfMatch| condition.check_unversioned()))
        .route("/read", on_get(reading))
        .route("/read-composed", on_get(reading_composed))
        .route("/position", on_get(async |MinPosition(position): MinPosition| format!("{position:?}").replace("Some", "")))
        .route("/key", on_get(async |IdempotencyKey(key): IdempotencyKey| axum::Json(key)))
        .route("/credential", on_get(async |credential: Credential| format!("{:?} {credential:?}", credential.0)))
        .route("/products/{sku}", on_get(async |Path(sku): Path<Sku>| axum::Json(sku)))
        .route("/orders/{id}", on_get(async |Path(id): Path<OrderId>| axum::Json(id)))
        .route("/orders/{id}/items/{sku}", on_get(async |Path2(_, sku): Path2<OrderId, Sku>| axum::Json(sku)))
}

async fn with(path: &str, headers: &[(&str, &str)]) -> Response {
    let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    send(&router(), request.body(Body::empty()).unwrap()).await
}

async fn status_with(path: &str, name: &str, value: &str) -> u16 {
    with(path, &[(name, value)]).await.status().as_u16()
}

async fn refused(path: &str, name: &str, value: &str) -> Vec<String> {
    let (status, problem) = read(with(path, &[(name, value)]).await).await;
    assert_eq!(status, 422, "{value}: {problem}");
    mistakes(&problem)
}

#[tokio::test]
async fn a_write_is_allowed_for_the_current_version_only() {
    assert_eq!(with("/write", &[]).await.status(), 200);
    for (sent, status) in [
        ("\"7\"", 200),
        ("*", 200),
        ("\"6\", \"7\"", 200),
        ("\"6\",\"7\" ", 200),
        ("\"6\"", 412),
        ("W/\"7\"", 412),
        ("\"x\"", 412),
        ("\"07\"", 412),
        ("\"7.dHk2s0Qw5fJt1xZb\"", 200),
        ("\"1\" , ,\"7.AAAAAAAAAAAAAAAA\",", 200),
        ("\"6.dHk2s0Qw5fJt1xZb\"", 412),
        ("W/\"7.dHk2s0Qw5fJt1xZb\"", 412),
        ("\"7.\"", 412),
        ("\"7.x\"", 412),
        ("\"07.dHk2s0Qw5fJt1xZb\"", 412),
    ] {
        assert_eq!(status_with("/write", "if-match", sent).await, status, "{sent}");
    }
    assert_eq!(with("/write", &[("if-match", "\"1\""), ("if-match", "\"7\"")]).await.status(), 200);
}

#[tokio::test]
async fn a_412_tells_the_version_there_is() {
    let response = with("/write", &[("if-match", "\"6\"")]).await;
    assert_eq!(response.headers()["etag"], "\"7\"");
    let (_, problem) = read(response).await;
    assert_eq!((&problem["code"], &problem["current"]), (&json!("version_mismatch"), &json!("\"7\"")));
}

#[tokio::test]
async fn a_malformed_if_match_is_refused() {
    for sent in ["7", "", "\"7", "\"6\" \"7\"", "seven", "w/\"7\"", ",", "\"7 \"", "*, \"7\""] {
        assert_eq!(refused("/write", "if-match", sent).await, ["If-Match malformed"], "{sent}");
    }
}

#[tokio::test]
async fn a_read_is_304_for_the_version_the_client_has() {
    for (sent, status) in [("\"7\"", 304), ("W/\"7\"", 304), ("*", 304), ("\"6\"", 200), ("nonsense", 200), ("\"1\", W/\"7\"", 304)] {
        assert_eq!(status_with("/read", "if-none-match", sent).await, status, "{sent}");
    }
    let response = with("/read", &[]).await;
    assert_eq!((&response.headers()["etag"], &response.headers()["merx-position"]), (&"\"7\"".parse().unwrap(), &9.into()));
}

#[tokio::test]
async fn a_read_compares_the_whole_tag_and_ignores_that_it_is_weak() {
    let tag = with("/read-composed", &[]).await.headers()["etag"].to_str().unwrap().to_owned();
    let (version, digest) = tag.trim_matches('"').split_once('.').unwrap();
    assert_eq!((version, digest.len()), ("7", 16), "{tag}");
    assert_ne!(ETag::of_body(CURRENT, b"{}"), ETag::of_body(CURRENT, b"{ }"));
    assert_ne!(ETag::of_body(CURRENT, b"{}"), ETag::of_body(CURRENT + 1, b"{}"));
    for (sent, status) in [
        (tag.clone(), 304),
        (format!("W/{tag}"), 304),
        (format!("\"1\" ,{tag}, \"x\""), 304),
        ("*".to_owned(), 304),
        ("\"7\"".to_owned(), 200),
        ("\"7.AAAAAAAAAAAAAAAA\"".to_owned(), 200),
        (format!("{tag} {tag}"), 200),
    ] {
        assert_eq!(status_with("/read-composed", "if-none-match", &sent).await, status, "{sent}");
    }
    let several = with("/read-composed", &[("if-none-match", "\"1\""), ("if-none-match", &tag)]).await;
    assert_eq!((several.status().as_u16(), several.headers()["etag"].to_str().unwrap()), (304, tag.as_str()));
}

#[tokio::test]
async fn a_version_of_what_has_none_is_refused() {
    assert_eq!(with("/add", &[]).await.status(), 200);
    assert_eq!(status_with("/add", "if-match", "*").await, 200);
    assert_eq!(refused("/add", "if-match", "\"0\"").await, ["If-Match not_applicable"]);
}

#[test]
fn the_pattern_of_an_if_match_is_what_is_read() {
    let schema = jsonschema::options().with_pattern_options(jsonschema::PatternOptions::regex()).build(&if_match_schema()).unwrap();
    for (sent, is_read) in [
        ("*", true),
        ("\"7\"", true),
        ("W/\"7.x\",\"\"", true),
        (", ,\"7\" ,, \"a\",", true),
        ("7", false),
        (",", false),
        ("\"7\" \"8\"", false),
        ("\"a b\"", false),
        ("*,\"7\"", false),
        ("\"7", false),
    ] {
        assert_eq!(schema.is_valid(&json!(sent)), is_read, "{sent}");
        let mut headers = http::HeaderMap::new();
        headers.insert("if-match", sent.parse().unwrap());
        let mut parts = Request::new(Body::empty()).into_parts().0;
        parts.headers = headers;
        let read = futures::executor::block_on(IfMatch::from_request_parts(&mut parts, &()));
        assert_eq!(read.is_ok(), is_read, "{sent}");
    }
}

#[tokio::test]
async fn a_position_is_a_number() {
    for (sent, position) in [("12", "(12)"), ("0", "(0)")] {
        let bytes = axum::body::to_bytes(with("/position", &[("merx-min-position", sent)]).await.into_body(), 100).await.unwrap();
        assert_eq!(bytes, position);
    }
    for sent in ["x", "-1", "", "1.5", "+1", "99999999999999999999"] {
        assert_eq!(refused("/position", "merx-min-position", sent).await, ["Merx-Min-Position wrong_type"], "{sent}");
    }
    assert_eq!(MinPosition::beyond_head(7).status(), 422);
    assert_eq!(MinPosition::not_yet(7).status(), 503);
}

#[tokio::test]
async fn an_idempotency_key_has_1_to_255_visible_characters() {
    assert_eq!(read(with("/key", &[]).await).await.1, Value::Null);
    let longest = "k".repeat(255);
    assert_eq!(read(with("/key", &[("idempotency-key", &longest)]).await).await.1, json!(longest));
    for (sent, mistake) in
        [("", "length"), ("k".repeat(256).as_str(), "length"), ("a b", "malformed"), ("é", "malformed"), ("\t", "malformed")]
    {
        assert_eq!(refused("/key", "idempotency-key", sent).await, [format!("Idempotency-Key {mistake}")], "{sent:?}");
    }
    assert_eq!(with("/key", &[("idempotency-key", "a"), ("idempotency-key", "a")]).await.status(), 422);
}

#[test]
fn a_guests_key_is_long() {
    assert!(idempotency::check_guests_key(&"k".repeat(32)).is_ok());
    assert_eq!(idempotency::check_guests_key(&"k".repeat(31)).unwrap_err().errors()[0].pointer, "Idempotency-Key");
}

#[tokio::test]
async fn what_names_nobody_is_no_credential() {
    for sent in ["", "Bearer", "Bearer ", "Bearer \t", "/v1/carts", "/v1/carts x", "a@b c", " x"] {
        let bytes = axum::body::to_bytes(with("/credential", &[("authorization", sent)]).await.into_body(), 100).await.unwrap();
        assert_eq!(bytes, "None Credential(none)", "{sent:?}");
    }
}

#[tokio::test]
async fn a_credential_is_taken_as_it_is_and_never_shown_in_logs() {
    let bytes = axum::body::to_bytes(with("/credential", &[("authorization", "Bearer x")]).await.into_body(), 100).await.unwrap();
    assert_eq!(bytes, "Some(\"Bearer x\") Credential(hidden)");
}

#[tokio::test]
async fn what_is_no_id_names_nothing() {
    let id = "0192f0c1-7d3e-7000-8000-000000000001";
    assert_eq!(get(&router(), "/products/85123A").await, (StatusCode::OK, json!("85123A")));
    assert_eq!(get(&router(), &format!("/orders/{id}")).await, (StatusCode::OK, json!(id)));
    assert_eq!(get(&router(), &format!("/orders/{id}/items/A.1")).await, (StatusCode::OK, json!("A.1")));
    let others = [
        "/orders/7".to_owned(),
        format!("/orders/{}", id.to_uppercase()),
        format!("/orders/{id}/items/a%20b"),
        "/orders/x/items/A".to_owned(),
    ];
    for path in others.iter().map(String::as_str).chain(["/products/a%20b", "/products/%ff", "/products/%00"]) {
        let (status, problem) = get(&router(), path).await;
        assert_eq!((status.as_u16(), &problem["code"]), (404, &json!("not_found")), "{path}");
    }
}

#[test]
fn a_refusal_is_small_to_return() {
    assert_eq!(size_of::<Problem>(), size_of::<usize>());
}
