//! What becomes of a payment.

use event_schemas::events::payment::{Event, PaymentCaptured, PaymentRefundRequested, PaymentRefunded, PaymentRequested};

use super::{Cancelled, Captured, Charge, Declined, Refund, State};

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
        (State::Pending(charge), Event::Declined(declined)) => {
            State::Declined(Declined { charge, decline_code: declined.decline_code.clone() })
        }
        (State::Pending(charge), Event::Cancelled(cancelled)) => State::Cancelled(Cancelled { charge, reason: cancelled.reason }),
        (State::Pending(charge) | State::Cancelled(Cancelled { charge, .. }), Event::Captured(event)) => captured(charge, event),
        (State::Captured(capture), Event::RefundRequested(event)) => State::Captured(with_refund(capture, event)),
        (State::Captured(capture), Event::Refunded(event)) => State::Captured(with_refunded(capture, event)),
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
        capture.refunds.push(Refund { refund, amount, reason, gateway_reference: None });
    }
    capture
}

fn with_refunded(mut capture: Captured, event: &PaymentRefunded) -> Captured {
    if let Some(refund) = capture.refunds.iter_mut().find(|refund| refund.refund == event.refund) {
        refund.gateway_reference = Some(event.gateway_reference.clone());
    }
    capture
}
