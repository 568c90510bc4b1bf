//! Rebuilds of the read models of orders, sales and stock, beside the same fold that commits each event by itself.
//!
//! The log is that of a shop whose orders overlap: each is submitted, placed and confirmed, and a unit of its SKU reserved and committed.

use std::{sync::Arc, time::Instant};

use event_schemas::{
    Event, Metadata, StreamId, Timestamp,
    ids::{CommandId, OrderId, Sku},
};
use event_store::{EventStore, Lineage, Part, Unit};
use projections::{Projection, rebuild};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Extent, append,
    error::Error,
    report::{Report, Run},
    server::Server,
};

const ORDERS: u128 = 60_000;
const SKUS: u128 = 500;
/// How many orders are under way at a time.
const OVERLAP: u128 = 200;
/// How many units are submitted before the first is waited for.
const IN_FLIGHT: usize = 2_000;
/// The columns of each projection that is measured.
const MEASURED: [(&str, &str); 3] = [("orders", "orders_per_second"), ("sales", "sales_per_second"), ("stock", "stock_per_second")];

/// Measures rebuilds in turns with the baseline; fails where a rebuilt read model differs from the one before.
pub async fn run(server: &Server, extent: Extent) -> Result<Report, Error> {
    let options = server.database("merx").await?;
    let store = append::open(options.clone()).await?;
    fill(&store).await?;
    for projection in measured() {
        projections::catch_up(&store, &projection).await?;
    }
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        server.checkpoint().await?;
        let mut run = Run::new();
        for (projection, (name, column)) in measured().into_iter().zip(MEASURED) {
            let (before, events) = (digest(&options, &*projection).await?, own_events(&options, &*projection).await?);
            let began = Instant::now();
            rebuild::rebuild(&store, &projection, &CancellationToken::new(), |_, _| ()).await?;
            let rate = events / began.elapsed().as_secs_f64();
            if digest(&options, &*projection).await? != before {
                return Err(Error::Wrong(format!("the rebuilt {name} are not those that grew")));
            }
            eprintln!("run {nth}: {name}: {rate:.0} events/s");
            run.push((column, Some(rate)));
        }
        let slowest = run.iter().filter_map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
        run.push(("per_second", Some(slowest)));
        run.push(("baseline_per_second", Some(one_by_one(server, &store, extent, nth).await?)));
        runs.push(run);
    }
    Ok(Report::of("rebuild", runs))
}

fn measured() -> Vec<Arc<dyn Projection>> {
    let all = projections::all();
    MEASURED.iter().filter_map(|(name, _)| all.iter().find(|projection| projection.name() == *name).cloned()).collect()
}

/// How many events of the log are for `projection`: the others cost it next to nothing, so they don't count.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
async fn own_events(options: &PgConnectOptions, projection: &dyn Projection) -> Result<f64, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let categories: Vec<String> = projection.categories().iter().map(ToString::to_string).collect();
    let count: i64 = sqlx::query_scalar("select count(*) from events where split_part(stream_id, '-', 1) = any($1)")
        .bind(categories)
        .fetch_one(&mut connection)
        .await?;
    Ok(count as f64)
}

/// What all rows of a projection amount to.
async fn digest(options: &PgConnectOptions, projection: &dyn Projection) -> Result<Vec<String>, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let mut digests = Vec::new();
    for table in projection.tables() {
        let sql = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text))), '') from read_model.{table} t"
        );
        digests.push(sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await?.try_get(0)?);
    }
    Ok(digests)
}

/// The rate of the same fold of orders, each event committed by itself, on a database of its own.
async fn one_by_one(server: &Server, store: &EventStore, extent: Extent, nth: u32) -> Result<f64, Error> {
    let options = server.database(&format!("one_by_one_{nth}")).await?;
    append::open(options.clone()).await?;
    let options = options.options([("search_path", "read_model,public"), ("synchronous_commit", "off")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    let Some(orders) = measured().into_iter().next() else { return Err(Error::Wrong("there are no orders".into())) };
    let (feed, began) = (store.feed(orders.categories()), Instant::now());
    let (mut after, mut applied) = (0, 0_u32);
    while began.elapsed() < extent.turn {
        let batch = feed.read(after, 1_000).await?;
        if batch.up_to == after {
            break;
        }
        after = batch.up_to;
        for event in batch.events.chunks(1) {
            let mut transaction = connection.begin().await?;
            orders.apply(&mut transaction, event).await?;
            transaction.commit().await?;
            applied += 1;
        }
    }
    Ok(f64::from(applied) / began.elapsed().as_secs_f64())
}

async fn fill(store: &EventStore) -> Result<(), Error> {
    let began = Instant::now();
    let skus = (0..SKUS).map(|nth| format!("SKU-{nth}").parse()).collect::<Result<Vec<Sku>, _>>();
    let skus = skus.map_err(|error| Error::Wrong(error.to_string()))?;
    let mut log = Log { store, versions: std::collections::HashMap::new(), pending: std::collections::VecDeque::new() };
    for sku in &skus {
        log.add(&StreamId::stock(sku), "StockReceived", &json!({"quantity": 1_000_000, "reference": "bench"})).await?;
    }
    for nth in 0..ORDERS + OVERLAP {
        if nth < ORDERS {
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
