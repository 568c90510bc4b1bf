//! Categories of the catalogue.

use axum::extract::State;
use domain::category;
use event_schemas::{StreamId, ids::CategoryId, resource, text};
use gateway::{Json, Path, Problem, Route, Routes, body::present};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::{
    refusals::{unstored, wrong_value},
    shop::Shop,
    write::{Answer, Draft, Write},
};

/// The deepest that categories are nested.
const MAX_DEPTH: usize = 32;

/// A category to be created.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCategory {
    id: CategoryId,
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE))]
    name: String,
    #[serde(default)]
    parent: Option<CategoryId>,
}

/// What is to change of a category (JSON Merge Patch).
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CategoryPatch {
    #[serde(default)]
    #[schemars(length(min = 1, max = 200), regex(pattern = text::LINE), with = "String")]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<CategoryId>")]
    parent: Option<Option<CategoryId>>,
}

pub(super) fn routes() -> Routes<Shop> {
    Routes::new()
        .add(
            Route::post("/v1/categories", create)
                .summary("Create a category")
                .tag("Catalogue")
                .body::<NewCategory>()
                .answers::<resource::Category>(201)
                .problem(409, "category_taken", "There is a category with this id already. Choose another, or change the one there is."),
        )
        .add(
            Route::patch("/v1/categories/{id}", change)
                .summary("Change a category")
                .tag("Catalogue")
                .path_param("id", "The category's code.")
                .body::<CategoryPatch>()
                .answers::<resource::Category>(200)
                .problem(409, "category_circle", "The parent is the category itself, or stands below it. Choose one outside of it."),
        )
}

async fn create(State(shop): State<Shop>, write: Write, Json(new): Json<NewCategory>) -> Result<Answer, Problem> {
    let lineage = lineage(&shop, new.parent.as_ref()).await?;
    let stream = StreamId::category_of(&new.id);
    let location = format!("/v1/categories/{}", new.id);
    let command = category::Command::Create { id: new.id, name: new.name, parent: new.parent, lineage };
    let render = |state: &category::State, version| Draft::created(location.clone(), version, &state.resource(version)?);
    write.run(&shop.categories, &stream, &command, render).await
}

async fn change(
    State(shop): State<Shop>,
    Path(id): Path<CategoryId>,
    write: Write,
    Json(patch): Json<CategoryPatch>,
) -> Result<Answer, Problem> {
    let stream = StreamId::category_of(&id);
    let render = |state: &category::State, version| Draft::changed(version, &state.resource(version)?);
    let CategoryPatch { name, parent } = patch;
    if parent.is_none() {
        let command = category::Command::Change { name, parent: None, lineage: Vec::new() };
        return write.run(&shop.categories, &stream, &command, render).await;
    }
    // Two moves at once could each be right and together make a circle: one after the other, whichever servers they reach.
    let _turn = shop.store.take_turn("category-tree").await.map_err(|error| unstored(&error))?;
    let lineage = lineage(&shop, parent.as_ref().and_then(Option::as_ref)).await?;
    let command = category::Command::Change { name, parent, lineage };
    write.run(&shop.categories, &stream, &command, render).await
}

/// `parent` and all that it is below, nearest first; 422 where there is no such category.
async fn lineage(shop: &Shop, parent: Option<&CategoryId>) -> Result<Vec<CategoryId>, Problem> {
    let mut lineage = Vec::new();
    let mut next = parent.cloned();
    while let Some(id) = next {
        let look = |state: &category::State, _| state.place().map(|place| place.parent.clone());
        let (above, ..) = shop.categories.current(&StreamId::category_of(&id), look).await.map_err(|error| unstored(&error))?;
        let Some(above) = above else {
            return Err(wrong_value("/parent", "unknown_category", format!("There is no category {id}: create it first.")));
        };
        lineage.push(id);
        if lineage.len() >= MAX_DEPTH {
            return Err(wrong_value("/parent", "too_deep", format!("Categories are nested up to {MAX_DEPTH} deep.")));
        }
        next = above;
    }
    Ok(lineage)
}
