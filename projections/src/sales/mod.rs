//! What was sold and what came back, by day, and of each day by country, product and category.
//!
//! An order made here counts when it is confirmed, on the day it was placed; what comes back counts on the day it comes back.
//! Imported history counts at once, as it was charged.

mod import;
mod open;
mod tables;
mod tally;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use event_schemas::{Event as LogEvent, Recorded, events::order::Event, ids::OrderId};
use futures::FutureExt as _;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Applied, Error, Projection, from_document, streams, to_document};
use open::OpenOrder;
use tally::Tally;

pub(crate) struct Sales;

impl Projection for Sales {
    fn name(&self) -> &'static str {
        "sales"
    }

    fn version(&self) -> i32 {
        3 // since there are totals; since 2 imported invoices that adjust accounts count in net only
    }

    fn tables(&self) -> &'static [&'static str] {
        &["sales_by_country", "sales_by_product", "sales_by_category", "sales_totals", "sales_orders"]
    }

    fn categories(&self) -> &'static [&'static str] {
        &["order"]
    }

    fn apply<'a>(&'a self, connection: &'a mut PgConnection, events: &'a [Arc<Recorded>]) -> Applied<'a> {
        apply(connection, events).boxed()
    }
}

async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = streams::by_key::<OrderId, Event>(events, counted)?;
    let mut parts = streams::Parts::of(touched);
    let mut tally = Tally::default();
    while let Some(touched) = parts.next() {
        let loaded = load(&mut *connection, &streams::continued(&touched)).await?;
        let (touched, mut open) = parts.with(touched, loaded);
        for (id, stream) in &touched {
            for (recorded, event) in &stream.events {
                let too_large = || Error::Event { position: recorded.position, detail: "its amounts are too large to be added up".into() };
                fold(&mut open, &mut tally, *id, recorded, event).ok_or_else(too_large)?;
            }
        }
        write(&mut *connection, &open).await?;
        let closed = streams::continued(&touched).into_iter().filter(|id| !open.contains_key(id));
        forget(&mut *connection, &closed.map(OrderId::uuid).collect::<Vec<_>>()).await?;
    }
    tally.write(connection).await
}

/// Events that make a difference to sales.
fn counted(event: &LogEvent) -> Option<&Event> {
    match event {
        LogEvent::Order(
            Event::CapturedLate(_)
            | Event::Shipped(_)
            | Event::Delivered(_)
            | Event::RefundRequested(_)
            | Event::Refunded(_)
            | Event::RefundFailed(_),
        ) => None,
        LogEvent::Order(event) => Some(event),
        _ => None,
    }
}

/// None where the sums can't be held.
fn fold(open: &mut BTreeMap<OrderId, OpenOrder>, tally: &mut Tally, id: OrderId, recorded: &Recorded, event: &Event) -> Option<()> {
    let at = recorded.recorded_at;
    match event {
        Event::Submitted(submitted) => drop(open.entry(id).or_insert_with(|| OpenOrder::of(submitted, at))),
        Event::Placed(_) => {
            if let Some(order) = open.get_mut(&id) {
                order.placed(at);
            }
        }
        Event::Rejected(_) => drop(open.remove(&id)),
        Event::Confirmed(_) => {
            if let Some(order) = open.get(&id) {
                order.count(tally)?;
            }
        }
        Event::Cancelled(cancelled) => {
            if let Some(order) = open.remove(&id).filter(|_| cancelled.was_confirmed) {
                order.take_all_back(at, tally)?;
            }
        }
        Event::Returned(returned) => {
            if let Some(order) = open.get_mut(&id) {
                order.take_back(&returned.items, at, tally)?;
                if order.is_all_back() {
                    open.remove(&id);
                }
            }
        }
        Event::Imported(imported) => import::invoice(imported, tally)?,
        Event::ReturnImported(imported) => import::returned(imported, tally)?,
        Event::CapturedLate(_)
        | Event::Shipped(_)
        | Event::Delivered(_)
        | Event::RefundRequested(_)
        | Event::Refunded(_)
        | Event::RefundFailed(_) => {}
    }
    Some(())
}

async fn load(connection: &mut PgConnection, ids: &[OrderId]) -> Result<streams::Loaded<OrderId, OpenOrder>, Error> {
    if ids.is_empty() {
        return Ok(streams::Loaded::nothing());
    }
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(r#"select id, document::text as "document!" from sales_orders where id = any($1)"#, &ids).fetch(connection);
    streams::Loaded::of(rows, |row| row.document.len(), |row| Ok((OrderId(row.id), from_document(row.id, &row.document)?))).await
}

async fn write(connection: &mut PgConnection, open: &BTreeMap<OrderId, OpenOrder>) -> Result<(), Error> {
    let changed: Vec<_> = open.iter().filter(|(_, order)| order.is_changed()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let ids: Vec<Uuid> = changed.iter().map(|(id, _)| id.uuid()).collect();
    let documents = changed.iter().map(|(id, order)| to_document(id, order)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into sales_orders (id, document)
        select r.id, r.document::json from unnest($1::uuid[], $2::text[]) as r (id, document)
        on conflict (id) do update set document = excluded.document
        "#,
        &ids,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Orders that can't change any more need not be remembered.
async fn forget(connection: &mut PgConnection, ids: &[Uuid]) -> Result<(), Error> {
    if !ids.is_empty() {
        sqlx::query!("delete from sales_orders where id = any($1)", ids).execute(connection).await?;
    }
    Ok(())
}

/// The keys under which an order has been counted, so that it counts once for each.
type Sold<'a> = BTreeSet<&'a str>;
