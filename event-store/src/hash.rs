//! The hash of an event: SHA-256 over a canonical encoding that `docs/event-hash.md` specifies.
//!
//! It is a leaf hash in the sense of RFC 9162 §2.1.1 (Merkle tree of Certificate Transparency), hence the leading zero byte.

use event_schemas::{StreamId, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// Tells this encoding from any later one.
const DOMAIN: &[u8] = b"merx.event.1";

/// What is hashed: an event without its position.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// Its stream.
    pub stream: &'a StreamId,
    /// Its number in its stream.
    pub version: i64,
    /// Its id.
    pub event_id: Uuid,
    /// Its type.
    pub event_type: &'a str,
    /// The version of its payload's schema.
    pub schema_version: i16,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// Who and why: the JSON text as it is kept.
    pub metadata: &'a str,
    /// What happened: the JSON text as it is kept.
    pub payload: &'a str,
}

/// The hash of an event.
#[must_use]
pub fn leaf(event: &Leaf<'_>) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    text(&mut hasher, DOMAIN);
    text(&mut hasher, event.stream.as_str().as_bytes());
    hasher.update(event.version.to_be_bytes());
    hasher.update(event.event_id.as_bytes());
    text(&mut hasher, event.event_type.as_bytes());
    hasher.update(event.schema_version.to_be_bytes());
    hasher.update(event.recorded_at.micros().to_be_bytes());
    text(&mut hasher, event.metadata.as_bytes());
    text(&mut hasher, event.payload.as_bytes());
    hasher.finalize().into()
}

fn text(hasher: &mut Sha256, bytes: &[u8]) {
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests;
