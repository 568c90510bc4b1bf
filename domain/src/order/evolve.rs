//! What becomes of an order.

use event_schemas::{
    Money, Timestamp,
    events::order::{
        Event, OrderCancelled, OrderRefundRequested, OrderRejected, OrderReturned, OrderShipped, OrderSubmitted, RejectionReason,
    },
    ids::RefundId,
    resource::{Cancellation, OrderStatus, Refund, RefundStatus, Return, Shipment, TimelineEntry},
};
use rust_decimal::Decimal;

use super::{Imported, Purchase, Stage, State};

pub(super) fn evolve(state: State, event: &Event, at: Timestamp) -> State {
    match (state, event) {
        (State::Nothing, Event::Submitted(submitted)) => State::Purchase(Box::new(Purchase::submitted(submitted.clone(), at))),
        (State::Nothing, Event::Imported(document)) => State::Imported(Box::new(Imported { document: document.clone(), imported_at: at })),
        (State::Nothing, Event::ReturnImported(document)) => {
            State::ReturnImported(Box::new(Imported { document: document.clone(), imported_at: at }))
        }
        (State::Purchase(mut purchase), event) => {
            let before = purchase.status();
            if purchase.apply(event, at) {
                purchase.updated_at = at;
                let status = purchase.status();
                if status != before {
                    purchase.timeline.push(TimelineEntry { status, at, reason: reason(event) });
                }
            }
            State::Purchase(purchase)
        }
        (state, _) => state,
    }
}

impl Purchase {
    fn submitted(event: OrderSubmitted, at: Timestamp) -> Self {
        let OrderSubmitted { cart, email, customer, shipping_address, lines, totals, payment, metadata } = event;
        Self {
            stage: Stage::Submitted,
            cart,
            email,
            customer,
            shipping_address,
            lines,
            totals,
            payment,
            metadata,
            captured: None,
            shipments: Vec::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            timeline: vec![TimelineEntry { status: OrderStatus::Submitted, at, reason: None }],
            submitted_at: at,
            placed_at: None,
            updated_at: at,
        }
    }

    /// Takes an event over; says whether it could be.
    fn apply(&mut self, event: &Event, at: Timestamp) -> bool {
        match (&self.stage, event) {
            (Stage::Submitted, Event::Placed(placed)) => {
                self.stage = Stage::Placed { payment_deadline: placed.payment_deadline };
                self.placed_at = Some(at);
            }
            (Stage::Submitted, Event::Rejected(OrderRejected { reason, skus })) => {
                self.stage = Stage::Rejected { reason: *reason, skus: skus.clone() };
            }
            (Stage::Placed { .. }, Event::Confirmed(confirmed)) => {
                self.stage = Stage::Confirmed;
                self.captured = Some(confirmed.captured);
            }
            (Stage::Placed { .. } | Stage::Confirmed, Event::Cancelled(event)) if !self.has_shipped() => {
                let OrderCancelled { cause, note, was_confirmed } = event.clone();
                self.stage = Stage::Cancelled { cancellation: Cancellation { cause, note }, was_confirmed };
            }
            (Stage::Cancelled { .. }, Event::CapturedLate(late)) if self.captured.is_none() => self.captured = Some(late.captured),
            (Stage::Confirmed, Event::Shipped(event)) if self.shipments.iter().all(|known| known.id != event.shipment) => {
                self.ship(event, at);
            }
            (Stage::Confirmed, Event::Delivered(event)) => {
                let shipment = self.shipments.iter_mut().find(|shipment| shipment.id == event.shipment);
                let Some(shipment) = shipment.filter(|shipment| shipment.delivered_at.is_none()) else { return false };
                shipment.delivered_at = Some(at);
            }
            (Stage::Confirmed, Event::Returned(event)) if self.returns.iter().all(|known| known.id != event.return_id) => {
                self.take_back(event, at);
            }
            (_, Event::RefundRequested(event)) => return self.request_refund(event, at),
            (_, Event::Refunded(event)) => {
                return self.end_refund(event.refund, event.amount, &event.reason, RefundStatus::Succeeded, None, at);
            }
            (_, Event::RefundFailed(event)) => {
                let failure = Some(event.failure.clone());
                return self.end_refund(event.refund, event.amount, &event.reason, RefundStatus::Failed, failure, at);
            }
            _ => return false,
        }
        true
    }

    fn ship(&mut self, event: &OrderShipped, at: Timestamp) {
        let OrderShipped { shipment, items, carrier, tracking_number } = event.clone();
        self.shipments.push(Shipment { id: shipment, carrier, tracking_number, items, shipped_at: at, delivered_at: None });
    }

    fn take_back(&mut self, event: &OrderReturned, at: Timestamp) {
        let OrderReturned { return_id, items, reason, restock } = event.clone();
        self.returns.push(Return { id: return_id, items, reason, restocked: restock, at });
    }

    fn request_refund(&mut self, event: &OrderRefundRequested, at: Timestamp) -> bool {
        let OrderRefundRequested { refund, amount, reason, metadata } = event.clone();
        let fits = amount.currency == self.currency() && self.refunds.iter().all(|known| known.id != refund);
        if fits {
            self.refunds.push(Refund { id: refund, amount, reason, status: RefundStatus::Pending, failure: None, at, metadata });
        }
        fits
    }

    /// A refund comes to its end, once; the order may not have recorded that it was asked for.
    fn end_refund(
        &mut self,
        id: RefundId,
        amount: Money,
        reason: &str,
        status: RefundStatus,
        failure: Option<String>,
        at: Timestamp,
    ) -> bool {
        let currency = self.currency();
        match self.refunds.iter_mut().find(|known| known.id == id) {
            Some(known) if known.status != RefundStatus::Pending => return false,
            Some(known) => (known.status, known.failure) = (status, failure),
            None if amount.currency != currency => return false,
            None => {
                let (reason, metadata) = (reason.to_owned(), std::collections::BTreeMap::new());
                self.refunds.push(Refund { id, amount, reason, status, failure, at, metadata });
            }
        }
        true
    }

    /// The sum of the refunds that are pending or have succeeded; failed ones don't count.
    pub(super) fn refund_total(&self) -> Money {
        self.refund_sum(|refund| refund.status != RefundStatus::Failed)
    }

    /// What went back.
    pub(super) fn refunded(&self) -> Money {
        self.refund_sum(|refund| refund.status == RefundStatus::Succeeded)
    }

    fn refund_sum(&self, counts: impl Fn(&Refund) -> bool) -> Money {
        let sum: Decimal = self.refunds.iter().filter(|refund| counts(refund)).map(|refund| refund.amount.amount).sum();
        Money::new(sum, self.currency()).rounded()
    }
}

/// What the timeline says besides the status: the reason as a word, and what was noted with it.
fn reason(event: &Event) -> Option<String> {
    match event {
        Event::Rejected(OrderRejected { reason, skus }) => {
            let skus: Vec<_> = skus.iter().map(event_schemas::ids::Sku::as_str).collect();
            Some(noted(rejection(*reason), Some(skus.join(", ")).filter(|skus| !skus.is_empty()).as_ref()))
        }
        Event::Cancelled(OrderCancelled { cause, note, .. }) => Some(Cancellation { cause: cause.clone(), note: note.clone() }.in_words()),
        Event::Returned(returned) => Some(returned.reason.clone()),
        _ => None,
    }
}

fn noted(word: &str, note: Option<&String>) -> String {
    note.map_or_else(|| word.to_owned(), |note| format!("{word}: {note}"))
}

fn rejection(reason: RejectionReason) -> &'static str {
    match reason {
        RejectionReason::OutOfStock => "out_of_stock",
        RejectionReason::LimitPerCustomer => "limit_per_customer",
        RejectionReason::PriceChanged => "price_changed",
        RejectionReason::CartChanged => "cart_changed",
        RejectionReason::Abandoned => "abandoned",
    }
}
