//! What becomes of an order, by its own events alone. The write side answers with the very same resource.

use std::collections::BTreeMap;

use event_schemas::{
    Money, Timestamp,
    events::order::{
        CancellationCause, Event, ItemQuantity, OrderCancelled, OrderRefundRequested, OrderRejected, OrderReturned, OrderShipped,
        OrderSubmitted, RejectionReason,
    },
    ids::{OrderId, RefundId, Sku},
    resource::{
        Cancellation, Order, OrderItem, OrderStatus, Payment, PaymentStatus, Refund, RefundStatus, Return, Shipment, TimelineEntry,
    },
};
use rust_decimal::Decimal;

use super::import::Document;

/// The order after `event`. An event that can't follow on what was before changes nothing.
pub fn fold(order: Option<Order>, id: OrderId, event: &Event, at: Timestamp) -> Option<Order> {
    match (order, event) {
        (None, Event::Submitted(event)) => Some(submitted(id, event, at)),
        (None, Event::Imported(event)) => Some(Document::from(event).order(id, at)),
        (None, Event::ReturnImported(event)) => Some(Document::from(event).order(id, at)),
        (None, _) => None,
        (Some(mut order), event) => {
            let before = order.status;
            if order.invoice.is_none() && change(&mut order, event, at) {
                order.updated_at = at;
                if order.status != before {
                    order.timeline.push(TimelineEntry { status: order.status, at, reason: reason(event) });
                }
            }
            Some(order)
        }
    }
}

fn submitted(id: OrderId, event: &OrderSubmitted, at: Timestamp) -> Order {
    let currency = event.totals.total.currency;
    let (captured, refunded) = (Money::zero(currency), Money::zero(currency));
    let items = event.lines.iter().map(|line| OrderItem {
        sku: line.sku.to_string(),
        title: line.title.clone(),
        quantity: i64::from(line.quantity),
        unit_price: line.unit_price.into(),
        line_total: line.line_total.into(),
    });
    Order {
        id,
        cart: Some(event.cart),
        status: OrderStatus::Submitted,
        email: Some(event.email.clone()),
        invoice: None,
        shipping_address: Some(event.shipping_address.clone()),
        items: items.collect(),
        currency,
        subtotal: event.totals.subtotal.into(),
        discount: event.totals.discount,
        shipping: event.totals.shipping,
        tax: event.totals.tax,
        total: event.totals.total.into(),
        payment: Payment { status: PaymentStatus::Pending, captured, refunded, decline_code: None },
        shipments: Vec::new(),
        returns: Vec::new(),
        refunds: Vec::new(),
        cancellation: None,
        timeline: vec![TimelineEntry { status: OrderStatus::Submitted, at, reason: None }],
        metadata: event.metadata.clone(),
        placed_at: at,
        updated_at: at,
        version: 0,
    }
}

/// Takes an event over; says whether it could be.
fn change(order: &mut Order, event: &Event, at: Timestamp) -> bool {
    match (order.status, event) {
        (OrderStatus::Submitted, Event::Placed(_)) => {
            order.status = OrderStatus::Placed;
            order.placed_at = at;
        }
        (OrderStatus::Submitted, Event::Rejected(_)) => {
            order.status = OrderStatus::Rejected;
            order.payment.status = PaymentStatus::Cancelled;
        }
        (OrderStatus::Placed, Event::Confirmed(event)) => {
            order.status = OrderStatus::Confirmed;
            capture(order, event.captured);
        }
        (OrderStatus::Placed | OrderStatus::Confirmed, Event::Cancelled(event)) => cancel(order, event),
        (OrderStatus::Cancelled, Event::CapturedLate(event)) if !is_captured(order) => capture(order, event.captured),
        (status, Event::Shipped(event)) if is_confirmed(status) => return ship(order, event, at),
        (status, Event::Delivered(event)) if is_confirmed(status) => {
            let shipment = order.shipments.iter_mut().find(|shipment| shipment.id == event.shipment);
            let Some(shipment) = shipment.filter(|shipment| shipment.delivered_at.is_none()) else { return false };
            shipment.delivered_at = Some(at);
            order.status = fulfilment(order);
        }
        (status, Event::Returned(event)) if is_confirmed(status) => return take_back(order, event, at),
        (_, Event::RefundRequested(event)) => return request_refund(order, event, at),
        (_, Event::Refunded(event)) => {
            let refund = ended(event.refund, event.amount, &event.reason, RefundStatus::Succeeded, None, at);
            return end_refund(order, refund);
        }
        (_, Event::RefundFailed(event)) => {
            let failure = Some(event.failure.clone());
            return end_refund(order, ended(event.refund, event.amount, &event.reason, RefundStatus::Failed, failure, at));
        }
        _ => return false,
    }
    true
}

fn is_confirmed(status: OrderStatus) -> bool {
    match status {
        OrderStatus::Confirmed | OrderStatus::PartlyShipped | OrderStatus::Shipped | OrderStatus::Delivered | OrderStatus::Returned => true,
        OrderStatus::Submitted | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Cancelled => false,
    }
}

fn is_captured(order: &Order) -> bool {
    match order.payment.status {
        PaymentStatus::Captured | PaymentStatus::Refunded | PaymentStatus::PartlyRefunded => true,
        PaymentStatus::Pending | PaymentStatus::Declined | PaymentStatus::Cancelled => false,
    }
}

fn capture(order: &mut Order, captured: Money) {
    let status = Payment::settled_status(captured, order.payment.refunded);
    order.payment = Payment { status, captured, refunded: order.payment.refunded, decline_code: None };
}

fn cancel(order: &mut Order, event: &OrderCancelled) {
    order.status = OrderStatus::Cancelled;
    order.cancellation = Some(cancellation(event));
    match &event.cause {
        _ if is_captured(order) => {}
        CancellationCause::PaymentDeclined { decline_code } => {
            order.payment.status = PaymentStatus::Declined;
            order.payment.decline_code.clone_from(decline_code);
        }
        CancellationCause::Requested | CancellationCause::PaymentExpired | CancellationCause::StockLost { .. } => {
            order.payment.status = PaymentStatus::Cancelled;
        }
    }
}

fn ship(order: &mut Order, event: &OrderShipped, at: Timestamp) -> bool {
    if order.shipments.iter().any(|known| known.id == event.shipment) {
        return false;
    }
    let OrderShipped { shipment, items, carrier, tracking_number } = event.clone();
    order.shipments.push(Shipment { id: shipment, carrier, tracking_number, items, shipped_at: at, delivered_at: None });
    order.status = fulfilment(order);
    true
}

fn take_back(order: &mut Order, event: &OrderReturned, at: Timestamp) -> bool {
    if order.returns.iter().any(|known| known.id == event.return_id) {
        return false;
    }
    let OrderReturned { return_id, items, reason, restock } = event.clone();
    order.returns.push(Return { id: return_id, items, reason, restocked: restock, at });
    order.status = fulfilment(order);
    true
}

/// How far a confirmed order has come.
fn fulfilment(order: &Order) -> OrderStatus {
    let units = |items: &[ItemQuantity]| items.iter().map(|item| i64::from(item.quantity)).sum::<i64>();
    let ordered: i64 = order.items.iter().map(|item| item.quantity).sum();
    let shipped: i64 = order.shipments.iter().map(|shipment| units(&shipment.items)).sum();
    let returned: i64 = order.returns.iter().map(|returned| units(&returned.items)).sum();
    match () {
        () if shipped == 0 => OrderStatus::Confirmed,
        () if returned >= ordered => OrderStatus::Returned,
        () if shipped < ordered => OrderStatus::PartlyShipped,
        () if order.shipments.iter().all(|shipment| shipment.delivered_at.is_some()) => OrderStatus::Delivered,
        () => OrderStatus::Shipped,
    }
}

fn request_refund(order: &mut Order, event: &OrderRefundRequested, at: Timestamp) -> bool {
    let OrderRefundRequested { refund, amount, reason, metadata } = event.clone();
    let fits = amount.currency == order.currency && order.refunds.iter().all(|known| known.id != refund);
    if fits {
        order.refunds.push(Refund { id: refund, amount, reason, status: RefundStatus::Pending, failure: None, at, metadata });
    }
    fits
}

fn ended(id: RefundId, amount: Money, reason: &str, status: RefundStatus, failure: Option<String>, at: Timestamp) -> Refund {
    Refund { id, amount, reason: reason.to_owned(), status, failure, at, metadata: BTreeMap::new() }
}

/// A refund comes to its end, once; the order may not have recorded that it was asked for.
fn end_refund(order: &mut Order, ended: Refund) -> bool {
    match order.refunds.iter_mut().find(|known| known.id == ended.id) {
        Some(known) if known.status != RefundStatus::Pending => return false,
        Some(known) => (known.status, known.failure) = (ended.status, ended.failure),
        None if ended.amount.currency != order.currency => return false,
        None => order.refunds.push(ended),
    }
    let succeeded = order.refunds.iter().filter(|refund| refund.status == RefundStatus::Succeeded);
    let sum: Decimal = succeeded.map(|refund| refund.amount.amount).sum();
    order.payment.refunded = Money::new(sum, order.currency).rounded();
    if is_captured(order) {
        order.payment.status = Payment::settled_status(order.payment.captured, order.payment.refunded);
    }
    true
}

/// What the timeline says besides the status: the reason as a word, and what was noted with it.
fn reason(event: &Event) -> Option<String> {
    match event {
        Event::Rejected(OrderRejected { reason, skus }) => {
            let skus = skus.iter().map(Sku::as_str).collect::<Vec<_>>().join(", ");
            Some(noted(rejection(*reason), (!skus.is_empty()).then_some(&skus)))
        }
        Event::Cancelled(event) => Some(cancellation(event).in_words()),
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

fn cancellation(event: &OrderCancelled) -> Cancellation {
    Cancellation { cause: event.cause.clone(), note: event.note.clone() }
}
