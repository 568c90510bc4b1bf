use std::time::Duration;

use axum::{Router, body::Body, extract::Request};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{get, json as read, send};
use crate::{Json, Problem, RequestId, Route, Routes, metrics, request};

#[expect(clippy::panic, reason = "that is what is tested")]
async fn panics() -> &'static str {
    panic!("a secret cause")
}

fn router() -> Router {
    let routes = Routes::new()
        .add(Route::get("/id", async |id: RequestId| id.as_str().to_owned()))
        .add(Route::get("/panic", panics))
        .add(Route::get("/slow", async || tokio::time::sleep(Duration::from_mins(1)).await))
        .add(Route::get("/refuse/{id}", async || Problem::not_found("Not here.")))
        .add(Route::post("/body", async |Json(value): Json<Vec<String>>| Json(value)));
    request::layer(routes.into_router())
}

#[tokio::test]
async fn a_request_keeps_the_id_it_came_with() {
    let request = Request::get("/id").header("x-request-id", "abc-1").body(Body::empty()).unwrap();
    let response = send(&router(), request).await;
    assert_eq!(response.headers()["x-request-id"], "abc-1");
    assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.unwrap(), "abc-1");
}

#[tokio::test]
async fn a_request_without_a_sane_id_gets_one() {
    for sent in ["", "a b", &"x".repeat(129), "é"] {
        let request = Request::get("/id").header("x-request-id", sent).body(Body::empty()).unwrap();
        let response = send(&router(), request).await;
        let id: uuid::Uuid = response.headers()["x-request-id"].to_str().unwrap().parse().unwrap();
        assert_eq!(id.get_version_num(), 7);
    }
}

#[tokio::test]
async fn a_problem_names_the_request() {
    let response = send(&router(), Request::get("/refuse/1").body(Body::empty()).unwrap()).await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(read(response).await.1["request_id"], json!(id));
    let response = send(&router(), Request::get("/nowhere").body(Body::empty()).unwrap()).await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let (status, problem) = read(response).await;
    assert_eq!((status.as_u16(), &problem["request_id"]), (404, &json!(id)));
}

#[tokio::test]
async fn a_panic_is_a_500_that_hides_its_cause() {
    let (status, problem) = get(&router(), "/panic").await;
    assert_eq!((status.as_u16(), &problem["code"]), (500, &json!("internal_error")));
    assert!(!problem.to_string().contains("secret"));
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    tokio::time::pause();
    let (status, problem) = get(&router(), "/slow").await;
    assert_eq!((status.as_u16(), &problem["code"]), (503, &json!("timeout")));
}

#[tokio::test]
async fn requests_and_refusals_are_counted_by_their_route() {
    let handle = metrics::install();
    metrics::install();
    get(&router(), "/refuse/1").await;
    get(&router(), "/refuse/2").await;
    let text = handle.render();
    let counted = r#"merx_http_request_duration_seconds_bucket{method="GET",route="/refuse/{id}",status="404",le="30"} "#;
    assert!(text.contains(counted), "{text}");
    assert!(text.contains(r#"merx_http_refusals_total{code="not_found"}"#), "{text}");
}

#[tokio::test]
async fn a_client_that_is_still_sending_too_much_gets_its_answer() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router()).await });
    for head in ["Content-Length: 8388608", "Transfer-Encoding: chunked"] {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let request = format!("POST /body HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n{head}\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 65536], b"\r\n"].concat();
        for _ in 0..100 {
            socket.write_all(if head.starts_with('T') { &chunk } else { &chunk[7..65543] }).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413", "{head}");
    }
}
