//! That the campaign's own checks find what they look for.

use serde_json::{Value, json};

use super::{book::Acknowledged, ledger::Ledger, rebuild::differences, verdict::unbalanced};

/// A log of these events, one after the other, versions by themselves.
fn log(events: &[(&str, &str, Value)]) -> Ledger {
    let (mut ledger, mut versions) = (Ledger::default(), std::collections::HashMap::<&str, i64>::new());
    for ((stream, event_type, data), position) in events.iter().zip(1..) {
        let version = versions.entry(*stream).or_default();
        *version += 1;
        ledger.add((position, (*stream).to_owned(), *version, (*event_type).to_owned(), data.clone()));
    }
    ledger
}

fn received(units: i64, mark: &str) -> (&'static str, &'static str, Value) {
    ("stock-A", "StockReceived", json!({"quantity": units, "reference": mark}))
}

fn of_stock(event_type: &'static str, order: &str, units: i64) -> (&'static str, &'static str, Value) {
    ("stock-A", event_type, json!({"order": order, "quantity": units, "customer": format!("customer of {order}"), "sale": null}))
}

fn in_sale(event_type: &'static str, order: &str, customer: &str, units: i64) -> (&'static str, &'static str, Value) {
    ("stock-A", event_type, json!({"order": order, "quantity": units, "customer": customer, "sale": "S"}))
}

fn allotted(units: i64) -> (&'static str, &'static str, Value) {
    let sale = json!({"sale": "S", "quantity": units, "ends_at": "2020-01-01T00:00:00Z", "limit_per_customer": 2});
    ("stock-A", "StockAllotted", sale)
}

/// An order of two units of A at 5.00 in all, up to its confirmation.
fn bought() -> Vec<(&'static str, &'static str, Value)> {
    let submitted = json!({"lines": [{"sku": "A", "quantity": 2}], "totals": {"total": {"amount": "5.00"}}, "metadata": {"write": "w1"}});
    vec![
        received(10, "w0"),
        ("order-1", "OrderSubmitted", submitted),
        of_stock("StockReserved", "1", 2),
        ("order-1", "OrderPlaced", json!({})),
        ("payment-1", "PaymentRequested", json!({"idempotency_key": "K"})),
        ("payment-1", "PaymentCaptured", json!({"amount": {"amount": "5.00"}})),
        ("order-1", "OrderConfirmed", json!({})),
        of_stock("StockCommitted", "1", 2),
    ]
}

fn acknowledged(stream: &str, version: i64, position: i64, mark: &str) -> Acknowledged {
    Acknowledged { stream: stream.to_owned(), version, position, mark: Some(mark.to_owned()) }
}

#[test]
fn a_shop_in_order_is_found_to_be() {
    let ledger = log(&bought());
    let none: [String; 0] = [];
    assert_eq!(ledger.wrong, none);
    assert_eq!(ledger.open(), none);
    assert_eq!(ledger.miscounted(), none);
    assert_eq!(ledger.lost(&[acknowledged("stock-A", 1, 1, "w0"), acknowledged("order-1", 2, 5, "w1")]), none);
    assert_eq!(unbalanced(vec![("K".to_owned(), "5.00".parse().unwrap())], Vec::new(), &ledger), none);
}

#[test]
fn what_was_acknowledged_and_is_not_there_is_found() {
    let ledger = log(&bought());
    let cases = [
        (acknowledged("stock-B", 1, 1, "w0"), "lacks that version"),
        (acknowledged("stock-A", 4, 8, "w0"), "lacks that version"),
        (acknowledged("stock-A", 3, 7, "w0"), "elsewhere"),
        (acknowledged("stock-A", 1, 9, "w0"), "elsewhere"),
        (acknowledged("stock-A", 1, 1, "w9"), "lacks its event"),
        (acknowledged("order-1", 2, 5, "w0"), "lacks its event"),
    ];
    for (write, said) in cases {
        let lost = ledger.lost(std::slice::from_ref(&write));
        assert!(lost.len() == 1 && lost[0].contains(said), "{write:?}: {lost:?}");
    }
    let mut twice = bought();
    twice.push(received(10, "w0"));
    assert!(log(&twice).lost(&[acknowledged("stock-A", 1, 1, "w0")])[0].contains("more than once"));
}

#[test]
fn a_second_order_of_one_write_is_found_unless_it_came_to_nothing() {
    let mut events = bought();
    let (_, submitted, data) = events[1].clone();
    events.push(("order-2", submitted, data));
    let write = [acknowledged("order-1", 2, 5, "w1")];
    assert!(log(&events).lost(&write).is_empty());
    events.push(("order-2", "OrderPlaced", json!({})));
    assert!(log(&events).lost(&write)[0].contains("more than once"));
}

#[test]
fn a_gap_and_a_version_that_is_left_out_are_found() {
    let mut ledger = Ledger::default();
    for (position, version) in [(1, 1), (3, 2), (4, 4)] {
        ledger.add((position, "cart-1".to_owned(), version, "CartItemSet".to_owned(), json!({})));
    }
    assert_eq!(ledger.wrong.len(), 2, "{:?}", ledger.wrong);
}

#[test]
fn oversold_units_are_found() {
    let cases = [
        vec![received(1, "a"), of_stock("StockReserved", "1", 2)],
        vec![received(1, "a"), of_stock("StockReserved", "1", 1), of_stock("StockReserved", "2", 1)],
        vec![received(5, "a"), of_stock("StockReserved", "1", 1), of_stock("StockCommitted", "1", 1), of_stock("StockCommitted", "1", 1)],
        vec![received(5, "a"), of_stock("StockReserved", "1", 1), of_stock("StockReleased", "1", 1), of_stock("StockExpired", "1", 1)],
        vec![received(5, "a"), of_stock("StockReturned", "1", 1)],
        vec![received(5, "a"), allotted(4), of_stock("StockReserved", "1", 2)],
        vec![received(9, "a"), allotted(2), in_sale("StockReserved", "1", "x", 2), in_sale("StockReserved", "2", "y", 1)],
        vec![received(9, "a"), allotted(4), in_sale("StockReserved", "1", "x", 2), in_sale("StockReserved", "2", "x", 1)],
    ];
    for events in cases {
        let ledger = log(&events);
        let last = format!("position {}", events.len());
        assert!(ledger.wrong.len() == 1 && ledger.wrong[0].starts_with(&last), "{events:?}: {:?}", ledger.wrong);
    }
}

#[test]
fn what_comes_to_no_end_is_found() {
    for (length, open) in [(2, 1), (3, 2), (4, 2), (5, 3), (6, 2), (7, 1), (8, 0)] {
        let found = log(&bought()[..length]).open();
        assert_eq!(found.len(), open, "{length}: {found:?}");
    }
    assert!(log(&[received(9, "a"), allotted(4)]).open()[0].contains("no end"));
    let mut refunding = bought();
    refunding.push(("payment-1", "PaymentRefundRequested", json!({"amount": {"amount": "5.00"}})));
    assert_eq!(log(&refunding).open().len(), 1);
}

#[test]
fn units_that_left_for_nobody_and_orders_that_got_none_are_found() {
    let mut events = bought();
    events.push(("order-1", "OrderCancelled", json!({})));
    assert_eq!(log(&events).miscounted().len(), 1);
    events.push(of_stock("StockReturned", "1", 2));
    assert!(log(&events).miscounted().is_empty());
    assert_eq!(log(&bought()[..7]).miscounted().len(), 1);
}

#[test]
fn what_happens_twice_or_after_the_end_is_found() {
    let again = [3, 5, 6].map(|index| bought()[index].clone());
    for event in again.into_iter().chain([("order-1", "OrderRejected", json!({}))]) {
        let mut events = bought();
        events.push(event);
        assert_eq!(log(&events).wrong.len(), 1, "{:?}", events.last());
    }
}

#[test]
fn a_paid_order_that_is_not_kept_is_found() {
    let lost = json!({"cause": {"kind": "stock_lost", "skus": ["A"]}});
    let mut events = bought()[..7].to_vec();
    events[0] = received(5_000, "w0");
    events.extend([of_stock("StockExpired", "1", 2), ("order-1", "OrderCancelled", lost)]);
    assert!(log(&events).wrong[0].contains("plenty"), "{:?}", log(&events).wrong);
    let sold = ("stock-A", "StockAdjusted", json!({"quantity": -4_999}));
    events.insert(8, sold);
    assert!(log(&events).wrong.is_empty(), "{:?}", log(&events).wrong);
    let mut expired = bought()[..6].to_vec();
    expired.push(("order-1", "OrderCancelled", json!({"cause": {"kind": "payment_expired"}})));
    assert!(log(&expired).wrong[0].contains("it was paid"), "{:?}", log(&expired).wrong);
    let given_up = expired.iter().position(|(_, event_type, _)| *event_type == "PaymentCaptured").expect("a capture");
    expired.insert(given_up, ("payment-1", "PaymentCancelled", json!({"reason": "deadline_passed"})));
    assert!(log(&expired).wrong.is_empty(), "it was paid too late: {:?}", log(&expired).wrong);
}

#[test]
fn money_that_does_not_add_up_is_found() {
    let sums = |rows: &[(&str, &str)]| rows.iter().map(|(key, amount)| ((*key).to_owned(), amount.parse().unwrap())).collect::<Vec<_>>();
    let cases = [
        (sums(&[]), sums(&[])),
        (sums(&[("K", "4.99")]), sums(&[])),
        (sums(&[("K", "5.00")]), sums(&[("K", "5.00")])),
        (sums(&[("K", "5.00"), ("L", "1.00")]), sums(&[])),
        (sums(&[("K", "5.00")]), sums(&[("L", "1.00")])),
    ];
    for (charges, refunds) in cases {
        let wrong = unbalanced(charges.clone(), refunds, &log(&bought()));
        assert_eq!(wrong.len(), 1, "{charges:?}: {wrong:?}");
    }
    let mut cancelled = bought();
    cancelled.push(("order-1", "OrderCancelled", json!({})));
    assert_eq!(unbalanced(sums(&[("K", "5.00")]), sums(&[]), &log(&cancelled)).len(), 1, "the money was kept");
}

#[test]
fn rows_that_differ_are_found() {
    let rows = |rows: &[&str]| rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>();
    let grown = rows(&["(a,1)", "(b,2)"]);
    assert!(differences("t", &grown, &grown).is_empty());
    assert_eq!(differences("t", &grown, &rows(&["(a,1)", "(b,3)"])).len(), 2);
    assert_eq!(differences("t", &grown, &rows(&["(a,1)"])).len(), 1);
    assert_eq!(differences("t", &rows(&["(a,1)", "(a,1)"]), &rows(&["(a,1)"])).len(), 1);
}
