//! The routes of all writes, a module for each group, with the bodies that they take.

mod address;
mod carts;
mod categories;
mod checkout;
mod flash_sales;
mod orders;
mod products;
mod reviews;
mod stock;

use std::collections::BTreeMap;

use event_schemas::{StreamId, ids::Sku, text};
use gateway::{Problem, Routes};
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::{refusals::unstored, shop::Shop};

/// Every write of the shop.
#[must_use]
pub fn routes(shop: Shop) -> Routes {
    Routes::new()
        .merge(categories::routes())
        .merge(products::routes())
        .merge(stock::routes())
        .merge(flash_sales::routes())
        .merge(reviews::routes())
        .merge(carts::routes())
        .merge(checkout::routes())
        .merge(orders::routes())
        .with_state(shop)
}

/// The client's own notes on something: up to 20 strings of up to 500 characters.
type Notes = BTreeMap<String, String>;

/// The schema of [`Notes`].
fn notes(generator: &mut SchemaGenerator) -> Schema {
    bounded_map(&Notes::json_schema(generator), 20, 40, 500)
}

/// A map of strings with at most `entries` entries, names of up to `name` characters and values of up to `value`.
fn bounded_map(map: &Schema, entries: usize, name: usize, value: usize) -> Schema {
    let mut schema = map.clone();
    schema.insert("maxProperties".into(), entries.into());
    schema.insert("propertyNames".into(), serde_json::json!({"minLength": 1, "maxLength": name, "pattern": text::LINE}));
    let value_type = map.get("additionalProperties").and_then(|of| of.get("type")).cloned().unwrap_or_else(|| "string".into());
    schema.insert("additionalProperties".into(), serde_json::json!({"type": value_type, "maxLength": value, "pattern": text::PROSE}));
    schema
}

/// 404 unless there is a product `sku`.
async fn require_product(shop: &Shop, sku: &Sku) -> Result<(), Problem> {
    if product_exists(shop, sku).await? { Ok(()) } else { Err(unknown_product(sku)) }
}

fn unknown_product(sku: &Sku) -> Problem {
    Problem::not_found(format!("There is no product {sku}: create it first."))
}

async fn product_exists(shop: &Shop, sku: &Sku) -> Result<bool, Problem> {
    let known = shop.products.current(&StreamId::product(sku), |state, _| state.listing().is_some()).await;
    known.map(|(exists, ..)| exists).map_err(|error| unstored(&error))
}
