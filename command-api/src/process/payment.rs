//! Payment: the order follows what became of its payment, and the payment follows its order's cancellation.

use domain::{order, payment};
use event_schemas::{
    Event, Recorded, Timestamp,
    events::{
        order::Event as OrderEvent,
        payment::{Event as PaymentEvent, PaymentCancellation},
    },
    ids::{OrderId, RefundId},
};

use super::{Known, Reaction, Reminder, derived_id, order_of};

/// What a payment's events ask of its order, and an order's of its payment.
#[must_use]
pub fn react(known: Known<'_>, event: &Recorded, _now: Timestamp) -> Vec<Reaction> {
    let Some(order) = order_of(event) else { return Vec::new() };
    match &event.event {
        Event::Payment(happened) => follow_payment(known, order, happened),
        Event::Order(OrderEvent::Cancelled(_)) => {
            let refund = RefundId(derived_id(event.event_id, "refund"));
            vec![Reaction::Payment(order, payment::Command::Cancel { reason: PaymentCancellation::OrderCancelled, refund })]
        }
        _ => Vec::new(),
    }
}

fn follow_payment(known: Known<'_>, order: OrderId, event: &PaymentEvent) -> Vec<Reaction> {
    let decided = |command| vec![Reaction::Forget(Reminder::PaymentDeadline(order)), Reaction::Order(order, command)];
    match event {
        PaymentEvent::Requested(requested) if known.payment.is_pending() => {
            vec![Reaction::Remind(Reminder::PaymentDeadline(order), requested.deadline)]
        }
        PaymentEvent::Captured(captured) => decided(order::Command::RecordCapture { amount: captured.amount }),
        PaymentEvent::Declined(declined) => decided(order::Command::RecordDecline { decline_code: declined.decline_code.clone() }),
        PaymentEvent::Cancelled(cancelled) if cancelled.reason == PaymentCancellation::DeadlinePassed => {
            decided(order::Command::RecordPaymentExpiry)
        }
        PaymentEvent::Cancelled(_) => vec![Reaction::Forget(Reminder::PaymentDeadline(order))],
        PaymentEvent::Refunded(refunded) => {
            let reason = reason_of(known, refunded.refund);
            vec![Reaction::Order(order, order::Command::RecordRefund { refund: refunded.refund, amount: refunded.amount, reason })]
        }
        PaymentEvent::RefundFailed(failed) => {
            let (reason, failure) = (reason_of(known, failed.refund), failed.failure.clone());
            let command = order::Command::RecordRefundFailure { refund: failed.refund, amount: failed.amount, reason, failure };
            vec![Reaction::Order(order, command)]
        }
        PaymentEvent::Requested(_)
        | PaymentEvent::AttemptFailed(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundAttemptFailed(_) => Vec::new(),
    }
}

fn reason_of(known: Known<'_>, refund: RefundId) -> String {
    let asked = known.payment.refunds().iter().find(|asked| asked.refund == refund);
    asked.map(|asked| asked.reason.clone()).unwrap_or_default()
}

/// The deadline has passed.
#[must_use]
pub fn when_due(order: OrderId) -> Vec<Reaction> {
    vec![Reaction::Payment(order, payment::Command::Expire)]
}
