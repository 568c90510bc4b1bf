//! Snapshots hold states, so what a state looks like may only change together with its `STATE_VERSION`.

use std::collections::BTreeSet;

use event_schemas::{Event as LogEvent, samples};
use sha2::{Digest, Sha256};

use crate::{
    Aggregate, cart::Cart, category::Category, flash_sale::FlashSale, harness::t, order::Order, payment::Payment, product::Product,
    projection::Projection, review::Review, stock::Stock,
};

/// How many histories are folded for a digest, and how many events each has.
const HISTORIES: u32 = 400;
const EVENTS: u32 = 16;

/// Of each aggregate the digests of its states, one for each `STATE_VERSION` from 1. Lines are only ever added.
const DIGESTS: [(&str, &[&str]); 9] = [
    ("category", &["fcfad376e247ad854abac77187d5e14d062cab89ed09c2360ffe225ca24be8a7"]),
    ("product", &["1ce09603cf6fb9be94d30882627f329a5c2ecd79fcbbb4341915a30265d22a98"]),
    (
        "stock",
        &[
            "421f0b340c0d5847ffb981c11b015075bef67197423117e03e7f242492d62fed",
            "72dbee0043880903c096d3c166198a420613349a61868286063c554b0b4edbb2",
        ],
    ),
    ("flashsale", &["9ec18a475affc373f7b2227f0b3eaaedbe2259b4ac8e1f0211750adaea0fefb5"]),
    ("cart", &["d5b6213dc3df0fe7f703cd7df6e6b301383a720672e6db3ebd3f904c8357e26b"]),
    (
        "order",
        &[
            "cdd1f2c709254d35f098c20bbfab7a99300c21ef16edcc96aef403cd95a907f6",
            "a9fb5d6b6175df264fc8f986a41373ab8524a70f1e2a2fcf4538722c0b66a928",
            "3b4517e8834a16fd64b18ecc8109cf7153dd076708b19d343ea7814b91ee228b",
            "40b444e72d7e2f2be530fcbd3c557ad1b70c700dc89ed99fd275598db2c6a777",
        ],
    ),
    (
        "payment",
        &[
            "839a2cb680cefc8ae419107b1ef722b6dafb5c6c5e1122bb04791d21f3e54363",
            "a8140bd047c0ebf1d3ed2a262fceb6cf71500f985e406ef76dee3c4896fa07c9",
        ],
    ),
    ("projection", &["5fb04ad9c7b2de5bf89bbabb22a3a915964988048a732464216c4815a528a9c6"]),
    ("review", &["45c187f83c133c470889653b6a9d89c5f0ca462d35c4465b86f38887cffd6f4e"]),
];

/// A digest of every state that histories made of the samples of the aggregate's events come through. They are drawn, and always the same.
fn digest<A: Aggregate>() -> String {
    let samples: Vec<LogEvent> = samples::full().into_iter().chain(samples::minimal()).collect();
    let events: Vec<&A::Event> = samples.iter().filter_map(A::own).collect();
    let mut hasher = Sha256::new();
    // Numerical Recipes' generator: its lower bits are poor, so the upper ones are used.
    let mut drawn: u32 = 1;
    for _ in 0..HISTORIES {
        let mut state = A::State::default();
        for second in 0..EVENTS {
            drawn = drawn.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Half of the histories' events are those that follow in the story that the samples tell.
            let index = if drawn >> 31 == 0 { second } else { drawn >> 16 } as usize % events.len();
            state = A::evolve(state, events[index], t(second.into()));
            hasher.update(serde_json::to_vec(&state).unwrap());
        }
    }
    format!("{:x}", hasher.finalize())
}

fn keeps_its_version<A: Aggregate>() -> Result<(), String> {
    let (category, version, digest) = (A::CATEGORY, A::STATE_VERSION, digest::<A>());
    let known = DIGESTS.iter().find(|(of, _)| *of == category).map_or(&[][..], |(_, known)| known);
    let nth = usize::try_from(version - 1).unwrap_or_else(|_| panic!("{category}: STATE_VERSION begins with 1"));
    match known.get(nth) {
        Some(recorded) if *recorded == digest && known.len() == nth + 1 => Ok(()),
        Some(recorded) if *recorded == digest => Err(format!("{category}: STATE_VERSION {version} is not the newest of DIGESTS")),
        Some(_) => Err(format!(
            "{category}: its states are not what they were at STATE_VERSION {version}, so snapshots of it would be misread. Count \
             STATE_VERSION up to {} and add \"{digest}\" to its line of DIGESTS (or, if that was not meant, put the state back)",
            version + 1
        )),
        None => Err(format!("{category}: DIGESTS has no digest of STATE_VERSION {version}: add \"{digest}\" to its line")),
    }
}

#[test]
fn a_state_changes_only_with_its_version() {
    let wrong: Vec<String> = [
        keeps_its_version::<Category>(),
        keeps_its_version::<Product>(),
        keeps_its_version::<Stock>(),
        keeps_its_version::<FlashSale>(),
        keeps_its_version::<Cart>(),
        keeps_its_version::<Order>(),
        keeps_its_version::<Payment>(),
        keeps_its_version::<Review>(),
        keeps_its_version::<Projection>(),
    ]
    .into_iter()
    .filter_map(Result::err)
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_two_versions_have_one_digest() {
    for (category, digests) in DIGESTS {
        assert_eq!(digests.iter().collect::<BTreeSet<_>>().len(), digests.len(), "{category}");
    }
}
