//! What an operator asks: is it alive, is it ready, how does it do, and what may be asked of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use event_store::kafka::publisher;
use gateway::{Json, Path, Problem, Route, Routes, metrics::Handle, openapi::Information, problem::Kind};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::sync::watch;

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

/// What the description of the API says of itself.
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

/// Whether this server can do its work. Cheap to clone.
#[derive(Clone)]
pub struct Health {
    pool: PgPool,
    metrics: Arc<Handle>,
    state: Arc<AtomicU8>,
    /// Where this process publishes: whether it can.
    published: Option<watch::Receiver<publisher::Health>>,
}

impl Health {
    /// A server that is starting.
    pub fn new(pool: PgPool, metrics: Handle, published: Option<watch::Receiver<publisher::Health>>) -> Self {
        Self { pool, metrics: Arc::new(metrics), state: Arc::new(AtomicU8::new(STARTING)), published }
    }

    /// Every role is up.
    pub fn set_ready(&self) {
        self.state.store(READY, Ordering::Release);
    }

    /// It answers what is under way, and nothing more.
    pub fn set_stopping(&self) {
        self.state.store(STOPPING, Ordering::Release);
    }
}

/// The operator's routes.
pub fn routes(health: Health) -> Routes {
    Routes::new()
        .add(Route::get("/healthz", alive).summary("Is the process alive").tag("Operations").answers::<Value>(200))
        .add(Route::get("/readyz", ready).summary("Is every role up").tag("Operations").answers::<Value>(200))
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
            .path_param("code", "Its code.")
            .answers::<Value>(200),
    )
}

async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn ready(State(health): State<Health>) -> Result<Json<Value>, Problem> {
    match health.state.load(Ordering::Acquire) {
        STARTING => return Err(Problem::unavailable("The server is starting.")),
        STOPPING => return Err(Problem::unavailable("The server is stopping.")),
        _ => {}
    }
    let answered = tokio::time::timeout(Duration::from_secs(2), sqlx::query("select 1").execute(&health.pool)).await;
    match answered {
        Ok(Ok(_)) => {}
        Ok(Err(_)) | Err(_) => return Err(Problem::unavailable("The database does not answer.")),
    }
    if let Some(publisher::Health::Away(reason)) = health.published.map(|published| published.borrow().clone()) {
        return Err(Problem::unavailable(format!("Events are not published: {reason}. Commands are accepted all the same.")));
    }
    Ok(Json(json!({"status": "ready"})))
}

async fn metrics(State(health): State<Health>) -> Response {
    ([(axum::http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], health.metrics.render()).into_response()
}
