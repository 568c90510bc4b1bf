//! `GET /v1/categories`: the tree that products hang in.

use axum::{extract::State, response::Response};
use event_schemas::{ids::CategoryId, resource::Category};
use gateway::{Cursor, CursorText, IfNoneMatch, Limit, MinPosition, Page, Path, Problem, Query, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{At, Documents, One, Read, ReadOne, Resource},
    freshness::PARKED,
};

const PROJECTIONS: [&str; 1] = ["catalogue"];
const CURSOR: &str = "categories";

pub fn routes() -> Routes<Queries> {
    Routes::new()
        .add(
            Route::get("/v1/categories", list)
                .summary("All categories, by their ids")
                .tag("Catalogue")
                .query::<Listing>()
                .answers::<Page<Category>>(200)
                .leads_to("/v1/categories/{id}", "$response.body#/items/0/id")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
        )
        .add(
            Route::get("/v1/categories/{id}", one)
                .summary("A category")
                .tag("Catalogue")
                .path_param::<CategoryId>("id", "the category's id")
                .answers::<Category>(200)
                .answers_with(304, "")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
                .problem(503, "parked", PARKED),
        )
}

/// What the refusal of a read model that is too old means.
pub const NOT_YET_VISIBLE: &str = "The read model has not come to `Merx-Min-Position` within two seconds; try again after `Retry-After`.";

/// A list without filters.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Listing {
    #[serde(default)]
    pub limit: Limit,
    /// The `next_cursor` of the page before.
    pub cursor: Option<CursorText>,
}

async fn list(State(queries): State<Queries>, min: MinPosition, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let after: String = listing.cursor.as_deref().map(|cursor| Cursor::decode(CURSOR, cursor)).transpose()?.unwrap_or_default();
    Ok(queries.fresh(min, &PROJECTIONS, || read_page(&queries.reads, &after, listing.limit)).await?.answer())
}

async fn one(
    State(queries): State<Queries>,
    min: MinPosition,
    known: IfNoneMatch,
    Path(id): Path<CategoryId>,
) -> Result<Response, Problem> {
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, &id)).await?;
    Ok(found.or_not_found(|| format!("There is no category {id}."))?.answer(&known))
}

async fn read_page(pool: &PgPool, after: &str, limit: Limit) -> Read<Documents> {
    let rows = sqlx::query!(
        r#"
        select c.position as "position!", p.id as "id?", p.document::text as "document?"
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'catalogue') c
        left join lateral (
            select id, document from read_model.categories where id > $1 order by id limit $2
        ) p on true
        order by p.id
        "#,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(pool)
    .await?;
    let position = rows.first().map_or(0, |row| row.position);
    let rows = rows.into_iter().filter_map(|row| Some((row.document?, row.id?))).collect();
    Ok(At { position, found: Documents::cut((rows, false), limit, |id| Cursor::encode(CURSOR, id)) })
}

async fn read_one(pool: &PgPool, id: &CategoryId) -> ReadOne {
    let row = sqlx::query!(
        r#"
        select c.position as "position!", m.version as "version?", m.document::text as "document?",
               (select position from parked_streams where consumer = 'catalogue' and stream_id = 'category-' || $1) as parked_at
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'catalogue') c
        left join read_model.categories m on m.id = $1
        "#,
        id.as_str(),
    )
    .fetch_one(pool)
    .await?;
    let found = row.version.zip(row.document).map(|(version, json)| One::stored(version, json));
    Ok(Resource { position: row.position, parked_at: row.parked_at, found })
}
