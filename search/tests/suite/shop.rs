//! A small catalogue, and questions about it.

use std::sync::Arc;

use event_schemas::Money;
use search::{
    Answer, Category, Changes, Document, Index, Place, Request,
    query::{FacetName, Words},
};

/// A product with nothing but a SKU and a title.
pub fn product(sku: &str, title: &str) -> Document {
    Document {
        sku: sku.to_owned(),
        title: title.to_owned(),
        description: String::new(),
        brand: None,
        categories: Vec::new(),
        attributes: Vec::new(),
        price: price("10.00"),
        sales: Vec::new(),
        in_stock: true,
        rating_sum: 0,
        rating_count: 0,
        created: sku.bytes().fold(7, |number, byte| (number * 31 + i64::from(byte)) % 1_000_000_007),
    }
}

pub fn price(amount: &str) -> Money {
    Money::new(amount.parse().expect("an amount"), "GBP".parse().expect("a currency"))
}

pub fn category(id: &str, name: &str) -> Category {
    Category { id: id.to_owned(), name: name.to_owned() }
}

/// A product in a category of the kitchen, by a maker, in a colour.
pub fn kitchen(sku: &str, title: &str, below: &str, brand: &str, colour: &str, amount: &str) -> Document {
    Document {
        categories: vec![category(below, below), category("kitchen", "Kitchen")],
        brand: Some(brand.to_owned()),
        attributes: vec![("colour".to_owned(), colour.to_owned())],
        price: price(amount),
        ..product(sku, title)
    }
}

pub fn at(position: i64) -> Place {
    Place { position, ..Place::default() }
}

/// Puts `documents` into `index`, which is made with them where there is none yet.
pub async fn fill(index: &Arc<dyn Index>, documents: Vec<Document>) {
    if index.place().await.expect("a place").is_some() {
        return change(index, Changes { documents, removed: Vec::new() }, 1).await;
    }
    index.begin_rebuild().await.expect("begun");
    assert_eq!(index.rebuild(documents).await.expect("added"), []);
    index.finish_rebuild(at(1)).await.expect("finished");
}

/// Makes `changes` to `index`, which comes to `position` by them.
pub async fn change(index: &Arc<dyn Index>, changes: Changes, position: i64) {
    assert_eq!(index.take(changes).await.expect("taken"), []);
    index.reach(at(position)).await.expect("reached");
}

pub fn asking(text: &str) -> Request {
    Request { words: Words::of(text), limit: 50, ..Request::default() }
}

pub fn facet(name: &str) -> FacetName {
    FacetName::parse(name).expect("a facet")
}

pub async fn ask(index: &Arc<dyn Index>, request: &Request) -> Answer {
    index.search(request).await.expect("an answer")
}

/// The SKUs found for `text`, the best first.
pub async fn found(index: &Arc<dyn Index>, text: &str) -> Vec<String> {
    ask(index, &asking(text)).await.skus
}
