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
    is_done: bool,
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
                self.refunds.insert(event.refund, Refund { amount: event.amount, is_done: false });
                if self.refunded() > self.captured.map_or(Decimal::ZERO, |captured| captured.amount) {
                    return broken(Invariant::Money, format!("refund {} is of more than was captured", event.refund));
                }
            }
            Event::Refunded(event) => {
                counts.see(Sight::Refunded);
                match self.refunds.get_mut(&event.refund) {
                    Some(refund) if !refund.is_done && refund.amount == event.amount => refund.is_done = true,
                    _ => return broken(Invariant::Money, format!("refund {} was not asked for, or twice", event.refund)),
                }
            }
            Event::AttemptFailed(_) => {}
        }
        Ok(())
    }

    fn refunded(&self) -> Decimal {
        self.refunds.values().map(|refund| refund.amount.amount).sum()
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
    if let Some((refund, _)) = payment.refunds.iter().find(|(_, refund)| !refund.is_done) {
        return broken(Invariant::Money, format!("refund {refund} of order {id} was never made"));
    }
    let told: Vec<_> = order.refunded.iter().map(|(refund, amount)| (*refund, amount.amount)).collect();
    let made: Vec<_> = payment.refunds.iter().map(|(id, refund)| (*id, refund.amount.amount)).collect();
    if told != made {
        return broken(Invariant::Money, format!("order {id} tells of refunds {told:?}, its payment of {made:?}"));
    }
    let captured = payment.captured.map_or(Decimal::ZERO, |captured| captured.amount);
    let kept = captured - payment.refunded();
    if kept < Decimal::ZERO || (order.is_cancelled() && kept != Decimal::ZERO) {
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
            if sent != Some(refund.amount.amount) {
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
