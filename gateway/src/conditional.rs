//! Conditional requests: `If-Match` for writes, `If-None-Match` for reads.
//!
//! An entity tag is the resource's version, quoted: `"7"`. Where the body shows more than the resource's own stream, a digest of it stands
//! behind the version, `"7.dHk2s0Qw5fJt1xZb"`, so that the tag changes whenever the body does. Reads compare the whole tag, writes the version.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    response::{IntoResponseParts, ResponseParts},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{FieldError, Problem};

/// Regular expression of a list of tags in quotes.
const TAGS_PATTERN: &str = r#"^[ \t,]*(W/)?"[!#-~]*"([ \t]*,[ \t,]*(W/)?"[!#-~]*")*[ \t,]*$"#;

/// Bytes of the SHA-256 of a body that stand in its tag: enough that no two bodies of one version meet.
const DIGEST_BYTES: usize = 12;
/// The same, as it is written.
const DIGEST_LEN: usize = 16;

/// The entity tag of an answer: `(ETag::of(7), Json(body))`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ETag(String);

impl ETag {
    /// That of a resource that shows its own stream and nothing else.
    #[must_use]
    pub fn of(version: i64) -> Self {
        Self(version.to_string())
    }

    /// That of a resource at `version` whose body shows more than its own stream.
    #[must_use]
    pub fn of_body(version: i64, body: &[u8]) -> Self {
        let digest = Sha256::digest(body);
        Self(format!("{version}.{}", URL_SAFE_NO_PAD.encode(&digest[..DIGEST_BYTES])))
    }

    /// As it stands in headers, in quotes.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("\"{}\"", self.0)
    }

    /// The header's value.
    #[must_use]
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.quoted()).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
    }
}

impl IntoResponseParts for ETag {
    type Error = Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Infallible> {
        response.headers_mut().insert(header::ETAG, self.header());
        Ok(response)
    }
}

/// The JSON Schema of an `If-Match`: `*`, or tags. Two branches, so that tools which make up values find the one that a header bears easily.
pub fn if_match_schema() -> Value {
    json!({"type": "string", "anyOf": [{"const": "*"}, {"pattern": TAGS_PATTERN}], "examples": ["*"]})
}

/// 412: the resource is at version `current`, which `If-Match` doesn't name.
#[must_use]
pub fn precondition_failed(current: i64) -> Problem {
    let detail = format!("The resource is at version {current}. Read it again, then decide.");
    let tag = ETag::of(current);
    let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "version_mismatch", detail);
    problem.with("current", tag.quoted()).header(header::ETAG, tag.header())
}

/// Condition that `If-Match` sets on the version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// `*`: whichever it is.
    Any,
    /// One of these; tags that are none of ours are not among them.
    Versions(Vec<i64>),
}

/// `If-Match`: the write is for these versions only. A weak tag matches none (RFC 9110, 13.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfMatch(pub Option<Condition>);

impl IfMatch {
    /// Whether a resource at `version` may be written.
    pub fn allows(&self, version: i64) -> bool {
        match &self.0 {
            None | Some(Condition::Any) => true,
            Some(Condition::Versions(versions)) => versions.contains(&version),
        }
    }

    /// 412 unless a resource at `version` may be written.
    pub fn check(&self, version: i64) -> Result<(), Problem> {
        if self.allows(version) { Ok(()) } else { Err(precondition_failed(version)) }
    }

    /// 422 where versions are demanded of what has none, as of a list that something is added to.
    pub fn check_unversioned(&self) -> Result<(), Problem> {
        match self.0 {
            None | Some(Condition::Any) => Ok(()),
            Some(Condition::Versions(_)) => {
                Err(refused("not_applicable", "there is nothing at this address that has a version; leave it out"))
            }
        }
    }
}

fn refused(code: &'static str, detail: &str) -> Problem {
    Problem::invalid(vec![FieldError::new("If-Match", code, detail)])
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        if !parts.headers.contains_key(header::IF_MATCH) {
            return Ok(Self(None));
        }
        let condition = match sent(&parts.headers, &header::IF_MATCH) {
            None => return Err(refused("malformed", "must be an ETag as it was sent, as in \"7\", or *")),
            Some(Sent::Any) => Condition::Any,
            Some(Sent::Tags(tags)) => {
                Condition::Versions(tags.iter().filter(|tag| !tag.is_weak).filter_map(|tag| version(tag.text)).collect())
            }
        };
        Ok(Self(Some(condition)))
    }
}

/// The version in a tag of ours, with or without a digest behind it; none in any other.
fn version(tag: &str) -> Option<i64> {
    let is_digest = |text: &str| text.len() == DIGEST_LEN && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let number = match tag.split_once('.') {
        Some((number, digest)) => Some(number).filter(|_| is_digest(digest))?,
        None => tag,
    };
    number.parse().ok().filter(|version: &i64| version.to_string() == number)
}

/// `If-None-Match`: the client has these. What can't be read is nothing the client has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IfNoneMatch(Option<Known>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Known {
    /// `*`: whichever it is.
    Any,
    /// Tags without their quotes; weak ones count like the others (RFC 9110, 13.1.2).
    Tags(Vec<String>),
}

impl IfNoneMatch {
    /// Returns true where the client has what `tag` is of already, so that the answer is 304.
    pub fn has(&self, tag: &ETag) -> bool {
        match &self.0 {
            None => false,
            Some(Known::Any) => true,
            Some(Known::Tags(tags)) => tags.contains(&tag.0),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(sent(&parts.headers, &header::IF_NONE_MATCH).map(|sent| match sent {
            Sent::Any => Known::Any,
            Sent::Tags(tags) => Known::Tags(tags.iter().map(|tag| tag.text.to_owned()).collect()),
        })))
    }
}

/// A tag as it was sent, without its quotes.
struct Tag<'h> {
    is_weak: bool,
    text: &'h str,
}

/// Content of a conditional header: `*`, or a list of tags.
enum Sent<'h> {
    Any,
    Tags(Vec<Tag<'h>>),
}

/// Reads all headers of one name as one list; none where there are none, or any of it is malformed.
fn sent<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<Sent<'h>> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let value = value.to_str().ok()?;
        if value.trim() == "*" {
            return Some(Sent::Any);
        }
        read_list(value, &mut tags)?;
    }
    if tags.is_empty() { None } else { Some(Sent::Tags(tags)) }
}

/// Reads tags with commas between them; places between two commas may be empty (RFC 9110, 5.6.1).
fn read_list<'h>(mut rest: &'h str, tags: &mut Vec<Tag<'h>>) -> Option<()> {
    let is_space = |c| matches!(c, ' ' | '\t');
    loop {
        rest = rest.trim_start_matches(|c| is_space(c) || c == ',');
        if rest.is_empty() {
            return Some(());
        }
        let (is_weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (text, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        tags.push(Tag { is_weak, text });
        rest = after.trim_start_matches(is_space);
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}
