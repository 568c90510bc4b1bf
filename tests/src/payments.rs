//! Payments: what each token of the simulated gateway leads to.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::{
    client::Client,
    shop::{Shop, buy, confirmed, count, happened, is_settled, money, product, settled, stock_becomes},
};

async fn captured_once(client: &Client, order: &str) {
    assert_eq!(count(client, &format!("payment-{order}"), "PaymentCaptured").await, 1);
}

fn reasons(order: &Value) -> Vec<(String, Value)> {
    let steps = order["timeline"].as_array().expect("a timeline");
    steps.iter().map(|step| (step["status"].as_str().unwrap().to_owned(), step["reason"].clone())).collect()
}

#[tokio::test]
async fn slow_flaky_and_lost_answers_end_confirmed_and_captured_once() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 100).await;
    let tokens = ["tok_ok", "tok_slow", "tok_flaky", "tok_lost"];
    let orders = join_all((0..20).map(|number| buy(&shop, &[(&sku, 1)], tokens[number % tokens.len()]))).await;
    for order in orders {
        let id = order.expect(201).id();
        let order = settled(&shop, &id).await;
        assert_eq!((order.state(), &order["payment"]["captured"]), ("confirmed", &order["total"]), "{order}");
        assert_eq!(count(&shop, &format!("order-{id}"), "OrderConfirmed").await, 1);
        captured_once(&shop, &id).await;
    }
    stock_becomes(&shop, &sku, 80, 0).await;
}

#[tokio::test]
async fn a_declined_payment_cancels_the_order_and_gives_the_stock_back() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let order = settled(&shop, &buy(&shop, &[(&sku, 2)], "tok_declined").await.expect(201).id()).await;
    assert_eq!((order.state(), &order["payment"]["status"]), ("cancelled", &json!("declined")), "{order}");
    assert!(order["payment"]["decline_code"].is_string(), "{order}");
    let (status, reason) = reasons(&order.body).pop().unwrap();
    assert!(status == "cancelled" && reason.is_string(), "{order}");
    stock_becomes(&shop, &sku, 10, 0).await;
}

#[tokio::test]
async fn an_unknown_token_or_method_is_refused_before_an_order_is_made() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let cart = crate::shop::cart(&shop, &[(&sku, 2)]).await;
    let pay = |payment: Value| {
        let mut body = crate::shop::checkout_body("tok_ok");
        body["payment"] = payment;
        shop.post(&format!("/v1/carts/{cart}/checkout"), body)
    };
    for token in ["tok_nobody_knows", "", "TOK_OK", "tok_ok ", "pm_card_visa"] {
        let refused = pay(json!({"method": "simulated", "token": token})).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["/payment/token"], "{token:?}");
    }
    let refused = pay(json!({"method": "barter", "token": "tok_nobody_knows"})).await.refused(422, "invalid_request");
    assert_eq!(refused.pointers(), ["/payment/method", "/payment/token"]);
    let placed = pay(json!({"method": "simulated", "token": "tok_ok"})).await.expect(201).id();
    let mut orders = shop.all("/v1/orders").await;
    orders.extend(shop.all("/v1/orders?status=rejected").await);
    assert!(orders.iter().all(|order| order["id"] == placed), "{orders:?}");
}

#[tokio::test]
async fn an_unreachable_gateway_cancels_the_order_at_the_deadline() {
    let Some(shop) = Shop::open_with(1, &[("MERX_PAYMENT_DEADLINE_S", "2")]).await else { return };
    let sku = product(&shop, "2", 10).await;
    let placed = buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    let stock = shop.get_at(&format!("/v1/stock/{sku}"), placed.position()).await.expect(200);
    assert_eq!((&stock["reserved"], &stock["available"]), (&json!(2), &json!(8)));
    let order = settled(&shop, &placed.id()).await;
    assert_eq!((order.state(), &order["payment"]["status"]), ("cancelled", &json!("cancelled")), "{order}");
    assert!(reasons(&order.body).pop().unwrap().1.is_string(), "the timeline does not say why: {order}");
    stock_becomes(&shop, &sku, 10, 0).await;
    let stream = format!("payment-{}", order.id());
    shop.until(&format!("/v1/streams/{stream}"), |events| events.items().iter().any(|event| event["type"] == "PaymentCancelled")).await;
    assert_eq!(count(&shop, &stream, "PaymentCaptured").await, 0);
    // Others are paid as ever.
    confirmed(&shop, &[(&sku, 1)]).await;
}

#[tokio::test]
async fn a_capture_that_comes_after_the_cancellation_is_refunded() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    for _ in 0..2 {
        let order = buy(&shop, &[(&sku, 3)], "tok_slow").await.expect(201).id();
        // The gateway has been asked by now, and answers in two seconds.
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let path = format!("/v1/orders/{order}");
        let cancelled = shop.post(&format!("{path}/cancel"), json!({"reason": "changed my mind"})).await.expect(200);
        assert_eq!(cancelled.state(), "cancelled");
        let (status, reason) = reasons(&cancelled.body).pop().unwrap();
        assert!(status == "cancelled" && reason.as_str().is_some_and(|reason| reason.contains("changed my mind")), "{cancelled}");
        stock_becomes(&shop, &sku, 10, 0).await;
        let late = shop.until(&path, |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
        assert_eq!(
            (late.state(), &late["payment"]["captured"], &late["payment"]["refunded"]),
            ("cancelled", &money("6.00"), &money("6.00"))
        );
        captured_once(&shop, &order).await;
        assert_eq!(count(&shop, &format!("payment-{order}"), "PaymentRefunded").await, 1);
    }
    stock_becomes(&shop, &sku, 10, 0).await;
}

#[tokio::test]
async fn a_cancellation_that_races_with_the_capture_leaves_nobody_with_both() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 100).await;
    let race = async |number: u64| {
        let order = buy(&shop, &[(&sku, 1)], "tok_ok").await.expect(201).id();
        tokio::time::sleep(std::time::Duration::from_millis(number * 2)).await;
        let path = format!("/v1/orders/{order}");
        shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
        let order = shop.until(&path, |order| is_settled(&order.body) && order["payment"]["status"] != "captured").await;
        assert_eq!(order.state(), "cancelled");
        assert_eq!(order["payment"]["captured"], order["payment"]["refunded"], "{order}");
    };
    join_all((0..20).map(race)).await;
    stock_becomes(&shop, &sku, 100, 0).await;
}

#[tokio::test]
async fn refunds_never_exceed_what_was_captured_also_when_they_come_at_once() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 100).await;
    let order = confirmed(&shop, &[(&sku, 3)]).await;
    let path = format!("/v1/orders/{order}/refunds");
    let refund = |amount: &str| shop.post(&path, json!({"amount": money(amount), "reason": "x"}));
    refund("12.01").await.refused(409, "more_than_captured");
    for (amount, pointer) in [("0", "/amount/amount"), ("1.005", "/amount/amount")] {
        assert_eq!(refund(amount).await.expect(422).pointers(), [pointer]);
    }
    let foreign = json!({"amount": {"amount": "1", "currency": "EUR"}, "reason": "x"});
    assert_eq!(shop.post(&path, foreign).await.expect(422).pointers(), ["/amount/currency"]);
    let answers = join_all((0..12).map(|_| refund("2.5").into_future())).await;
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    assert_eq!((taken.len(), refused.len()), (4, 8));
    for answer in refused {
        answer.refused(409, "more_than_captured");
    }
    refund("2.01").await.refused(409, "more_than_captured");
    refund("2.00").await.expect(201);
    let order =
        shop.until(&format!("/v1/orders/{order}"), |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
    assert_eq!((&order["payment"]["refunded"], order["refunds"].as_array().unwrap().len()), (&money("12.00"), 5), "{order}");
    refund("0.01").await.refused(409, "more_than_captured");
    let requested: Vec<_> = happened(&shop, &format!("payment-{}", order.id())).await.into_iter().map(|(name, _)| name).collect();
    for name in ["PaymentRefundRequested", "PaymentRefunded"] {
        assert_eq!(requested.iter().filter(|known| *known == name).count(), 5, "{requested:?}");
    }
}

#[tokio::test]
async fn what_was_never_captured_is_not_refunded() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 100).await;
    let order = buy(&shop, &[(&sku, 3)], "tok_down").await.expect(201).id();
    let refund = json!({"amount": money("1"), "reason": "x"});
    shop.post(&format!("/v1/orders/{order}/refunds"), refund).await.refused(409, "more_than_captured");
}
