//! Texts are checked for what they mean: e-mails, countries, names, reasons.

use serde_json::{Value, json};

use crate::shop::{Shop, cart, checkout_body, money, product, unique};

/// `body` with `value` in the place that the JSON Pointer names.
fn with(body: &Value, pointer: &str, value: &str) -> Value {
    let mut changed = body.clone();
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    match changed.pointer_mut(parent).expect("the parent") {
        Value::Array(items) => items[name.parse::<usize>().expect("an index")] = json!(value),
        parent => parent[name] = json!(value),
    }
    changed
}

/// Nothing can be seen of these, or they would drive a terminal.
const NO_LINES: [&str; 6] = [" ", "\t", "\u{200b}\u{2060}", "\u{a0}", "A\u{7}", "A\nB"];

#[tokio::test]
async fn a_buyer_has_an_address_that_mail_and_parcels_can_be_sent_to() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 9).await;
    let cart = cart(&shop, &[(&sku, 1)]).await;
    let (path, body) = (format!("/v1/carts/{cart}/checkout"), checkout_body("tok_ok"));
    let emails = [
        "<a@b.example>",
        "a@b..example",
        "<script>@b.example",
        "a..b@b.example",
        "a@-b.example",
        "\"a\"@b.example",
        "a@127.0.0.1",
        "a\u{200b}@b.example",
        "a@b.example.",
        "a@b",
        "a b@b.example",
        "a,b@b.example",
    ];
    for email in emails {
        let refused = shop.post(&path, with(&body, "/email", email)).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/email"], "{email:?}");
    }
    for country in ["XX", "ZZ", "UK", "EU", "AN", "gb", "GBR"] {
        let refused = shop.post(&path, with(&body, "/shipping_address/country", country)).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/shipping_address/country"], "{country:?}");
    }
    for field in ["name", "line1", "line2", "city", "region", "postal_code"] {
        let pointer = format!("/shipping_address/{field}");
        for text in NO_LINES {
            let refused = shop.post(&path, with(&body, &pointer, text)).await.refused(422, "invalid_request");
            assert_eq!(refused.pointers(), [pointer.as_str()], "{text:?}");
        }
    }
    assert_eq!(shop.get("/v1/orders").await.expect(200).items(), &[] as &[Value], "a refusal makes no order");

    let mut far = with(&body, "/email", "jörg@köln.example");
    far["shipping_address"] = json!({"name": "山田 太郎", "line1": "1-2-3", "line2": "", "city": "東京", "country": "JP"});
    let order = shop.post(&path, far).await.expect(201);
    assert_eq!(order["email"], "jörg@köln.example");
}

#[tokio::test]
async fn what_staff_write_can_be_seen_and_does_not_control_anything() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 9).await;
    let cases: [(&str, String, Value, &[&str]); 8] = [
        (
            "POST",
            "/v1/products".into(),
            json!({"sku": unique("N"), "title": "T", "brand": "B", "price": money("1")}),
            &["/title", "/brand"],
        ),
        ("PATCH", format!("/v1/products/{sku}"), json!({"title": "T", "brand": "B"}), &["/title", "/brand"]),
        ("POST", "/v1/categories".into(), json!({"id": unique("c"), "name": "C"}), &["/name"]),
        ("POST", format!("/v1/stock/{sku}/receipts"), json!({"quantity": 1, "reference": "R"}), &["/reference"]),
        ("POST", format!("/v1/products/{sku}/reviews"), json!({"rating": 5, "title": "T", "text": "X"}), &["/title"]),
        ("POST", format!("/v1/stock/{sku}/adjustments"), json!({"quantity": 1, "reason": "R"}), &["/reason"]),
        (
            "POST",
            "/v1/products".into(),
            json!({"sku": unique("N"), "title": "T", "description": "D", "price": money("1")}),
            &["/description"],
        ),
        (
            "PATCH",
            format!("/v1/products/{sku}"),
            json!({"description": "D", "attributes": {"size": "M"}}),
            &["/description", "/attributes/size"],
        ),
    ];
    for (method, path, body, pointers) in cases {
        for pointer in pointers {
            let wrong: &[&str] = match *pointer {
                "/description" | "/attributes/size" => &["A\u{1b}[31m", "A\u{8}"],
                "/reason" => &[" ", "\u{200b}", "A\u{7}"],
                _ => &NO_LINES,
            };
            for text in wrong {
                let body = with(&body, pointer, text);
                let answer = if method == "POST" { shop.post(&path, body).await } else { shop.patch(&path, body).await };
                assert_eq!(answer.refused(422, "invalid_request").pointers(), [*pointer], "{method} {path} {text:?}");
            }
        }
    }
    for url in ["https:///a.jpg", "https://shop.example/a b.jpg", "https://shop.example/%zz.jpg", "javascript:alert(1)", "https://"] {
        let body = json!({"sku": unique("N"), "title": "T", "price": money("1"), "images": [{"url": url}]});
        assert_eq!(shop.post("/v1/products", body).await.refused(422, "invalid_request").pointers(), ["/images/0/url"], "{url:?}");
    }
    let lines = json!({"quantity": 1, "reason": "Two came back.\nOne is whole."});
    shop.post(&format!("/v1/stock/{sku}/adjustments"), lines).await.expect(201);
}
