//! Whether any of a product can be bought.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{Recorded, ids::Sku};
use sqlx::PgConnection;

use crate::{
    Error,
    stock::{Row, of},
    streams,
};

/// The counts, and the last event that made it something or nothing.
#[derive(Default)]
struct Counted {
    row: Row,
    changed_position: i64,
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
            let was_there = is_there(counted.row);
            counted.row.fold(event);
            counted.row.version = recorded.version;
            if is_there(counted.row) != was_there {
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
    let rows = sqlx::query!("select sku, on_hand, reserved, stock_version from search_products where sku = any($1)", &skus as &[&str])
        .fetch_all(connection)
        .await?;
    let counted = |on_hand, reserved, version| Counted { row: Row { on_hand, reserved, version }, changed_position: 0 };
    Ok(rows.into_iter().map(|r| (r.sku, counted(r.on_hand, r.reserved, r.stock_version))).collect())
}

async fn write(connection: &mut PgConnection, rows: &BTreeMap<String, Counted>) -> Result<(), Error> {
    let column = |of: fn(&Counted) -> i64| rows.values().map(of).collect::<Vec<i64>>();
    let skus: Vec<String> = rows.keys().cloned().collect();
    sqlx::query!(
        r#"
        insert into search_products as p (sku, changed_position, on_hand, reserved, stock_version)
        select * from unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
        on conflict (sku) do update
            set changed_position = greatest(p.changed_position, excluded.changed_position), on_hand = excluded.on_hand,
                reserved = excluded.reserved, stock_version = excluded.stock_version
            where p.stock_version < excluded.stock_version
        "#,
        &skus,
        &column(|counted| counted.changed_position),
        &column(|counted| counted.row.on_hand),
        &column(|counted| counted.row.reserved),
        &column(|counted| counted.row.version),
    )
    .execute(connection)
    .await?;
    Ok(())
}
