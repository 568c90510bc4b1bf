//! Invoices and returns of another shop's history, as orders.

use std::collections::BTreeMap;

use event_schemas::{
    Currency, Money, Timestamp,
    events::order::{ImportedLine, OrderImported, OrderReturnImported},
    ids::OrderId,
    resource::{Order, OrderItem, OrderStatus, Payment, SignedMoney, TimelineEntry},
};
use rust_decimal::Decimal;

/// What an invoice and a return have in common.
pub struct Document<'a> {
    status: OrderStatus,
    number: &'a str,
    at: Timestamp,
    currency: Currency,
    lines: &'a [ImportedLine],
    total: Decimal,
}

impl<'a> From<&'a OrderImported> for Document<'a> {
    fn from(event: &'a OrderImported) -> Self {
        let OrderImported { invoice, placed_at, currency, lines, total, .. } = event;
        Self { status: OrderStatus::Delivered, number: invoice, at: *placed_at, currency: *currency, lines, total: *total }
    }
}

impl<'a> From<&'a OrderReturnImported> for Document<'a> {
    fn from(event: &'a OrderReturnImported) -> Self {
        let OrderReturnImported { invoice, returned_at, currency, lines, total, .. } = event;
        Self { status: OrderStatus::Returned, number: invoice, at: *returned_at, currency: *currency, lines, total: *total }
    }
}

impl Document<'_> {
    /// The order that it is. Amounts are as they were charged, to the last decimal.
    pub fn order(&self, id: OrderId, imported_at: Timestamp) -> Order {
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
            metadata: BTreeMap::new(),
            placed_at: self.at,
            updated_at: imported_at,
            version: 0,
        }
    }
}
