//! Carts at the prices of now, and at those that were charged.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::{Shop, insert_product, insert_sale, product, with_shop};

async fn insert_cart(shop: &Shop, items: &[(&str, u32)], order: Option<Uuid>) -> String {
    let id = Uuid::now_v7();
    let nothing = json!({"amount": "0.00", "currency": "GBP"});
    let item =
        |(sku, quantity): &(&str, u32)| json!({"sku": sku, "title": "", "quantity": quantity, "unit_price": null, "line_total": null});
    let document = json!({
        "id": id, "currency": "GBP", "items": items.iter().map(item).collect::<Vec<_>>(), "subtotal": nothing, "discount": nothing,
        "shipping": nothing, "tax": nothing, "total": nothing, "status": if order.is_some() { "checked_out" } else { "open" },
        "order": order, "metadata": {}, "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "version": 4
    });
    shop.sql(format!("insert into read_model.carts values ('{id}', 4, '{document}')")).await;
    format!("/v1/carts/{id}")
}

fn gbp(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

#[tokio::test]
async fn a_cart_shows_the_prices_of_now() {
    with_shop(async |shop| {
        shop.sql(
            insert_product(1, "A", None, "active") + &insert_product(2, "B", None, "active") + &insert_product(3, "C", None, "archived"),
        )
        .await;
        let path = insert_cart(shop, &[("A", 3), ("B", 2)], None).await;
        let cart = shop.get(&path).await;
        assert_eq!((cart.header("etag"), cart.header("merx-position")), ("\"4\"", "10"));
        assert_eq!(cart.body["total"], gbp("12.75"));
        assert_eq!(
            cart.body["items"][0],
            json!({
                "sku": "A", "title": "The A", "quantity": 3, "unit_price": gbp("2.55"), "line_total": gbp("7.65"), "problem": null
            })
        );

        shop.sql(insert_sale(Uuid::now_v7(), "B", -5, 600)).await;
        let cart = shop.get(&path).await.body;
        assert_eq!((&cart["items"][1]["unit_price"], &cart["total"], &cart["subtotal"]), (&gbp("1.99"), &gbp("11.63"), &gbp("11.63")));
        assert_eq!(cart["tax"], gbp("0.00"));
    })
    .await;
}

#[tokio::test]
async fn a_line_that_can_t_be_bought_says_why_and_then_there_are_no_sums() {
    with_shop(async |shop| {
        shop.sql(insert_product(1, "A", None, "active") + &insert_product(3, "C", None, "archived")).await;
        let cart = shop.get(&insert_cart(shop, &[("A", 3), ("C", 1), ("gone", 1)], None).await).await.body;
        assert_eq!((&cart["items"][1]["title"], &cart["items"][1]["unit_price"]), (&json!("The C"), &Value::Null));
        let problems: Vec<_> = cart["items"].as_array().unwrap().iter().map(|item| item["problem"].clone()).collect();
        assert_eq!(problems, [Value::Null, json!("not_for_sale"), json!("not_for_sale")]);
        assert_eq!((&cart["items"][0]["line_total"], &cart["items"][2]["line_total"]), (&gbp("7.65"), &Value::Null));
        for sum in ["subtotal", "discount", "shipping", "tax", "total"] {
            assert_eq!(cart[sum], Value::Null, "{sum}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_empty_cart_costs_nothing() {
    with_shop(async |shop| {
        let path = insert_cart(shop, &[], None).await;
        assert_eq!(shop.get(&path).await.body["total"], gbp("0.00"));
    })
    .await;
}

#[tokio::test]
async fn a_cart_that_was_bought_shows_what_was_charged() {
    with_shop(async |shop| {
        let order = Uuid::now_v7();
        shop.sql(insert_product(1, "A", None, "active")).await;
        let path = insert_cart(shop, &[("A", 2)], Some(order)).await;
        let before = shop.get(&path).await.body;
        assert_eq!((&before["total"], &before["order"]), (&gbp("5.10"), &json!(order)), "the order is not readable yet");

        let line = json!({"sku": "A", "title": "As it was", "quantity": 2, "unit_price": gbp("2"), "line_total": gbp("4.00")});
        let document = json!({"items": [line], "subtotal": gbp("4.00"), "discount": gbp("0.00"), "shipping": gbp("0.00"),
            "tax": gbp("0.00"), "total": gbp("4.00")});
        shop.sql(format!("insert into read_model.orders values ('{order}', 'placed', null, now(), 1, '{document}')")).await;
        let after = shop.get(&path).await.body;
        let mut shown = line.clone();
        shown["problem"] = Value::Null;
        assert_eq!((&after["total"], &after["items"][0]), (&gbp("4.00"), &shown));
        assert_eq!(product("A", "2.55")["price"], gbp("2.55"));
    })
    .await;
}
