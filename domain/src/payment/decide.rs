//! What a payment decides.

use event_schemas::{
    Money, Timestamp,
    events::payment::{
        Event, PaymentAttemptFailed, PaymentCancellation, PaymentCancelled, PaymentCaptured, PaymentDeclined, PaymentRefundAttemptFailed,
        PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    },
    ids::RefundId,
};

use super::{Cancelled, Captured, Command, Refund, RefundOutcome, Refusal, State};

pub(super) fn decide(state: &State, command: &Command, now: Timestamp) -> Result<Vec<Event>, Refusal> {
    match (command, state) {
        (Command::Request { amount, means, idempotency_key, deadline }, State::Nothing) => Ok(vec![
            PaymentRequested { amount: *amount, means: means.clone(), idempotency_key: *idempotency_key, deadline: *deadline }.into(),
        ]),
        (Command::RequestRefund { refund, amount, reason }, State::Captured(capture)) => request_refund(capture, *refund, *amount, reason),
        (Command::RequestRefund { amount, .. }, _) => {
            let nothing = Money::zero(state.amount().map_or(amount.currency, |amount| amount.currency));
            Err(Refusal::MoreThanCaptured { captured: nothing, refunded: nothing })
        }
        (command, state) => Ok(follow(state, command, now)),
    }
}

/// What is never refused: facts that the gateway or an order reports, which are noted where they still mean something.
fn follow(state: &State, command: &Command, now: Timestamp) -> Vec<Event> {
    match (command, state) {
        (Command::RecordFailure { attempt, reason, retry_at }, State::Pending(charge) | State::Cancelled(Cancelled { charge, .. }))
            if *attempt == charge.attempts.saturating_add(1) =>
        {
            vec![PaymentAttemptFailed { attempt: *attempt, reason: reason.clone(), retry_at: *retry_at }.into()]
        }
        (Command::RecordCapture { amount, gateway_reference, .. }, State::Pending(_)) => vec![captured(*amount, gateway_reference)],
        (Command::RecordCapture { amount, gateway_reference, refund }, State::Cancelled(_)) => {
            let back = amount.is_positive().then(|| refund_requested(*refund, *amount, "captured after cancellation"));
            std::iter::once(captured(*amount, gateway_reference)).chain(back).collect()
        }
        (Command::RecordDecline { decline_code }, State::Pending(_)) => {
            vec![PaymentDeclined { decline_code: decline_code.clone() }.into()]
        }
        (Command::Cancel { reason, .. }, State::Pending(_)) => vec![PaymentCancelled { reason: *reason }.into()],
        (Command::Cancel { reason: PaymentCancellation::OrderCancelled, refund }, State::Captured(capture)) => {
            let remainder = capture.refundable();
            // Once for each refund, also where it has failed since.
            if remainder.is_positive() && !capture.has_refund(*refund) {
                vec![refund_requested(*refund, remainder, "order cancelled")]
            } else {
                Vec::new()
            }
        }
        (Command::Expire, State::Pending(charge)) if now >= charge.deadline => {
            vec![PaymentCancelled { reason: PaymentCancellation::DeadlinePassed }.into()]
        }
        (
            Command::RecordRefund { refund, .. }
            | Command::RecordRefundAttempt { refund, .. }
            | Command::RecordRefundFailure { refund, .. },
            state,
        ) => state
            .pending_refunds()
            .find(|pending| pending.refund == *refund)
            .and_then(|pending| follow_refund(pending, command))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// The event for what the gateway reports of a refund that it has still to make; none where it is no such report, or
/// of an attempt that is not the next one.
fn follow_refund(pending: &Refund, command: &Command) -> Option<Event> {
    let (refund, amount) = (pending.refund, pending.amount);
    match (command, &pending.outcome) {
        (Command::RecordRefund { gateway_reference, .. }, _) => {
            Some(PaymentRefunded { refund, amount, gateway_reference: gateway_reference.clone() }.into())
        }
        (Command::RecordRefundFailure { failure, .. }, _) => Some(PaymentRefundFailed { refund, amount, failure: failure.clone() }.into()),
        (Command::RecordRefundAttempt { attempt, reason, retry_at, .. }, RefundOutcome::Pending { attempts, .. })
            if *attempt == attempts.saturating_add(1) =>
        {
            Some(PaymentRefundAttemptFailed { refund, attempt: *attempt, reason: reason.clone(), retry_at: *retry_at }.into())
        }
        _ => None,
    }
}

fn request_refund(capture: &Captured, refund: RefundId, amount: Money, reason: &str) -> Result<Vec<Event>, Refusal> {
    let (captured, refunded) = (capture.captured, capture.refunded());
    match () {
        () if capture.has_refund(refund) => Ok(Vec::new()),
        () if amount.currency != captured.currency => {
            Err(Refusal::CurrencyMismatch { expected: captured.currency, found: amount.currency })
        }
        () if !amount.is_positive() || amount.rounded() != amount => Err(Refusal::InvalidAmount { amount }),
        () if amount.amount > capture.refundable().amount => Err(Refusal::MoreThanCaptured { captured, refunded }),
        () => Ok(vec![refund_requested(refund, amount.rounded(), reason)]),
    }
}

fn captured(amount: Money, gateway_reference: &str) -> Event {
    PaymentCaptured { amount, gateway_reference: gateway_reference.to_owned() }.into()
}

fn refund_requested(refund: RefundId, amount: Money, reason: &str) -> Event {
    PaymentRefundRequested { refund, amount, reason: reason.to_owned() }.into()
}
