//! The vectors of `docs/event-hash.md`, which a program in another language made.

use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Vector {
    title: String,
    stream: StreamId,
    version: i64,
    id: Uuid,
    #[serde(rename = "type")]
    event_type: String,
    schema_version: i16,
    recorded_at: Timestamp,
    meta: String,
    data: String,
    encoded: String,
    hash: String,
}

impl Vector {
    fn leaf(&self) -> Leaf<'_> {
        Leaf {
            stream: &self.stream,
            version: self.version,
            event_id: self.id,
            event_type: &self.event_type,
            schema_version: self.schema_version,
            recorded_at: self.recorded_at,
            metadata: &self.meta,
            payload: &self.data,
        }
    }
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_vector_has_the_hash_it_says() {
    assert!(vectors().len() >= 3);
    for vector in vectors() {
        let hash = leaf(&vector.leaf());
        assert_eq!(hash.to_vec(), bytes(&vector.hash), "{}", vector.title);
        // And so what was hashed is what the vector spells out.
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(bytes(&vector.encoded))), "{}", vector.title);
    }
}

#[test]
fn no_field_can_change_unseen() {
    let vectors = vectors();
    let is = vectors[0].leaf();
    let (stream, later) = ("order-x".parse().unwrap(), Timestamp::from_micros(is.recorded_at.micros() + 1));
    let (metadata, payload) = (format!("{} ", is.metadata), format!(" {}", is.payload));
    let others = [
        Leaf { stream: &stream, ..is },
        Leaf { version: is.version + 1, ..is },
        Leaf { event_id: Uuid::from_u128(is.event_id.as_u128() + 1), ..is },
        Leaf { event_type: "OrderPlacer", ..is },
        Leaf { schema_version: is.schema_version + 1, ..is },
        Leaf { recorded_at: later, ..is },
        Leaf { metadata: &metadata, ..is },
        Leaf { payload: &payload, ..is },
    ];
    for other in others {
        assert_ne!(leaf(&is), leaf(&other), "{other:?}");
    }
}

#[test]
fn what_stands_in_one_text_can_not_be_moved_into_the_next() {
    let vectors = vectors();
    let is = vectors[0].leaf();
    assert_ne!(leaf(&Leaf { metadata: "{}{}", payload: "", ..is }), leaf(&Leaf { metadata: "{}", payload: "{}", ..is }));
}
