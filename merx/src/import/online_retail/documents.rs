//! Writing invoices: orders, returns and stock corrections.

use command_api::handler::Handler;
use domain::{
    order::{Command, Order, State},
    stock::{self, Stock},
};
use event_schemas::{
    StreamId,
    events::{order::ImportedLineKind, stock::StockCorrectionImported},
    ids::Sku,
};
use event_store::EventStore;
use rust_decimal::Decimal;

use super::{
    SOURCE,
    invoice::{Body, Document},
};
use crate::import::{
    Error, Rejection, Tally, identity,
    run::{CACHED_STREAMS, Run, decided},
};

/// What became of an invoice.
#[derive(Debug)]
pub enum Outcome {
    /// It is an order.
    Order {
        /// Imported now, rather than before.
        is_new: bool,
    },
    /// It adjusts accounts.
    Adjustment {
        /// Imported now, rather than before.
        is_new: bool,
    },
    /// It is a return.
    Return {
        /// Imported now, rather than before.
        is_new: bool,
    },
    /// It had nothing but corrections.
    NoBody,
    /// Its number is another invoice's.
    Refused(Rejection),
}

/// An invoice that was imported, or was there, and what it comes to.
#[derive(Debug)]
pub struct Imported {
    /// How many rows it had.
    pub rows: u64,
    /// What became of it.
    pub outcome: Outcome,
    /// Its stock corrections.
    pub corrections: Tally,
    /// Its lines that are items.
    pub item_lines: u64,
    /// Its lines that are charges.
    pub charge_lines: u64,
    /// What its lines with quantity and price above zero come to.
    pub gross: Decimal,
    /// What it comes to, if it is a return.
    pub returned: Decimal,
    /// What it comes to.
    pub net: Decimal,
}

/// Writes invoices.
pub struct Writer<'r> {
    run: &'r Run,
    orders: Handler<Order>,
    stock: Handler<Stock>,
}

impl<'r> Writer<'r> {
    /// Into `store`.
    pub fn new(store: &EventStore, run: &'r Run) -> Self {
        Self { run, orders: Handler::new(store.clone(), CACHED_STREAMS), stock: Handler::new(store.clone(), CACHED_STREAMS) }
    }

    /// Writes an invoice, if it is not there.
    pub async fn write(&self, document: Document) -> Result<Imported, Error> {
        let Document { line, rows, invoice, body, corrections, .. } = document;
        let corrections = self.write_corrections(&corrections).await?;
        let Some(body) = body else { return Ok(Imported { rows, corrections, ..nothing() }) };
        let stream = StreamId::order(identity::order(SOURCE, &invoice, body.at()));
        let context = self.run.once(&["invoice", &invoice]);
        let command = match &body {
            Body::Order(order) => Command::Import(Box::new(order.clone())),
            Body::Return(returned) => Command::ImportReturn(Box::new(returned.clone())),
        };
        let is_this = |state: &State, _| match (state, &body) {
            (State::Imported(found), Body::Order(order)) => found.document == *order,
            (State::ReturnImported(found), Body::Return(returned)) => found.document == *returned,
            _ => false,
        };
        let refused = |reason: String| {
            let rejection = Rejection { line, rows: body.lines().len() as u64, reason, amount: Some(body.total()) };
            Ok(Imported { rows, corrections, outcome: Outcome::Refused(rejection), ..nothing() })
        };
        match decided(self.orders.run(&stream, &command, &context, is_this).await)? {
            Ok(accepted) if accepted.seen => Ok(counted(&body, rows, corrections, !accepted.unchanged)),
            Ok(_) => refused(format!("invoice {invoice} is in the log already with other lines, which can't be changed")),
            Err(refusal) => refused(refusal.to_string()),
        }
    }

    /// One after the other: several of one invoice may be of one product.
    async fn write_corrections(&self, corrections: &[(Sku, StockCorrectionImported)]) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        for (index, (sku, correction)) in corrections.iter().enumerate() {
            let StockCorrectionImported { quantity, reason, invoice, at } = correction;
            let before = corrections[..index].iter().filter(|earlier| **earlier == (sku.clone(), correction.clone())).count();
            let what = ["correction", invoice, sku.as_str(), &quantity.to_string(), reason, &at.micros().to_string(), &before.to_string()];
            let command = stock::Command::ImportCorrection(correction.clone());
            let written = self.stock.run(&StreamId::stock(sku), &command, &self.run.once(&what), |_, _| ()).await;
            let accepted = decided(written)?.map_err(|refusal| Error::Internal(refusal.to_string()))?;
            tally.count(!accepted.unchanged);
        }
        Ok(tally)
    }
}

fn counted(body: &Body, rows: u64, corrections: Tally, is_new: bool) -> Imported {
    let lines = body.lines();
    let item_lines = lines.iter().filter(|line| line.kind == ImportedLineKind::Item).count() as u64;
    let net = body.total();
    let (outcome, gross, returned) = match body {
        Body::Order(order) if order.is_adjustment() => (Outcome::Adjustment { is_new }, Decimal::ZERO, Decimal::ZERO),
        Body::Order(_) => {
            let sold = lines.iter().filter(|line| line.quantity > 0 && line.unit_price > Decimal::ZERO);
            (Outcome::Order { is_new }, sold.map(|line| line.line_total).sum(), Decimal::ZERO)
        }
        Body::Return(_) => (Outcome::Return { is_new }, Decimal::ZERO, net),
    };
    Imported { rows, outcome, corrections, item_lines, charge_lines: lines.len() as u64 - item_lines, gross, returned, net }
}

fn nothing() -> Imported {
    Imported {
        rows: 0,
        outcome: Outcome::NoBody,
        corrections: Tally::default(),
        item_lines: 0,
        charge_lines: 0,
        gross: Decimal::ZERO,
        returned: Decimal::ZERO,
        net: Decimal::ZERO,
    }
}
