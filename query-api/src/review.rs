//! `GET /v1/products/{sku}/reviews`: what people say of a product, the newest first.

use axum::{extract::State, response::Response};
use event_schemas::{ids::Sku, resource::Review};
use event_store::{bounded, read::PAGE_BYTES};
use gateway::{Cursor, Limit, MinPosition, Page, Path, Problem, Query, Route, Routes};
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{At, Documents, Read},
    catalogue::{Listing, NOT_YET_VISIBLE},
};

const PROJECTIONS: [&str; 2] = ["catalogue", "reviews"];
const CURSOR: &str = "reviews";

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/products/{sku}/reviews", list)
            .summary("Reviews of a product, the newest first")
            .description("A page ends early where its reviews have more than 2 MiB of data.")
            .tag("Catalogue")
            .path_param::<Sku>("sku", "the product's SKU")
            .query::<Listing>()
            .answers::<Page<Review>>(200)
            .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
    )
}

async fn list(
    State(queries): State<Queries>,
    min: MinPosition,
    Path(sku): Path<Sku>,
    Query(listing): Query<Listing>,
) -> Result<Response, Problem> {
    let before: Option<i64> = listing.cursor.as_deref().map(|cursor| Cursor::decode(CURSOR, cursor)).transpose()?;
    let found = queries.fresh(min, &PROJECTIONS, || read_page(&queries.reads, &sku, before, listing.limit)).await?;
    Ok(found.or_not_found(|| format!("There is no product {sku}."))?.answer())
}

/// None where neither the product nor a review of it is known.
async fn read_page(pool: &PgPool, sku: &Sku, before: Option<i64>, limit: Limit) -> Read<Option<Documents>> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query!(
        r#"
        select c.position as "position!", exists (select from read_model.products where sku = $1) as "is_known!",
               r.position as "key?", r.document::text as document
        from (
            select case when count(*) = 2 then min(position) else 0 end as position
            from checkpoints where name in ('catalogue', 'reviews')
        ) c
        left join lateral (
            select position, document from read_model.reviews
            where sku = $1 and position < coalesce($2, 9223372036854775807)
            order by position desc limit $3
        ) r on true
        order by r.position desc
        "#,
        sku.as_str(),
        before,
        i64::from(limit) + 1,
    )
    .fetch(&mut *connection);
    let taken = bounded::take(rows, |row| row.document.as_ref().map_or(0, String::len), PAGE_BYTES).await?;
    let (rows, is_cut) = taken.over(connection);
    let (position, is_known) = rows.first().map_or((0, false), |row| (row.position, row.is_known));
    let rows: Vec<_> = rows.into_iter().filter_map(|row| Some((row.document?, row.key?))).collect();
    let is_known = is_known || !rows.is_empty();
    let found = is_known.then(|| Documents::cut((rows, is_cut), limit, |key| Cursor::encode(CURSOR, key)));
    Ok(At { position, found })
}
