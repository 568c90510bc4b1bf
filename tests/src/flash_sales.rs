//! Flash sales: a window on a SKU with an allotment, a price, and a limit for each customer.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Request},
    shop::{Shop, buy, cart, checkout_body, confirmed, money, product, settled, stock_becomes},
};

fn in_ms(ms: i64) -> String {
    (Utc::now() + chrono::Duration::milliseconds(ms)).to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// A sale at 5.00 of a product at 20.00.
fn announce(shop: &Shop, sku: &str, from_ms: i64, to_ms: i64, allotment: u32, limit: Option<u32>) -> Request {
    let body = json!({"sku": sku, "starts_at": in_ms(from_ms), "ends_at": in_ms(to_ms), "allotment": allotment, "price": money("5"),
                      "limit_per_customer": limit});
    shop.post("/v1/flash-sales", body)
}

async fn buy_as(shop: &Shop, email: &str, sku: &str, quantity: u32, token: &str) -> Answer {
    let cart = cart(shop, &[(sku, quantity)]).await;
    let mut body = checkout_body(token);
    body["email"] = json!(email);
    shop.post(&format!("/v1/carts/{cart}/checkout"), body).await
}

fn counts(sale: &Answer) -> [Value; 4] {
    ["state", "sold", "reserved", "remaining"].map(|name| sale[name].clone())
}

#[tokio::test]
async fn a_running_sale_sells_its_allotment_at_its_price_and_to_each_customer_up_to_the_limit() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 100).await;
    let before = cart(&shop, &[(&sku, 1)]).await;
    let sale = announce(&shop, &sku, -5_000, 600_000, 3, Some(2)).await.expect(201);
    let path = format!("/v1/flash-sales/{}", sale.id());
    let shown = shop.get_at(&format!("/v1/products/{sku}"), sale.position()).await.expect(200);
    assert_eq!((&shown["flash_sale"]["price"], &shown["stock"]), (&money("5"), &json!({"available": 3, "state": "low"})), "{shown}");
    let in_cart = shop.get_at(&format!("/v1/carts/{before}"), sale.position()).await.expect(200);
    assert_eq!((&in_cart["items"][0]["unit_price"], &in_cart["total"]), (&money("5"), &money("5.00")), "{in_cart}");
    let first = buy_as(&shop, "One@Shop.example", &sku, 2, "tok_ok").await.expect(201);
    assert_eq!((&first["total"], &first["items"][0]["unit_price"]), (&money("10.00"), &money("5")));
    let refused = buy_as(&shop, "one@shop.EXAMPLE", &sku, 1, "tok_ok").await.refused(409, "limit_per_customer");
    assert_eq!(refused.pointers(), [format!("/items/{sku}")]);
    let refused = buy_as(&shop, "two@shop.example", &sku, 2, "tok_ok").await.refused(409, "out_of_stock");
    assert_eq!((&refused["errors"][0]["requested"], &refused["errors"][0]["available"]), (&json!(2), &json!(1)), "{refused}");
    let second = buy_as(&shop, "two@shop.example", &sku, 1, "tok_ok").await.expect(201);
    for order in [first.id(), second.id()] {
        assert_eq!(settled(&shop, &order).await.state(), "confirmed");
    }
    let sold = shop.until(&path, |sale| sale["sold"] == 3).await;
    assert_eq!(counts(&sold), [json!("running"), json!(3), json!(0), json!(0)]);
    let refused = buy_as(&shop, "three@shop.example", &sku, 1, "tok_ok").await.refused(409, "out_of_stock");
    assert_eq!(refused["errors"][0]["available"], 0);
    stock_becomes(&shop, &sku, 97, 0).await;
}

#[tokio::test]
async fn what_a_cancelled_or_declined_order_held_comes_back_to_the_sale_and_to_the_customer() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 10).await;
    let path = format!("/v1/flash-sales/{}", announce(&shop, &sku, -5_000, 600_000, 2, Some(2)).await.expect(201).id());
    let held = buy_as(&shop, "one@shop.example", &sku, 2, "tok_down").await.expect(201);
    let sale = shop.get_at(&path, held.position()).await.expect(200);
    assert_eq!(counts(&sale), [json!("running"), json!(0), json!(2), json!(0)]);
    shop.post(&format!("/v1/orders/{}/cancel", held.id()), json!({})).await.expect(200);
    shop.until(&path, |sale| sale["remaining"] == 2).await;
    let declined = buy_as(&shop, "one@shop.example", &sku, 2, "tok_declined").await.expect(201);
    assert_eq!(settled(&shop, &declined.id()).await.state(), "cancelled");
    shop.until(&path, |sale| sale["remaining"] == 2).await;
    let bought = buy_as(&shop, "one@shop.example", &sku, 2, "tok_ok").await.expect(201).id();
    assert_eq!(settled(&shop, &bought).await.state(), "confirmed");
    shop.until(&path, |sale| sale["sold"] == 2).await;
    shop.post(&format!("/v1/orders/{bought}/cancel"), json!({})).await.expect(200);
    let sale = shop.until(&path, |sale| sale["sold"] == 0).await;
    assert_eq!(counts(&sale), [json!("running"), json!(0), json!(0), json!(2)]);
    assert_eq!(buy_as(&shop, "one@shop.example", &sku, 2, "tok_down").await.expect(201)["total"], money("10.00"));
}

#[tokio::test]
async fn a_sale_begins_and_ends_on_time_and_returns_what_was_not_sold() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 10).await;
    let sale = announce(&shop, &sku, 2_500, 6_000, 6, None).await.expect(201);
    let path = format!("/v1/flash-sales/{}", sale.id());
    assert_eq!(counts(&sale), [json!("scheduled"), json!(0), json!(0), json!(6)]);
    // Set aside already: at the ordinary price four are left.
    let waiting = cart(&shop, &[(&sku, 1)]).await;
    assert_eq!(shop.get_at(&format!("/v1/carts/{waiting}"), sale.position()).await["total"], money("20.00"));
    let before = buy(&shop, &[(&sku, 5)], "tok_ok").await.refused(409, "out_of_stock");
    assert_eq!(before["errors"][0]["available"], 4);
    let ordinary = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201);
    assert_eq!(ordinary["total"], money("20.00"));
    shop.until(&path, |sale| sale["state"] == "running").await;
    shop.until(&format!("/v1/carts/{waiting}"), |cart| cart["total"] == money("5.00")).await;
    let sold = buy(&shop, &[(&sku, 2)], "tok_ok").await.expect(201);
    assert_eq!(sold["total"], money("10.00"));
    assert_eq!(settled(&shop, &sold.id()).await.state(), "confirmed");
    let ended = shop.until(&path, |sale| sale["state"] == "ended").await;
    assert_eq!(ended["remaining"], 0);
    // Ten, of which two are sold and one is held.
    stock_becomes(&shop, &sku, 8, 1).await;
    let after = buy(&shop, &[(&sku, 7)], "tok_ok").await.expect(201);
    assert_eq!(after["total"], money("140.00"));
    let ended = shop.until(&path, |sale| sale["sold"] == 2).await;
    assert_eq!(counts(&ended), [json!("ended"), json!(2), json!(0), json!(0)]);
    shop.post(&format!("{path}/cancel"), json!({})).await.refused(409, "flash_sale_ended");
}

#[tokio::test]
async fn a_sale_that_is_called_off_returns_its_stock_and_its_price_ends() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 10).await;
    let path = format!("/v1/flash-sales/{}", announce(&shop, &sku, -5_000, 600_000, 6, Some(5)).await.expect(201).id());
    confirmed(&shop, &[(&sku, 1)]).await;
    shop.until(&path, |sale| sale["sold"] == 1).await;
    let held = buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    let cancelled = shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(counts(&cancelled), [json!("cancelled"), json!(1), json!(2), json!(0)]);
    let stock = shop.get_at(&format!("/v1/stock/{sku}"), cancelled.position()).await.expect(200);
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&json!(9), &json!(2)));
    let ordinary = buy(&shop, &[(&sku, 7)], "tok_down").await.expect(201);
    assert_eq!(ordinary["total"], money("140.00"));
    // What was bought in the sale stays bought in it.
    shop.post(&format!("/v1/orders/{}/cancel", held.id()), json!({})).await.expect(200);
    stock_becomes(&shop, &sku, 9, 7).await;
    let again = shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(again["state"], "cancelled");
}

#[tokio::test]
async fn sales_do_not_overlap_and_have_no_more_than_there_is() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 10).await;
    let refused = announce(&shop, &sku, -5_000, 600_000, 11, None).await.refused(409, "insufficient_stock");
    assert_eq!(refused["available"], 10);
    let first = announce(&shop, &sku, 100_000, 200_000, 4, None).await.expect(201);
    for (from, to) in [(-5_000, 150_000), (150_000, 300_000), (120_000, 130_000), (0, 900_000)] {
        announce(&shop, &sku, from, to, 1, None).await.refused(409, "overlapping_sale");
    }
    announce(&shop, &sku, 300_000, 400_000, 7, None).await.refused(409, "insufficient_stock");
    announce(&shop, &sku, 300_000, 400_000, 6, None).await.expect(201);
    announce(&shop, &sku, -400_000, -300_000, 1, None).await.expect(422);
    shop.post(&format!("/v1/flash-sales/{}/cancel", first.id()), json!({})).await.expect(200);
    announce(&shop, &sku, 100_000, 200_000, 4, None).await.expect(201);
    let answers = join_all((0..6).map(|_| announce(&shop, &sku, 500_000, 600_000, 1, None).into_future())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 0, "nothing is left to set aside");
    let other = product(&shop, "20", 10).await;
    let answers = join_all((0..6).map(|_| announce(&shop, &other, 500_000, 600_000, 1, None).into_future())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
}

#[tokio::test]
async fn a_crowd_gets_the_allotment_and_no_customer_more_than_the_limit() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 500).await;
    let path = format!("/v1/flash-sales/{}", announce(&shop, &sku, -5_000, 600_000, 30, Some(1)).await.expect(201).id());
    let orders = join_all((0..120).map(|number| {
        let (shop, sku) = (&shop, &sku);
        async move { buy_as(shop, &format!("buyer{}@shop.example", number % 60), sku, 1, "tok_ok").await }
    }));
    let answers = orders.await;
    let placed: Vec<_> = answers.iter().filter(|answer| answer.status == 201).collect();
    let emails: std::collections::HashSet<_> = placed.iter().map(|order| order["email"].to_string()).collect();
    assert_eq!((placed.len(), emails.len()), (30, 30));
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert!(answer.status == 409 && ["out_of_stock", "limit_per_customer"].contains(&answer["code"].as_str().unwrap()), "{answer}");
    }
    for order in &placed {
        assert_eq!((settled(&shop, &order.id()).await.state(), &order["total"]), ("confirmed", &money("5.00")));
    }
    shop.until(&path, |sale| counts(sale) == [json!("running"), json!(30), json!(0), json!(0)]).await;
    stock_becomes(&shop, &sku, 470, 0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(shop.get(&path).await["sold"], 30);
}

#[tokio::test]
async fn a_limit_is_not_passed_by_other_ways_to_write_the_address() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "20", 100).await;
    announce(&shop, &sku, -5_000, 600_000, 50, Some(1)).await.expect(201);
    buy_as(&shop, "jos\u{e9}.ann@shop.example", &sku, 1, "tok_ok").await.expect(201);
    let ways = ["JOS\u{c9}.Ann@Shop.Example", "jose\u{301}.ann@shop.example", "jos\u{e9}.ann@SHOP.example"];
    for way in ways {
        let refused = buy_as(&shop, way, &sku, 1, "tok_ok").await;
        // Some of them may be no address at all; none is another customer.
        assert!([409, 422].contains(&refused.status), "{way:?}: {refused}");
        if refused.status == 409 {
            refused.refused(409, "limit_per_customer");
        }
    }
    buy_as(&shop, "ann@shop.example", &sku, 1, "tok_ok").await.expect(201);
    for way in
        ["ann@shop.example.", "\"ann\"@shop.example", "a\u{200b}nn@shop.example", "ann@shop.example\u{feff}", "ann@shop\u{ad}.example"]
    {
        let refused = buy_as(&shop, way, &sku, 1, "tok_ok").await;
        assert!(refused.status == 422 || refused["code"] == "limit_per_customer", "{way:?}: {refused}");
    }
    // The same address finds its orders, however it is written.
    let listed = shop.until("/v1/orders?email=ANN@Shop.example.", |orders| orders.items().len() == 1).await;
    assert_eq!(listed.items()[0]["email"], "ann@shop.example");
}

#[tokio::test]
async fn a_sale_is_cheaper_than_the_product_of_what_is_sold_and_ends_within_a_year() {
    const DAY_MS: i64 = 86_400_000;
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "5.01", 100).await;
    announce(&shop, &sku, 0, 367 * DAY_MS, 5, None).await.expect(422);
    let priced = |price: &str| {
        let mut sale = crate::shop::running_sale(&sku, 1);
        sale["price"] = money(price);
        shop.post("/v1/flash-sales", sale)
    };
    for price in ["5.01", "5.010", "5.02", "20"] {
        assert_eq!(priced(price).await.refused(422, "price_not_lower").pointers(), ["/price/amount"], "{price}");
    }
    let status = async |status: &str| shop.patch(&format!("/v1/products/{sku}"), json!({"status": status})).await.expect(200);
    status("archived").await;
    priced("5").await.refused(409, "not_for_sale");
    status("active").await;
    priced("5").await.expect(201);
    announce(&shop, &sku, 400 * DAY_MS, 765 * DAY_MS, 5, None).await.expect(201);
}
