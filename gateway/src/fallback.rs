//! Answers for what no route takes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::Problem;

/// 404 for an unknown path.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at {}. The addresses are listed in /openapi.json.", uri.path()))
}

/// Answer to a method that a known path does not have: 204 to `OPTIONS`, 405 to any other, with those it has in `Allow`.
pub fn other_method(method: &Method, allow: &HeaderValue) -> Response {
    if *method == Method::OPTIONS {
        return (StatusCode::NO_CONTENT, [(header::ALLOW, allow.clone())]).into_response();
    }
    let listed = allow.to_str().unwrap_or_default();
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("This address has {listed}."));
    problem.header(header::ALLOW, allow.clone()).into_response()
}
