use serde_json::{Value, json};

use crate::{
    database::Database,
    log::{Log, gbp, id},
};

fn reserved(order: u32, quantity: u32, sale: Option<u32>) -> Value {
    json!({"order": id(order), "quantity": quantity, "until": "2026-03-01T12:15:00Z", "customer": "ann@shop.example", "sale": sale.map(id)})
}

fn held(order: u32, quantity: u32, sale: Option<u32>) -> Value {
    json!({"order": id(order), "quantity": quantity, "sale": sale.map(id), "to_allotment": sale.is_some()})
}

fn allotted(sale: u32, quantity: u32) -> Value {
    json!({"sale": id(sale), "quantity": quantity, "starts_at": "2026-03-01T12:00:00Z", "ends_at": "2026-03-02T12:00:00Z",
           "price": gbp("1.00"), "limit_per_customer": null})
}

async fn counts(events: &[(&str, Value)]) -> Option<Value> {
    let database = Database::create().await?;
    let mut log = Log::default();
    for (event_type, payload) in events {
        log.add("stock-A", event_type, payload);
    }
    database.apply("stock", &log.events, 2).await;
    Some(database.row("stock").await)
}

#[tokio::test]
async fn what_comes_in_is_on_hand_and_what_orders_hold_is_reserved() {
    let Some(row) = counts(&[
        ("StockReceived", json!({"quantity": 100, "reference": "PO-1"})),
        ("StockAdjusted", json!({"quantity": -3, "reason": "damaged"})),
        ("StockReserved", reserved(1, 10, None)),
        ("StockReserved", reserved(2, 5, None)),
        ("StockReserved", reserved(3, 2, None)),
        ("StockCommitted", held(1, 10, None)),
        ("StockReleased", held(2, 5, None)),
    ])
    .await
    else {
        return;
    };
    assert_eq!(row, json!({"sku": "A", "on_hand": 87, "reserved": 2, "version": 7}));
}

#[tokio::test]
async fn what_expires_is_free_and_what_comes_back_is_on_hand() {
    let Some(row) = counts(&[
        ("StockReceived", json!({"quantity": 10, "reference": ""})),
        ("StockReserved", reserved(1, 4, None)),
        ("StockReserved", reserved(2, 4, None)),
        ("StockExpired", held(1, 4, None)),
        ("StockCommitted", held(2, 4, None)),
        ("StockReturned", json!({"order": id(2), "quantity": 3, "return": id(9), "sale": null, "customer": "ann@shop.example"})),
    ])
    .await
    else {
        return;
    };
    assert_eq!(row, json!({"sku": "A", "on_hand": 9, "reserved": 0, "version": 6}));
}

#[tokio::test]
async fn an_allotment_is_reserved_once_until_it_is_sold_or_closed() {
    let Some(row) = counts(&[
        ("StockReceived", json!({"quantity": 100, "reference": ""})),
        ("StockAllotted", allotted(7, 50)),
        ("StockReserved", reserved(1, 10, Some(7))),
        ("StockReserved", reserved(2, 5, Some(7))),
        ("StockReserved", reserved(3, 1, Some(7))),
        ("StockCommitted", held(1, 10, Some(7))),
        ("StockReleased", held(2, 5, Some(7))),
        ("StockReturned", json!({"order": id(1), "quantity": 2, "return": null, "sale": id(7), "customer": "ann@shop.example"})),
        // 50 less 8 sold and 1 that is held
        ("StockAllotmentClosed", json!({"sale": id(7), "unsold": 41, "reason": "ended"})),
    ])
    .await
    else {
        return;
    };
    assert_eq!(row, json!({"sku": "A", "on_hand": 92, "reserved": 1, "version": 9}));
}

#[tokio::test]
async fn what_is_released_after_its_sale_was_closed_is_ordinary_stock() {
    let Some(row) = counts(&[
        ("StockReceived", json!({"quantity": 10, "reference": ""})),
        ("StockAllotted", allotted(7, 5)),
        ("StockReserved", reserved(1, 2, Some(7))),
        ("StockAllotmentClosed", json!({"sale": id(7), "unsold": 3, "reason": "ended"})),
        ("StockReleased", json!({"order": id(1), "quantity": 2, "sale": id(7), "to_allotment": false})),
    ])
    .await
    else {
        return;
    };
    assert_eq!(row, json!({"sku": "A", "on_hand": 10, "reserved": 0, "version": 5}));
}

#[tokio::test]
async fn a_correction_of_imported_history_changes_no_count() {
    let correction = json!({"quantity": -30, "reason": "check", "invoice": "537000", "at": "2010-12-05T10:00:00Z"});
    let Some(row) = counts(&[("StockCorrectionImported", correction)]).await else { return };
    assert_eq!(row, json!({"sku": "A", "on_hand": 0, "reserved": 0, "version": 1}));
}
