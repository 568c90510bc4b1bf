//! What a payment needs of its gateway, and what the answer leads to: decided without I/O. The [`worker`](super::worker) and the simulator
//! both go by it.

use std::time::Duration;

use domain::payment::{self, Charge};
use event_schemas::{
    Event, Recorded, Timestamp,
    events::payment::Event as PaymentEvent,
    ids::{OrderId, RefundId},
};

use super::{ChargeOutcome, ChargeRequest, NoAnswer, RefundRequest, VoidOutcome};
use crate::process::derived_id;

/// How long a gateway may take to answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The first pause after a failed attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// After how many failures' pause a refund is asked for again: it has no count of its own.
const REFUND_ATTEMPT: u32 = 3;

/// The order whose payment must be looked at because of `event`, if that is one that asks for it.
#[must_use]
pub fn asks(event: &Recorded) -> Option<OrderId> {
    use PaymentEvent::{Cancelled, RefundRequested, Requested};
    let asks = matches!(&event.event, Event::Payment(Requested(_) | RefundRequested(_) | Cancelled(_)));
    asks.then(|| event.stream.key().parse().ok()).flatten()
}

/// What a gateway is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// To charge the buyer.
    Charge(ChargeRequest),
    /// Not to charge the buyer any more, or to tell that it did.
    Void(ChargeRequest),
    /// To send money back.
    Refund(RefundRequest, RefundId),
}

/// What it answers, or that it does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a charge.
    Charge(Result<ChargeOutcome, NoAnswer>),
    /// Of a charge that is no longer wanted.
    Void(Result<VoidOutcome, NoAnswer>),
    /// Of a refund: the gateway's name for it.
    Refund(Result<String, NoAnswer>),
}

/// When a payment is to be looked at again, after it was worked on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// When something happens to it.
    Nothing,
    /// At a time.
    At(Timestamp),
}

/// What a payment in `state` needs at `now`, one question after the other. After its deadline it is not charged any more: it will be
/// cancelled.
#[must_use]
pub fn questions(state: &payment::State, now: Timestamp) -> Vec<Question> {
    match state {
        payment::State::Nothing | payment::State::Declined(_) => Vec::new(),
        payment::State::Pending(charge) if now >= charge.deadline => Vec::new(),
        payment::State::Pending(charge) => vec![Question::Charge(charge_request(charge))],
        payment::State::Cancelled(cancelled) => vec![Question::Void(charge_request(&cancelled.charge))],
        payment::State::Captured(captured) => {
            let charge = captured.charge.idempotency_key;
            let refund = |refund: &payment::Refund| {
                let request = RefundRequest { idempotency_key: refund.refund.uuid(), charge, amount: refund.amount };
                Question::Refund(request, refund.refund)
            };
            state.pending_refunds().map(refund).collect()
        }
    }
}

/// What the answer to one of a payment's [`questions`] leads to: the command that records it, and when to look again; further questions are
/// asked only where that is at no time. `later` is the time after the pause that follows so many failures.
#[must_use]
pub fn follow(
    charge: &Charge,
    question: &Question,
    answer: Answer,
    later: impl FnOnce(u32) -> Timestamp,
) -> (Option<payment::Command>, Next) {
    match (question, answer) {
        (_, Answer::Charge(Ok(ChargeOutcome::Captured { reference })) | Answer::Void(Ok(VoidOutcome::Captured { reference }))) => {
            let refund = RefundId(derived_id(charge.idempotency_key, "late-capture"));
            (Some(payment::Command::RecordCapture { amount: charge.amount, gateway_reference: reference, refund }), Next::Nothing)
        }
        (_, Answer::Charge(Ok(ChargeOutcome::Declined { code }))) => {
            (Some(payment::Command::RecordDecline { decline_code: code }), Next::Nothing)
        }
        (_, Answer::Charge(Err(NoAnswer(reason)))) => {
            let attempt = charge.attempts + 1;
            let retry_at = later(attempt).min(charge.deadline);
            (Some(payment::Command::RecordFailure { attempt, reason, retry_at }), Next::At(retry_at))
        }
        (_, Answer::Void(Ok(VoidOutcome::Voided))) => (None, Next::Nothing),
        (_, Answer::Void(Err(_))) => (None, Next::At(later(charge.attempts + 1))),
        (Question::Refund(_, refund), Answer::Refund(Ok(gateway_reference))) => {
            (Some(payment::Command::RecordRefund { refund: *refund, gateway_reference }), Next::Nothing)
        }
        (_, Answer::Refund(_)) => (None, Next::At(later(REFUND_ATTEMPT))),
    }
}

/// How long to wait after the `attempt`-th failed attempt, from 1: doubling from 400 ms to a minute, of which a random half is left out, so
/// that what failed together does not come back together ("full jitter" halved; Brooker, "Exponential Backoff And Jitter").
#[must_use]
pub fn pause_after(attempt: u32, random: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(MAX_PAUSE);
    whole / 2 + whole.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
}

/// The time after [`pause_after`].
#[must_use]
pub fn later(now: Timestamp, attempt: u32, random: u32) -> Timestamp {
    now.plus(chrono::Duration::from_std(pause_after(attempt, random)).unwrap_or_default())
}

fn charge_request(charge: &Charge) -> ChargeRequest {
    ChargeRequest { idempotency_key: charge.idempotency_key, amount: charge.amount, token: charge.means.token.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_minute_and_a_random_half_is_left_out() {
        let bounds = |attempt| (pause_after(attempt, 0).as_millis(), pause_after(attempt, u32::MAX).as_millis());
        assert_eq!(bounds(1), (200, 400));
        assert_eq!(bounds(2), (400, 800));
        assert_eq!(bounds(5), (3_200, 6_400));
        assert_eq!(bounds(40), (30_000, 60_000));
    }
}
