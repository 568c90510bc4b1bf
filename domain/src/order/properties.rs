//! What holds of orders whatever is asked of them.

use std::collections::BTreeMap;

use event_schemas::{
    Money,
    events::order::{Event, ItemQuantity},
    ids::{RefundId, ReturnId},
};
use proptest::{collection::vec, option, prelude::*};
use rust_decimal::Decimal;

use super::{
    Command, Order, State,
    tests::{shipment, submission},
};
use crate::harness::{act, gbp, id, item, t};

fn items() -> impl Strategy<Value = Vec<ItemQuantity>> {
    vec((0..8_usize, 0..3_u32).prop_map(|(code, quantity)| item(["A", "B", "C"][code.saturating_sub(5)], quantity)), 0..3)
}

fn command() -> impl Strategy<Value = Command> {
    let money = |cents| Money::new(Decimal::new(cents, 2), gbp("0").currency);
    let refund = |n| RefundId(id(n));
    prop_oneof![
        1 => Just(Command::Submit(Box::new(submission()))),
        3 => Just(Command::Place { payment_deadline: t(900) }),
        1 => Just(Command::Abandon),
        4 => Just(Command::RecordCapture { amount: gbp("10.00") }),
        1 => Just(Command::RecordDecline { decline_code: String::new() }),
        1 => Just(Command::RecordPaymentExpiry),
        1 => Just(Command::RecordStockLost { skus: vec![] }),
        1 => Just(Command::Cancel { note: None }),
        6 => (0..6_u128, option::weighted(0.9, items())).prop_map(|(n, items)| {
            Command::Ship { shipment: shipment(n), items, carrier: None, tracking_number: None }
        }),
        3 => (0..6_u128).prop_map(|n| Command::Deliver { shipment: shipment(n) }),
        6 => (0..6_u128, items(), any::<bool>()).prop_map(|(n, items, restock)| {
            Command::Return { return_id: ReturnId(id(n)), items, reason: String::new(), restock }
        }),
        4 => (0..6_u128, 0..700_i64).prop_map(move |(n, cents)| {
            Command::RequestRefund { refund: refund(n), amount: money(cents), reason: String::new(), metadata: BTreeMap::new() }
        }),
    ]
}

fn units(items: &[ItemQuantity], sign: i64, counts: &mut BTreeMap<String, i64>) {
    for item in items {
        *counts.entry(item.sku.to_string()).or_default() += sign * i64::from(item.quantity);
    }
}

proptest! {
    #[test]
    fn no_more_leaves_than_was_bought_nor_comes_back_than_left(paid in any::<bool>(), commands in vec(command(), 0..60)) {
        let mut state = State::default();
        let (mut to_ship, mut away) = (BTreeMap::from([("A".to_owned(), 3), ("B".to_owned(), 1)]), BTreeMap::new());
        let (mut confirmations, mut captured, mut asked) = (0, Decimal::ZERO, Decimal::ZERO);
        let start = [Command::Submit(Box::new(submission())), Command::Place { payment_deadline: t(900) }];
        let capture = paid.then(|| Command::RecordCapture { amount: gbp("10.00") });
        for command in start.into_iter().chain(capture).chain(commands) {
            for event in act::<Order>(&mut state, &command, t(1)).unwrap_or_default() {
                match event {
                    Event::Confirmed(event) => {
                        confirmations += 1;
                        captured += event.captured.amount;
                    }
                    Event::CapturedLate(event) => captured += event.captured.amount,
                    Event::Cancelled(_) => prop_assert!(away.is_empty(), "cancelled after a shipment"),
                    Event::Shipped(event) => {
                        prop_assert!(!event.items.is_empty());
                        units(&event.items, -1, &mut to_ship);
                        units(&event.items, 1, &mut away);
                    }
                    Event::Returned(event) => units(&event.items, -1, &mut away),
                    Event::RefundRequested(event) => asked += event.amount.amount,
                    _ => {}
                }
            }
            prop_assert!(to_ship.values().chain(away.values()).all(|units| *units >= 0));
            prop_assert!(confirmations <= 1 && asked <= captured && captured <= Decimal::TEN);
        }
    }
}
