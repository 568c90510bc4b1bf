//! Flash sales: announced and called off in one transaction with the stock that keeps their allotment.

use axum::extract::State;
use domain::{flash_sale, stock};
use event_schemas::{
    Money, StreamId, Timestamp,
    events::stock::AllotmentEnd,
    ids::{FlashSaleId, Sku},
    resource,
};
use gateway::{FieldError, Json, Path, Problem, Route, Routes};
use http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use crate::{
    pricing::{self, Offer},
    refusals::{conflict, unstored, wrong_value},
    shop::Shop,
    together::{Step, together},
    write::{Answer, Draft, Write},
};

/// A flash sale to be announced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewFlashSale {
    sku: Sku,
    /// It may have begun.
    starts_at: Timestamp,
    /// Exclusive.
    ends_at: Timestamp,
    #[schemars(range(min = 1, max = 1_000_000_000))]
    allotment: u32,
    price: Money,
    #[serde(default)]
    #[schemars(range(min = 1, max = 1_000_000_000))]
    limit_per_customer: Option<u32>,
}

/// Nothing to say.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new()
        .add(
            Route::post("/v1/flash-sales", announce)
                .summary("Announce a flash sale")
                .tag("Catalogue")
                .body::<NewFlashSale>()
                .example(json!({
                    "sku": "85123A", "starts_at": "2030-11-29T00:00:00Z", "ends_at": "2030-12-02T00:00:00Z", "allotment": 50,
                    "price": {"amount": "1.50", "currency": "GBP"}, "limit_per_customer": 1,
                }))
                .answers::<resource::FlashSale>(201)
                .leads_to("/v1/flash-sales/{id}", "$response.body#/id")
                .leads_to("/v1/streams/{stream}", "flashsale-{$response.body#/id}")
                .description("It runs for at most 366 days. Its price is below the product's, and in the same currency.")
                .problem(409, "not_for_sale", "A product is archived, or has no price in the currency that is asked for.")
                .problem(422, "price_not_lower", "The sale's price is not below what the product costs without a sale.")
                .problem(409, "overlapping_sale", "Another flash sale of the SKU runs at that time. Choose another time.")
                .problem(409, "insufficient_stock", "The allotment is more than is available; `available` says how much is."),
        )
        .add(
            Route::post("/v1/flash-sales/{id}/cancel", cancel)
                .summary("Call a flash sale off")
                .tag("Catalogue")
                .path_param::<FlashSaleId>("id", "The flash sale's id.")
                .body::<Nothing>()
                .example(json!({}))
                .answers::<resource::FlashSale>(200)
                .problem(409, "flash_sale_ended", "It is over: there is nothing left to cancel."),
        )
}

async fn announce(State(shop): State<Shop>, write: Write, Json(new): Json<NewFlashSale>) -> Result<Answer, Problem> {
    require_lower(&shop, &new).await?;
    let id = FlashSaleId(Uuid::now_v7());
    let NewFlashSale { sku, starts_at, ends_at, allotment, price, limit_per_customer } = new;
    let (sale_stream, stock_stream) = (StreamId::flash_sale(id), StreamId::stock(&sku));
    shop.flash_sales.begin(&sale_stream);
    let announce = flash_sale::Command::Announce { sku, starts_at, ends_at, allotment, price, limit_per_customer };
    let allot = stock::Command::Allot { sale: id, quantity: allotment, starts_at, ends_at, price, limit_per_customer };
    let now = write.context.now;
    let (for_sale, for_stock) = (write.context.next(), write.context.next());
    let location = format!("/v1/flash-sales/{id}");
    let answer = together(
        &shop.store,
        Step { handler: &shop.flash_sales, stream: &sale_stream, command: &announce, context: &for_sale },
        Step { handler: &shop.stock, stream: &stock_stream, command: &allot, context: &for_stock },
        |sale, version, _, _| {
            let draft = Draft::created(location.clone(), version, &sale.resource(id, version, 0, 0, now)?)?;
            Some((write.keep(&draft), draft))
        },
    );
    answer.await
}

async fn cancel(
    State(shop): State<Shop>,
    Path(id): Path<FlashSaleId>,
    write: Write,
    Json(Nothing {}): Json<Nothing>,
) -> Result<Answer, Problem> {
    let stream = StreamId::flash_sale(id);
    let (sku, ..) = shop
        .flash_sales
        .current(&stream, |state, _| state.terms().map(|terms| terms.sku.clone()))
        .await
        .map_err(|error| unstored(&error))?;
    let Some(sku) = sku else { return Err(Problem::not_found(format!("There is no flash sale {id}."))) };
    let stock_stream = StreamId::stock(&sku);
    let now = write.context.now;
    let for_stock = write.context.next();
    let close = stock::Command::CloseAllotment { sale: id, reason: AllotmentEnd::Cancelled };
    let (sold, reserved) = counted(&shop, &stock_stream, id).await?;
    let answer = together(
        &shop.store,
        Step { handler: &shop.flash_sales, stream: &stream, command: &flash_sale::Command::Cancel, context: &write.context },
        Step { handler: &shop.stock, stream: &stock_stream, command: &close, context: &for_stock },
        |sale, version, _, _| {
            let draft = Draft::changed(version, &sale.resource(id, version, sold, reserved, now)?)?;
            Some((write.keep(&draft), draft))
        },
    );
    answer.await
}

/// How many units a sale has sold, and how many orders hold. The stock counts them until the allotment is closed, afterwards the read model
/// alone: nothing is decided on it any more.
async fn counted(shop: &Shop, stock_stream: &StreamId, id: FlashSaleId) -> Result<(i64, i64), Problem> {
    let look = |state: &stock::State, _| state.sale(id).map(|sale| (sale.sold, sale.reserved));
    let (counted, ..) = shop.stock.current(stock_stream, look).await.map_err(|error| unstored(&error))?;
    if let Some(counted) = counted {
        return Ok(counted);
    }
    let row = sqlx::query!("select sold, reserved from read_model.flash_sales where id = $1", id.uuid())
        .fetch_optional(shop.store.pool())
        .await
        .map_err(|error| unstored(&error.into()))?;
    Ok(row.map_or((0, 0), |row| (row.sold, row.reserved)))
}

/// 422 where there is no such product, its price is in another currency, or not above the sale's; 409 where it is not for sale.
async fn require_lower(shop: &Shop, new: &NewFlashSale) -> Result<(), Problem> {
    let (offer, ..) =
        shop.products.current(&StreamId::product(&new.sku), |state, _| pricing::listed(state)).await.map_err(|error| unstored(&error))?;
    let Some(Offer { price, is_active, .. }) = offer else {
        return Err(wrong_value("/sku", "unknown_product", format!("There is no product {}: create it first.", new.sku)));
    };
    if !is_active {
        return Err(conflict("not_for_sale", format!("product {} is archived: make it active first", new.sku)));
    }
    if price.currency != new.price.currency {
        let detail = format!("must be {}, as the product's price is", price.currency);
        return Err(Problem::invalid(vec![FieldError::new("/price/currency", "currency_mismatch", detail)]));
    }
    if new.price.amount >= price.amount {
        let detail = format!("must be below {price}, which the product costs without a sale");
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "price_not_lower", format!("/price/amount: {detail}"));
        return Err(problem.error(FieldError::new("/price/amount", "price_not_lower", detail)));
    }
    Ok(())
}
