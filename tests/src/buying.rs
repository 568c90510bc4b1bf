//! Carts and checkout: what is bought, and why it is not.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::shop::{
    Shop, buy, cart, check_out, checkout_body, confirmed, items, money, product, receive, running_sale, settled, stock_becomes,
};

#[tokio::test]
async fn what_is_bought_is_reserved_paid_and_leaves_stock() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "2.55", 5).await, product(&shop, "10", 1).await);
    let cart = cart(&shop, &[(&a, 3), (&b, 1)]).await;
    let mut body = checkout_body("tok_ok");
    body["expected_total"] = money("17.65");
    let order = shop.post(&format!("/v1/carts/{cart}/checkout"), body).await.expect(201);
    assert_eq!((order.state(), &order["total"], &order["payment"]["status"]), ("placed", &money("17.65"), &json!("pending")));
    let order = settled(&shop, &order.id()).await;
    assert_eq!((order.state(), &order["payment"]["status"]), ("confirmed", &json!("captured")), "{order}");
    assert_eq!((&order["payment"]["captured"], &order["payment"]["refunded"]), (&money("17.65"), &money("0.00")));
    let timeline = order["timeline"].as_array().unwrap();
    let steps: Vec<_> = timeline.iter().map(|step| step["status"].as_str().unwrap()).collect();
    assert_eq!(steps, ["submitted", "placed", "confirmed"]);
    assert!(timeline.is_sorted_by_key(|step| step["at"].as_str().unwrap()), "{order}");
    stock_becomes(&shop, &a, 2, 0).await;
    stock_becomes(&shop, &b, 0, 0).await;
    let again = check_out(&shop, &cart, "tok_ok").await.refused(409, "cart_checked_out");
    assert_eq!(again["order"], order["id"]);
    shop.put(&format!("/v1/carts/{cart}/items/{a}"), json!({"quantity": 1})).await.refused(409, "cart_checked_out");
    shop.delete(&format!("/v1/carts/{cart}/items/{a}")).await.refused(409, "cart_checked_out");
}

#[tokio::test]
async fn what_is_not_there_is_named_line_by_line_and_nothing_is_held() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b, c) = (product(&shop, "1", 5).await, product(&shop, "1", 1).await, product(&shop, "1", 0).await);
    let refused = buy(&shop, &[(&a, 2), (&b, 3), (&c, 1)], "tok_ok").await.refused(409, "out_of_stock");
    let mut told: Vec<_> = refused["errors"].as_array().unwrap().clone();
    told.sort_by_key(|error| error["requested"].as_i64());
    let told: Vec<_> =
        told.iter().map(|e| (e["pointer"].clone(), e["code"].clone(), e["requested"].clone(), e["available"].clone())).collect();
    let line = |sku: &str, requested: i64, available: i64| {
        (json!(format!("/items/{sku}")), json!("out_of_stock"), json!(requested), json!(available))
    };
    assert_eq!(told, [line(&c, 1, 0), line(&b, 3, 1)]);
    for (sku, units) in [(&a, 5), (&b, 1)] {
        let taken = shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": -units, "reason": "x"})).await.expect(201);
        assert_eq!((&taken["on_hand"], &taken["reserved"]), (&json!(0), &json!(0)));
    }
    // The cart is still there to be bought later.
    for sku in [&a, &b, &c] {
        receive(&shop, sku, 3).await;
    }
    let rejected = shop.until("/v1/orders?status=rejected", |orders| orders.items().len() == 1).await;
    let rejected = &rejected.items()[0];
    assert_eq!(rejected["payment"]["captured"], money("0.00"));
    let cart = rejected["cart"].as_str().unwrap();
    check_out(&shop, cart, "tok_ok").await.expect(201);
}

#[tokio::test]
async fn a_moved_price_is_told_with_the_old_and_the_new_one() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "2.55", 5).await, product(&shop, "1", 5).await);
    let cart = cart(&shop, &[(&a, 2), (&b, 1)]).await;
    shop.patch(&format!("/v1/products/{a}"), json!({"price": money("2.6")})).await.expect(200);
    let expecting = |amount: &str| {
        let mut body = checkout_body("tok_ok");
        body["expected_total"] = money(amount);
        shop.post(&format!("/v1/carts/{cart}/checkout"), body)
    };
    let refused = expecting("6.10").await.refused(409, "price_changed");
    assert_eq!(refused["total"], money("6.20"));
    let error = &refused["errors"][0];
    assert_eq!(
        (&error["pointer"], &error["old"], &error["new"]),
        (&json!(format!("/items/{a}")), &money("2.55"), &money("2.6")),
        "{refused}"
    );
    assert_eq!(refused["errors"].as_array().unwrap().len(), 1, "{refused}");
    let taken = shop.post(&format!("/v1/stock/{a}/adjustments"), json!({"quantity": -5, "reason": "x"})).await.expect(201);
    assert_eq!(taken["reserved"], 0);
    receive(&shop, &a, 5).await;
    let mut foreign = checkout_body("tok_ok");
    foreign["expected_total"] = json!({"amount": "6.20", "currency": "EUR"});
    shop.post(&format!("/v1/carts/{cart}/checkout"), foreign).await.refused(409, "price_changed");
    // The same amount in other digits is the same.
    assert_eq!(expecting("6.2").await.expect(201)["total"], money("6.20"));
}

#[tokio::test]
async fn without_an_expectation_the_prices_of_now_are_charged() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 5).await;
    let cart = cart(&shop, &[(&sku, 2)]).await;
    let position = shop.patch(&format!("/v1/products/{sku}"), json!({"price": money("3"), "title": "New"})).await.expect(200).position();
    let shown = shop.get_at(&format!("/v1/carts/{cart}"), position).await.expect(200);
    assert_eq!((&shown["total"], &shown["items"][0]["title"]), (&money("6.00"), &json!("New")));
    let order = check_out(&shop, &cart, "tok_ok").await.expect(201);
    assert_eq!((&order["total"], &order["items"][0]["title"]), (&money("6.00"), &json!("New")));
    // What was bought stays as it was bought.
    let position = shop.patch(&format!("/v1/products/{sku}"), json!({"price": money("9"), "title": "Newer"})).await.expect(200).position();
    let bought = shop.get_at(&format!("/v1/carts/{cart}"), position).await.expect(200);
    assert_eq!((&bought["total"], &bought["items"][0]["title"]), (&money("6.00"), &json!("New")), "{bought}");
    assert_eq!(settled(&shop, &order.id()).await["items"][0]["unit_price"], money("3"));
}

#[tokio::test]
async fn a_cart_sells_in_its_own_currency_and_not_when_it_is_empty() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 5).await;
    let in_euro = shop.post("/v1/carts", json!({"currency": "EUR"})).await.expect(201);
    assert_eq!(in_euro["total"], json!({"amount": "0.00", "currency": "EUR"}));
    let line = format!("/v1/carts/{}/items/{sku}", in_euro.id());
    shop.put(&line, json!({"quantity": 1})).await.refused(409, "not_for_sale");
    check_out(&shop, &in_euro.id(), "tok_ok").await.refused(409, "cart_empty");
    let cart = cart(&shop, &[(&sku, 1)]).await;
    shop.patch(&format!("/v1/products/{sku}"), json!({"price": {"amount": "2", "currency": "EUR"}})).await.expect(200);
    let refused = check_out(&shop, &cart, "tok_ok").await.refused(409, "not_for_sale");
    assert_eq!(refused.pointers(), [format!("/items/{sku}")]);
    shop.put(&line, json!({"quantity": 1})).await.expect(200);
    check_out(&shop, &in_euro.id(), "tok_ok").await.expect(201);
}

#[tokio::test]
async fn a_cart_that_changes_while_it_is_bought_is_bought_as_it_was_or_not_at_all() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "1", 100_000).await;
    let mut held = 0;
    for round in 0..40 {
        let cart = cart(&shop, &[(&sku, 1)]).await;
        let path = format!("/v1/carts/{cart}");
        let change = shop.put(&format!("{path}/items/{sku}"), json!({"quantity": 2 + round % 3})).into_future();
        let (order, change) = futures::join!(shop.post(&format!("{path}/checkout"), checkout_body("tok_down")).into_future(), change);
        match (order.status, change.status) {
            (201, 200 | 409) => {
                let quantity = order["items"][0]["quantity"].as_i64().unwrap();
                assert!(quantity == 1 || (change.status == 200 && quantity == 2 + round % 3), "{order}\n{change}");
                if change.status == 409 {
                    change.refused(409, "cart_checked_out");
                }
                let shown = shop.get_at(&path, order.position()).await.expect(200);
                assert_eq!((&shown["items"][0]["quantity"], &shown["order"]), (&json!(quantity), &order["id"]));
                held += quantity;
            }
            (409, 200) => {
                order.refused(409, "cart_changed");
            }
            _ => panic!("{order}\n{change}"),
        }
    }
    let stock = shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": 1, "reason": "x"})).await.expect(201);
    assert_eq!(stock["reserved"], held);
}

#[tokio::test]
async fn one_cart_checked_out_many_times_at_once_is_one_order() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "1", 100).await;
    for _ in 0..5 {
        let cart = cart(&shop, &[(&sku, 2)]).await;
        let answers = join_all((0..8).map(|_| check_out(&shop, &cart, "tok_ok"))).await;
        let order = answers.iter().find(|answer| answer.status == 201).expect("an order").id();
        for answer in answers.into_iter().filter(|answer| answer.status != 201 || answer.id() != order) {
            assert_eq!(answer.refused(409, "cart_checked_out")["order"], order);
        }
        assert_eq!(settled(&shop, &order).await["status"], "confirmed");
    }
    stock_becomes(&shop, &sku, 90, 0).await;
}

#[tokio::test]
async fn a_double_click_for_the_last_units_is_one_order_and_whoever_is_refused_is_told_of_it() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    let mut orders = Vec::new();
    for round in 0..20 {
        let (sku, other) = (product(&shop, "2", 2).await, product(&shop, "3", 1).await);
        if round % 3 == 0 {
            // What the other one has bought counts against the limit of the same buyer.
            let mut sale = running_sale(&sku, 2);
            sale["limit_per_customer"] = json!(2);
            shop.post("/v1/flash-sales", sale).await.expect(201);
        }
        let cart = cart(&shop, &[(&sku, 2), (&other, 1)]).await;
        let clicks = (0..6).map(|click| {
            let request = clients[click % (1 + round % 2)].post(&format!("/v1/carts/{cart}/checkout"), checkout_body("tok_ok"));
            if click == 5 { request.if_match(3).into_future() } else { request.into_future() }
        });
        let answers = join_all(clicks).await;
        let order = answers.iter().find(|answer| answer.status == 201).expect("an order").id();
        assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
        for answer in answers.into_iter().filter(|answer| answer.status != 201) {
            assert_eq!(answer.refused(409, "cart_checked_out")["order"], order);
        }
        orders.push(order);
    }
    for order in &orders {
        assert_eq!(settled(&shop, order).await.state(), "confirmed");
    }
    assert_eq!(shop.all("/v1/orders").await.len(), orders.len());
    assert_eq!(shop.all("/v1/orders?status=rejected").await, [] as [Value; 0]);
}

#[tokio::test]
async fn what_checkout_refused_is_listed_only_when_asked_for_and_says_why() {
    let Some(shop) = Shop::open().await else { return };
    let (sku, hot) = (product(&shop, "2", 1).await, product(&shop, "9", 5).await);
    let placed = confirmed(&shop, &[(&sku, 1)]).await;
    buy(&shop, &[(&sku, 1), (&hot, 2)], "tok_ok").await.refused(409, "out_of_stock");
    let rejected = shop.until("/v1/orders?status=rejected", |orders| orders.items().len() == 1).await.items()[0].clone();
    assert_eq!(rejected["timeline"][1]["reason"], format!("out_of_stock: {sku}"));
    let id = rejected["id"].as_str().unwrap();
    for path in ["/v1/orders", "/v1/orders?email=buyer@shop.example"] {
        let listed: Vec<_> = shop.all(path).await.into_iter().map(|order| order["id"].clone()).collect();
        assert_eq!(listed, [json!(placed)], "{path}");
    }
    assert_eq!(shop.all("/v1/orders?status=rejected&email=buyer@shop.example").await.len(), 1);
    assert_eq!(shop.get(&format!("/v1/orders/{id}")).await.expect(200).state(), "rejected");
    stock_becomes(&shop, &hot, 5, 0).await;
    // Nothing was ever held for it.
    assert!(crate::shop::happened(&shop, &format!("stock-{hot}")).await.iter().all(|(name, _)| name == "StockReceived"));
}

#[tokio::test]
async fn hundreds_of_buyers_of_a_few_units_get_these_and_no_more() {
    let Some(shop) = Shop::open().await else { return };
    let (hot, plenty) = (product(&shop, "1", 20).await, product(&shop, "1", 1_000).await);
    let answers = join_all((0..100).map(|_| buy(&shop, &[(&hot, 1), (&plenty, 2)], "tok_ok"))).await;
    let orders: Vec<_> = answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.id()).collect();
    assert_eq!(orders.len(), 20);
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        assert_eq!(answer.refused(409, "out_of_stock").pointers(), [format!("/items/{hot}")]);
    }
    for order in orders {
        assert_eq!(settled(&shop, &order).await["status"], "confirmed");
    }
    stock_becomes(&shop, &hot, 0, 0).await;
    stock_becomes(&shop, &plenty, 960, 0).await;
}

#[tokio::test]
async fn a_cart_of_many_lines_is_bought_whole() {
    let Some(shop) = Shop::open().await else { return };
    let mut skus = Vec::new();
    for _ in 0..30 {
        skus.push(product(&shop, "1.01", 10).await);
    }
    let lines: Vec<_> = skus.iter().map(|sku| (sku.as_str(), 2)).collect();
    let order = confirmed(&shop, &lines).await;
    let order = shop.get(&format!("/v1/orders/{order}")).await;
    assert_eq!((&order["total"], order["items"].as_array().unwrap().len()), (&money("60.60"), 30));
    for sku in &skus {
        stock_becomes(&shop, sku, 8, 0).await;
    }
    let repeated: Value = items(&[(&skus[0], 1), (&skus[0], 2)]);
    shop.post("/v1/carts", json!({"currency": "GBP", "items": repeated})).await.refused(422, "invalid_request");
}
