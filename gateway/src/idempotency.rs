//! What names a write, and who sends it.

use axum::extract::FromRequestParts;
use http::{HeaderName, header, request::Parts};

use crate::{FieldError, Problem};

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The response header of an answer given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Regular expression of a key: 1 to 255 visible ASCII characters.
pub const KEY_PATTERN: &str = "^[!-~]{1,255}$";

const MAX_LEN: usize = 255;
/// The least that a key has without a credential.
const GUESTS_MIN_LEN: usize = 32;

/// `Idempotency-Key`, if one was sent: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

/// 422 for a key that is too easily guessed by itself: without a credential, whoever knows it gets the answer that is kept for it.
pub fn check_guests_key(key: &str) -> Result<(), Problem> {
    if key.len() >= GUESTS_MIN_LEN {
        return Ok(());
    }
    let detail = "must have at least 32 characters, random ones, where no credential is sent: whoever knows the key gets the answer";
    Err(refused("length", detail))
}

fn refused(code: &'static str, detail: &str) -> Problem {
    Problem::invalid(vec![FieldError::new("Idempotency-Key", code, detail)])
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut sent = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = sent.next() else { return Ok(Self(None)) };
        if sent.next().is_some() {
            return Err(refused("repeated", "must be sent once"));
        }
        if !(1..=MAX_LEN).contains(&value.len()) {
            return Err(refused("length", "must have 1 to 255 characters"));
        }
        match value.to_str() {
            Ok(key) if key.bytes().all(|b| b.is_ascii_graphic()) => Ok(Self(Some(key.to_owned()))),
            _ => Err(refused("malformed", "must be visible ASCII characters, without spaces")),
        }
    }
}

/// The `Authorization` header as it was sent, if it is one: a scheme and what it takes. Nobody looks at it until accounts exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(pub Option<String>);

/// Returns true for `scheme credentials`. A scheme is a token of RFC 9110, which no path is: nobody's credential is the name of an
/// address.
fn is_credential(sent: &[u8]) -> bool {
    let is_token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    let end = sent.iter().position(|b| *b == b' ').unwrap_or(sent.len());
    let (scheme, credentials) = sent.split_at(end);
    !scheme.is_empty() && scheme.iter().all(is_token) && !credentials.trim_ascii().is_empty()
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Credential(hidden)" } else { "Credential(none)" })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Credential {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let sent = parts.headers.get(header::AUTHORIZATION).filter(|value| is_credential(value.as_bytes()));
        Ok(Self(sent.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())))
    }
}
