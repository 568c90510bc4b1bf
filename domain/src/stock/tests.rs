use event_schemas::{
    Timestamp,
    events::stock::{
        AllotmentEnd, Event, StockAdjusted, StockAllotmentClosed, StockAllotted, StockCommitted, StockCorrectionImported, StockExpired,
        StockReceived, StockReleased, StockReserved, StockReturned,
    },
    ids::{FlashSaleId, OrderId, ReturnId},
};

use super::{Command, MAX_ON_HAND, Refusal, Stock};
use crate::harness::{act, after, gbp, given, id, sku, t};

pub(crate) fn order(n: u128) -> OrderId {
    OrderId(id(n))
}

pub(crate) fn sale(n: u128) -> FlashSaleId {
    FlashSaleId(id(n))
}

pub(crate) fn received(quantity: u32) -> Event {
    StockReceived { quantity, reference: "PO-1".to_owned() }.into()
}

pub(crate) fn adjusted(quantity: i64) -> Event {
    StockAdjusted { quantity, reason: "counted".to_owned() }.into()
}

/// Order `n` of customer ann holds units until second 100.
pub(crate) fn reserved(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Event {
    StockReserved { order: order(n), quantity, until: t(100), customer: "ann".to_owned(), sale }.into()
}

pub(crate) fn committed(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Event {
    StockCommitted { order: order(n), quantity, sale }.into()
}

pub(crate) fn released(n: u128, quantity: u32, sale: Option<FlashSaleId>, to_allotment: bool) -> Event {
    StockReleased { order: order(n), quantity, sale, to_allotment }.into()
}

pub(crate) fn expired(n: u128, quantity: u32, sale: Option<FlashSaleId>, to_allotment: bool) -> Event {
    StockExpired { order: order(n), quantity, sale, to_allotment }.into()
}

pub(crate) fn returned(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Event {
    StockReturned { order: order(n), quantity, return_id: None, sale, customer: "ann".to_owned() }.into()
}

/// Sale `n` from second `from` to second `to`, two units for each customer.
pub(crate) fn allotted(n: u128, quantity: u32, from: i64, to: i64) -> Event {
    let (starts_at, ends_at) = (t(from), t(to));
    StockAllotted { sale: sale(n), quantity, starts_at, ends_at, price: gbp("1.00"), limit_per_customer: Some(2) }.into()
}

pub(crate) fn closed(n: u128, unsold: u32, reason: AllotmentEnd) -> Event {
    StockAllotmentClosed { sale: sale(n), unsold, reason }.into()
}

pub(crate) fn adjust(quantity: i64) -> Command {
    Command::Adjust { quantity, reason: "counted".to_owned() }
}

pub(crate) fn reserve(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Command {
    Command::Reserve { order: order(n), quantity, until: t(100), customer: "ann".to_owned(), sale }
}

pub(crate) fn give_back(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Command {
    Command::Return { order: order(n), quantity, return_id: None, sale, customer: "ann".to_owned() }
}

fn receive(quantity: u32) -> Command {
    Command::Receive { quantity, reference: "PO-1".to_owned() }
}

fn count(on_hand: u32) -> Command {
    Command::Count { on_hand, reason: "counted".to_owned() }
}

#[test]
fn a_count_is_what_is_on_hand_afterwards() {
    given::<Stock>([]).when(count(5)).then([adjusted(5)]);
    given::<Stock>([received(10)]).when(count(12)).then([adjusted(2)]);
    given::<Stock>([received(10)]).when(count(10)).then_nothing();
    given::<Stock>([received(10), reserved(1, 4, None)]).when(count(4)).then([adjusted(-6)]);
    given::<Stock>([received(10), reserved(1, 4, None)])
        .when(count(3))
        .then_refused(Refusal::InsufficientStock { requested: 7, available: 6 });
}

#[test]
fn units_come_in() {
    given::<Stock>([]).when(receive(10)).then([received(10)]);
    assert_eq!(after::<Stock>([(0, received(10)), (0, received(5))]).on_hand(), 15);
}

#[test]
fn no_units_are_nothing() {
    given::<Stock>([]).when(receive(0)).then_nothing();
    given::<Stock>([received(1)]).when(adjust(0)).then_nothing();
    given::<Stock>([received(1)]).when(reserve(1, 0, None)).then_nothing();
    given::<Stock>([received(1)]).when(give_back(1, 0, None)).then_nothing();
}

#[test]
fn more_than_can_be_counted_is_refused() {
    let full = [adjusted(MAX_ON_HAND - 5)];
    given::<Stock>(full.clone()).when(receive(5)).then([received(5)]);
    given::<Stock>(full.clone()).when(receive(6)).then_refused(Refusal::Overflow { on_hand: MAX_ON_HAND - 5, quantity: 6 });
    given::<Stock>(full).when(adjust(i64::MAX)).then_refused(Refusal::Overflow { on_hand: MAX_ON_HAND - 5, quantity: i64::MAX });
}

#[test]
fn units_are_found_and_lost() {
    given::<Stock>([]).when(adjust(3)).then([adjusted(3)]);
    given::<Stock>([received(3)]).when(adjust(-3)).then([adjusted(-3)]);
}

#[test]
fn no_more_units_are_lost_than_are_free() {
    let before = [received(10), reserved(1, 4, None), allotted(1, 3, 50, 60)];
    given::<Stock>(before.clone()).when(adjust(-3)).then([adjusted(-3)]);
    given::<Stock>(before.clone()).when(adjust(-4)).then_refused(Refusal::InsufficientStock { requested: 4, available: 3 });
    given::<Stock>(before).when(adjust(i64::MIN)).then_refused(Refusal::InsufficientStock { requested: i64::MAX, available: 3 });
}

#[test]
fn an_order_holds_units() {
    given::<Stock>([received(3)]).when(reserve(1, 3, None)).then([reserved(1, 3, None)]);
    let state = after::<Stock>([(0, received(3)), (0, reserved(1, 2, None))]);
    assert_eq!((state.on_hand(), state.reserved_units(), state.available(t(0))), (3, 2, 1));
    assert_eq!(state.reservation(order(1)).map(|held| held.quantity), Some(2));
    assert_eq!(state.reservations().count(), 1);
}

#[test]
fn an_order_holds_units_once() {
    given::<Stock>([received(3), reserved(1, 3, None)]).when(reserve(1, 3, None)).then_nothing();
}

#[test]
fn no_more_is_held_than_is_available() {
    given::<Stock>([]).when(reserve(1, 1, None)).then_refused(Refusal::OutOfStock { requested: 1, available: 0 });
    given::<Stock>([received(3), reserved(1, 2, None)])
        .when(reserve(2, 2, None))
        .then_refused(Refusal::OutOfStock { requested: 2, available: 1 });
}

#[test]
fn what_is_committed_leaves_stock() {
    let before = [received(3), reserved(1, 2, None)];
    given::<Stock>(before.clone()).when(Command::Commit { order: order(1) }).then([committed(1, 2, None)]);
    let state = after::<Stock>(before.into_iter().chain([committed(1, 2, None)]).map(|event| (0, event)));
    assert_eq!((state.on_hand(), state.reserved_units(), state.next_expiry()), (1, 0, None));
}

#[test]
fn what_is_not_held_can_t_be_committed() {
    let no_reservation = Refusal::NoReservation { order: order(1) };
    for ending in [committed(1, 2, None), released(1, 2, None, false), expired(1, 2, None, false)] {
        given::<Stock>([received(3), reserved(1, 2, None), ending])
            .when(Command::Commit { order: order(1) })
            .then_refused(no_reservation.clone());
    }
    given::<Stock>([]).when(Command::Commit { order: order(1) }).then_refused(no_reservation);
}

#[test]
fn what_is_released_is_free_again() {
    let before = [received(3), reserved(1, 2, None)];
    given::<Stock>(before.clone()).when(Command::Release { order: order(1) }).then([released(1, 2, None, false)]);
    let state = after::<Stock>(before.into_iter().chain([released(1, 2, None, false)]).map(|event| (0, event)));
    assert_eq!((state.on_hand(), state.available(t(0))), (3, 3));
}

#[test]
fn releasing_nothing_is_nothing() {
    given::<Stock>([received(3)]).when(Command::Release { order: order(1) }).then_nothing();
}

#[test]
fn holds_end_when_their_time_has_run_out() {
    let until = |n, second| StockReserved { order: order(n), quantity: 1, until: t(second), customer: "ann".to_owned(), sale: None }.into();
    let before = [received(9), until(1, 100), until(2, 90), until(3, 101)];
    assert_eq!(after::<Stock>(before.clone().map(|event| (0, event))).next_expiry(), Some(t(90)));
    given::<Stock>(before.clone()).at(89).when(Command::Expire).then_nothing();
    given::<Stock>(before).at(100).when(Command::Expire).then([expired(2, 1, None, false), expired(1, 1, None, false)]);
}

#[test]
fn a_hold_that_has_run_out_can_be_committed_until_it_is_expired() {
    let mut state = after::<Stock>([(0, received(1)), (0, reserved(1, 1, None))]);
    assert_eq!(act::<Stock>(&mut state, &Command::Commit { order: order(1) }, t(200)), Ok(vec![committed(1, 1, None)]));
    assert_eq!(act::<Stock>(&mut state, &Command::Expire, t(200)), Ok(vec![]));
}

/// The units of order `n` of customer ann, which was paid.
pub(crate) fn fulfil(n: u128, quantity: u32, sale: Option<FlashSaleId>) -> Command {
    Command::Fulfil { order: order(n), quantity, customer: "ann".to_owned(), sale }
}

/// Order `n` of customer ann holds units that leave at second `at`.
pub(crate) fn held_again(n: u128, quantity: u32, at: i64, sale: Option<FlashSaleId>) -> Event {
    StockReserved { order: order(n), quantity, until: t(at), customer: "ann".to_owned(), sale }.into()
}

#[test]
fn the_units_of_a_paid_order_leave_from_its_hold() {
    given::<Stock>([received(3), reserved(1, 2, None)]).at(200).when(fulfil(1, 2, None)).then([committed(1, 2, None)]);
}

#[test]
fn a_paid_order_whose_hold_has_ended_gets_free_units_and_none_that_others_hold() {
    let ended = [received(3), reserved(1, 2, None), expired(1, 2, None, false)];
    given::<Stock>(ended.clone()).at(200).when(fulfil(1, 2, None)).then([held_again(1, 2, 200, None), committed(1, 2, None)]);
    let others = ended.into_iter().chain([reserved(2, 2, None)]);
    given::<Stock>(others).at(200).when(fulfil(1, 2, None)).then_refused(Refusal::OutOfStock { requested: 2, available: 1 });
}

#[test]
fn units_that_had_left_are_on_hand_again() {
    let before = [received(3), reserved(1, 2, None), committed(1, 2, None)];
    let return_id = Some(ReturnId(id(7)));
    let (order, customer) = (order(1), "ann".to_owned());
    given::<Stock>(before.clone())
        .when(Command::Return { order, quantity: 2, return_id, sale: None, customer: customer.clone() })
        .then([StockReturned { order, quantity: 2, return_id, sale: None, customer }.into()]);
    let state = after::<Stock>(before.into_iter().chain([returned(1, 2, None)]).map(|event| (0, event)));
    assert_eq!((state.on_hand(), state.available(t(0))), (3, 3));
}

#[test]
fn a_correction_of_imported_history_changes_no_count() {
    let (reason, invoice) = ("lost".to_owned(), "A1".to_owned());
    let correction = StockCorrectionImported { quantity: -7, reason, invoice, at: Timestamp::from_micros(0) };
    given::<Stock>([]).when(Command::ImportCorrection(correction.clone())).then([correction.clone().into()]);
    assert_eq!(after::<Stock>([(0, received(3)), (0, correction.into())]).on_hand(), 3);
}

#[test]
fn clients_see_what_is_on_hand_reserved_and_available() {
    let seen = |events: Vec<Event>| {
        let stock = after::<Stock>(events.into_iter().map(|event| (0, event))).resource(sku("A"), 4);
        (stock.on_hand, stock.reserved, stock.available, stock.version)
    };
    assert_eq!(seen(vec![]), (0, 0, 0, 4));
    assert_eq!(seen(vec![received(10), reserved(1, 4, None), allotted(1, 3, 50, 60)]), (10, 7, 3, 4));
}
