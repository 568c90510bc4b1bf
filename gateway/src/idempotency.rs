//! What names a write, and who sends it.

use axum::extract::FromRequestParts;
use http::{HeaderName, header, request::Parts};

use crate::{FieldError, Problem};

/// The request header.
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The response header of an answer given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

const MAX_LEN: usize = 255;

/// `Idempotency-Key`, if one was sent: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let mut sent = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = sent.next() else { return Ok(Self(None)) };
        let refused = |code, detail| Problem::invalid(vec![FieldError::new("Idempotency-Key", code, detail)]);
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

/// The `Authorization` header as it was sent, if it was. Nobody looks at it until accounts exist.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(pub Option<String>);

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Credential(hidden)" } else { "Credential(none)" })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Credential {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self(parts.headers.get(header::AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())))
    }
}
