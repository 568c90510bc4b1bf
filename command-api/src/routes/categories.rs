//! Categories of the catalogue.

use axum::extract::State;
use domain::category;
use event_schemas::{StreamId, ids::CategoryId, resource, text};
use gateway::{Json, Path, Problem, Route, Routes, body::present};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::{
    category_tree,
    refusals::unstored,
    shop::Shop,
    write::{Answer, Draft, Write},
};

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
                .example(json!({"id": "lighting", "name": "Lighting", "parent": "home"}))
                .answers::<resource::Category>(201)
                .leads_to("/v1/categories/{id}", "$response.body#/id")
                .leads_to("/v1/streams/{stream}", "category-{$response.body#/id}")
                .problem(409, "category_taken", "There is a category with this id already. Choose another, or change the one there is."),
        )
        .add(
            Route::patch("/v1/categories/{id}", change)
                .summary("Change a category")
                .tag("Catalogue")
                .path_param::<CategoryId>("id", "The category's code.")
                .body::<CategoryPatch>()
                .example(json!({"name": "Home and garden"}))
                .answers::<resource::Category>(200)
                .problem(409, "category_circle", "The parent is the category itself, or stands below it. Choose one outside of it."),
        )
}

async fn create(State(shop): State<Shop>, write: Write, Json(new): Json<NewCategory>) -> Result<Answer, Problem> {
    if new.parent.is_none() {
        return create_below(&shop, &write, new).await;
    }
    to_the_end(async move {
        let _turn = category_tree::take_turn(&shop).await.map_err(|error| unstored(&error))?;
        create_below(&shop, &write, new).await
    })
    .await
}

async fn create_below(shop: &Shop, write: &Write, new: NewCategory) -> Result<Answer, Problem> {
    let lineage = category_tree::lineage(shop, new.parent.as_ref()).await?;
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
    let CategoryPatch { name, parent } = patch;
    let Some(parent) = parent else {
        let command = category::Command::Change { name, parent: None, lineage: Vec::new(), height: 0 };
        return run(&shop, &write, &id, &command).await;
    };
    to_the_end(async move {
        let _turn = category_tree::take_turn(&shop).await.map_err(|error| unstored(&error))?;
        let lineage = category_tree::lineage(&shop, parent.as_ref()).await?;
        let height = match &parent {
            Some(_) => category_tree::height(&shop, &id).await.map_err(|error| unstored(&error))?,
            None => 0,
        };
        let command = category::Command::Change { name, parent: Some(parent), lineage, height };
        run(&shop, &write, &id, &command).await
    })
    .await
}

async fn run(shop: &Shop, write: &Write, id: &CategoryId, command: &category::Command) -> Result<Answer, Problem> {
    let render = |state: &category::State, version| Draft::changed(version, &state.resource(version)?);
    write.run(&shop.categories, &StreamId::category_of(id), command, render).await
}

/// Runs what holds a turn in a task of its own: a client that hangs up meanwhile does not end the turn before what it decided is committed.
async fn to_the_end(change: impl Future<Output = Result<Answer, Problem>> + Send + 'static) -> Result<Answer, Problem> {
    tokio::spawn(change).await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a change of the categories panicked");
        Err(Problem::internal())
    })
}
