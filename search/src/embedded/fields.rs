//! The fields of the embedded index, and a document in them.

use tantivy::{
    TantivyDocument, Term,
    schema::{FAST, Field, IndexRecordOption, STORED, STRING, Schema, TextFieldIndexing, TextOptions},
};

use super::prices;
use crate::{Document, document::rating_order, text};

/// Before what a word is a form of: no word that anybody types begins with it.
pub const BASE: char = '\u{1}';
/// Between the name and the value of an attribute, and the id and the name of a category.
pub const SEPARATOR: char = '\u{0}';
/// The most words that are indexed of one field.
const MOST_WORDS: usize = 2_000;

/// Where a word stands, and what a match there is worth against one in the title.
#[derive(Debug, Clone, Copy)]
pub struct Source {
    pub field: Field,
    pub weight: f32,
    /// Whether words that begin like the last one typed are looked for here, and misspelt ones.
    pub is_completed: bool,
}

/// The fields. Words are indexed without their frequencies: what is short says a word once, and in what is long it should not count more.
#[derive(Debug, Clone)]
pub struct Fields {
    pub schema: Schema,
    pub sku: Field,
    pub code: Field,
    pub title: Field,
    pub joined: Field,
    pub brand_words: Field,
    pub category_words: Field,
    pub attribute_words: Field,
    pub description: Field,
    pub shown: Field,
    pub brand: Field,
    pub category: Field,
    pub category_name: Field,
    pub attribute: Field,
    pub stock: Field,
    pub prices: Field,
    pub currency: Field,
    pub created: Field,
    pub rating: Field,
    pub title_words: Field,
    pub title_pairs: Field,
    pub maker_words: Field,
}

impl Fields {
    pub fn new() -> Self {
        let mut schema = Schema::builder();
        let indexing = || TextFieldIndexing::default().set_tokenizer("whitespace").set_index_option(IndexRecordOption::Basic);
        let words = TextOptions::default().set_indexing_options(indexing().set_fieldnorms(false));
        Self {
            sku: schema.add_text_field("sku", STRING | STORED),
            code: schema.add_text_field("code", words.clone()),
            title: schema.add_text_field("title", words.clone()),
            joined: schema.add_text_field("joined", words.clone()),
            brand_words: schema.add_text_field("brand_words", words.clone()),
            category_words: schema.add_text_field("category_words", words.clone()),
            attribute_words: schema.add_text_field("attribute_words", words.clone()),
            description: schema.add_text_field("description", words),
            shown: schema.add_text_field("shown", STORED),
            brand: schema.add_text_field("brand", STRING | FAST),
            category: schema.add_text_field("category", STRING | FAST),
            category_name: schema.add_text_field("category_name", STRING),
            attribute: schema.add_text_field("attribute", STRING | FAST),
            stock: schema.add_text_field("stock", STRING | FAST),
            prices: schema.add_i64_field("prices", FAST),
            currency: schema.add_text_field("currency", STRING),
            created: schema.add_i64_field("created", FAST),
            rating: schema.add_u64_field("rating", FAST),
            title_words: schema.add_u64_field("title_words", FAST),
            title_pairs: schema.add_u64_field("title_pairs", FAST),
            maker_words: schema.add_u64_field("maker_words", FAST),
            schema: schema.build(),
        }
    }

    /// Where words are looked for, the most telling first.
    pub fn sources(&self) -> [Source; 7] {
        let source = |field, weight, is_completed| Source { field, weight, is_completed };
        [
            source(self.code, 1.0, true),
            source(self.title, 1.0, true),
            source(self.joined, 0.95, true),
            source(self.brand_words, 0.9, true),
            source(self.category_words, 0.75, true),
            source(self.attribute_words, 0.75, true),
            source(self.description, 0.6, false),
        ]
    }

    /// The term that a document is replaced by.
    pub fn key(&self, sku: &str) -> Term {
        Term::from_field_text(self.sku, sku)
    }

    pub fn document(&self, of: &Document) -> TantivyDocument {
        let mut document = TantivyDocument::new();
        let title = texts(&of.title);
        document.add_text(self.sku, &of.sku);
        document.add_text(self.shown, &of.title);
        self.add_words(&mut document, of, &title);
        for (a, b) in title.iter().zip(title.iter().skip(1)) {
            document.add_u64(self.title_pairs, text::number(&format!("{a}{b}")));
        }
        for word in &title {
            document.add_u64(self.title_words, text::number(&text::base(word)));
        }
        if let Some(brand) = &of.brand {
            document.add_text(self.brand, brand);
            for word in texts(brand) {
                document.add_u64(self.maker_words, text::number(&text::base(&word)));
            }
        }
        for category in &of.categories {
            document.add_text(self.category, &category.id);
            document.add_text(self.category_name, format!("{}{SEPARATOR}{}", category.id, category.name));
        }
        for (name, value) in &of.attributes {
            document.add_text(self.attribute, format!("{name}{SEPARATOR}{value}"));
        }
        document.add_text(self.stock, of.in_stock.to_string());
        for number in prices::column(of) {
            document.add_i64(self.prices, number);
        }
        for price in std::iter::once(&of.price).chain(of.sales.iter().map(|sale| &sale.price)) {
            document.add_text(self.currency, price.currency.code());
        }
        document.add_i64(self.created, of.created);
        document.add_u64(self.rating, rating_order(of.rating_sum, of.rating_count));
        document
    }

    fn add_words(&self, document: &mut TantivyDocument, of: &Document, title: &[String]) {
        let code = texts(&of.sku);
        let brand = of.brand.as_deref().map(texts).unwrap_or_default();
        let categories: Vec<String> = of.categories.iter().flat_map(|c| texts(&c.name).into_iter().chain(texts(&c.id))).collect();
        let attributes: Vec<Vec<String>> = of.attributes.iter().map(|(_, value)| texts(value)).collect();
        let names = of.attributes.iter().flat_map(|(name, _)| texts(name));
        // What is split one way in the catalogue is split another way, or not at all, by whoever asks.
        let all = [title, &code, &brand].into_iter().chain(attributes.iter().map(Vec::as_slice));
        let joined: Vec<String> = all.flat_map(|words| text::joined(words).map(|(_, text)| text)).collect();
        document.add_text(self.code, indexed(&code));
        document.add_text(self.title, indexed(title));
        document.add_text(self.joined, joined.join(" "));
        document.add_text(self.brand_words, indexed(&brand));
        document.add_text(self.category_words, indexed(&categories));
        document.add_text(self.attribute_words, indexed(&attributes.iter().flatten().cloned().chain(names).collect::<Vec<_>>()));
        document.add_text(self.description, indexed(&texts(&of.description)));
    }
}

fn texts(text: &str) -> Vec<String> {
    text::words(text).take(MOST_WORDS).map(|word| word.text).collect()
}

/// The words, and what those are forms of that are some.
fn indexed(words: &[String]) -> String {
    let mut terms = String::with_capacity(words.iter().map(|word| word.len() + 2).sum());
    for word in words {
        terms.push_str(word);
        terms.push(' ');
        let one = text::base(word);
        if one != *word {
            terms.extend([BASE]);
            terms.push_str(&one);
            terms.push(' ');
        }
    }
    terms
}
