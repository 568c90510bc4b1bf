//! Rebuilds of the read models of orders, sales and stock, beside the same fold that commits each event by itself.

use std::{sync::Arc, time::Instant};

use event_store::EventStore;
use projections::{Projection, rebuild};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _, postgres::PgConnectOptions};
use tokio_util::sync::CancellationToken;

use crate::{
    Extent, append,
    error::Error,
    report::{Report, Run},
    server::Server,
    shop_log,
};

const ORDERS: u128 = 60_000;
/// The columns of each projection that is measured.
const MEASURED: [(&str, &str); 3] = [("orders", "orders_per_second"), ("sales", "sales_per_second"), ("stock", "stock_per_second")];

/// Measures rebuilds in turns with the baseline; fails where a rebuilt read model differs from the one before.
pub async fn run(server: &Server, extent: Extent) -> Result<Report, Error> {
    let options = server.database("merx").await?;
    let store = append::open(options.clone()).await?;
    shop_log::fill(&store, ORDERS).await?;
    for projection in measured() {
        projections::catch_up(&store, &projection).await?;
    }
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        server.checkpoint().await?;
        let mut run = Run::new();
        for (projection, (name, column)) in measured().into_iter().zip(MEASURED) {
            let (before, events) = (digest(&options, &*projection).await?, own_events(&options, &*projection).await?);
            let began = Instant::now();
            rebuild::rebuild(&store, &projection, &CancellationToken::new(), |_, _| ()).await?;
            let rate = events / began.elapsed().as_secs_f64();
            if digest(&options, &*projection).await? != before {
                return Err(Error::Wrong(format!("the rebuilt {name} are not those that grew")));
            }
            eprintln!("run {nth}: {name}: {rate:.0} events/s");
            run.push((column, Some(rate)));
        }
        let slowest = run.iter().filter_map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
        run.push(("per_second", Some(slowest)));
        run.push(("baseline_per_second", Some(one_by_one(server, &store, extent, nth).await?)));
        runs.push(run);
    }
    Ok(Report::of("rebuild", runs))
}

fn measured() -> Vec<Arc<dyn Projection>> {
    let all = projections::all();
    MEASURED.iter().filter_map(|(name, _)| all.iter().find(|projection| projection.name() == *name).cloned()).collect()
}

/// How many events of the log are for `projection`: the others cost it next to nothing, so they don't count.
#[expect(clippy::cast_precision_loss, reason = "a rate")]
async fn own_events(options: &PgConnectOptions, projection: &dyn Projection) -> Result<f64, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let categories: Vec<String> = projection.categories().iter().map(ToString::to_string).collect();
    let count: i64 = sqlx::query_scalar("select count(*) from events where split_part(stream_id, '-', 1) = any($1)")
        .bind(categories)
        .fetch_one(&mut connection)
        .await?;
    Ok(count as f64)
}

/// What all rows of a projection amount to.
async fn digest(options: &PgConnectOptions, projection: &dyn Projection) -> Result<Vec<String>, Error> {
    let mut connection = PgConnection::connect_with(options).await?;
    let mut digests = Vec::new();
    for table in projection.tables() {
        let sql = format!(
            "select count(*) || ' ' || coalesce(md5(string_agg(md5(t::text), '' order by md5(t::text))), '') from read_model.{table} t"
        );
        digests.push(sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut connection).await?.try_get(0)?);
    }
    Ok(digests)
}

/// The rate of the same fold of orders, each event committed by itself, on a database of its own.
async fn one_by_one(server: &Server, store: &EventStore, extent: Extent, nth: u32) -> Result<f64, Error> {
    let options = server.database(&format!("one_by_one_{nth}")).await?;
    append::open(options.clone()).await?;
    let options = options.options([("search_path", "read_model,public"), ("synchronous_commit", "off")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    let Some(orders) = measured().into_iter().next() else { return Err(Error::Wrong("there are no orders".into())) };
    let (feed, began) = (store.feed(orders.categories()), Instant::now());
    let (mut after, mut applied) = (0, 0_u32);
    while began.elapsed() < extent.turn {
        let batch = feed.read(after, 1_000).await?;
        if batch.up_to == after {
            break;
        }
        after = batch.up_to;
        for event in batch.events.chunks(1) {
            let mut transaction = connection.begin().await?;
            orders.apply(&mut transaction, event).await?;
            transaction.commit().await?;
            applied += 1;
        }
    }
    Ok(f64::from(applied) / began.elapsed().as_secs_f64())
}
