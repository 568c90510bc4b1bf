//! Categories.

use std::{collections::BTreeMap, sync::Arc};

use event_schemas::{
    Event as LogEvent, Recorded,
    events::category::{CategoryCreated, CategoryMoved, CategoryRenamed, Event},
    ids::CategoryId,
    resource::Category,
};
use sqlx::PgConnection;

use crate::{Error, from_document, streams, to_document};

type Streams<'a> = BTreeMap<CategoryId, streams::Stream<'a, Event>>;

/// The events of categories, by id.
pub fn of(events: &[Arc<Recorded>]) -> Result<Streams<'_>, Error> {
    streams::by_key::<CategoryId, Event>(events, |event| match event {
        LogEvent::Category(event) => Some(event),
        _ => None,
    })
}

/// Folds `touched` into `categories`, which has those that are there already.
pub fn fold(categories: &mut BTreeMap<CategoryId, Category>, touched: Streams<'_>) {
    for (id, stream) in touched {
        let version = stream.version();
        for (recorded, event) in stream.events {
            match (categories.get_mut(&id), event) {
                (None, Event::Created(CategoryCreated { id, name, parent })) => {
                    let category = Category { id: id.clone(), name: name.clone(), parent: parent.clone(), version: 0 };
                    categories.insert(id.clone(), category);
                }
                (Some(category), event) if category.version < recorded.version => match event {
                    Event::Created(_) => {}
                    Event::Renamed(CategoryRenamed { name }) => category.name.clone_from(name),
                    Event::Moved(CategoryMoved { parent }) => category.parent.clone_from(parent),
                },
                _ => {}
            }
        }
        if let Some(category) = categories.get_mut(&id) {
            category.version = version.max(category.version);
        }
    }
}

pub async fn apply(connection: &mut PgConnection, events: &[Arc<Recorded>]) -> Result<(), Error> {
    let touched = of(events)?;
    if touched.is_empty() {
        return Ok(());
    }
    let mut categories = load(&mut *connection, &streams::continued(&touched)).await?;
    fold(&mut categories, touched);
    write(connection, &categories).await
}

async fn load(connection: &mut PgConnection, ids: &[CategoryId]) -> Result<BTreeMap<CategoryId, Category>, Error> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<&str> = ids.iter().map(CategoryId::as_str).collect();
    let rows = sqlx::query!(r#"select id, document::text as "document!" from categories where id = any($1)"#, &ids as &[&str])
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
        insert into categories as c (id, parent, version, document)
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
