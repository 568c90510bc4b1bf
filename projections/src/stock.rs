//! What is on hand of each SKU, and how much of it is spoken for.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{Event as LogEvent, Recorded, events::stock::Event, ids::Sku};
use futures::FutureExt as _;
use sqlx::PgConnection;

use crate::{Applied, Error, Projection, streams};

pub(crate) struct Stock;

impl Projection for Stock {
    fn name(&self) -> &'static str {
        "stock"
    }

    fn version(&self) -> i32 {
        1
    }

    fn tables(&self) -> &'static [&'static str] {
        &["stock"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["stock"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

/// A row of `stock`.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Row {
    pub on_hand: i64,
    pub reserved: i64,
    pub version: i64,
}

impl Row {
    /// Takes an event in.
    pub fn fold(&mut self, event: &Event) {
        match event {
            Event::Received(received) => self.on_hand += i64::from(received.quantity),
            Event::Adjusted(adjusted) => self.on_hand += adjusted.quantity,
            // What a flash sale sells was set aside before.
            Event::Reserved(reserved) if reserved.sale.is_some() => {}
            Event::Reserved(reserved) => self.reserved += i64::from(reserved.quantity),
            Event::Committed(committed) => {
                self.on_hand -= i64::from(committed.quantity);
                self.reserved -= i64::from(committed.quantity);
            }
            Event::Released(released) => self.free(released.quantity, released.to_allotment),
            Event::Expired(expired) => self.free(expired.quantity, expired.to_allotment),
            Event::Returned(returned) => {
                self.on_hand += i64::from(returned.quantity);
                if returned.sale.is_some() {
                    self.reserved += i64::from(returned.quantity);
                }
            }
            Event::Allotted(allotted) => self.reserved += i64::from(allotted.quantity),
            Event::AllotmentClosed(closed) => self.reserved -= i64::from(closed.unsold),
            Event::CorrectionImported(_) | Event::Withheld(_) => {}
        }
    }

    fn free(&mut self, quantity: u32, to_allotment: bool) {
        if !to_allotment {
            self.reserved -= i64::from(quantity);
        }
    }
}

/// The events of stock, by SKU.
pub(crate) fn of(events: &[Arc<Recorded>]) -> Result<BTreeMap<Sku, streams::Stream<'_, Event>>, Error> {
    streams::by_key::<Sku, Event>(events, |event| match event {
        LogEvent::Stock(event) => Some(event),
        _ => None,
    })
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = of(events)?;
    let mut rows = load(connection, &streams::continued(&touched)).await?;
    for (sku, stream) in &touched {
        let row = rows.entry(sku.to_string()).or_default();
        for (recorded, event) in &stream.events {
            if recorded.version > row.version {
                row.fold(event);
                row.version = recorded.version;
            }
        }
    }
    write(connection, rows).await
}

async fn load(connection: &mut PgConnection, skus: &[Sku]) -> Result<BTreeMap<String, Row>, Error> {
    if skus.is_empty() {
        return Ok(BTreeMap::new());
    }
    let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
    let rows = sqlx::query!("select sku, on_hand, reserved, version from stock where sku = any($1)", &skus as &[&str])
        .fetch_all(connection)
        .await?;
    Ok(rows.into_iter().map(|r| (r.sku, Row { on_hand: r.on_hand, reserved: r.reserved, version: r.version })).collect())
}

async fn write(connection: &mut PgConnection, rows: BTreeMap<String, Row>) -> Result<(), Error> {
    let column = |of: fn(&Row) -> i64| rows.values().map(of).collect::<Vec<i64>>();
    let (on_hand, reserved, versions) = (column(|r| r.on_hand), column(|r| r.reserved), column(|r| r.version));
    let skus: Vec<String> = rows.into_keys().collect();
    sqlx::query!(
        r#"
        insert into stock as s (sku, on_hand, reserved, version)
        select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
        on conflict (sku) do update set on_hand = excluded.on_hand, reserved = excluded.reserved, version = excluded.version
            where s.version < excluded.version
        "#,
        &skus,
        &on_hand,
        &reserved,
        &versions,
    )
    .execute(connection)
    .await?;
    Ok(())
}
