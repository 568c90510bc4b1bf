//! Products, without what other projections know of them.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{
    Event as LogEvent, Recorded, Timestamp,
    events::product::{Description, Event, ProductCreated},
    ids::{CategoryId, Sku},
    resource::{Product, ProductStatus, ProductStock, Rating},
};
use sqlx::PgConnection;

use crate::{Error, from_document, streams, to_document};

type Streams<'a> = BTreeMap<Sku, streams::Stream<'a, Event>>;

/// A row of `products`.
pub struct Row {
    pub created_position: i64,
    pub product: Product,
}

impl Row {
    /// The row of `sku` with its key.
    ///
    /// # Errors
    /// The `document` is no product.
    pub fn read(created_position: i64, sku: &str, document: &str) -> Result<(Sku, Self), Error> {
        let product: Product = from_document(sku, document)?;
        Ok((product.sku.clone(), Self { created_position, product }))
    }
}

fn created(recorded: &Recorded, event: &ProductCreated) -> Row {
    let ProductCreated { sku, description, price } = event.clone();
    let Description { title, description, category, brand, images, attributes, metadata } = description;
    let product = Product {
        id: sku.clone(),
        sku,
        title,
        description,
        category,
        brand,
        images,
        price,
        attributes,
        metadata,
        status: ProductStatus::Active,
        stock: ProductStock::of(0),
        rating: Rating::of(0, 0),
        flash_sale: None,
        created_at: recorded.recorded_at,
        updated_at: recorded.recorded_at,
        version: 0,
    };
    Row { created_position: recorded.position, product }
}

fn change(product: &mut Product, event: &Event, at: Timestamp) {
    match (event, product.status) {
        (Event::Described(described), _) => describe(product, described.description.clone()),
        (Event::Repriced(repriced), _) => product.price = repriced.to,
        (Event::Archived(_), ProductStatus::Active) => product.status = ProductStatus::Archived,
        (Event::Activated(_), ProductStatus::Archived) => product.status = ProductStatus::Active,
        (Event::Created(_) | Event::Archived(_) | Event::Activated(_), _) => return,
    }
    product.updated_at = at;
}

fn describe(product: &mut Product, to: Description) {
    let Description { title, description, category, brand, images, attributes, metadata } = to;
    product.title = title;
    product.description = description;
    product.category = category;
    product.brand = brand;
    product.images = images;
    product.attributes = attributes;
    product.metadata = metadata;
}

/// The events of products, by SKU.
pub fn of(events: &[Arc<Recorded>]) -> Result<Streams<'_>, Error> {
    streams::by_key::<Sku, Event>(events, |event| match event {
        LogEvent::Product(event) => Some(event),
        _ => None,
    })
}

/// Folds `touched` into `rows`, which has those that are there already.
pub fn fold(rows: &mut BTreeMap<Sku, Row>, touched: Streams<'_>) {
    for (sku, stream) in touched {
        let version = stream.version();
        for (recorded, event) in stream.events {
            match (rows.get_mut(&sku), event) {
                (None, Event::Created(event)) => drop(rows.insert(sku.clone(), created(recorded, event))),
                (Some(row), event) if row.product.version < recorded.version => change(&mut row.product, event, recorded.recorded_at),
                _ => {}
            }
        }
        if let Some(row) = rows.get_mut(&sku) {
            row.product.version = version.max(row.product.version);
        }
    }
}

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let mut parts = streams::Parts::of(of(events)?);
    while let Some(touched) = parts.next() {
        let loaded = load(&mut *connection, &streams::continued(&touched)).await?;
        let (touched, mut rows) = parts.with(touched, loaded);
        fold(&mut rows, touched);
        write(&mut *connection, &rows).await?;
    }
    Ok(())
}

async fn load(connection: &mut PgConnection, skus: &[Sku]) -> Result<streams::Loaded<Sku, Row>, Error> {
    if skus.is_empty() {
        return Ok(streams::Loaded::nothing());
    }
    let skus: Vec<&str> = skus.iter().map(Sku::as_str).collect();
    let rows =
        sqlx::query!(r#"select sku, created_position, document::text as "document!" from products where sku = any($1)"#, &skus as &[&str],)
            .fetch(connection);
    streams::Loaded::of(rows, |row| row.document.len(), |row| Row::read(row.created_position, &row.sku, &row.document)).await
}

async fn write(connection: &mut PgConnection, rows: &BTreeMap<Sku, Row>) -> Result<(), Error> {
    let skus: Vec<&str> = rows.keys().map(Sku::as_str).collect();
    let created_positions: Vec<i64> = rows.values().map(|row| row.created_position).collect();
    let categories: Vec<Option<&str>> = rows.values().map(|row| row.product.category.as_ref().map(CategoryId::as_str)).collect();
    let statuses: Vec<&str> = rows.values().map(|row| word(row.product.status)).collect();
    let versions: Vec<i64> = rows.values().map(|row| row.product.version).collect();
    let documents = rows.iter().map(|(sku, row)| to_document(sku, &row.product)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into products as p (sku, created_position, category, status, version, document)
        select r.sku, r.created_position, r.category, r.status, r.version, r.document::json
        from unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::text[])
            as r (sku, created_position, category, status, version, document)
        on conflict (sku) do update
            set category = excluded.category, status = excluded.status, version = excluded.version, document = excluded.document
            where p.version < excluded.version
        "#,
        &skus as &[&str],
        &created_positions,
        &categories as &[Option<&str>],
        &statuses as &[&str],
        &versions,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn word(status: ProductStatus) -> &'static str {
    match status {
        ProductStatus::Active => "active",
        ProductStatus::Archived => "archived",
    }
}
