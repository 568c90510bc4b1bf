use serde_json::{Value, json};

use crate::{
    database::Database,
    log::{Log, gbp, id},
    story::{cancelled, confirmed, imported, order, placed, returned, shipped, submitted},
};

fn submission() -> Value {
    submitted(&[("A", Some("home"), 3, "10.00"), ("B", None, 1, "2.50")], "GB")
}

/// The row of an order that was submitted, and to which `events` happened.
async fn row_after(events: &[(&str, Value)]) -> Option<Value> {
    let database = Database::create().await?;
    let mut log = Log::default();
    log.add(&order(1), "OrderSubmitted", &submission());
    for (event_type, payload) in events {
        log.add(&order(1), event_type, payload);
    }
    database.apply("orders", &log.events, 2).await;
    Some(database.row("orders").await)
}

fn timeline(row: &Value) -> Vec<(&str, Option<&str>)> {
    let entries = row["document"]["timeline"].as_array().expect("entries");
    entries.iter().map(|entry| (entry["status"].as_str().expect("a status"), entry["reason"].as_str())).collect()
}

#[tokio::test]
async fn a_placed_order_shows_what_was_bought() {
    let Some(row) = row_after(&[("OrderPlaced", placed())]).await else { return };
    let money = |amount: &str| gbp(amount);
    let item = |sku: &str, quantity: u32, total: &str| {
        json!({"sku": sku, "title": format!("The {sku}"), "quantity": quantity, "unit_price": money("1"),
               "line_total": money(total)})
    };
    let document = json!({
        "id": id(1), "cart": id(99), "status": "placed", "email": "Ann@Shop.example",
        "shipping_address": {"name": "Ann", "line1": "1 High St", "city": "Leeds", "country": "GB"},
        "items": [item("A", 3, "10.00"), item("B", 1, "2.50")], "currency": "GBP",
        "subtotal": money("12.50"), "discount": money("0.00"), "shipping": money("0.00"), "tax": money("0.00"), "total": money("12.50"),
        "payment": {"status": "pending", "captured": money("0.00"), "refunded": money("0.00"), "decline_code": null},
        "shipments": [], "returns": [], "refunds": [],
        "timeline": [{"status": "submitted", "at": "2026-03-01T12:00:00.000000Z", "reason": null},
                     {"status": "placed", "at": "2026-03-01T12:00:01.000000Z", "reason": null}],
        "metadata": {}, "placed_at": "2026-03-01T12:00:01.000000Z", "updated_at": "2026-03-01T12:00:01.000000Z", "version": 2,
    });
    let row_wanted = json!({"id": id(1), "status": "placed", "email": "ann@shop.example", "placed_at": "2026-03-01T12:00:01+00:00",
        "version": 2, "document": document});
    assert_eq!(row, row_wanted);
}

#[tokio::test]
async fn an_order_is_partly_shipped_shipped_and_delivered_as_its_parcels_are() {
    let Some(row) = row_after(&[
        ("OrderPlaced", placed()),
        ("OrderConfirmed", confirmed("12.50")),
        ("OrderShipped", shipped(10, &[("A", 2)])),
        ("OrderDelivered", json!({"shipment": id(10)})),
        ("OrderShipped", shipped(11, &[("A", 1), ("B", 1)])),
        ("OrderDelivered", json!({"shipment": id(11)})),
    ])
    .await
    else {
        return;
    };
    let statuses: Vec<_> = timeline(&row).into_iter().map(|(status, _)| status).collect();
    assert_eq!(statuses, ["submitted", "placed", "confirmed", "partly_shipped", "shipped", "delivered"]);
    let shipment = json!({"id": id(10), "carrier": "DHL", "tracking_number": "T1", "items": [{"sku": "A", "quantity": 2}],
        "shipped_at": "2026-03-01T12:00:03.000000Z", "delivered_at": "2026-03-01T12:00:04.000000Z"});
    assert_eq!(row["document"]["shipments"][0], shipment);
    assert_eq!((&row["status"], &row["version"]), (&json!("delivered"), &json!(7)));
}

#[tokio::test]
async fn an_order_of_which_everything_came_back_is_returned_and_its_refunds_add_up() {
    let refund = |number: u32, amount: &str| json!({"refund": id(number), "amount": gbp(amount), "reason": "too small"});
    let mut requested = refund(30, "10.00");
    requested["metadata"] = json!({"ticket": "7"});
    let Some(row) = row_after(&[
        ("OrderPlaced", placed()),
        ("OrderConfirmed", confirmed("12.50")),
        ("OrderShipped", shipped(10, &[("A", 3), ("B", 1)])),
        ("OrderReturned", returned(20, &[("A", 3)])),
        ("OrderRefundRequested", requested),
        ("OrderRefunded", refund(30, "10.00")),
        ("OrderReturned", returned(21, &[("B", 1)])),
    ])
    .await
    else {
        return;
    };
    assert_eq!(timeline(&row)[3..], [("shipped", None), ("returned", Some("too small"))]);
    assert_eq!(
        row["document"]["payment"],
        json!({"status": "partly_refunded", "captured": gbp("12.50"), "refunded": gbp("10.00"), "decline_code": null})
    );
    let refunds = json!([{"id": id(30), "amount": gbp("10.00"), "reason": "too small", "status": "succeeded", "failure": null,
        "at": "2026-03-01T12:00:05.000000Z", "metadata": {"ticket": "7"}}]);
    assert_eq!(row["document"]["refunds"], refunds);
    let back = json!({"id": id(20), "items": [{"sku": "A", "quantity": 3}], "reason": "too small", "restocked": true,
        "at": "2026-03-01T12:00:04.000000Z"});
    assert_eq!(row["document"]["returns"][0], back);
}

#[tokio::test]
async fn a_refund_that_is_requested_is_pending() {
    let requested = json!({"refund": id(30), "amount": gbp("1.00"), "reason": "", "metadata": {}});
    let Some(row) =
        row_after(&[("OrderPlaced", placed()), ("OrderConfirmed", confirmed("12.50")), ("OrderRefundRequested", requested)]).await
    else {
        return;
    };
    let document = &row["document"];
    assert_eq!((&document["refunds"][0]["status"], &document["payment"]["status"]), (&json!("pending"), &json!("captured")));
    assert_eq!(document["payment"]["refunded"], gbp("0.00"));
}

#[tokio::test]
async fn a_refund_that_failed_says_why_and_no_money_went_back() {
    let failed = |number: u32| json!({"refund": id(number), "amount": gbp("1.00"), "reason": "x", "failure": "account_closed"});
    let requested = json!({"refund": id(30), "amount": gbp("1.00"), "reason": "x", "metadata": {}});
    let story = [
        ("OrderPlaced", placed()),
        ("OrderConfirmed", confirmed("12.50")),
        ("OrderRefundRequested", requested),
        ("OrderRefundFailed", failed(30)),
        ("OrderRefundFailed", failed(31)),
    ];
    let Some(row) = row_after(&story).await else { return };
    let document = &row["document"];
    for refund in document["refunds"].as_array().unwrap() {
        assert_eq!((&refund["status"], &refund["failure"]), (&json!("failed"), &json!("account_closed")));
    }
    assert_eq!(document["refunds"].as_array().unwrap().len(), 2);
    assert_eq!((&document["payment"]["refunded"], &document["payment"]["status"]), (&gbp("0.00"), &json!("captured")));
}

#[tokio::test]
async fn a_declined_payment_cancels_and_says_why() {
    let Some(row) =
        row_after(&[("OrderPlaced", placed()), ("OrderCancelled", cancelled("payment_declined", None, Some("do_not_honor"), false))]).await
    else {
        return;
    };
    assert_eq!(timeline(&row)[2], ("cancelled", Some("payment_declined")));
    let payment = &row["document"]["payment"];
    assert_eq!((&payment["status"], &payment["decline_code"]), (&json!("declined"), &json!("do_not_honor")));
}

#[tokio::test]
async fn a_late_capture_is_shown_and_refunded() {
    let Some(row) = row_after(&[
        ("OrderPlaced", placed()),
        ("OrderCancelled", cancelled("requested", Some("changed my mind"), None, false)),
        ("OrderCapturedLate", confirmed("12.50")),
        ("OrderRefunded", json!({"refund": id(30), "amount": gbp("12.50"), "reason": "cancelled"})),
    ])
    .await
    else {
        return;
    };
    assert_eq!(timeline(&row)[2], ("cancelled", Some("requested: changed my mind")));
    let document = &row["document"];
    assert_eq!((&document["status"], &document["payment"]["status"]), (&json!("cancelled"), &json!("refunded")));
    assert_eq!(document["refunds"][0]["status"], json!("succeeded"));
}

#[tokio::test]
async fn a_cancellation_makes_the_same_row_in_whichever_version_it_was_written() {
    let old = |reason, note: Option<&str>, decline_code: Option<&str>, lost: &[&str]| json!({"reason": reason, "note": note, "decline_code": decline_code, "was_confirmed": false, "lost": lost});
    let new = |cause: Value, note: Option<&str>| json!({"cause": cause, "note": note, "was_confirmed": false});
    let pairs = [
        (old("requested", Some("too dear"), None, &[]), new(json!({"kind": "requested"}), Some("too dear")), "requested: too dear"),
        (old("payment_expired", None, None, &[]), new(json!({"kind": "payment_expired"}), None), "payment_expired"),
        (
            old("payment_declined", None, Some("no_funds"), &[]),
            new(json!({"kind": "payment_declined", "decline_code": "no_funds"}), None),
            "payment_declined",
        ),
        (
            old("stock_lost", Some("A, B"), None, &["A", "B"]),
            new(json!({"kind": "stock_lost", "skus": ["A", "B"]}), None),
            "stock_lost: A, B",
        ),
    ];
    for (first, second, said) in pairs {
        let mut rows = Vec::new();
        for (version, payload) in [(1, &first), (2, &second)] {
            let Some(database) = Database::create().await else { return };
            let mut log = Log::default();
            log.add(&order(1), "OrderSubmitted", &submission()).add(&order(1), "OrderPlaced", &placed());
            log.add_version(&order(1), "OrderCancelled", version, payload);
            database.apply("orders", &log.events, 1).await;
            rows.push(database.row("orders").await);
        }
        assert_eq!(rows[0], rows[1]);
        assert_eq!(timeline(&rows[0])[2], ("cancelled", Some(said)));
        let shown = &rows[0]["document"]["cancellation"];
        assert_eq!((&shown["cause"], &shown["note"]), (&second["cause"], &second["note"]));
    }
}

#[tokio::test]
async fn a_rejected_order_names_the_lines_it_failed_on() {
    let Some(row) = row_after(&[("OrderRejected", json!({"reason": "out_of_stock", "skus": ["A", "B"]}))]).await else { return };
    assert_eq!(timeline(&row)[1], ("rejected", Some("out_of_stock: A, B")));
    assert_eq!(row["document"]["payment"]["status"], json!("cancelled"));
}

#[tokio::test]
async fn an_imported_invoice_keeps_what_was_charged_to_the_last_decimal() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    let lines = [("85123A", 6, "2.550", "15.300"), ("M", 1, "0.001", "0.001")];
    log.add(&order(1), "OrderImported", &imported("placed_at", "2010-12-01T08:26:00Z", "United Kingdom", &lines, "15.301"));
    database.apply("orders", &log.events, 1).await;
    let row = database.row("orders").await;
    assert_eq!(
        (&row["status"], &row["email"], &row["placed_at"]),
        (&json!("delivered"), &json!(null), &json!("2010-12-01T08:26:00+00:00"))
    );
    let document = &row["document"];
    assert_eq!((&document["total"], &document["items"][0]["line_total"]), (&gbp("15.301"), &gbp("15.30")));
    assert_eq!((&document["invoice"], &document["cart"]), (&json!("536365"), &json!(null)));
    assert_eq!((&document["payment"]["captured"], &document["payment"]["status"]), (&gbp("15.301"), &json!("captured")));
    assert_eq!(document["updated_at"], json!("2026-03-01T12:00:00.000000Z"));
}

#[tokio::test]
async fn an_imported_return_is_below_zero_and_captured_nothing() {
    let Some(database) = Database::create().await else { return };
    let mut log = Log::default();
    let lines = [("D", -1, "27.50", "-27.50")];
    log.add(&order(1), "OrderReturnImported", &imported("returned_at", "2010-12-01T09:41:00Z", "EIRE", &lines, "-27.50"));
    database.apply("orders", &log.events, 1).await;
    let document = &database.row("orders").await["document"];
    assert_eq!((&document["status"], &document["total"]), (&json!("returned"), &gbp("-27.50")));
    assert_eq!((&document["items"][0]["quantity"], &document["payment"]["captured"]), (&json!(-1), &gbp("0.00")));
    assert_eq!(timeline(&json!({"document": document})), [("returned", None)]);
}
