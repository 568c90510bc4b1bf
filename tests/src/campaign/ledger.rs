//! What the log says happened, folded by rules of the campaign's own: it shares no code with what it checks.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rust_decimal::Decimal;
use serde_json::Value;
use sqlx::PgConnection;

use super::{book::Acknowledged, stock::Stock};

const PAGE_EVENTS: i64 = 20_000;

pub type Row = (i64, String, i64, String, Value);

/// The log as far as it was read.
#[derive(Default)]
pub struct Ledger {
    pub head: i64,
    /// Where each version of a stream stands, from version 1.
    streams: HashMap<String, Vec<i64>>,
    /// The streams and versions of the events that bear a write's key.
    marks: HashMap<String, Vec<(String, i64)>>,
    pub stocks: BTreeMap<String, Stock>,
    pub orders: BTreeMap<String, Order>,
    pub payments: BTreeMap<String, Payment>,
    /// What can't be: gaps, things that happened twice.
    pub wrong: Vec<String>,
    /// The streams in which they were found, each with the position.
    pub suspects: Vec<(String, i64)>,
}

/// So many free units besides those wanted that these were free a moment before, too.
const ENOUGH: i64 = 1_000;
/// What becomes of an order, each at most once.
const STEPS: [&str; 4] = ["OrderPlaced", "OrderConfirmed", "OrderCancelled", "OrderRejected"];

#[derive(Default)]
pub struct Order {
    pub lines: Vec<(String, i64)>,
    pub total: Decimal,
    steps: BTreeSet<&'static str>,
}

#[derive(Default)]
pub struct Payment {
    /// The gateway's idempotency key.
    pub key: String,
    pub captured: Option<Decimal>,
    /// Set where it was captured before it was given up: what is captured later goes back.
    is_captured_in_time: bool,
    pub refunded: Decimal,
    refunds_under_way: i64,
    is_over: bool,
}

fn amount(money: &Value) -> Decimal {
    money["amount"].as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no amount: {money}"))
}

impl Ledger {
    /// Reads what was added to the log since the last time.
    pub async fn read(&mut self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        loop {
            let rows: Vec<Row> = sqlx::query_as(
                "select position, stream_id, version, type, payload from events where position > $1 order by position limit $2",
            )
            .bind(self.head)
            .bind(PAGE_EVENTS)
            .fetch_all(&mut *connection)
            .await?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in rows {
                self.add(row);
            }
        }
    }

    pub fn add(&mut self, (position, stream, version, event_type, data): Row) {
        let versions = self.streams.entry(stream.clone()).or_default();
        if (position, version) != (self.head + 1, versions.len() as i64 + 1) {
            self.wrong.push(format!("after position {} comes {position}, version {version} of {stream}", self.head));
        }
        self.head = position;
        versions.push(position);
        let mark = [&data["reference"], &data["metadata"]["write"], &data["tracking_number"], &data["note"]];
        if let Some(mark) = mark.into_iter().find_map(Value::as_str) {
            self.marks.entry(mark.to_owned()).or_default().push((stream.clone(), version));
        }
        let Some((category, id)) = stream.split_once('-') else { return };
        let wrong = match category {
            "stock" => self.stocks.entry(id.to_owned()).or_default().apply(&event_type, &data),
            "order" => {
                let unkept = if event_type == "OrderCancelled" { self.unkept(id, &data["cause"]) } else { None };
                unkept.or(self.orders.entry(id.to_owned()).or_default().apply(&event_type, &data))
            }
            "payment" => self.payments.entry(id.to_owned()).or_default().apply(&event_type, &data),
            _ => None,
        };
        self.suspects.extend(wrong.as_ref().map(|_| (stream.clone(), position)));
        self.wrong.extend(wrong.map(|wrong| format!("position {position}, version {version} of {stream}, {event_type}: {wrong}")));
    }

    /// An order is cancelled for a cause: why that may not be, where it was paid.
    fn unkept(&self, id: &str, cause: &Value) -> Option<String> {
        let is_paid = self.payments.get(id).is_some_and(|payment| payment.is_captured_in_time);
        match cause["kind"].as_str()? {
            "payment_expired" | "payment_declined" if is_paid => Some("it was paid".to_owned()),
            "stock_lost" => {
                let wanted = |sku: &Value| {
                    let lines = &self.orders.get(id)?.lines;
                    lines.iter().find(|(line, _)| Some(line.as_str()) == sku.as_str()).map(|(sku, quantity)| (sku.clone(), *quantity))
                };
                let lost = cause["skus"].as_array()?.iter().filter_map(wanted);
                let free = |sku: &str| self.stocks.get(sku).map_or(0, Stock::free);
                let there = lost.into_iter().find(|(sku, quantity)| free(sku) >= quantity + ENOUGH)?;
                Some(format!("it was paid, and there was plenty of {there:?}"))
            }
            _ => None,
        }
    }

    /// What was acknowledged and is not in the log, or more than once.
    pub fn lost(&self, acknowledged: &[Acknowledged]) -> Vec<String> {
        acknowledged.iter().filter_map(|write| self.loss(write).map(|loss| format!("{loss}: {write:?}"))).collect()
    }

    fn loss(&self, write: &Acknowledged) -> Option<&'static str> {
        let versions = self.streams.get(&write.stream).map_or(&[][..], Vec::as_slice);
        let at = usize::try_from(write.version - 1).ok().and_then(|index| versions.get(index));
        if at.is_none() {
            return Some("the log lacks that version");
        }
        if write.position > self.head || at.is_some_and(|at| *at > write.position) {
            return Some("the log has that version elsewhere");
        }
        let mark = write.mark.as_ref()?;
        let known = self.marks.get(mark).map_or(&[][..], Vec::as_slice);
        let (own, others): (Vec<_>, Vec<_>) = known.iter().partition(|(stream, _)| *stream == write.stream);
        match own[..] {
            // A checkout that was cut off leaves an order that is rejected, and is done again as another.
            [(_, version)] if *version <= write.version && others.iter().all(|(stream, _)| self.is_abandoned(stream)) => None,
            [] => Some("the log lacks its event"),
            [(_, version)] if *version > write.version => Some("its event is a later one"),
            _ => Some("it was done more than once"),
        }
    }

    fn is_abandoned(&self, stream: &str) -> bool {
        stream.strip_prefix("order-").and_then(|id| self.orders.get(id)).is_some_and(|order| !order.is_placed())
    }

    /// What is still under way.
    pub fn open(&self) -> Vec<String> {
        let orders = self.orders.iter().filter(|(_, order)| !order.is_over()).map(|(id, _)| format!("order {id} has no end"));
        let payments = self.payments.iter().filter(|(_, payment)| !payment.is_settled()).map(|(id, _)| format!("payment {id} has no end"));
        let stocks = self.stocks.iter().flat_map(|(sku, stock)| stock.open().map(move |what| format!("stock {sku}: {what}")));
        orders.chain(payments).chain(stocks).collect()
    }

    /// Units that were sold and not had, or had and not sold. Once nothing is under way.
    pub fn miscounted(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (id, order) in &self.orders {
            for (sku, quantity) in &order.lines {
                let expected = if order.is_bought() { *quantity } else { 0 };
                let taken = self.stocks.get(sku).map_or(0, |stock| stock.taken_by(id));
                if taken != expected {
                    wrong.push(format!("order {id} bought {expected} of {sku}, and {taken} left stock for it"));
                }
            }
        }
        wrong
    }
}

impl Order {
    pub fn is_placed(&self) -> bool {
        self.steps.contains("OrderPlaced")
    }

    pub fn is_cancelled(&self) -> bool {
        self.steps.contains("OrderCancelled")
    }

    /// Whether it is paid, and was not called off.
    pub fn is_bought(&self) -> bool {
        self.steps.contains("OrderConfirmed") && !self.is_cancelled()
    }

    fn is_over(&self) -> bool {
        STEPS[1..].iter().any(|step| self.steps.contains(step))
    }

    fn apply(&mut self, event_type: &str, data: &Value) -> Option<String> {
        if event_type == "OrderSubmitted" {
            self.total = amount(&data["totals"]["total"]);
            let lines = data["lines"].as_array().into_iter().flatten();
            self.lines = lines.map(|line| (line["sku"].as_str().unwrap().to_owned(), line["quantity"].as_i64().unwrap())).collect();
        }
        let step = STEPS.into_iter().find(|step| *step == event_type)?;
        let before = self.steps.clone();
        let is_possible = match step {
            "OrderPlaced" | "OrderRejected" => before.is_empty(),
            "OrderConfirmed" => before == BTreeSet::from(["OrderPlaced"]),
            _ => self.is_placed() && !self.is_cancelled(),
        };
        self.steps.insert(step);
        (!is_possible).then(|| format!("it can't follow on {before:?}"))
    }
}

impl Payment {
    fn is_settled(&self) -> bool {
        self.is_over && self.refunds_under_way == 0
    }

    /// What was captured and not refunded.
    pub fn kept(&self) -> Decimal {
        self.captured.unwrap_or_default() - self.refunded
    }

    fn apply(&mut self, event_type: &str, data: &Value) -> Option<String> {
        match event_type {
            "PaymentRequested" => data["idempotency_key"].as_str().unwrap_or_default().clone_into(&mut self.key),
            "PaymentCaptured" => {
                self.is_captured_in_time = !self.is_over;
                self.is_over = true;
                let is_again = self.captured.replace(amount(&data["amount"])).is_some();
                return is_again.then(|| "it was captured before".to_owned());
            }
            "PaymentDeclined" | "PaymentCancelled" => self.is_over = true,
            "PaymentRefundRequested" => self.refunds_under_way += 1,
            "PaymentRefundFailed" => self.refunds_under_way -= 1,
            "PaymentRefunded" => {
                self.refunds_under_way -= 1;
                self.refunded += amount(&data["amount"]);
                let is_wrong = self.refunds_under_way < 0 || self.kept() < Decimal::ZERO;
                return is_wrong.then(|| "more went back than was to".to_owned());
            }
            _ => {}
        }
        None
    }
}
