//! Old events read as new ones: pure functions, each from one schema version of a type to the next, chained.

use serde_json::{Value, json};

/// Lifts a payload of `event_type` from schema version `from` to `from + 1`.
pub struct Upcaster {
    /// The event type it is for.
    pub event_type: &'static str,
    /// The schema version it reads.
    pub from: i16,
    /// The rewrite; total, since the schema of `from` held when the event was written.
    pub lift: fn(Value) -> Value,
}

/// Every upcaster there is. Adding schema version n+1 of a type means adding its lift from n here.
pub const UPCASTERS: &[Upcaster] = &[
    Upcaster { event_type: "OrderCancelled", from: 1, lift: order_cancelled_1 },
    // Version 2 may leave out the carrier and its number.
    Upcaster { event_type: "OrderShipped", from: 1, lift: |old| old },
];

/// Version 1 said why in one word, with a field beside it for what belonged to each word, and wrote lost lines twice: as a list, and as the
/// note. Version 2 has a cause that holds what belongs to it, and only a note that somebody wrote.
#[expect(clippy::needless_pass_by_value, reason = "a lift takes what it rewrites")]
fn order_cancelled_1(old: Value) -> Value {
    let cause = match old["reason"].as_str() {
        Some("payment_declined") => json!({"kind": "payment_declined", "decline_code": old["decline_code"]}),
        Some("stock_lost") => json!({"kind": "stock_lost", "skus": old["lost"]}),
        _ => json!({"kind": old["reason"]}),
    };
    let lost: Vec<&str> = old["lost"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let is_list_of_lost = old["reason"] == "stock_lost" && old["note"].as_str() == Some(&lost.join(", "));
    let note = if is_list_of_lost { &Value::Null } else { &old["note"] };
    json!({"cause": cause, "note": note, "was_confirmed": old["was_confirmed"]})
}

/// Lifts `payload` of `event_type` from schema version `from` to `to`; `None` where a step has no upcaster.
#[must_use]
pub fn lift(event_type: &str, from: i16, to: i16, payload: Value) -> Option<Value> {
    // The last step of a build with the feature `newer-events` changes nothing.
    let to = if cfg!(feature = "newer-events") { to - 1 } else { to };
    lift_with(UPCASTERS, event_type, from, to, payload)
}

fn lift_with(table: &[Upcaster], event_type: &str, from: i16, to: i16, mut payload: Value) -> Option<Value> {
    for version in from..to {
        let step = table.iter().find(|u| u.event_type == event_type && u.from == version)?;
        payload = (step.lift)(payload);
    }
    Some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_chained_and_a_missing_one_is_told() {
        let table = [
            Upcaster { event_type: "A", from: 1, lift: |v| json!({"was": v}) },
            Upcaster { event_type: "A", from: 2, lift: |v| json!([v]) },
        ];
        assert_eq!(lift_with(&table, "A", 1, 3, json!(7)), Some(json!([{"was": 7}])));
        assert_eq!(lift_with(&table, "A", 3, 3, json!(7)), Some(json!(7)));
        assert_eq!(lift_with(&table, "A", 1, 4, json!(7)), None);
        assert_eq!(lift_with(&table, "B", 1, 2, json!(7)), None);
    }

    #[test]
    fn a_payload_of_any_version_comes_through_every_later_step_once() {
        // In no order, and among those of another type.
        let table = [
            Upcaster {
                event_type: "HatWorn",
                from: 3,
                lift: |v| json!({"lifted": [v["lifted"][0], v["lifted"][1], 3], "size": v["size"]}),
            },
            Upcaster { event_type: "HatLost", from: 1, lift: |_| json!("another type's") },
            Upcaster { event_type: "HatWorn", from: 1, lift: |v| json!({"lifted": [1], "size": v["inches"]}) },
            Upcaster { event_type: "HatWorn", from: 2, lift: |v| json!({"lifted": [v["lifted"][0], 2], "size": v["size"].to_string()}) },
        ];
        let lifted = |from, payload| lift_with(&table, "HatWorn", from, 4, payload);
        assert_eq!(lifted(1, json!({"inches": 23})), Some(json!({"lifted": [1, 2, 3], "size": "23"})));
        assert_eq!(lifted(2, json!({"size": 23})), Some(json!({"lifted": [null, 2, 3], "size": "23"})));
        assert_eq!(lifted(3, json!({"size": "23"})), Some(json!({"lifted": [null, null, 3], "size": "23"})));
        assert_eq!(lifted(4, json!({"size": "23"})), Some(json!({"size": "23"})), "today's is not touched");
        assert_eq!(lift_with(&table, "HatWorn", 1, 3, json!({"inches": 23})), Some(json!({"lifted": [1, 2], "size": "23"})));
    }

    #[test]
    fn no_step_is_there_twice_or_from_a_version_that_never_was() {
        for Upcaster { event_type, from, .. } in UPCASTERS {
            let same = UPCASTERS.iter().filter(|other| other.event_type == *event_type && other.from == *from);
            assert_eq!(same.count(), 1, "{event_type} from {from}");
            let newest = crate::events::descriptors().find(|d| d.event_type == *event_type).map(|d| d.schema_version);
            assert!(newest.is_some_and(|newest| (1..newest).contains(from)), "{event_type} from {from}");
        }
    }

    #[test]
    fn a_cancellation_of_version_1_says_its_cause() {
        let lifted = |reason: &str, note: Option<&str>, decline_code: Option<&str>, lost: &[&str]| {
            let old = json!({"reason": reason, "note": note, "decline_code": decline_code, "was_confirmed": true, "lost": lost});
            lift("OrderCancelled", 1, 2, old).unwrap()
        };
        let new = |cause: Value, note: Option<&str>| json!({"cause": cause, "note": note, "was_confirmed": true});
        assert_eq!(lifted("requested", Some("too dear"), None, &[]), new(json!({"kind": "requested"}), Some("too dear")));
        assert_eq!(lifted("requested", None, None, &[]), new(json!({"kind": "requested"}), None));
        let declined = |code: Option<&str>| new(json!({"kind": "payment_declined", "decline_code": code}), None);
        assert_eq!(lifted("payment_declined", None, Some("no_funds"), &[]), declined(Some("no_funds")));
        assert_eq!(lifted("payment_declined", None, None, &[]), declined(None));
        assert_eq!(lifted("payment_expired", None, None, &[]), new(json!({"kind": "payment_expired"}), None));
        let lost = |note| new(json!({"kind": "stock_lost", "skus": ["A", "B"]}), note);
        assert_eq!(lifted("stock_lost", Some("A, B"), None, &["A", "B"]), lost(None), "the list in words");
        assert_eq!(lifted("stock_lost", Some("sorry"), None, &["A", "B"]), lost(Some("sorry")));
    }
}
