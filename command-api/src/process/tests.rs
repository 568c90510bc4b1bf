//! What process managers want done: `given([…]).when(event).then([…])`.

use std::collections::BTreeMap;

use chrono::Duration;
use domain::{Aggregate, flash_sale as sale, order, payment as pay, stock};
use event_schemas::{
    Event, Metadata, Money, Recorded, StreamId, Timestamp,
    events::{
        order::{
            Address, CancellationCause, ItemQuantity, Line, OrderCancelled, OrderConfirmed, OrderPlaced, OrderRejected, OrderReturned,
            OrderSubmitted, PaymentMeans, RejectionReason, Totals,
        },
        payment::{
            PaymentAttemptFailed, PaymentCancellation, PaymentCancelled, PaymentCaptured, PaymentDeclined, PaymentRefundFailed,
            PaymentRefundRequested, PaymentRefunded, PaymentRequested,
        },
        stock::{AllotmentEnd, StockAllotmentClosed, StockAllotted, StockCommitted, StockReceived, StockReserved},
    },
    ids::{CartId, CommandId, FlashSaleId, OrderId, RefundId, ReturnId, Sku},
};
use uuid::Uuid;

use super::{Known, LeftStock, Manager, Reaction, Reminder, Wanted, derived_id, plan, react, react_to_loss, react_when_due};

const ORDER: OrderId = OrderId(Uuid::from_u128(7));
const SALE: FlashSaleId = FlashSaleId(Uuid::from_u128(8));
const EVENT: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);

/// What has happened before, or since, to the order and its payment.
#[derive(Default)]
struct Given {
    order: order::State,
    payment: pay::State,
    left_stock: LeftStock,
}

struct When(Vec<Wanted>);

fn given(events: impl IntoIterator<Item = Event>) -> Given {
    events.into_iter().fold(Given::default(), |Given { order, payment, left_stock }, event| match event {
        Event::Order(event) => Given { order: order::Order::evolve(order, &event, t(0)), payment, left_stock },
        Event::Payment(event) => Given { order, payment: pay::Payment::evolve(payment, &event, t(0)), left_stock },
        other => panic!("no event of an order or a payment: {other:?}"),
    })
}

impl Given {
    /// These lines' units have left stock, sold in these flash sales.
    fn left(self, lines: &[(&str, Option<FlashSaleId>)]) -> Self {
        Self { left_stock: lines.iter().map(|(code, sale)| (sku(code), *sale)).collect(), ..self }
    }

    fn when(self, event: Event) -> When {
        let stream = match &event {
            Event::Order(_) => StreamId::order(ORDER),
            Event::Payment(_) => StreamId::payment(ORDER),
            _ => StreamId::stock(&sku("A")),
        };
        let metadata = Metadata { command_id: CommandId(EVENT), correlation_id: EVENT, causation_id: None, actor: "test".into() };
        let event = Recorded { position: 1, stream, version: 1, event_id: EVENT, metadata, recorded_at: t(100), event };
        When(react(Known { order: &self.order, payment: &self.payment, left_stock: &self.left_stock }, &event, t(101)))
    }
}

impl When {
    #[track_caller]
    fn then(self, reactions: impl IntoIterator<Item = Reaction>) {
        assert_eq!(reactions_of(self.0), reactions.into_iter().collect::<Vec<_>>());
    }
}

fn reactions_of(wanted: Vec<Wanted>) -> Vec<Reaction> {
    wanted.into_iter().map(|wanted| wanted.reaction).collect()
}

fn when_due(reminder: &Reminder, stock: &stock::State) -> Vec<Reaction> {
    reactions_of(react_when_due(reminder, stock))
}

fn t(second: i64) -> Timestamp {
    Timestamp::from_micros(0).plus(Duration::seconds(second))
}

fn sku(code: &str) -> Sku {
    code.parse().unwrap()
}

fn gbp(amount: &str) -> Money {
    Money::new(amount.parse().unwrap(), "GBP".parse().unwrap())
}

fn means() -> PaymentMeans {
    PaymentMeans { method: "simulated".into(), token: "tok_ok".into() }
}

/// Three of A, bought in a flash sale, and one of B.
fn submitted() -> Event {
    let line = |code, quantity, sale| Line {
        sku: sku(code),
        title: code.into(),
        category: None,
        quantity,
        unit_price: gbp("2.50"),
        line_total: gbp("5.00"),
        sale,
    };
    let zero = gbp("0.00");
    let (name, line1, city, country) = ("Ann".into(), "1 High St".into(), "Leeds".into(), "GB".into());
    let submission = OrderSubmitted {
        cart: CartId(Uuid::from_u128(1)),
        email: "ann@shop.example".into(),
        customer: "ann".into(),
        shipping_address: Address { name, line1, line2: None, city, region: None, postal_code: None, country },
        lines: vec![line("A", 3, Some(SALE)), line("B", 1, None)],
        totals: Totals { subtotal: gbp("10.00"), discount: zero, shipping: zero, tax: zero, total: gbp("10.00") },
        payment: means(),
        metadata: BTreeMap::new(),
    };
    Event::Order(submission.into())
}

fn placed() -> Event {
    Event::Order(OrderPlaced { payment_deadline: t(900) }.into())
}

fn rejected() -> Event {
    Event::Order(OrderRejected { reason: RejectionReason::OutOfStock, skus: vec![sku("A")] }.into())
}

fn confirmed() -> Event {
    Event::Order(OrderConfirmed { captured: gbp("10.00") }.into())
}

fn cancelled(was_confirmed: bool, lost: &[&str]) -> Event {
    let cause = match lost {
        [] => CancellationCause::Requested,
        lost => CancellationCause::StockLost { skus: lost.iter().map(|code| sku(code)).collect() },
    };
    Event::Order(OrderCancelled { cause, note: None, was_confirmed }.into())
}

fn requested() -> Event {
    Event::Payment(PaymentRequested { amount: gbp("10.00"), means: means(), idempotency_key: EVENT, deadline: t(900) }.into())
}

fn captured() -> Event {
    Event::Payment(PaymentCaptured { amount: gbp("10.00"), gateway_reference: "ch_1".into() }.into())
}

fn payment_cancelled(reason: PaymentCancellation) -> Event {
    Event::Payment(PaymentCancelled { reason }.into())
}

fn of_order(command: order::Command) -> Reaction {
    Reaction::Order(ORDER, command)
}

fn of_stock(code: &str, command: stock::Command) -> Reaction {
    Reaction::Stock(sku(code), command)
}

fn back(quantity: u32, return_id: Option<ReturnId>, sale: Option<FlashSaleId>) -> stock::Command {
    stock::Command::Return { order: ORDER, quantity, return_id, sale, customer: "ann".into() }
}

fn cancel_payment() -> Reaction {
    let refund = RefundId(derived_id(EVENT, "refund"));
    Reaction::Payment(ORDER, pay::Command::Cancel { reason: PaymentCancellation::OrderCancelled, refund })
}

#[test]
fn a_submitted_order_is_looked_at_again_until_it_is_placed_or_rejected() {
    given([submitted()]).when(submitted()).then([Reaction::Remind(Reminder::Placement(ORDER), t(115))]);
    given([submitted(), placed()]).when(submitted()).then([]);
    given([submitted(), rejected()]).when(submitted()).then([]);
    given([submitted(), placed()]).when(placed()).then([Reaction::Forget(Reminder::Placement(ORDER))]);
    let due = when_due(&Reminder::Placement(ORDER), &stock::State::Nothing);
    assert_eq!(due, [of_order(order::Command::Abandon)]);
}

#[test]
fn what_a_rejected_order_held_is_released() {
    let release = || stock::Command::Release { order: ORDER };
    given([submitted(), rejected()]).when(rejected()).then([
        Reaction::Forget(Reminder::Placement(ORDER)),
        of_stock("A", release()),
        of_stock("B", release()),
    ]);
}

#[test]
fn stock_leaves_when_the_order_is_confirmed() {
    let commit = || stock::Command::Commit { order: ORDER };
    let fulfil = |quantity, sale| stock::Command::Fulfil { order: ORDER, quantity, customer: "ann".into(), sale };
    given([submitted(), placed(), confirmed()])
        .when(confirmed())
        .then([of_stock("A", fulfil(3, Some(SALE))), of_stock("B", fulfil(1, None))]);
    // What it holds though more has happened since, what left goes back by the event that says so; but nothing that it does not hold any more.
    given([submitted(), placed(), confirmed(), cancelled(true, &[])])
        .when(confirmed())
        .then([of_stock("A", commit()), of_stock("B", commit())]);
}

#[test]
fn a_cancelled_order_releases_what_it_held_and_its_payment_is_cancelled() {
    let release = || stock::Command::Release { order: ORDER };
    given([submitted(), placed(), cancelled(false, &[])]).when(cancelled(false, &[])).then([
        cancel_payment(),
        of_stock("A", release()),
        of_stock("B", release()),
    ]);
}

#[test]
fn a_cancelled_order_gives_back_what_had_left_but_not_what_was_lost() {
    let bought = [("A", Some(SALE)), ("B", None)];
    given([submitted(), placed(), confirmed(), cancelled(true, &[])]).left(&bought).when(cancelled(true, &[])).then([
        cancel_payment(),
        of_stock("A", back(3, None, Some(SALE))),
        of_stock("B", back(1, None, None)),
    ]);
    given([submitted(), placed(), confirmed(), cancelled(true, &["A"])])
        .left(&bought[1..])
        .when(cancelled(true, &["A"]))
        .then([cancel_payment(), of_stock("B", back(1, None, None))]);
    // Cancelled by request before it was known that a reservation had ended: the event names no loss, the log does.
    given([submitted(), placed(), confirmed(), cancelled(true, &[])])
        .left(&bought[1..])
        .when(cancelled(true, &[]))
        .then([cancel_payment(), of_stock("B", back(1, None, None))]);
    // Its hold had ended, and it got ordinary units: the sale has nothing of it to take back.
    given([submitted(), placed(), confirmed(), cancelled(true, &[])])
        .left(&[("A", None)])
        .when(cancelled(true, &[]))
        .then([cancel_payment(), of_stock("A", back(3, None, None))]);
    let lost = react_to_loss(ORDER, vec![sku("A")]);
    assert_eq!(reactions_of(lost), [of_order(order::Command::RecordStockLost { skus: vec![sku("A")] })]);
}

#[test]
fn what_comes_back_is_on_hand_again_if_it_can_be_sold() {
    let return_id = ReturnId(Uuid::from_u128(9));
    let returned = |restock| {
        let items = vec![ItemQuantity { sku: sku("A"), quantity: 2 }];
        Event::Order(OrderReturned { return_id, items, reason: "too small".into(), restock }.into())
    };
    let before = || given([submitted(), placed(), confirmed()]);
    before().when(returned(true)).then([of_stock("A", back(2, Some(return_id), None))]);
    before().when(returned(false)).then([]);
}

#[test]
fn an_order_follows_its_payment() {
    let forget = || Reaction::Forget(Reminder::PaymentDeadline(ORDER));
    let declined = Event::Payment(PaymentDeclined { decline_code: "no_funds".into() }.into());
    given([requested()]).when(requested()).then([Reaction::Remind(Reminder::PaymentDeadline(ORDER), t(900))]);
    given([requested(), captured()]).when(requested()).then([]);
    given([requested(), captured()]).when(captured()).then([forget(), of_order(order::Command::RecordCapture { amount: gbp("10.00") })]);
    given([requested(), declined.clone()])
        .when(declined)
        .then([forget(), of_order(order::Command::RecordDecline { decline_code: "no_funds".into() })]);
    given([requested()])
        .when(payment_cancelled(PaymentCancellation::DeadlinePassed))
        .then([forget(), of_order(order::Command::RecordPaymentExpiry)]);
    given([requested()]).when(payment_cancelled(PaymentCancellation::OrderCancelled)).then([forget()]);
    let failed = PaymentAttemptFailed { attempt: 1, reason: "timeout".into(), retry_at: t(5) };
    given([requested()]).when(Event::Payment(failed.into())).then([]);
    let due = when_due(&Reminder::PaymentDeadline(ORDER), &stock::State::Nothing);
    assert_eq!(due, [Reaction::Payment(ORDER, pay::Command::Expire)]);
}

#[test]
fn an_order_hears_of_money_that_went_back_and_why() {
    let refund = RefundId(Uuid::from_u128(5));
    let asked = PaymentRefundRequested { refund, amount: gbp("4.00"), reason: "broken".into() };
    let refunded = Event::Payment(PaymentRefunded { refund, amount: gbp("4.00"), gateway_reference: "re_1".into() }.into());
    let asked = Event::Payment(asked.into());
    given([requested(), captured(), asked.clone()]).when(asked.clone()).then([]);
    let record = |reason: &str| of_order(order::Command::RecordRefund { refund, amount: gbp("4.00"), reason: reason.into() });
    given([requested(), captured(), asked, refunded.clone()]).when(refunded.clone()).then([record("broken")]);
    given([requested(), captured()]).when(refunded).then([record("")]);
}

#[test]
fn an_order_hears_of_money_that_could_not_go_back_and_why() {
    let refund = RefundId(Uuid::from_u128(5));
    let asked = Event::Payment(PaymentRefundRequested { refund, amount: gbp("4.00"), reason: "broken".into() }.into());
    let failed = Event::Payment(PaymentRefundFailed { refund, amount: gbp("4.00"), failure: "account_closed".into() }.into());
    let (reason, failure) = ("broken".into(), "account_closed".into());
    let record = of_order(order::Command::RecordRefundFailure { refund, amount: gbp("4.00"), reason, failure });
    given([requested(), captured(), asked, failed.clone()]).when(failed).then([record]);
}

/// Stock of A: ten units, with holds that end at these seconds.
fn held_until(seconds: &[i64]) -> stock::State {
    let received = StockReceived { quantity: 10, reference: String::new() }.into();
    let reserved = (1..).zip(seconds).map(|(n, second)| {
        let order = OrderId(Uuid::from_u128(n));
        StockReserved { order, quantity: 1, until: t(*second), customer: "ann".into(), sale: None }.into()
    });
    std::iter::once(received).chain(reserved).fold(stock::State::Nothing, |state, event| stock::Stock::evolve(state, &event, t(0)))
}

#[test]
fn every_reservation_is_looked_at_when_its_time_is_over() {
    let reservations = || Reminder::Reservations(sku("A"));
    let reserved = StockReserved { order: ORDER, quantity: 1, until: t(400), customer: "ann".into(), sale: None };
    given([]).when(Event::Stock(reserved.into())).then([Reaction::Remind(reservations(), t(400))]);
    let committed = StockCommitted { order: ORDER, quantity: 1, sale: None };
    given([]).when(Event::Stock(committed.into())).then([]);
    let expire = || of_stock("A", stock::Command::Expire);
    assert_eq!(when_due(&reservations(), &held_until(&[])), [expire()]);
    let next = Reaction::Remind(reservations(), t(300));
    assert_eq!(when_due(&reservations(), &held_until(&[500, 300, 400])), [expire(), next]);
}

#[test]
fn a_flash_sale_starts_and_ends_on_time_unless_it_is_called_off() {
    let (start, end) = (|| Reminder::SaleStart(SALE, sku("A")), || Reminder::SaleEnd(SALE, sku("A")));
    let allotted =
        StockAllotted { sale: SALE, quantity: 5, starts_at: t(10), ends_at: t(20), price: gbp("1.00"), limit_per_customer: None };
    given([]).when(Event::Stock(allotted.into())).then([Reaction::Remind(start(), t(10)), Reaction::Remind(end(), t(20))]);
    let closed = |reason| Event::Stock(StockAllotmentClosed { sale: SALE, unsold: 5, reason }.into());
    given([]).when(closed(AllotmentEnd::Cancelled)).then([Reaction::Forget(start()), Reaction::Forget(end())]);
    given([]).when(closed(AllotmentEnd::Ended)).then([]);
    let due = |reminder| when_due(&reminder, &stock::State::Nothing);
    assert_eq!(due(start()), [Reaction::FlashSale(SALE, sale::Command::Start)]);
    let close = of_stock("A", stock::Command::CloseAllotment { sale: SALE, reason: AllotmentEnd::Ended });
    assert_eq!(due(end()), [close, Reaction::FlashSale(SALE, sale::Command::End)]);
}

#[test]
fn no_event_asks_for_two_commands_on_one_stream() {
    // Their ids are derived from the event and the stream, so the second would be taken for the first.
    let targets = |wanted: Vec<Wanted>| {
        let target = |wanted: &Wanted| match &wanted.reaction {
            Reaction::Order(order, _) => Some(format!("order {order}")),
            Reaction::Payment(order, _) => Some(format!("payment {order}")),
            Reaction::Stock(sku, _) => Some(format!("stock {sku}")),
            Reaction::FlashSale(sale, _) => Some(format!("sale {sale}")),
            Reaction::Remind(..) | Reaction::Forget(..) => None,
        };
        wanted.iter().filter_map(target).collect::<Vec<_>>()
    };
    let before = || [submitted(), placed(), confirmed(), requested(), captured()];
    for event in [submitted(), placed(), rejected(), confirmed(), cancelled(false, &[]), cancelled(true, &[]), requested(), captured()] {
        let mut asked = targets(given(before()).when(event).0);
        let many = asked.len();
        asked.sort();
        asked.dedup();
        assert_eq!(asked.len(), many);
    }
}

#[test]
fn events_name_the_process_manager_that_wanted_them_whatever_they_are_about() {
    let of_event = |before: Given, event: Event| {
        let wanted = before.when(event).0;
        wanted.iter().map(|wanted| (plan::target(&wanted.reaction).map(|stream| stream.to_string()), wanted.by.actor())).collect::<Vec<_>>()
    };
    let on = |stream: StreamId, actor: &'static str| (Some(stream.to_string()), actor);
    let (order, payment, stock) = (|| StreamId::order(ORDER), || StreamId::payment(ORDER), |code| StreamId::stock(&sku(code)));
    assert_eq!(
        of_event(given([submitted(), placed(), cancelled(false, &[])]), cancelled(false, &[])),
        [on(payment(), "process:payment"), on(stock("A"), "process:fulfilment"), on(stock("B"), "process:fulfilment"),]
    );
    assert_eq!(
        of_event(given([submitted(), rejected()]), rejected())[1..],
        [on(stock("A"), "process:checkout"), on(stock("B"), "process:checkout"),]
    );
    assert_eq!(of_event(given([requested(), captured()]), captured())[1..], [on(order(), "process:payment")]);
    let when_due = |reminder| react_when_due(&reminder, &stock::State::Nothing).into_iter().map(|wanted| wanted.by).collect::<Vec<_>>();
    assert_eq!(when_due(Reminder::Placement(ORDER)), [Manager::Checkout]);
    assert_eq!(when_due(Reminder::PaymentDeadline(ORDER)), [Manager::Payment]);
    assert_eq!(when_due(Reminder::Reservations(sku("A"))), [Manager::Expiry]);
    assert_eq!(when_due(Reminder::SaleEnd(SALE, sku("A"))), [Manager::FlashSale, Manager::FlashSale]);
    let lost = react_to_loss(ORDER, vec![sku("A")]);
    assert_eq!(lost.iter().map(|wanted| wanted.by.actor()).collect::<Vec<_>>(), ["process:fulfilment"]);
}

#[test]
fn a_derived_id_is_the_same_each_time_and_another_for_each_purpose() {
    let (event, other) = (Uuid::now_v7(), Uuid::now_v7());
    assert_eq!(derived_id(event, "refund"), derived_id(event, "refund"));
    let ids = [derived_id(event, "refund"), derived_id(event, "stock-A"), derived_id(event, ""), derived_id(other, "refund"), event, other];
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    // A constant: ids must not change with the program, or what was done would be done again.
    assert_eq!(derived_id(EVENT, "refund").to_string(), "01920000-0000-8e27-a1d1-03628b9293ed");
}

#[test]
fn a_derived_id_is_a_custom_uuid_in_the_time_order_of_its_events() {
    let event = |n: u8| uuid::Builder::from_unix_timestamp_millis(1_700_000_000_000 + u64::from(n), &[n; 10]).into_uuid();
    let events: Vec<Uuid> = (0..=250).map(event).collect();
    let derived: Vec<Uuid> = events.iter().map(|event| derived_id(*event, "stock-A")).collect();
    for (event, derived) in events.iter().zip(&derived) {
        assert_eq!((derived.get_version_num(), derived.get_variant()), (8, uuid::Variant::RFC4122));
        assert_eq!(event.as_bytes()[..6], derived.as_bytes()[..6]);
    }
    assert!(derived.is_sorted());
}
