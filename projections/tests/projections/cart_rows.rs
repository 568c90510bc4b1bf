use serde_json::json;

use crate::{
    database::Database,
    log::{Log, id},
};

#[tokio::test]
async fn a_cart_keeps_its_lines_in_order_without_titles_and_prices() {
    let Some(database) = Database::create().await else { return };
    let (cart, mut log) = (format!("cart-{}", id(1)), Log::default());
    log.add(&cart, "CartCreated", &json!({"currency": "GBP", "metadata": {"source": "app"}}));
    for (sku, quantity) in [("B", 1), ("A", 2), ("C", 3), ("B", 4)] {
        let price = json!({"amount": "2.50", "currency": "GBP"});
        log.add(&cart, "CartItemSet", &json!({"sku": sku, "quantity": quantity, "unit_price": price}));
    }
    log.add(&cart, "CartItemRemoved", &json!({"sku": "A"}));
    database.apply("carts", &log.events, 3).await;
    let nothing = json!({"amount": "0.00", "currency": "GBP"});
    let item = |sku: &str, quantity: u32| json!({"sku": sku, "title": "", "quantity": quantity, "unit_price": null, "line_total": null, "problem": null});
    let document = json!({"id": id(1), "currency": "GBP", "items": [item("B", 4), item("C", 3)], "subtotal": nothing, "discount": nothing,
        "shipping": nothing, "tax": nothing, "total": nothing, "status": "open", "order": null, "metadata": {"source": "app"},
        "created_at": "2026-03-01T12:00:00.000000Z", "updated_at": "2026-03-01T12:00:05.000000Z", "version": 6});
    assert_eq!(database.row("carts").await, json!({"id": id(1), "version": 6, "document": document}));
}

#[tokio::test]
async fn a_cart_that_was_bought_names_its_order() {
    let Some(database) = Database::create().await else { return };
    let (cart, mut log) = (format!("cart-{}", id(1)), Log::default());
    log.add(&cart, "CartCreated", &json!({"currency": "GBP", "metadata": {}}));
    log.add(&cart, "CartItemSet", &json!({"sku": "A", "quantity": 1, "unit_price": null}));
    log.add(&cart, "CartCheckedOut", &json!({"order": id(5)}));
    database.apply("carts", &log.events, 1).await;
    let row = database.row("carts").await;
    assert_eq!((&row["document"]["status"], &row["document"]["order"]), (&json!("checked_out"), &json!(id(5))));
}
