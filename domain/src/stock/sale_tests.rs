use event_schemas::events::stock::{AllotmentEnd, Event, StockReserved, StockReturned};

use super::{
    Command, Refusal, State, Stock,
    tests::{
        adjust, adjusted, allotted, closed, committed, expired, give_back, order, received, released, reserve, reserved, returned, sale,
    },
};
use crate::harness::{after, gbp, given, t};

/// Ten units, five of them for sale 1 from second 10 to second 20.
fn sale_of_five() -> [Event; 2] {
    [received(10), allotted(1, 5, 10, 20)]
}

fn on_sale(events: impl IntoIterator<Item = Event>) -> State {
    after::<Stock>(sale_of_five().into_iter().chain(events).map(|event| (0, event)))
}

fn given_sale(events: impl IntoIterator<Item = Event>) -> crate::harness::Given<Stock> {
    given::<Stock>(sale_of_five().into_iter().chain(events))
}

fn allot(n: u128, quantity: u32, from: i64, to: i64) -> Command {
    let (starts_at, ends_at) = (t(from), t(to));
    Command::Allot { sale: sale(n), quantity, starts_at, ends_at, price: gbp("1.00"), limit_per_customer: Some(2) }
}

fn close(n: u128, reason: AllotmentEnd) -> Command {
    Command::CloseAllotment { sale: sale(n), reason }
}

fn reserve_for(customer: &str, n: u128, quantity: u32) -> Command {
    Command::Reserve { order: order(n), quantity, until: t(100), customer: customer.to_owned(), sale: Some(sale(1)) }
}

#[test]
fn an_allotment_is_set_aside_of_what_is_available() {
    let before = [received(10), reserved(1, 4, None)];
    given::<Stock>(before.clone()).when(allot(1, 6, 10, 20)).then([allotted(1, 6, 10, 20)]);
    given::<Stock>(before).when(allot(1, 7, 10, 20)).then_refused(Refusal::InsufficientStock { requested: 7, available: 6 });
    given_sale([]).when(allot(2, 6, 20, 30)).then_refused(Refusal::InsufficientStock { requested: 6, available: 5 });
}

#[test]
fn an_allotment_is_set_aside_once() {
    given_sale([]).when(allot(1, 5, 10, 20)).then_nothing();
}

#[test]
fn a_sale_may_have_begun_but_not_ended() {
    let invalid = |from, to| Refusal::InvalidWindow { starts_at: t(from), ends_at: t(to) };
    given::<Stock>([received(10)]).at(15).when(allot(1, 5, 10, 20)).then([allotted(1, 5, 10, 20)]);
    given::<Stock>([received(10)]).at(20).when(allot(1, 5, 10, 20)).then_refused(invalid(10, 20));
    given::<Stock>([received(10)]).when(allot(1, 5, 10, 10)).then_refused(invalid(10, 10));
    given::<Stock>([received(10)]).when(allot(1, 5, 20, 10)).then_refused(invalid(20, 10));
}

#[test]
fn a_sale_runs_for_a_year_at_most() {
    let year = 366 * 24 * 3_600;
    given::<Stock>([received(10)]).when(allot(1, 5, 10, 10 + year)).then([allotted(1, 5, 10, 10 + year)]);
    let too_long = Refusal::SaleTooLong { starts_at: t(10), ends_at: t(11 + year) };
    given::<Stock>([received(10)]).when(allot(1, 5, 10, 11 + year)).then_refused(too_long);
    // One of before the rule runs on as it was announced.
    let before = [received(10), allotted(1, 5, 10, 9 * year)];
    given::<Stock>(before).at(8 * year).when(reserve(1, 2, Some(sale(1)))).then([reserved(1, 2, Some(sale(1)))]);
}

#[test]
fn a_limit_counts_every_way_to_write_one_address() {
    let limit = Refusal::LimitPerCustomer { limit: 2, held: 2 };
    let ways = ["ann@shop.example.", "\"ann\"@shop.example", "a\u{200b}nn@shop.example", "ANN@shop.example"];
    for way in ways {
        // Bought as it was written when nobody normalised it.
        let bought = StockReserved { order: order(1), quantity: 2, until: t(100), customer: way.to_lowercase(), sale: Some(sale(1)) };
        let state = on_sale([bought.clone().into()]);
        assert_eq!(state.sale(sale(1)).map(|sale| sale.held_by("ann@shop.example")), Some(2), "{way:?}");
        given_sale([bought.clone().into()]).at(10).when(reserve_for("ann@shop.example", 2, 1)).then_refused(limit.clone());
        // Once it is free again, it is free for every way to write it.
        given_sale([bought.into(), released(1, 2, Some(sale(1)), true)]).at(10).when(reserve_for(way, 2, 2)).then([StockReserved {
            order: order(2),
            quantity: 2,
            until: t(100),
            customer: way.to_owned(),
            sale: Some(sale(1)),
        }
        .into()]);
    }
}

#[test]
fn a_snapshot_of_before_addresses_were_normalised_counts_each_customer_once() {
    let mut written = serde_json::to_value(on_sale([])).unwrap();
    let customers = &mut written["sales"].as_object_mut().unwrap().values_mut().next().unwrap()["customers"];
    *customers = serde_json::json!({"ann@shop.example": 1, "ann@shop.example.": 1});
    let read: State = serde_json::from_value(written).unwrap();
    assert_eq!(read.sale(sale(1)).map(|sale| sale.held_by("ann@shop.example")), Some(2));
}

#[test]
fn sales_of_one_sku_don_t_overlap() {
    let overlapping = Refusal::OverlappingSale { sale: sale(1), starts_at: t(10), ends_at: t(20) };
    for (from, to) in [(19, 30), (5, 11), (12, 13), (5, 30), (10, 20)] {
        given_sale([]).when(allot(2, 1, from, to)).then_refused(overlapping.clone());
    }
    given_sale([]).when(allot(2, 1, 20, 30)).then([allotted(2, 1, 20, 30)]);
    given_sale([]).when(allot(2, 1, 5, 10)).then([allotted(2, 1, 5, 10)]);
}

#[test]
fn before_a_sale_the_sku_sells_from_what_is_not_set_aside() {
    given_sale([]).at(9).when(reserve(1, 5, None)).then([reserved(1, 5, None)]);
    given_sale([]).at(9).when(reserve(1, 6, None)).then_refused(Refusal::OutOfStock { requested: 6, available: 5 });
    assert!(on_sale([]).running_sale(t(9)).is_none());
}

#[test]
fn while_a_sale_runs_the_sku_sells_only_from_the_allotment() {
    assert_eq!(on_sale([]).running_sale(t(10)).map(|sale| sale.id), Some(sale(1)));
    assert_eq!(on_sale([]).available(t(19)), 5);
    given_sale([]).at(10).when(reserve(1, 2, Some(sale(1)))).then([reserved(1, 2, Some(sale(1)))]);
    let sold_out = [reserved(1, 2, Some(sale(1))), reserved(2, 2, Some(sale(1)))];
    given_sale(sold_out).at(10).when(reserve_for("bob", 3, 2)).then_refused(Refusal::OutOfStock { requested: 2, available: 1 });
}

#[test]
fn a_price_of_another_time_is_refused() {
    let changed = |priced, running| Refusal::SaleChanged { priced, running };
    given_sale([]).at(10).when(reserve(1, 1, None)).then_refused(changed(None, Some(sale(1))));
    given_sale([]).at(20).when(reserve(1, 1, Some(sale(1)))).then_refused(changed(Some(sale(1)), None));
    given_sale([]).at(10).when(reserve(1, 1, Some(sale(2)))).then_refused(changed(Some(sale(2)), Some(sale(1))));
}

#[test]
fn a_customer_has_no_more_than_the_limit_over_all_orders() {
    let limit = |held| Refusal::LimitPerCustomer { limit: 2, held };
    let first = reserved(1, 1, Some(sale(1)));
    given_sale([]).at(10).when(reserve(1, 3, Some(sale(1)))).then_refused(limit(0));
    given_sale([first.clone()]).at(10).when(reserve(2, 2, Some(sale(1)))).then_refused(limit(1));
    given_sale([first.clone()]).at(10).when(reserve(2, 1, Some(sale(1)))).then([reserved(2, 1, Some(sale(1)))]);
    let bought = committed(1, 1, Some(sale(1)));
    given_sale([first.clone(), bought]).at(10).when(reserve(2, 2, Some(sale(1)))).then_refused(limit(1));
    let let_go = released(1, 1, Some(sale(1)), true);
    given_sale([first, let_go]).at(10).when(reserve(2, 2, Some(sale(1)))).then([reserved(2, 2, Some(sale(1)))]);
}

#[test]
fn what_is_committed_is_sold() {
    let state = on_sale([reserved(1, 2, Some(sale(1))), committed(1, 2, Some(sale(1)))]);
    let seen = state.sale(sale(1)).map(|sale| (sale.sold, sale.reserved, sale.remaining(), sale.held_by("ann")));
    assert_eq!(seen, Some((2, 0, 3, 2)));
    assert_eq!((state.on_hand(), state.reserved_units()), (8, 3));
}

#[test]
fn what_is_let_go_goes_back_to_its_sale() {
    let held = reserved(1, 2, Some(sale(1)));
    given_sale([held.clone()]).at(10).when(Command::Release { order: order(1) }).then([released(1, 2, Some(sale(1)), true)]);
    given_sale([held.clone()]).at(100).when(Command::Expire).then([expired(1, 2, Some(sale(1)), true)]);
    for ending in [released(1, 2, Some(sale(1)), true), expired(1, 2, Some(sale(1)), true)] {
        assert_eq!(on_sale([held.clone(), ending]).sale(sale(1)), on_sale([]).sale(sale(1)));
    }
}

#[test]
fn what_is_let_go_after_its_sale_was_closed_is_ordinary_stock() {
    let before = [reserved(1, 2, Some(sale(1))), closed(1, 3, AllotmentEnd::Cancelled)];
    let release = || Command::Release { order: order(1) };
    given_sale(before.clone()).at(12).when(release()).then([released(1, 2, Some(sale(1)), false)]);
    given_sale(before.clone()).at(100).when(Command::Expire).then([expired(1, 2, Some(sale(1)), false)]);
    given_sale(before.clone()).at(12).when(Command::Commit { order: order(1) }).then([committed(1, 2, Some(sale(1)))]);
    assert_eq!(on_sale(before.clone()).available(t(12)), 8);
    assert_eq!(on_sale(before.into_iter().chain([released(1, 2, Some(sale(1)), false)])).available(t(12)), 10);
}

#[test]
fn what_a_cancelled_order_had_bought_goes_back_to_a_sale_that_is_not_over() {
    let bought = [reserved(1, 2, Some(sale(1))), committed(1, 2, Some(sale(1)))];
    given_sale(bought.clone()).at(19).when(give_back(1, 2, Some(sale(1)))).then([returned(1, 2, Some(sale(1)))]);
    given_sale(bought.clone()).at(20).when(give_back(1, 2, Some(sale(1)))).then([returned(1, 2, None)]);
    given_sale(bought.clone()).at(19).when(give_back(1, 2, Some(sale(9)))).then([returned(1, 2, None)]);
    given_sale(bought.clone()).at(19).when(give_back(1, 3, Some(sale(1)))).then([returned(1, 3, None)]);
    let state = on_sale(bought.into_iter().chain([returned(1, 2, Some(sale(1)))]));
    assert_eq!(state, on_sale([]));
}

#[test]
fn what_another_customer_had_bought_does_not_go_back_to_the_sale() {
    let bought = [reserved(1, 2, Some(sale(1))), committed(1, 2, Some(sale(1)))];
    let (order, quantity, customer) = (order(1), 2, "bob".to_owned());
    given_sale(bought)
        .at(19)
        .when(Command::Return { order, quantity, return_id: None, sale: Some(sale(1)), customer: customer.clone() })
        .then([StockReturned { order, quantity, return_id: None, sale: None, customer }.into()]);
}

#[test]
fn a_sale_is_closed_when_its_time_is_over() {
    let sold = [reserved(1, 2, Some(sale(1))), committed(1, 2, Some(sale(1)))];
    given_sale(sold.clone()).at(19).when(close(1, AllotmentEnd::Ended)).then_nothing();
    given_sale(sold.clone()).at(20).when(close(1, AllotmentEnd::Ended)).then([closed(1, 3, AllotmentEnd::Ended)]);
    let state = on_sale(sold.into_iter().chain([closed(1, 3, AllotmentEnd::Ended)]));
    assert_eq!((state.reserved_units(), state.available(t(20)), state.sales().count()), (0, 8, 0));
}

#[test]
fn a_sale_is_cancelled_any_time_and_closed_once() {
    for second in [0, 15, 25] {
        given_sale([]).at(second).when(close(1, AllotmentEnd::Cancelled)).then([closed(1, 5, AllotmentEnd::Cancelled)]);
    }
    for reason in [AllotmentEnd::Ended, AllotmentEnd::Cancelled] {
        given_sale([closed(1, 5, AllotmentEnd::Ended)]).at(25).when(close(1, reason)).then_nothing();
        given_sale([]).at(25).when(close(9, reason)).then_nothing();
    }
}

#[test]
fn whatever_counts_on_a_sale_that_is_over_closes_it_first() {
    let over = || closed(1, 5, AllotmentEnd::Ended);
    assert_eq!(on_sale([]).available(t(20)), 10);
    given_sale([]).at(20).when(reserve(1, 10, None)).then([over(), reserved(1, 10, None)]);
    given_sale([]).at(20).when(adjust(-10)).then([over(), adjusted(-10)]);
    given_sale([]).at(20).when(allot(2, 10, 15, 30)).then([over(), allotted(2, 10, 15, 30)]);
}

#[test]
fn a_refusal_and_a_repetition_close_nothing() {
    given_sale([reserved(1, 1, None)]).at(20).when(reserve(1, 1, None)).then_nothing();
    given_sale([]).at(20).when(reserve(1, 11, None)).then_refused(Refusal::OutOfStock { requested: 11, available: 10 });
}

#[test]
fn a_sale_that_comes_back_under_its_id_owes_nothing_to_the_one_before() {
    let again = [reserved(1, 2, Some(sale(1))), closed(1, 3, AllotmentEnd::Cancelled), allotted(1, 5, 10, 20)];
    let state = on_sale(again.into_iter().chain([released(1, 2, Some(sale(1)), false)]));
    assert_eq!(state, on_sale([]));
}
