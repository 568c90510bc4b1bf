use event_schemas::{
    events::flash_sale::{Event, FlashSaleAnnounced, FlashSaleCancelled, FlashSaleEnded, FlashSaleStarted},
    ids::FlashSaleId,
    resource::FlashSaleState,
};

use super::{Command, FlashSale, Refusal};
use crate::harness::{after, gbp, given, id, sku, t};

/// From second 10 to second 20.
fn announced() -> Event {
    let (starts_at, ends_at) = (t(10), t(20));
    FlashSaleAnnounced { sku: sku("A"), starts_at, ends_at, allotment: 5, price: gbp("1"), limit_per_customer: Some(1) }.into()
}

fn announce() -> Command {
    let (starts_at, ends_at) = (t(10), t(20));
    Command::Announce { sku: sku("A"), starts_at, ends_at, allotment: 5, price: gbp("1"), limit_per_customer: Some(1) }
}

fn started() -> Event {
    FlashSaleStarted {}.into()
}

fn ended() -> Event {
    FlashSaleEnded {}.into()
}

fn cancelled() -> Event {
    FlashSaleCancelled {}.into()
}

#[test]
fn a_sale_is_announced_once() {
    given::<FlashSale>([]).when(announce()).then([announced()]);
    given::<FlashSale>([announced()]).when(announce()).then_nothing();
}

#[test]
fn a_sale_starts_when_its_window_opens() {
    given::<FlashSale>([announced()]).at(9).when(Command::Start).then_nothing();
    given::<FlashSale>([announced()]).at(10).when(Command::Start).then([started()]);
    given::<FlashSale>([announced(), started()]).at(11).when(Command::Start).then_nothing();
}

#[test]
fn a_sale_ends_when_its_window_closes() {
    given::<FlashSale>([announced(), started()]).at(19).when(Command::End).then_nothing();
    given::<FlashSale>([announced(), started()]).at(20).when(Command::End).then([ended()]);
    given::<FlashSale>([announced()]).at(20).when(Command::End).then([ended()]);
    given::<FlashSale>([announced(), ended()]).at(21).when(Command::End).then_nothing();
}

#[test]
fn a_sale_is_cancelled_once_and_before_its_end() {
    let over = Refusal::Ended { sku: sku("A"), ended_at: t(20) };
    given::<FlashSale>([announced()]).when(Command::Cancel).then([cancelled()]);
    given::<FlashSale>([announced(), started()]).at(19).when(Command::Cancel).then([cancelled()]);
    given::<FlashSale>([announced(), cancelled()]).when(Command::Cancel).then_nothing();
    given::<FlashSale>([announced(), cancelled()]).at(30).when(Command::Cancel).then_nothing();
    given::<FlashSale>([announced(), started()]).at(20).when(Command::Cancel).then_refused(over.clone());
    given::<FlashSale>([announced(), started(), ended()]).at(20).when(Command::Cancel).then_refused(over);
}

#[test]
fn a_cancelled_sale_neither_starts_nor_ends() {
    for command in [Command::Start, Command::End] {
        given::<FlashSale>([announced(), cancelled()]).at(20).when(command).then_nothing();
    }
}

#[test]
fn a_sale_that_is_not_there_can_t_be_changed() {
    for command in [Command::Start, Command::End, Command::Cancel] {
        given::<FlashSale>([]).when(command).then_refused(Refusal::Unknown);
    }
}

#[test]
fn clients_see_where_it_is_in_its_life_by_the_clock() {
    let seen = |events: &[Event], second| {
        let state = after::<FlashSale>(events.iter().map(|event| (0, event.clone())));
        let sale = state.resource(FlashSaleId(id(1)), 1, 2, 1, t(second)).unwrap();
        (sale.state, sale.remaining)
    };
    assert_eq!(seen(&[announced()], 9), (FlashSaleState::Scheduled, 2));
    assert_eq!(seen(&[announced()], 10), (FlashSaleState::Running, 2));
    assert_eq!(seen(&[announced(), started()], 20), (FlashSaleState::Ended, 0));
    assert_eq!(seen(&[announced(), cancelled()], 9), (FlashSaleState::Cancelled, 0));
    assert_eq!(seen(&[announced(), ended()], 20), (FlashSaleState::Ended, 0));
}
