//! Categories, reviews, stock and flash sales.

use gateway::openapi::Information;
use serde_json::json;
use uuid::Uuid;

use crate::shop::{insert_product, insert_sale, with_shop};

#[tokio::test]
async fn categories_are_listed_by_id_and_shown_with_their_version() {
    with_shop(async |shop| {
        for id in ["home", "Art", "home.lamps"] {
            let document = json!({"id": id, "name": id, "parent": null, "version": 2});
            shop.sql(format!("insert into read_model.categories values ('{id}', null, 2, '{document}')")).await;
        }
        let (ids, pages) = shop.pages("/v1/categories?limit=2", "id").await;
        assert_eq!((json!(ids), pages), (json!(["Art", "home", "home.lamps"]), 2));

        let one = shop.get("/v1/categories/home").await;
        assert_eq!(one.body, json!({"id": "home", "name": "home", "parent": null, "version": 2}));
        assert_eq!((one.header("etag"), one.header("merx-position")), ("\"2\"", "10"));
        assert_eq!(one.header("content-type"), "application/json");

        let same = shop.get_with("/v1/categories/home", &[("if-none-match", "\"2\"")]).await;
        assert_eq!((same.status.as_u16(), same.header("etag"), &same.body), (304, "\"2\"", &json!(null)));
        let newer = shop.get_with("/v1/categories/home", &[("if-none-match", "\"1\"")]).await;
        assert_eq!(newer.status, 200);
    })
    .await;
}

#[tokio::test]
async fn what_is_unknown_is_404_and_says_how_new_that_is() {
    with_shop(async |shop| {
        let nobody = "00000000-0000-7000-8000-000000000000";
        let by_id = ["flash-sales", "carts", "orders"].map(|kind| format!("/v1/{kind}/{nobody}"));
        let by_code = ["categories/x", "products/x", "products/x/reviews", "stock/x"].map(|path| format!("/v1/{path}"));
        for path in by_id.iter().chain(&by_code) {
            let answer = shop.get(path).await;
            assert_eq!((answer.status.as_u16(), &answer.body["code"]), (404, &json!("not_found")), "{path}");
            assert_eq!(answer.header("merx-position"), "10", "{path}");
        }
        assert_eq!(shop.get("/v1/orders/%27%20or%201=1--").await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn a_list_refuses_what_it_can_not_be_asked() {
    with_shop(async |shop| {
        for query in ["limit=0", "limit=201", "limit=x", "cursor=AAAA", "colour=red"] {
            for list in ["categories", "products", "orders", "sales", "events", "streams/order-x"] {
                let answer = shop.get(&format!("/v1/{list}?{query}")).await;
                assert_eq!(answer.status, 422, "{list}?{query}");
                assert!(answer.body["errors"][0]["pointer"].as_str().unwrap().starts_with('?'), "{answer:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn reviews_are_listed_newest_first() {
    with_shop(async |shop| {
        shop.sql(insert_product(1, "A", None, "active")).await;
        assert_eq!(shop.get("/v1/products/A/reviews").await.body, json!({"items": [], "next_cursor": null}));
        for position in 2..=4 {
            let (id, document) = (Uuid::now_v7(), json!({"sku": "A", "n": position}));
            shop.sql(format!("insert into read_model.reviews values ('{id}', 'A', {position}, 5, '{document}')")).await;
        }
        let (n, pages) = shop.pages("/v1/products/A/reviews?limit=2", "n").await;
        assert_eq!((json!(n), pages), (json!([4, 3, 2]), 2));
    })
    .await;
}

#[tokio::test]
async fn stock_that_was_never_received_is_zeros() {
    with_shop(async |shop| {
        shop.sql(insert_product(1, "A", None, "active") + &insert_product(2, "B", None, "active")).await;
        shop.sql("insert into read_model.stock values ('B', 7, 2, 5)").await;
        let never = shop.get("/v1/stock/A").await;
        assert_eq!(never.body, json!({"id": "A", "sku": "A", "on_hand": 0, "reserved": 0, "available": 0, "version": 0}));
        let some = shop.get("/v1/stock/B").await;
        assert_eq!(some.body, json!({"id": "B", "sku": "B", "on_hand": 7, "reserved": 2, "available": 5, "version": 5}));
        assert_eq!(some.header("etag"), "\"5\"");
    })
    .await;
}

#[tokio::test]
async fn a_flash_sale_says_what_remains() {
    with_shop(async |shop| {
        let [running, ended, unseen] = std::array::from_fn(|_| Uuid::now_v7());
        shop.sql(insert_sale(running, "A", -5, 600) + &insert_sale(ended, "A", -600, -5) + &insert_sale(unseen, "B", -5, 600)).await;
        shop.sql(format!("update read_model.flash_sales set version = 0 where id = '{unseen}'")).await;
        let sale = shop.get(&format!("/v1/flash-sales/{running}")).await.body;
        assert_eq!(
            (&sale["state"], &sale["remaining"], &sale["sold"], &sale["reserved"]),
            (&json!("running"), &json!(43), &json!(3), &json!(4))
        );
        assert_eq!(sale["price"], json!({"amount": "1.99", "currency": "GBP"}));
        assert!(sale["starts_at"].as_str().unwrap().ends_with('Z'));
        let sale = shop.get(&format!("/v1/flash-sales/{ended}")).await.body;
        assert_eq!((&sale["state"], &sale["remaining"]), (&json!("ended"), &json!(0)));
        assert_eq!(shop.get(&format!("/v1/flash-sales/{unseen}")).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn every_route_describes_itself() {
    with_shop(async |shop| {
        let information = Information { title: "Merx", version: "1", description: "Reads.", license: "MIT", tags: &[] };
        let document = query_api::routes(shop.queries.clone()).openapi(&information);
        let paths: Vec<_> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(paths.len(), 17, "{paths:?}");
        let schemas: Vec<_> = document["components"]["schemas"].as_object().unwrap().keys().collect();
        assert!(
            schemas.iter().all(|name| name.starts_with("Page") || !name.ends_with(char::is_numeric)),
            "two types have one name: {schemas:?}"
        );
    })
    .await;
}
