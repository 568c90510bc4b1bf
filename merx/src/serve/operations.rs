//! What an operator asks: is it alive, is it ready, how does it do, and what may be asked of it.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use gateway::{Json, Path, Problem, Route, Routes, openapi::Information, problem::Kind};
use serde_json::{Value, json};

use super::health::{Health, Readiness};

/// Information that the description of the API gives about it.
pub const INFORMATION: Information<'_> = Information {
    title: "Merx",
    version: env!("CARGO_PKG_VERSION"),
    description: "An event-sourced shop. A write is decided on every write acknowledged before it; only GETs may lag, and say in `Merx-Position` \
                  by how much.",
    license: env!("CARGO_PKG_LICENSE"),
    tags: &[
        ("Catalogue", "Categories, products, flash sales, reviews, and search over them."),
        ("Stock", "What is on hand of each product, and what is set aside."),
        ("Carts", "What somebody means to buy, until it is bought."),
        ("Orders", "What was bought, and all that becomes of it."),
        ("Reports", "What was sold."),
        ("History", "Every event there is, and what was so at any time."),
        ("Operations", "How the server does, for those who run it."),
    ],
};

/// The operator's routes.
pub fn routes(health: Health) -> Routes {
    Routes::new()
        .add(Route::get("/healthz", alive).summary("Is the process alive").tag("Operations").answers::<Value>(200))
        .add(
            Route::get("/readyz", ready)
                .summary("Can the process do what it is for")
                .description(
                    "200 `ready` where every role works, 200 `degraded` where something does not and the process can do what it is for all the \
                     same: one that takes writes can as long as the database answers. Otherwise 503, with the same `roles`. Where the log went \
                     back, `went_back` says so, and the process is `degraded` for ten minutes.",
                )
                .tag("Operations")
                .answers::<Readiness>(200),
        )
        .add(Route::get("/metrics", metrics).summary("Metrics, in Prometheus text").tag("Operations").answers_with(200, "text/plain"))
        .with_state(health)
}

/// The descriptions: of every route there is, and of every event that stands on Kafka.
pub fn descriptions(openapi: Value, asyncapi: Value) -> Routes {
    Routes::new().add(description("/openapi.json", "This description", openapi)).add(description(
        "/asyncapi.json",
        "What stands on Kafka, as AsyncAPI 3.0",
        asyncapi,
    ))
}

fn description(path: &'static str, summary: &'static str, document: Value) -> Route {
    let document = Arc::new(document);
    let answer = move || {
        let document = document.clone();
        async move { Json(document.as_ref().clone()) }
    };
    Route::get(path, answer).summary(summary).tag("Operations").answers::<Value>(200)
}

/// What the `type` of every problem points to.
pub fn problems(kinds: Vec<Kind>) -> Routes {
    let kinds = Arc::new(kinds);
    let all = kinds.clone();
    let list = move || {
        let kinds = all.clone();
        async move { Json(json!({"items": *kinds})) }
    };
    let one = move |Path(code): Path<String>| {
        let kind = kinds.iter().find(|kind| kind.code == code).copied();
        async move { kind.map(Json).ok_or_else(|| Problem::not_found(format!("There is no problem of the code {code}."))) }
    };
    Routes::new().add(Route::get("/problems", list).summary("Every refusal there is").tag("Operations").answers::<Value>(200)).add(
        Route::get("/problems/{code}", one)
            .summary("What a refusal means")
            .tag("Operations")
            .path_param::<String>("code", "Its code.")
            .answers::<Value>(200),
    )
}

async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn ready(State(health): State<Health>) -> Result<Json<Readiness>, Problem> {
    health.readiness().await.map(Json)
}

async fn metrics(State(health): State<Health>) -> Response {
    ([(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics().await).into_response()
}
