//! Queries of Meilisearch, as far as Merx asks them: filters, orders and facets, over documents as they were sent.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Value, json};

/// The value of a field, which may lie below others: `sales.0.from`.
fn field<'d>(document: &'d Value, name: &str) -> &'d Value {
    name.split('.').fold(document, |value, part| &value[part])
}

/// Returns true where `document` fits the filters of a query: all of a list, each of which is an expression.
pub fn fits(filter: &Value, document: &Value) -> bool {
    match filter {
        Value::Null => true,
        Value::Array(all) => all.iter().all(|filter| fits(filter, document)),
        Value::String(text) => {
            let mut parser = Parser { tokens: tokens(text), at: 0, document };
            let fits = parser.any();
            assert_eq!(parser.at, parser.tokens.len(), "{text} is no filter");
            fits
        }
        other => panic!("{other} is no filter"),
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            ' ' => {}
            '"' => tokens.push(format!("\"{}", chars.by_ref().take_while(|char| *char != '"').collect::<String>())),
            '(' | ')' | '[' | ']' | ',' => tokens.push(char.to_string()),
            _ => {
                let mut word = char.to_string();
                while let Some(next) = chars.next_if(|next| !" \"()[],".contains(*next)) {
                    word.push(next);
                }
                tokens.push(word);
            }
        }
    }
    tokens
}

struct Parser<'d> {
    tokens: Vec<String>,
    at: usize,
    document: &'d Value,
}

impl Parser<'_> {
    fn take(&mut self) -> String {
        self.at += 1;
        self.tokens.get(self.at - 1).cloned().unwrap_or_else(|| panic!("{:?} ends too soon", self.tokens))
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is_next = self.tokens.get(self.at).is_some_and(|next| next == word);
        self.at += usize::from(is_next);
        is_next
    }

    fn any(&mut self) -> bool {
        let mut fits = self.all();
        while self.take_if("OR") {
            fits |= self.all();
        }
        fits
    }

    fn all(&mut self) -> bool {
        let mut fits = self.one();
        while self.take_if("AND") {
            fits &= self.one();
        }
        fits
    }

    fn one(&mut self) -> bool {
        if self.take_if("NOT") {
            return !self.one();
        }
        if self.take_if("(") {
            let fits = self.any();
            assert!(self.take_if(")"), "{:?}", self.tokens);
            return fits;
        }
        let (name, operator) = (self.take(), self.take());
        let document = self.document;
        let value = field(document, &name);
        match operator.as_str() {
            "EXISTS" => !value.is_null(),
            "IN" => {
                assert!(self.take_if("["), "{:?}", self.tokens);
                let mut is_in = false;
                while !self.take_if("]") {
                    let wanted = self.take();
                    is_in |= wanted != "," && is_same(value, &wanted);
                }
                is_in
            }
            "=" => is_same(value, &self.take()),
            operator => {
                let wanted: f64 = self.take().parse().expect("a number");
                let order = value.as_f64().and_then(|value| value.partial_cmp(&wanted));
                order.is_some_and(|order| match operator {
                    ">=" => order.is_ge(),
                    "<=" => order.is_le(),
                    ">" => order.is_gt(),
                    "<" => order.is_lt(),
                    other => panic!("{other} is no operator"),
                })
            }
        }
    }
}

fn is_same(value: &Value, wanted: &str) -> bool {
    let wanted = wanted.trim_start_matches('"');
    match value {
        Value::Array(all) => all.iter().any(|value| is_same(value, wanted)),
        Value::String(text) => text.eq_ignore_ascii_case(wanted),
        Value::Bool(known) => known.to_string() == wanted,
        Value::Number(known) => known.to_string() == wanted,
        Value::Null | Value::Object(_) => false,
    }
}

/// A number, where the document has one, and whether the greatest comes first.
type SortValue = (Option<f64>, bool);

/// Key that a document is sorted by: a value for each of the orders of a query, and whether the greatest comes first.
pub fn sort_key(sort: &Value, document: &Value) -> Vec<SortValue> {
    let key = |order: &Value| {
        let (name, direction) = order.as_str().and_then(|order| order.rsplit_once(':')).expect("an order");
        (field(document, name).as_f64(), direction == "desc")
    };
    sort.as_array().into_iter().flatten().map(key).collect()
}

/// The order of two documents, which other queries may have found by other fields: what has no value comes last.
pub fn compare(one: &[SortValue], other: &[SortValue]) -> Ordering {
    let of = |((one, is_down), (other, _)): (&SortValue, &SortValue)| match (one, other) {
        (Some(one), Some(other)) if *is_down => other.total_cmp(one),
        (Some(one), Some(other)) => one.total_cmp(other),
        (one, other) => other.is_some().cmp(&one.is_some()),
    };
    one.iter().zip(other).map(of).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// Counts of the values in `found`, and the bounds that numbers are between, by name.
pub fn facets(names: &[Value], found: &[Value]) -> (Value, Value) {
    let (mut distribution, mut stats) = (json!({}), json!({}));
    for name in names.iter().filter_map(Value::as_str) {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for document in found {
            let values = match field(document, name) {
                Value::Array(all) => all.clone(),
                Value::Null => Vec::new(),
                other => vec![other.clone()],
            };
            for value in values {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                *counts.entry(text).or_default() += 1;
                if let Some(number) = value.as_f64() {
                    let known =
                        |bound: &str, of: fn(f64, f64) -> f64| stats[name][bound].as_f64().map_or(number, |known| of(known, number));
                    stats[name] = json!({"min": known("min", f64::min), "max": known("max", f64::max)});
                }
            }
        }
        distribution[name] = json!(counts);
    }
    (distribution, stats)
}
