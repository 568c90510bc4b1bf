//! Availability of a product, and its flash sales.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{
    Money, Recorded, Timestamp,
    events::stock::{Event, StockAllotted},
    ids::{FlashSaleId, Sku},
};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{
    Error, from_document,
    stock::{Row, of},
    streams, to_document,
};

/// The counts and the sales, and the last event that made the counts something or nothing, or changed the sales.
#[derive(Default)]
struct Counted {
    row: Row,
    sales: Vec<Sale>,
    changed_position: i64,
}

/// A flash sale that is not closed.
#[derive(Debug, Serialize, Deserialize)]
struct Sale {
    id: FlashSaleId,
    starts_at: Timestamp,
    ends_at: Timestamp,
    price: Money,
}

impl Counted {
    /// Takes an event in, and says whether what is searched is otherwise now.
    fn fold(&mut self, event: &Event) -> bool {
        let was_there = is_there(self.row);
        self.row.fold(event);
        let has_other_sales = match event {
            Event::Allotted(StockAllotted { sale, starts_at, ends_at, price, .. }) => {
                self.sales.push(Sale { id: *sale, starts_at: *starts_at, ends_at: *ends_at, price: *price });
                self.sales.sort_by_key(|sale| sale.starts_at);
                true
            }
            Event::AllotmentClosed(closed) => {
                self.sales.retain(|sale| sale.id != closed.sale);
                true
            }
            _ => false,
        };
        has_other_sales || is_there(self.row) != was_there
    }
}

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = of(events)?;
    if touched.is_empty() {
        return Ok(());
    }
    let mut rows = load(&mut *connection, &streams::continued(&touched)).await?;
    for (sku, stream) in &touched {
        let counted = rows.entry(sku.to_string()).or_default();
        for (recorded, event) in &stream.events {
            if recorded.version <= counted.row.version {
                continue;
            }
            counted.row.version = recorded.version;
            if counted.fold(event) {
                counted.changed_position = recorded.position;
            }
        }
    }
    write(connection, &rows).await
}

fn is_there(row: Row) -> bool {
    row.on_hand > row.reserved
}

async fn load(connection: &mut PgConnection, skus: &[Sku]) -> Result<BTreeMap<String, Counted>, Error> {
    if skus.is_empty() {
        return Ok(BTreeMap::new());
    }
    let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
    let rows = sqlx::query!(
        r#"select sku, on_hand, reserved, stock_version, sales::text as "sales!" from search_products where sku = any($1)"#,
        &skus as &[&str]
    )
    .fetch_all(connection)
    .await?;
    let mut counted = BTreeMap::new();
    for row in rows {
        let sales = from_document(&row.sku, &row.sales)?;
        let counts = Row { on_hand: row.on_hand, reserved: row.reserved, version: row.stock_version };
        counted.insert(row.sku, Counted { row: counts, sales, changed_position: 0 });
    }
    Ok(counted)
}

async fn write(connection: &mut PgConnection, rows: &BTreeMap<String, Counted>) -> Result<(), Error> {
    let column = |of: fn(&Counted) -> i64| rows.values().map(of).collect::<Vec<i64>>();
    let skus: Vec<String> = rows.keys().cloned().collect();
    let sales = rows.iter().map(|(sku, counted)| to_document(sku, &counted.sales)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into search_products as p (sku, changed_position, on_hand, reserved, stock_version, sales)
        select r.sku, r.changed_position, r.on_hand, r.reserved, r.version, r.sales::json
        from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
            as r (sku, changed_position, on_hand, reserved, version, sales)
        on conflict (sku) do update
            set changed_position = greatest(p.changed_position, excluded.changed_position), on_hand = excluded.on_hand,
                reserved = excluded.reserved, stock_version = excluded.stock_version, sales = excluded.sales
            where p.stock_version < excluded.stock_version
        "#,
        &skus,
        &column(|counted| counted.changed_position),
        &column(|counted| counted.row.on_hand),
        &column(|counted| counted.row.reserved),
        &column(|counted| counted.row.version),
        &sales,
    )
    .execute(connection)
    .await?;
    Ok(())
}
