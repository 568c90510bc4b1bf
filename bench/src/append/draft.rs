//! What is appended: orders that are submitted, and placed later on. A row of the log is about 550 bytes on average.

use chrono::Utc;
use event_schemas::{
    Event, Metadata, StreamId, Timestamp,
    events::{
        order::{OrderPlaced, OrderSubmitted},
        stock::StockReceived,
    },
    ids::{CartId, CommandId, OrderId},
};
use serde_json::json;
use uuid::Uuid;

use crate::{error::Error, random::Random};

/// Streams that a caller goes on with: the older ones are left alone.
const OPEN_STREAMS: usize = 256;

/// An event that is to be appended.
pub struct Draft {
    /// Where to.
    pub stream: StreamId,
    /// The version that the stream has.
    pub expected_version: i64,
    /// What happened.
    pub event: Event,
    /// Who and why.
    pub metadata: Metadata,
    /// When.
    pub at: Timestamp,
}

/// The events of one caller, in turns the first of a new stream and the next of one it has begun.
pub struct Drafts {
    submitted: OrderSubmitted,
    begun: Vec<(StreamId, i64)>,
    oldest: usize,
    on_new: bool,
    random: Random,
    /// Old streams that are gone on with, and their versions.
    stock: Vec<(StreamId, i64)>,
}

impl Drafts {
    /// Those of the caller with this `seed`.
    pub fn new(seed: u64) -> Result<Self, Error> {
        Ok(Self { submitted: submitted()?, begun: Vec::new(), oldest: 0, on_new: false, random: Random::new(seed), stock: Vec::new() })
    }

    /// A fifth of them onto one of the old streams `stock`.
    pub fn with_stock(mut self, stock: Vec<(StreamId, i64)>) -> Self {
        self.stock = stock;
        self
    }

    /// The next event.
    pub fn next(&mut self) -> Draft {
        let id = Uuid::now_v7();
        let at = Timestamp::from(Utc::now());
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "client".into() };
        if !self.stock.is_empty() && self.random.below(5) == 0 {
            let chosen = self.random.below(self.stock.len());
            let (stream, version) = &mut self.stock[chosen];
            let (stream, expected_version) = (stream.clone(), std::mem::replace(version, *version + 1));
            let event = StockReceived { quantity: 1, reference: "PO-1".into() };
            return Draft { stream, expected_version, event: Event::Stock(event.into()), metadata, at };
        }
        self.on_new = !self.on_new;
        if self.on_new {
            let stream = StreamId::order(OrderId(Uuid::now_v7()));
            self.begin(stream.clone());
            let event = OrderSubmitted { cart: CartId(id), ..self.submitted.clone() };
            return Draft { stream, expected_version: 0, event: Event::Order(event.into()), metadata, at };
        }
        let chosen = self.random.below(self.begun.len());
        let (stream, version) = &mut self.begun[chosen];
        let (stream, expected_version) = (stream.clone(), std::mem::replace(version, *version + 1));
        let event = OrderPlaced { payment_deadline: at.plus(chrono::Duration::minutes(15)) };
        Draft { stream, expected_version, event: Event::Order(event.into()), metadata, at }
    }

    fn begin(&mut self, stream: StreamId) {
        if self.begun.len() < OPEN_STREAMS {
            self.begun.push((stream, 1));
        } else {
            self.begun[self.oldest] = (stream, 1);
            self.oldest = (self.oldest + 1) % OPEN_STREAMS;
        }
    }
}

/// An order of one line.
pub fn submitted() -> Result<OrderSubmitted, Error> {
    let money = |amount| json!({"amount": amount, "currency": "GBP"});
    let line = json!({
        "sku": "85123A", "title": "White hanging heart t-light holder", "category": "home", "quantity": 2, "unit_price": money("2.55"),
        "line_total": money("5.10"), "sale": null,
    });
    Ok(serde_json::from_value(json!({
        "cart": Uuid::nil(), "email": "ada@example.com", "customer": "ada@example.com",
        "shipping_address": {"name": "Ada", "line1": "1 High Street", "city": "London", "country": "GB"},
        "lines": [line], "payment": {"method": "simulated", "token": "tok_ok"}, "metadata": {},
        "totals": {"subtotal": money("5.10"), "discount": money("0.00"), "shipping": money("0.00"), "tax": money("0.00"), "total": money("5.10")},
    }))?)
}
