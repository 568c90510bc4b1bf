//! `GET /v1/products`: what is sold, with its stock, its rating and the flash sale that runs.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use event_schemas::{
    Money, Timestamp,
    ids::{CategoryId, FlashSaleId, Sku},
    money::parse_amount,
    resource::{Product, ProductFlashSale, ProductStatus, ProductStock, Rating},
};
use event_store::{
    bounded::{self, Taken},
    read::PAGE_BYTES,
};
use gateway::{Cursor, CursorText, IfNoneMatch, Json, Limit, MinPosition, Page, Path, Position, Problem, Query, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use crate::{
    Queries,
    answer::{At, One, Read, ReadOne, Resource},
    catalogue::NOT_YET_VISIBLE,
    error::Error,
    freshness::PARKED,
};

/// The projections that a product is made of.
pub const PROJECTIONS: [&str; 4] = ["catalogue", "stock", "flash-sales", "reviews"];
const CURSOR: &str = "products";

pub fn routes() -> Routes<Queries> {
    Routes::new()
        .add(
            Route::get("/v1/products", list)
                .summary("Products, in the order in which they were created")
                .description("A page ends early where its products have more than 2 MiB of data.")
                .tag("Catalogue")
                .query::<Listing>()
                .answers::<Page<Product>>(200)
                .leads_to("/v1/products/{sku}", "$response.body#/items/0/id")
                .leads_to("/v1/stock/{sku}", "$response.body#/items/0/id")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE),
        )
        .add(
            Route::get("/v1/products/{sku}", one)
                .summary("A product, with what can be bought of it now")
                .tag("Catalogue")
                .path_param::<Sku>("sku", "the product's SKU")
                .answers::<Product>(200)
                .answers_with(304, "")
                .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
                .problem(503, "parked", PARKED),
        )
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Listing {
    /// Only of this category, or of one below it.
    category: Option<CategoryId>,
    /// Only with this status.
    status: Option<ProductStatus>,
    #[serde(default)]
    limit: Limit,
    /// The `next_cursor` of the page before.
    cursor: Option<CursorText>,
}

async fn list(State(queries): State<Queries>, min: MinPosition, Query(listing): Query<Listing>) -> Result<Response, Problem> {
    let after: i64 = listing.cursor.as_deref().map(|cursor| Cursor::decode(CURSOR, cursor)).transpose()?.unwrap_or_default();
    let now = Utc::now();
    let At { position, found } = queries.fresh(min, &PROJECTIONS, || found(&queries.reads, &listing, after, now)).await?;
    let Found { products, is_cut } = found;
    let cursor = |(created_position, _): &(i64, Product)| Cursor::encode(CURSOR, created_position);
    let cut_at = products.last().filter(|_| is_cut).map(cursor);
    let mut page = Page::cut(products, listing.limit, cursor);
    page.next_cursor = page.next_cursor.or(cut_at);
    let items = page.items.into_iter().map(|(_, product)| product).collect();
    Ok((Position(position), Json(Page::<Product> { items, next_cursor: page.next_cursor })).into_response())
}

async fn one(State(queries): State<Queries>, min: MinPosition, known: IfNoneMatch, Path(sku): Path<Sku>) -> Result<Response, Problem> {
    let now = Utc::now();
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, &sku, now)).await?;
    Ok(found.or_not_found(|| format!("There is no product {sku}."))?.answer(&known))
}

/// A product as four projections know it.
#[derive(Debug, Default)]
struct Row {
    position: i64,
    created_position: Option<i64>,
    document: Option<String>,
    on_hand: Option<i64>,
    reserved: Option<i64>,
    rating_sum: Option<i64>,
    rating_count: Option<i64>,
    sale_id: Option<Uuid>,
    sale_ends_at: Option<DateTime<Utc>>,
    sale_amount: Option<String>,
    sale_currency: Option<String>,
    sale_remaining: Option<i64>,
    sale_limit: Option<i64>,
    /// Of a product that is read by itself.
    parked_at: Option<i64>,
}

impl Row {
    fn bytes(&self) -> usize {
        self.document.as_ref().map_or(0, String::len)
    }

    /// The product; none in the row that stands for an empty answer.
    fn product(self) -> Result<Option<Product>, Error> {
        let Some(document) = &self.document else { return Ok(None) };
        let mut product: Product = serde_json::from_str(document)?;
        product.flash_sale = self.flash_sale()?;
        let ordinary = self.on_hand.unwrap_or(0) - self.reserved.unwrap_or(0);
        product.stock = ProductStock::of(product.flash_sale.as_ref().map_or(ordinary, |sale| sale.remaining));
        product.rating = Rating::of(self.rating_sum.unwrap_or(0), self.rating_count.unwrap_or(0));
        Ok(Some(product))
    }

    fn flash_sale(&self) -> Result<Option<ProductFlashSale>, Error> {
        let (Some(id), Some(ends_at), Some(amount), Some(currency)) =
            (self.sale_id, self.sale_ends_at, &self.sale_amount, &self.sale_currency)
        else {
            return Ok(None);
        };
        Ok(Some(ProductFlashSale {
            id: FlashSaleId(id),
            price: Money::new(parse_amount(amount)?, currency.parse()?),
            ends_at: Timestamp::from(ends_at),
            remaining: self.sale_remaining.unwrap_or(0).max(0),
            limit_per_customer: self.sale_limit.and_then(|limit| u32::try_from(limit).ok()),
        }))
    }
}

async fn read_one(pool: &PgPool, sku: &Sku, now: DateTime<Utc>) -> ReadOne {
    let row = sqlx::query_as!(
        Row,
        r#"
        select c.position as "position!", p.created_position as "created_position?", p.document::text as document,
               s.on_hand as "on_hand?", s.reserved as "reserved?", r.sum as "rating_sum?", r.count as "rating_count?",
               f.id as "sale_id?", f.ends_at as "sale_ends_at?", f.price_amount as "sale_amount?", f.price_currency as "sale_currency?",
               f.allotment - f.sold - f.reserved as sale_remaining, f.limit_per_customer as "sale_limit?",
               k.position as parked_at
        from (
            select case when count(*) = 4 then min(position) else 0 end as position
            from checkpoints where name in ('catalogue', 'stock', 'flash-sales', 'reviews')
        ) c
        left join read_model.products p on p.sku = $1
        left join read_model.stock s on s.sku = p.sku
        left join read_model.ratings r on r.sku = p.sku
        left join lateral (
            select * from read_model.flash_sales f
            where f.sku = p.sku and f.starts_at <= $2 and f.ends_at > $2 and not f.cancelled and f.version > 0
            order by f.ends_at limit 1
        ) f on true
        left join lateral (
            select min(a.position) as position
            from (
                select position from parked_streams
                where (consumer, stream_id) in (('catalogue', 'product-' || $1), ('stock', 'stock-' || $1), ('flash-sales', 'stock-' || $1))
                union all
                -- Whose product it is says the first event.
                select s.position
                from parked_streams s
                cross join lateral (select payload->>'sku' as sku from events where stream_id = s.stream_id and version = 1 limit 1) e
                where (s.consumer = 'reviews' or (s.consumer = 'flash-sales' and s.stream_id like 'flashsale-%')) and e.sku = $1
            ) a
        ) k on true
        "#,
        sku.as_str(),
        now,
    )
    .fetch_one(pool)
    .await?;
    let (position, parked_at) = (row.position, row.parked_at);
    let found = row.product()?.map(|product| One::composed(product.version, &product)).transpose()?;
    Ok(Resource { position, parked_at, found })
}

/// Those of several products that there are.
pub struct Several {
    pub products: Vec<Product>,
    /// So many of the SKUs were looked up, from the first on, until the products had the bytes of a page.
    pub looked_up: usize,
}

/// The products of `skus` that there are, in their order, as far as a page has room.
pub async fn read_several(pool: &PgPool, skus: &[String], now: DateTime<Utc>) -> Read<Several> {
    let mut connection = pool.acquire().await?;
    let rows = sqlx::query_as!(
        Row,
        r#"
        select c.position as "position!", p.created_position as "created_position?", p.document::text as document,
               s.on_hand as "on_hand?", s.reserved as "reserved?", r.sum as "rating_sum?", r.count as "rating_count?",
               f.id as "sale_id?", f.ends_at as "sale_ends_at?", f.price_amount as "sale_amount?", f.price_currency as "sale_currency?",
               f.allotment - f.sold - f.reserved as sale_remaining, f.limit_per_customer as "sale_limit?",
               null::bigint as parked_at
        from (
            select case when count(*) = 4 then min(position) else 0 end as position
            from checkpoints where name in ('catalogue', 'stock', 'flash-sales', 'reviews')
        ) c
        left join unnest($1::text[]) with ordinality k (sku, nth) on true
        left join lateral (select * from read_model.products where sku = k.sku limit 1) p on true
        left join lateral (select on_hand, reserved from read_model.stock where sku = k.sku limit 1) s on true
        left join lateral (select sum, count from read_model.ratings where sku = k.sku limit 1) r on true
        left join lateral (
            select * from read_model.flash_sales f
            where f.sku = k.sku and f.starts_at <= $2 and f.ends_at > $2 and not f.cancelled and f.version > 0
            order by f.ends_at limit 1
        ) f on true
        order by k.nth
        "#,
        skus,
        now,
    )
    .fetch(&mut *connection);
    let (rows, _) = bounded::take(rows, Row::bytes, PAGE_BYTES).await?.over(connection);
    let (position, looked_up) = (rows.first().map_or(0, |row| row.position), rows.len().min(skus.len()));
    let products = rows.into_iter().map(Row::product).filter_map(Result::transpose).collect::<Result<_, _>>()?;
    Ok(At { position, found: Several { products, looked_up } })
}

/// Products with the position that each was created at.
struct Found {
    products: Vec<(i64, Product)>,
    /// True where the bytes of what was read left no room for more.
    is_cut: bool,
}

/// One row more than the page is long, or what has a page's bytes.
async fn read_page(connection: &mut PgConnection, listing: &Listing, after: i64, now: DateTime<Utc>) -> Result<Taken<Row>, sqlx::Error> {
    // A branch for each index: those whose parameters don't fit are never run. Each reads on from a place in the very order of its index, which no
    // other index gives: asked for one status, the planner would rather go through all products in the order of the page until there are
    // enough, and a rare status has it go through them all. Of each category a page's worth is taken out of the index alone. `limit 1` tells the
    // planner that a lookup for each row of the page is all there is to do.
    let rows = sqlx::query_as!(
        Row,
        r#"
        with recursive below as (
            select $1::text collate "C" as id where $1::text is not null
            union
            select c.id from read_model.categories c join below b on c.parent = b.id
        ), page as (
            (select sku, created_position from read_model.products
             where $1::text is null and $2::text is null and created_position > $3
             order by created_position limit $4)
            union all
            (select p.sku, p.created_position
             from (
                select sku, created_position, status from read_model.products
                where $1::text is null and $2::text is not null and (status, created_position) > ($2, $3)
                order by status, created_position limit $4
             ) p
             where p.status = $2)
            union all
            (select p.sku, p.created_position
             from below b cross join lateral (
                select sku, created_position, category from read_model.products
                where $2::text is null and (category, created_position) > (b.id, $3)
                order by category, created_position limit $4
             ) p
             where p.category = b.id
             order by p.created_position limit $4)
            union all
            (select p.sku, p.created_position
             from below b cross join lateral (
                select sku, created_position, category, status from read_model.products
                where $2::text is not null and (category, status, created_position) > (b.id, $2, $3)
                order by category, status, created_position limit $4
             ) p
             where p.category = b.id and p.status = $2
             order by p.created_position limit $4)
        )
        select c.position as "position!", p.created_position as "created_position?", p.document::text as document,
               s.on_hand as "on_hand?", s.reserved as "reserved?", r.sum as "rating_sum?", r.count as "rating_count?",
               f.id as "sale_id?", f.ends_at as "sale_ends_at?", f.price_amount as "sale_amount?", f.price_currency as "sale_currency?",
               f.allotment - f.sold - f.reserved as sale_remaining, f.limit_per_customer as "sale_limit?",
               null::bigint as parked_at
        from (
            select case when count(*) = 4 then min(position) else 0 end as position
            from checkpoints where name in ('catalogue', 'stock', 'flash-sales', 'reviews')
        ) c
        left join page k on true
        left join lateral (select sku, created_position, document from read_model.products where sku = k.sku limit 1) p on true
        left join lateral (select on_hand, reserved from read_model.stock where sku = p.sku limit 1) s on true
        left join lateral (select sum, count from read_model.ratings where sku = p.sku limit 1) r on true
        left join lateral (
            select * from read_model.flash_sales f
            where f.sku = p.sku and f.starts_at <= $5 and f.ends_at > $5 and not f.cancelled and f.version > 0
            order by f.ends_at limit 1
        ) f on true
        order by p.created_position
        "#,
        listing.category.as_ref().map(CategoryId::as_str),
        listing.status.map(status_word),
        after,
        i64::from(listing.limit) + 1,
        now,
    )
    .fetch(connection);
    bounded::take(rows, Row::bytes, PAGE_BYTES).await
}

/// A page of products, as long as they have room.
async fn found(pool: &PgPool, listing: &Listing, after: i64, now: DateTime<Utc>) -> Read<Found> {
    let mut connection = pool.acquire().await?;
    let (rows, is_cut) = read_page(&mut connection, listing, after, now).await?.over(connection);
    let position = rows.first().map_or(0, |row| row.position);
    let mut products = Vec::with_capacity(rows.len());
    for row in rows {
        let created_position = row.created_position.unwrap_or(0);
        products.extend(row.product()?.map(|product| (created_position, product)));
    }
    Ok(At { position, found: Found { products, is_cut } })
}

fn status_word(status: ProductStatus) -> &'static str {
    match status {
        ProductStatus::Active => "active",
        ProductStatus::Archived => "archived",
    }
}
