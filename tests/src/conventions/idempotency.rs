//! `Idempotency-Key`: the same request again gives the first answer.

use http::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Request},
    shop::{Shop, cart, checkout_body, confirmed, money, product, running_sale, unique},
};

/// A guest's.
const LONG: &str = "p3Jq8sVtXw1Zy6BnKd0RfGhLmQ7uEaC2";

/// The first answer's status, body and headers, byte for byte.
fn assert_replayed(again: &Answer, first: &Answer) {
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "{again}");
    assert_eq!(first.header("idempotent-replayed"), None, "{first}");
    assert_eq!((again.status, &again.bytes), (first.status, &first.bytes), "{again}");
    for name in ["location", "etag", "merx-position", "content-type"] {
        assert_eq!(again.header(name), first.header(name), "{name} of {again}");
    }
}

/// A write of each kind: its method, path and body.
async fn writes(shop: &Shop) -> Vec<(&'static str, String, Value)> {
    let sku = product(shop, "2", 100).await;
    let carts = [cart(shop, &[(&sku, 1)]).await, cart(shop, &[(&sku, 2)]).await];
    let (order, other) = (confirmed(shop, &[(&sku, 3)]).await, confirmed(shop, &[(&sku, 1)]).await);
    let shipped = shop.post(
        &format!("/v1/orders/{order}/shipments"),
        json!({"carrier": "a", "tracking_number": "b", "items": [{"sku": sku, "quantity": 1}]}),
    );
    let shipment = shipped.await.expect(201)["shipments"][0]["id"].clone();
    let sale = running_sale(&sku, 2);
    vec![
        ("POST", "/v1/categories".into(), json!({"id": "c", "name": "C"})),
        ("PATCH", "/v1/categories/c".into(), json!({"name": "D"})),
        ("POST", "/v1/products".into(), json!({"sku": unique("T"), "title": "Lamp", "price": money("1.50")})),
        ("PATCH", format!("/v1/products/{sku}"), json!({"title": "Lamp"})),
        ("PATCH", format!("/v1/products/{sku}"), json!({"title": "Lamp"})),
        ("POST", format!("/v1/products/{sku}/reviews"), json!({"rating": 3})),
        ("POST", format!("/v1/stock/{sku}/receipts"), json!({"quantity": 7, "reference": "PO-7"})),
        ("POST", format!("/v1/stock/{sku}/adjustments"), json!({"quantity": -7, "reason": "lost"})),
        ("POST", "/v1/carts".into(), json!({"currency": "GBP"})),
        ("PUT", format!("/v1/carts/{}/items/{sku}", carts[0]), json!({"quantity": 5})),
        ("DELETE", format!("/v1/carts/{}/items/{sku}", carts[0]), Value::Null),
        ("POST", format!("/v1/carts/{}/checkout", carts[1]), checkout_body("tok_ok")),
        (
            "POST",
            format!("/v1/orders/{order}/shipments"),
            json!({"carrier": "a", "tracking_number": "c", "items": [{"sku": sku, "quantity": 1}]}),
        ),
        ("POST", format!("/v1/orders/{order}/delivery"), json!({"shipment": shipment})),
        ("POST", format!("/v1/orders/{order}/returns"), json!({"items": [{"sku": sku, "quantity": 1}], "reason": "x", "restock": true})),
        ("POST", format!("/v1/orders/{order}/refunds"), json!({"amount": money("2"), "reason": "x"})),
        ("POST", format!("/v1/orders/{other}/cancel"), json!({"reason": "x"})),
        ("POST", "/v1/flash-sales".into(), sale),
    ]
}

fn request(shop: &Shop, (method, path, body): &(&'static str, String, Value)) -> Request {
    match *method {
        "POST" => shop.post(path, body.clone()),
        "PUT" => shop.put(path, body.clone()),
        "PATCH" => shop.patch(path, body.clone()),
        _ => shop.delete(path),
    }
}

#[tokio::test]
async fn every_write_is_answered_the_same_again_also_after_a_restart() {
    let Some(mut shop) = Shop::open().await else { return };
    let writes = writes(&shop).await;
    let mut first = Vec::new();
    for (number, write) in writes.iter().enumerate() {
        let answer = request(&shop, write).key(&format!("key-{number}")).await;
        assert!([200, 201].contains(&answer.status), "{answer}");
        let again = request(&shop, write).key(&format!("key-{number}")).await;
        assert_replayed(&again, &answer);
        first.push(answer);
    }
    // A sale and its cancellation, which need the sale's id.
    let cancel = format!("/v1/flash-sales/{}/cancel", first.last().unwrap().id());
    let cancelled = shop.post(&cancel, json!({})).key("key-cancel").await.expect(200);
    for is_killed in [false, true] {
        if is_killed {
            shop.server().kill();
        } else {
            assert!(shop.server().stop().success());
        }
        shop.server().start_again().await;
        let head = shop.get("/v1/events?limit=1").await["head"].as_i64().unwrap();
        for (number, (write, first)) in writes.iter().zip(&first).enumerate() {
            assert_replayed(&request(&shop, write).key(&format!("key-{number}")).await, first);
        }
        assert_replayed(&shop.post(&cancel, json!({})).key("key-cancel").await, &cancelled);
        // Nothing but what the process managers had still to do, which no write of these waits for any more.
        let events = shop.get(&format!("/v1/events?after={head}")).await.expect(200);
        assert!(events.items().iter().all(|event| event["meta"]["actor"] != "client"), "{events}");
    }
}

#[tokio::test]
async fn a_key_belongs_to_one_request() {
    let Some(shop) = Shop::open().await else { return };
    let (sku, other) = (product(&shop, "2", 10).await, product(&shop, "2", 0).await);
    let receipts = format!("/v1/stock/{sku}/receipts");
    let body = json!({"quantity": 5, "reference": "PO-9"});
    shop.post(&receipts, body.clone()).key("one").await.expect(201);
    shop.post(&receipts, json!({"quantity": 6, "reference": "PO-9"})).key("one").await.refused(422, "idempotency_key_reused");
    shop.post(&format!("/v1/stock/{other}/receipts"), body.clone()).key("one").await.refused(422, "idempotency_key_reused");
    shop.patch(&format!("/v1/products/{sku}"), json!({"title": "x"})).key("one").await.refused(422, "idempotency_key_reused");
    shop.post(&receipts, body).key("One").await.expect(201);
    let stock = shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": 1, "reason": "x"})).await.expect(201);
    assert_eq!(stock["on_hand"], 21);
    let cart = cart(&shop, &[(&sku, 1)]).await;
    let path = format!("/v1/carts/{cart}/checkout");
    shop.post(&path, checkout_body("tok_down")).key("two").await.expect(201);
    shop.post(&path, checkout_body("tok_ok")).key("two").await.refused(422, "idempotency_key_reused");
    let bought = shop.post(&path, checkout_body("tok_down")).await.refused(409, "cart_checked_out");
    assert!(bought["order"].is_string(), "{bought}");
}

#[tokio::test]
async fn a_refusal_may_be_tried_again() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let adjustments = format!("/v1/stock/{sku}/adjustments");
    let wanted = json!({"quantity": -2, "reason": "lost"});
    shop.post(&adjustments, wanted.clone()).key("a").await.refused(409, "insufficient_stock");
    let cart = cart(&shop, &[(&sku, 2)]).await;
    let path = format!("/v1/carts/{cart}/checkout");
    shop.post(&path, checkout_body("tok_down")).key("b").await.refused(409, "out_of_stock");
    shop.post(&format!("/v1/stock/{sku}/receipts"), json!({"quantity": 3, "reference": ""})).await.expect(201);
    let first = shop.post(&adjustments, wanted.clone()).key("a").await.expect(201);
    assert_replayed(&shop.post(&adjustments, wanted).key("a").await, &first);
    let first = shop.post(&path, checkout_body("tok_down")).key("b").await.expect(201);
    assert_replayed(&shop.post(&path, checkout_body("tok_down")).key("b").await, &first);
    // Neither of them twice: 1 + 3 - 2 are left, of which the order holds 2.
    shop.post(&adjustments, json!({"quantity": -1, "reason": "lost"})).await.refused(409, "insufficient_stock");
    let found = shop.post(&adjustments, json!({"quantity": 1, "reason": "found"})).await.expect(201);
    assert_eq!((&found["on_hand"], &found["reserved"]), (&json!(3), &json!(2)));
}

#[tokio::test]
async fn a_key_belongs_to_the_credential_and_a_guests_to_the_path() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let guest = shop.with_bearer(None);
    let carts = [cart(&guest, &[(&sku, 1)]).await, cart(&guest, &[(&sku, 1)]).await];
    let mut orders = Vec::new();
    for cart in &carts {
        let path = format!("/v1/carts/{cart}/checkout");
        let first = guest.post(&path, checkout_body("tok_down")).key(LONG).await.expect(201);
        assert_replayed(&guest.post(&path, checkout_body("tok_down")).key(LONG).await, &first);
        orders.push(first.id());
    }
    assert_ne!(orders[0], orders[1]);
    let receipts = format!("/v1/stock/{sku}/receipts");
    let body = json!({"quantity": 1, "reference": ""});
    let versions = [Some("key-a"), Some("key-b"), None].map(|bearer| shop.with_bearer(bearer).post(&receipts, body.clone()).key(LONG));
    let mut seen = Vec::new();
    for request in versions {
        let answer = request.await.expect(201);
        assert_eq!(answer.header("idempotent-replayed"), None, "{answer}");
        seen.push(answer.version());
    }
    assert!(seen.is_sorted_by(|a, b| a < b), "{seen:?}");
}

#[tokio::test]
async fn strangers_do_not_meet_in_a_key() {
    let Some(shop) = Shop::open().await else { return };
    let guest = shop.with_bearer(None);
    let body = || json!({"currency": "GBP"});
    for short in ["1", "checkout", &LONG[..31]] {
        let refused = guest.post("/v1/carts", body()).key(short).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["Idempotency-Key"]);
        shop.post("/v1/carts", body()).key(short).await.expect(201);
    }
    let first = guest.post("/v1/carts", body()).key(LONG).await.expect(201);
    assert_replayed(&guest.post("/v1/carts", body()).key(LONG).await, &first);
    // What names nobody is no credential, least of all one that is another's path.
    for sent in ["/v1/carts", "Bearer", "Bearer ", ""] {
        let short = guest.post("/v1/carts", body()).header("authorization", sent).key("short").await.refused(422, "invalid_request");
        assert_eq!(short.pointers(), ["Idempotency-Key"], "{sent:?}");
    }
    let posing = guest.post("/v1/categories", json!({"id": "a", "name": "A"})).header("authorization", "/v1/carts").key(LONG);
    assert_eq!(posing.await.expect(201).header("idempotent-replayed"), None);
}

#[tokio::test]
async fn it_does_not_matter_to_what_is_said_that_there_is_a_key() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 9).await;
    let order = confirmed(&shop, &[(&sku, 1)]).await;
    let cancel = format!("/v1/orders/{order}/cancel");
    let bare = |path: &str| shop.request(Method::POST, path);
    let cancelled = bare(&cancel).key("bare").await.expect(200);
    assert_replayed(&bare(&cancel).key("bare").await, &cancelled);
    assert_replayed(&shop.post(&cancel, json!({})).key("bare").await, &cancelled);
    bare(&cancel).await.expect(200);
    bare(&cancel).header("content-type", "application/json").key("typed").await.expect(200);
    let sale = shop.post("/v1/flash-sales", running_sale(&sku, 2)).await.expect(201);
    bare(&format!("/v1/flash-sales/{}/cancel", sale.id())).key("sale").await.expect(200);
    // A body where none is read, and bodies that can't be.
    let line = format!("/v1/carts/{}/items/{sku}", cart(&shop, &[(&sku, 1)]).await);
    let keyed = |request: Request, key: Option<&str>| if let Some(key) = key { request.key(key) } else { request };
    for key in [None, Some("delete")] {
        keyed(shop.delete(&line).raw("text/plain", "away"), key).await.expect(200);
    }
    for key in [None, Some("refused")] {
        keyed(shop.post(&cancel, json!({})).raw("text/plain", "{}"), key).await.refused(415, "unsupported_media_type");
        keyed(shop.post(&cancel, json!({})).raw("application/json", "{"), key).await.refused(400, "malformed_json");
        keyed(bare("/v1/carts"), key).await.refused(422, "invalid_request");
        keyed(bare("/v1/nothing"), key).await.refused(404, "not_found");
    }
}

#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_before_everything_else() {
    let Some(shop) = Shop::open().await else { return };
    shop.post("/v1/carts", json!({"currency": "GBP"})).key("used").await.expect(201);
    for method in ["TRACE", "PUT", "DELETE", "BREW", "PROPFIND", "CONNECTED"] {
        for client in [&*shop, &shop.with_bearer(None)] {
            let sent = client.request(method.parse().unwrap(), "/v1/carts?x=%ff&x").raw("text/plain", "{").key("used");
            let refused = sent.header("if-match", "7").await.refused(405, "method_not_allowed");
            assert_eq!(refused.header("allow"), Some("POST"), "{refused}");
        }
    }
    for (path, allow) in
        [("/v1/carts", "POST"), ("/v1/products", "GET, HEAD, POST"), ("/v1/stock/no-such", "GET, HEAD"), ("/healthz", "GET, HEAD")]
    {
        let answer = shop.with_bearer(None).request(Method::OPTIONS, path).key("used").await.expect(204);
        assert!(answer.header("allow") == Some(allow) && answer.bytes.is_empty(), "{answer}");
    }
    shop.request(Method::TRACE, "/v1/nothing").await.refused(404, "not_found");
}

#[tokio::test]
async fn a_key_has_1_to_255_characters() {
    let Some(shop) = Shop::open().await else { return };
    for (key, status) in [("", 422), ("a", 201), (&*"k".repeat(255), 201), (&*"k".repeat(256), 422)] {
        let answer = shop.post("/v1/carts", json!({"currency": "GBP"})).key(key).await.expect(status);
        assert!(status == 201 || answer.pointers() == ["Idempotency-Key"], "{answer}");
    }
    // What is no write has no use for a key, and a refused body is not kept.
    shop.get("/v1/products").key("a").await.expect(200);
    shop.post("/v1/carts", json!({"currency": "?"})).key("b").await.expect(422);
    shop.post("/v1/carts", json!({"currency": "GBP"})).key("b").await.expect(201);
}
