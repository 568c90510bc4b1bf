//! What holds of payments whatever is reported and asked.

use event_schemas::{
    Money,
    events::payment::{Event, PaymentCancellation},
};
use proptest::{collection::vec, prelude::*};
use rust_decimal::Decimal;

use super::{
    Command, Payment, State,
    tests::{fail_refund, miss_refund, record_capture, record_refund, refund, request, request_refund},
};
use crate::harness::{act, gbp, t};

fn command() -> impl Strategy<Value = Command> {
    let cents = |cents| Money::new(Decimal::new(cents, 2), gbp("0").currency);
    prop_oneof![
        1 => Just(request()),
        1 => (1..3_u32).prop_map(|attempt| Command::RecordFailure { attempt, reason: String::new(), retry_at: t(1) }),
        3 => Just(record_capture()),
        1 => Just(Command::RecordDecline { decline_code: String::new() }),
        1 => (10..20_u128).prop_map(|n| Command::Cancel { reason: PaymentCancellation::OrderCancelled, refund: refund(n) }),
        1 => Just(Command::Expire),
        4 => (0..6_u128, 0..700_i64).prop_map(move |(n, amount)| request_refund(n, cents(amount))),
        2 => (0..20_u128).prop_map(record_refund),
        1 => (0..20_u128).prop_map(fail_refund),
        1 => (0..20_u128, 1..3_u32).prop_map(|(n, attempt)| miss_refund(n, attempt)),
    ]
}

proptest! {
    #[test]
    fn refunds_are_never_above_captures(commands in vec((0..200_i64, command()), 0..40)) {
        let mut state = State::default();
        act::<Payment>(&mut state, &request(), t(0)).unwrap();
        let (mut captured, mut asked, mut paid) = (Decimal::ZERO, Decimal::ZERO, Decimal::ZERO);
        for (second, command) in commands {
            for event in act::<Payment>(&mut state, &command, t(second)).unwrap_or_default() {
                match event {
                    Event::Captured(event) => captured += event.amount.amount,
                    Event::RefundRequested(event) => asked += event.amount.amount,
                    Event::Refunded(event) => paid += event.amount.amount,
                    Event::RefundFailed(event) => asked -= event.amount.amount,
                    _ => {}
                }
            }
            prop_assert!(paid <= asked && asked <= captured && captured <= Decimal::TEN);
            prop_assert_eq!(state.captured().map_or(Decimal::ZERO, |money| money.amount), captured);
            prop_assert_eq!(state.refundable().map_or(Decimal::ZERO, |money| money.amount), captured - asked);
        }
    }
}
