//! Money: what is accepted, how it comes back, and how it is rounded.

use serde_json::{Value, json};

use crate::shop::{Shop, cart, check_out, items, money, receive, settled, unique};

async fn priced(shop: &Shop, amount: &str, currency: &str) -> String {
    let sku = unique("T");
    let body = json!({"sku": sku, "title": "x", "price": {"amount": amount, "currency": currency}});
    shop.post("/v1/products", body).await.expect(201);
    sku
}

#[tokio::test]
async fn a_price_comes_back_as_it_was_sent() {
    let Some(shop) = Shop::open().await else { return };
    for amount in ["0", "0.000001", "0.10", "12.5", "12.50", "12.500000", "7", "999999999999", "999999999999.999999"] {
        let sku = priced(&shop, amount, "GBP").await;
        let patched = shop.patch(&format!("/v1/products/{sku}"), json!({"title": "y"})).await.expect(200);
        assert_eq!(patched["price"], money(amount));
        let read = shop.get_at(&format!("/v1/products/{sku}"), patched.position()).await.expect(200);
        assert_eq!(read["price"], money(amount));
    }
}

#[tokio::test]
async fn what_is_no_amount_and_no_currency_is_refused() {
    let Some(shop) = Shop::open().await else { return };
    let try_price = async |amount: Value, currency: Value| {
        let body = json!({"sku": unique("T"), "title": "x", "price": {"amount": amount, "currency": currency}});
        shop.post("/v1/products", body).await.refused(422, "invalid_request")
    };
    let texts = [
        "",
        " 1",
        "1 ",
        "-1",
        "+1",
        "01",
        "00",
        ".5",
        "1.",
        "1,5",
        "1e3",
        "NaN",
        "Infinity",
        "0x10",
        "1.1234567",
        "1000000000000",
        "1_000",
        "١",
        "99999999999999999999",
    ];
    for amount in texts.iter().map(|text| json!(text)).chain([json!(1), json!(1.5), json!(null), json!([]), json!({})]) {
        assert_eq!(try_price(amount, json!("GBP")).await.pointers(), ["/price/amount"]);
    }
    for currency in [json!("gbp"), json!("GB"), json!("GBPP"), json!(""), json!("ZZZ"), json!(826), json!(null)] {
        assert_eq!(try_price(json!("1"), currency).await.pointers(), ["/price/currency"]);
    }
    // Codes of ISO 4217 that nobody pays in: for none and for tests, metals, units of account, funds, what was withdrawn.
    for currency in ["XXX", "XTS", "XAU", "XDR", "XUA", "BOV", "CLF", "HRK", "CUC"] {
        assert_eq!(try_price(json!("1"), json!(currency)).await.pointers(), ["/price/currency"], "{currency}");
        let refused = shop.post("/v1/carts", json!({"currency": currency})).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/currency"], "{currency}");
    }
    let body = json!({"sku": unique("T"), "title": "x", "price": "1.00 GBP"});
    assert_eq!(shop.post("/v1/products", body).await.refused(422, "invalid_request").pointers(), ["/price"]);
    let body = json!({"sku": unique("T"), "title": "x", "price": {"amount": "1"}});
    assert_eq!(shop.post("/v1/products", body).await.refused(422, "invalid_request").pointers(), ["/price/currency"]);
    let body = json!({"sku": unique("T"), "title": "x", "price": {"amount": "1", "currency": "GBP", "vat": "20"}});
    assert_eq!(shop.post("/v1/products", body).await.refused(422, "invalid_request").pointers(), ["/price/vat"]);
}

#[tokio::test]
async fn lines_are_rounded_half_even_to_the_minor_unit_of_their_currency() {
    let Some(shop) = Shop::open().await else { return };
    let cases = [
        ("GBP", "0.125", 1, "0.12"),
        ("GBP", "0.375", 1, "0.38"),
        ("GBP", "0.125", 2, "0.25"),
        ("GBP", "0.001", 5, "0.00"),
        ("GBP", "0.001", 15, "0.02"),
        ("GBP", "2.5", 3, "7.50"),
        ("JPY", "100", 3, "300"),
        ("JPY", "0.5", 1, "0"),
        ("JPY", "1.5", 1, "2"),
        ("KWD", "1.2345", 1, "1.234"),
        ("KWD", "1.2355", 1, "1.236"),
        ("KWD", "2", 1, "2.000"),
    ];
    for (currency, price, quantity, total) in cases {
        let sku = priced(&shop, price, currency).await;
        receive(&shop, &sku, 100).await;
        let cart = shop.post("/v1/carts", json!({"currency": currency, "items": items(&[(&sku, quantity)])})).await.expect(201);
        let expected = json!({"amount": total, "currency": currency});
        for name in ["subtotal", "total"] {
            assert_eq!(cart[name], expected, "{quantity} x {price} {currency}: {cart}");
        }
        let line = &cart["items"][0];
        assert_eq!((&line["unit_price"]["amount"], &line["line_total"]), (&json!(price), &expected), "{cart}");
        let order = check_out(&shop, &cart.id(), "tok_ok").await.expect(201);
        assert_eq!((&order["total"], &order["items"][0]["line_total"]), (&expected, &expected), "{order}");
        assert_eq!(order["items"][0]["unit_price"]["amount"], price);
        let order = settled(&shop, &order.id()).await;
        assert_eq!((&order["status"], &order["payment"]["captured"]), (&json!("confirmed"), &expected), "{order}");
        let zero = match currency {
            "JPY" => "0",
            "KWD" => "0.000",
            _ => "0.00",
        };
        let zero = json!({"amount": zero, "currency": currency});
        for name in ["discount", "shipping", "tax"] {
            assert_eq!(order[name], zero, "{order}");
        }
        assert_eq!(order["payment"]["refunded"], zero, "{order}");
    }
}

#[tokio::test]
async fn the_sum_is_of_rounded_lines_and_may_be_too_great_to_charge() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (priced(&shop, "0.125", "GBP").await, priced(&shop, "0.125", "GBP").await);
    for sku in [&a, &b] {
        receive(&shop, sku, 10).await;
    }
    let bought = cart(&shop, &[(&a, 1), (&b, 1)]).await;
    assert_eq!(check_out(&shop, &bought, "tok_down").await.expect(201)["total"], money("0.24"));
    let dear = priced(&shop, "999999999999.99", "GBP").await;
    receive(&shop, &dear, 10).await;
    let too_dear = cart(&shop, &[(&dear, 2)]).await;
    check_out(&shop, &too_dear, "tok_down").await.refused(409, "total_too_large");
    let just = cart(&shop, &[(&dear, 1)]).await;
    assert_eq!(check_out(&shop, &just, "tok_down").await.expect(201)["total"], money("999999999999.99"));
}
