//! Catalogues.

use std::io::Write;

use event_schemas::{Event, events::product};

use super::database::{self, Database};
use crate::import::{
    Error, Products, Tally,
    catalogue::{Summary, run},
    progress,
};

const CATALOGUE: &str = "sku,title,description,category,brand,price,currency,stock,colour\n\
    MUG-1,Mug,Holds tea,Home & Garden,Acme,4.50,GBP,10,blue\n\
    MUG-2,\"Mug, big\",,Home & Garden,,5,GBP,,\n\
    MUG-1,Mug again,,,,1,GBP,1,\n\
    MUG-3,,,,,1,GBP,1,\n\
    PEN-1,Pen,,office,,0.99,EUR,3,black\n";

async fn import(database: &Database, text: &str) -> Result<Summary, Error> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    run(&database.store, file.path(), &progress::silent()).await
}

#[tokio::test]
async fn rows_become_products_once_and_bad_rows_are_told() {
    let Some(database) = database::new().await else { return };
    let first = import(&database, CATALOGUE).await.unwrap();
    assert_eq!((first.rows, first.categories.new, first.products.created, first.received.new), (5, 2, 3, 2));
    let told = first.rejected.to_string();
    assert!(told.contains("line 4: sku MUG-1 is on line 2 already\n  line 5: title is empty"), "{told}");
    let head = database.store.head().await.unwrap();
    let again = import(&database, CATALOGUE).await.unwrap();
    assert_eq!((database.store.head().await.unwrap(), again.received), (head, Tally { new: 0, already: 2 }));
    database.drop().await;
}

#[tokio::test]
async fn a_product_that_is_different_becomes_as_the_file_says() {
    let Some(database) = database::new().await else { return };
    import(&database, CATALOGUE).await.unwrap();
    let changed = CATALOGUE.replace("4.50,GBP,10,blue", "4.75,GBP,10,").replace("Acme", "");
    let summary = import(&database, &changed).await.unwrap();
    assert_eq!((summary.products, summary.received.new), (Products { created: 0, changed: 1, already: 2 }, 0));
    let events = database.events().await;
    let described = events.iter().rev().find_map(|recorded| match &recorded.event {
        Event::Product(product::Event::Described(described)) => Some(described.description.clone()),
        _ => None,
    });
    let described = described.unwrap();
    assert_eq!((described.brand, described.attributes.len(), described.description.as_deref()), (None, 0, Some("Holds tea")));
    import(&database, CATALOGUE).await.unwrap();
    let back = import(&database, CATALOGUE).await.unwrap();
    assert_eq!(back.products.already, 3, "what the file said before can be said again");
    database.drop().await;
}

#[tokio::test]
async fn a_damaged_catalogue_changes_nothing() {
    let Some(database) = database::new().await else { return };
    let cut = &CATALOGUE[..CATALOGUE.len() - 12];
    assert!(matches!(import(&database, cut).await, Err(Error::Damaged { line: 6, .. })));
    assert!(matches!(import(&database, "sku,title\nA,B\n").await, Err(Error::Header { .. })));
    assert!(matches!(import(&database, "").await, Err(Error::Header { .. })));
    assert_eq!(database.store.head().await.unwrap(), 0);
    database.drop().await;
}
