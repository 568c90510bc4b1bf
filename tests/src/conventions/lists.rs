//! Lists: pages, limits and cursors.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::{
    client::Client,
    shop::{Shop, buy, money, product, unique},
};

fn key(item: &Value) -> String {
    let key = ["id", "position", "key"].iter().find(|name| !item[**name].is_null()).expect("a key");
    item[*key].to_string()
}

/// Walks a list page by page, `between` pages doing something; what it showed, in order.
async fn walk(client: &Client, path: &str, limit: usize, between: impl AsyncFn()) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    let separator = if path.contains('?') { '&' } else { '?' };
    loop {
        let page = client.get(&format!("{path}{separator}limit={limit}{cursor}")).await.expect(200);
        seen.extend(page.items().iter().map(key));
        assert!(page.items().len() <= limit, "{page}");
        let Some(next) = page["next_cursor"].as_str() else { return seen };
        assert_eq!(page.items().len(), limit, "a short page before the end: {page}");
        cursor = format!("&cursor={next}");
        between().await;
    }
}

/// All of `before` once and in order, with or without what came meanwhile.
fn assert_whole(seen: &[String], before: &[String], path: &str) {
    let distinct: HashSet<_> = seen.iter().collect();
    assert_eq!(distinct.len(), seen.len(), "{path} shows something twice: {seen:?}");
    let kept: Vec<_> = seen.iter().filter(|key| before.contains(key)).collect();
    assert_eq!(kept, before.iter().collect::<Vec<_>>(), "{path}");
}

#[tokio::test]
async fn pages_are_right_while_rows_are_added() {
    let Some(shop) = Shop::open().await else { return };
    shop.post("/v1/categories", json!({"id": "root", "name": "Root"})).await.expect(201);
    let add = async || {
        let category = unique("c");
        shop.post("/v1/categories", json!({"id": category, "name": "C", "parent": "root"})).await.expect(201);
        let sku = product(&shop, "2", 9).await;
        shop.patch(&format!("/v1/products/{sku}"), json!({"category": category})).await.expect(200);
        shop.post("/v1/products/reviewed/reviews", json!({"rating": 5})).await.expect(201);
        buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201);
    };
    shop.post("/v1/products", json!({"sku": "reviewed", "title": "R", "price": money("1"), "category": "root"})).await.expect(201);
    for _ in 0..10 {
        add().await;
    }
    let newest = add_and_tell(&shop).await;
    let paths = [
        "/v1/categories",
        "/v1/products",
        "/v1/products?category=root",
        "/v1/products?status=active",
        "/v1/products/reviewed/reviews",
        "/v1/orders",
        "/v1/orders?status=placed",
        "/v1/orders?email=BUYER@shop.example",
        "/v1/orders?placed_after=2020-01-01T00:00:00Z",
        "/v1/streams/product-reviewed",
    ];
    for path in paths {
        shop.get_at(path, newest).await.expect(200);
        let before: Vec<_> = shop.all(path).await.iter().map(key).collect();
        assert!(before.len() >= 10 || path.contains("streams"), "{path}: {before:?}");
        assert_whole(&walk(&shop, path, 3, &add).await, &before, path);
        assert_whole(&walk(&shop, path, before.len().max(1), async || {}).await, &before, path);
    }
}

async fn add_and_tell(shop: &Shop) -> i64 {
    shop.post("/v1/carts", json!({"currency": "GBP"})).await.expect(201).position()
}

#[tokio::test]
async fn a_limit_is_1_to_200_and_50_by_default() {
    let Some(shop) = Shop::open().await else { return };
    for number in 0..60 {
        shop.post("/v1/categories", json!({"id": format!("c{number:02}"), "name": "C"})).await.expect(201);
    }
    let last = add_and_tell(&shop).await;
    assert_eq!(shop.get_at("/v1/categories", last).await.expect(200).items().len(), 50);
    assert_eq!(shop.get("/v1/categories?limit=200").await.expect(200).items().len(), 60);
    assert_eq!(shop.get("/v1/categories?limit=1").await.expect(200).items().len(), 1);
    assert_eq!(shop.get("/v1/events").await.expect(200).items().len(), 50);
    for path in ["/v1/categories", "/v1/products", "/v1/orders", "/v1/events", "/v1/sales", "/v1/streams/category-c00"] {
        for limit in ["0", "201", "-1", "x", "", "1.5", "99999999999999999999"] {
            let refused = shop.get(&format!("{path}?limit={limit}")).await.refused(422, "invalid_request");
            assert_eq!(refused.pointers(), ["?limit"], "{refused}");
        }
    }
}

#[tokio::test]
async fn a_cursor_is_good_for_the_list_that_gave_it() {
    let Some(shop) = Shop::open().await else { return };
    for _ in 0..3 {
        let sku = product(&shop, "2", 9).await;
        shop.patch(&format!("/v1/products/{sku}"), json!({"title": "Other"})).await.expect(200);
        shop.post("/v1/categories", json!({"id": unique("c"), "name": "C"})).await.expect(201);
        buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201);
    }
    let sku = product(&shop, "2", 0).await;
    for _ in 0..3 {
        shop.post(&format!("/v1/products/{sku}/reviews"), json!({"rating": 5})).await.expect(201);
    }
    let head = add_and_tell(&shop).await;
    shop.patch(&format!("/v1/products/{sku}"), json!({"title": "Other"})).await.expect(200);
    let lists = [
        "/v1/categories".to_owned(),
        "/v1/products".to_owned(),
        "/v1/orders".to_owned(),
        format!("/v1/products/{sku}/reviews"),
        format!("/v1/streams/product-{sku}"),
    ];
    let mut cursors = Vec::new();
    for list in &lists {
        let page = shop.get_at(&format!("{list}?limit=1"), head).await.expect(200);
        cursors.push(page["next_cursor"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned());
    }
    for (list, own) in lists.iter().zip(&cursors) {
        let (last, rest) = (own.chars().last().unwrap(), &own[..own.len() - 1]);
        let changed = format!("{rest}{}", if last == 'A' { 'B' } else { 'A' });
        let foreign = cursors.iter().filter(|cursor| *cursor != own).cloned();
        for cursor in foreign.chain([changed, "AAAA".into(), "x".into(), String::new(), "%00".into(), "1".into(), "A".repeat(10_000)]) {
            let refused = shop.get(&format!("{list}?limit=1&cursor={cursor}")).await.refused(422, "invalid_request");
            assert_eq!(refused.pointers(), ["?cursor"], "{refused}");
        }
    }
    for cursor in ["AAAA", "-1", "999999999"] {
        let refused = shop.get(&format!("/v1/events?cursor={cursor}")).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["?cursor"], "{refused}");
    }
}

#[tokio::test]
async fn unknown_and_wrong_parameters_are_all_named() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let cases: [(String, &[&str]); 9] = [
        ("/v1/products?colour=red&size=L".into(), &["?colour", "?size"]),
        ("/v1/products?status=sold&limit=0".into(), &["?limit", "?status"]),
        ("/v1/orders?status=lost&placed_after=yesterday&limit=x&page=2".into(), &["?limit", "?page", "?placed_after", "?status"]),
        ("/v1/orders?limit=1&limit=2".into(), &["?limit"]),
        ("/v1/categories?x=1&limit=%00".into(), &["?limit", "?x"]),
        ("/v1/sales?by=hour&from=monday".into(), &["?by", "?from"]),
        ("/v1/sales?from=2011-02-01&to=2011-01-01".into(), &["?from"]),
        ("/v1/events?after=-1&wait=21&category=hat&x=1".into(), &["?after", "?wait", "?x"]),
        (format!("/v1/streams/product-{sku}?from=0&to=x&limit=-5"), &["?from", "?limit", "?to"]),
    ];
    for (path, pointers) in cases {
        let refused = shop.get(&path).await.refused(422, "invalid_request");
        // What can only be told once the types are right may be told later.
        let mut seen: Vec<_> = refused.pointers().into_iter().filter(|pointer| *pointer != "?category").collect();
        seen.dedup();
        assert_eq!(seen, pointers, "{refused}");
    }
    shop.get(&format!("/v1/products/{sku}?fields=title")).await.refused(422, "invalid_request");
    shop.post("/v1/carts?dry_run=true", json!({"currency": "GBP"})).await.refused(422, "invalid_request");
}

#[tokio::test]
async fn orders_are_listed_newest_first_and_filtered() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 9).await;
    let first = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201);
    let second = buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    let cancelled = shop.post(&format!("/v1/orders/{}/cancel", first.id()), json!({})).await.expect(200);
    shop.get_at("/v1/orders", cancelled.position()).await.expect(200);
    let ids = async |path: &str| -> Vec<Value> { shop.all(path).await.iter().map(|order| order["id"].clone()).collect() };
    let (first, second, at) = (first.id(), second.id(), second["placed_at"].as_str().unwrap().to_owned());
    assert_eq!(ids("/v1/orders").await, [second.as_str(), first.as_str()]);
    assert_eq!(ids("/v1/orders?status=placed").await, [second.as_str()]);
    assert_eq!(ids("/v1/orders?status=cancelled").await, [first.as_str()]);
    assert_eq!(ids("/v1/orders?email=Buyer%40shop.example").await.len(), 2);
    assert_eq!(ids("/v1/orders?email=nobody%40shop.example").await.len(), 0);
    assert_eq!(ids(&format!("/v1/orders?placed_before={at}")).await, [first.as_str()]);
    assert_eq!(ids(&format!("/v1/orders?placed_after={at}")).await.len(), 0);
    assert_eq!(ids("/v1/orders?status=placed&email=buyer%40shop.example&placed_after=2020-01-01T00:00:00Z").await, [second.as_str()]);
}
