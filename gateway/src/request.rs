//! What happens to every request: its id, its time limit, its log line and its metrics; a panic becomes a 500.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use axum::{
    Router,
    extract::{FromRequestParts, MatchedPath, Request},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::{HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

use crate::Problem;

/// The header that names a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long a request may take until it is answered.
pub const TIMEOUT: Duration = Duration::from_secs(30);

const MAX_ID_LEN: usize = 128;

tokio::task_local! {
    static CURRENT: RequestId;
}

/// A request's name: the client's `X-Request-Id` where it is sane, else a UUIDv7.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    fn of(request: &Request) -> Self {
        let sent = request.headers().get(REQUEST_ID).filter(|id| is_sane(id.as_bytes()));
        Self(sent.cloned().unwrap_or_else(new_id))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

fn is_sane(id: &[u8]) -> bool {
    (1..=MAX_ID_LEN).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

fn new_id() -> HeaderValue {
    let mut buffer = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(current_id().unwrap_or_else(|| Self(new_id())))
    }
}

/// The id of the request that this task answers; none outside [`layer`], and none in a task it spawned.
pub fn current_id() -> Option<RequestId> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Response of `answer` to a request that no route sees, under an id of its own, which the response bears.
pub(crate) fn named(answer: impl FnOnce() -> Response) -> Response {
    let id = RequestId(new_id());
    let mut response = CURRENT.sync_scope(id.clone(), answer);
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

/// Puts the edge around every route of `router`, and around its fallback. Call it last, once, on the whole router.
pub fn layer<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.layer(middleware::from_fn(edge))
}

async fn edge(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = known(request.method());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::debug_span!("request", id = id.as_str(), method, path = request.uri().path());
    let mut response = CURRENT.scope(id.clone(), answer(request, next).instrument(span.clone())).await;
    response.headers_mut().insert(REQUEST_ID, id.0);
    let status = response.status();
    let elapsed = started.elapsed();
    span.in_scope(|| tracing::debug!(status = status.as_u16(), elapsed_us = elapsed.as_micros(), "answered"));
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str).to_owned();
    let status = status.as_str().to_owned();
    ::metrics::histogram!("merx_http_request_duration_seconds", "method" => method, "route" => route, "status" => status).record(elapsed);
    response
}

async fn answer(request: Request, next: Next) -> Response {
    match timeout(TIMEOUT, AssertUnwindSafe(next.run(request)).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(panic = message(&*panic), "a handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => {
            let detail = "The request took longer than 30 seconds. A write may have been accepted all the same.";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).retry_after(1).into_response()
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not a text")
}

/// The method as a metric label: a client can't make up new ones.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
