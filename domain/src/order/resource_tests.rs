use event_schemas::{
    Money,
    events::order::{CancellationCause, Event, OrderCancelled, OrderCapturedLate, OrderConfirmed, OrderPlaced},
    ids::OrderId,
    resource::{Cancellation, Order as Seen, OrderStatus, PaymentStatus, RefundStatus},
};

use super::{
    Order, State,
    tests::{delivered, imported, refund_failed, refund_requested, refunded, return_imported, returned, shipped, submission},
};
use crate::harness::{after, gbp, id, sku, t};

fn placed() -> Event {
    OrderPlaced { payment_deadline: t(900) }.into()
}

fn confirmed() -> Event {
    OrderConfirmed { captured: gbp("10.00") }.into()
}

fn cancelled(cause: CancellationCause, note: Option<&str>) -> Event {
    OrderCancelled { cause, note: note.map(str::to_owned), was_confirmed: false }.into()
}

fn declined() -> Event {
    cancelled(CancellationCause::PaymentDeclined { decline_code: Some("no_funds".to_owned()) }, None)
}

/// What clients see after a submission at second 0 and events at seconds 1, 2, 3, …
fn seen(events: impl IntoIterator<Item = Event>) -> Seen {
    let all = [submission().into()].into_iter().chain(events);
    after::<Order>((0..).zip(all)).resource(OrderId(id(5)), 7).unwrap()
}

fn timeline(order: &Seen) -> Vec<(OrderStatus, i64, Option<&str>)> {
    order.timeline.iter().map(|entry| (entry.status, entry.at.since(t(0)).num_seconds(), entry.reason.as_deref())).collect()
}

fn payment(order: &Seen) -> (PaymentStatus, Money, Money, Option<&str>) {
    (order.payment.status, order.payment.captured, order.payment.refunded, order.payment.decline_code.as_deref())
}

#[test]
fn before_anything_happened_there_is_nothing_to_see() {
    assert_eq!(State::default().resource(OrderId(id(5)), 0), None);
}

#[test]
fn an_order_shows_what_was_bought() {
    let order = seen([placed()]);
    assert_eq!((order.id, order.version, order.status), (OrderId(id(5)), 7, OrderStatus::Placed));
    assert_eq!((order.email.as_deref(), order.invoice, order.placed_at), (Some("ann@shop.example"), None, t(1)));
    let item = &order.items[0];
    assert_eq!((item.sku.as_str(), item.quantity, item.unit_price.amount.to_string()), ("A", 3, "2.5".to_owned()));
    assert_eq!(order.total, gbp("10.00").into());
    assert_eq!(seen([]).placed_at, t(0));
}

#[test]
fn the_timeline_has_every_status_once_it_changes() {
    let order = seen([
        placed(),
        confirmed(),
        shipped(1, &[("A", 1)]),
        shipped(2, &[("A", 1)]),
        delivered(1),
        shipped(3, &[("A", 1), ("B", 1)]),
        delivered(2),
        delivered(3),
        refund_requested(1, "1.00"),
        returned(1, &[("A", 3), ("B", 1)]),
    ]);
    let expected = [
        (OrderStatus::Submitted, 0, None),
        (OrderStatus::Placed, 1, None),
        (OrderStatus::Confirmed, 2, None),
        (OrderStatus::PartlyShipped, 3, None),
        (OrderStatus::Shipped, 6, None),
        (OrderStatus::Delivered, 8, None),
        (OrderStatus::Returned, 10, Some("too small")),
    ];
    assert_eq!(timeline(&order), expected);
    assert_eq!((order.updated_at, order.shipments.len(), order.returns.len()), (t(10), 3, 1));
    assert_eq!(order.shipments.iter().map(|shipment| shipment.delivered_at).collect::<Vec<_>>(), [Some(t(5)), Some(t(7)), Some(t(8))]);
}

#[test]
fn the_timeline_says_why_an_order_was_cancelled() {
    let reason = |event| timeline(&seen([placed(), event])).last().unwrap().2.unwrap().to_owned();
    let lost = |note| cancelled(CancellationCause::StockLost { skus: vec![sku("A"), sku("B")] }, note);
    assert_eq!(reason(cancelled(CancellationCause::Requested, None)), "requested");
    assert_eq!(reason(cancelled(CancellationCause::Requested, Some("too dear"))), "requested: too dear");
    assert_eq!(reason(declined()), "payment_declined");
    assert_eq!(reason(cancelled(CancellationCause::PaymentExpired, None)), "payment_expired");
    assert_eq!(reason(lost(None)), "stock_lost: A, B");
    assert_eq!(reason(lost(Some("sorry"))), "stock_lost: sorry");
    assert_eq!(reason(cancelled(CancellationCause::StockLost { skus: vec![] }, None)), "stock_lost");
}

#[test]
fn a_cancelled_order_says_its_cause() {
    assert_eq!(seen([placed(), confirmed()]).cancellation, None);
    let (cause, note) = (CancellationCause::Requested, Some("too dear".to_owned()));
    assert_eq!(seen([placed(), cancelled(cause.clone(), note.as_deref())]).cancellation, Some(Cancellation { cause, note }));
}

#[test]
fn the_payment_follows_the_order() {
    let (zero, ten) = (gbp("0.00"), gbp("10.00"));
    let late = || OrderCapturedLate { captured: ten }.into();
    let expired = || cancelled(CancellationCause::PaymentExpired, None);
    assert_eq!(payment(&seen([placed()])), (PaymentStatus::Pending, zero, zero, None));
    assert_eq!(payment(&seen([placed(), declined()])), (PaymentStatus::Declined, zero, zero, Some("no_funds")));
    assert_eq!(payment(&seen([placed(), expired()])), (PaymentStatus::Cancelled, zero, zero, None));
    assert_eq!(payment(&seen([placed(), confirmed()])), (PaymentStatus::Captured, ten, zero, None));
    assert_eq!(payment(&seen([placed(), expired(), late()])), (PaymentStatus::Captured, ten, zero, None));
    assert_eq!(payment(&seen([placed(), expired(), late(), refunded(9, "10.00")])), (PaymentStatus::Refunded, ten, ten, None));
}

#[test]
fn money_counts_as_refunded_once_it_went_back() {
    let asked = seen([placed(), confirmed(), refund_requested(1, "4.00")]);
    assert_eq!(payment(&asked), (PaymentStatus::Captured, gbp("10.00"), gbp("0.00"), None));
    assert_eq!((asked.refunds[0].status, asked.refunds[0].at), (RefundStatus::Pending, t(3)));
    let back = seen([placed(), confirmed(), refund_requested(1, "4.00"), refunded(1, "4.00")]);
    assert_eq!(payment(&back), (PaymentStatus::PartlyRefunded, gbp("10.00"), gbp("4.00"), None));
    assert_eq!((back.refunds.len(), back.refunds[0].status), (1, RefundStatus::Succeeded));
}

#[test]
fn a_refund_that_failed_says_why_and_the_money_is_still_ours() {
    let failed = seen([placed(), confirmed(), refund_requested(1, "4.00"), refund_failed(1, "4.00")]);
    assert_eq!(payment(&failed), (PaymentStatus::Captured, gbp("10.00"), gbp("0.00"), None));
    let shown: Vec<_> = failed.refunds.iter().map(|refund| (refund.status, refund.failure.as_deref(), refund.at)).collect();
    assert_eq!(shown, [(RefundStatus::Failed, Some("account_closed"), t(3))]);
}

#[test]
fn an_imported_invoice_shows_what_was_charged_to_the_last_decimal() {
    let order = after::<Order>([(3, imported().into())]).resource(OrderId(id(5)), 1).unwrap();
    assert_eq!((order.status, order.invoice.as_deref(), order.email.as_deref()), (OrderStatus::Delivered, Some("536365"), None));
    assert_eq!((order.total.amount.to_string(), order.items[0].line_total.amount.to_string()), ("15.301".to_owned(), "15.30".to_owned()));
    assert_eq!(payment(&order), (PaymentStatus::Captured, gbp("15.301"), gbp("0.00"), None));
    assert_eq!((order.placed_at, order.updated_at), (t(-500), t(3)));
    assert_eq!(timeline(&order), [(OrderStatus::Delivered, -500, None)]);
}

#[test]
fn an_imported_return_is_below_zero_and_captured_nothing() {
    let order = after::<Order>([(3, return_imported().into())]).resource(OrderId(id(5)), 1).unwrap();
    assert_eq!((order.status, order.invoice.as_deref()), (OrderStatus::Returned, Some("C536379")));
    assert_eq!((order.items[0].quantity, order.total.amount.to_string()), (-1, "-2.55".to_owned()));
    assert_eq!(order.payment.captured, gbp("0.00"));
}
