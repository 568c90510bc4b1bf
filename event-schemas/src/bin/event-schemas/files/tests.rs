use serde_json::json;
use tempfile::TempDir;

use super::*;

/// A folder in which one event type, `HatWorn`, has landed.
struct Landed {
    root: TempDir,
    schema: Value,
    example: Value,
}

const SCHEMA: &str = "schemas/HatWorn.v1.json";
const EXAMPLE: &str = "examples/HatWorn.v1.json";

fn landed() -> Landed {
    let schema =
        json!({"description": "A hat.", "type": "object", "properties": {"description": {"type": "string", "description": "Why."}}});
    let landed = Landed { root: tempfile::tempdir().unwrap(), schema, example: json!({"description": "sun"}) };
    let plan = landed.plan(&landed.schema, &landed.example, &[]);
    assert_eq!(plan.conflicts, [""; 0]);
    assert_eq!(plan.writes.keys().collect::<Vec<_>>(), [EXAMPLE, SUMS, SCHEMA].map(String::from).iter().collect::<Vec<_>>());
    write(landed.root.path(), &plan.writes).unwrap();
    landed
}

impl Landed {
    fn plan(&self, schema: &Value, example: &Value, forced: &[&str]) -> Plan {
        let forced: Vec<_> = forced.iter().map(|&name| name.to_owned()).collect();
        let (schemas, examples) = ([(SCHEMA.to_owned(), schema.clone())], [(EXAMPLE.to_owned(), example.clone())]);
        plan(self.root.path(), &schemas, &examples, &forced).unwrap()
    }

    fn schema_with(&self, pointer: &str, value: Value) -> Value {
        let mut schema = self.schema.clone();
        *schema.pointer_mut(pointer).unwrap() = value;
        schema
    }
}

#[test]
fn what_is_there_already_is_not_written_again() {
    let landed = landed();
    assert_eq!(landed.plan(&landed.schema, &landed.example, &[]), Plan::default());
}

#[test]
fn the_sums_are_those_of_sha256sum() {
    let landed = landed();
    let sums = fs::read_to_string(landed.root.path().join(SUMS)).unwrap();
    // printf '{\n  "description": "sun"\n}\n' | sha256sum
    assert_eq!(sums, "5c1025d53247bf088a78f8bec1852f93fcedc2696ce4cfbd222ed200d9c71ca8  HatWorn.v1.json\n");
}

#[test]
fn files_of_older_versions_are_left_alone() {
    let landed = landed();
    let (schemas, examples) = ([("schemas/HatWorn.v2.json".into(), json!(true))], [("examples/HatWorn.v2.json".into(), json!({}))]);
    let plan = plan(landed.root.path(), &schemas, &examples, &[]).unwrap();
    assert_eq!(plan.conflicts, [""; 0]);
    assert!(!plan.writes.contains_key(SCHEMA) && !plan.writes.contains_key(EXAMPLE));
    assert!(plan.writes[SUMS].contains("HatWorn.v1.json") && plan.writes[SUMS].contains("HatWorn.v2.json"));
}

#[test]
fn a_schema_of_another_shape_is_refused_unless_its_type_is_forced() {
    let landed = landed();
    let other = landed.schema_with("/properties/description/type", json!("integer"));
    for forced in [&[][..], &["HatLost"]] {
        assert_eq!(
            landed.plan(&other, &landed.example, forced).conflicts,
            ["schemas/HatWorn.v1.json is frozen, and HatWorn would change it: add a version and an upcaster"]
        );
    }
    let plan = landed.plan(&other, &landed.example, &["HatWorn"]);
    assert_eq!((plan.conflicts.len(), plan.writes.keys().map(String::as_str).collect::<Vec<_>>()), (0, vec![SCHEMA]));
}

#[test]
fn a_member_named_like_a_keyword_is_part_of_the_shape() {
    let landed = landed();
    let other = landed.schema_with("/properties", json!({}));
    assert_eq!(landed.plan(&other, &landed.example, &[]).conflicts.len(), 1);
}

#[test]
fn the_words_of_a_schema_may_change() {
    let landed = landed();
    let other = landed.schema_with("/properties/description/description", json!("What for."));
    let plan = landed.plan(&other, &landed.example, &[]);
    assert_eq!((plan.conflicts.len(), plan.writes.keys().map(String::as_str).collect::<Vec<_>>()), (0, vec![SCHEMA]));
}

#[test]
fn a_landed_example_is_refused_unless_its_type_is_forced() {
    let landed = landed();
    let rain = json!({"description": "rain"});
    let refused = landed.plan(&landed.schema, &rain, &[]).conflicts;
    assert_eq!(refused, ["examples/HatWorn.v1.json is frozen, and its sample in src/samples.rs is another: put the one or the other back"]);
    let plan = landed.plan(&landed.schema, &rain, &["HatWorn"]);
    assert_eq!((plan.conflicts.len(), plan.writes.keys().map(String::as_str).collect::<Vec<_>>()), (0, vec![EXAMPLE, SUMS]));
}

#[test]
fn a_landed_example_that_is_gone_comes_back_only_as_it_was() {
    let landed = landed();
    fs::remove_file(landed.root.path().join(EXAMPLE)).unwrap();
    assert_eq!(landed.plan(&landed.schema, &json!({"description": "rain"}), &[]).conflicts.len(), 1);
    let plan = landed.plan(&landed.schema, &landed.example, &[]);
    assert_eq!((plan.conflicts.len(), plan.writes.keys().map(String::as_str).collect::<Vec<_>>()), (0, vec![EXAMPLE]));
}
