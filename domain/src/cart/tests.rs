use std::collections::BTreeMap;

use event_schemas::{
    events::{
        cart::{CartCheckedOut, CartCreated, CartItemRemoved, CartItemSet, Event},
        order::ItemQuantity,
    },
    ids::OrderId,
};
use proptest::{collection::vec, prelude::*};

use super::{Cart, Command, MAX_LINES, Refusal, State};
use crate::harness::{act, after, given, id, item, sku, t};

fn created() -> Event {
    CartCreated { currency: "GBP".parse().unwrap(), metadata: BTreeMap::new() }.into()
}

fn set(code: &str, quantity: u32) -> Event {
    CartItemSet { sku: sku(code), quantity, unit_price: None }.into()
}

fn removed(code: &str) -> Event {
    CartItemRemoved { sku: sku(code) }.into()
}

fn checked_out(n: u128) -> Event {
    CartCheckedOut { order: OrderId(id(n)) }.into()
}

fn create(items: Vec<ItemQuantity>) -> Command {
    Command::Create { currency: "GBP".parse().unwrap(), metadata: BTreeMap::new(), items, shown: BTreeMap::new() }
}

fn set_item(code: &str, quantity: u32) -> Command {
    Command::SetItem { sku: sku(code), quantity, unit_price: None }
}

fn check_out(n: u128, items: Vec<ItemQuantity>) -> Command {
    Command::CheckOut { order: OrderId(id(n)), items }
}

fn many(lines: usize) -> Vec<ItemQuantity> {
    (0..lines).map(|n| item(&format!("S{n}"), 1)).collect()
}

#[test]
fn a_cart_is_created_with_or_without_lines() {
    given::<Cart>([]).when(create(vec![])).then([created()]);
    given::<Cart>([]).when(create(vec![item("A", 2), item("B", 1)])).then([created(), set("A", 2), set("B", 1)]);
    given::<Cart>([created()]).when(create(vec![item("A", 2)])).then_nothing();
}

#[test]
fn lines_stand_in_the_order_they_were_put_in() {
    let events = [created(), set("B", 1), set("A", 2), set("B", 5), set("C", 1), removed("A")];
    let state = after::<Cart>(events.into_iter().zip(0..).map(|(event, second)| (second, event)));
    assert_eq!(state.items(), [item("B", 5), item("C", 1)]);
    let contents = state.contents().unwrap();
    assert_eq!((contents.created_at, contents.updated_at), (t(0), t(5)));
}

#[test]
fn a_line_is_set() {
    given::<Cart>([created()]).when(set_item("A", 2)).then([set("A", 2)]);
    given::<Cart>([created(), set("A", 2)]).when(set_item("A", 3)).then([set("A", 3)]);
    given::<Cart>([created(), set("A", 2)]).when(set_item("A", 2)).then_nothing();
}

#[test]
fn a_line_is_removed() {
    given::<Cart>([created(), set("A", 2)]).when(Command::RemoveItem { sku: sku("A") }).then([removed("A")]);
    given::<Cart>([created()]).when(Command::RemoveItem { sku: sku("A") }).then_nothing();
}

#[test]
fn a_cart_has_at_most_200_lines() {
    let full: Vec<_> = [created()].into_iter().chain(many(MAX_LINES).iter().map(|item| set(item.sku.as_str(), 1))).collect();
    let too_full = Refusal::Full { lines: MAX_LINES + 1 };
    given::<Cart>(full.clone()).when(set_item("A", 1)).then_refused(too_full.clone());
    given::<Cart>(full).when(set_item("S7", 2)).then([set("S7", 2)]);
    given::<Cart>([]).when(create(many(MAX_LINES + 1))).then_refused(too_full);
}

#[test]
fn a_cart_is_bought_for_what_the_buyer_was_priced_for() {
    let filled = || [created(), set("A", 2), set("B", 1)];
    given::<Cart>(filled()).when(check_out(1, vec![item("A", 2), item("B", 1)])).then([checked_out(1)]);
    given::<Cart>(filled()).when(check_out(1, vec![item("B", 1), item("A", 2)])).then([checked_out(1)]);
    for items in [vec![], vec![item("A", 2)], vec![item("A", 1), item("B", 1)], vec![item("A", 2), item("C", 1)]] {
        given::<Cart>(filled()).when(check_out(1, items)).then_refused(Refusal::Changed);
    }
}

#[test]
fn an_empty_cart_can_t_be_bought() {
    given::<Cart>([created()]).when(check_out(1, vec![])).then_refused(Refusal::Empty);
}

#[test]
fn a_cart_is_bought_once() {
    let bought = || [created(), set("A", 2), checked_out(1)];
    let refusal = Refusal::CheckedOut { order: OrderId(id(1)) };
    given::<Cart>(bought()).when(check_out(1, vec![item("A", 2)])).then_nothing();
    given::<Cart>(bought()).when(check_out(2, vec![item("A", 2)])).then_refused(refusal.clone());
    given::<Cart>(bought()).when(set_item("A", 2)).then_refused(refusal.clone());
    given::<Cart>(bought()).when(Command::RemoveItem { sku: sku("A") }).then_refused(refusal);
    assert_eq!(after::<Cart>(bought().map(|event| (0, event))).order(), Some(OrderId(id(1))));
}

#[test]
fn a_cart_that_is_not_there_can_t_be_changed() {
    for command in [set_item("A", 1), Command::RemoveItem { sku: sku("A") }, check_out(1, vec![])] {
        given::<Cart>([]).when(command).then_refused(Refusal::Unknown);
    }
}

proptest! {
    #[test]
    fn a_cart_holds_what_was_last_said(steps in vec((0..5_usize, 0..4_u32), 0..40)) {
        let mut state = State::default();
        let mut lines: Vec<ItemQuantity> = vec![];
        act::<Cart>(&mut state, &create(vec![]), t(0)).unwrap();
        for (code, quantity) in steps {
            let sku = sku(["A", "B", "C", "D", "E"][code]);
            let known = lines.iter().position(|line| line.sku == sku);
            let command = if quantity == 0 { Command::RemoveItem { sku: sku.clone() } } else { Command::SetItem { sku: sku.clone(), quantity, unit_price: None } };
            let changes = known.map_or(0, |index| lines[index].quantity) != quantity;
            let events = act::<Cart>(&mut state, &command, t(1)).unwrap();
            prop_assert_eq!(events.len(), usize::from(changes));
            match known {
                Some(index) if quantity == 0 => drop(lines.remove(index)),
                Some(index) => lines[index].quantity = quantity,
                None if quantity > 0 => lines.push(ItemQuantity { sku, quantity }),
                None => {}
            }
            prop_assert_eq!(state.items(), &lines[..]);
        }
        let bought = act::<Cart>(&mut state, &check_out(1, lines.clone()), t(2));
        prop_assert_eq!(bought.is_ok(), !lines.is_empty());
    }
}
