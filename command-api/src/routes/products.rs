//! Products of the catalogue.

use std::collections::BTreeMap;

use axum::extract::State;
use domain::product;
use event_schemas::{
    Money, StreamId, Timestamp,
    events::product::{Description, Image},
    ids::{CategoryId, Sku},
    resource::{self, ProductFlashSale, ProductStatus, ProductStock, Rating},
    text,
};
use gateway::{Json, Path, Problem, Route, Routes, body::present};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::json;

use super::{Notes, bounded_map, notes};
use crate::{
    refusals::{unstored, wrong_value},
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// A product to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewProduct {
    sku: Sku,
    #[schemars(length(min = 1, max = 500), regex(pattern = text::LINE))]
    title: String,
    #[serde(default)]
    #[schemars(length(max = 20_000), regex(pattern = text::PROSE))]
    description: Option<String>,
    #[serde(default)]
    category: Option<CategoryId>,
    #[serde(default)]
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE))]
    brand: Option<String>,
    #[serde(default)]
    #[schemars(length(max = 50))]
    images: Vec<NewImage>,
    price: Money,
    #[serde(default)]
    #[schemars(schema_with = "attributes")]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    #[schemars(schema_with = "notes")]
    metadata: Notes,
}

/// A picture.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewImage {
    /// Its http or https address.
    #[schemars(length(max = 2048), url, regex(pattern = r"^https?://[^\s/?#@:][^\s]*$"))]
    url: String,
    /// A description for those who can't see it.
    #[serde(default)]
    #[schemars(length(max = 500), regex(pattern = text::PROSE))]
    alt: String,
}

impl From<NewImage> for Image {
    fn from(NewImage { url, alt }: NewImage) -> Self {
        Self { url, alt }
    }
}

/// What is to change of a product (JSON Merge Patch): null removes, what is absent stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ProductPatch {
    #[serde(default)]
    #[schemars(length(min = 1, max = 500), regex(pattern = text::LINE), with = "String")]
    title: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(max = 20_000), regex(pattern = text::PROSE), with = "Option<String>")]
    description: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<CategoryId>")]
    category: Option<Option<CategoryId>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE), with = "Option<String>")]
    brand: Option<Option<String>>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(length(max = 50), with = "Option<Vec<NewImage>>")]
    images: Option<Option<Vec<NewImage>>>,
    #[serde(default)]
    #[schemars(with = "Money")]
    price: Option<Money>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "attributes_patch")]
    attributes: Option<product::MapPatch>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(schema_with = "notes_patch")]
    metadata: Option<product::MapPatch>,
    #[serde(default)]
    #[schemars(with = "ProductStatus")]
    status: Option<ProductStatus>,
}

fn attributes(generator: &mut SchemaGenerator) -> Schema {
    bounded_map(&Notes::json_schema(generator), 50, 100, 1_000)
}

fn attributes_patch(_: &mut SchemaGenerator) -> Schema {
    patch_of_map(100, 1_000)
}

fn notes_patch(_: &mut SchemaGenerator) -> Schema {
    patch_of_map(40, 500)
}

fn patch_of_map(name: usize, value: usize) -> Schema {
    let entry = schemars::json_schema!({"type": ["string", "null"], "maxLength": value, "pattern": text::PROSE});
    schemars::json_schema!({
        "type": ["object", "null"],
        "maxProperties": 100,
        "propertyNames": {"minLength": 1, "maxLength": name, "pattern": text::LINE},
        "additionalProperties": entry,
    })
}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new()
        .add(
            Route::post("/v1/products", create)
                .summary("Create a product")
                .tag("Catalogue")
                .body::<NewProduct>()
                .example(json!({
                    "sku": "85123A", "title": "White hanging heart", "category": "home", "brand": "Acme",
                    "images": [{"url": "https://shop.example/85123A.jpg", "alt": "A heart of white metal"}],
                    "price": {"amount": "2.55", "currency": "GBP"}, "attributes": {"material": "metal"},
                }))
                .answers::<resource::Product>(201)
                .leads_to("/v1/products/{sku}", "$response.body#/id")
                .leads_to("/v1/stock/{sku}", "$response.body#/id")
                .leads_to("/v1/streams/{stream}", "product-{$response.body#/id}")
                .problem(409, "sku_taken", "There is a product with this SKU already. Choose another, or change the one there is."),
        )
        .add(
            Route::patch("/v1/products/{sku}", change)
                .summary("Change a product")
                .tag("Catalogue")
                .path_param::<Sku>("sku", "The product's SKU.")
                .body::<ProductPatch>()
                .example(json!({"title": "White hanging heart", "brand": null, "attributes": {"material": "metal", "colour": null}}))
                .answers::<resource::Product>(200),
        )
}

async fn create(State(shop): State<Shop>, write: Write, Json(new): Json<NewProduct>) -> Result<Answer, Problem> {
    require_category(&shop, new.category.as_ref()).await?;
    let stream = StreamId::product(&new.sku);
    let location = format!("/v1/products/{}", new.sku);
    let NewProduct { sku, title, description, category, brand, images, price, attributes, metadata } = new;
    let images = images.into_iter().map(Image::from).collect();
    let description = Description { title, description, category, brand, images, attributes, metadata };
    let command = product::Command::Create { sku, description, price };
    // New: never received, never reviewed.
    let render = |state: &product::State, version| {
        Draft::created(location.clone(), version, &state.resource(version, ProductStock::of(0), Rating::of(0, 0), None)?)
    };
    write.run(&shop.products, &stream, &command, render).await
}

async fn change(State(shop): State<Shop>, Path(sku): Path<Sku>, write: Write, Json(patch): Json<ProductPatch>) -> Result<Answer, Problem> {
    if let Some(category) = &patch.category {
        require_category(&shop, category.as_ref()).await?;
    }
    let (stock, sale) = stock_of(&shop, &sku, write.context.now).await?;
    let rating = rating_of(&shop, &sku).await?;
    let change = product::Change {
        title: patch.title,
        description: patch.description,
        category: patch.category,
        brand: patch.brand,
        images: patch.images.map(|images| images.unwrap_or_default().into_iter().map(Image::from).collect()),
        attributes: patch.attributes,
        metadata: patch.metadata,
        price: patch.price,
        archived: patch.status.map(|status| status == ProductStatus::Archived),
    };
    let render =
        |state: &product::State, version| Draft::changed(version, &state.resource(version, stock.clone(), rating.clone(), sale.clone())?);
    write.run(&shop.products, &StreamId::product(&sku), &product::Command::Change(Box::new(change)), render).await
}

async fn require_category(shop: &Shop, category: Option<&CategoryId>) -> Result<(), Problem> {
    let Some(category) = category else { return Ok(()) };
    let known = shop.categories.current(&StreamId::category_of(category), |state, _| state.place().is_some()).await;
    match known.map_err(|error| unstored(&error))? {
        (true, ..) => Ok(()),
        (false, ..) => Err(wrong_value("/category", "unknown_category", format!("There is no category {category}: create it first."))),
    }
}

/// What can be bought of a product, and the sale that runs on it.
async fn stock_of(shop: &Shop, sku: &Sku, now: Timestamp) -> Result<(ProductStock, Option<ProductFlashSale>), Problem> {
    let look = |state: &domain::stock::State, _| {
        let sale = state.running_sale(now).map(|sale| ProductFlashSale {
            id: sale.id,
            price: sale.price,
            ends_at: sale.ends_at,
            remaining: sale.remaining(),
            limit_per_customer: sale.limit_per_customer,
        });
        let available = sale.as_ref().map_or(state.on_hand() - state.reserved_units(), |sale| sale.remaining);
        (ProductStock::of(available), sale)
    };
    let seen = shop.stock.current(&StreamId::stock(sku), look).await;
    seen.map(|(seen, ..)| seen).map_err(|error| unstored(&error))
}

/// What reviews say of a product. Nothing is decided on it, so the read model's word is new enough.
async fn rating_of(shop: &Shop, sku: &Sku) -> Result<Rating, Problem> {
    let row = sqlx::query!("select sum, count from read_model.ratings where sku = $1", sku.as_str())
        .fetch_optional(shop.store.pool())
        .await
        .map_err(|error| unstored(&error.into()))?;
    Ok(row.map_or_else(|| Rating::of(0, 0), |row| Rating::of(row.sum, row.count)))
}
