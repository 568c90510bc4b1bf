//! A row of the file, and what it is.

use chrono::NaiveDateTime;
use event_schemas::{Timestamp, events::order::adjusts_accounts, ids::Sku, money::parse_amount};
use rust_decimal::Decimal;

use crate::import::{Rejection, rows::Record};

/// The columns, in order.
pub const HEADER: [&str; 8] = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"];

/// The most units of a line.
const MAX_UNITS: u64 = 1_000_000_000;
/// The longest invoice number, code, or customer.
const MAX_CODE_CHARS: usize = 64;
/// The longest description or country.
const MAX_TEXT_CHARS: usize = 500;
/// The fewest digits of a code that names a product. Products are numbered (`85123A`, `DCGS0076`, `gift_0001_20`); what else is charged
/// has a word or a letter (`POST`, `DOT`, `M`, `C2`, `BANK CHARGES`).
const PRODUCT_DIGITS: usize = 4;

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A line of an ordinary invoice.
    Sale,
    /// A line of a `C…` invoice.
    Return,
    /// A line of an ordinary invoice with units below zero at no price: stock that was lost or miscounted.
    Correction,
    /// A line of an invoice whose number begins with a letter other than C: accounts are adjusted, nothing is sold.
    Adjustment,
}

/// A row that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its line in the file.
    pub line: u64,
    /// The invoice's number.
    pub invoice: String,
    /// What it is.
    pub kind: Kind,
    /// What is sold or charged.
    pub code: String,
    /// The same, where it names a product.
    pub sku: Option<Sku>,
    /// What the file says of it.
    pub description: String,
    /// How many; below zero where units came back or were lost.
    pub quantity: i64,
    /// When, as the file says, taken as UTC.
    pub at: Timestamp,
    /// What one costs.
    pub unit_price: Decimal,
    /// Quantity times unit price.
    pub amount: Decimal,
    /// Who bought.
    pub customer: Option<String>,
    /// Where.
    pub country: String,
}

impl Row {
    /// Reads a row, or says why it fits nowhere.
    pub fn read(record: Record) -> Result<Self, Rejection> {
        let line = record.line;
        let misfit = |reason: String, amount: Option<Decimal>| Rejection { line, rows: 1, reason, amount };
        let fields: [String; 8] = record
            .fields
            .try_into()
            .map_err(|fields: Vec<String>| misfit(format!("{} fields instead of {}", fields.len(), HEADER.len()), None))?;
        let (quantity, unit_price) = (units(&fields[3]), price(&fields[5]));
        let amount = match (&quantity, &unit_price) {
            (Ok(quantity), Ok(price)) => Decimal::from(*quantity).checked_mul(*price),
            _ => None,
        };
        let wrong = |reason: String| misfit(reason, amount);
        let (quantity, unit_price) = (quantity.map_err(wrong)?, unit_price.map_err(wrong)?);
        let amount = amount.ok_or_else(|| misfit("the amount is too great".into(), None))?;
        let wrong = |reason: String| misfit(reason, Some(amount));
        let [invoice, code, description, _, at, _, customer, country] = fields;
        let invoice = text("InvoiceNo", &invoice, MAX_CODE_CHARS).map_err(wrong)?;
        let code = text("StockCode", &code, MAX_CODE_CHARS).map_err(wrong)?;
        let country = text("Country", &country, MAX_TEXT_CHARS).map_err(wrong)?;
        let customer = customer_number(&customer).map_err(wrong)?;
        if description.chars().count() > MAX_TEXT_CHARS || description.contains('\0') {
            return Err(wrong(format!("Description is longer than {MAX_TEXT_CHARS} characters, or has a NUL in it")));
        }
        let at = time(&at).map_err(wrong)?;
        let sku = product_code(&code);
        let kind = classify(&invoice, quantity, unit_price, sku.as_ref()).map_err(wrong)?;
        Ok(Self { line, invoice, kind, code, sku, description, quantity, at, unit_price, amount, customer, country })
    }
}

/// Whether an invoice takes goods back.
pub fn is_return(invoice: &str) -> bool {
    invoice.starts_with(['C', 'c'])
}

fn classify(invoice: &str, quantity: i64, price: Decimal, sku: Option<&Sku>) -> Result<Kind, String> {
    if quantity == 0 {
        return Err("a quantity of 0".into());
    }
    let is_adjustment = adjusts_accounts(invoice) && !is_return(invoice);
    if is_adjustment && !(quantity < 0 && price.is_zero() && sku.is_some()) {
        return Ok(Kind::Adjustment);
    }
    if price < Decimal::ZERO && sku.is_some() {
        return Err(format!("a product at a price below zero, {price}"));
    }
    match (is_return(invoice), quantity < 0) {
        (true, true) => Ok(Kind::Return),
        (true, false) => Err(format!("a quantity above zero, {quantity}, on {invoice}, which is a return")),
        (false, false) => Ok(Kind::Sale),
        (false, true) if !price.is_zero() => {
            Err(format!("a quantity below zero, {quantity}, at a price, on {invoice}, which is no return"))
        }
        (false, true) if sku.is_none() => Err("a stock correction of a code that names no product".into()),
        (false, true) => Ok(Kind::Correction),
    }
}

/// The SKU that `code` is, if it names a product.
fn product_code(code: &str) -> Option<Sku> {
    let digits = code.bytes().filter(u8::is_ascii_digit).count();
    if digits >= PRODUCT_DIGITS { code.parse().ok() } else { None }
}

fn units(text: &str) -> Result<i64, String> {
    let units: i64 = text.trim().parse().map_err(|_| format!("Quantity {text:?} is no whole number"))?;
    if units.unsigned_abs() <= MAX_UNITS { Ok(units) } else { Err(format!("Quantity {units} is more than {MAX_UNITS}")) }
}

fn price(text: &str) -> Result<Decimal, String> {
    let text = text.trim();
    let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let price = parse_amount(digits).map_err(|_| format!("UnitPrice {text:?} is no amount, as in \"2.55\""))?;
    Ok(if is_negative && !price.is_zero() { -price } else { price })
}

fn time(text: &str) -> Result<Timestamp, String> {
    NaiveDateTime::parse_from_str(text.trim(), "%Y-%m-%d %H:%M:%S")
        .map(|at| at.and_utc().into())
        .map_err(|_| format!("InvoiceDate {text:?} is no time, as in \"2010-12-01 08:26:00\""))
}

/// `17850.0`, as spreadsheets write numbers, is customer 17850.
fn customer_number(text: &str) -> Result<Option<String>, String> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let number = text.strip_suffix(".0").filter(|number| number.bytes().all(|b| b.is_ascii_digit())).unwrap_or(text);
    self::text("CustomerID", number, MAX_CODE_CHARS).map(Some)
}

fn text(column: &str, text: &str, max_chars: usize) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(format!("{column} is empty")),
        chars if chars > max_chars => Err(format!("{column} is longer than {max_chars} characters")),
        _ if text.contains('\0') => Err(format!("{column} has a NUL in it")),
        _ => Ok(text.to_owned()),
    }
}
