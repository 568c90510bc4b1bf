//! What happens to an order after it was paid: parcels, deliveries, returns and cancellations.

use futures::future::join_all;
use serde_json::{Value, json};

use crate::shop::{Shop, buy, confirmed, is_settled, items, money, product, settled, stock_becomes};

#[tokio::test]
async fn an_order_leaves_in_parcels_and_comes_back() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 10).await;
    let order = confirmed(&shop, &[(&sku, 3)]).await;
    stock_becomes(&shop, &sku, 7, 0).await;
    let path = format!("/v1/orders/{order}");
    let parcel = json!({"items": items(&[(&sku, 1)]), "carrier": "Royal Mail", "tracking_number": "RM1"});
    let shipped = shop.post(&format!("{path}/shipments"), parcel).await.expect(201);
    assert_eq!((shipped.state(), &shipped["shipments"][0]["tracking_number"]), ("partly_shipped", &json!("RM1")));
    shop.post(&format!("{path}/cancel"), json!({"reason": "late"})).await.refused(409, "order_shipped");
    let too_many = json!({"items": items(&[(&sku, 3)]), "carrier": "x", "tracking_number": "y"});
    let refused = shop.post(&format!("{path}/shipments"), too_many).await.refused(409, "too_many_units");
    assert_eq!((&refused["errors"][0]["requested"], &refused["errors"][0]["left"]), (&json!(3), &json!(2)), "{refused}");
    let back = |quantity: u32, restock: bool| json!({"items": items(&[(&sku, quantity)]), "reason": "too small", "restock": restock});
    shop.post(&format!("{path}/returns"), back(2, true)).await.refused(409, "too_many_units");
    let rest = json!({"carrier": "Royal Mail", "tracking_number": "RM2"});
    let shipped = shop.post(&format!("{path}/shipments"), rest.clone()).await.expect(201);
    assert_eq!((shipped.state(), &shipped["shipments"][1]["items"]), ("shipped", &items(&[(&sku, 2)])));
    shop.post(&format!("{path}/shipments"), rest).await.expect(409);
    for (number, state) in [(1, "shipped"), (0, "delivered")] {
        let shipment = json!({"shipment": shipped["shipments"][number]["id"]});
        let delivered = shop.post(&format!("{path}/delivery"), shipment).await.expect(200);
        assert_eq!(delivered.state(), state);
        assert!(delivered["shipments"][number]["delivered_at"].is_string(), "{delivered}");
    }
    let returned = shop.post(&format!("{path}/returns"), back(2, true)).await.expect(201);
    assert_eq!((returned.state(), &returned["returns"][0]["restocked"]), ("delivered", &json!(true)));
    shop.post(&format!("{path}/returns"), back(2, true)).await.refused(409, "too_many_units");
    stock_becomes(&shop, &sku, 9, 0).await;
    let returned = shop.post(&format!("{path}/returns"), back(1, false)).await.expect(201);
    assert_eq!((returned.state(), &returned["returns"][1]["restocked"]), ("returned", &json!(false)));
    // What is not to be sold again never comes on hand.
    shop.post(&format!("{path}/refunds"), json!({"amount": money("12"), "reason": "returned"})).await.expect(201);
    let order = shop.until(&path, |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
    assert_eq!(order["payment"]["refunded"], money("12.00"));
    stock_becomes(&shop, &sku, 9, 0).await;
}

#[tokio::test]
async fn parcels_sent_at_once_never_hold_more_than_was_bought() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "4", 10).await, product(&shop, "4", 10).await);
    let order = confirmed(&shop, &[(&a, 5), (&b, 1)]).await;
    let parcel = || json!({"items": items(&[(&a, 2)]), "carrier": "x", "tracking_number": "y"});
    let answers = join_all((0..8).map(|_| shop.post(&format!("/v1/orders/{order}/shipments"), parcel()).into_future())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 2);
    let foreign = json!({"items": items(&[("other", 1)]), "carrier": "x", "tracking_number": "y"});
    let refused = shop.post(&format!("/v1/orders/{order}/shipments"), foreign).await;
    assert!([409, 422].contains(&refused.status), "{refused}");
    let rest = json!({"carrier": "x", "tracking_number": "y"});
    let shipped = shop.post(&format!("/v1/orders/{order}/shipments"), rest).await.expect(201);
    assert_eq!((shipped.state(), &shipped["shipments"][2]["items"]), ("shipped", &items(&[(&a, 1), (&b, 1)])));
}

#[tokio::test]
async fn a_cancelled_order_is_refunded_and_its_units_go_back_on_hand() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "4", 10).await, product(&shop, "1", 10).await);
    let order = confirmed(&shop, &[(&a, 3), (&b, 2)]).await;
    stock_becomes(&shop, &a, 7, 0).await;
    let path = format!("/v1/orders/{order}");
    let cancelled = shop.post(&format!("{path}/cancel"), json!({"reason": "changed my mind"})).await.expect(200);
    assert_eq!(cancelled.state(), "cancelled");
    let order = shop.until(&path, |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
    assert_eq!(order["payment"]["refunded"], money("14.00"));
    stock_becomes(&shop, &a, 10, 0).await;
    stock_becomes(&shop, &b, 10, 0).await;
    let parcel = json!({"carrier": "x", "tracking_number": "y"});
    shop.post(&format!("{path}/shipments"), parcel).await.refused(409, "order_not_confirmed");
    let again = shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(again.version(), order.version());
}

#[tokio::test]
async fn what_was_refunded_before_is_not_refunded_again_at_the_cancellation() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 10).await;
    let order = confirmed(&shop, &[(&sku, 3)]).await;
    let path = format!("/v1/orders/{order}");
    shop.post(&format!("{path}/refunds"), json!({"amount": money("5"), "reason": "damaged box"})).await.expect(201);
    shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    let order = shop.until(&path, |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
    let amounts: Vec<_> = order["refunds"].as_array().unwrap().iter().map(|refund| refund["amount"].clone()).collect();
    assert_eq!((&order["payment"]["refunded"], amounts), (&money("12.00"), vec![money("5.00"), money("7.00")]), "{order}");
}

#[tokio::test]
async fn a_parcel_may_leave_without_a_carrier_or_its_number() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 10).await;
    let path = format!("/v1/orders/{}", confirmed(&shop, &[(&sku, 3)]).await);
    let one = |mut parcel: Value| {
        parcel["items"] = items(&[(&sku, 1)]);
        shop.post(&format!("{path}/shipments"), parcel)
    };
    one(json!({})).await.expect(201);
    one(json!({"carrier": "Royal Mail"})).await.expect(201);
    let shipped = one(json!({"tracking_number": "RM3"})).await.expect(201);
    let told: Vec<_> =
        shipped["shipments"].as_array().unwrap().iter().map(|one| (one["carrier"].clone(), one["tracking_number"].clone())).collect();
    assert_eq!(told, [(Value::Null, Value::Null), (json!("Royal Mail"), Value::Null), (Value::Null, json!("RM3"))]);
    let read = shop.get_at(&path, shipped.position()).await.expect(200);
    assert_eq!((read.state(), &read["shipments"]), ("shipped", &shipped["shipments"]));
}

#[tokio::test]
async fn an_order_that_is_not_paid_is_not_shipped_and_a_rejected_one_not_cancelled() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "4", 3).await;
    let placed = buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201).id();
    let parcel = json!({"carrier": "x", "tracking_number": "y"});
    shop.post(&format!("/v1/orders/{placed}/shipments"), parcel).await.refused(409, "order_not_confirmed");
    shop.post(&format!("/v1/orders/{placed}/returns"), json!({"items": items(&[(&sku, 1)]), "reason": "x"}))
        .await
        .refused(409, "too_many_units");
    buy(&shop, &[(&sku, 2)], "tok_down").await.refused(409, "out_of_stock");
    let rejected = shop.until("/v1/orders?status=rejected", |orders| orders.items().len() == 1).await.items()[0].clone();
    let cancel = format!("/v1/orders/{}/cancel", rejected["id"].as_str().unwrap());
    shop.post(&cancel, json!({})).await.refused(409, "order_rejected");
    shop.post(&format!("/v1/orders/{placed}/cancel"), json!({})).await.expect(200);
    let cancelled = settled(&shop, &placed).await;
    assert_eq!((cancelled.state(), &cancelled["payment"]["status"]), ("cancelled", &json!("cancelled")));
    stock_becomes(&shop, &sku, 3, 0).await;
}
