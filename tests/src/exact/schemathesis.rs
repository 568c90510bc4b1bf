//! schemathesis makes up requests out of the description, thousands of them, and holds every answer against it.

use std::{collections::HashMap, fmt::Write as _, path::Path};

use serde_json::json;
use tokio::process::Command;

use super::{document, python, run, told};
use crate::{
    client::{ADMIN_KEY, Client},
    openapi::operations,
    shop::{Shop, buy, cart, confirmed, in_days, items, money, product, receive, settled},
};

/// Beginning of its random choices.
const SEED: u32 = 11;
/// Random cases of each operation, besides those of its examples and boundaries.
const CASES: u32 = 12;
/// Walks along links, of several requests each.
const WALKS: u32 = 60;
/// Warnings that end it with a failure: what it could not read, or tried in vain.
const WARNINGS: [&str; 7] = [
    "missing_auth",
    "missing_deserializer",
    "unused_openapi_auth",
    "unsupported_regex",
    "method_not_allowed",
    "unmatched_filter",
    "unresolvable_reference",
];
/// The least number of requests that are worth the name.
const LEAST: u32 = 4_000;

/// Ids of what is in the shop, so that requests come past 404: the SKU and the categories of the examples are among them.
struct Known {
    skus: Vec<String>,
    categories: Vec<String>,
    carts: Vec<String>,
    orders: Vec<String>,
    shipments: Vec<String>,
    sales: Vec<String>,
    /// The order that the shipments are of.
    shipped: Vec<String>,
    /// The products that requests change: the others stay for sale.
    changed: Vec<String>,
    streams: Vec<String>,
}

async fn stocked(shop: &Shop) -> Known {
    let categories = ["home", "lamps"].map(str::to_owned).to_vec();
    shop.post("/v1/categories", json!({"id": "home", "name": "Home"})).await.expect(201);
    shop.post("/v1/categories", json!({"id": "lamps", "name": "Lamps", "parent": "home"})).await.expect(201);
    let new = json!({"sku": "85123A", "title": "White hanging heart", "category": "lamps", "brand": "Acme", "price": money("2.55"),
        "attributes": {"colour": "white"}});
    shop.post("/v1/products", new).await.expect(201);
    receive(shop, "85123A", 100_000).await;
    shop.post("/v1/products/85123A/reviews", json!({"rating": 4})).await.expect(201);
    let skus = vec!["85123A".to_owned(), product(shop, "2.50", 5).await, product(shop, "900", 100_000).await];
    let (mut carts, mut orders) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        carts.push(cart(shop, &[("85123A", 3)]).await);
    }
    for _ in 0..6 {
        orders.push(confirmed(shop, &[("85123A", 40)]).await);
    }
    orders.push(buy(shop, &[("85123A", 2)], "tok_down").await.expect(201).id());
    let (shipped, shipments) = (vec![orders[0].clone()], vec![parcel(shop, &orders[0]).await]);
    shop.post(&format!("/v1/orders/{}/refunds", orders[0]), json!({"amount": money("1"), "reason": "late"})).await.expect(201);
    settled(shop, &orders[0]).await;
    let sales = vec![sale(shop, &skus[1], -30).await, sale(shop, &skus[2], 100).await];
    let changed = vec![product(shop, "7", 1).await, product(shop, "8", 0).await];
    let streams = orders.iter().map(|id| format!("order-{id}")).chain(skus.iter().map(|sku| format!("stock-{sku}"))).collect();
    let last = shop.post("/v1/stock/85123A/receipts", json!({"quantity": 1})).await.expect(201).position();
    shop.seen_at("/v1/products", last).await;
    Known { skus, categories, carts, orders, shipments, sales, shipped, changed, streams }
}

async fn parcel(client: &Client, order: &str) -> String {
    let parcel = json!({"carrier": "Post", "tracking_number": "1", "items": items(&[("85123A", 9)])});
    let order = client.post(&format!("/v1/orders/{order}/shipments"), parcel).await.expect(201);
    order["shipments"][0]["id"].as_str().expect("a shipment").to_owned()
}

/// A sale of few units that begins so many days from now.
async fn sale(client: &Client, sku: &str, days: i64) -> String {
    let (starts_at, ends_at) = (in_days(days), in_days(days + 60));
    let new = json!({"sku": sku, "starts_at": starts_at, "ends_at": ends_at, "allotment": 2, "price": money("1")});
    client.post("/v1/flash-sales", new).await.expect(201).id()
}

/// Settings of schemathesis: most requests name what there is.
fn settings(known: &Known) -> String {
    let mut settings = format!("seed = {SEED}\nworkers = 1\nrequest-timeout = 60\n[warnings]\nfail-on = {}\n", json!(WARNINGS));
    let texts = |values: &[String]| json!(values);
    for (name, values) in [
        ("skus", texts(&known.skus)),
        ("categories", texts(&known.categories)),
        ("carts", texts(&known.carts)),
        ("orders", texts(&known.orders)),
        ("shipments", texts(&known.shipments)),
        ("sales", texts(&known.sales)),
        ("shipped", texts(&known.shipped)),
        ("changed", texts(&known.changed)),
        ("streams", texts(&known.streams)),
        ("consumers", json!(["carts", "catalogue", "orders", "sales"])),
        ("codes", json!(["not_found", "out_of_stock"])),
        ("whichever", json!(["*"])),
        ("any-time", json!([0])),
        ("amounts", json!(["0.01", "0.02"])),
        ("currencies", json!(["GBP"])),
        ("few", json!([1, 2])),
    ] {
        writeln!(settings, "[dictionaries.{name}]\nvalues = {values}").expect("a string");
    }
    writeln!(settings, "[phases.stateful.generation]\nmax-examples = {WALKS}\n[parameters]").expect("a string");
    let bind = |settings: &mut String, parameter: &str, dictionary: &str| {
        writeln!(settings, "\"{parameter}\" = {{ dictionary = \"{dictionary}\", probability = 0.9 }}").expect("a string");
    };
    for (parameter, dictionary) in [
        ("path.sku", "skus"),
        ("path.stream", "streams"),
        ("path.name", "consumers"),
        ("path.code", "codes"),
        ("header.If-Match", "whichever"),
        ("header.Merx-Min-Position", "any-time"),
        ("body.sku", "skus"),
        ("body.items[*].sku", "skus"),
        ("body.category", "categories"),
        ("body.parent", "categories"),
        ("body.shipment", "shipments"),
    ] {
        bind(&mut settings, parameter, dictionary);
    }
    for (path, bound) in [
        ("categories/", &[("path.id", "categories")][..]),
        ("carts/", &[("path.id", "carts")]),
        ("flash-sales/", &[("path.id", "sales")]),
        ("orders/[^/]*(/(?!refunds|delivery)|$)", &[("path.id", "orders"), ("body.items[*].quantity", "few")]),
        ("orders/[^/]*/delivery", &[("path.id", "shipped")]),
        ("orders/[^/]*/refunds", &[("path.id", "orders"), ("body.amount.amount", "amounts"), ("body.amount.currency", "currencies")]),
        ("products/[^/]*$", &[("path.sku", "changed")]),
        ("flash-sales$", &[("body.price.amount", "amounts"), ("body.price.currency", "currencies"), ("body.allotment", "few")]),
    ] {
        writeln!(settings, "[[operations]]\ninclude-path-regex = \"^/v1/{path}\"\n[operations.parameters]").expect("a string");
        for (parameter, dictionary) in bound {
            bind(&mut settings, parameter, dictionary);
        }
    }
    settings
}

#[tokio::test]
async fn schemathesis_finds_nothing() {
    let Some(python) = python() else { return };
    let Some(shop) = Shop::open().await else { return };
    let known = stocked(&shop).await;
    let folder = document(&shop).await;
    std::fs::write(folder.path().join("schemathesis.toml"), settings(&known)).expect("the settings");
    let mut command = Command::new(Path::new(&python).with_file_name("schemathesis"));
    command.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis.py"));
    command.arg("run").arg(shop.url("/openapi.json")).args(["--checks", "all", "--no-color", "--continue-on-failure"]);
    command.args(["--max-examples", &CASES.to_string(), "--header", &format!("Authorization: Bearer {ADMIN_KEY}")]);
    let output = run(&mut command).await;
    let told = told(&output);
    assert!(output.status.success(), "{told}");
    let cases = told.lines().find_map(|line| line.trim().split_once(" generated, ")?.0.replace(',', "").parse::<u32>().ok());
    assert!(cases.is_some_and(|cases| cases >= LEAST), "so few cases: {told}");

    let answered: HashMap<String, HashMap<u16, u32>> =
        serde_json::from_slice(&std::fs::read(folder.path().join("answered.json")).expect("the answers")).expect("JSON");
    let document = shop.get("/openapi.json").await.expect(200).body;
    // It reads the document itself, and asks for it no more.
    for (path, method, _) in operations(&document).into_iter().filter(|(path, ..)| *path != "/openapi.json") {
        let operation = format!("{} {path}", method.to_uppercase());
        let statuses = answered.get(&operation).unwrap_or_else(|| panic!("{operation} was not asked"));
        // Nothing is parked in the shop that could be retried or skipped.
        let enough = |status: &u16| *status < 300 || *status == 409 && path.starts_with("/v1/projections/");
        assert!(statuses.keys().any(enough), "{operation} came to nothing: {statuses:?}");
    }
    let unavailable: u32 = answered.values().filter_map(|statuses| statuses.get(&503)).sum();
    assert!(unavailable * 50 < LEAST, "{unavailable} answers were 503");
}
