//! The partition of a stream, as Kafka's own clients find it for a key: other programs that produce or look up by key agree.

const SEED: u32 = 0x9747_b28c;
const FACTOR: u32 = 0x5bd1_e995;

/// The partition of `key` among `partitions`, which is at least 1.
#[must_use]
pub fn of(key: &str, partitions: i32) -> i32 {
    // A number of 31 bits.
    (murmur2(key.as_bytes()) & 0x7fff_ffff).cast_signed() % partitions.max(1)
}

/// MurmurHash2 with Kafka's seed.
#[must_use]
pub fn murmur2(bytes: &[u8]) -> u32 {
    // Lengths are far below 2^32; Kafka's are 32 bits too.
    #[expect(clippy::cast_possible_truncation, reason = "the hash is defined on 32 bits")]
    let mut hash = SEED ^ bytes.len() as u32;
    let (words, rest) = bytes.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        k ^= k >> 24;
        hash = hash.wrapping_mul(FACTOR) ^ k.wrapping_mul(FACTOR);
    }
    if !rest.is_empty() {
        for (nth, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * nth);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^ hash >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of `UtilsTest.testMurmur2` in Apache Kafka.
    #[test]
    fn it_is_the_hash_of_kafka() {
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "{key}");
        }
    }

    /// Those of librdkafka's `unittest_murmur2`, which took them from a Java client.
    #[test]
    fn it_is_the_hash_of_librdkafka() {
        for (key, hash) in [
            ("kafka", 0xd067_cf64),
            ("giberish123456789", 0x8f55_2b0c),
            ("1234", 0x9fc9_7b14),
            ("234", 0xe7c0_09ca),
            ("34", 0x8739_30da),
            ("4", 0x5a4b_5ca1),
            ("PreAmbleWillBeRemoved,ThePrePartThatIs", 0x7842_4f1c),
            ("reAmbleWillBeRemoved,ThePrePartThatIs", 0x4a62_b377),
            ("eAmbleWillBeRemoved,ThePrePartThatIs", 0xe0e4_e09e),
            ("AmbleWillBeRemoved,ThePrePartThatIs", 0x62b8_b43f),
            ("", 0x106e_08d9),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn a_stream_has_one_partition_and_streams_have_all() {
        let mut used = [0; 12];
        for nth in 0..1_200 {
            let partition = of(&format!("order-{nth}"), 12);
            assert_eq!(partition, of(&format!("order-{nth}"), 12));
            used[usize::try_from(partition).unwrap()] += 1;
        }
        assert!(used.iter().all(|count| (50..200).contains(count)), "{used:?}");
        assert_eq!(of("order-1", 1), 0);
    }
}
