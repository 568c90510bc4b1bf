//! What its own stream says of a product.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{
    Recorded,
    ids::{CategoryId, Sku},
};
use sqlx::PgConnection;

use crate::{
    Error,
    catalogue::products::{Row, fold, of},
    streams, to_document,
};

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let mut parts = streams::Parts::of(of(events)?);
    while let Some(touched) = parts.next() {
        let loaded = load(&mut *connection, &streams::continued(&touched)).await?;
        let (touched, mut rows) = parts.with(touched, loaded);
        let changed: BTreeMap<Sku, i64> =
            touched.iter().map(|(sku, stream)| (sku.clone(), stream.events.last().map_or(0, |(recorded, _)| recorded.position))).collect();
        fold(&mut rows, touched);
        write(&mut *connection, &rows, &changed).await?;
    }
    Ok(())
}

async fn load(connection: &mut PgConnection, skus: &[Sku]) -> Result<streams::Loaded<Sku, Row>, Error> {
    if skus.is_empty() {
        return Ok(streams::Loaded::nothing());
    }
    let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
    let rows = sqlx::query!(
        r#"
        select sku, created_position as "created_position!", document::text as "document!"
        from search_products where sku = any($1) and document is not null
        "#,
        &skus as &[&str],
    )
    .fetch(connection);
    streams::Loaded::of(rows, |row| row.document.len(), |row| Row::read(row.created_position, &row.sku, &row.document)).await
}

async fn write(connection: &mut PgConnection, rows: &BTreeMap<Sku, Row>, changed: &BTreeMap<Sku, i64>) -> Result<(), Error> {
    let skus: Vec<&str> = rows.keys().map(Sku::as_str).collect();
    let changed: Vec<i64> = rows.keys().map(|sku| changed.get(sku).copied().unwrap_or_default()).collect();
    let created: Vec<i64> = rows.values().map(|row| row.created_position).collect();
    let categories: Vec<Option<&str>> = rows.values().map(|row| row.product.category.as_ref().map(CategoryId::as_str)).collect();
    let versions: Vec<i64> = rows.values().map(|row| row.product.version).collect();
    let documents = rows.iter().map(|(sku, row)| to_document(sku, &row.product)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into search_products as p (sku, changed_position, created_position, category, product_version, document)
        select r.sku, r.changed_position, r.created_position, r.category, r.version, r.document::json
        from unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[])
            as r (sku, changed_position, created_position, category, version, document)
        on conflict (sku) do update
            set changed_position = greatest(p.changed_position, excluded.changed_position), created_position = excluded.created_position,
                category = excluded.category, product_version = excluded.product_version, document = excluded.document
            where p.product_version < excluded.product_version
        "#,
        &skus as &[&str],
        &changed,
        &created,
        &categories as &[Option<&str>],
        &versions,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}
