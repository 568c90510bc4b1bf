//! What becomes of a payment.

use event_schemas::{
    events::payment::{Event, PaymentCaptured, PaymentRefundRequested, PaymentRequested},
    ids::RefundId,
};

use super::{Cancelled, Captured, Charge, Declined, Refund, RefundOutcome, State};

pub(super) fn evolve(state: State, event: &Event) -> State {
    match (state, event) {
        (State::Nothing, Event::Requested(PaymentRequested { amount, means, idempotency_key, deadline })) => State::Pending(Charge {
            amount: *amount,
            means: means.clone(),
            idempotency_key: *idempotency_key,
            deadline: *deadline,
            attempts: 0,
        }),
        (State::Pending(charge), Event::AttemptFailed(failed)) => State::Pending(Charge { attempts: failed.attempt, ..charge }),
        (State::Cancelled(Cancelled { charge, reason }), Event::AttemptFailed(failed)) => {
            State::Cancelled(Cancelled { charge: Charge { attempts: failed.attempt, ..charge }, reason })
        }
        (State::Pending(charge), Event::Declined(declined)) => {
            State::Declined(Declined { charge, decline_code: declined.decline_code.clone() })
        }
        (State::Pending(charge), Event::Cancelled(cancelled)) => State::Cancelled(Cancelled { charge, reason: cancelled.reason }),
        (State::Pending(charge) | State::Cancelled(Cancelled { charge, .. }), Event::Captured(event)) => captured(charge, event),
        (State::Captured(capture), Event::RefundRequested(event)) => State::Captured(with_refund(capture, event)),
        (State::Captured(capture), Event::Refunded(event)) => {
            let gateway_reference = event.gateway_reference.clone();
            State::Captured(with_outcome(capture, event.refund, RefundOutcome::Succeeded { gateway_reference }))
        }
        (State::Captured(capture), Event::RefundFailed(event)) => {
            State::Captured(with_outcome(capture, event.refund, RefundOutcome::Failed { failure: event.failure.clone() }))
        }
        (State::Captured(capture), Event::RefundAttemptFailed(event)) => {
            let (attempts, retry_at) = (event.attempt, Some(event.retry_at));
            State::Captured(with_outcome(capture, event.refund, RefundOutcome::Pending { attempts, retry_at }))
        }
        (state, _) => state,
    }
}

fn captured(charge: Charge, event: &PaymentCaptured) -> State {
    let PaymentCaptured { amount, gateway_reference } = event.clone();
    State::Captured(Captured { charge, captured: amount, gateway_reference, refunds: Vec::new() })
}

fn with_refund(mut capture: Captured, event: &PaymentRefundRequested) -> Captured {
    let PaymentRefundRequested { refund, amount, reason } = event.clone();
    let known = capture.refunds.iter().any(|known| known.refund == refund);
    if !known && amount.currency == capture.captured.currency {
        let outcome = RefundOutcome::Pending { attempts: 0, retry_at: None };
        capture.refunds.push(Refund { refund, amount, reason, outcome });
    }
    capture
}

/// A refund comes to its end once: what is said of it afterwards means nothing.
fn with_outcome(mut capture: Captured, refund: RefundId, outcome: RefundOutcome) -> Captured {
    let pending = |known: &&mut Refund| known.refund == refund && matches!(known.outcome, RefundOutcome::Pending { .. });
    if let Some(known) = capture.refunds.iter_mut().find(pending) {
        known.outcome = outcome;
    }
    capture
}
