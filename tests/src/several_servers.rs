//! Two servers on one database: a write is decided on every write acknowledged before it, whichever server took it.

use futures::future::join_all;
use serde_json::json;

use crate::shop::{Shop, buy, cart, check_out, checkout_body, count, money, product, receive, settled, stock_becomes};

const ROUNDS: u32 = 50;

#[tokio::test]
async fn hundreds_of_buyers_at_two_servers_never_oversell() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    let sku = product(&shop, "3", 50).await;
    let answers = join_all((0..400).map(|number| buy(&clients[number % 2], &[(&sku, 1)], "tok_ok"))).await;
    let placed: Vec<_> = answers.iter().filter(|answer| answer.status == 201).map(|answer| answer.id()).collect();
    for answer in answers.into_iter().filter(|answer| answer.status != 201) {
        answer.refused(409, "out_of_stock");
    }
    assert_eq!(placed.len(), 50);
    for (order, client) in placed.iter().zip(clients.iter().cycle()) {
        assert_eq!(settled(client, order).await.state(), "confirmed");
        assert_eq!(count(client, &format!("order-{order}"), "OrderConfirmed").await, 1);
        assert_eq!(count(client, &format!("payment-{order}"), "PaymentCaptured").await, 1);
    }
    for client in &clients {
        stock_becomes(client, &sku, 0, 0).await;
    }
    // It was never below zero at any version.
    let (mut on_hand, mut reserved) = (0, 0);
    for (name, data) in crate::shop::happened(&shop, &format!("stock-{sku}")).await {
        let quantity = data["quantity"].as_i64().expect("a quantity");
        match name.as_str() {
            "StockReceived" => on_hand += quantity,
            "StockReserved" => reserved += quantity,
            "StockCommitted" => (on_hand, reserved) = (on_hand - quantity, reserved - quantity),
            "StockReleased" => reserved -= quantity,
            other => panic!("{other} of {sku}"),
        }
        assert!(on_hand >= 0 && reserved >= 0 && on_hand >= reserved, "{on_hand} on hand, {reserved} reserved after {name}");
    }
    assert_eq!((on_hand, reserved), (0, 0));
    let rejected = shop.until("/v1/orders?status=rejected&limit=200", |orders| orders["next_cursor"].is_string()).await;
    assert_eq!(rejected.items().len(), 200);
    assert_eq!(shop.all("/v1/orders?status=rejected").await.len(), 350);
}

#[tokio::test]
async fn of_two_baskets_with_the_same_last_units_in_opposite_order_one_is_bought() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    for round in 0..60 {
        let (a, b) = (product(&shop, "1", 1).await, product(&shop, "1", 1).await);
        let (one, other) = (cart(&shop, &[(&a, 1), (&b, 1)]).await, cart(&shop, &[(&b, 1), (&a, 1)]).await);
        let second = &clients[round % 2];
        let answers = futures::join!(check_out(&clients[0], &one, "tok_ok"), check_out(second, &other, "tok_ok"));
        let (bought, refused) = if answers.0.status == 201 { answers } else { (answers.1, answers.0) };
        bought.expect(201);
        refused.refused(409, "out_of_stock");
    }
}

#[tokio::test]
async fn of_baskets_that_overlap_in_a_ring_as_many_are_bought_as_can_be() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    for round in 0..30 {
        let mut skus = Vec::new();
        for _ in 0..5 {
            skus.push(product(&shop, "1", 1).await);
        }
        let mut carts = Vec::new();
        for place in 0..5 {
            let (one, other) = (&skus[place], &skus[(place + 1) % 5]);
            carts.push(cart(&shop, &[(one, 1), (other, 1)]).await);
        }
        let answers =
            join_all(carts.iter().enumerate().map(|(place, cart)| check_out(&clients[(place + round) % 2], cart, "tok_ok"))).await;
        let bought: Vec<_> = (0..5).filter(|place| answers[*place].status == 201).collect();
        for answer in answers.into_iter().filter(|answer| answer.status != 201) {
            answer.refused(409, "out_of_stock");
        }
        // Whoever got nothing wanted a unit that one of the others really has: no two neighbours are left whose unit nobody bought.
        assert_eq!(bought.len(), 2, "{bought:?} of a ring of five");
    }
}

#[tokio::test]
async fn a_checkout_sees_a_receipt_that_another_server_acknowledged() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    let sku = product(&shop, "3", 0).await;
    for round in 0..ROUNDS {
        let (one, other) = (&clients[(round % 2) as usize], &clients[(1 - round % 2) as usize]);
        let cart = cart(other, &[(&sku, 1)]).await;
        check_out(other, &cart, "tok_ok").await.refused(409, "out_of_stock");
        receive(one, &sku, 1).await;
        check_out(other, &cart, "tok_ok").await.expect(201);
        let none = buy(one, &[(&sku, 1)], "tok_ok").await.refused(409, "out_of_stock");
        assert_eq!(none["errors"][0]["available"], 0);
    }
    stock_becomes(&shop, &sku, 0, 0).await;
}

#[tokio::test]
async fn a_checkout_sees_a_price_that_another_server_acknowledged() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    let sku = product(&shop, "1", 1_000).await;
    let (mut old, path) = (money("1.00"), format!("/v1/products/{sku}"));
    for round in 0..ROUNDS {
        let (one, other) = (&clients[(round % 2) as usize], &clients[(1 - round % 2) as usize]);
        let cart = cart(other, &[(&sku, 1)]).await;
        let new = money(&format!("{}.00", round + 2));
        one.patch(&path, json!({"price": new})).await.expect(200);
        let mut body = checkout_body("tok_ok");
        body["expected_total"] = old;
        let refused = other.post(&format!("/v1/carts/{cart}/checkout"), body.clone()).await.refused(409, "price_changed");
        assert_eq!(refused["total"], new);
        body["expected_total"] = new.clone();
        assert_eq!(other.post(&format!("/v1/carts/{cart}/checkout"), body).await.expect(201)["total"], new);
        old = new;
    }
}

#[tokio::test]
async fn any_server_goes_on_with_what_another_began() {
    let Some(shop) = Shop::open_with(2, &[]).await else { return };
    let clients = [shop.servers[0].client(), shop.servers[1].client()];
    let sku = product(&clients[0], "2", 1_000).await;
    for round in 0..ROUNDS {
        let (one, other) = (&clients[(round % 2) as usize], &clients[(1 - round % 2) as usize]);
        let cart = cart(one, &[]).await;
        let line = format!("/v1/carts/{cart}/items/{sku}");
        other.put(&line, json!({"quantity": 2})).await.expect(200);
        one.put(&line, json!({"quantity": 3})).if_match(2).await.expect(200);
        other.put(&line, json!({"quantity": 4})).if_match(2).await.refused(412, "version_mismatch");
        let order = other.post(&format!("/v1/carts/{cart}/checkout"), checkout_body("tok_down")).if_match(3).await.expect(201);
        assert_eq!(order["total"], money("6.00"));
        one.put(&line, json!({"quantity": 1})).await.refused(409, "cart_checked_out");
        let cancelled = one.post(&format!("/v1/orders/{}/cancel", order.id()), json!({})).if_match(order.version()).await.expect(200);
        let again = other.post(&format!("/v1/orders/{}/cancel", order.id()), json!({})).await.expect(200);
        assert_eq!(again.body, cancelled.body);
        let read = other.get_at(&format!("/v1/orders/{}", order.id()), cancelled.position()).await.expect(200);
        assert_eq!(read.body, cancelled.body);
    }
    stock_becomes(&shop, &sku, 1_000, 0).await;
}

#[tokio::test]
async fn when_one_of_two_servers_dies_the_other_goes_on() {
    let Some(mut shop) = Shop::open_with(2, &[]).await else { return };
    let sku = product(&shop, "2", 100).await;
    let survivor = shop.servers[1].client();
    let before = join_all((0..10).map(|_| buy(&shop, &[(&sku, 1)], "tok_slow"))).await;
    shop.servers[0].kill();
    let after = join_all((0..10).map(|_| buy(&survivor, &[(&sku, 1)], "tok_ok"))).await;
    // The leases of the dead server have to end first.
    for answer in before.into_iter().chain(after) {
        let order = answer.expect(201).id();
        let path = format!("/v1/orders/{order}");
        let end = std::time::Instant::now() + std::time::Duration::from_secs(90);
        while survivor.get(&path).await.state() != "confirmed" {
            assert!(std::time::Instant::now() < end, "{order} is not confirmed: {}", survivor.get(&path).await);
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert_eq!(count(&survivor, &format!("payment-{order}"), "PaymentCaptured").await, 1);
    }
    stock_becomes(&survivor, &sku, 80, 0).await;
}
