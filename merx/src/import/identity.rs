//! Ids that come out the same at every import of the same thing.
//!
//! A command's id is a UUIDv8: SHA-256 over the source and what the command is about. The log takes a command id once, so a second
//! import, at the same time or a year later, from whichever process, appends nothing for it.
//!
//! An order's id has the layout of a UUIDv7, with the invoice's own time in front (milliseconds) and the same hash where others have
//! random bits: the ids of a history sort by its time, and so its streams lie next to each other in the log's index.

use event_schemas::{
    Timestamp,
    ids::{CommandId, OrderId},
};
use sha2::{Digest, Sha256};
use uuid::Builder;

/// The id of the command of `source` that is about `what`.
pub fn command(source: &str, what: &[&str]) -> CommandId {
    let digest = digest(source, what);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    CommandId(Builder::from_custom_bytes(bytes).into_uuid())
}

/// The id of the order that `invoice` of `source`, made out `at`, becomes.
pub fn order(source: &str, invoice: &str, at: Timestamp) -> OrderId {
    let digest = digest(source, &["order", invoice]);
    let mut bytes = [0; 10];
    bytes.copy_from_slice(&digest[..10]);
    let millis = u64::try_from(at.utc().timestamp_millis()).unwrap_or(0);
    OrderId(Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
}

/// Each part goes in behind its length, so that no two lists of parts read alike.
fn digest(source: &str, what: &[&str]) -> [u8; 32] {
    let mut hasher = Sha256::new_with_prefix(b"merx import");
    for part in std::iter::once(&source).chain(what) {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_has_the_same_id_and_another_thing_another() {
        assert_eq!(command("a", &["b", "c"]), command("a", &["b", "c"]));
        assert_ne!(command("a", &["b", "c"]), command("a", &["bc"]));
        assert_ne!(command("a", &["b"]), command("ab", &[]));
        assert_eq!(command("a", &["b"]).uuid().get_version_num(), 8);
    }

    #[test]
    fn orders_sort_by_their_time() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let early = order("s", "2", at("2010-12-01T08:26:00Z"));
        let late = order("s", "1", at("2010-12-01T08:27:00Z"));
        assert!(early < late);
        assert_eq!(early.uuid().get_version_num(), 7);
        assert_eq!(early.to_string().parse(), Ok(early));
    }
}
