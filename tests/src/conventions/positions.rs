//! `Merx-Position` and `Merx-Min-Position`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    client::ADMIN_KEY,
    shop::{Shop, buy, product, receive, settled},
};

#[tokio::test]
async fn an_answer_is_as_new_as_the_client_asks_for() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 0).await;
    for on_hand in 1..=30 {
        let receipt = receive(&shop, &sku, 1).await;
        let stock = shop.get_at(&format!("/v1/stock/{sku}"), receipt.position()).await.expect(200);
        assert_eq!(stock["on_hand"], on_hand);
        assert!(stock.position() >= receipt.position());
        let of_product = shop.get_at(&format!("/v1/products/{sku}"), receipt.position()).await.expect(200);
        assert_eq!(of_product["stock"]["available"], on_hand);
    }
}

#[tokio::test]
async fn every_answer_of_a_read_model_tells_its_position() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 5).await;
    let order = settled(&shop, &buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201).id()).await;
    let head = shop.post("/v1/categories", json!({"id": "c", "name": "C"})).await.expect(201).position();
    let (order, cart) = (order.id(), order["cart"].as_str().unwrap().to_owned());
    let paths = [
        "/v1/categories".to_owned(),
        "/v1/categories/c".to_owned(),
        "/v1/products".to_owned(),
        format!("/v1/products/{sku}"),
        format!("/v1/products/{sku}/reviews"),
        format!("/v1/stock/{sku}"),
        format!("/v1/carts/{cart}"),
        "/v1/orders".to_owned(),
        format!("/v1/orders/{order}"),
        format!("/v1/streams/order-{order}"),
        format!("/v1/streams/order-{order}/state"),
        "/v1/events".to_owned(),
        "/v1/sales".to_owned(),
        "/v1/projections".to_owned(),
    ];
    for path in paths {
        let answer = shop.get_at(&path, head).await.expect(200);
        assert!(answer.position() >= head, "{answer}");
        let beyond = shop.get_at(&path, head + 1_000_000).await.refused(422, "invalid_request");
        assert_eq!(beyond.pointers(), ["Merx-Min-Position"]);
        for text in ["x", "-1", "1.5", "", "99999999999999999999"] {
            shop.get(&path).header("merx-min-position", text).await.refused(422, "invalid_request");
        }
    }
}

#[tokio::test]
async fn a_read_model_that_does_not_keep_up_is_an_outage_and_not_a_wrong_answer() {
    let Some(mut shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    shop.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 1).await;
    let stopped = shop.server().stop();
    assert!(stopped.success(), "{stopped}");
    let launch = shop.server().launch().clone().argument("--role", "command-api,query-api");
    shop.server().start_again_as(launch).await;
    let receipt = receive(&shop, &sku, 1).await;
    let asked = Instant::now();
    let late = shop.get_once_at(&format!("/v1/stock/{sku}"), receipt.position()).await.expect(503);
    assert!(asked.elapsed() >= Duration::from_millis(1_900), "it did not wait");
    assert_eq!(late.header("content-type"), Some("application/problem+json"));
    assert!(late.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{late}");
    shop.get(&format!("/v1/stock/{sku}")).await.expect(200);
    // The log itself is never behind.
    shop.get_at(&format!("/v1/streams/stock-{sku}"), receipt.position()).await.expect(200);
}

#[tokio::test]
async fn a_write_that_changes_nothing_answers_with_what_there_is() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let path = format!("/v1/products/{sku}");
    let changed = shop.patch(&path, json!({"title": "Lamp"})).await.expect(200);
    let again = shop.patch(&path, json!({"title": "Lamp"})).await.expect(200);
    assert_eq!(again.body, changed.body);
    assert_eq!((again.version(), again.header("etag")), (changed.version(), changed.header("etag")));
    shop.get_at(&path, again.position()).await.expect(200);
    assert_eq!(shop.with_bearer(Some(ADMIN_KEY)).get("/v1/projections").await["head"], changed.position());
}
