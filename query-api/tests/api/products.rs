//! Products, out of four projections.

use serde_json::json;
use uuid::Uuid;

use crate::shop::{insert_product, insert_sale, with_shop};

#[tokio::test]
async fn a_product_knows_its_stock_and_rating() {
    with_shop(async |shop| {
        shop.sql(insert_product(1, "A", None, "active")).await;
        let bare = shop.get("/v1/products/A").await;
        assert_eq!(bare.body, crate::shop::product("A", "2.55"));
        assert_eq!((bare.header("etag").split('.').next(), bare.header("merx-position")), (Some("\"3"), "10"));

        shop.sql("insert into read_model.stock values ('A', 7, 2, 5); insert into read_model.ratings values ('A', 9, 2)").await;
        shop.sql("update checkpoints set position = 7 where name = 'reviews'").await;
        let full = shop.get("/v1/products/A").await;
        assert_eq!(full.body["stock"], json!({"available": 5, "state": "low"}));
        assert_eq!(full.body["rating"], json!({"average": 4.5, "count": 2}));
        assert_eq!(full.header("merx-position"), "7", "the answer is as new as the oldest part of it");
        let tag = full.header("etag");
        assert_eq!(shop.get_with("/v1/products/A", &[("if-none-match", &format!("\"1\", W/{tag}"))]).await.status, 304);
        for older in [bare.header("etag"), "\"3\""] {
            assert_eq!(shop.get_with("/v1/products/A", &[("if-none-match", older)]).await.status, 200, "{older} is another body");
        }
    })
    .await;
}

#[tokio::test]
async fn while_a_flash_sale_runs_its_allotment_is_what_is_available() {
    with_shop(async |shop| {
        let running = Uuid::now_v7();
        shop.sql(insert_product(1, "A", None, "active") + "insert into read_model.stock values ('A', 100, 50, 5);").await;
        shop.sql(insert_sale(Uuid::now_v7(), "A", -600, -5) + &insert_sale(Uuid::now_v7(), "A", 600, 900)).await;
        let between = shop.get("/v1/products/A").await.body;
        assert_eq!((&between["stock"]["available"], between.get("flash_sale")), (&json!(50), None));

        shop.sql(insert_sale(running, "A", -5, 500)).await;
        let during = shop.get("/v1/products/A").await.body;
        assert_eq!(during["stock"], json!({"available": 43, "state": "in_stock"}));
        let sale = &during["flash_sale"];
        assert_eq!((&sale["id"], &sale["remaining"], &sale["limit_per_customer"]), (&json!(running), &json!(43), &json!(2)));
        assert_eq!(shop.get("/v1/products").await.body["items"][0]["flash_sale"], *sale);

        shop.sql(format!("update read_model.flash_sales set cancelled = true where id = '{running}'")).await;
        assert_eq!(shop.get("/v1/products/A").await.body.get("flash_sale"), None);
    })
    .await;
}

#[tokio::test]
async fn products_are_listed_as_created_by_category_and_status() {
    with_shop(async |shop| {
        for (id, parent) in [("home", "null"), ("lamps", "'home'"), ("led", "'lamps'"), ("art", "null")] {
            shop.sql(format!("insert into read_model.categories values ('{id}', {parent}, 1, '{{}}')")).await;
        }
        let rows = [("E", Some("led")), ("D", Some("art")), ("C", Some("home")), ("B", None), ("A", Some("lamps"))];
        for (position, (sku, category)) in (1..).zip(rows) {
            let status = if sku == "C" { "archived" } else { "active" };
            shop.sql(insert_product(position, sku, category, status)).await;
        }
        let listed = async |query: &str| {
            let (skus, pages) = shop.pages(&format!("/v1/products?limit=2&{query}"), "sku").await;
            (skus.iter().map(|sku| sku.as_str().unwrap()).collect::<String>(), pages)
        };
        assert_eq!(listed("").await, ("EDCBA".to_owned(), 3));
        assert_eq!(listed("category=home").await, ("ECA".to_owned(), 2));
        assert_eq!(listed("category=lamps").await, ("EA".to_owned(), 1));
        assert_eq!(listed("category=home&status=active").await, ("EA".to_owned(), 1));
        assert_eq!(listed("status=archived").await, ("C".to_owned(), 1));
        assert_eq!(listed("category=nowhere").await, (String::new(), 1));
        assert_eq!(shop.get("/v1/products?category=nowhere").await.header("merx-position"), "10");
        assert_eq!(shop.get("/v1/products?status=sold").await.status, 422);

        let first = shop.get("/v1/products?limit=2").await;
        shop.sql(insert_product(6, "F", None, "active")).await;
        let cursor = first.body["next_cursor"].as_str().unwrap();
        let (rest, _) = shop.pages(&format!("/v1/products?limit=100&cursor={cursor}"), "sku").await;
        assert_eq!(json!(rest), json!(["C", "B", "A", "F"]), "rows added meanwhile move nothing");
    })
    .await;
}

#[tokio::test]
async fn categories_in_a_circle_end_the_search() {
    with_shop(async |shop| {
        shop.sql("insert into read_model.categories values ('a', 'b', 1, '{}'), ('b', 'a', 1, '{}')").await;
        shop.sql(insert_product(1, "A", Some("b"), "active")).await;
        assert_eq!(shop.get("/v1/products?category=a").await.each("sku"), [json!("A")]);
    })
    .await;
}
