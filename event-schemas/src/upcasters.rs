//! Old events read as new ones: pure functions, each from one schema version of a type to the next, chained.

use serde_json::Value;

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
pub const UPCASTERS: &[Upcaster] = &[];

/// Lifts `payload` of `event_type` from schema version `from` to `to`; `None` where a step has no upcaster.
#[must_use]
pub fn lift(event_type: &str, from: i16, to: i16, payload: Value) -> Option<Value> {
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
    use serde_json::json;

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
}
