//! From rows to invoices.
//!
//! The rows of an invoice stand together, but for a few where another invoice was made out meanwhile. So an invoice stays open until no
//! row of it came for [`OPEN_ROWS`] rows. One that comes again after that meets itself in the log, and is reported there.

use event_schemas::{
    Currency, Timestamp,
    events::{
        order::{ImportedLine, ImportedLineKind, OrderImported, OrderReturnImported},
        stock::StockCorrectionImported,
    },
    ids::Sku,
};
use rust_decimal::Decimal;

use super::{
    SOURCE,
    row::{Kind, Row, is_return},
};
use crate::import::Rejection;

/// For how many rows of others an invoice stays open.
const OPEN_ROWS: u64 = 1_000;
/// The most bytes of the invoices that are open.
const OPEN_BYTES: usize = 32 << 20;
/// About what a line takes besides its texts.
const LINE_BYTES: usize = 100;
/// The most lines of an invoice.
const MAX_LINES: usize = 10_000;

/// What one invoice becomes: an order or a return, and stock corrections.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The line of its first row.
    pub line: u64,
    /// How many rows it had.
    pub rows: u64,
    /// The bytes of its texts, about.
    pub bytes: usize,
    /// The invoice's number.
    pub invoice: String,
    /// Its order or return; an invoice of nothing but corrections has none.
    pub body: Option<Body>,
    /// Its stock corrections.
    pub corrections: Vec<(Sku, StockCorrectionImported)>,
}

/// An order, or a return.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// An ordinary invoice.
    Order(OrderImported),
    /// A `C…` invoice.
    Return(OrderReturnImported),
}

impl Body {
    /// Its lines.
    pub fn lines(&self) -> &[ImportedLine] {
        match self {
            Self::Order(order) => &order.lines,
            Self::Return(returned) => &returned.lines,
        }
    }

    /// The sum of its lines.
    pub fn total(&self) -> Decimal {
        match self {
            Self::Order(order) => order.total,
            Self::Return(returned) => returned.total,
        }
    }

    /// When it was made out.
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Order(order) => order.placed_at,
            Self::Return(returned) => returned.returned_at,
        }
    }
}

/// An invoice whose rows may not have come all.
struct Open {
    line: u64,
    rows: u64,
    last_row: u64,
    invoice: String,
    at: Timestamp,
    customer: Option<String>,
    country: String,
    lines: Vec<ImportedLine>,
    total: Decimal,
    corrections: Vec<(Sku, StockCorrectionImported)>,
    /// Of its lines and corrections, about.
    bytes: usize,
}

/// The invoices whose rows may not have come all.
pub struct Invoices {
    currency: Currency,
    open: Vec<Open>,
    rows: u64,
    /// Of all that are open.
    bytes: usize,
}

impl Invoices {
    /// None yet.
    pub fn new(currency: Currency) -> Self {
        Self { currency, open: Vec::new(), rows: 0, bytes: 0 }
    }

    /// Takes in a row, and says why it can't be of its invoice.
    pub fn add(&mut self, row: Row) -> Result<(), Rejection> {
        self.rows += 1;
        let bytes = row.code.len() + row.description.len() + LINE_BYTES;
        if self.bytes + bytes > OPEN_BYTES {
            let reason = format!("invoices whose rows are mixed have more than {} MiB: sort the rows by InvoiceNo", OPEN_BYTES >> 20);
            return Err(Rejection { line: row.line, rows: 1, reason, amount: Some(row.amount) });
        }
        if let Some(open) = self.open.iter_mut().rev().find(|open| open.invoice == row.invoice) {
            open.add(row, self.rows, bytes)?;
            self.bytes += bytes;
            return Ok(());
        }
        let mut open = Open {
            line: row.line,
            rows: 0,
            last_row: self.rows,
            invoice: row.invoice.clone(),
            at: row.at,
            customer: row.customer.clone(),
            country: row.country.clone(),
            lines: Vec::new(),
            total: Decimal::ZERO,
            corrections: Vec::new(),
            bytes: 0,
        };
        open.add(row, self.rows, bytes)?;
        self.bytes += bytes;
        self.open.push(open);
        Ok(())
    }

    /// The invoices that are complete, in the order in which they began.
    pub fn complete(&mut self) -> Vec<Document> {
        let oldest = self.rows.saturating_sub(OPEN_ROWS);
        if self.open.iter().all(|open| open.last_row > oldest) {
            return Vec::new();
        }
        let complete: Vec<Open> = self.open.extract_if(.., |open| open.last_row <= oldest).collect();
        self.bytes -= complete.iter().map(|open| open.bytes).sum::<usize>();
        complete.into_iter().map(|open| open.close(self.currency)).collect()
    }

    /// All that are open, once the file has ended.
    pub fn rest(self) -> impl Iterator<Item = Document> {
        self.open.into_iter().map(move |open| open.close(self.currency))
    }
}

impl Open {
    fn add(&mut self, row: Row, nth: u64, bytes: usize) -> Result<(), Rejection> {
        let Row { line, kind, code, sku, description, quantity, at, unit_price, amount, customer, country, .. } = row;
        let misfit = |reason: String| Rejection { line, rows: 1, reason, amount: Some(amount) };
        if customer != self.customer || country != self.country {
            return Err(misfit(format!("invoice {} began with another customer or country", self.invoice)));
        }
        if self.lines.len() + self.corrections.len() == MAX_LINES {
            return Err(misfit(format!("invoice {} has more than {MAX_LINES} lines", self.invoice)));
        }
        let total = self.total.checked_add(amount).ok_or_else(|| misfit("the invoice's total is too great".into()))?;
        match sku {
            Some(sku) if kind == Kind::Correction => {
                let reason = description.trim().to_owned();
                self.corrections.push((sku, StockCorrectionImported { quantity, reason, invoice: self.invoice.clone(), at }));
            }
            sku => {
                let kind = if sku.is_some() { ImportedLineKind::Item } else { ImportedLineKind::Charge };
                self.lines.push(ImportedLine { code, kind, description, quantity, unit_price, line_total: amount });
            }
        }
        self.total = total;
        self.last_row = nth;
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    fn close(self, currency: Currency) -> Document {
        let Self { line, rows, invoice, at, customer, country, lines, total, corrections, bytes, .. } = self;
        let number = invoice.clone();
        let body = match (lines.is_empty(), is_return(&invoice)) {
            (true, _) => None,
            (false, true) => Some(Body::Return(OrderReturnImported {
                source: SOURCE.into(),
                invoice,
                returned_at: at,
                customer,
                country,
                currency,
                lines,
                total,
            })),
            (false, false) => Some(Body::Order(OrderImported {
                source: SOURCE.into(),
                invoice,
                placed_at: at,
                customer,
                country,
                currency,
                lines,
                total,
            })),
        };
        Document { line, rows, bytes, invoice: number, body, corrections }
    }
}
