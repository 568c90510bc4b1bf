//! Memory of a process with the largest events that the API takes: it is bounded in bytes, and not only in numbers.

use std::{io::Write as _, process::Stdio, time::Duration};

use futures::future::{join, join_all};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    server::{merx, most_resident_bytes},
    shop::{Shop, money},
};

const MOST_BYTES: u64 = 300_000_000;
const PRODUCTS: usize = 300;
/// Of one product: more than are kept in memory of it, by far.
const CHANGES: usize = 1_200;
/// As many wait for events meanwhile.
const FOLLOWERS: usize = 3;
/// Of the file that is imported.
const ROWS: usize = 500;

/// About 260 KB, which differ by `nth`: as many attributes as there may be, with as many characters, most of which have four bytes each.
fn description(nth: usize) -> Value {
    let attributes: serde_json::Map<String, Value> =
        (0..50).map(|name| (format!("attribute {name}"), json!(format!("{nth:08}{}", "\u{1f600}".repeat(900))))).collect();
    json!({"description": format!("{nth:08} {}", "\u{1f600}".repeat(19_900)), "attributes": attributes})
}

fn product(sku: &str, nth: usize) -> Value {
    let mut product = json!({"sku": sku, "title": "Large", "price": money("1.00")});
    product.as_object_mut().unwrap().extend(description(nth).as_object().unwrap().clone());
    product
}

async fn in_turns<T, F: Future<Output = T>>(many: usize, at_once: usize, make: impl Fn(usize) -> F) {
    for first in (0..many).step_by(at_once) {
        join_all((first..many.min(first + at_once)).map(&make)).await;
    }
}

/// Reads `path` page by page up to the end; the versions and positions on the way, and how many pages there were.
async fn pages(client: &Client, path: &str) -> (Vec<(i64, i64)>, usize) {
    let (mut seen, mut pages, mut cursor) = (Vec::new(), 0, String::new());
    loop {
        let page = client.get(&format!("{path}?limit=200{cursor}")).await.expect(200);
        let items = page.items();
        seen.extend(items.iter().map(|item| (item["version"].as_i64().unwrap(), item["position"].as_i64().unwrap())));
        pages += 1;
        match page["next_cursor"].as_str() {
            Some(next) if !items.is_empty() => cursor = format!("&cursor={next}"),
            _ => return (seen, pages),
        }
    }
}

/// Waits for what comes after `after`, until the head of the log is `end`.
async fn follow(client: &Client, mut after: i64, end: i64) {
    while after < end {
        let page = client.get(&format!("/v1/events?after={after}&wait=20")).await.expect(200);
        let next: i64 = page["next_cursor"].as_str().unwrap().parse().unwrap();
        assert!(next > after && page.items().iter().all(|item| item["position"].as_i64().unwrap() > after), "{after}, then {next}");
        after = next;
    }
}

#[tokio::test]
async fn the_largest_events_leave_a_server_small() {
    let Some(shop) = Shop::open().await else { return };
    let client: &Client = &shop;
    in_turns(PRODUCTS, 8, |nth| async move { client.post("/v1/products", product(&format!("L{nth}"), nth)).await.expect(201) }).await;
    let head = client.get("/v1/projections").await.expect(200)["head"].as_i64().unwrap();
    let changing = async {
        for nth in 0..CHANGES {
            client.patch("/v1/products/L0", description(PRODUCTS + nth)).await.expect(200);
        }
    };
    let end = head + CHANGES as i64;
    join(changing, join_all((0..FOLLOWERS).map(|_| follow(client, head, end)))).await;
    // The state of every hundredth version, several at once.
    in_turns(CHANGES / 100, 4, |nth| async move {
        let (version, attribute) = (nth * 100 + 101, format!("{:08}", PRODUCTS + nth * 100 + 99));
        let state = client.get(&format!("/v1/streams/product-L0/state?version={version}")).await.expect(200);
        assert!(state["state"].to_string().contains(&attribute), "version {version}");
    })
    .await;
    in_turns(4, 4, |_| async move {
        let (stream, stream_pages) = pages(client, "/v1/streams/product-L0").await;
        assert!(stream.iter().map(|(version, _)| *version).eq(1..=CHANGES as i64 + 1), "{stream:?}");
        assert!(stream_pages > 50, "{stream_pages} pages");
        let (log, _) = pages(client, "/v1/events").await;
        assert!(log.iter().map(|(_, position)| *position).eq(1..=log.len() as i64) && log.len() as i64 >= end);
    })
    .await;
    // Small events, each of which changes a large document.
    in_turns(PRODUCTS, 32, |nth| async move {
        client.patch(&format!("/v1/products/L{nth}"), json!({"price": money("2.00")})).await.expect(200);
    })
    .await;
    assert_eq!(client.all("/v1/products").await.len(), PRODUCTS, "however short the pages");
    for projection in ["catalogue", "search"] {
        client.post(&format!("/v1/projections/{projection}/rebuild"), json!({})).await.expect(202);
    }
    let limit = Instant::now() + Duration::from_mins(3);
    loop {
        let projections = client.get("/v1/projections").await.expect(200);
        if projections.items().iter().all(|item| item["lag"] == 0 && item["state"] == "live") {
            break;
        }
        assert!(Instant::now() < limit, "{:?}", projections.items());
        sleep(Duration::from_millis(200)).await;
    }
    // The index follows its rows; the largest of them take it a while.
    let head = client.get("/v1/projections").await.expect(200)["head"].as_i64().unwrap();
    while client.get_at("/v1/search?limit=1", head).await.status != 200 {
        assert!(Instant::now() < limit, "the index does not follow");
    }
    in_turns(4, 4, |_| async move {
        assert_eq!(client.all("/v1/search?price_min=2.00&currency=GBP").await.len(), PRODUCTS, "however short the pages");
    })
    .await;
    let last = format!("{:08} ", PRODUCTS + CHANGES - 1);
    assert!(client.get("/v1/products/L0").await.expect(200)["description"].as_str().unwrap().starts_with(&last));
    // Its search index was written to hundreds of times; a writer that was broken off in a rebuild may take a while to end.
    let writers = shop.servers[0].threads("segment_updater");
    assert!((1..5).contains(&writers), "{writers} writers of the search index");
    let most = shop.servers[0].most_resident_bytes();
    assert!(most < MOST_BYTES, "{} MB resident at most", most / 1_000_000);
}

#[tokio::test]
async fn the_largest_rows_leave_an_import_small() {
    let Some(shop) = Shop::open().await else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let attributes: Vec<String> = (0..50).map(|nth| format!("attribute {nth}")).collect();
    writeln!(file, "sku,title,description,price,currency,{}", attributes.join(",")).unwrap();
    for nth in 0..ROWS {
        let text = description(nth);
        let attributes: Vec<&str> = attributes.iter().map(|name| text["attributes"][name].as_str().unwrap()).collect();
        writeln!(file, "R{nth},Large,{},1.00,GBP,{}", text["description"].as_str().unwrap(), attributes.join(",")).unwrap();
    }
    let mut import = merx(&["import", "catalogue"]);
    import.arg(file.path()).env("DATABASE_URL", &shop.database.url).stdout(Stdio::null());
    let mut import = import.spawn().unwrap();
    let mut most = 0;
    let status = loop {
        if let Some(status) = import.try_wait().unwrap() {
            break status;
        }
        // While it runs: it can't be asked afterwards.
        most = most.max(most_resident_bytes(&import).unwrap_or(0));
        sleep(Duration::from_millis(5)).await;
    };
    assert!(status.success());
    assert_eq!(shop.all("/v1/streams/product-R0").await.len(), 1);
    assert!(most > 0 && most < MOST_BYTES, "{} MB resident at most", most / 1_000_000);
}
