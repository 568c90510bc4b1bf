//! Conditional requests: `If-Match` for writes, `If-None-Match` for reads. An entity tag is the resource's version, quoted.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponseParts, ResponseParts},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};

use crate::{FieldError, Problem};

/// The entity tag of a version: `"7"`.
#[must_use]
pub fn etag(version: i64) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{version}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// 412: the resource is at version `current`, which `If-Match` doesn't name.
#[must_use]
pub fn precondition_failed(current: i64) -> Problem {
    let detail = format!("The resource is at version {current}. Read it again, then decide.");
    let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail);
    problem.with("current", current).header(header::ETAG, etag(current))
}

/// `ETag` of an answer: `(ETag(7), Json(body))`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ETag(pub i64);

impl IntoResponseParts for ETag {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.headers_mut().insert(header::ETAG, etag(self.0));
        Ok(response)
    }
}

/// What a header demands of the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`: whichever it is.
    Any,
    /// One of these; tags that are no version of ours are not among them.
    Versions(Vec<i64>),
}

impl Condition {
    fn holds(&self, version: i64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// `If-Match`: the write is for these versions only. A weak tag matches none (RFC 9110, 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(pub Option<Condition>);

impl IfMatch {
    /// Whether a resource at `version` may be written.
    pub fn allows(&self, version: i64) -> bool {
        self.0.as_ref().is_none_or(|condition| condition.holds(version))
    }

    /// 412 unless a resource at `version` may be written.
    pub fn check(&self, version: i64) -> Result<(), Problem> {
        if self.allows(version) { Ok(()) } else { Err(precondition_failed(version)) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let malformed =
            || Problem::invalid(vec![FieldError::new("If-Match", "malformed", "must be an ETag as it was sent, as in \"7\", or *")]);
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        condition(&parts.headers, &header::IF_MATCH, Weak::MatchesNothing).map(|condition| Self(Some(condition))).ok_or_else(malformed)
    }
}

/// `If-None-Match`: the client has these versions. What can't be read is no version the client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(pub Option<Condition>);

impl IfNoneMatch {
    /// Whether the client has `version` already, so that the answer is 304.
    pub fn has(&self, version: i64) -> bool {
        self.0.as_ref().is_some_and(|condition| condition.holds(version))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        if !parts.headers.contains_key(header::IF_NONE_MATCH) {
            return Ok(Self(None));
        }
        Ok(Self(condition(&parts.headers, &header::IF_NONE_MATCH, Weak::IsTheSame)))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weak {
    MatchesNothing,
    IsTheSame,
}

/// Reads all headers of one name as one list; none where any of it is malformed.
fn condition(headers: &HeaderMap, name: &HeaderName, weak: Weak) -> Option<Condition> {
    let mut versions = Vec::new();
    let mut tags = 0;
    for value in headers.get_all(name) {
        let mut rest = value.to_str().ok()?.trim();
        if rest == "*" {
            return Some(Condition::Any);
        }
        while !rest.is_empty() {
            let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
            let (tag, after) = quoted.strip_prefix('"')?.split_once('"')?;
            let version = tag.parse().ok().filter(|_| weak == Weak::IsTheSame || !is_weak);
            versions.extend(version.filter(|version: &i64| version.to_string() == tag));
            tags += 1;
            rest = after.trim_start();
            if !rest.is_empty() {
                rest = rest.strip_prefix(',')?.trim_start();
            }
        }
    }
    (tags > 0).then_some(Condition::Versions(versions))
}
