//! What has to be written, and what is frozen.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fs, io, path::Path};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// The examples that are frozen: as `sha256sum` writes it, so that `sha256sum -c SHA256SUMS` checks them too.
const SUMS: &str = "examples/SHA256SUMS";

/// Files to write, by their path; and why some of them must not be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub writes: BTreeMap<String, String>,
    pub conflicts: Vec<String>,
}

/// What has to be written below `root` so that it holds `schemas` and `examples`. Other files are left as they are. Of the types that
/// are `forced`, files may be overwritten whatever they hold.
pub fn plan(root: &Path, schemas: &[(String, Value)], examples: &[(String, Value)], forced: &[String]) -> io::Result<Plan> {
    let mut plan = Plan::default();
    let is_forced = |path: &str| forced.iter().any(|name| name == type_of(path));
    for (path, schema) in schemas {
        let (old, new) = (read(root, path)?, text_of(schema));
        let is_same_shape = |old: &String| serde_json::from_str(old).is_ok_and(|old| shape(&old) == shape(schema));
        if !is_forced(path) && !old.as_ref().is_none_or(is_same_shape) {
            plan.conflicts.push(format!("{path} is frozen, and {} would change it: add a version and an upcaster", type_of(path)));
        }
        plan.put_if_changed(path, old, new);
    }
    let old_sums = read(root, SUMS)?;
    let mut sums = parse_sums(old_sums.as_deref().unwrap_or_default());
    for (path, example) in examples {
        let (old, new) = (read(root, path)?, text_of(example));
        let sum = sum_of(&new);
        let name = path.trim_start_matches("examples/").to_owned();
        let is_other = old.as_ref().is_some_and(|old| *old != new) || sums.get(&name).is_some_and(|landed| *landed != sum);
        if is_other && !is_forced(path) {
            plan.conflicts.push(format!("{path} is frozen, and its sample in src/samples.rs is another: put the one or the other back"));
        }
        sums.insert(name, sum);
        plan.put_if_changed(path, old, new);
    }
    let lines: Vec<_> = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    plan.put_if_changed(SUMS, old_sums, lines.concat());
    Ok(plan)
}

/// Writes the files of a plan.
pub fn write(root: &Path, writes: &BTreeMap<String, String>) -> io::Result<()> {
    for (path, text) in writes {
        let path = root.join(path);
        path.parent().map_or(Ok(()), fs::create_dir_all)?;
        fs::write(path, text)?;
    }
    Ok(())
}

impl Plan {
    fn put_if_changed(&mut self, path: &str, old: Option<String>, new: String) {
        if old.is_none_or(|old| old != new) {
            self.writes.insert(path.to_owned(), new);
        }
    }
}

fn read(root: &Path, path: &str) -> io::Result<Option<String>> {
    match fs::read_to_string(root.join(path)) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("{path}: {error}"))),
    }
}

/// The event type whose file this is: `OrderPlaced` of `schemas/OrderPlaced.v1.json`.
fn type_of(path: &str) -> &str {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    name.split_once('.').map_or(name, |(event_type, _)| event_type)
}

fn text_of(value: &Value) -> String {
    format!("{value:#}\n")
}

fn sum_of(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

fn parse_sums(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name.to_owned(), sum.to_owned())).collect()
}

/// A schema without its words for people, which may be changed at any time.
fn shape(schema: &Value) -> Value {
    let keyword = |(key, value): (&String, &Value)| match (key.as_str(), value) {
        ("title" | "description" | "examples", _) => None,
        // Its keys are names of members, not keywords.
        ("properties" | "$defs", Value::Object(members)) => Some((key.clone(), Value::Object(members_of(members)))),
        _ => Some((key.clone(), shape(value))),
    };
    match schema {
        Value::Object(keywords) => Value::Object(keywords.iter().filter_map(keyword).collect()),
        Value::Array(items) => Value::Array(items.iter().map(shape).collect()),
        other => other.clone(),
    }
}

fn members_of(members: &Map<String, Value>) -> Map<String, Value> {
    members.iter().map(|(name, schema)| (name.clone(), shape(schema))).collect()
}
