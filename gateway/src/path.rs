//! Ids in the path.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::Problem;

/// The one id in the path. What is no id names nothing: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path<T>(pub T);

/// The two ids in the path, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Path2<A, B>(pub A, pub B);

impl<T: FromStr, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = segments(parts, state).await?;
        Ok(Self(nth(&segments, 0)?))
    }
}

impl<A: FromStr, B: FromStr, S: Send + Sync> FromRequestParts<S> for Path2<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = segments(parts, state).await?;
        Ok(Self(nth(&segments, 0)?, nth(&segments, 1)?))
    }
}

async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found("The path is not UTF-8."))
}

fn nth<T: FromStr>(segments: &RawPathParams, index: usize) -> Result<T, Problem> {
    let (name, text) = segments.iter().nth(index).ok_or_else(|| Problem::not_found("The path is too short."))?;
    text.parse().map_err(|_| Problem::not_found(format!("{text:?} can't be a {name}, so there is nothing at this address.")))
}
