use event_schemas::{
    Money,
    events::{
        order::PaymentMeans,
        payment::{
            Event, PaymentAttemptFailed, PaymentCancellation, PaymentCancelled, PaymentCaptured, PaymentDeclined,
            PaymentRefundAttemptFailed, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
        },
    },
    ids::RefundId,
};

use super::{Command, Payment, Refusal};
use crate::harness::{after, eur, gbp, given, id, t};

fn means() -> PaymentMeans {
    PaymentMeans { method: "simulated".to_owned(), token: "tok_ok".to_owned() }
}

pub(crate) fn refund(n: u128) -> RefundId {
    RefundId(id(n))
}

/// Ten pounds, until second 100.
fn requested() -> Event {
    PaymentRequested { amount: gbp("10.00"), means: means(), idempotency_key: id(1), deadline: t(100) }.into()
}

fn failed(attempt: u32) -> Event {
    PaymentAttemptFailed { attempt, reason: "no answer".to_owned(), retry_at: t(5) }.into()
}

fn captured() -> Event {
    PaymentCaptured { amount: gbp("10.00"), gateway_reference: "ch_1".to_owned() }.into()
}

fn declined() -> Event {
    PaymentDeclined { decline_code: "no_funds".to_owned() }.into()
}

fn cancelled(reason: PaymentCancellation) -> Event {
    PaymentCancelled { reason }.into()
}

fn refund_requested(n: u128, amount: &str, reason: &str) -> Event {
    PaymentRefundRequested { refund: refund(n), amount: gbp(amount), reason: reason.to_owned() }.into()
}

fn refunded(n: u128, amount: &str) -> Event {
    PaymentRefunded { refund: refund(n), amount: gbp(amount), gateway_reference: "re_1".to_owned() }.into()
}

/// One event of each type, the one that begins first.
pub(crate) fn events() -> Vec<Event> {
    vec![
        requested(),
        failed(1),
        captured(),
        declined(),
        cancelled(PaymentCancellation::DeadlinePassed),
        refund_requested(1, "10.00", "broken"),
        refund_requested(2, "1.00", "broken"),
        refunded(1, "10.00"),
        PaymentRefundRequested { refund: refund(3), amount: eur("1"), reason: String::new() }.into(),
    ]
}

pub(crate) fn request() -> Command {
    Command::Request { amount: gbp("10.00"), means: means(), idempotency_key: id(1), deadline: t(100) }
}

fn record_failure(attempt: u32) -> Command {
    Command::RecordFailure { attempt, reason: "no answer".to_owned(), retry_at: t(5) }
}

pub(crate) fn record_capture() -> Command {
    Command::RecordCapture { amount: gbp("10.00"), gateway_reference: "ch_1".to_owned(), refund: refund(9) }
}

fn record_decline() -> Command {
    Command::RecordDecline { decline_code: "no_funds".to_owned() }
}

fn cancel(reason: PaymentCancellation) -> Command {
    Command::Cancel { reason, refund: refund(9) }
}

pub(crate) fn request_refund(n: u128, amount: Money) -> Command {
    Command::RequestRefund { refund: refund(n), amount, reason: "broken".to_owned() }
}

pub(crate) fn fail_refund(n: u128) -> Command {
    Command::RecordRefundFailure { refund: refund(n), failure: "account_closed".to_owned() }
}

pub(crate) fn miss_refund(n: u128, attempt: u32) -> Command {
    Command::RecordRefundAttempt { refund: refund(n), attempt, reason: "no answer".to_owned(), retry_at: t(5) }
}

fn refund_failed(n: u128, amount: &str) -> Event {
    PaymentRefundFailed { refund: refund(n), amount: gbp(amount), failure: "account_closed".to_owned() }.into()
}

fn refund_missed(n: u128, attempt: u32) -> Event {
    PaymentRefundAttemptFailed { refund: refund(n), attempt, reason: "no answer".to_owned(), retry_at: t(5) }.into()
}

pub(crate) fn record_refund(n: u128) -> Command {
    Command::RecordRefund { refund: refund(n), gateway_reference: "re_1".to_owned() }
}

/// What may have become of a payment that was never captured.
fn uncaptured() -> [Vec<Event>; 4] {
    let (by_order, by_deadline) = (PaymentCancellation::OrderCancelled, PaymentCancellation::DeadlinePassed);
    [
        vec![requested()],
        vec![requested(), declined()],
        vec![requested(), cancelled(by_order)],
        vec![requested(), failed(1), cancelled(by_deadline)],
    ]
}

#[test]
fn a_payment_is_requested_once() {
    given::<Payment>([]).when(request()).then([requested()]);
    for events in uncaptured() {
        given::<Payment>(events).when(request()).then_nothing();
    }
    given::<Payment>([requested(), captured()]).when(request()).then_nothing();
}

#[test]
fn what_is_reported_of_a_payment_that_is_not_there_is_nothing() {
    let reports = [record_failure(1), record_capture(), record_decline(), cancel(PaymentCancellation::OrderCancelled), Command::Expire];
    for command in reports {
        given::<Payment>([]).when(command).then_nothing();
    }
}

#[test]
fn a_refund_that_fails_says_why_once_and_frees_its_amount() {
    let asked = || [requested(), captured(), refund_requested(1, "10.00", "broken")];
    given::<Payment>(asked()).when(fail_refund(1)).then([refund_failed(1, "10.00")]);
    given::<Payment>(asked()).when(fail_refund(2)).then_nothing();
    let failed = || asked().into_iter().chain([refund_failed(1, "10.00")]);
    for command in [fail_refund(1), record_refund(1), miss_refund(1, 1), request_refund(1, gbp("10.00"))] {
        given::<Payment>(failed()).when(command).then_nothing();
    }
    given::<Payment>(failed()).when(request_refund(2, gbp("10.00"))).then([refund_requested(2, "10.00", "broken")]);
    let state = after::<Payment>(failed().chain([refunded(1, "10.00")]).map(|event| (0, event)));
    assert_eq!((state.refundable(), state.pending_refunds().count()), (Some(gbp("10.00")), 0), "what failed did not go back afterwards");
    given::<Payment>(asked().into_iter().chain([refunded(1, "10.00")])).when(fail_refund(1)).then_nothing();
}

#[test]
fn failed_attempts_at_a_refund_are_counted_one_by_one() {
    let asked = || [requested(), captured(), refund_requested(1, "4.00", "broken")];
    given::<Payment>(asked()).when(miss_refund(1, 1)).then([refund_missed(1, 1)]);
    given::<Payment>(asked()).when(miss_refund(1, 2)).then_nothing();
    let missed = || asked().into_iter().chain([refund_missed(1, 1)]);
    given::<Payment>(missed()).when(miss_refund(1, 1)).then_nothing();
    given::<Payment>(missed()).when(miss_refund(1, 2)).then([refund_missed(1, 2)]);
    given::<Payment>(missed()).when(record_refund(1)).then([refunded(1, "4.00")]);
}

#[test]
fn failures_are_counted_one_by_one() {
    given::<Payment>([requested()]).when(record_failure(1)).then([failed(1)]);
    given::<Payment>([requested()]).when(record_failure(2)).then_nothing();
    given::<Payment>([requested(), failed(1)]).when(record_failure(1)).then_nothing();
    given::<Payment>([requested(), failed(1)]).when(record_failure(2)).then([failed(2)]);
    given::<Payment>([requested(), captured()]).when(record_failure(1)).then_nothing();
    // A charge that is no longer wanted is asked about as often as it takes, too.
    let cancelled = cancelled(PaymentCancellation::OrderCancelled);
    given::<Payment>([requested(), failed(1), cancelled]).when(record_failure(2)).then([failed(2)]);
    assert_eq!(after::<Payment>([(0, requested()), (0, failed(1))]).attempts(), 1);
}

#[test]
fn a_payment_is_captured_once() {
    given::<Payment>([requested(), failed(1)]).when(record_capture()).then([captured()]);
    given::<Payment>([requested(), captured()]).when(record_capture()).then_nothing();
    given::<Payment>([requested(), declined()]).when(record_capture()).then_nothing();
}

#[test]
fn a_capture_after_cancellation_is_refunded() {
    for reason in [PaymentCancellation::OrderCancelled, PaymentCancellation::DeadlinePassed] {
        given::<Payment>([requested(), cancelled(reason)])
            .when(record_capture())
            .then([captured(), refund_requested(9, "10.00", "captured after cancellation")]);
    }
}

#[test]
fn a_payment_is_declined_while_it_is_pending() {
    given::<Payment>([requested()]).when(record_decline()).then([declined()]);
    given::<Payment>([requested(), declined()]).when(record_decline()).then_nothing();
    given::<Payment>([requested(), captured()]).when(record_decline()).then_nothing();
    given::<Payment>([requested(), cancelled(PaymentCancellation::DeadlinePassed)]).when(record_decline()).then_nothing();
}

#[test]
fn a_pending_payment_is_cancelled() {
    for reason in [PaymentCancellation::OrderCancelled, PaymentCancellation::DeadlinePassed] {
        given::<Payment>([requested()]).when(cancel(reason)).then([cancelled(reason)]);
        given::<Payment>([requested(), cancelled(reason)]).when(cancel(reason)).then_nothing();
        given::<Payment>([requested(), declined()]).when(cancel(reason)).then_nothing();
    }
}

#[test]
fn what_was_captured_goes_back_when_the_order_is_cancelled() {
    let by_order = || cancel(PaymentCancellation::OrderCancelled);
    given::<Payment>([requested(), captured()]).when(by_order()).then([refund_requested(9, "10.00", "order cancelled")]);
    let partly = [requested(), captured(), refund_requested(1, "2.50", "broken")];
    given::<Payment>(partly).when(by_order()).then([refund_requested(9, "7.50", "order cancelled")]);
    given::<Payment>([requested(), captured(), refund_requested(1, "10.00", "broken")]).when(by_order()).then_nothing();
    given::<Payment>([requested(), captured()]).when(cancel(PaymentCancellation::DeadlinePassed)).then_nothing();
    // Once, also where the gateway has refused it since: its id stands for one try.
    let refused = [requested(), captured(), refund_requested(9, "10.00", "order cancelled"), refund_failed(9, "10.00")];
    given::<Payment>(refused).when(by_order()).then_nothing();
}

#[test]
fn a_pending_payment_expires_at_its_deadline() {
    given::<Payment>([requested()]).at(99).when(Command::Expire).then_nothing();
    given::<Payment>([requested()]).at(100).when(Command::Expire).then([cancelled(PaymentCancellation::DeadlinePassed)]);
    given::<Payment>([requested(), captured()]).at(100).when(Command::Expire).then_nothing();
    given::<Payment>([requested(), declined()]).at(100).when(Command::Expire).then_nothing();
}

#[test]
fn a_refund_is_asked_for_once() {
    given::<Payment>([requested(), captured()]).when(request_refund(1, gbp("4"))).then([refund_requested(1, "4.00", "broken")]);
    let asked = [requested(), captured(), refund_requested(1, "4.00", "broken")];
    given::<Payment>(asked.clone()).when(request_refund(1, gbp("4"))).then_nothing();
    given::<Payment>(asked).when(request_refund(2, gbp("6.00"))).then([refund_requested(2, "6.00", "broken")]);
}

#[test]
fn no_more_goes_back_than_came_in() {
    let refusal = |captured, refunded| Refusal::MoreThanCaptured { captured: gbp(captured), refunded: gbp(refunded) };
    given::<Payment>([requested(), captured()]).when(request_refund(1, gbp("10.01"))).then_refused(refusal("10.00", "0.00"));
    given::<Payment>([requested(), captured(), refund_requested(1, "4.00", "broken")])
        .when(request_refund(2, gbp("6.01")))
        .then_refused(refusal("10.00", "4.00"));
    for events in uncaptured().into_iter().chain([vec![]]) {
        given::<Payment>(events).when(request_refund(1, gbp("1"))).then_refused(refusal("0.00", "0.00"));
    }
}

#[test]
fn a_refund_is_in_the_payment_s_currency_and_whole_minor_units() {
    let captured = || [requested(), captured()];
    let mismatch = Refusal::CurrencyMismatch { expected: gbp("1").currency, found: eur("1").currency };
    given::<Payment>(captured()).when(request_refund(1, eur("1"))).then_refused(mismatch);
    for amount in [gbp("0"), gbp("-1"), gbp("0.001")] {
        given::<Payment>(captured()).when(request_refund(1, amount)).then_refused(Refusal::InvalidAmount { amount });
    }
}

#[test]
fn money_goes_back_once_for_each_refund_that_was_asked_for() {
    let asked = || [requested(), captured(), refund_requested(1, "4.00", "broken")];
    given::<Payment>(asked()).when(record_refund(1)).then([refunded(1, "4.00")]);
    given::<Payment>(asked()).when(record_refund(2)).then_nothing();
    given::<Payment>(asked().into_iter().chain([refunded(1, "4.00")])).when(record_refund(1)).then_nothing();
    given::<Payment>([requested()]).when(record_refund(1)).then_nothing();
}

#[test]
fn a_state_tells_what_is_left_to_do() {
    let pending = after::<Payment>([(0, requested())]);
    assert!(pending.is_pending());
    assert_eq!((pending.amount(), pending.means(), pending.deadline()), (Some(gbp("10.00")), Some(&means()), Some(t(100))));
    assert_eq!((pending.idempotency_key(), pending.captured(), pending.refundable()), (Some(id(1)), None, None));
    let asked = [requested(), captured(), refund_requested(1, "4.00", "broken"), refund_requested(2, "1.00", "broken")];
    let state = after::<Payment>(asked.into_iter().chain([refunded(1, "4.00")]).map(|event| (0, event)));
    assert_eq!((state.captured(), state.refundable()), (Some(gbp("10.00")), Some(gbp("5.00"))));
    assert_eq!(state.pending_refunds().map(|pending| pending.refund).collect::<Vec<_>>(), [refund(2)]);
}
