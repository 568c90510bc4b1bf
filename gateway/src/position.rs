//! Positions in the log: how new an answer is, and how new the client needs it.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponseParts, ResponseParts},
};
use http::{HeaderName, request::Parts};

use crate::{FieldError, Problem};

/// The response header.
pub const POSITION: HeaderName = HeaderName::from_static("merx-position");
/// The request header.
pub const MIN_POSITION: HeaderName = HeaderName::from_static("merx-min-position");

const NAME: &str = "Merx-Min-Position";

/// `Merx-Position` of an answer: `(Position(7), Json(body))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position(pub i64);

impl IntoResponseParts for Position {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.headers_mut().insert(POSITION, self.0.into());
        Ok(response)
    }
}

/// `Merx-Min-Position`: the answer must be at least as new as this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinPosition(pub Option<i64>);

impl MinPosition {
    /// The refusal of a position that the log has not come to.
    #[must_use]
    pub fn beyond_head(head: i64) -> Problem {
        Problem::invalid(vec![FieldError::new(NAME, "out_of_range", format!("is beyond the head of the log, {head}")).with("head", head)])
    }

    /// The refusal of a read model that did not come so far in time.
    #[must_use]
    pub fn not_yet(at: i64) -> Problem {
        Problem::unavailable("The read model has not come to this position yet.").with("position", at)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MinPosition {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut sent = parts.headers.get_all(MIN_POSITION).iter();
        let Some(value) = sent.next() else { return Ok(Self(None)) };
        let position = value.to_str().ok().and_then(parse).filter(|_| sent.next().is_none());
        let refused = || Problem::invalid(vec![FieldError::new(NAME, "wrong_type", "must be a position: an integer from 0")]);
        position.map(|position| Self(Some(position))).ok_or_else(refused)
    }
}

fn parse(text: &str) -> Option<i64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
