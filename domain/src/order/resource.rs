//! What clients see of an order.

use event_schemas::{
    Currency, Money, Timestamp,
    events::order::{CancellationCause, ImportedLine, OrderImported, OrderReturnImported},
    ids::OrderId,
    resource::{Order, OrderItem, OrderStatus, Payment, PaymentStatus, SignedMoney, TimelineEntry},
};
use rust_decimal::Decimal;

use super::{Imported, Purchase, Stage, State};

impl State {
    /// What clients see of it; none where nothing happened yet.
    #[must_use]
    pub fn resource(&self, id: OrderId, version: i64) -> Option<Order> {
        match self {
            Self::Nothing => None,
            Self::Purchase(purchase) => Some(purchase.resource(id, version)),
            Self::Imported(imported) => Some(Invoice::from(&**imported).resource(id, version)),
            Self::ReturnImported(imported) => Some(Invoice::from(&**imported).resource(id, version)),
        }
    }
}

impl Purchase {
    fn resource(&self, id: OrderId, version: i64) -> Order {
        let Self { cart, email, shipping_address, lines, totals, metadata, .. } = self;
        let items = lines.iter().map(|line| OrderItem {
            sku: line.sku.to_string(),
            title: line.title.clone(),
            quantity: i64::from(line.quantity),
            unit_price: line.unit_price.into(),
            line_total: line.line_total.into(),
        });
        Order {
            id,
            cart: Some(*cart),
            status: self.status(),
            email: Some(email.clone()),
            invoice: None,
            shipping_address: Some(shipping_address.clone()),
            items: items.collect(),
            currency: self.currency(),
            subtotal: totals.subtotal.into(),
            discount: totals.discount,
            shipping: totals.shipping,
            tax: totals.tax,
            total: totals.total.into(),
            payment: self.payment(),
            shipments: self.shipments.clone(),
            returns: self.returns.clone(),
            refunds: self.refunds.clone(),
            cancellation: match &self.stage {
                Stage::Cancelled { cancellation, .. } => Some(cancellation.clone()),
                _ => None,
            },
            timeline: self.timeline.clone(),
            metadata: metadata.clone(),
            placed_at: self.placed_at.unwrap_or(self.submitted_at),
            updated_at: self.updated_at,
            version,
        }
    }

    fn payment(&self) -> Payment {
        let refunded = self.refunded();
        let (status, decline_code) = match (&self.stage, self.captured) {
            (_, Some(captured)) => (Payment::settled_status(captured, refunded), None),
            (Stage::Cancelled { cancellation, .. }, None) => match &cancellation.cause {
                CancellationCause::PaymentDeclined { decline_code } => (PaymentStatus::Declined, decline_code.clone()),
                _ => (PaymentStatus::Cancelled, None),
            },
            (Stage::Rejected { .. }, None) => (PaymentStatus::Cancelled, None),
            (Stage::Submitted | Stage::Placed { .. } | Stage::Confirmed, None) => (PaymentStatus::Pending, None),
        };
        let captured = self.captured.unwrap_or_else(|| Money::zero(self.currency()));
        Payment { status, captured, refunded, decline_code }
    }
}

/// What an imported invoice and an imported return have in common.
struct Invoice<'a> {
    status: OrderStatus,
    number: &'a str,
    at: Timestamp,
    imported_at: Timestamp,
    currency: Currency,
    lines: &'a [ImportedLine],
    total: Decimal,
}

impl<'a> From<&'a Imported<OrderImported>> for Invoice<'a> {
    fn from(imported: &'a Imported<OrderImported>) -> Self {
        let OrderImported { invoice, placed_at, currency, lines, total, .. } = &imported.document;
        let (status, imported_at) = (OrderStatus::Delivered, imported.imported_at);
        Self { status, number: invoice, at: *placed_at, imported_at, currency: *currency, lines, total: *total }
    }
}

impl<'a> From<&'a Imported<OrderReturnImported>> for Invoice<'a> {
    fn from(imported: &'a Imported<OrderReturnImported>) -> Self {
        let OrderReturnImported { invoice, returned_at, currency, lines, total, .. } = &imported.document;
        let (status, imported_at) = (OrderStatus::Returned, imported.imported_at);
        Self { status, number: invoice, at: *returned_at, imported_at, currency: *currency, lines, total: *total }
    }
}

impl Invoice<'_> {
    fn resource(&self, id: OrderId, version: i64) -> Order {
        let (zero, exact) = (Money::zero(self.currency), |amount| SignedMoney::exact(amount, self.currency));
        let total = exact(self.total);
        let captured = Money::new(total.amount.max(zero.amount), self.currency);
        let items = self.lines.iter().map(|line| OrderItem {
            sku: line.code.clone(),
            title: line.description.clone(),
            quantity: line.quantity,
            unit_price: exact(line.unit_price),
            line_total: exact(line.line_total),
        });
        Order {
            id,
            cart: None,
            status: self.status,
            email: None,
            invoice: Some(self.number.to_owned()),
            shipping_address: None,
            items: items.collect(),
            currency: self.currency,
            subtotal: total,
            discount: zero,
            shipping: zero,
            tax: zero,
            total,
            payment: Payment { status: Payment::settled_status(captured, zero), captured, refunded: zero, decline_code: None },
            shipments: Vec::new(),
            returns: Vec::new(),
            refunds: Vec::new(),
            cancellation: None,
            timeline: vec![TimelineEntry { status: self.status, at: self.at, reason: None }],
            metadata: std::collections::BTreeMap::new(),
            placed_at: self.at,
            updated_at: self.imported_at,
            version,
        }
    }
}
