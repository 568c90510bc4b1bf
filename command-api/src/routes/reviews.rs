//! Reviews of products.

use axum::extract::State;
use domain::review;
use event_schemas::{
    StreamId,
    ids::{ReviewId, Sku},
    resource, text,
};
use gateway::{Json, Path, Problem, Route, Routes};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::unknown_product;
use crate::{
    refusals::unstored,
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// A review to be posted.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewReview {
    #[schemars(range(min = 1, max = 5))]
    rating: u8,
    #[serde(default)]
    #[schemars(length(max = 200), regex(pattern = text::OPTIONAL_LINE))]
    title: String,
    #[serde(default)]
    #[schemars(length(max = 10_000), regex(pattern = text::PROSE))]
    text: String,
}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new().add(
        Route::post("/v1/products/{sku}/reviews", post)
            .summary("Review a product")
            .tag("Catalogue")
            .path_param::<Sku>("sku", "The product's SKU.")
            .body::<NewReview>()
            .example(json!({"rating": 5, "title": "Lovely", "text": "Hangs by my window."}))
            .answers::<resource::Review>(201),
    )
}

async fn post(State(shop): State<Shop>, Path(sku): Path<Sku>, write: Write, Json(new): Json<NewReview>) -> Result<Answer, Problem> {
    let write = of_product(&shop, &sku, write).await?;
    let id = ReviewId(Uuid::now_v7());
    let stream = StreamId::review(id);
    shop.reviews.begin(&stream);
    let location = format!("/v1/products/{sku}/reviews");
    let author = write.context.metadata.actor.clone();
    let command = review::Command::Post { sku, rating: new.rating, title: new.title, text: new.text, author };
    let render = |state: &review::State, version| Draft::created(location.clone(), version, &state.resource(id, version)?);
    write.run(&shop.reviews, &stream, &command, render).await
}

/// `If-Match` is about the product, which the path names; the review is new.
async fn of_product(shop: &Shop, sku: &Sku, write: Write) -> Result<Write, Problem> {
    let known = shop.products.current(&StreamId::product(sku), |state, _| state.listing().is_some()).await;
    match known.map_err(|error| unstored(&error))? {
        (false, ..) => Err(unknown_product(sku)),
        (true, version, _) => write.context.if_match.check(version).map(|()| write.unconditional()),
    }
}
