//! `GET /v1/orders`: orders as they are kept, the newest first.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use event_schemas::{
    Timestamp, customer,
    ids::OrderId,
    resource::{Order, OrderStatus},
};
use event_store::{bounded, read::PAGE_BYTES};
use gateway::{Cursor, CursorText, IfNoneMatch, Limit, MinPosition, Page, Path, Problem, Query, Route, Routes};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{
    Queries,
    answer::{At, Documents, One, Read, ReadOne, Resource},
    catalogue::NOT_YET_VISIBLE,
    freshness::PARKED,
};

const PROJECTIONS: [&str; 1] = ["orders"];
const CURSOR: &str = "orders";

pub fn routes() -> Routes<Queries> {
    Routes::new()
        .add(
            Route::get("/v1/orders", list)
                .summary("Orders, the newest first")
                .description(
                    "What checkout refused is listed with `status=rejected` only. A page ends early where its orders have more than 2 MiB of data.",
                )
                .tag("Orders")
                .query::<Listing>()
                .answers::<Page<Order>>(200)
                .leads_to("/v1/orders/{id}", "$response.body#/items/0/id")
                .leads_to("/v1/carts/{id}", "$response.body#/items/0/cart")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
        )
        .add(
            Route::get("/v1/orders/{id}", one)
                .summary("An order, and all that became of it")
                .tag("Orders")
                .path_param::<OrderId>("id", "the order's id")
                .answers::<Order>(200)
                .answers_with(304, "")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
                .problem(503, "parked", PARKED),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Listing {
    /// Only with this status; where it is not sent, with any but `rejected`.
    status: Option<OrderStatus>,
    /// Only of this buyer, however the address is written: letter case, a dot at the end, quotes and invisible characters make no difference.
    #[schemars(length(max = 320))]
    email: Option<String>,
    /// Only placed later than this.
    placed_after: Option<Timestamp>,
    /// Only placed earlier than this.
    placed_before: Option<Timestamp>,
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<CursorText>,
}

/// The last order of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Place(DateTime<Utc>, OrderId);

impl Listing {
    /// Where a page that comes after `after` ends: one bound, since of two an index takes only one to start at.
    fn end(&self, after: Option<Place>) -> Option<Place> {
        // No id is less than the nil one, so this is before every order of that time.
        let placed_before = self.placed_before.map(|before| Place(before.utc(), OrderId(Uuid::nil())));
        [placed_before, after].into_iter().flatten().min()
    }
}

async fn list(State(queries): State<Queries>, min: MinPosition, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let after: Option<Place> = listing.cursor.as_deref().map(|cursor| Cursor::decode(CURSOR, cursor)).transpose()?;
    Ok(queries.fresh(min, &PROJECTIONS, || read_page(&queries.reads, &listing, after)).await?.answer())
}

async fn one(State(queries): State<Queries>, min: MinPosition, known: IfNoneMatch, Path(id): Path<OrderId>) -> Result<Response, Problem> {
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, id)).await?;
    Ok(found.or_not_found(|| format!("There is no order {id}."))?.answer(&known))
}

async fn read_one(pool: &PgPool, id: OrderId) -> ReadOne {
    let row = sqlx::query!(
        r#"
        select c.position as "position!", o.version as "version?", o.document::text as document,
               (select position from parked_streams where consumer = 'orders' and stream_id = 'order-' || $1::uuid) as parked_at
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'orders') c
        left join read_model.orders o on o.id = $1
        "#,
        id.uuid(),
    )
    .fetch_one(pool)
    .await?;
    let found = row.version.zip(row.document).map(|(version, json)| One::stored(version, json));
    Ok(Resource { position: row.position, parked_at: row.parked_at, found })
}

async fn read_page(pool: &PgPool, listing: &Listing, after: Option<Place>) -> Read<Documents> {
    let end = listing.end(after);
    let mut connection = pool.acquire().await?;
    // A branch for each index: the three whose parameters don't fit are never run.
    let rows = sqlx::query!(
        r#"
        with page as (
            (select id, placed_at, document from read_model.orders
             where $2::text is not null and $1::text is null and email = $2 and status <> 'rejected'
               and placed_at > coalesce($3::timestamptz, '-infinity')
               and (placed_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
             order by placed_at desc, id desc limit $6)
            union all
            (select id, placed_at, document from read_model.orders
             where $2::text is not null and $1::text is not null and email = $2 and status = $1
               and placed_at > coalesce($3::timestamptz, '-infinity')
               and (placed_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
             order by placed_at desc, id desc limit $6)
            union all
            (select id, placed_at, document from read_model.orders
             where $2::text is null and $1::text is not null and status = $1
               and placed_at > coalesce($3::timestamptz, '-infinity')
               and (placed_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
             order by placed_at desc, id desc limit $6)
            union all
            (select id, placed_at, document from read_model.orders
             where $2::text is null and $1::text is null and status <> 'rejected'
               and placed_at > coalesce($3::timestamptz, '-infinity')
               and (placed_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::uuid, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
             order by placed_at desc, id desc limit $6)
        )
        select c.position as "position!", p.id as "id?", p.placed_at as "placed_at?", p.document::text as document
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'orders') c
        left join page p on true
        order by p.placed_at desc, p.id desc
        "#,
        listing.status.map(OrderStatus::as_str),
        listing.email.as_deref().map(customer::of_email),
        listing.placed_after.map(Timestamp::utc),
        end.map(|Place(at, _)| at),
        end.map(|Place(_, id)| id.uuid()),
        i64::from(listing.limit) + 1,
    )
    .fetch(&mut *connection);
    let taken = bounded::take(rows, |row| row.document.as_ref().map_or(0, String::len), PAGE_BYTES).await?;
    let (rows, is_cut) = taken.over(connection);
    let position = rows.first().map_or(0, |row| row.position);
    let rows: Vec<_> = rows.into_iter().filter_map(|row| Some((row.document?, Place(row.placed_at?, OrderId(row.id?))))).collect();
    Ok(At { position, found: Documents::cut((rows, is_cut), listing.limit, |place| Cursor::encode(CURSOR, place)) })
}
