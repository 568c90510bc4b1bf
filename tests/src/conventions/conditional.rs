//! `Location`, `ETag`, `If-Match` and `If-None-Match`.

use serde_json::json;

use crate::{
    client::{Answer, Client},
    shop::{
        Shop, address, buy, cart, check_out, checkout_body, confirmed, items, money, product, receive, running_sale, stock_becomes, unique,
    },
};

/// An accepted write has all that writes answer with, and its `Location` shows the resource.
async fn written(client: &Client, answer: Answer, location: &str) -> Answer {
    let answer = answer.expect(201);
    assert_eq!(answer.location(), location, "{answer}");
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", answer.version()).as_str()), "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{answer}");
    assert!(answer.position() >= 1 && answer.version() >= 1 && !answer.id().is_empty(), "{answer}");
    client.get_at(location, answer.position()).await.expect(200);
    answer
}

#[tokio::test]
async fn what_was_created_says_where_it_is_which_version_and_at_which_position() {
    let Some(shop) = Shop::open().await else { return };
    let (category, sku) = (unique("cat"), unique("T"));
    let answer = shop.post("/v1/categories", json!({"id": category, "name": "Home"})).await;
    let first = written(&shop, answer, &format!("/v1/categories/{category}")).await;
    let answer = shop.post("/v1/products", json!({"sku": sku, "title": "Lamp", "price": money("2")})).await;
    let second = written(&shop, answer, &format!("/v1/products/{sku}")).await;
    assert_eq!((second.id(), second.position()), (sku.clone(), first.position() + 1));
    let answer = receive(&shop, &sku, 10).await;
    assert_eq!(written(&shop, answer, &format!("/v1/stock/{sku}")).await.id(), sku);
    let answer = shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": -1, "reason": "damaged"})).await;
    written(&shop, answer, &format!("/v1/stock/{sku}")).await;
    let answer = shop.post(&format!("/v1/products/{sku}/reviews"), json!({"rating": 4})).await;
    written(&shop, answer, &format!("/v1/products/{sku}/reviews")).await;
    let answer = shop.post("/v1/carts", json!({"currency": "GBP"})).await;
    let location = format!("/v1/carts/{}", answer.id());
    written(&shop, answer, &location).await;
    let order = confirmed(&shop, &[(&sku, 2)]).await;
    let location = format!("/v1/orders/{order}");
    let shipment = json!({"carrier": "Royal Mail", "tracking_number": "RM1"});
    let answer = written(&shop, shop.post(&format!("{location}/shipments"), shipment).await, &location).await;
    let delivery = json!({"shipment": answer["shipments"][0]["id"]});
    let answer = shop.post(&format!("{location}/delivery"), delivery).await.expect(200);
    assert_eq!(answer.header("etag"), Some(format!("\"{}\"", answer.version()).as_str()), "{answer}");
    assert!(answer.header("location").is_none() && answer.position() > 0, "{answer}");
    let back = json!({"items": [{"sku": sku, "quantity": 1}], "reason": "broken"});
    written(&shop, shop.post(&format!("{location}/returns"), back).await, &location).await;
    let refund = json!({"amount": money("1"), "reason": "broken"});
    written(&shop, shop.post(&format!("{location}/refunds"), refund).await, &location).await;
}

#[tokio::test]
async fn a_write_for_an_old_version_is_refused_and_changes_nothing() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let path = format!("/v1/products/{sku}");
    let changed = shop.patch(&path, json!({"title": "Second"})).if_match(1).await.expect(200);
    let refused = shop.patch(&path, json!({"title": "Third"})).if_match(1).await.refused(412, "version_mismatch");
    assert_eq!(refused.header("etag"), changed.header("etag"));
    assert_eq!(refused["current"].as_str(), changed.header("etag"));
    let answer = shop.patch(&path, json!({"title": "Third"})).header("if-match", "W/\"2\"").await;
    answer.refused(412, "version_mismatch");
    shop.patch(&path, json!({"brand": "Any"})).header("if-match", "*").await.expect(200);
    shop.patch(&path, json!({"brand": "Any"})).header("if-match", "3").await.refused(422, "invalid_request");
    let several = shop.patch(&path, json!({"title": "Fourth"})).header("if-match", "\"1\", \"3\"").await.expect(200);
    assert_eq!(several["title"], "Fourth");

    let stock = shop.until(&format!("/v1/stock/{sku}"), |stock| stock["on_hand"] == 10).await.version();
    let receipt = json!({"quantity": 1, "reference": ""});
    shop.post(&format!("/v1/stock/{sku}/receipts"), receipt.clone()).if_match(stock + 1).await.refused(412, "version_mismatch");
    shop.post(&format!("/v1/stock/{sku}/receipts"), receipt).if_match(stock).await.expect(201);

    let path = format!("/v1/categories/{}", unique("cat"));
    let id = path.rsplit('/').next().unwrap();
    shop.post("/v1/categories", json!({"id": id, "name": "First"})).await.expect(201);
    shop.patch(&path, json!({"name": "Second"})).if_match(1).await.expect(200);
    shop.patch(&path, json!({"name": "Third"})).if_match(1).await.refused(412, "version_mismatch");
    shop.patch(&path, json!({"parent": null})).if_match(1).await.refused(412, "version_mismatch");
}

#[tokio::test]
async fn a_cart_that_moved_is_not_checked_out_and_nothing_is_held() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let made = shop.post("/v1/carts", json!({"currency": "GBP", "items": items(&[(&sku, 1)])})).await.expect(201);
    let line = format!("/v1/carts/{}/items/{sku}", made.id());
    let moved = shop.put(&line, json!({"quantity": 2})).if_match(made.version()).await.expect(200);
    shop.put(&line, json!({"quantity": 3})).if_match(made.version()).await.refused(412, "version_mismatch");
    shop.delete(&line).if_match(made.version()).await.refused(412, "version_mismatch");
    let check_out = format!("/v1/carts/{}/checkout", made.id());
    shop.post(&check_out, checkout_body("tok_down")).if_match(made.version()).await.refused(412, "version_mismatch");
    let stock = shop.post(&format!("/v1/stock/{sku}/adjustments"), json!({"quantity": 1, "reason": "found"})).await.expect(201);
    assert_eq!((&stock["available"], &stock["reserved"]), (&json!(11), &json!(0)));
    shop.post(&check_out, checkout_body("tok_down")).if_match(moved.version()).await.expect(201);
}

#[tokio::test]
async fn an_order_and_a_sale_that_moved_are_not_changed() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let order = confirmed(&shop, &[(&sku, 2)]).await;
    let path = format!("/v1/orders/{order}");
    let version = shop.get(&path).await.version();
    let shipment = || json!({"carrier": "a", "tracking_number": "b"});
    let refund = json!({"amount": money("1"), "reason": "x"});
    shop.post(&format!("{path}/shipments"), shipment()).if_match(version - 1).await.refused(412, "version_mismatch");
    shop.post(&format!("{path}/cancel"), json!({})).if_match(version + 1).await.refused(412, "version_mismatch");
    shop.post(&format!("{path}/refunds"), refund).if_match(version - 1).await.refused(412, "version_mismatch");
    let shipped = shop.post(&format!("{path}/shipments"), shipment()).if_match(version).await.expect(201);
    assert_eq!(shipped.version(), version + 1);
    let sale = running_sale(&sku, 2);
    let sale = format!("/v1/flash-sales/{}/cancel", shop.post("/v1/flash-sales", sale).await.expect(201).id());
    shop.post(&sale, json!({})).if_match(7).await.refused(412, "version_mismatch");
    shop.post(&sale, json!({})).if_match(1).await.expect(200);
}

#[tokio::test]
async fn what_the_client_has_is_not_sent_again() {
    let Some(shop) = Shop::open().await else { return };
    let (sku, category) = (product(&shop, "2", 10).await, unique("cat"));
    shop.post("/v1/categories", json!({"id": category, "name": "Home"})).await.expect(201);
    let order = buy(&shop, &[(&sku, 1)], "tok_down").await.expect(201);
    let cart = cart(&shop, &[(&sku, 1)]).await;
    let sale = running_sale(&sku, 2);
    let sale = shop.post("/v1/flash-sales", sale).await.expect(201);
    // That it begins is an event of its own, and changes what is shown of the product.
    let begun = shop.until(&format!("/v1/flash-sales/{}", sale.id()), |sale| sale.version() == 2).await.position();
    let paths = [
        format!("/v1/products/{sku}"),
        format!("/v1/stock/{sku}"),
        format!("/v1/categories/{category}"),
        format!("/v1/orders/{}", order.id()),
        format!("/v1/carts/{cart}"),
        format!("/v1/flash-sales/{}", sale.id()),
    ];
    for path in paths {
        let first = shop.seen_at(&path, begun).await;
        let etag = first.header("etag").expect("an ETag").to_owned();
        let shows_more = ["/v1/products/", "/v1/carts/", "/v1/flash-sales/"].iter().any(|start| path.starts_with(start));
        let (version, digest) = etag.trim_matches('"').split_once('.').map_or((etag.trim_matches('"'), None), |(v, d)| (v, Some(d)));
        assert_eq!((version, digest.is_some()), (first.version().to_string().as_str(), shows_more), "{first}");
        assert_eq!(first.header("cache-control"), Some("no-cache"), "{first}");
        let again = shop.get(&path).header("if-none-match", &etag).await.expect(304);
        assert!(again.bytes.is_empty() && again.header("etag") == Some(&etag), "{again}");
        shop.get(&path).header("if-none-match", &format!("\"99\", W/{etag}")).await.expect(304);
        shop.get(&path).header("if-none-match", "\"99\"").await.expect(200);
    }
}

/// The tag of a GET, of which the client then finds that the body is another one.
async fn changes(shop: &Shop, path: &str, change: impl Future<Output = Answer>) -> Answer {
    let before = shop.until(path, |_| true).await;
    let etag = before.header("etag").expect("an ETag").to_owned();
    let position = change.await.position();
    shop.seen_at(path, position).await;
    let after = shop.get(path).header("if-none-match", &etag).await.expect(200);
    assert_ne!(after.bytes, before.bytes, "nothing that is shown has changed");
    assert_eq!(after.version(), before.version(), "its own stream has changed");
    assert_ne!(after.header("etag"), Some(etag.as_str()), "{after}");
    after
}

#[tokio::test]
async fn a_tag_changes_whenever_the_body_does() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let path = format!("/v1/products/{sku}");
    changes(&shop, &path, receive(&shop, &sku, 7)).await;
    changes(&shop, &path, shop.post(&format!("{path}/reviews"), json!({"rating": 5})).into_future()).await;
    let held = cart(&shop, &[(&sku, 1)]).await;
    let held = format!("/v1/carts/{held}");
    changes(&shop, &held, shop.patch(&path, json!({"price": money("3"), "title": "Dearer"})).into_future()).await;
    let sale = shop.post("/v1/flash-sales", running_sale(&sku, 2)).await.expect(201);
    shop.seen_at(&path, sale.position()).await;
    let counted = format!("/v1/flash-sales/{}", sale.id());
    // That it began is an event of its own.
    shop.until(&counted, |sale| sale.version() == 2).await;
    changes(&shop, &counted, buy(&shop, &[(&sku, 1)], "tok_down")).await;
    let seen = changes(&shop, &path, buy(&shop, &[(&sku, 1)], "tok_down")).await;
    // A write takes the tag as it was read, and compares the version in it.
    let tag = seen.header("etag").unwrap();
    let changed = shop.patch(&path, json!({"brand": "Any"})).header("if-match", tag).await.expect(200);
    assert_eq!(changed.header("etag"), Some(format!("\"{}\"", changed.version()).as_str()));
    let refused = shop.patch(&path, json!({"brand": "Other"})).header("if-match", tag).await.refused(412, "version_mismatch");
    assert_eq!(refused["current"].as_str(), changed.header("etag"));
    let plain = format!("\"{}\"", changed.version());
    shop.get(&path).header("if-none-match", &plain).await.expect(200);
}

#[tokio::test]
async fn a_version_of_stock_that_was_never_received_is_0() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 0).await;
    let path = format!("/v1/stock/{sku}");
    let never = shop.until(&path, |stock| stock.status == 200).await;
    assert_eq!((never.version(), never.header("etag")), (0, Some("\"0\"")));
    let receipt = json!({"quantity": 1, "reference": ""});
    for (route, body) in [("receipts", receipt.clone()), ("adjustments", json!({"quantity": 1, "reason": "found"}))] {
        let refused = shop.post(&format!("{path}/{route}"), body).if_match(7).await.refused(412, "version_mismatch");
        assert_eq!((&refused["current"], refused.header("etag")), (&json!("\"0\""), Some("\"0\"")));
    }
    let received = shop.post(&format!("{path}/receipts"), receipt.clone()).if_match(0).await.expect(201);
    assert_eq!((received.version(), &received["on_hand"]), (1, &json!(1)));
    shop.post(&format!("{path}/receipts"), receipt.clone()).if_match(0).await.refused(412, "version_mismatch");
    let other = product(&shop, "2", 0).await;
    shop.post(&format!("/v1/stock/{other}/receipts"), receipt).header("if-match", "*").await.expect(201);
}

#[tokio::test]
async fn a_review_is_for_a_version_of_the_product() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 1).await;
    let path = format!("/v1/products/{sku}");
    let changed = shop.patch(&path, json!({"title": "Second"})).await.expect(200);
    let reviews = format!("{path}/reviews");
    let review = || shop.post(&reviews, json!({"rating": 4}));
    let refused = review().if_match(1).await.refused(412, "version_mismatch");
    assert_eq!(refused["current"], "\"2\"");
    review().if_match(3).await.refused(412, "version_mismatch");
    let made = review().if_match(changed.version()).await.expect(201);
    let last = review().header("if-match", "*").await.expect(201);
    assert_eq!(made.version(), 1, "{made}");
    assert_eq!(shop.seen_at(&reviews, last.position()).await.items().len(), 2);
    shop.post("/v1/products/no-such/reviews", json!({"rating": 4})).if_match(1).await.refused(404, "not_found");
}

#[tokio::test]
async fn what_is_not_there_is_404_and_a_list_has_no_version() {
    let Some(shop) = Shop::open().await else { return };
    let nobody = "00000000-0000-7000-8000-000000000000";
    shop.patch("/v1/products/no-such", json!({"title": "x"})).if_match(1).await.refused(404, "not_found");
    shop.patch("/v1/categories/no-such", json!({"name": "x"})).if_match(0).await.refused(404, "not_found");
    shop.post(&format!("/v1/orders/{nobody}/cancel"), json!({})).if_match(1).await.refused(404, "not_found");
    shop.post(&format!("/v1/flash-sales/{nobody}/cancel"), json!({})).if_match(1).await.refused(404, "not_found");
    shop.post(&format!("/v1/carts/{nobody}/checkout"), checkout_body("tok_ok")).if_match(1).await.refused(404, "not_found");
    shop.delete(&format!("/v1/carts/{nobody}/items/x")).if_match(1).await.refused(404, "not_found");
    shop.post("/v1/stock/no-such/receipts", json!({"quantity": 1})).if_match(0).await.refused(404, "not_found");
    for (path, body) in [
        ("/v1/carts", json!({"currency": "GBP"})),
        ("/v1/categories", json!({"id": "a", "name": "A"})),
        ("/v1/products", json!({"sku": "a", "title": "A", "price": money("1")})),
    ] {
        let refused = shop.post(path, body.clone()).if_match(0).await.refused(422, "invalid_request");
        assert_eq!(refused.pointers(), ["If-Match"]);
        shop.post(path, body).header("if-match", "*").await.expect(201);
    }
}

#[tokio::test]
async fn a_guest_may_buy() {
    let Some(shop) = Shop::open().await else { return };
    let sku = product(&shop, "2", 10).await;
    let guest = shop.with_bearer(None);
    let body = json!({"currency": "GBP", "items": [{"sku": sku, "quantity": 1}], "metadata": {"note": "gift"}});
    let cart = guest.post("/v1/carts", body).await.expect(201);
    assert_eq!(cart["metadata"], json!({"note": "gift"}));
    let order = check_out(&guest, &cart.id(), "tok_ok").await.expect(201);
    assert_eq!((order["email"].as_str(), order["cart"].as_str()), (Some("buyer@shop.example"), Some(cart.id().as_str())));
    for (name, value) in address().as_object().unwrap() {
        assert_eq!(&order["shipping_address"][name], value);
    }
    stock_becomes(&shop, &sku, 9, 0).await;
}
