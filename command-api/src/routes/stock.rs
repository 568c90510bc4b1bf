//! Stock: what comes in, and what is found or lost.

use axum::extract::State;
use domain::stock;
use event_schemas::{StreamId, ids::Sku, resource, text};
use gateway::{Json, Path, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::require_product;
use crate::{
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// Units that came in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewReceipt {
    #[schemars(range(min = 1, max = 1_000_000_000))]
    quantity: u32,
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = text::OPTIONAL_LINE))]
    reference: String,
}

/// Units that were found (positive) or lost (negative).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewAdjustment {
    #[schemars(range(min = -1_000_000_000, max = 1_000_000_000), extend("not" = {"const": 0}))]
    quantity: i64,
    #[schemars(length(min = 1, max = 500), regex(pattern = text::TEXT))]
    reason: String,
}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new()
        .add(
            Route::post("/v1/stock/{sku}/receipts", receive)
                .summary("Receive units")
                .tag("Stock")
                .path_param::<Sku>("sku", "The product's SKU.")
                .body::<NewReceipt>()
                .example(json!({"quantity": 100, "reference": "PO-1"}))
                .answers::<resource::Stock>(201)
                .leads_to("/v1/stock/{sku}", "$response.body#/id")
                .leads_to("/v1/streams/{stream}", "stock-{$response.body#/id}")
                .problem(409, "stock_overflow", "More units would be on hand than can be counted. Correct the quantity."),
        )
        .add(
            Route::post("/v1/stock/{sku}/adjustments", adjust)
                .summary("Correct what is on hand")
                .tag("Stock")
                .path_param::<Sku>("sku", "The product's SKU.")
                .body::<NewAdjustment>()
                .example(json!({"quantity": -3, "reason": "damaged"}))
                .answers::<resource::Stock>(201)
                .problem(409, "insufficient_stock", "More units would go than are available; `available` says how many are.")
                .problem(409, "stock_overflow", "More units would be on hand than can be counted. Correct the quantity."),
        )
}

async fn receive(State(shop): State<Shop>, Path(sku): Path<Sku>, write: Write, Json(new): Json<NewReceipt>) -> Result<Answer, Problem> {
    let command = stock::Command::Receive { quantity: new.quantity, reference: new.reference };
    record(&shop, sku, &write, command).await
}

async fn adjust(State(shop): State<Shop>, Path(sku): Path<Sku>, write: Write, Json(new): Json<NewAdjustment>) -> Result<Answer, Problem> {
    record(&shop, sku, &write, stock::Command::Adjust { quantity: new.quantity, reason: new.reason }).await
}

async fn record(shop: &Shop, sku: Sku, write: &Write, command: stock::Command) -> Result<Answer, Problem> {
    require_product(shop, &sku).await?;
    let location = format!("/v1/stock/{sku}");
    let render = |state: &stock::State, version| Draft::created(location.clone(), version, &state.resource(sku.clone(), version));
    write.run(&shop.stock, &StreamId::stock(&sku), &command, render).await
}
