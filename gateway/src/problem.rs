//! Refusals as RFC 9457 tells them: `application/problem+json`.

use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::Value;

use crate::request;

/// The media type of every refusal.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Why a request was refused, or could not be served.
#[derive(Debug, Clone)]
pub struct Problem(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with a code of its own; `detail` tells a person what to do about it.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner { status, code, detail: detail.into(), errors: Vec::new(), members: Vec::new(), headers: Vec::new() }))
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 422: values are wrong, each of them named.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] if only.pointer.is_empty() => only.detail.clone(),
            [only] => format!("{}: {}", only.pointer, only.detail),
            _ => format!("{} values are wrong; each is named in `errors`.", errors.len()),
        };
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail);
        problem.0.errors = errors;
        problem
    }

    /// 503: try again in a second.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail).retry_after(1)
    }

    /// 500: our bug. The cause is for the log, not for the client.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "Something went wrong on the server. It has been logged under the request id.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", detail)
    }

    /// Adds one of several things that are wrong.
    #[must_use]
    pub fn error(mut self, error: FieldError) -> Self {
        self.0.errors.push(error);
        self
    }

    /// Adds a member of the problem's own, as in `"total"`; left out where `value` is not JSON.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.0.members.extend(serde_json::to_value(value).ok().map(|value| (name, value)));
        self
    }

    /// Says when to come back.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header(header::RETRY_AFTER, seconds.into())
    }

    /// Answers with a header besides; a second of one name takes the first's place.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// Its code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What it tells a person.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// What is wrong, one by one.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let inner = &*self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("type", &format_args!("/problems/{}", inner.code))?;
        map.serialize_entry("title", &title(inner.code))?;
        map.serialize_entry("status", &inner.status.as_u16())?;
        map.serialize_entry("detail", &inner.detail)?;
        map.serialize_entry("code", inner.code)?;
        if let Some(id) = request::current_id() {
            map.serialize_entry("request_id", id.as_str())?;
        }
        if !inner.errors.is_empty() {
            map.serialize_entry("errors", &inner.errors)?;
        }
        for (name, value) in &inner.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        ::metrics::counter!("merx_http_refusals_total", "code" => self.0.code).increment(1);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.0.status, [(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], body).into_response();
        for (name, value) in self.0.headers {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// `sku_taken` as a person says it: "Sku taken".
fn title(code: &str) -> String {
    let mut title = code.replace('_', " ");
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    title
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// A JSON Pointer into the body, `?name` for the query, or a header's name.
    pub pointer: String,
    /// What kind of mistake it is.
    pub code: &'static str,
    /// How to mend it.
    pub detail: String,
    members: Vec<(&'static str, Value)>,
}

impl FieldError {
    /// What is wrong at `pointer`.
    #[must_use]
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), code, detail: detail.into(), members: Vec::new() }
    }

    /// Adds a member of the error's own, as in `"available"`; left out where `value` is not JSON.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Serialize) -> Self {
        self.members.extend(serde_json::to_value(value).ok().map(|value| (name, value)));
        self
    }
}

impl Serialize for FieldError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3 + self.members.len()))?;
        map.serialize_entry("pointer", &self.pointer)?;
        map.serialize_entry("code", self.code)?;
        map.serialize_entry("detail", &self.detail)?;
        for (name, value) in &self.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// A kind of refusal, for the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Its code.
    pub code: &'static str,
    /// The status it comes with.
    pub status: u16,
    /// What it means, and what to do.
    pub meaning: &'static str,
}

const fn kind(status: u16, code: &'static str, meaning: &'static str) -> Kind {
    Kind { code, status, meaning }
}

/// The refusals that the edge itself gives. Those of single routes are declared with the routes.
pub const STANDARD: [Kind; 11] = [
    kind(400, "malformed_json", "The body is not JSON; `line` and `column` say where."),
    kind(404, "not_found", "There is nothing at this address, or nothing with this id."),
    kind(405, "method_not_allowed", "The address exists, but not with this method; `Allow` lists the methods it has."),
    kind(408, "body_timeout", "The body did not arrive in time."),
    kind(412, "version_mismatch", "The resource has moved since the version in `If-Match`; `current` is its `ETag` now."),
    kind(413, "body_too_large", "The body is larger than 1 MiB."),
    kind(415, "unsupported_media_type", "The body's `Content-Type` (or `Content-Encoding`) is not one that is read here."),
    kind(422, "invalid_request", "Values are wrong; `errors` names each of them."),
    kind(500, "internal_error", "A bug on the server, logged under the request id."),
    kind(
        503,
        "timeout",
        "The request took longer than 30 seconds. A write may have been accepted: ask again with the same `Idempotency-Key`.",
    ),
    kind(503, "unavailable", "Not now; try again after `Retry-After` seconds."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_tells_what_rfc_9457_asks_for_and_its_own_members() {
        let problem = Problem::new(StatusCode::CONFLICT, "price_changed", "The total is different now.")
            .with("total", json!({"amount": "2.00"}))
            .error(FieldError::new("/items/A", "price_changed", "It costs more.").with("old", "1.00"));
        assert_eq!(
            serde_json::to_value(&problem).unwrap(),
            json!({
                "type": "/problems/price_changed", "title": "Price changed", "status": 409, "detail": "The total is different now.",
                "code": "price_changed", "total": {"amount": "2.00"},
                "errors": [{"pointer": "/items/A", "code": "price_changed", "detail": "It costs more.", "old": "1.00"}],
            })
        );
    }

    #[test]
    fn an_outage_says_when_to_come_back() {
        let response = Problem::unavailable("The log is not reachable.").retry_after(7).into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
    }

    #[test]
    fn the_detail_of_a_single_error_is_told_at_the_top() {
        let problem = Problem::invalid(vec![FieldError::new("/sku", "required", "is missing")]);
        assert_eq!(problem.detail(), "/sku: is missing");
    }
}
