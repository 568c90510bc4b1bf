//! The log of a shop whose orders overlap: each is submitted, placed and confirmed, and a unit of its SKU reserved and committed.

use std::time::Instant;

use event_schemas::{
    Event, Metadata, StreamId, Timestamp,
    ids::{CommandId, OrderId, Sku},
};
use event_store::{EventStore, Lineage, Part, Unit};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::Error;

const SKUS: u128 = 500;
/// How many orders are under way at a time.
const OVERLAP: u128 = 200;
/// How many units are submitted before the first is waited for.
const IN_FLIGHT: usize = 2_000;

/// Fills the log with so many orders; five events each, and one for each SKU.
pub async fn fill(store: &EventStore, orders: u128) -> Result<(), Error> {
    let began = Instant::now();
    let skus = (0..SKUS).map(|nth| format!("SKU-{nth}").parse()).collect::<Result<Vec<Sku>, _>>();
    let skus = skus.map_err(|error| Error::Wrong(error.to_string()))?;
    let mut log = Log { store, versions: std::collections::HashMap::new(), pending: std::collections::VecDeque::new() };
    for sku in &skus {
        log.add(&StreamId::stock(sku), "StockReceived", &json!({"quantity": 1_000_000, "reference": "bench"})).await?;
    }
    for nth in 0..orders + OVERLAP {
        if nth < orders {
            let (order, sku) = (order(nth), &skus[(nth % SKUS) as usize]);
            log.add(&StreamId::order(order), "OrderSubmitted", &submitted(sku, nth)).await?;
            let customer = format!("buyer-{nth}@shop.example");
            let held = json!({"order": order, "quantity": 1, "until": "2026-03-01T12:15:00Z", "customer": customer, "sale": null});
            log.add(&StreamId::stock(sku), "StockReserved", &held).await?;
            log.add(&StreamId::order(order), "OrderPlaced", &json!({"payment_deadline": "2026-03-01T12:15:00Z"})).await?;
        }
        if let Some(earlier) = nth.checked_sub(OVERLAP) {
            let (order, sku) = (order(earlier), &skus[(earlier % SKUS) as usize]);
            log.add(&StreamId::order(order), "OrderConfirmed", &json!({"captured": gbp("2.50")})).await?;
            log.add(&StreamId::stock(sku), "StockCommitted", &json!({"order": order, "quantity": 1, "sale": null})).await?;
        }
    }
    while let Some(pending) = log.pending.pop_front() {
        pending.outcome().await?;
    }
    eprintln!("filled the log up to position {} in {:.0} s", store.head().await?, began.elapsed().as_secs_f64());
    Ok(())
}

fn order(nth: u128) -> OrderId {
    OrderId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0000 + nth))
}

fn gbp(amount: &str) -> Value {
    json!({"amount": amount, "currency": "GBP"})
}

fn submitted(sku: &Sku, nth: u128) -> Value {
    let email = format!("buyer-{nth}@shop.example");
    json!({
        "cart": order(nth), "email": email, "customer": email, "metadata": {},
        "shipping_address": {"name": "A. Buyer", "line1": "1 High Street", "city": "Leeds", "postal_code": "LS1 1AA", "country": "GB"},
        "lines": [{"sku": sku, "title": format!("The {sku}"), "category": "home", "quantity": 1, "unit_price": gbp("2.50"),
                   "line_total": gbp("2.50"), "sale": null}],
        "totals": {"subtotal": gbp("2.50"), "discount": gbp("0.00"), "shipping": gbp("0.00"), "tax": gbp("0.00"), "total": gbp("2.50")},
        "payment": {"method": "simulated", "token": "tok_ok"},
    })
}

/// The log while it is filled.
struct Log<'a> {
    store: &'a EventStore,
    versions: std::collections::HashMap<StreamId, (i64, Lineage)>,
    pending: std::collections::VecDeque<event_store::append::Pending>,
}

impl Log<'_> {
    async fn add(&mut self, stream: &StreamId, event_type: &str, payload: &Value) -> Result<(), Error> {
        let event = Event::decode(event_type, 1, &payload.to_string()).map_err(|error| Error::Wrong(error.to_string()))?;
        let (version, lineage) = self.versions.entry(stream.clone()).or_insert_with(|| (0, Lineage::new(0, 0)));
        let id = Uuid::now_v7();
        let metadata = Metadata { command_id: CommandId(id), correlation_id: id, causation_id: None, actor: "bench".into() };
        let now: Timestamp = command_api::shop::now();
        let part = Part::new(stream.clone(), *version, vec![event], metadata, now, lineage.clone())?;
        *version += 1;
        self.pending.push_back(self.store.submit(Unit::of(part))?);
        if self.pending.len() >= IN_FLIGHT
            && let Some(oldest) = self.pending.pop_front()
        {
            oldest.outcome().await?;
        }
        Ok(())
    }
}
