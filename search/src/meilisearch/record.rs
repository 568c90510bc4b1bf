//! A document as Meilisearch keeps it.

use std::collections::{BTreeMap, BTreeSet};

use event_schemas::Money;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{charge::Prices, key};
use crate::{Category, Document, document::rating_order, text};

/// The field that tells one record from another.
pub const ID: &str = "id";
/// The most words of one field.
const MOST_WORDS: usize = 2_000;
/// As much of a description is kept to rank by.
const SHOWN_CHARACTERS: usize = 2_000;
/// Between the id and the name of a category; neither's name has it.
pub const SEPARATOR: char = '/';

/// What is searched, filtered and sorted by. Words with digits stand apart from the others, since they tolerate no typos.
#[derive(Debug, Serialize)]
struct Record<'a> {
    id: String,
    sku: &'a str,
    code: String,
    title: String,
    title_numbers: String,
    joined: String,
    joined_numbers: String,
    brand_words: String,
    bases: String,
    category_words: String,
    attribute_words: String,
    numbers: String,
    description: String,
    brand: Option<String>,
    category: Vec<String>,
    category_name: Vec<String>,
    attributes: BTreeMap<String, String>,
    in_stock: bool,
    #[serde(flatten)]
    prices: Prices,
    rating: u64,
    created: i64,
    shown: Shown,
}

/// What a record is ranked by once it is found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Shown {
    title: String,
    description: String,
    brand: Option<String>,
    categories: Vec<Category>,
    attributes: Vec<(String, String)>,
    price: Money,
}

impl Shown {
    /// What people read.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// The document that this was made of, as far as its words go.
    pub fn document(self, sku: String, created: i64) -> Document {
        let Self { title, description, brand, categories, attributes, price } = self;
        Document {
            sku,
            title,
            description,
            brand,
            categories,
            attributes,
            price,
            sales: Vec::new(),
            in_stock: false,
            rating_sum: 0,
            rating_count: 0,
            created,
        }
    }
}

/// The record of `document`, as JSON.
pub fn of(document: &Document) -> Result<Box<RawValue>, serde_json::Error> {
    let words = Words::of(document);
    let all = || words.all();
    let is_number = |word: &&str| word.bytes().any(|b| b.is_ascii_digit());
    let bases: BTreeSet<_> = all().map(|word| (word, text::base(word))).filter(|(word, base)| word != base).map(|(_, base)| base).collect();
    let title = |wanted: bool| joined(words.title.iter().map(String::as_str).filter(|word| is_number(word) == wanted));
    let run_together = |wanted: bool| joined(words.joined.iter().map(String::as_str).filter(|word| is_number(word) == wanted));
    let plain = |of: &[String]| joined(of.iter().map(String::as_str).filter(|word| !is_number(word)));
    let below_title = [&words.brand, &words.categories, &words.attributes, &words.description].into_iter().flatten();
    to_raw_value(&Record {
        id: key::of(&document.sku),
        sku: &document.sku,
        code: joined(words.code.iter().map(String::as_str)),
        title: title(false),
        title_numbers: title(true),
        joined: run_together(false),
        joined_numbers: run_together(true),
        brand_words: plain(&words.brand),
        bases: joined(bases.iter().map(AsRef::as_ref)),
        category_words: plain(&words.categories),
        attribute_words: plain(&words.attributes),
        numbers: joined(below_title.map(String::as_str).filter(is_number)),
        description: plain(&words.description),
        brand: document.brand.as_deref().map(key::of),
        category: document.categories.iter().map(|category| key::of(&category.id)).collect(),
        category_name: document.categories.iter().map(|c| format!("{}{SEPARATOR}{}", key::of(&c.id), key::of(&c.name))).collect(),
        attributes: document.attributes.iter().map(|(name, value)| (key::of(name), key::of(value))).collect(),
        in_stock: document.in_stock,
        prices: Prices::of(document)?,
        rating: rating_order(document.rating_sum, document.rating_count),
        created: document.created,
        shown: Shown {
            title: document.title.clone(),
            description: document.description.chars().take(SHOWN_CHARACTERS).collect(),
            brand: document.brand.clone(),
            categories: document.categories.clone(),
            attributes: document.attributes.clone(),
            price: document.price,
        },
    })
}

/// The words of a document, by where they stand.
struct Words {
    code: Vec<String>,
    title: Vec<String>,
    joined: Vec<String>,
    brand: Vec<String>,
    categories: Vec<String>,
    attributes: Vec<String>,
    description: Vec<String>,
}

impl Words {
    fn of(document: &Document) -> Self {
        let (code, title) = (cut(&document.sku), cut(&document.title));
        let brand = document.brand.as_deref().map(cut).unwrap_or_default();
        let values: Vec<Vec<String>> = document.attributes.iter().map(|(_, value)| cut(value)).collect();
        // What is split one way in the catalogue is split another way, or not at all, by whoever asks.
        let split = [&code, &title, &brand].into_iter().chain(&values);
        let joined = split.flat_map(|words| text::joined(words).map(|(_, text)| text).collect::<Vec<_>>()).collect();
        let categories = document.categories.iter().flat_map(|c| cut(&c.name).into_iter().chain(cut(&c.id))).collect();
        let names = document.attributes.iter().flat_map(|(name, _)| cut(name));
        let attributes = values.iter().flatten().cloned().chain(names).collect();
        Self { joined, code, title, brand, categories, attributes, description: cut(&document.description) }
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        let Self { code, title, joined: _, brand, categories, attributes, description } = self;
        [code, title, brand, categories, attributes, description].into_iter().flatten().map(String::as_str)
    }
}

fn cut(text: &str) -> Vec<String> {
    text::words(text).take(MOST_WORDS).map(|word| word.text).collect()
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}
