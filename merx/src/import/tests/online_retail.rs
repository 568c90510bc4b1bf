//! Imports that are repeated, killed, cut off, or at odds with each other.

use std::{io::Write, path::Path};

use event_schemas::{
    Event,
    events::{order, product, stock},
};

use super::database::{self, Database};
use crate::import::{
    Error, Products, Tally,
    online_retail::{Options, Summary, run},
    progress,
};

const EXCERPT: &str = include_str!("../../../../demo/online-retail-excerpt.csv");
const WITH_STOCK: Options = Options { stock: Some(10) };

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

async fn import(database: &Database, text: &str, options: Options) -> Result<Summary, Error> {
    run(&database.store, file(text).path(), options, &progress::silent()).await
}

#[tokio::test]
async fn importing_the_same_file_again_changes_nothing() {
    let Some(database) = database::new().await else { return };
    let first = import(&database, EXCERPT, WITH_STOCK).await.unwrap();
    let head = database.store.head().await.unwrap();
    let again = import(&database, EXCERPT, WITH_STOCK).await.unwrap();
    assert_eq!(database.store.head().await.unwrap(), head);

    let swapped = |tally: Tally| Tally { new: tally.already, already: tally.new };
    assert_eq!((first.orders.already, first.returns.already, first.rejected.rows), (0, 0, 0), "{first}");
    assert_eq!(again.products, Products { already: first.products.created, ..Products::default() });
    let told = |summary: &Summary| [summary.orders, summary.returns, summary.corrections, summary.received];
    assert_eq!(told(&again), told(&first).map(swapped));
    assert_eq!((again.gross, again.returned, again.net), (first.gross, first.returned, first.net));

    let more = import(&database, EXCERPT, Options { stock: Some(500) }).await.unwrap();
    assert_eq!((database.store.head().await.unwrap(), more.received.new), (head, 0), "units are received once");
    database.drop().await;
}

#[tokio::test]
async fn a_row_is_a_line_of_an_order_or_of_a_return_or_a_correction() {
    let Some(database) = database::new().await else { return };
    let summary = import(&database, EXCERPT, WITH_STOCK).await.unwrap();
    let (mut lines, mut corrections, mut actors) = (0, 0, std::collections::BTreeSet::new());
    for recorded in database.events().await {
        actors.insert(recorded.metadata.actor);
        match recorded.event {
            Event::Order(order::Event::Imported(imported)) => lines += imported.lines.len() as u64,
            Event::Order(order::Event::ReturnImported(imported)) => lines += imported.lines.len() as u64,
            Event::Stock(stock::Event::CorrectionImported(_)) => corrections += 1,
            Event::Stock(stock::Event::Received(received)) => {
                assert_eq!((received.quantity, received.reference.as_str()), (10, "import:online-retail"));
            }
            Event::Product(product::Event::Created(_) | product::Event::Archived(_)) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((lines + corrections, corrections), (summary.rows, summary.corrections.new));
    assert_eq!(lines, summary.item_lines + summary.charge_lines);
    assert_eq!(actors.into_iter().collect::<Vec<_>>(), ["import:online-retail"]);
    database.drop().await;
}

#[tokio::test]
async fn a_killed_import_goes_on_where_it_stopped() {
    let (Some(whole), Some(killed)) = (database::new().await, database::new().await) else { return };
    import(&whole, EXCERPT, WITH_STOCK).await.unwrap();
    let expected = whole.content().await;
    let excerpt = file(EXCERPT);
    for _ in 0..1_000 {
        let before = killed.store.head().await.unwrap();
        let progress = progress::silent();
        let import = run(&killed.store, excerpt.path(), WITH_STOCK, &progress);
        tokio::select! {
            done = import => { done.unwrap(); break }
            () = written_more(&killed, before + 60) => {}
        }
    }
    assert_eq!(killed.content().await, expected);
    whole.drop().await;
    killed.drop().await;
}

async fn written_more(database: &Database, than: i64) {
    while database.store.head().await.unwrap() <= than {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_damaged_file_changes_nothing() {
    let Some(database) = database::new().await else { return };
    let cut = &EXCERPT[..EXCERPT.len() / 2];
    assert!(matches!(import(&database, cut, WITH_STOCK).await, Err(Error::Damaged { .. })));
    assert!(matches!(import(&database, &EXCERPT.replace("InvoiceNo", "Invoice"), WITH_STOCK).await, Err(Error::Header { .. })));
    assert!(matches!(run(&database.store, Path::new("/nowhere"), WITH_STOCK, &progress::silent()).await, Err(Error::Open { .. })));
    assert_eq!(database.store.head().await.unwrap(), 0);
    database.drop().await;
}

#[tokio::test]
async fn a_longer_file_adds_what_is_new_and_changes_what_is_different() {
    let Some(database) = database::new().await else { return };
    let header = EXCERPT.lines().next().unwrap();
    let early = format!("{header}\n1,21212,OLD,1,2011-02-01 11:19:00,2.5,,UK\n2,21213,gone,-1,2011-02-01 11:20:00,0.0,,UK\n");
    let late = format!("{early}3,21212,NEW,1,2011-02-02 11:19:00,3,,UK\n3,21213,FOUND,1,2011-02-02 11:19:00,4,,UK\n");
    import(&database, &early, Options::default()).await.unwrap();
    let summary = import(&database, &late, Options::default()).await.unwrap();
    assert_eq!((summary.orders, summary.corrections), (Tally { new: 1, already: 1 }, Tally { new: 0, already: 1 }));
    assert_eq!(summary.products, Products { changed: 2, ..Products::default() });
    let head = database.store.head().await.unwrap();
    import(&database, &early, Options::default()).await.unwrap();
    assert_eq!(database.store.head().await.unwrap(), head, "the older file brings nothing that was not there");
    let types: Vec<_> =
        database.events().await.into_iter().filter(|e| e.stream.as_str() == "product-21213").map(|e| e.event.event_type()).collect();
    assert_eq!(types, ["ProductCreated", "ProductArchived", "ProductDescribed", "ProductRepriced", "ProductActivated"]);
    database.drop().await;
}

#[tokio::test]
async fn an_invoice_that_is_in_the_log_with_other_lines_is_reported() {
    let Some(database) = database::new().await else { return };
    let header = EXCERPT.lines().next().unwrap();
    let row = |time: &str, price: &str| format!("1,21212,a,1,2011-02-01 {time},{price},,UK\n");
    import(&database, &format!("{header}\n{}", row("11:19:00", "2")), Options::default()).await.unwrap();
    let head = database.store.head().await.unwrap();
    for other in [row("11:19:00", "2") + &row("11:19:00", "2"), row("11:20:00", "2")] {
        let summary = import(&database, &format!("{header}\n{other}"), Options::default()).await.unwrap();
        assert_eq!((database.store.head().await.unwrap(), summary.orders), (head, Tally::default()));
        let told = summary.rejected.to_string();
        assert!(told.contains("line 2: invoice 1 is in the log already with other lines"), "{told}");
        assert_eq!(summary.rejected.rows, other.lines().count() as u64);
    }
    database.drop().await;
}
