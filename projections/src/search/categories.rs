//! The categories that products are in, and those above them: what changes there changes what is found of every product below.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{Recorded, ids::CategoryId, resource::Category};
use sqlx::PgConnection;

use crate::{
    Error,
    catalogue::categories::{fold, of},
    from_document, streams, to_document,
};

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = of(events)?;
    if touched.is_empty() {
        return Ok(());
    }
    let position = |stream: &streams::Stream<'_, _>| stream.events.last().map_or(0, |(recorded, _)| recorded.position);
    let changed: Vec<(String, i64)> = touched.iter().map(|(id, stream)| (id.to_string(), position(stream))).collect();
    let mut categories = load(&mut *connection, &streams::continued(&touched)).await?;
    fold(&mut categories, touched);
    write(&mut *connection, &categories).await?;
    mark(connection, changed).await
}

async fn load(connection: &mut PgConnection, ids: &[CategoryId]) -> Result<BTreeMap<CategoryId, Category>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<&str> = ids.iter().map(CategoryId::as_str).collect();
    let rows = sqlx::query!(r#"select id, document::text as "document!" from search_categories where id = any($1)"#, &ids as &[&str])
        .fetch_all(connection)
        .await?;
    let category = |id: String, document: String| from_document::<Category>(id, &document).map(|category| (category.id.clone(), category));
    rows.into_iter().map(|row| category(row.id, row.document)).collect()
}

async fn write(connection: &mut PgConnection, categories: &BTreeMap<CategoryId, Category>) -> Result<(), Error> {
    let ids: Vec<&str> = categories.keys().map(CategoryId::as_str).collect();
    let parents: Vec<Option<&str>> = categories.values().map(|category| category.parent.as_ref().map(CategoryId::as_str)).collect();
    let versions: Vec<i64> = categories.values().map(|category| category.version).collect();
    let documents = categories.iter().map(|(id, category)| to_document(id, category)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query!(
        r#"
        insert into search_categories as c (id, parent, version, document)
        select r.id, r.parent, r.version, r.document::json
        from unnest($1::text[], $2::text[], $3::bigint[], $4::text[]) as r (id, parent, version, document)
        on conflict (id) do update set parent = excluded.parent, version = excluded.version, document = excluded.document
            where c.version < excluded.version
        "#,
        &ids as &[&str],
        &parents as &[Option<&str>],
        &versions,
        &documents,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Marks the products in these categories, and in those below them, as changed.
async fn mark(connection: &mut PgConnection, changed: Vec<(String, i64)>) -> Result<(), Error> {
    let (ids, positions): (Vec<String>, Vec<i64>) = changed.into_iter().unzip();
    sqlx::query!(
        r#"
        with recursive below as (
            select r.id collate "C" as id, r.position from unnest($1::text[], $2::bigint[]) as r (id, position)
            union
            select c.id, b.position from search_categories c join below b on c.parent = b.id
        )
        update search_products p set changed_position = b.position
        from (select id, max(position) as position from below group by id) b
        where p.category = b.id and p.changed_position < b.position
        "#,
        &ids,
        &positions,
    )
    .execute(connection)
    .await?;
    Ok(())
}
