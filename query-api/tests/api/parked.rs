//! GETs of a resource while an event of it is parked.

use serde_json::json;
use uuid::Uuid;

use crate::{
    history::APPEND,
    shop::{CHECKPOINTS, Shop, insert_product, insert_sale, with_setup},
};

const CART: Uuid = Uuid::from_u128(1);
const ORDER: Uuid = Uuid::from_u128(2);
const SALE: Uuid = Uuid::from_u128(3);

/// A resource of each kind, and a cart with an order of its own.
async fn with_resources(test: impl AsyncFnOnce(&Shop)) {
    let money = json!({"amount": "2.55", "currency": "GBP"});
    let cart = json!({
        "id": CART, "currency": "GBP", "items": [{"sku": "A", "title": "", "quantity": 1, "unit_price": null, "line_total": null}],
        "subtotal": money, "discount": money, "shipping": money, "tax": money, "total": money, "status": "open", "order": null,
        "metadata": {}, "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "version": 1
    });
    let setup = [
        APPEND.to_owned(),
        // Whose product they are of, says the first event of these streams.
        format!("select append('flashsale-{SALE}', 1, 'FlashSaleAnnounced', '{{\"sku\": \"A\"}}');"),
        "select append('review-1', 1, 'ReviewPosted', '{\"sku\": \"A\"}'); select append('review-2', 1, 'ReviewPosted', '{\"sku\": \"B\"}');".to_owned(),
        CHECKPOINTS.to_owned() + ";",
        "update log_head set position = 20; update checkpoints set position = 20;".to_owned(),
        insert_product(1, "A", None, "active"),
        insert_sale(SALE, "A", 100, 200),
        "insert into read_model.categories values ('home', null, 1, '{}'); insert into read_model.stock values ('A', 7, 2, 5);".to_owned(),
        format!("insert into read_model.carts values ('{CART}', 1, '{cart}');"),
        format!("insert into read_model.orders values ('{ORDER}', 'placed', null, now(), 1, '{{}}');"),
    ];
    with_setup(&setup.concat(), test).await;
}

async fn park(shop: &Shop, consumer: &str, stream: &str) {
    shop.sql(format!("insert into parked_streams values ('{consumer}', '{stream}', 8, 2, 'HatWorn', 'there are no hats')")).await;
}

async fn unpark_all(shop: &Shop) {
    shop.sql("delete from parked_streams").await;
}

#[tokio::test]
async fn a_resource_that_lacks_a_parked_event_is_not_said_to_be_newer_than_that() {
    with_resources(async |shop| {
        let (cart, order, sale) = (format!("carts/{CART}"), format!("orders/{ORDER}"), format!("flash-sales/{SALE}"));
        let cases = [
            ("categories/home", "catalogue", "category-home".to_owned()),
            ("products/A", "catalogue", "product-A".to_owned()),
            ("products/A", "stock", "stock-A".to_owned()),
            ("products/A", "flash-sales", "stock-A".to_owned()),
            ("products/A", "flash-sales", format!("flashsale-{SALE}")),
            ("products/A", "reviews", "review-1".to_owned()),
            ("stock/A", "stock", "stock-A".to_owned()),
            (&sale, "flash-sales", format!("flashsale-{SALE}")),
            (&sale, "flash-sales", "stock-A".to_owned()),
            (&cart, "carts", format!("cart-{CART}")),
            (&cart, "catalogue", "product-A".to_owned()),
            (&cart, "flash-sales", format!("flashsale-{SALE}")),
            (&order, "orders", format!("order-{ORDER}")),
        ];
        for (path, consumer, stream) in cases {
            let path = format!("/v1/{path}");
            assert_eq!(shop.get_with(&path, &[("merx-min-position", "20")]).await.status, 200, "{path}");
            park(shop, consumer, &stream).await;
            let newer = shop.get_with(&path, &[("merx-min-position", "8")]).await;
            assert_eq!((newer.status.as_u16(), &newer.body["code"]), (503, &json!("parked")), "{path} {stream}");
            assert_eq!((&newer.body["position"], newer.header("retry-after")), (&json!(8), "30"), "{path} {stream}");
            let before = shop.get_with(&path, &[("merx-min-position", "7")]).await;
            assert_eq!((before.status.as_u16(), before.header("merx-position")), (200, "7"), "{path} {stream}");
            assert_eq!(shop.get(&path).await.header("merx-position"), "7", "{path} {stream}");
            unpark_all(shop).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_parked_elsewhere_does_not_matter() {
    with_resources(async |shop| {
        let cases =
            [("catalogue", "product-B"), ("carts", "product-A"), ("sales", "order-1"), ("reviews", "review-2"), ("reviews", "review-3")];
        for (consumer, stream) in cases {
            park(shop, consumer, stream).await;
        }
        for path in ["categories/home", "products/A", "stock/A", &format!("carts/{CART}"), &format!("orders/{ORDER}")] {
            let answer = shop.get_with(&format!("/v1/{path}"), &[("merx-min-position", "20")]).await;
            assert_eq!((answer.status.as_u16(), answer.header("merx-position")), (200, "20"), "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_parked_from_its_first_event_on_is_not_said_not_to_be_there() {
    with_resources(async |shop| {
        let new = Uuid::from_u128(9);
        for (path, consumer, stream) in [
            (format!("orders/{new}"), "orders", format!("order-{new}")),
            ("products/N".to_owned(), "catalogue", "product-N".to_owned()),
            ("stock/N".to_owned(), "catalogue", "product-N".to_owned()),
        ] {
            let path = format!("/v1/{path}");
            park(shop, consumer, &stream).await;
            assert_eq!(shop.get_with(&path, &[("merx-min-position", "20")]).await.body["code"], json!("parked"), "{path}");
            assert_eq!(shop.get(&path).await.status, 404, "{path}");
            unpark_all(shop).await;
        }
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_what_is_parked() {
    with_resources(async |shop| {
        shop.sql("update checkpoints set position = 19").await;
        park(shop, "orders", &format!("order-{ORDER}")).await;
        let answer = shop.get_with(&format!("/v1/orders/{ORDER}"), &[("merx-min-position", "20")]).await;
        assert_eq!(answer.body["code"], json!("parked"), "and not, two seconds later, that it is not visible yet");
    })
    .await;
}
