//! What a write answers with is what a GET shows at its position: whole bodies are compared, for every resource in every stage.
//!
//! Once an order is paid, the servers here only answer and project: with no process manager and no payment worker an order moves when
//! it is told to, and not in between.

use serde_json::{Value, json};

use crate::{
    client::{Answer, Client},
    server::Launch,
    shop::{Shop, buy, confirmed, in_days, is_settled, items, money, product, receive, settled, unique},
};

const STILL: &str = "command-api,query-api,projector";

/// The same body from `path`, at the position of the write.
async fn same(client: &Client, path: &str, written: &Answer) {
    assert!([200, 201].contains(&written.status), "{written}");
    let read = client.get_at(path, written.position()).await.expect(200);
    assert_eq!(read.body, written.body, "\nread:    {read}\nwritten: {written}");
    // What shows more than its own stream says so in its tag, behind the version.
    let version = written.header("etag").expect("a tag").trim_matches('"');
    let tag = read.header("etag").expect("a tag").trim_matches('"');
    assert_eq!(tag.split_once('.').map_or(tag, |(version, _)| version), version, "{read}");
}

async fn without_workers(shop: &mut Shop) -> Launch {
    let launch = shop.server().launch().clone();
    assert!(shop.server().stop().success());
    shop.server().start_again_as(launch.clone().argument("--role", STILL)).await;
    launch
}

async fn with_workers(shop: &mut Shop, launch: Launch) {
    assert!(shop.server().stop().success());
    shop.server().start_again_as(launch).await;
}

/// A sale that begins so many days from now.
fn sale_of(sku: &str, days: i64) -> Value {
    json!({"sku": sku, "starts_at": in_days(days), "ends_at": in_days(days + 300), "allotment": 4, "price": money("1.10"),
           "limit_per_customer": 3})
}

#[tokio::test]
async fn categories_products_and_reviews() {
    let Some(shop) = Shop::open().await else { return };
    let (id, below) = (unique("cat"), unique("cat"));
    for body in [json!({"id": id, "name": "Home", "parent": null}), json!({"id": below, "name": "Light", "parent": id})] {
        let made = shop.post("/v1/categories", body).await;
        same(&shop, made.clone().location(), &made).await;
    }
    let path = format!("/v1/categories/{below}");
    same(&shop, &path, &shop.patch(&path, json!({"name": "Lights"})).await).await;
    same(&shop, &path, &shop.patch(&path, json!({"parent": null})).await).await;
    same(&shop, &path, &shop.patch(&path, json!({"parent": null})).await).await;
    let (sku, plain) = (unique("T"), unique("T"));
    let whole = json!({"sku": sku, "title": "Lantern", "description": "Metal", "category": below, "brand": "Lumen", "price": money("3.250"),
        "images": [{"url": "https://img.example/1.jpg", "alt": "front"}, {"url": "https://img.example/2.jpg", "alt": ""}],
        "attributes": {"colour": "white", "a": "b"}, "metadata": {"erp": "7"}});
    let made = shop.post("/v1/products", whole).await;
    let path = format!("/v1/products/{sku}");
    same(&shop, &path, &made).await;
    let made = shop.post("/v1/products", json!({"sku": plain, "title": "x", "price": money("0")})).await;
    same(&shop, &format!("/v1/products/{plain}"), &made).await;
    receive(&shop, &sku, 7).await;
    for rating in [5, 4, 4] {
        let review = shop.post(&format!("{path}/reviews"), json!({"rating": rating, "title": "Nice", "text": "…"})).await.expect(201);
        let list = shop.get_at(&format!("{path}/reviews"), review.position()).await.expect(200);
        assert_eq!(list.items()[0], review.body);
        let shown = shop.get_at(&path, review.position()).await.expect(200);
        assert!(shown["rating"]["count"].as_i64() >= Some(1), "{shown}");
    }
    let patches = [
        json!({"title": "Lamp", "brand": null, "attributes": {"colour": null, "size": "L"}}),
        json!({"price": money("2.95"), "category": null, "images": null, "description": null}),
        json!({"status": "archived"}),
        json!({"status": "active", "metadata": {"erp": null, "x": "y"}}),
        json!({"attributes": null}),
        json!({}),
    ];
    for patch in patches {
        same(&shop, &path, &shop.patch(&path, patch).await).await;
    }
    buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    let sale = shop.post("/v1/flash-sales", sale_of(&sku, -30)).await.expect(201);
    let on_sale = shop.patch(&path, json!({"title": "On sale"})).await;
    assert_eq!((&on_sale["flash_sale"]["id"], &on_sale["stock"]["available"]), (&sale["id"], &json!(4)), "{on_sale}");
    assert_eq!(on_sale["rating"], json!({"average": 4.3, "count": 3}));
    same(&shop, &path, &on_sale).await;
}

#[tokio::test]
async fn stock_and_flash_sales() {
    let Some(mut shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 0).await;
    let path = format!("/v1/stock/{sku}");
    same(&shop, &path, &receive(&shop, &sku, 30).await).await;
    let adjust = async |shop: &Shop, quantity: i64| {
        shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": quantity, "reason": "count"})).await
    };
    same(&shop, &path, &adjust(&shop, -3).await).await;
    buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    same(&shop, &path, &adjust(&shop, 1).await).await;
    confirmed(&shop, &[(&sku, 1)]).await;
    shop.until(&path, |stock| stock["on_hand"] == 27).await;
    same(&shop, &path, &adjust(&shop, 1).await).await;

    let sale = shop.post("/v1/flash-sales", sale_of(&sku, -30)).await;
    assert_eq!((sale["state"].as_str(), &sale["remaining"]), (Some("running"), &json!(4)), "{sale}");
    let sale_path = sale.location().to_owned();
    same(&shop, &sale_path, &sale).await;
    let stock = adjust(&shop, 1).await;
    assert_eq!((&stock["on_hand"], &stock["reserved"], &stock["available"]), (&json!(29), &json!(6), &json!(23)));
    same(&shop, &path, &stock).await;
    let sold = confirmed(&shop, &[(&sku, 1)]).await;
    shop.until(&sale_path, |sale| sale["sold"] == 1).await;
    buy(&shop, &[(&sku, 2)], "tok_down").await.expect(201);
    same(&shop, &path, &adjust(&shop, 1).await).await;
    let launch = without_workers(&mut shop).await;
    let cancelled = shop.post(&format!("{sale_path}/cancel"), json!({})).await.expect(200);
    let seen = ["state", "sold", "reserved", "remaining"].map(|name| cancelled[name].clone());
    assert_eq!(seen, [json!("cancelled"), json!(1), json!(2), json!(0)], "{cancelled}");
    same(&shop, &sale_path, &cancelled).await;
    same(&shop, &path, &adjust(&shop, 1).await).await;
    with_workers(&mut shop, launch).await;
    settled(&shop, &sold).await;
    same(&shop, &sale_path, &shop.post(&format!("{sale_path}/cancel"), json!({})).await).await;
    let later = shop.post("/v1/flash-sales", sale_of(&sku, 400)).await;
    assert_eq!(later["state"], "scheduled");
    same(&shop, later.clone().location(), &later).await;
}

#[tokio::test]
async fn carts() {
    let Some(shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "0.125", 10).await, product(&shop, "10", 0).await);
    let made = shop.post("/v1/carts", json!({"currency": "GBP"})).await;
    same(&shop, made.clone().location(), &made).await;
    let full = json!({"currency": "GBP", "items": items(&[(&a, 1), (&b, 2)]), "metadata": {"x": "y"}});
    let made = shop.post("/v1/carts", full).await;
    let path = made.location().to_owned();
    same(&shop, &path, &made).await;
    let line = |sku: &str| format!("{path}/items/{sku}");
    same(&shop, &path, &shop.put(&line(&b), json!({"quantity": 10_000})).await).await;
    same(&shop, &path, &shop.put(&line(&b), json!({"quantity": 10_000})).await).await;
    let mut sale = sale_of(&a, -30);
    sale["price"] = money("0.115");
    shop.post("/v1/flash-sales", sale).await.expect(201);
    let on_sale = shop.put(&line(&a), json!({"quantity": 3})).await;
    assert_eq!((&on_sale["items"][0]["unit_price"], &on_sale["total"]), (&money("0.115"), &money("100000.34")), "{on_sale}");
    same(&shop, &path, &on_sale).await;
    shop.patch(&format!("/v1/products/{b}"), json!({"status": "archived"})).await.expect(200);
    let without = shop.put(&line(&a), json!({"quantity": 2})).await;
    assert_eq!((&without["items"][1]["unit_price"], &without["items"][1]["problem"]), (&Value::Null, &json!("not_for_sale")), "{without}");
    assert_eq!((&without["items"][0]["line_total"], &without["subtotal"], &without["total"]), (&money("0.23"), &Value::Null, &Value::Null));
    same(&shop, &path, &without).await;
    shop.patch(&format!("/v1/products/{b}"), json!({"price": {"amount": "1", "currency": "EUR"}, "status": "active"})).await.expect(200);
    same(&shop, &path, &shop.put(&line(&a), json!({"quantity": 1})).await).await;
    same(&shop, &path, &shop.delete(&line(&b)).await).await;
    same(&shop, &path, &shop.delete(&line(&b)).await).await;
    same(&shop, &path, &shop.delete(&line(&a)).await).await;
}

#[tokio::test]
async fn orders_that_are_not_paid() {
    let Some(mut shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "0.125", 10).await, product(&shop, "10", 10).await);
    let placed = buy(&shop, &[(&a, 3), (&b, 1)], "tok_down").await;
    let path = placed.location().to_owned();
    assert_eq!((placed.state(), &placed["payment"]["status"]), ("placed", &json!("pending")), "{placed}");
    same(&shop, &path, &placed).await;
    let cart = shop.get_at(&format!("/v1/carts/{}", placed["cart"].as_str().unwrap()), placed.position()).await.expect(200);
    assert_eq!((cart.state(), &cart["order"], &cart["total"]), ("checked_out", &placed["id"], &placed["total"]), "{cart}");
    without_workers(&mut shop).await;
    let cancelled = shop.post(&format!("{path}/cancel"), json!({"reason": "changed my mind"})).await;
    assert_eq!((cancelled.state(), &cancelled["payment"]["status"]), ("cancelled", &json!("cancelled")), "{cancelled}");
    same(&shop, &path, &cancelled).await;
    same(&shop, &path, &shop.post(&format!("{path}/cancel"), json!({})).await).await;
    let unworked = buy(&shop, &[(&a, 1)], "tok_ok").await;
    same(&shop, unworked.clone().location(), &unworked).await;
}

#[tokio::test]
async fn orders_that_end_by_themselves() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "10", 10).await;
    let declined = buy(&shop, &[(&sku, 1)], "tok_declined").await.expect(201).id();
    let path = format!("/v1/orders/{declined}");
    let read = settled(&shop, &declined).await;
    assert_eq!((read.state(), &read["payment"]["status"]), ("cancelled", &json!("declined")));
    let unchanged = shop.post(&format!("{path}/cancel"), json!({})).await.expect(200);
    assert_eq!(unchanged.body, shop.get_at(&path, unchanged.position()).await.body);
    let paid = confirmed(&shop, &[(&sku, 2)]).await;
    shop.post(&format!("/v1/orders/{paid}/cancel"), json!({"reason": "x"})).await.expect(200);
    shop.until(&format!("/v1/orders/{paid}"), |order| order["payment"]["status"] == "refunded" && is_settled(&order.body)).await;
    let unchanged = shop.post(&format!("/v1/orders/{paid}/cancel"), json!({})).await.expect(200);
    same(&shop, &format!("/v1/orders/{paid}"), &unchanged).await;
}

#[tokio::test]
async fn orders_from_the_first_parcel_to_the_last_return() {
    let Some(mut shop) = Shop::open().await else { return };
    let (a, b) = (product(&shop, "4", 10).await, product(&shop, "2.505", 10).await);
    let order = confirmed(&shop, &[(&a, 2), (&b, 1)]).await;
    let (other, refunded) = (confirmed(&shop, &[(&a, 1)]).await, confirmed(&shop, &[(&a, 1)]).await);
    let path = format!("/v1/orders/{order}");
    let launch = without_workers(&mut shop).await;
    let send = async |shop: &Shop, to: &str, body: Value| {
        let written = shop.post(&format!("{path}/{to}"), body).await;
        same(shop, &path, &written).await;
        written
    };
    let parcel = |lines: Value| json!({"carrier": "Royal Mail", "tracking_number": "RM1", "items": lines});
    let partly = send(&shop, "shipments", parcel(items(&[(&a, 1)]))).await;
    assert_eq!(partly.state(), "partly_shipped");
    let rest = json!({"carrier": "Royal Mail", "tracking_number": "RM2"});
    let shipped = send(&shop, "shipments", rest).await;
    assert_eq!(shipped.state(), "shipped");
    for (number, state) in [(0, "shipped"), (0, "shipped"), (1, "delivered"), (1, "delivered")] {
        let delivered = send(&shop, "delivery", json!({"shipment": shipped["shipments"][number]["id"]})).await;
        assert_eq!(delivered.state(), state);
    }
    let back = |lines: Value, restock: bool| json!({"items": lines, "reason": "too small", "restock": restock});
    assert_eq!(send(&shop, "returns", back(items(&[(&a, 1)]), true)).await.state(), "delivered");
    let refund = send(&shop, "refunds", json!({"amount": money("4"), "reason": "returned", "metadata": {"t": "1"}})).await;
    assert_eq!(refund["refunds"][0]["status"], "pending");
    assert_eq!(send(&shop, "returns", back(items(&[(&a, 1), (&b, 1)]), false)).await.state(), "returned");
    let cancelled = shop.post(&format!("/v1/orders/{other}/cancel"), json!({"reason": "x"})).await;
    assert_eq!(cancelled.state(), "cancelled");
    same(&shop, &format!("/v1/orders/{other}"), &cancelled).await;
    let early = shop.post(&format!("/v1/orders/{refunded}/refunds"), json!({"amount": money("1.5"), "reason": "late"})).await;
    same(&shop, &format!("/v1/orders/{refunded}"), &early).await;
    with_workers(&mut shop, launch).await;
    settled(&shop, &refunded).await;
    let shipped = shop.post(&format!("/v1/orders/{refunded}/shipments"), json!({"carrier": "a", "tracking_number": "b"})).await;
    assert_eq!(shipped["payment"]["status"], "partly_refunded");
    same(&shop, &format!("/v1/orders/{refunded}"), &shipped).await;
    shop.until(&path, |order| is_settled(&order.body)).await;
    let again = json!({"shipment": partly["shipments"][0]["id"]});
    send(&shop, "delivery", again).await;
}
