//! Problems: of each status, told so that a client can mend it.

use serde_json::json;

use crate::shop::{Shop, address, cart, checkout_body, confirmed, money, product, running_sale};

const NOBODY: &str = "00000000-0000-7000-8000-000000000000";

#[tokio::test]
async fn a_body_that_can_not_be_read_is_refused() {
    let Some(shop) = Shop::open().await else { return };
    let send = |media_type: &str, body: Vec<u8>| shop.post("/v1/products", json!({})).raw(media_type, body);
    for body in [&b"{"[..], b" ", b"{'sku': 1}", b"{\"sku\": \"a\",}", b"{} {}", b"\xff\xfe", b"NaN"] {
        send("application/json", body.to_vec()).await.refused(400, "malformed_json");
    }
    for media_type in ["application/x-www-form-urlencoded", "text/plain", "application/xml", "multipart/form-data"] {
        send(media_type, b"{}".to_vec()).await.refused(415, "unsupported_media_type");
    }
    let body = json!({"sku": "utf", "title": "Ж", "price": money("1")}).to_string();
    send("application/json; charset=utf-8", body.into_bytes()).await.expect(201);
    // Not an object, or names that stand twice.
    for body in ["[]", "1", "null", "\"x\""] {
        send("application/json", body.as_bytes().to_vec()).await.refused(422, "invalid_request");
    }
    let mut large = br#"{"sku": "large", "title": ""#.to_vec();
    large.resize(1_200_000, b'x');
    large.extend(br#"", "price": {"amount": "1", "currency": "GBP"}}"#);
    let answer = send("application/json", large).try_send().await;
    // The server may hang up on the rest of it, but what it says first must be this.
    if let Ok(answer) = answer {
        answer.refused(413, "body_too_large");
    }
    let mut fits = json!({"sku": "fits", "title": "x", "price": money("1")}).to_string();
    fits.extend(std::iter::repeat_n(' ', 1_048_576 - fits.len()));
    send("application/json", fits.into_bytes()).await.expect(201);
}

#[tokio::test]
async fn names_that_occur_twice_are_refused_and_change_nothing() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let twice = r#"{"sku": "twice", "sku": "two", "title": "x", "price": {"amount": "1", "currency": "GBP", "amount": "2"},
                    "attributes": {"a": "1", "\u0061": "2"}, "images": [{"url": "https://a.example/b", "url": "https://a.example/c"}]}"#;
    let refused = shop.post("/v1/products", json!({})).raw("application/json", twice).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["/attributes/a", "/images/0/url", "/price/amount", "/sku"]);
    let receipt = r#"{"quantity": 1, "reference": "x", "quantity": 1}"#;
    let receipts = format!("/v1/stock/{sku}/receipts");
    let refused = shop.post(&receipts, json!({})).raw("application/json", receipt).await.refused(422, "invalid_request");
    assert_eq!((refused.pointers(), &refused["errors"][0]["code"]), (vec!["/quantity"], &json!("repeated")));
    let patch = shop.patch(&format!("/v1/products/{sku}"), json!({}));
    let refused = patch.raw("application/merge-patch+json", r#"{"title": "a", "title": "b"}"#).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["/title"]);
    assert_eq!(shop.post(&receipts, json!({"quantity": 1})).await.expect(201)["on_hand"], 2);
    for (query, pointers) in [("limit=1&limit=1", ["?limit"]), ("status=active&status=active", ["?status"])] {
        assert_eq!(shop.get(&format!("/v1/products?{query}")).await.refused(422, "invalid_request").pointers(), pointers);
    }
    let twice = shop.get("/v1/search?brand=a&brand=b&attributes.x=1&attributes.x=2").await.refused(422, "invalid_request");
    assert_eq!(twice.pointers(), ["?attributes.x", "?brand"]);
    for (path, pointer) in
        [("/v1/search?q=", "?q"), ("/v1/search?brand=", "?brand"), ("/v1/events?types=", "?types"), ("/v1/orders?email=", "?email")]
    {
        assert_eq!(shop.get(path).await.refused(422, "invalid_request").pointers(), [pointer]);
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_and_what_may_not_be_done_to_it_405() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let cart = cart(&shop, &[(&sku, 1)]).await;
    let reads = [
        "/".to_owned(),
        "/v1".to_owned(),
        "/v1/nothing".to_owned(),
        "/v1/products/".to_owned(),
        "/v1/products/no-such".to_owned(),
        "/v1/products/no-such/reviews".to_owned(),
        "/v1/categories/no-such".to_owned(),
        "/v1/stock/no-such".to_owned(),
        format!("/v1/orders/{NOBODY}"),
        format!("/v1/carts/{NOBODY}"),
        format!("/v1/flash-sales/{NOBODY}"),
        format!("/v1/streams/order-{NOBODY}"),
        format!("/v1/streams/order-{NOBODY}/state"),
    ];
    for path in reads {
        shop.get(&path).await.refused(404, "not_found");
    }
    let shipment = json!({"carrier": "a", "tracking_number": "b"});
    let back = json!({"items": [{"sku": sku, "quantity": 1}], "reason": "x"});
    let writes = [
        ("/v1/stock/no-such/receipts".to_owned(), json!({"quantity": 1, "reference": ""})),
        ("/v1/stock/no-such/adjustments".to_owned(), json!({"quantity": 1, "reason": "x"})),
        ("/v1/products/no-such/reviews".to_owned(), json!({"rating": 1})),
        (format!("/v1/carts/{NOBODY}/checkout"), checkout_body("tok_ok")),
        (format!("/v1/orders/{NOBODY}/cancel"), json!({})),
        (format!("/v1/orders/{NOBODY}/shipments"), shipment),
        (format!("/v1/orders/{NOBODY}/delivery"), json!({"shipment": NOBODY})),
        (format!("/v1/orders/{NOBODY}/returns"), back),
        (format!("/v1/orders/{NOBODY}/refunds"), json!({"amount": money("1"), "reason": "x"})),
        (format!("/v1/flash-sales/{NOBODY}/cancel"), json!({})),
    ];
    for (path, body) in writes {
        shop.post(&path, body).await.refused(404, "not_found");
    }
    shop.patch("/v1/products/no-such", json!({"title": "x"})).await.refused(404, "not_found");
    shop.patch("/v1/categories/no-such", json!({"name": "x"})).await.refused(404, "not_found");
    shop.put(&format!("/v1/carts/{cart}/items/no-such"), json!({"quantity": 1})).await.refused(404, "not_found");
    shop.put(&format!("/v1/carts/{NOBODY}/items/{sku}"), json!({"quantity": 1})).await.refused(404, "not_found");
    shop.delete(&format!("/v1/carts/{NOBODY}/items/{sku}")).await.refused(404, "not_found");
    for id in ["x", "%27%20or%201=1--", "%00", "..%2f..%2fetc"] {
        for kind in ["orders", "carts", "flash-sales"] {
            let answer = shop.get(&format!("/v1/{kind}/{id}")).await;
            assert!([404, 422].contains(&answer.status) && answer["code"].is_string(), "{answer}");
        }
    }
    let cases = [
        ("DELETE", "/v1/products", "GET, HEAD, POST"),
        ("PUT", "/v1/categories/x", "GET, HEAD, PATCH"),
        ("GET", "/v1/stock/x/receipts", "POST"),
        ("POST", "/v1/orders", "GET, HEAD"),
        ("PATCH", "/v1/carts/x/items/y", "DELETE, PUT"),
        ("POST", "/v1/events", "GET, HEAD"),
        ("DELETE", "/healthz", "GET, HEAD"),
    ];
    for (method, path, allow) in cases {
        let refused = shop.request(method.parse().unwrap(), path).await.refused(405, "method_not_allowed");
        assert_eq!(refused.header("allow"), Some(allow), "{refused}");
    }
}

#[tokio::test]
async fn every_wrong_field_is_named() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let cart = cart(&shop, &[(&sku, 1)]).await;
    let order = confirmed(&shop, &[(&sku, 1)]).await;
    let mut wrong_address = address();
    wrong_address["country"] = json!("Britain");
    wrong_address["planet"] = json!("Earth");
    wrong_address.as_object_mut().unwrap().remove("line1");
    let checkout = json!({"email": "nobody", "shipping_address": wrong_address, "payment": {"method": "gold", "token": ""},
                          "expected_total": {"amount": "-1", "currency": "GBP"}, "coupon": "x"});
    let image = json!([{"url": 1, "alt": "x", "size": 3}]);
    let cases = [
        (
            "/v1/products".to_owned(),
            json!({"sku": "bad sku!", "title": "", "price": {"amount": "-1", "currency": "GBPP"}, "colour": "red", "images": image,
                   "attributes": {"a": 1}}),
            vec!["/attributes/a", "/colour", "/images/0/size", "/images/0/url", "/price/amount", "/price/currency", "/sku", "/title"],
        ),
        ("/v1/products".to_owned(), json!({}), vec!["/price", "/sku", "/title"]),
        ("/v1/categories".to_owned(), json!({"id": "", "name": 7, "parent": "a b", "x": 1}), vec!["/id", "/name", "/parent", "/x"]),
        (format!("/v1/stock/{sku}/receipts"), json!({"quantity": 0, "reference": 1, "x": 1}), vec!["/quantity", "/reference", "/x"]),
        (format!("/v1/stock/{sku}/adjustments"), json!({"quantity": "1", "x": 1}), vec!["/quantity", "/reason", "/x"]),
        (
            "/v1/flash-sales".to_owned(),
            json!({"sku": sku, "starts_at": "now", "ends_at": 1, "allotment": 0, "price": money("x"), "limit_per_customer": 0, "x": 1}),
            vec!["/allotment", "/ends_at", "/limit_per_customer", "/price/amount", "/starts_at", "/x"],
        ),
        (format!("/v1/products/{sku}/reviews"), json!({"rating": 6, "title": 1, "x": 1}), vec!["/rating", "/title", "/x"]),
        (
            "/v1/carts".to_owned(),
            json!({"currency": "?", "items": [{"sku": "a b", "quantity": 0}, {"quantity": 10_001, "x": 1}], "x": 1}),
            vec!["/currency", "/items/0/quantity", "/items/0/sku", "/items/1/quantity", "/items/1/sku", "/items/1/x", "/x"],
        ),
        (
            format!("/v1/carts/{cart}/checkout"),
            checkout,
            vec![
                "/coupon",
                "/email",
                "/expected_total/amount",
                "/payment/method",
                "/payment/token",
                "/shipping_address/country",
                "/shipping_address/line1",
                "/shipping_address/planet",
            ],
        ),
        (format!("/v1/orders/{order}/cancel"), json!({"reason": 1, "x": 1}), vec!["/reason", "/x"]),
        (
            format!("/v1/orders/{order}/shipments"),
            json!({"items": [{"sku": sku, "quantity": 0}], "carrier": "", "x": 1}),
            vec!["/carrier", "/items/0/quantity", "/x"],
        ),
        (format!("/v1/orders/{order}/delivery"), json!({"shipment": "x", "y": 1}), vec!["/shipment", "/y"]),
        (format!("/v1/orders/{order}/returns"), json!({"items": [], "restock": "yes"}), vec!["/items", "/reason", "/restock"]),
        (format!("/v1/orders/{order}/refunds"), json!({"amount": money("-1"), "x": 1}), vec!["/amount/amount", "/reason", "/x"]),
    ];
    for (path, body, pointers) in cases {
        let refused = shop.post(&path, body).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), pointers, "{refused}");
        for error in refused["errors"].as_array().unwrap() {
            assert!(error["code"].is_string() && error["detail"].is_string(), "{refused}");
        }
    }
    let refused = shop.put(&format!("/v1/carts/{cart}/items/{sku}"), json!({"quantity": 0, "x": 1})).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["/quantity", "/x"]);
    let patch = json!({"sku": "other", "title": null, "price": null, "status": "sold", "description": 1, "x": null});
    let refused = shop.patch(&format!("/v1/products/{sku}"), patch).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["/description", "/price", "/sku", "/status", "/title", "/x"]);
}

#[tokio::test]
async fn what_names_something_unknown_is_a_wrong_value() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let order = confirmed(&shop, &[(&sku, 1)]).await;
    let body = json!({"sku": "a", "title": "x", "price": money("1"), "category": "no-such"});
    assert_eq!(shop.post("/v1/products", body).await.expect(422).pointers(), ["/category"]);
    let patch = shop.patch(&format!("/v1/products/{sku}"), json!({"category": "no-such"}));
    assert_eq!(patch.await.expect(422).pointers(), ["/category"]);
    let body = json!({"id": "a", "name": "x", "parent": "no-such"});
    assert_eq!(shop.post("/v1/categories", body).await.expect(422).pointers(), ["/parent"]);
    let delivery = shop.post(&format!("/v1/orders/{order}/delivery"), json!({"shipment": NOBODY}));
    assert_eq!(delivery.await.expect(422).pointers(), ["/shipment"]);
    let body =
        json!({"currency": "GBP", "items": [{"sku": sku, "quantity": 1}, {"sku": "no-such", "quantity": 1}, {"sku": sku, "quantity": 1}]});
    assert_eq!(shop.post("/v1/carts", body).await.expect(422).pointers(), ["/items/1/sku", "/items/2/sku"]);
    let sale = running_sale("no-such", 1);
    assert_eq!(shop.post("/v1/flash-sales", sale).await.expect(422).pointers(), ["/sku"]);
    let mut sale = running_sale(&sku, 1);
    sale["ends_at"] = sale["starts_at"].clone();
    assert_eq!(shop.post("/v1/flash-sales", sale).await.expect(422).pointers(), ["/ends_at"]);
    for category in [json!("a\u{0}b"), json!("x".repeat(65))] {
        let body = json!({"sku": "a", "title": "x", "price": money("1"), "category": category});
        assert_eq!(shop.post("/v1/products", body).await.expect(422).pointers(), ["/category"]);
    }
    let body = json!({"sku": "a", "title": "a\u{0}b", "price": money("1")});
    assert_eq!(shop.post("/v1/products", body).await.expect(422).pointers(), ["/title"]);
}
