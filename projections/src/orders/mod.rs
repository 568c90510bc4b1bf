//! Orders, whole.

mod fold;
mod import;

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use event_schemas::{Event as LogEvent, Recorded, customer, events::order::Event, ids::OrderId, resource::Order};
use futures::FutureExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    Applied, Error, Projection, from_document,
    streams::{self, Stream},
    to_document,
};

pub(crate) struct Orders;

impl Projection for Orders {
    fn name(&self) -> &'static str {
        "orders"
    }

    fn version(&self) -> i32 {
        4 // since they are found by their buyer's normalised address (3), and refunds say why they failed
    }

    fn tables(&self) -> &'static [&'static str] {
        &["orders"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["order"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = streams::by_key::<OrderId, Event>(events, |event| match event {
        LogEvent::Order(event) => Some(event),
        _ => None,
    })?;
    let mut parts = streams::Parts::of(touched);
    while let Some(touched) = parts.next() {
        let loaded = load(&mut *connection, &streams::continued(&touched)).await?;
        let (touched, mut orders) = parts.with(touched, loaded);
        fold_all(&mut orders, &touched);
        write(&mut *connection, &orders).await?;
    }
    Ok(())
}

/// Folds `touched` into `orders`, which has those that are there already.
fn fold_all(orders: &mut BTreeMap<OrderId, Order>, touched: &BTreeMap<OrderId, Stream<'_, Event>>) {
    for (id, stream) in touched {
        let mut order = orders.remove(id);
        let version = order.as_ref().map_or(0, |order| order.version);
        for (recorded, event) in stream.events.iter().filter(|(recorded, _)| recorded.version > version) {
            order = fold::fold(order, *id, event, recorded.recorded_at);
        }
        if let Some(mut order) = order {
            order.version = stream.version().max(version);
            orders.insert(*id, order);
        }
    }
}

async fn load(connection: &mut PgConnection, ids: &[OrderId]) -> Result<streams::Loaded<OrderId, Order>, Error> {
    if ids.is_empty() {
        return Ok(streams::Loaded::nothing());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(r#"select id, document::text as "document!" from orders where id = any($1)"#, &ids).fetch(connection);
    streams::Loaded::of(rows, |row| row.document.len(), |row| Ok((OrderId(row.id), from_document(row.id, &row.document)?))).await
}

async fn write(connection: &mut PgConnection, orders: &BTreeMap<OrderId, Order>) -> Result<(), Error> {
    let ids: Vec<Uuid> = orders.keys().map(|id| id.uuid()).collect();
    let statuses: Vec<&str> = orders.values().map(|order| order.status.as_str()).collect();
    let emails: Vec<Option<String>> = orders.values().map(|order| order.email.as_deref().map(customer::of_email)).collect();
    let placed_at: Vec<DateTime<Utc>> = orders.values().map(|order| order.placed_at.utc()).collect();
    let versions: Vec<i64> = orders.values().map(|order| order.version).collect();
    let documents = orders.iter().map(|(id, order)| to_document(id, order)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into orders as o (id, status, email, placed_at, version, document)
        select r.id, r.status, r.email, r.placed_at, r.version, r.document::json
        from unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[], $6::text[])
            as r (id, status, email, placed_at, version, document)
        on conflict (id) do update
            set status = excluded.status, placed_at = excluded.placed_at, version = excluded.version, document = excluded.document
            where o.version < excluded.version
        "#,
        &ids,
        &statuses as &[&str],
        &emails as &[Option<String>],
        &placed_at,
        &versions,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}
