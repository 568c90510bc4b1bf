use std::collections::BTreeMap;

use event_schemas::{
    Event as LogEvent, Money,
    events::order::{
        Address, CancellationCause, Event, ImportedLine, ImportedLineKind, Line, OrderCancelled, OrderCapturedLate, OrderConfirmed,
        OrderDelivered, OrderImported, OrderPlaced, OrderRefundRequested, OrderRefunded, OrderRejected, OrderReturnImported, OrderReturned,
        OrderShipped, OrderSubmitted, PaymentMeans, RejectionReason, Totals,
    },
    ids::{CartId, RefundId, ReturnId, ShipmentId},
    resource::OrderStatus,
};

use super::{Command, Excess, Order, Refusal};
use crate::harness::{Given, after, eur, gbp, given, id, item, sku, t};

fn line(code: &str, quantity: u32, line_total: &str) -> Line {
    let (unit_price, line_total) = (gbp("2.5"), gbp(line_total));
    Line { sku: sku(code), title: format!("The {code}"), category: None, quantity, unit_price, line_total, sale: None }
}

/// Three of A and one of B, for ten pounds.
pub(crate) fn submission() -> OrderSubmitted {
    let zero = gbp("0.00");
    let (name, line1, city, country) = ("Ann".to_owned(), "1 High St".to_owned(), "Leeds".to_owned(), "GB".to_owned());
    OrderSubmitted {
        cart: CartId(id(1)),
        email: "ann@shop.example".to_owned(),
        customer: "ann@shop.example".to_owned(),
        shipping_address: Address { name, line1, line2: None, city, region: None, postal_code: None, country },
        lines: vec![line("A", 3, "7.50"), line("B", 1, "2.50")],
        totals: Totals { subtotal: gbp("10.00"), discount: zero, shipping: zero, tax: zero, total: gbp("10.00") },
        payment: PaymentMeans { method: "simulated".to_owned(), token: "tok_ok".to_owned() },
        metadata: BTreeMap::new(),
    }
}

pub(crate) fn shipment(n: u128) -> ShipmentId {
    ShipmentId(id(n))
}

fn submitted() -> Event {
    submission().into()
}

fn placed() -> Event {
    OrderPlaced { payment_deadline: t(900) }.into()
}

fn rejected(reason: RejectionReason, skus: &[&str]) -> Event {
    OrderRejected { reason, skus: skus.iter().map(|code| sku(code)).collect() }.into()
}

fn confirmed() -> Event {
    OrderConfirmed { captured: gbp("10.00") }.into()
}

fn captured_late() -> Event {
    OrderCapturedLate { captured: gbp("10.00") }.into()
}

fn cancelled(cause: CancellationCause, note: Option<&str>, was_confirmed: bool) -> Event {
    OrderCancelled { cause, note: note.map(str::to_owned), was_confirmed }.into()
}

fn declined() -> CancellationCause {
    CancellationCause::PaymentDeclined { decline_code: Some("no_funds".to_owned()) }
}

fn requested() -> Event {
    cancelled(CancellationCause::Requested, None, false)
}

pub(crate) fn shipped(n: u128, items: &[(&str, u32)]) -> Event {
    let items = items.iter().map(|(code, quantity)| item(code, *quantity)).collect();
    OrderShipped { shipment: shipment(n), items, carrier: Some("Post".to_owned()), tracking_number: Some("T1".to_owned()) }.into()
}

pub(crate) fn delivered(n: u128) -> Event {
    OrderDelivered { shipment: shipment(n) }.into()
}

pub(crate) fn returned(n: u128, items: &[(&str, u32)]) -> Event {
    let items = items.iter().map(|(code, quantity)| item(code, *quantity)).collect();
    OrderReturned { return_id: ReturnId(id(n)), items, reason: "too small".to_owned(), restock: true }.into()
}

pub(crate) fn refund_requested(n: u128, amount: &str) -> Event {
    OrderRefundRequested { refund: RefundId(id(n)), amount: gbp(amount), reason: "broken".to_owned(), metadata: BTreeMap::new() }.into()
}

pub(crate) fn refunded(n: u128, amount: &str) -> Event {
    OrderRefunded { refund: RefundId(id(n)), amount: gbp(amount), reason: "broken".to_owned() }.into()
}

fn imported_line(code: &str, quantity: i64, unit_price: &str, line_total: &str) -> ImportedLine {
    let (unit_price, line_total) = (unit_price.parse().unwrap(), line_total.parse().unwrap());
    ImportedLine {
        code: code.to_owned(),
        kind: ImportedLineKind::Item,
        description: "A thing".to_owned(),
        quantity,
        unit_price,
        line_total,
    }
}

pub(crate) fn imported() -> OrderImported {
    OrderImported {
        source: "online-retail".to_owned(),
        invoice: "536365".to_owned(),
        placed_at: t(-500),
        customer: None,
        country: "United Kingdom".to_owned(),
        currency: gbp("0").currency,
        lines: vec![imported_line("85123A", 6, "2.55", "15.30"), imported_line("DOT", 1, "0.001", "0.001")],
        total: "15.301".parse().unwrap(),
    }
}

pub(crate) fn return_imported() -> OrderReturnImported {
    OrderReturnImported {
        source: "online-retail".to_owned(),
        invoice: "C536379".to_owned(),
        returned_at: t(-400),
        customer: None,
        country: "United Kingdom".to_owned(),
        currency: gbp("0").currency,
        lines: vec![imported_line("85123A", -1, "2.55", "-2.55")],
        total: "-2.55".parse().unwrap(),
    }
}

/// One event of each type, those that begin a stream first.
pub(crate) fn events() -> Vec<Event> {
    vec![
        submitted(),
        imported().into(),
        return_imported().into(),
        placed(),
        rejected(RejectionReason::OutOfStock, &["A"]),
        confirmed(),
        requested(),
        captured_late(),
        shipped(1, &[("A", 3), ("B", 1)]),
        shipped(1, &[("C", u32::MAX)]),
        delivered(1),
        returned(1, &[("A", 3), ("B", 1)]),
        refund_requested(1, "4.00"),
        refunded(1, "4.00"),
        refunded(2, "1.00"),
        OrderRefunded { refund: RefundId(id(3)), amount: eur("1"), reason: String::new() }.into(),
    ]
}

/// An order that was placed, and what came after.
fn given_placed(events: impl IntoIterator<Item = Event>) -> Given<Order> {
    given::<Order>([submitted(), placed()].into_iter().chain(events))
}

/// An order that was paid, and what came after.
fn given_confirmed(events: impl IntoIterator<Item = Event>) -> Given<Order> {
    given_placed([confirmed()].into_iter().chain(events))
}

fn ship(n: u128, items: Option<&[(&str, u32)]>) -> Command {
    let items = items.map(|items| items.iter().map(|(code, quantity)| item(code, *quantity)).collect());
    Command::Ship { shipment: shipment(n), items, carrier: Some("Post".to_owned()), tracking_number: Some("T1".to_owned()) }
}

fn take_back(n: u128, items: &[(&str, u32)]) -> Command {
    let items = items.iter().map(|(code, quantity)| item(code, *quantity)).collect();
    Command::Return { return_id: ReturnId(id(n)), items, reason: "too small".to_owned(), restock: true }
}

fn request_refund(n: u128, amount: Money) -> Command {
    Command::RequestRefund { refund: RefundId(id(n)), amount, reason: "broken".to_owned(), metadata: BTreeMap::new() }
}

fn record_refund(n: u128, amount: &str) -> Command {
    Command::RecordRefund { refund: RefundId(id(n)), amount: gbp(amount), reason: "broken".to_owned() }
}

fn too_many(items: &[(&str, u64, u64)]) -> Refusal {
    let excess = |(code, requested, left): &(&str, u64, u64)| Excess { sku: sku(code), requested: *requested, left: *left };
    Refusal::TooManyUnits { items: items.iter().map(excess).collect() }
}

fn cancel(note: Option<&str>) -> Command {
    Command::Cancel { note: note.map(str::to_owned) }
}

fn capture() -> Command {
    Command::RecordCapture { amount: gbp("10.00") }
}

#[test]
fn an_order_is_submitted_once() {
    given::<Order>([]).when(Command::Submit(Box::new(submission()))).then([submitted()]);
    given_placed([]).when(Command::Submit(Box::new(submission()))).then_nothing();
}

#[test]
fn an_order_that_is_not_there_can_t_be_changed() {
    for command in [Command::Abandon, capture(), cancel(None), ship(1, None), request_refund(1, gbp("1"))] {
        given::<Order>([]).when(command).then_refused(Refusal::Unknown);
    }
}

#[test]
fn a_submitted_order_is_placed_or_rejected() {
    let place = || Command::Place { payment_deadline: t(900) };
    let reject = || Command::Reject { reason: RejectionReason::OutOfStock, skus: vec![sku("A")] };
    let out_of_stock = || rejected(RejectionReason::OutOfStock, &["A"]);
    given::<Order>([submitted()]).when(place()).then([placed()]);
    given::<Order>([submitted()]).when(reject()).then([out_of_stock()]);
    given_placed([]).when(place()).then_nothing();
    given_placed([]).when(reject()).then_nothing();
    given::<Order>([submitted(), out_of_stock()]).when(place()).then_refused(Refusal::Rejected);
    given::<Order>([submitted(), out_of_stock()]).when(reject()).then_nothing();
}

#[test]
fn an_order_that_nobody_came_back_for_is_abandoned() {
    given::<Order>([submitted()]).when(Command::Abandon).then([rejected(RejectionReason::Abandoned, &[])]);
    given_placed([]).when(Command::Abandon).then_nothing();
}

#[test]
fn a_capture_confirms_a_placed_order_once() {
    given_placed([]).when(capture()).then([confirmed()]);
    given_confirmed([]).when(capture()).then_nothing();
    given::<Order>([submitted()]).when(capture()).then_refused(Refusal::NotPlaced);
    given::<Order>([submitted(), rejected(RejectionReason::Abandoned, &[])]).when(capture()).then_refused(Refusal::Rejected);
}

#[test]
fn a_capture_after_cancellation_is_noted_once() {
    given_placed([requested()]).when(capture()).then([captured_late()]);
    given_placed([requested(), captured_late()]).when(capture()).then_nothing();
    let after_capture = cancelled(CancellationCause::Requested, None, true);
    given_confirmed([after_capture]).when(capture()).then_nothing();
}

#[test]
fn an_unpaid_order_is_cancelled() {
    let decline = || Command::RecordDecline { decline_code: "no_funds".to_owned() };
    given_placed([]).when(decline()).then([cancelled(declined(), None, false)]);
    given_placed([]).when(Command::RecordPaymentExpiry).then([cancelled(CancellationCause::PaymentExpired, None, false)]);
    for command in [decline(), Command::RecordPaymentExpiry] {
        given_confirmed([]).when(command.clone()).then_nothing();
        given_placed([requested()]).when(command).then_nothing();
    }
}

#[test]
fn an_order_whose_stock_is_lost_is_cancelled_until_something_has_shipped() {
    let lost = || Command::RecordStockLost { skus: vec![sku("A"), sku("B")] };
    let cause = CancellationCause::StockLost { skus: vec![sku("A"), sku("B")] };
    given_confirmed([]).when(lost()).then([cancelled(cause, None, true)]);
    given_confirmed([shipped(1, &[("A", 1)])]).when(lost()).then_nothing();
    given_placed([]).when(lost()).then_nothing();
    given_placed([requested()]).when(lost()).then_nothing();
}

#[test]
fn an_order_is_cancelled_on_request_until_something_has_shipped() {
    let by_request = |note, was_confirmed| cancelled(CancellationCause::Requested, note, was_confirmed);
    given_placed([]).when(cancel(Some("too dear"))).then([by_request(Some("too dear"), false)]);
    given_confirmed([]).when(cancel(None)).then([by_request(None, true)]);
    given_placed([requested()]).when(cancel(None)).then_nothing();
    given::<Order>([submitted()]).when(cancel(None)).then_refused(Refusal::NotPlaced);
    given::<Order>([submitted(), rejected(RejectionReason::Abandoned, &[])]).when(cancel(None)).then_refused(Refusal::Rejected);
    given_confirmed([shipped(1, &[("A", 1)])]).when(cancel(None)).then_refused(Refusal::Shipped { status: OrderStatus::PartlyShipped });
    let all_back = [shipped(1, &[("A", 3), ("B", 1)]), returned(1, &[("A", 3), ("B", 1)])];
    given_confirmed(all_back).when(cancel(None)).then_refused(Refusal::Shipped { status: OrderStatus::Returned });
}

#[test]
fn a_paid_order_is_shipped_whole_or_in_parts() {
    given_confirmed([]).when(ship(1, None)).then([shipped(1, &[("A", 3), ("B", 1)])]);
    given_confirmed([]).when(ship(1, Some(&[("A", 2)]))).then([shipped(1, &[("A", 2)])]);
    given_confirmed([shipped(1, &[("A", 2), ("B", 1)])]).when(ship(2, None)).then([shipped(2, &[("A", 1)])]);
    given_confirmed([]).when(ship(1, Some(&[("A", 1), ("B", 1), ("A", 1)]))).then([shipped(1, &[("A", 2), ("B", 1)])]);
    given_confirmed([shipped(1, &[("A", 2)])]).when(ship(1, Some(&[("A", 2)]))).then_nothing();
}

#[test]
fn no_more_is_shipped_than_is_left() {
    given_confirmed([shipped(1, &[("A", 2)])])
        .when(ship(2, Some(&[("A", 2), ("B", 1), ("C", 1)])))
        .then_refused(too_many(&[("A", 2, 1), ("C", 1, 0)]));
    given_confirmed([]).when(ship(1, Some(&[("A", 2), ("A", 2)]))).then_refused(too_many(&[("A", 4, 3)]));
    let all = shipped(1, &[("A", 3), ("B", 1)]);
    let nothing_left = too_many(&[("A", 3, 0), ("B", 1, 0)]);
    given_confirmed([all.clone()]).when(ship(2, None)).then_refused(nothing_left.clone());
    given_confirmed([all, delivered(1)]).when(ship(2, None)).then_refused(nothing_left);
}

#[test]
fn only_a_paid_order_is_shipped() {
    let refused = |status| Refusal::NotConfirmed { status };
    given::<Order>([submitted()]).when(ship(1, None)).then_refused(refused(OrderStatus::Submitted));
    given_placed([]).when(ship(1, None)).then_refused(refused(OrderStatus::Placed));
    given_placed([requested()]).when(ship(1, None)).then_refused(refused(OrderStatus::Cancelled));
    given::<Order>([submitted(), rejected(RejectionReason::Abandoned, &[])])
        .when(ship(1, None))
        .then_refused(refused(OrderStatus::Rejected));
}

#[test]
fn a_shipment_is_delivered_once() {
    let deliver = |n| Command::Deliver { shipment: shipment(n) };
    given_confirmed([shipped(1, &[("A", 1)])]).when(deliver(1)).then([delivered(1)]);
    given_confirmed([shipped(1, &[("A", 1)]), delivered(1)]).when(deliver(1)).then_nothing();
    given_confirmed([]).when(deliver(1)).then_refused(Refusal::UnknownShipment { shipment: shipment(1) });
}

#[test]
fn no_more_comes_back_than_has_left() {
    let part = || shipped(1, &[("A", 2)]);
    given_confirmed([part()]).when(take_back(1, &[("A", 2)])).then([returned(1, &[("A", 2)])]);
    given_confirmed([part()]).when(take_back(1, &[("A", 3), ("B", 1)])).then_refused(too_many(&[("A", 3, 2), ("B", 1, 0)]));
    given_confirmed([part(), returned(1, &[("A", 1)])]).when(take_back(2, &[("A", 2)])).then_refused(too_many(&[("A", 2, 1)]));
    given_confirmed([part(), returned(1, &[("A", 1)])]).when(take_back(1, &[("A", 1)])).then_nothing();
    given_confirmed([]).when(take_back(1, &[("A", 1)])).then_refused(too_many(&[("A", 1, 0)]));
    given_placed([]).when(take_back(1, &[("A", 1)])).then_refused(too_many(&[("A", 1, 0)]));
}

#[test]
fn the_status_follows_the_units() {
    let status = |events: Vec<Event>| {
        let before = [submitted(), placed(), confirmed()];
        after::<Order>(before.into_iter().chain(events).map(|event| (0, event))).status().unwrap()
    };
    let (part, rest, all) = (shipped(1, &[("A", 3)]), shipped(2, &[("B", 1)]), shipped(1, &[("A", 3), ("B", 1)]));
    assert_eq!(status(vec![]), OrderStatus::Confirmed);
    assert_eq!(status(vec![part.clone()]), OrderStatus::PartlyShipped);
    assert_eq!(status(vec![part.clone(), delivered(1)]), OrderStatus::PartlyShipped);
    assert_eq!(status(vec![part.clone(), delivered(1), rest.clone()]), OrderStatus::Shipped);
    assert_eq!(status(vec![part.clone(), delivered(1), rest, delivered(2)]), OrderStatus::Delivered);
    assert_eq!(status(vec![part, returned(1, &[("A", 3)])]), OrderStatus::PartlyShipped);
    assert_eq!(status(vec![all.clone(), delivered(1), returned(1, &[("A", 3)])]), OrderStatus::Delivered);
    assert_eq!(status(vec![all, returned(1, &[("A", 3)]), returned(2, &[("B", 1)])]), OrderStatus::Returned);
}

#[test]
fn a_refund_is_asked_for_once_and_within_what_was_captured() {
    let refused = |captured, refunded| Refusal::MoreThanCaptured { captured: gbp(captured), refunded: gbp(refunded) };
    given_confirmed([]).when(request_refund(1, gbp("4"))).then([refund_requested(1, "4.00")]);
    given_confirmed([refund_requested(1, "4.00")]).when(request_refund(1, gbp("4"))).then_nothing();
    given_confirmed([]).when(request_refund(1, gbp("10.01"))).then_refused(refused("10.00", "0.00"));
    given_confirmed([refund_requested(1, "4.00")]).when(request_refund(2, gbp("6.01"))).then_refused(refused("10.00", "4.00"));
    given_confirmed([refunded(1, "4.00")]).when(request_refund(2, gbp("6.01"))).then_refused(refused("10.00", "4.00"));
    given_placed([]).when(request_refund(1, gbp("1"))).then_refused(refused("0.00", "0.00"));
    given_placed([requested(), captured_late()]).when(request_refund(1, gbp("10"))).then([refund_requested(1, "10.00")]);
}

#[test]
fn a_refund_is_in_the_order_s_currency_and_whole_minor_units() {
    let mismatch = Refusal::CurrencyMismatch { expected: gbp("1").currency, found: eur("1").currency };
    given_confirmed([]).when(request_refund(1, eur("1"))).then_refused(mismatch);
    for amount in [gbp("0"), gbp("-1"), gbp("0.001")] {
        given_confirmed([]).when(request_refund(1, amount)).then_refused(Refusal::InvalidAmount { amount });
    }
}

#[test]
fn money_that_went_back_is_noted_once_whoever_asked_for_it() {
    given_confirmed([refund_requested(1, "4.00")]).when(record_refund(1, "4.00")).then([refunded(1, "4.00")]);
    given_confirmed([refund_requested(1, "4.00"), refunded(1, "4.00")]).when(record_refund(1, "4.00")).then_nothing();
    given_placed([requested(), captured_late()]).when(record_refund(9, "10.00")).then([refunded(9, "10.00")]);
}

#[test]
fn history_is_imported_once_and_left_alone() {
    given::<Order>([]).when(Command::Import(Box::new(imported()))).then([imported().into()]);
    given::<Order>([]).when(Command::ImportReturn(Box::new(return_imported()))).then([return_imported().into()]);
    for event in [Event::from(imported()), return_imported().into()] {
        given::<Order>([event.clone()]).when(Command::Import(Box::new(imported()))).then_nothing();
        given::<Order>([event.clone()]).when(Command::ImportReturn(Box::new(return_imported()))).then_nothing();
        for command in [cancel(None), ship(1, None), take_back(1, &[("A", 1)]), request_refund(1, gbp("1")), capture()] {
            given::<Order>([event.clone()]).when(command).then_refused(Refusal::Imported);
        }
    }
}

#[test]
fn an_order_has_the_events_of_its_own_category() {
    assert!(events().into_iter().all(|event| LogEvent::from(event).category() == "order"));
}
