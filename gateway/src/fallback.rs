//! Answers for what no route takes.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, Uri, header};

use crate::Problem;

/// 404 for an unknown path.
pub async fn not_found(uri: Uri) -> Problem {
    Problem::not_found(format!("There is nothing at {}. The addresses are listed in /openapi.json.", uri.path()))
}

/// 405 for a known path; `allow` lists its methods, as in `GET, HEAD, POST`.
pub fn method_not_allowed(allow: &HeaderValue) -> Response {
    let listed = allow.to_str().unwrap_or_default();
    let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("This address has {listed}."));
    problem.header(header::ALLOW, allow.clone()).into_response()
}
