//! A database of a test's own, and the router on it.

use std::panic::{AssertUnwindSafe, resume_unwind};

use axum::{Router, body::Body};
use event_store::EventStore;
use futures::FutureExt;
use http::{HeaderMap, Request, StatusCode};
use query_api::Queries;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, Connection, PgConnection, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tower::ServiceExt;
use uuid::Uuid;

/// A read side of its own.
pub struct Shop {
    pub pool: PgPool,
    pub queries: Queries,
    router: Router,
}

/// What the router answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// A member of each item.
    pub fn each(&self, name: &str) -> Vec<Value> {
        self.body["items"].as_array().unwrap().iter().map(|item| item[name].clone()).collect()
    }
}

/// Runs `test` on a database that `setup` was run in before the server came up. Without a Postgres it is skipped, loudly.
pub async fn with_setup(setup: &str, test: impl AsyncFnOnce(&Shop)) {
    with_settings(&[], setup, test).await;
}

/// [`with_setup`], on connections with settings of their own.
pub async fn with_settings(settings: &[(&str, &str)], setup: &str, test: impl AsyncFnOnce(&Shop)) {
    let Ok(url) = std::env::var("MERX_TEST_DATABASE_URL") else {
        eprintln!("SKIPPED: a test of query-api needs MERX_TEST_DATABASE_URL");
        return;
    };
    let name = format!("query_api_{}", Uuid::now_v7().simple());
    let mut admin = PgConnection::connect(&url).await.unwrap();
    run(&mut admin, format!("create database {name} template template0")).await;
    let base = url.rsplit_once('/').unwrap().0;
    let options: PgConnectOptions = format!("{base}/{name}").parse().unwrap();
    let pool = PgPoolOptions::new().max_connections(4).connect_with(options.options(settings.iter().copied())).await.unwrap();
    let outcome = AssertUnwindSafe(async {
        event_store::MIGRATIONS.run(&pool).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(setup.to_owned())).execute(&pool).await.unwrap();
        let queries = Queries::new(&EventStore::open(pool.clone()).await.unwrap(), pool.clone(), None);
        let router = query_api::routes(queries.clone()).into_router();
        test(&Shop { pool: pool.clone(), queries, router }).await;
    })
    .catch_unwind()
    .await;
    run(&mut admin, format!("drop database {name} with (force)")).await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}

/// [`with_setup`] with all checkpoints at 10.
pub async fn with_shop(test: impl AsyncFnOnce(&Shop)) {
    with_setup(CHECKPOINTS, test).await;
}

/// The log is said to be at 10, and everybody has come there.
pub const CHECKPOINTS: &str = "
    update log_head set position = 10;
    insert into checkpoints (name, version, position)
        select unnest(array['catalogue', 'stock', 'flash-sales', 'reviews', 'carts', 'orders', 'sales']), 1, 10";

async fn run(connection: &mut PgConnection, sql: String) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.unwrap();
}

impl Shop {
    pub async fn sql(&self, sql: impl Into<String>) {
        sqlx::raw_sql(AssertSqlSafe(sql.into())).execute(&self.pool).await.unwrap();
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[]).await
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let request = headers.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// Every value of `name` over all pages of a list, and how many pages there were.
    pub async fn pages(&self, path: &str, name: &str) -> (Vec<Value>, usize) {
        let (mut all, mut pages, mut cursor) = (Vec::new(), 0, String::new());
        loop {
            let answer = self.get(&format!("{path}{cursor}")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            all.extend(answer.each(name));
            pages += 1;
            match answer.body["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return (all, pages),
            }
        }
    }
}

/// The document of a product, as the catalogue's projection keeps it.
pub fn product(sku: &str, price: &str) -> Value {
    json!({
        "id": sku, "sku": sku, "title": format!("The {sku}"), "description": null, "category": null, "brand": null, "images": [],
        "price": {"amount": price, "currency": "GBP"}, "attributes": {}, "metadata": {}, "status": "active",
        "stock": {"available": 0, "state": "out_of_stock"}, "rating": {"average": null, "count": 0},
        "created_at": "2026-01-01T00:00:00.000000Z", "updated_at": "2026-01-01T00:00:00.000000Z", "version": 3
    })
}

/// Puts a product into the catalogue.
pub fn insert_product(position: i64, sku: &str, category: Option<&str>, status: &str) -> String {
    let document = product(sku, "2.55");
    let category = category.map_or("null".to_owned(), |category| format!("'{category}'"));
    format!("insert into read_model.products values ('{sku}', {position}, {category}, '{status}', 3, '{document}');")
}

/// Announces a flash sale that begins and ends so many seconds from now.
pub fn insert_sale(id: Uuid, sku: &str, begins: i64, ends: i64) -> String {
    format!(
        "insert into read_model.flash_sales values ('{id}', '{sku}', now() + interval '{begins} s', now() + interval '{ends} s', 50, '1.99', \
         'GBP', 2, 3, 4, false, 1);"
    )
}
