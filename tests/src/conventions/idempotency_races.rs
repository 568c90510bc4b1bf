//! `Idempotency-Key`: the same request many times at once.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    shop::{Shop, cart, checkout_body, confirmed, count, money, product, settled},
};

/// Sends one write ten times at once, in turns to each of `clients`; all get the same answer, and all but one are told that it is a
/// repetition.
async fn at_once(clients: &[&Client], path: &str, body: &Value, key: &str) -> Answer {
    let requests = (0..10).map(|number| clients[number % clients.len()].post(path, body.clone()).key(key).into_future());
    let answers = join_all(requests).await;
    for answer in &answers {
        assert_eq!((answer.status, &answer.bytes), (201, &answers[0].bytes), "{answer}");
        assert_eq!(answer.position(), answers[0].position(), "{answer}");
        assert_eq!(answer.header("location"), answers[0].header("location"), "{answer}");
    }
    let first = answers.iter().filter(|answer| answer.header("idempotent-replayed").is_none()).count();
    assert_eq!(first, 1, "so many were told to be the first");
    answers.into_iter().next().unwrap()
}

async fn one_effect_each(shop: &Shop, clients: &[&Client]) {
    let sku = product(shop, "2", 10).await;
    let stream = format!("stock-{sku}");
    at_once(clients, &format!("/v1/stock/{sku}/receipts"), &json!({"quantity": 5, "reference": "PO-9"}), "receipt").await;
    assert_eq!(count(shop, &stream, "StockReceived").await, 2);
    let cart = cart(shop, &[(&sku, 2)]).await;
    let order = at_once(clients, &format!("/v1/carts/{cart}/checkout"), &checkout_body("tok_ok"), "checkout").await.id();
    assert_eq!(settled(shop, &order).await["status"], "confirmed");
    let other = confirmed(shop, &[(&sku, 3)]).await;
    at_once(clients, &format!("/v1/orders/{other}/refunds"), &json!({"amount": money("4"), "reason": "x"}), "refund").await;
    let refunded = settled(shop, &other).await;
    assert_eq!((&refunded["payment"]["refunded"], refunded["refunds"].as_array().unwrap().len()), (&money("4.00"), 1));
    let shipment = json!({"carrier": "a", "tracking_number": "b", "items": [{"sku": sku, "quantity": 1}]});
    at_once(clients, &format!("/v1/orders/{other}/shipments"), &shipment, "shipment").await;
    assert_eq!(count(shop, &format!("order-{other}"), "OrderShipped").await, 1);
    let made = at_once(clients, "/v1/carts", &json!({"currency": "GBP"}), "cart").await.id();
    assert_ne!(made, cart);
    at_once(clients, "/v1/products", &json!({"sku": "once", "title": "Once", "price": money("1")}), "product").await;
    // Of 10 + 5 units an order took 2 and another 3.
    let stock = shop.until(&format!("/v1/stock/{sku}"), |stock| stock["reserved"] == 0 && stock["on_hand"] == 10).await;
    assert_eq!(stock["available"], 10);
    assert_eq!(shop.all("/v1/orders").await.iter().filter(|order| order["status"] != "rejected").count(), 2);
}

#[tokio::test]
async fn ten_at_once_have_one_effect() {
    let Some(shop) = Shop::open().await else { return };
    one_effect_each(&shop, &[&shop]).await;
}

#[tokio::test]
async fn ten_at_once_on_two_servers_have_one_effect() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let (first, second) = (shop.servers[0].client(), shop.servers[1].client());
    one_effect_each(&shop, &[&first, &second]).await;
}
