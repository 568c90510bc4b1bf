//! A database for one test.

use std::{io::Write as _, str::FromStr as _, sync::Arc};

use event_schemas::Recorded;
use projections::Projection;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, postgres::PgConnectOptions};
use uuid::Uuid;

/// Every table that a projection keeps.
pub const TABLES: &[&str] = &[
    "categories",
    "products",
    "stock",
    "flash_sales",
    "reviews",
    "ratings",
    "carts",
    "orders",
    "sales_by_country",
    "sales_by_product",
    "sales_by_category",
    "sales_totals",
    "sales_orders",
    "search_products",
    "search_reviews",
    "search_categories",
];

pub struct Database {
    pub pool: PgPool,
    name: String,
    server: PgConnectOptions,
}

/// The projection of that name.
pub fn projection(name: &str) -> Arc<dyn Projection> {
    projections::all().into_iter().find(|projection| projection.name() == name).expect("a projection")
}

impl Database {
    /// A migrated database; none, and a line that says so, where the environment has no server for tests.
    pub async fn create() -> Option<Self> {
        let Ok(server) = std::env::var("MERX_TEST_DATABASE_URL") else {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            // Past the capturing of output, so that it is read.
            writeln!(std::io::stderr(), "SKIPPED: {test} needs MERX_TEST_DATABASE_URL").expect("stderr");
            return None;
        };
        let server = PgConnectOptions::from_str(&server).expect("MERX_TEST_DATABASE_URL");
        let name = format!("proj_test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server).await.expect("the server of MERX_TEST_DATABASE_URL");
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await.expect("a database");
        let mut connection = PgConnection::connect_with(&server.clone().database(&name)).await.expect("the new database");
        event_store::MIGRATIONS.run(&mut connection).await.expect("migrations");
        let options = server.clone().database(&name).options([("search_path", "read_model,public")]);
        let pool = PgPool::connect_with(options).await.expect("the new database");
        Some(Self { pool, name, server })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Applies events in batches of `most`, each committed.
    pub async fn apply(&self, name: &str, events: &[Arc<Recorded>], most: usize) {
        let projection = projection(name);
        let own = |event: &&Arc<Recorded>| projection.categories().contains(&event.stream.category());
        let own: Vec<_> = events.iter().filter(own).cloned().collect();
        for batch in own.chunks(most) {
            let mut transaction = self.pool.begin().await.expect("a transaction");
            projection.apply(&mut transaction, batch).await.expect("applied");
            transaction.commit().await.expect("committed");
        }
    }

    /// All rows of a table of the read model, in an order that tells nothing.
    pub async fn rows(&self, table: &str) -> Vec<Value> {
        let sql = format!("select to_jsonb(t) from read_model.{table} t order by to_jsonb(t)::text");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(&self.pool).await.expect("rows")
    }

    /// All rows of all tables.
    pub async fn everything(&self) -> Vec<(&'static str, Vec<Value>)> {
        let mut all = Vec::new();
        for table in TABLES {
            all.push((*table, self.rows(table).await));
        }
        all
    }

    /// The only row of a table.
    pub async fn row(&self, table: &str) -> Value {
        let mut rows = self.rows(table).await;
        assert_eq!(rows.len(), 1, "{table}: {rows:?}");
        rows.remove(0)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut connection = PgConnection::connect_with(&server).await?;
                sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await
            })
        });
        if !matches!(dropping.join(), Ok(Ok(_))) {
            eprintln!("database {} is left behind", self.name);
        }
    }
}
