//! `GET /v1/flash-sales/{id}`: a window on a SKU, and what is left of its allotment.

use axum::{extract::State, response::Response};
use chrono::{DateTime, Utc};
use event_schemas::{
    Money, Timestamp,
    ids::{FlashSaleId, Sku},
    money::parse_amount,
    resource::{FlashSale, FlashSaleState},
};
use gateway::{IfNoneMatch, MinPosition, Path, Problem, Route, Routes};
use sqlx::PgPool;

use crate::{
    Queries,
    answer::{One, ReadOne, Resource},
    catalogue::NOT_YET_VISIBLE,
    error::Error,
    freshness::PARKED,
};

const PROJECTIONS: [&str; 1] = ["flash-sales"];

pub fn routes() -> Routes<Queries> {
    Routes::new().add(
        Route::get("/v1/flash-sales/{id}", one)
            .summary("A flash sale")
            .tag("Stock")
            .path_param::<FlashSaleId>("id", "the flash sale's id")
            .answers::<FlashSale>(200)
            .answers_with(304, "")
            .problem(503, "not_yet_visible", NOT_YET_VISIBLE)
            .problem(503, "parked", PARKED),
    )
}

async fn one(
    State(queries): State<Queries>,
    min: MinPosition,
    known: IfNoneMatch,
    Path(id): Path<FlashSaleId>,
) -> Result<Response, Problem> {
    let now = Utc::now();
    let found = queries.fresh_one(min, &PROJECTIONS, || read_one(&queries.reads, id, now)).await?;
    Ok(found.or_not_found(|| format!("There is no flash sale {id}."))?.answer(&known))
}

/// A flash sale as it is kept.
#[derive(Debug, Clone)]
struct Kept {
    sku: String,
    starts_at: DateTime<Utc>,
    ends_at: DateTime<Utc>,
    allotment: i64,
    price_amount: String,
    price_currency: String,
    limit_per_customer: Option<i64>,
    sold: i64,
    reserved: i64,
    cancelled: bool,
    version: i64,
}

impl Kept {
    fn state(&self, now: DateTime<Utc>) -> FlashSaleState {
        if self.cancelled {
            FlashSaleState::Cancelled
        } else if now >= self.ends_at {
            FlashSaleState::Ended
        } else if now >= self.starts_at {
            FlashSaleState::Running
        } else {
            FlashSaleState::Scheduled
        }
    }

    fn resource(&self, id: FlashSaleId, sku: &Sku, now: DateTime<Utc>) -> Result<FlashSale, Error> {
        let state = self.state(now);
        let is_over = matches!(state, FlashSaleState::Ended | FlashSaleState::Cancelled);
        Ok(FlashSale {
            id,
            sku: sku.clone(),
            starts_at: Timestamp::from(self.starts_at),
            ends_at: Timestamp::from(self.ends_at),
            allotment: u32::try_from(self.allotment).unwrap_or_default(),
            price: Money::new(parse_amount(&self.price_amount)?, self.price_currency.parse()?),
            limit_per_customer: self.limit_per_customer.and_then(|limit| u32::try_from(limit).ok()),
            sold: self.sold,
            reserved: self.reserved,
            remaining: if is_over { 0 } else { (self.allotment - self.sold - self.reserved).max(0) },
            state,
            version: self.version,
        })
    }
}

async fn read_one(pool: &PgPool, id: FlashSaleId, now: DateTime<Utc>) -> ReadOne {
    let row = sqlx::query!(
        r#"
        select c.position as "position!", f.sku as "sku?", f.starts_at as "starts_at?", f.ends_at as "ends_at?",
               f.allotment as "allotment?", f.price_amount as "price_amount?", f.price_currency as "price_currency?",
               f.limit_per_customer as "limit_per_customer?", f.sold as "sold?", f.reserved as "reserved?",
               f.cancelled as "cancelled?", f.version as "version?", k.position as parked_at
        from (select coalesce(max(position), 0) as position from checkpoints where name = 'flash-sales') c
        left join read_model.flash_sales f on f.id = $1 and f.version > 0
        left join lateral (
            select min(position) as position from parked_streams
            where consumer = 'flash-sales' and stream_id in ('flashsale-' || $1::uuid, 'stock-' || f.sku)
        ) k on true
        "#,
        id.uuid(),
    )
    .fetch_one(pool)
    .await?;
    let kept = || {
        Some(Kept {
            sku: row.sku?,
            starts_at: row.starts_at?,
            ends_at: row.ends_at?,
            allotment: row.allotment?,
            price_amount: row.price_amount?,
            price_currency: row.price_currency?,
            limit_per_customer: row.limit_per_customer,
            sold: row.sold?,
            reserved: row.reserved?,
            cancelled: row.cancelled?,
            version: row.version?,
        })
    };
    let (position, parked_at) = (row.position, row.parked_at);
    let found = kept().and_then(|kept| Some((kept.sku.parse().ok()?, kept)));
    let found = found.map(|(sku, kept)| One::composed(kept.version, &kept.resource(id, &sku, now)?)).transpose()?;
    Ok(Resource { position, parked_at, found })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_state_follows_the_time_and_nothing_remains_once_it_is_over() {
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let kept = Kept {
            sku: "A".to_owned(),
            starts_at: at(10),
            ends_at: at(20),
            allotment: 50,
            price_amount: "5".to_owned(),
            price_currency: "GBP".to_owned(),
            limit_per_customer: Some(1),
            sold: 3,
            reserved: 2,
            cancelled: false,
            version: 1,
        };
        let seen = |kept: &Kept, second| {
            let sale = kept.resource(FlashSaleId(uuid::Uuid::nil()), &"A".parse().unwrap(), at(second)).unwrap();
            (sale.state, sale.remaining)
        };
        assert_eq!(seen(&kept, 9), (FlashSaleState::Scheduled, 45));
        assert_eq!(seen(&kept, 10), (FlashSaleState::Running, 45));
        assert_eq!(seen(&kept, 19), (FlashSaleState::Running, 45));
        assert_eq!(seen(&kept, 20), (FlashSaleState::Ended, 0));
        assert_eq!(seen(&Kept { cancelled: true, ..kept }, 10), (FlashSaleState::Cancelled, 0));
    }
}
