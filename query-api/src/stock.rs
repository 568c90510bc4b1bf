//! `GET /v1/stock/{sku}`: what the warehouse holds.

use axum::{extract::State, response::Response};
use event_schemas::{ids::Sku, resource::Stock};
use gateway::{IfNoneMatch, MinPosition, Path, Problem, Route, Routes};
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{One, ReadOne, Resource},
    catalogue::NOT_YET_VISIBLE,
    freshness::PARKED,
};

const PROJECTIONS: [&str; 2] = ["catalogue", "stock"];

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/stock/{sku}", one)
            .summary("The stock of a product")
            .description("A product that was never received has zeros, and version 0.")
            .tag("Stock")
            .path_param::<Sku>("sku", "the product's SKU")
            .answers::<Stock>(200)
            .answers_with(304, "")
            .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
            .problem(503, "parked", PARKED),
    )
}

async fn one(State(queries): State<Queries>, min: MinPosition, known: IfNoneMatch, Path(sku): Path<Sku>) -> Result<Response, Problem> {
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, &sku)).await?;
    Ok(found.or_not_found(|| format!("There is no product {sku}."))?.answer(&known))
}

/// None where neither the product nor stock of it is known.
async fn read_one(pool: &PgPool, sku: &Sku) -> ReadOne {
    let row = sqlx::query!(
        r#"
        select c.position as "position!", exists (select from read_model.products where sku = $1) as "is_known!",
               s.on_hand as "on_hand?", s.reserved as "reserved?", s.version as "version?", k.position as parked_at
        from (
            select case when count(*) = 2 then min(position) else 0 end as position
            from checkpoints where name in ('catalogue', 'stock')
        ) c
        left join read_model.stock s on s.sku = $1
        left join lateral (
            select min(position) as position from parked_streams
            where (consumer, stream_id) in (('stock', 'stock-' || $1), ('catalogue', case when s.sku is null then 'product-' || $1 end))
        ) k on true
        "#,
        sku.as_str(),
    )
    .fetch_one(pool)
    .await?;
    let (position, parked_at) = (row.position, row.parked_at);
    if !row.is_known && row.version.is_none() {
        return Ok(Resource { position, parked_at, found: None });
    }
    let (on_hand, reserved, version) = (row.on_hand.unwrap_or(0), row.reserved.unwrap_or(0), row.version.unwrap_or(0));
    let stock = Stock { id: sku.clone(), sku: sku.clone(), on_hand, reserved, available: on_hand - reserved, version };
    Ok(Resource { position, parked_at, found: Some(One::of(version, &stock)?) })
}
