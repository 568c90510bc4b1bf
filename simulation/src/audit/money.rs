//! The book of a payment, and the gateway's beside it.

use std::collections::BTreeMap;

use event_schemas::{
    Money,
    events::payment::Event,
    ids::{OrderId, RefundId},
};
use rust_decimal::Decimal;
use uuid::Uuid;

use super::{Checked, broken, orders::Order};
use crate::{
    counts::{Counts, Sight},
    gateway::{Gateway, Stage},
    verdict::Invariant,
};

#[derive(Default)]
pub(super) struct Payment {
    key: Option<Uuid>,
    captured: Option<Money>,
    is_pending: bool,
    refunds: BTreeMap<RefundId, Refund>,
}

struct Refund {
    amount: Money,
    outcome: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Pending,
    Succeeded,
    Failed,
}

impl Payment {
    pub fn take(&mut self, event: &Event, counts: &mut Counts) -> Checked {
        match event {
            Event::Requested(event) => {
                self.key = Some(event.idempotency_key);
                self.is_pending = true;
            }
            Event::Captured(event) => {
                self.is_pending = false;
                if self.captured.replace(event.amount).is_some() {
                    return broken(Invariant::Money, "a payment is captured twice");
                }
            }
            Event::Declined(_) | Event::Cancelled(_) => self.is_pending = false,
            Event::RefundRequested(event) => {
                self.refunds.insert(event.refund, Refund { amount: event.amount, outcome: Outcome::Pending });
                if self.refunded() > self.captured.map_or(Decimal::ZERO, |captured| captured.amount) {
                    return broken(Invariant::Money, format!("refund {} is of more than was captured", event.refund));
                }
            }
            Event::Refunded(event) => {
                counts.see(Sight::Refunded);
                return self.end_refund(event.refund, event.amount, Outcome::Succeeded);
            }
            Event::RefundFailed(event) => {
                counts.see(Sight::RefundFailed);
                return self.end_refund(event.refund, event.amount, Outcome::Failed);
            }
            Event::AttemptFailed(_) | Event::RefundAttemptFailed(_) => {}
        }
        Ok(())
    }

    fn end_refund(&mut self, id: RefundId, amount: Money, outcome: Outcome) -> Checked {
        match self.refunds.get_mut(&id) {
            Some(refund) if refund.outcome == Outcome::Pending && refund.amount == amount => {
                refund.outcome = outcome;
                Ok(())
            }
            _ => broken(Invariant::Money, format!("refund {id} was not asked for, or comes to two ends")),
        }
    }

    /// The sum of the refunds that have not failed.
    fn refunded(&self) -> Decimal {
        self.refunds.values().filter(|refund| refund.outcome != Outcome::Failed).map(|refund| refund.amount.amount).sum()
    }

    fn has_failed_refund(&self) -> bool {
        self.refunds.values().any(|refund| refund.outcome == Outcome::Failed)
    }
}

/// What must hold in the end between an order and its payment.
pub(super) fn finish(id: OrderId, order: &Order, payment: Option<&Payment>) -> Checked {
    let Some(payment) = payment else {
        return if order.was_placed() { broken(Invariant::Money, format!("order {id} was placed without a payment")) } else { Ok(()) };
    };
    if payment.is_pending {
        return broken(Invariant::OrderFinal, format!("the payment of order {id} is still pending"));
    }
    if !order.was_placed() {
        return broken(Invariant::Money, format!("order {id} has a payment and was never placed"));
    }
    if order.captured != payment.captured {
        let detail = format!("order {id} knows of {:?} captured, its payment of {:?}", order.captured, payment.captured);
        return broken(Invariant::Money, detail);
    }
    if let Some((refund, _)) = payment.refunds.iter().find(|(_, refund)| refund.outcome == Outcome::Pending) {
        return broken(Invariant::Money, format!("refund {refund} of order {id} was never made"));
    }
    let told: Vec<_> = order.refunded.iter().map(|(refund, amount)| (*refund, amount.amount)).collect();
    let made = payment.refunds.iter().filter(|(_, refund)| refund.outcome == Outcome::Succeeded);
    let made: Vec<_> = made.map(|(id, refund)| (*id, refund.amount.amount)).collect();
    if told != made {
        return broken(Invariant::Money, format!("order {id} tells of refunds {told:?}, its payment of {made:?}"));
    }
    let captured = payment.captured.map_or(Decimal::ZERO, |captured| captured.amount);
    let kept = captured - payment.refunded();
    let failed: Vec<_> = payment.refunds.iter().filter(|(_, refund)| refund.outcome == Outcome::Failed).map(|(id, _)| *id).collect();
    if !failed.iter().eq(&order.failed_refunds) {
        return broken(
            Invariant::Money,
            format!("order {id} tells of failed refunds {:?}, its payment of {failed:?}", order.failed_refunds),
        );
    }
    let may_keep = !order.is_cancelled() || payment.has_failed_refund();
    if kept < Decimal::ZERO || (!may_keep && kept != Decimal::ZERO) {
        return broken(Invariant::Money, format!("order {id} keeps {kept} of {captured}"));
    }
    if order.is_confirmed() && Some(captured) != order.total.map(|total| total.amount) {
        return broken(Invariant::Money, format!("order {id} is confirmed, and {captured} of {:?} captured", order.total));
    }
    Ok(())
}

/// The gateway charged and sent back what the log says, and nothing else.
pub(super) fn compare(payments: &BTreeMap<OrderId, Payment>, gateway: &Gateway) -> Checked {
    let mut charges: BTreeMap<Uuid, Decimal> = gateway
        .charges
        .iter()
        .filter(|(_, charge)| charge.stage == Stage::Captured)
        .map(|(key, charge)| (*key, charge.amount.amount))
        .collect();
    let mut refunds = gateway.refunds.clone();
    for (order, payment) in payments {
        let Some(key) = payment.key else { continue };
        let taken = charges.remove(&key);
        if taken != payment.captured.map(|captured| captured.amount) {
            let detail = format!("the gateway charged {taken:?} for order {order}, the log says {:?}", payment.captured);
            return broken(Invariant::GatewayAgrees, detail);
        }
        for (id, refund) in &payment.refunds {
            let sent = refunds.remove(&id.uuid()).filter(|sent| sent.charge == key).map(|sent| sent.amount.amount);
            let expected = (refund.outcome == Outcome::Succeeded).then_some(refund.amount.amount);
            if sent != expected {
                let detail = format!("the gateway sent {sent:?} back for order {order}, the log says {}", refund.amount);
                return broken(Invariant::GatewayAgrees, detail);
            }
        }
    }
    if let Some((key, amount)) = charges.iter().next() {
        return broken(Invariant::GatewayAgrees, format!("the gateway charged {amount} as {key}, of which the log knows nothing"));
    }
    if let Some((key, refund)) = refunds.iter().next() {
        return broken(
            Invariant::GatewayAgrees,
            format!("the gateway sent {} back as {key}, of which the log knows nothing", refund.amount),
        );
    }
    Ok(())
}
