use serde_json::{Value, json};

use crate::{
    database::Database,
    log::{Log, gbp, id},
};

fn terms(quantity_key: &str) -> Value {
    json!({"sku": "A", "sale": id(7), "starts_at": "2026-03-01T12:00:00Z", "ends_at": "2026-03-02T12:00:00Z", quantity_key: 50,
           "price": gbp("1.50"), "limit_per_customer": 2})
}

fn announce(log: &mut Log) -> &mut Log {
    log.add(&format!("flashsale-{}", id(7)), "FlashSaleAnnounced", &terms("allotment"))
}

fn allot(log: &mut Log) -> &mut Log {
    log.add("stock-A", "StockAllotted", &terms("quantity"))
}

fn sell(log: &mut Log) {
    let customer = "ann@shop.example";
    for (order, quantity) in [(1, 2), (2, 1), (3, 4), (4, 1)] {
        let until = "2026-03-01T12:15:00Z";
        log.add(
            "stock-A",
            "StockReserved",
            &json!({"order": id(order), "quantity": quantity, "until": until, "customer": customer, "sale": id(7)}),
        );
    }
    log.add("stock-A", "StockCommitted", &json!({"order": id(1), "quantity": 2, "sale": id(7)}));
    log.add("stock-A", "StockReleased", &json!({"order": id(2), "quantity": 1, "sale": id(7), "to_allotment": true}));
    log.add("stock-A", "StockReturned", &json!({"order": id(1), "quantity": 1, "return": null, "sale": id(7), "customer": customer}));
    log.add("stock-A", "StockExpired", &json!({"order": id(4), "quantity": 1, "sale": id(7), "to_allotment": true}));
}

fn row(sold: i64, reserved: i64, cancelled: bool, version: i64) -> Value {
    json!({"id": id(7), "sku": "A", "starts_at": "2026-03-01T12:00:00+00:00", "ends_at": "2026-03-02T12:00:00+00:00", "allotment": 50,
           "price_amount": "1.50", "price_currency": "GBP", "limit_per_customer": 2, "sold": sold, "reserved": reserved,
           "cancelled": cancelled, "version": version})
}

#[tokio::test]
async fn a_sale_counts_what_orders_hold_and_bought_of_it() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    allot(announce(&mut log));
    sell(&mut log);
    database.apply("flash-sales", &log.events, 100).await;
    assert_eq!(database.row("flash_sales").await, row(1, 4, false, 1));
}

#[tokio::test]
async fn the_allotment_may_come_before_the_announcement() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    allot(&mut log);
    sell(&mut log);
    database.apply("flash-sales", &log.events, 3).await;
    assert_eq!(database.row("flash_sales").await, row(1, 4, false, 0));
    let before = log.events.len();
    announce(&mut log).add(&format!("flashsale-{}", id(7)), "FlashSaleStarted", &json!({}));
    database.apply("flash-sales", &log.events[before..], 1).await;
    assert_eq!(database.row("flash_sales").await, row(1, 4, false, 2));
}

#[tokio::test]
async fn a_sale_that_was_called_off_says_so() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    allot(announce(&mut log)).add(&format!("flashsale-{}", id(7)), "FlashSaleCancelled", &json!({}));
    log.add("stock-A", "StockAllotmentClosed", &json!({"sale": id(7), "unsold": 50, "reason": "cancelled"}));
    log.add("stock-A", "StockReceived", &json!({"quantity": 1, "reference": ""}));
    database.apply("flash-sales", &log.events, 2).await;
    assert_eq!(database.row("flash_sales").await, row(0, 0, true, 2));
}
