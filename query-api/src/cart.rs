//! `GET /v1/carts/{id}`: what somebody means to buy, at the prices of now; once it is bought, at the prices that were charged.

use std::collections::HashMap;

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use event_schemas::{
    Money,
    ids::{CartId, Sku},
    resource::{Cart, CartItem, OrderItem, PricedProduct, ProductStatus, SignedMoney},
};
use gateway::{IfNoneMatch, MinPosition, Path, Problem, Route, Routes};
use serde::Deserialize;
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{One, ReadOne, Resource},
    catalogue::NOT_YET_VISIBLE,
    error::Error,
    freshness::PARKED,
};

const PROJECTIONS: [&str; 4] = ["carts", "catalogue", "flash-sales", "orders"];

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/carts/{id}", one)
            .summary("A cart, at the prices of now")
            .description(
                "A running flash sale's price is included; stock is not looked at. A line that can't be bought says why in `problem`, and as long \
                 as there is one, the sums are null. A cart that was bought shows what was charged.",
            )
            .tag("Carts")
            .path_param::<CartId>("id", "the cart's id")
            .answers::<Cart>(200)
            .answers_with(304, "")
            .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
            .problem(503, "parked", PARKED),
    )
}

async fn one(State(queries): State<Queries>, min: MinPosition, known: IfNoneMatch, Path(id): Path<CartId>) -> Result<Response, Problem> {
    let now = Utc::now();
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, id, now)).await?;
    Ok(found.or_not_found(|| format!("There is no cart {id}."))?.answer(&known))
}

async fn read_one(pool: &PgPool, id: CartId, now: DateTime<Utc>) -> ReadOne {
    // Each line looks its product up by the primary key, however many the planner takes a cart to have: hence `limit 1`.
    let row = sqlx::query!(
        r#"
        select c.position as "position!", k.document::text as cart, o.document::text as "order", l.products::text as products,
               x.position as parked_at
        from (
            select case when count(*) = 4 then min(position) else 0 end as position
            from checkpoints where name in ('carts', 'catalogue', 'flash-sales', 'orders')
        ) c
        left join read_model.carts k on k.id = $1
        left join read_model.orders o on o.id = (k.document->>'order')::uuid
        left join lateral (
            select json_agg(json_build_object(
                'sku', p.sku, 'title', p.document->>'title', 'status', p.status, 'price', p.document->'price',
                'sale_price', case when f.id is not null then json_build_object('amount', f.price_amount, 'currency', f.price_currency) end
            )) as products
            from json_array_elements(k.document->'items') i
            cross join lateral (select sku, status, document from read_model.products where sku = i->>'sku' limit 1) p
            left join lateral (
                select f.id, f.price_amount, f.price_currency from read_model.flash_sales f
                where f.sku = p.sku and f.starts_at <= $2 and f.ends_at > $2 and not f.cancelled and f.version > 0
                order by f.ends_at limit 1
            ) f on true
            where o.id is null
        ) l on true
        left join lateral (
            select min(a.position) as position
            from (
                select position from parked_streams where consumer = 'carts' and stream_id = 'cart-' || $1::uuid
                union all
                select position from parked_streams where consumer = 'orders' and stream_id = 'order-' || (k.document->>'order')
                union all
                -- What a line costs, while it is not charged.
                select s.position
                from json_array_elements(k.document->'items') i
                join parked_streams s on s.consumer = 'catalogue' and s.stream_id = 'product-' || (i->>'sku')
                where o.id is null
                union all
                select s.position
                from parked_streams s
                cross join lateral (select payload->>'sku' as sku from events where stream_id = s.stream_id and version = 1 limit 1) e
                where o.id is null and s.consumer = 'flash-sales' and s.stream_id like 'flashsale-%'
                  and e.sku in (select i->>'sku' from json_array_elements(k.document->'items') i)
            ) a
        ) x on true
        "#,
        id.uuid(),
        now,
    )
    .fetch_one(pool)
    .await?;
    let found = match (row.cart, row.order) {
        (None, _) => None,
        (Some(cart), None) => Some(at_prices_of_now(&cart, row.products.as_deref())?),
        (Some(cart), Some(order)) => Some(as_charged(&cart, &order)?),
    };
    let found = found.map(|cart| One::composed(cart.version, &cart)).transpose()?;
    Ok(Resource { position: row.position, parked_at: row.parked_at, found })
}

/// What the catalogue knows of a line's product now.
#[derive(Deserialize)]
struct Current {
    sku: Sku,
    title: String,
    status: ProductStatus,
    price: Money,
    sale_price: Option<Money>,
}

fn at_prices_of_now(cart: &str, products: Option<&str>) -> Result<Cart, Error> {
    let mut cart: Cart = serde_json::from_str(cart)?;
    let products: Vec<Current> = products.map(serde_json::from_str).transpose()?.unwrap_or_default();
    let products: HashMap<_, _> = products.into_iter().map(|product| (product.sku.clone(), product)).collect();
    cart.price(|sku| {
        let product = products.get(sku)?;
        let is_sold = product.status == ProductStatus::Active;
        let price = is_sold.then_some(product.sale_price.unwrap_or(product.price));
        Some(PricedProduct { title: product.title.clone(), price })
    });
    Ok(cart)
}

/// The part of an order that its cart shows.
#[derive(Deserialize)]
struct Charged {
    items: Vec<OrderItem>,
    subtotal: SignedMoney,
    discount: Money,
    shipping: Money,
    tax: Money,
    total: SignedMoney,
}

fn as_charged(cart: &str, order: &str) -> Result<Cart, Error> {
    let mut cart: Cart = serde_json::from_str(cart)?;
    let charged: Charged = serde_json::from_str(order)?;
    for item in &mut cart.items {
        if let Some(line) = charged.items.iter().find(|line| line.sku == item.sku.as_str()) {
            let title = line.title.clone();
            let (unit_price, line_total) = (Some(unsigned(line.unit_price)), Some(unsigned(line.line_total)));
            *item = CartItem { sku: item.sku.clone(), title, quantity: item.quantity, unit_price, line_total, problem: None };
        }
    }
    let (subtotal, total) = (unsigned(charged.subtotal), unsigned(charged.total));
    cart.sum_up(Some([subtotal, charged.discount, charged.shipping, charged.tax, total]));
    Ok(cart)
}

/// What a cart was sold for is never below zero.
fn unsigned(money: SignedMoney) -> Money {
    Money::new(money.amount, money.currency)
}
