//! Flash sales: their terms from their own streams, what was sold of them from the stock's.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use event_schemas::{
    Event as LogEvent, Money, Recorded, Timestamp,
    events::{flash_sale, stock},
    ids::{FlashSaleId, Sku},
};
use futures::FutureExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Applied, Error, Projection, streams};

pub(crate) struct FlashSales;

impl Projection for FlashSales {
    fn name(&self) -> &'static str {
        "flash-sales"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["flash_sales"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["flashsale", "stock"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

/// A row of `flash_sales`.
#[derive(Clone)]
struct Row {
    sku: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    allotment: i64,
    price_amount: String,
    price_currency: String,
    limit_per_customer: Option<i64>,
    sold: i64,
    reserved: i64,
    cancelled: bool,
    version: i64,
}

impl Row {
    /// A sale of which nothing is sold yet. Its own stream and its allotment say the same of it, and either may come first.
    fn of(sku: &Sku, window: [Timestamp; 2], allotment: u32, price: Money, limit_per_customer: Option<u32>) -> Self {
        Self {
            sku: sku.to_string(),
            starts_at: window[0].utc(),
            ends_at: window[1].utc(),
            allotment: i64::from(allotment),
            price_amount: price.amount.to_string(),
            price_currency: price.currency.to_string(),
            limit_per_customer: limit_per_customer.map(i64::from),
            sold: 0,
            reserved: 0,
            cancelled: false,
            version: 0,
        }
    }

    fn fold_own(&mut self, event: &flash_sale::Event, version: i64) {
        self.cancelled |= matches!(event, flash_sale::Event::Cancelled(_));
        self.version = version;
    }

    fn fold_stock(&mut self, event: &stock::Event) {
        match event {
            stock::Event::Reserved(reserved) => self.reserved += i64::from(reserved.quantity),
            stock::Event::Committed(committed) => {
                self.reserved -= i64::from(committed.quantity);
                self.sold += i64::from(committed.quantity);
            }
            stock::Event::Released(released) => self.reserved -= i64::from(released.quantity),
            stock::Event::Expired(expired) => self.reserved -= i64::from(expired.quantity),
            stock::Event::Returned(returned) => self.sold -= i64::from(returned.quantity),
            stock::Event::AllotmentClosed(closed) => self.cancelled |= closed.reason == stock::AllotmentEnd::Cancelled,
            stock::Event::Allotted(_)
            | stock::Event::Received(_)
            | stock::Event::Adjusted(_)
            | stock::Event::CorrectionImported(_)
            | stock::Event::Withheld(_) => {}
        }
    }
}

/// The sale that a stock event is about.
fn sale_of(event: &stock::Event) -> Option<FlashSaleId> {
    match event {
        stock::Event::Reserved(reserved) => reserved.sale,
        stock::Event::Committed(committed) => committed.sale,
        stock::Event::Released(released) => released.sale,
        stock::Event::Expired(expired) => expired.sale,
        stock::Event::Returned(returned) => returned.sale,
        stock::Event::Allotted(allotted) => Some(allotted.sale),
        stock::Event::AllotmentClosed(closed) => Some(closed.sale),
        stock::Event::Received(_) | stock::Event::Adjusted(_) | stock::Event::CorrectionImported(_) | stock::Event::Withheld(_) => None,
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let mut about: Vec<(FlashSaleId, &Recorded)> = Vec::new();
    for recorded in events {
        match &recorded.event {
            LogEvent::FlashSale(_) => about.push((streams::key_of(recorded)?, recorded)),
            LogEvent::Stock(event) => about.extend(sale_of(event).map(|sale| (sale, &**recorded))),
            _ => {}
        }
    }
    if about.is_empty() {
        return Ok(());
    }
    // A sale has two streams, which are applied by two servers at the same time where they come from Kafka: one waits for the other, and
    // reads what it has written.
    sqlx::query!(r#"select 1 as "one" from pg_advisory_xact_lock(hashtextextended('merx flash sales of ' || current_schema(), 0))"#)
        .fetch_one(&mut *connection)
        .await?;
    let mut rows = load(&mut *connection, about.iter().map(|(sale, _)| sale.uuid()).collect()).await?;
    for (sale, recorded) in about {
        match &recorded.event {
            LogEvent::FlashSale(event) => fold_own(&mut rows, sale, event, recorded.version),
            LogEvent::Stock(event) => fold_stock(&mut rows, sale, event, &streams::key_of(recorded)?),
            _ => {}
        }
    }
    write(connection, &rows).await
}

fn fold_own(rows: &mut BTreeMap<Uuid, Row>, sale: FlashSaleId, event: &flash_sale::Event, version: i64) {
    if let flash_sale::Event::Announced(a) = event {
        rows.entry(sale.uuid()).or_insert_with(|| Row::of(&a.sku, [a.starts_at, a.ends_at], a.allotment, a.price, a.limit_per_customer));
    }
    if let Some(row) = rows.get_mut(&sale.uuid()).filter(|row| row.version < version) {
        row.fold_own(event, version);
    }
}

fn fold_stock(rows: &mut BTreeMap<Uuid, Row>, sale: FlashSaleId, event: &stock::Event, sku: &Sku) {
    if let stock::Event::Allotted(a) = event {
        rows.entry(sale.uuid()).or_insert_with(|| Row::of(sku, [a.starts_at, a.ends_at], a.quantity, a.price, a.limit_per_customer));
    }
    if let Some(row) = rows.get_mut(&sale.uuid()) {
        row.fold_stock(event);
    }
}

async fn load(connection: &mut PgConnection, mut ids: Vec<Uuid>) -> Result<BTreeMap<Uuid, Row>, Error> {
    ids.sort_unstable();
    ids.dedup();
    let rows = sqlx::query!(
        r#"
        select id, sku, starts_at, ends_at, allotment, price_amount, price_currency, limit_per_customer, sold, reserved, cancelled, version
        from flash_sales
        where id = any($1)
        "#,
        &ids,
    )
    .fetch_all(connection)
    .await?;
    let mut loaded = BTreeMap::new();
    for r in rows {
        let row = Row {
            sku: r.sku,
            starts_at: r.starts_at,
            ends_at: r.ends_at,
            allotment: r.allotment,
            price_amount: r.price_amount,
            price_currency: r.price_currency,
            limit_per_customer: r.limit_per_customer,
            sold: r.sold,
            reserved: r.reserved,
            cancelled: r.cancelled,
            version: r.version,
        };
        loaded.insert(r.id, row);
    }
    Ok(loaded)
}

async fn write(connection: &mut PgConnection, rows: &BTreeMap<Uuid, Row>) -> Result<(), Error> {
    fn column<T>(rows: &BTreeMap<Uuid, Row>, of: impl Fn(&Row) -> T) -> Vec<T> {
        rows.values().map(of).collect()
    }
    let ids: Vec<Uuid> = rows.keys().copied().collect();
    sqlx::query!(
        r#"
        insert into flash_sales
            (id, sku, starts_at, ends_at, allotment, price_amount, price_currency, limit_per_customer, sold, reserved, cancelled, version)
        select * from unnest(
            $1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::bigint[], $6::text[], $7::text[], $8::bigint[],
            $9::bigint[], $10::bigint[], $11::boolean[], $12::bigint[])
        on conflict (id) do update
            set sold = excluded.sold, reserved = excluded.reserved, cancelled = excluded.cancelled, version = excluded.version
        "#,
        &ids,
        &column(rows, |row| row.sku.clone()),
        &column(rows, |row| row.starts_at),
        &column(rows, |row| row.ends_at),
        &column(rows, |row| row.allotment),
        &column(rows, |row| row.price_amount.clone()),
        &column(rows, |row| row.price_currency.clone()),
        &column(rows, |row| row.limit_per_customer) as &[Option<i64>],
        &column(rows, |row| row.sold),
        &column(rows, |row| row.reserved),
        &column(rows, |row| row.cancelled),
        &column(rows, |row| row.version),
    )
    .execute(connection)
    .await?;
    Ok(())
}
