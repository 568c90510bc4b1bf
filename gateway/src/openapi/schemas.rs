//! The schemas of a document: what is read and what is answered may differ in a type of one name.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value};

use super::{SchemaOf, tidy};
use crate::shape;

const PREFIX: &str = "#/components/schemas/";
const SUFFIX: &str = "Input";

/// Gathers the schemas of requests and of answers.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self { requests: settings().for_deserialize().into_generator(), answers: settings().for_serialize().into_generator() }
    }

    pub(super) fn request(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.requests).to_value()
    }

    pub(super) fn answer(&mut self, schema: SchemaOf) -> Value {
        schema(&mut self.answers).to_value()
    }

    /// All named schemas, and the names of those that requests know under another: where reading and answering differ, what is read is
    /// `NameInput`.
    pub(super) fn finish(mut self) -> (Map<String, Value>, BTreeSet<String>) {
        let mut requests = Value::Object(Map::from_iter([("schemas".to_owned(), Value::Object(self.requests.take_definitions(true)))]));
        shape::close(&mut requests);
        tidy::request(&mut requests);
        let Value::Object(requests) = requests["schemas"].take() else { return (Map::new(), BTreeSet::new()) };
        let mut answers = self.answers.take_definitions(true);
        answers.values_mut().for_each(|schema| {
            shape::restrict_codes(schema);
            tidy::answer(schema);
        });
        let renamed = differing(&requests, &answers);
        let mut all: BTreeMap<String, Value> = answers.into_iter().collect();
        for (name, mut schema) in requests {
            rename(&mut schema, &renamed);
            let name = if renamed.contains(&name) { name + SUFFIX } else { name };
            all.insert(name, schema);
        }
        (all.into_iter().collect(), renamed)
    }
}

/// Names that mean different schemas in requests and answers, by themselves or by what they refer to.
fn differing(requests: &Map<String, Value>, answers: &Map<String, Value>) -> BTreeSet<String> {
    let mut renamed = BTreeSet::new();
    loop {
        let differs = |(name, schema): &(&String, &Value)| {
            answers.get(*name).is_some_and(|answer| {
                let mut schema = (*schema).clone();
                rename(&mut schema, &renamed);
                schema != *answer
            })
        };
        let found: BTreeSet<_> = requests.iter().filter(differs).map(|(name, _)| name.clone()).collect();
        if found == renamed {
            return renamed;
        }
        renamed = found;
    }
}

/// Lets references of a request's schema point at the new names.
pub(super) fn rename(schema: &mut Value, renamed: &BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for (keyword, member) in members {
                match member {
                    Value::String(target) if keyword == "$ref" => {
                        if target.strip_prefix(PREFIX).is_some_and(|name| renamed.contains(name)) {
                            target.push_str(SUFFIX);
                        }
                    }
                    member => rename(member, renamed),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, renamed)),
        _ => {}
    }
}
