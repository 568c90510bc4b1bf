use serde_json::{Value, json};

use crate::{
    database::Database,
    log::{Log, gbp},
};

fn description(title: &str, category: Option<&str>) -> Value {
    json!({"sku": "A", "title": title, "description": null, "category": category, "brand": "Merx", "images": [],
           "attributes": {"colour": "white"}, "metadata": {}, "price": gbp("2.5")})
}

#[tokio::test]
async fn a_product_is_as_its_last_change_left_it() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    log.add("stock-B", "StockReceived", &json!({"quantity": 1, "reference": ""}));
    log.add("product-A", "ProductCreated", &description("Lamp", Some("home")));
    log.add("product-A", "ProductDescribed", &description("Lantern", None));
    log.add("product-A", "ProductRepriced", &json!({"from": gbp("2.5"), "to": gbp("2.75")}));
    log.add("product-A", "ProductArchived", &json!({}));
    database.apply("catalogue", &log.events, 2).await;
    let document = json!({"id": "A", "sku": "A", "title": "Lantern", "description": null, "category": null, "brand": "Merx", "images": [],
        "price": gbp("2.75"), "attributes": {"colour": "white"}, "metadata": {}, "status": "archived",
        "stock": {"available": 0, "state": "out_of_stock"}, "rating": {"average": null, "count": 0},
        "created_at": "2026-03-01T12:00:01.000000Z", "updated_at": "2026-03-01T12:00:04.000000Z", "version": 4});
    let row = json!({"sku": "A", "created_position": 2, "category": null, "status": "archived", "version": 4, "document": document});
    assert_eq!(database.row("products").await, row);

    let before = log.events.len();
    log.add("product-A", "ProductActivated", &json!({}));
    database.apply("catalogue", &log.events[before..], 1).await;
    let row = database.row("products").await;
    assert_eq!((&row["status"], &row["document"]["status"], &row["version"]), (&json!("active"), &json!("active"), &json!(5)));
}

#[tokio::test]
async fn categories_hang_below_their_parents() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    log.add("category-home", "CategoryCreated", &json!({"id": "home", "name": "Home", "parent": null}));
    log.add("category-lamps", "CategoryCreated", &json!({"id": "lamps", "name": "Lamps", "parent": null}));
    log.add("category-lamps", "CategoryRenamed", &json!({"name": "Lights"}));
    log.add("category-lamps", "CategoryMoved", &json!({"parent": "home"}));
    database.apply("catalogue", &log.events, 3).await;
    let row = |id: &str, name: &str, parent: Option<&str>, version: i64| {
        let document = json!({"id": id, "name": name, "parent": parent, "version": version});
        json!({"id": id, "parent": parent, "version": version, "document": document})
    };
    let rows = database.rows("categories").await;
    assert_eq!(rows.len(), 2);
    assert!(rows.contains(&row("home", "Home", None, 1)) && rows.contains(&row("lamps", "Lights", Some("home"), 3)), "{rows:?}");
}
