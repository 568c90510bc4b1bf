//! Catalogues.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
};

use command_api::handler::{Context, Handler};
use domain::{
    Aggregate,
    category::{self as category_rules, Category},
    stock::{self, Stock},
};
use event_schemas::{
    Event, StreamId,
    events::{category, product},
    ids::{CategoryId, OrderId},
};
use uuid::Uuid;

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
    run(&database.store, file.path(), None, &progress::silent()).await
}

#[tokio::test]
async fn rows_become_products_once_and_bad_rows_are_told() {
    let Some(database) = database::new().await else { return };
    let first = import(&database, CATALOGUE).await.unwrap();
    assert_eq!((first.rows, first.categories.new, first.products.created, first.counted.new), (5, 2, 3, 2));
    let told = first.rejected.to_string();
    assert!(told.contains("line 4: sku MUG-1 is on line 2 already\n  line 5: title is empty"), "{told}");
    let head = database.store.head().await.unwrap();
    let again = import(&database, CATALOGUE).await.unwrap();
    assert_eq!((database.store.head().await.unwrap(), again.counted), (head, Tally { new: 0, already: 2 }));
    database.drop().await;
}

#[tokio::test]
async fn a_product_that_is_different_becomes_as_the_file_says() {
    let Some(database) = database::new().await else { return };
    import(&database, CATALOGUE).await.unwrap();
    let changed = CATALOGUE.replace("4.50,GBP,10,blue", "4.75,GBP,10,").replace("Acme", "");
    let summary = import(&database, &changed).await.unwrap();
    assert_eq!((summary.products, summary.counted.new), (Products { created: 0, changed: 1, already: 2 }, 0));
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

/// Units on hand of a SKU, from its events.
async fn on_hand(database: &Database, sku: &str) -> i64 {
    let stream = format!("stock-{sku}");
    let events = database.events().await;
    let state = events.iter().filter(|recorded| recorded.stream.as_str() == stream).fold(stock::State::default(), |state, recorded| {
        let Event::Stock(event) = &recorded.event else { panic!("{recorded:?}") };
        Stock::evolve(state, event, recorded.recorded_at)
    });
    state.on_hand()
}

fn with_stock(units: &str) -> String {
    format!("sku,title,price,currency,stock\nMUG-1,Mug,4.50,GBP,{units}\n")
}

#[tokio::test]
async fn the_stock_of_a_row_is_what_is_on_hand_afterwards() {
    let Some(database) = database::new().await else { return };
    for (units, expected, is_new) in [("10", 10, 1), ("10", 10, 0), ("4", 4, 1), ("10", 10, 1), ("10", 10, 0), ("0", 0, 1), ("10", 10, 1)] {
        let summary = import(&database, &with_stock(units)).await.unwrap();
        assert_eq!(summary.counted, Tally { new: is_new, already: 1 - is_new }, "{units}");
        assert_eq!(on_hand(&database, "MUG-1").await, expected, "after {units}");
    }
    let empty = import(&database, &with_stock("")).await.unwrap();
    assert_eq!((empty.counted, on_hand(&database, "MUG-1").await), (Tally::default(), 10), "an empty cell says nothing");
    let stock = Handler::<Stock>::new(database.store.clone(), 1);
    let order = OrderId(Uuid::now_v7());
    let until = "2100-01-01T00:00:00Z".parse().unwrap();
    let held = stock::Command::Reserve { order, quantity: 6, until, customer: "ann".into(), sale: None };
    let context = Context::new(chrono::Utc::now().into(), "test");
    stock.run(&StreamId::stock(&"MUG-1".parse().unwrap()), &held, &context, |_, _| ()).await.unwrap();
    let fewer = import(&database, &with_stock("5")).await.unwrap();
    let told = fewer.rejected.to_string();
    assert!(told.contains("line 2: the product is imported, but not its stock 5: 6 units are held"), "{told}");
    assert_eq!(on_hand(&database, "MUG-1").await, 10);
    database.drop().await;
}

/// The categories of products, and the names of categories.
async fn categories(database: &Database) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
    let (mut of, mut names) = (BTreeMap::new(), BTreeMap::new());
    for recorded in database.events().await {
        let sku = recorded.stream.as_str().trim_start_matches("product-").to_owned();
        match recorded.event {
            Event::Product(product::Event::Created(created)) => {
                of.insert(sku, created.description.category.unwrap().to_string());
            }
            Event::Product(product::Event::Described(described)) => {
                of.insert(sku, described.description.category.unwrap().to_string());
            }
            Event::Category(category::Event::Created(created)) => {
                names.insert(created.id.to_string(), created.name);
            }
            _ => {}
        }
    }
    (of, names)
}

fn in_categories(names: &[&str]) -> String {
    let row = |(index, name): (usize, &&str)| format!("P-{index},Thing,4,GBP,{name}\n");
    format!("sku,title,price,currency,category\n{}", names.iter().enumerate().map(row).collect::<String>())
}

#[tokio::test]
async fn each_name_of_a_category_has_an_id_of_its_own_in_whatever_script() {
    let Some(database) = database::new().await else { return };
    let names =
        ["台所 1", "寝室 1", "Кухня", "Küche", "Kuche !", "Home & Garden", "Home / Garden", "home  & garden", "home-garden", "!!!", "???"];
    let first = import(&database, &in_categories(&names)).await.unwrap();
    assert_eq!((first.products.created, first.rejected.rows, first.categories.new), (11, 0, 10), "{first}");
    let (of, known) = categories(&database).await;
    let ids: BTreeSet<_> = of.values().collect();
    assert_eq!((ids.len(), known.len(), &of["P-5"]), (10, 10, &of["P-7"]), "{of:?}");
    assert_eq!((of["P-8"].as_str(), of["P-2"].as_str()), ("home-garden", "kukhnia"));
    assert!(of["P-5"].starts_with("home-garden-") && of["P-6"].starts_with("home-garden-"), "{of:?}");
    let head = database.store.head().await.unwrap();
    let again = import(&database, &in_categories(&names)).await.unwrap();
    assert_eq!((database.store.head().await.unwrap(), again.categories), (head, Tally { new: 0, already: 10 }));
    // Another file, in another order.
    let file = in_categories(&names).lines().enumerate().fold(String::new(), |text, (line, row)| match line {
        0 => format!("{row}\n"),
        _ => text.replacen('\n', &format!("\n{row}\n"), 1),
    });
    import(&database, &file).await.unwrap();
    assert_eq!(database.store.head().await.unwrap(), head);
    database.drop().await;
}

#[tokio::test]
async fn ids_that_earlier_imports_made_are_recognised_and_names_that_shared_one_are_taken_apart() {
    let Some(database) = database::new().await else { return };
    let handler = Handler::<Category>::new(database.store.clone(), 10);
    for (id, name) in [("k-che", "Küche"), ("1", "台所 1"), ("home-garden", "Home & Garden")] {
        let id: CategoryId = id.parse().unwrap();
        let stream = StreamId::category_of(&id);
        let command = category_rules::Command::Create { id, name: name.into(), parent: None, lineage: Vec::new() };
        handler.run(&stream, &command, &Context::new(chrono::Utc::now().into(), "test"), |_, _| ()).await.unwrap();
    }
    // An operator calls it otherwise since.
    let renamed = category_rules::Command::Change { name: Some("House & Garden".into()), parent: None, lineage: Vec::new(), height: 1 };
    let context = Context::new(chrono::Utc::now().into(), "test");
    handler.run(&StreamId::category_of(&"home-garden".parse().unwrap()), &renamed, &context, |_, _| ()).await.unwrap();
    let names = ["Küche", "台所 1", "寝室 1", "Home & Garden", "House & Garden"];
    let summary = import(&database, &in_categories(&names)).await.unwrap();
    assert_eq!(summary.categories, Tally { new: 2, already: 3 });
    let (of, _) = categories(&database).await;
    let ids: Vec<_> = (0..5).map(|index| of[&format!("P-{index}")].as_str()).collect();
    assert_eq!(ids, ["k-che", "1", "qin-shi-1", "home-garden", "house-garden"]);
    database.drop().await;
}

#[tokio::test]
async fn a_file_may_be_separated_by_semicolons_or_by_what_is_said() {
    let Some(database) = database::new().await else { return };
    let file = |separator: &str| {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(CATALOGUE.replace(',', separator).as_bytes()).unwrap();
        file
    };
    let semicolons = run(&database.store, file(";").path(), None, &progress::silent()).await.unwrap();
    assert_eq!((semicolons.rows, semicolons.products.created, semicolons.rejected.rows), (5, 3, 2), "{semicolons}");
    let carets = file("^");
    assert!(matches!(run(&database.store, carets.path(), None, &progress::silent()).await, Err(Error::Header { .. })));
    let told = run(&database.store, carets.path(), Some('^'), &progress::silent()).await.unwrap();
    assert_eq!((told.products.created, told.rows, told.rejected.rows), (0, 5, 2), "{told}");
    database.drop().await;
}
