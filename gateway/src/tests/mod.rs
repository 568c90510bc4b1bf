//! The edge as a client meets it: requests through a router, and what comes back.

mod bodies;
mod edge;
mod headers;
mod queries;
mod route_tables;

use axum::{Router, body::Body, extract::Request, response::Response};
use http::{StatusCode, header};
use serde_json::Value;
use tower::ServiceExt;

async fn send(router: &Router, request: Request) -> Response {
    router.clone().oneshot(request).await.unwrap()
}

async fn json(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    json(send(router, Request::get(path).body(Body::empty()).unwrap()).await).await
}

async fn post(router: &Router, path: &str, body: &str) -> (StatusCode, Value) {
    let request = Request::post(path).header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_owned())).unwrap();
    json(send(router, request).await).await
}

/// The pointers of a problem's errors, each with its code, in order.
fn mistakes(problem: &Value) -> Vec<String> {
    let told = |error: &Value| format!("{} {}", error["pointer"].as_str().unwrap(), error["code"].as_str().unwrap());
    let mut mistakes: Vec<_> = problem["errors"].as_array().unwrap_or(&Vec::new()).iter().map(told).collect();
    mistakes.sort();
    mistakes
}
