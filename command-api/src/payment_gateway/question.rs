//! What a payment needs of its gateway, and what the answer leads to: decided without I/O. The [`worker`](super::worker) and the simulator
//! both go by it.

use std::time::Duration;

use domain::payment::{self, Charge, Refund};
use event_schemas::{
    Event, Recorded, Timestamp,
    events::payment::Event as PaymentEvent,
    ids::{OrderId, RefundId},
};
use uuid::Uuid;

use super::{ChargeOutcome, ChargeRequest, NoAnswer, RefundOutcome, RefundRequest, VoidOutcome};
use crate::process::derived_id;

/// How long a gateway may take to answer.
pub const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// The first pause after a failed attempt; it doubles with each.
const FIRST_PAUSE: Duration = Duration::from_millis(400);
/// The longest pause between two attempts at a charge.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// The longest pause between two attempts at what has no deadline: a refund, or a charge that is no longer wanted.
const MAX_PATIENT_PAUSE: Duration = Duration::from_mins(15);

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
    /// To send money back, after so many attempts.
    Refund(RefundRequest, RefundId, u32),
}

/// What it answers, or that it does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Of a charge.
    Charge(Result<ChargeOutcome, NoAnswer>),
    /// Of a charge that is no longer wanted.
    Void(Result<VoidOutcome, NoAnswer>),
    /// Of a refund.
    Refund(Result<RefundOutcome, NoAnswer>),
}

/// When a payment is to be looked at again, after it was worked on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// When something happens to it.
    Nothing,
    /// At a time.
    At(Timestamp),
}

impl Next {
    /// The sooner of two.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::At(one), Self::At(two)) => Self::At(one.min(two)),
            (Self::Nothing, next) | (next, Self::Nothing) => next,
        }
    }
}

/// The questions that a payment in `state` needs asked at `now`, each for itself, and when to look again because of what is not to be asked
/// yet. After its deadline it is not charged any more: it will be cancelled.
#[must_use]
pub fn questions(state: &payment::State, now: Timestamp) -> (Vec<Question>, Next) {
    let questions = match state {
        payment::State::Captured(captured) => return refunds(state, captured.charge.idempotency_key, now),
        _ => charges(state, now),
    };
    (questions, Next::Nothing)
}

fn charges(state: &payment::State, now: Timestamp) -> Vec<Question> {
    match state {
        payment::State::Nothing | payment::State::Declined(_) | payment::State::Captured(_) => Vec::new(),
        payment::State::Pending(charge) if now >= charge.deadline => Vec::new(),
        payment::State::Pending(charge) => vec![Question::Charge(charge_request(charge))],
        payment::State::Cancelled(cancelled) => vec![Question::Void(charge_request(&cancelled.charge))],
    }
}

/// The refunds that are to be asked for: one whose attempt failed waits, and no other waits for it.
fn refunds(state: &payment::State, charge: Uuid, now: Timestamp) -> (Vec<Question>, Next) {
    let (mut questions, mut next) = (Vec::new(), Next::Nothing);
    for Refund { refund, amount, outcome, .. } in state.pending_refunds() {
        let payment::RefundOutcome::Pending { attempts, retry_at } = outcome else { continue };
        match retry_at {
            Some(at) if *at > now => next = next.or(Next::At(*at)),
            _ => {
                let request = RefundRequest { idempotency_key: refund.uuid(), charge, amount: *amount };
                questions.push(Question::Refund(request, *refund, *attempts));
            }
        }
    }
    (questions, next)
}

/// The command that records the answer to one of a payment's [`questions`], if there is anything to record, and when to look again. `later`
/// is the time after the pause that follows so many failures, of at most so long.
#[must_use]
pub fn follow(
    charge: &Charge,
    question: &Question,
    answer: Answer,
    later: impl FnOnce(u32, Duration) -> Timestamp,
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
            let retry_at = later(attempt, MAX_PAUSE).min(charge.deadline);
            (Some(payment::Command::RecordFailure { attempt, reason, retry_at }), Next::At(retry_at))
        }
        (_, Answer::Void(Err(NoAnswer(reason)))) => {
            let attempt = charge.attempts.saturating_add(1);
            let retry_at = later(attempt, MAX_PATIENT_PAUSE);
            (Some(payment::Command::RecordFailure { attempt, reason, retry_at }), Next::At(retry_at))
        }
        (Question::Refund(_, refund, attempts), Answer::Refund(answer)) => follow_refund(*refund, *attempts, answer, later),
        (_, Answer::Void(Ok(VoidOutcome::Voided)) | Answer::Refund(_)) => (None, Next::Nothing),
    }
}

fn follow_refund(
    refund: RefundId,
    attempts: u32,
    answer: Result<RefundOutcome, NoAnswer>,
    later: impl FnOnce(u32, Duration) -> Timestamp,
) -> (Option<payment::Command>, Next) {
    match answer {
        Ok(RefundOutcome::Succeeded { reference: gateway_reference }) => {
            (Some(payment::Command::RecordRefund { refund, gateway_reference }), Next::Nothing)
        }
        Ok(RefundOutcome::Failed { failure }) => (Some(payment::Command::RecordRefundFailure { refund, failure }), Next::Nothing),
        Err(NoAnswer(reason)) => {
            let attempt = attempts.saturating_add(1);
            let retry_at = later(attempt, MAX_PATIENT_PAUSE);
            (Some(payment::Command::RecordRefundAttempt { refund, attempt, reason, retry_at }), Next::At(retry_at))
        }
    }
}

/// The pause after the `attempt`-th failed attempt, from 1: doubling from 400 ms to `most`, of which up to half is left out at random, so
/// that what failed together does not come back together ("full jitter" halved; Brooker, "Exponential Backoff And Jitter").
#[must_use]
pub fn pause_after(attempt: u32, most: Duration, random: u32) -> Duration {
    let whole = FIRST_PAUSE.saturating_mul(1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX)).min(most);
    whole / 2 + whole.mul_f64(f64::from(random) / f64::from(u32::MAX)) / 2
}

/// The time after [`pause_after`].
#[must_use]
pub fn later(now: Timestamp, attempt: u32, most: Duration, random: u32) -> Timestamp {
    now.plus(chrono::Duration::from_std(pause_after(attempt, most, random)).unwrap_or_default())
}

fn charge_request(charge: &Charge) -> ChargeRequest {
    ChargeRequest { idempotency_key: charge.idempotency_key, amount: charge.amount, token: charge.means.token.clone() }
}

#[cfg(test)]
mod tests {
    use domain::Aggregate as _;
    use event_schemas::{
        Money,
        events::{
            order::PaymentMeans,
            payment::{PaymentCaptured, PaymentRefundRequested, PaymentRequested},
        },
    };

    use super::*;

    fn t(second: i64) -> Timestamp {
        Timestamp::from_micros(second * 1_000_000)
    }

    fn gbp(amount: &str) -> Money {
        Money::new(amount.parse().unwrap(), "GBP".parse().unwrap())
    }

    fn refund(n: u128) -> RefundId {
        RefundId(Uuid::from_u128(n))
    }

    /// A payment of 10.00 that was captured, of which these refunds of 1.00 are asked for.
    fn captured(refunds: &[u128]) -> payment::State {
        let means = PaymentMeans { method: "simulated".into(), token: "tok_ok".into() };
        let requested = PaymentRequested { amount: gbp("10.00"), means, idempotency_key: Uuid::from_u128(1), deadline: t(900) };
        let captured = PaymentCaptured { amount: gbp("10.00"), gateway_reference: "ch_1".into() };
        let asked =
            refunds.iter().map(|n| PaymentRefundRequested { refund: refund(*n), amount: gbp("1.00"), reason: "broken".into() }.into());
        let events = [PaymentEvent::from(requested), captured.into()].into_iter().chain(asked);
        events.fold(payment::State::default(), |state, event| payment::Payment::evolve(state, &event, t(0)))
    }

    /// Asks all that is to be asked at `now`; which refunds these are about, and when to look again.
    fn ask(
        state: &mut payment::State,
        now: Timestamp,
        answer: impl Fn(RefundId) -> Result<RefundOutcome, NoAnswer>,
    ) -> (Vec<RefundId>, Next) {
        let charge = state.charge().cloned().unwrap();
        let (questions, mut next) = questions(state, now);
        let mut asked = Vec::new();
        for question in questions {
            let Question::Refund(_, refund, _) = &question else { panic!("{question:?}") };
            asked.push(*refund);
            let (command, again) =
                follow(&charge, &question, Answer::Refund(answer(*refund)), |attempt, most| later(now, attempt, most, u32::MAX));
            next = next.or(again);
            for event in payment::Payment::decide(state, &command.unwrap(), now).unwrap() {
                *state = payment::Payment::evolve(std::mem::take(state), &event, now);
            }
        }
        (asked, next)
    }

    #[test]
    fn a_refund_without_an_answer_holds_no_other_up_and_waits_longer_each_time() {
        let mut state = captured(&[1, 2, 3]);
        let only_1_is_lost = |asked| {
            if asked == refund(1) { Err(NoAnswer("lost".into())) } else { Ok(RefundOutcome::Succeeded { reference: "re".into() }) }
        };
        let (asked, next) = ask(&mut state, t(0), only_1_is_lost);
        assert_eq!((asked, next), (vec![refund(1), refund(2), refund(3)], Next::At(Timestamp::from_micros(400_000))));
        let (mut pauses, mut now) = (Vec::new(), t(0));
        let mut next = next;
        for _ in 0..16 {
            let Next::At(at) = next else { panic!("nothing is to be done") };
            pauses.push(at.since(now).num_milliseconds());
            assert_eq!(
                ask(&mut state, at.plus(chrono::Duration::microseconds(-1)), only_1_is_lost),
                (Vec::new(), next),
                "not before its time"
            );
            now = at;
            let (asked, again) = ask(&mut state, now, only_1_is_lost);
            assert_eq!(asked, [refund(1)]);
            next = again;
        }
        assert_eq!(pauses[..4], [400, 800, 1_600, 3_200]);
        assert_eq!(pauses[15], 900_000, "a quarter of an hour at most");
    }

    #[test]
    fn a_refund_that_is_refused_is_asked_for_no_more() {
        let mut state = captured(&[1]);
        let refused = |_| Ok(RefundOutcome::Failed { failure: "account_closed".into() });
        assert_eq!(ask(&mut state, t(0), refused), (vec![refund(1)], Next::Nothing));
        assert_eq!(ask(&mut state, t(9_999), refused), (Vec::new(), Next::Nothing));
        assert_eq!(state.refundable(), Some(gbp("10.00")));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_a_random_half_is_left_out() {
        let pause = |attempt, random| pause_after(attempt, MAX_PAUSE, random).as_millis();
        let bounds = |attempt| (pause(attempt, 0), pause(attempt, u32::MAX));
        assert_eq!(bounds(1), (200, 400));
        assert_eq!(bounds(2), (400, 800));
        assert_eq!(bounds(5), (3_200, 6_400));
        assert_eq!(bounds(40), (30_000, 60_000));
    }
}
