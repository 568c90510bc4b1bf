//! Quantities, codes, notes and times.

use serde_json::{Value, json};

use crate::shop::{Shop, buy, cart, checkout_body, in_days, money, product, running_sale};

#[tokio::test]
async fn a_quantity_is_an_integer_up_to_a_thousand_million() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 0).await;
    let receipts = format!("/v1/stock/{sku}/receipts");
    let wrong = [
        json!(0),
        json!(-1),
        json!(1.5),
        json!("3"),
        json!(null),
        json!(true),
        json!([1]),
        json!(1_000_000_001),
        json!(1_000_000_000_000_u64),
    ];
    for quantity in wrong.into_iter().chain([json!(1e30), json!(u64::MAX)]) {
        let refused = shop.post(&receipts, json!({"quantity": quantity, "reference": "x"})).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/quantity"]);
    }
    let huge = br#"{"quantity": 123456789012345678901234567890, "reference": "x"}"#;
    shop.post(&receipts, json!({})).raw("application/json", &huge[..]).await.refused(422, "invalid_request");
    let most = shop.post(&receipts, json!({"quantity": 1_000_000_000, "reference": "x"})).await.expect(201);
    assert_eq!(most["on_hand"], 1_000_000_000);
    let adjustments = format!("/v1/stock/{sku}/adjustments");
    for quantity in [json!(0), json!(-1_000_000_001), json!(1_000_000_001), json!(0.5)] {
        let refused = shop.post(&adjustments, json!({"quantity": quantity, "reason": "x"})).await.expect(422);
        assert_eq!(refused.pointers(), ["/quantity"]);
    }
    let gone = shop.post(&adjustments, json!({"quantity": -1_000_000_000, "reason": "x"})).await.expect(201);
    assert_eq!((&gone["on_hand"], &gone["available"]), (&json!(0), &json!(0)));
    let refused = shop.post(&adjustments, json!({"quantity": -1, "reason": "x"})).await.refused(409, "insufficient_stock");
    assert_eq!(refused["available"], 0);
}

#[tokio::test]
async fn a_line_of_a_cart_has_1_to_10000_units() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 0).await;
    let cart = cart(&shop, &[]).await;
    let line = format!("/v1/carts/{cart}/items/{sku}");
    for quantity in [json!(0), json!(-1), json!(10_001), json!(1.5), json!("1"), Value::Null] {
        assert_eq!(shop.put(&line, json!({"quantity": quantity})).await.refused(422, "invalid_request").pointers(), ["/quantity"]);
    }
    let full = shop.put(&line, json!({"quantity": 10_000})).await.expect(200);
    assert_eq!((&full["items"][0]["quantity"], &full["total"]), (&json!(10_000), &money("20000.00")));
    assert_eq!(shop.put(&line, json!({"quantity": 1})).await.expect(200)["total"], money("2.00"));
    assert_eq!(shop.delete(&line).await.expect(200)["items"], json!([]));
    assert_eq!(shop.delete(&line).await.expect(200)["total"], money("0.00"));
}

#[tokio::test]
async fn codes_have_up_to_64_characters_and_case_tells_them_apart() {
    let Some(shop) = Shop::open().await else { return };
    let create = async |sku: &str| shop.post("/v1/products", json!({"sku": sku, "title": format!("<{sku}>"), "price": money("1")})).await;
    let mut position = 0;
    for sku in ["a", "A", "0", "a.b_c-D", &"x".repeat(64), "...", "..a", ".a", "-"] {
        let made = create(sku).await.expect(201);
        assert_eq!((made.id().as_str(), &made["sku"]), (sku, &json!(sku)));
        position = made.position();
    }
    create("a").await.refused(409, "sku_taken");
    for sku in ["", ".", "..", "a b", "a/b", "ä", "a%", &"x".repeat(65)] {
        assert_eq!(create(sku).await.refused(422, "invalid_request").pointers(), ["/sku"]);
    }
    assert_eq!(shop.get_at("/v1/products/A", position).await.expect(200)["title"], "<A>");
    assert_eq!(shop.get_at("/v1/products/a", position).await.expect(200)["title"], "<a>");
    shop.post("/v1/categories", json!({"id": "c", "name": "C"})).await.expect(201);
    shop.post("/v1/categories", json!({"id": "C", "name": "C"})).await.expect(201);
    shop.post("/v1/categories", json!({"id": "c", "name": "D"})).await.refused(409, "category_taken");
}

#[tokio::test]
async fn notes_are_kept_up_to_20_strings_of_500_characters() {
    let Some(shop) = Shop::open().await else { return };
    let notes =
        |count: usize, length: usize| -> Value { (0..count).map(|n| (format!("n{n}"), Value::from("ж".repeat(length)))).collect() };
    let sku = product(&shop, "2", 5).await;
    let path = format!("/v1/products/{sku}");
    assert_eq!(shop.patch(&path, json!({"metadata": notes(20, 500)})).await.expect(200)["metadata"], notes(20, 500));
    assert_eq!(shop.patch(&path, json!({"metadata": {"n21": "x"}})).await.expect(422).pointers(), ["/metadata"]);
    assert_eq!(shop.patch(&path, json!({"metadata": {"n0": null, "n21": "x"}})).await.expect(200)["metadata"]["n21"], "x");
    assert_eq!(shop.patch(&path, json!({"metadata": null})).await.expect(200)["metadata"], json!({}));
    for wrong in [notes(21, 1), json!({"a": 1}), json!({"a": {"b": "c"}}), json!([]), notes(1, 501)] {
        let refused = shop.post("/v1/carts", json!({"currency": "GBP", "metadata": wrong})).await.refused(422, "invalid_request");
        assert!(refused.pointers()[0].starts_with("/metadata"), "{refused}");
    }
    let bought = cart(&shop, &[(&sku, 1)]).await;
    let mut body = checkout_body("tok_ok");
    body["metadata"] = notes(20, 500);
    let order = shop.post(&format!("/v1/carts/{bought}/checkout"), body).await.expect(201);
    assert_eq!(order["metadata"], notes(20, 500));
    shop.until(&format!("/v1/orders/{}", order.id()), |order| order["status"] == "confirmed").await;
    let refund = json!({"amount": money("1"), "reason": "x", "metadata": {"ticket": "7"}});
    let refunded = shop.post(&format!("/v1/orders/{}/refunds", order.id()), refund).await.expect(201);
    assert_eq!(refunded["refunds"][0]["metadata"], json!({"ticket": "7"}));
}

#[tokio::test]
async fn times_are_utc_with_six_fractional_digits_and_ids_are_uuids_of_version_7() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 5).await;
    let order = buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201);
    let mut sale = running_sale(&sku, 1);
    let (yesterday, soon) = (in_days(-1)[..10].to_owned(), in_days(2)[..10].to_owned());
    sale["starts_at"] = json!(format!("{yesterday}T02:00:00+02:00"));
    sale["ends_at"] = json!(format!("{soon}T00:00:00.5Z"));
    let sale = shop.post("/v1/flash-sales", sale).await.expect(201);
    assert_eq!(
        (sale["starts_at"].as_str(), sale["ends_at"].as_str()),
        (Some(format!("{yesterday}T00:00:00.000000Z").as_str()), Some(format!("{soon}T00:00:00.500000Z").as_str()))
    );
    let event = shop.get(&format!("/v1/streams/order-{}", order.id())).await.expect(200).items()[0].clone();
    let times = [&order["placed_at"], &order["updated_at"], &order["timeline"][0]["at"], &event["recorded_at"]];
    for time in times {
        let text = time.as_str().expect("a time");
        assert!(text.len() == 27 && text.ends_with('Z') && text.as_bytes()[19] == b'.', "{text}");
    }
    for id in [order.id(), order["cart"].as_str().unwrap().to_owned(), sale.id(), event["id"].as_str().unwrap().to_owned()] {
        assert_eq!(id.parse::<uuid::Uuid>().expect("a UUID").get_version_num(), 7, "{id}");
    }
}
