//! How appending holds up as the log grows: the rate on an empty log, on one of a tenth of the size and on one of the whole size, on a shop's mix of
//! new orders, orders begun lately, and old streams of stock, beside the function that checks versions, on as many events.

use std::time::Instant;

use event_schemas::{
    StreamId, Timestamp,
    events::{order, stock},
};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    Extent,
    append::{
        self,
        baseline::{self, Law},
        draft::{self, Drafts},
    },
    error::Error,
    load::Load,
    report::{Report, Run},
    server::Server,
};

/// Callers of each, as in `append-64`.
const CALLERS: usize = 64;
/// Streams of stock that each caller goes on with: 1,024 in all, as `fill.sql` has it.
const STOCK_STREAMS: usize = 16;
/// Events that are filled in with one statement.
const BATCH: i64 = 50_000;

/// What may be asked of it.
#[derive(Debug, Clone, Copy, clap::Args)]
#[group(id = "growth")]
pub struct Options {
    /// `growth`: events of the largest log; about 2 kB of disk for each, given back at the end.
    #[arg(long = "events", default_value_t = 10_000_000, value_parser = clap::value_parser!(i64).range(10_000..=20_000_000))]
    events: i64,
}

/// Measures appends on an empty log, and again after each filling.
pub async fn run(server: &Server, extent: Extent, options: Options) -> Result<Report, Error> {
    let function = server.database("baseline").await?;
    baseline::create(&function).await?;
    let merx = server.database("merx").await?;
    let store = append::open(merx.clone()).await?;
    for (database, table) in [(&function, "version_only"), (&merx, "events")] {
        prepare(database, table).await?;
    }
    let mut rates = Vec::new();
    for size in [0, options.events / 10, options.events] {
        fill(&function, "version_only", size).await?;
        fill(&merx, "events", size).await?;
        let mut of_size = Vec::new();
        for _ in 0..extent.runs {
            let checked = callers(&function, "version_only").await?;
            let mut theirs = Vec::new();
            for drafts in checked {
                theirs.push(baseline::Appender::connect(&function, Law::VersionOnly, drafts).await?);
            }
            let theirs = append::turn(server, extent, theirs).await?;
            let ours = callers(&merx, "events").await?;
            let ours = ours.into_iter().map(|drafts| append::Appender::new(store.clone(), drafts)).collect();
            let ours = append::turn(server, extent, ours).await?;
            eprintln!("at {size} events: baseline {:.0}/s, merx {:.0}/s", theirs.per_second(), ours.per_second());
            of_size.push((ours, theirs));
        }
        rates.push(of_size);
    }
    append::whole(&store).await?;
    let [empty, tenth, full] = <[_; 3]>::try_from(rates).map_err(|_| Error::Wrong("not three sizes".into()))?;
    let runs = empty.iter().zip(&tenth).zip(&full).map(|((empty, tenth), full)| row(empty, tenth, full)).collect();
    Ok(Report::of("growth", runs))
}

/// Merx and the baseline at one size.
type Pair = (Load, Load);

fn row(empty: &Pair, tenth: &Pair, full: &Pair) -> Run {
    vec![
        ("per_second", Some(full.0.per_second())),
        ("baseline_per_second", Some(full.1.per_second())),
        ("per_second_at_0", Some(empty.0.per_second())),
        ("per_second_at_a_tenth", Some(tenth.0.per_second())),
        ("baseline_at_0", Some(empty.1.per_second())),
        ("baseline_at_a_tenth", Some(tenth.1.per_second())),
        ("kept", Some(full.0.per_second() / empty.0.per_second())),
        ("kept_at_a_tenth", Some(tenth.0.per_second() / empty.0.per_second())),
        ("baseline_kept", Some(full.1.per_second() / empty.1.per_second())),
        ("p50_ms", Some(full.0.quantile_ms(500))),
        ("p99_ms", Some(full.0.quantile_ms(990))),
        // Where others work on the machine too, rates tell less than what an event costs.
        ("cpu_ms_each", full.0.cpu_ms_each()),
        ("cpu_ms_each_at_0", empty.0.cpu_ms_each()),
        ("baseline_cpu_ms_each", full.1.cpu_ms_each()),
        ("baseline_cpu_ms_each_at_0", empty.1.cpu_ms_each()),
    ]
}

/// What callers append, each on streams of stock of its own.
async fn callers(database: &PgConnectOptions, table: &str) -> Result<Vec<Drafts>, Error> {
    let mut connection = PgConnection::connect_with(database).await?;
    let mut all = Vec::new();
    for seed in 0..CALLERS {
        let streams: Vec<StreamId> = (0..STOCK_STREAMS).map(|nth| stock_stream(seed * STOCK_STREAMS + nth)).collect::<Result<_, _>>()?;
        let mut stock = Vec::new();
        for stream in streams {
            let newest = format!("select coalesce(max(version), 0) from {table} where stream_id = $1");
            let version = sqlx::query_scalar(AssertSqlSafe(newest)).bind(stream.as_str()).fetch_one(&mut connection).await?;
            stock.push((stream, version));
        }
        all.push(Drafts::new(seed as u64)?.with_stock(stock));
    }
    Ok(all)
}

fn stock_stream(nth: usize) -> Result<StreamId, Error> {
    format!("stock-SKU{nth}").parse().map_err(|error| Error::Wrong(format!("{error}")))
}

async fn prepare(database: &PgConnectOptions, table: &str) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(database).await?;
    sqlx::raw_sql(include_str!("growth/fill.sql")).execute(&mut connection).await?;
    let insert = match table {
        "events" => {
            "with head as (update log_head set position = position + $2 returning position - $2 as base)
             insert into events (position, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, hash)
             select base + 1 + nth - $1, stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at,
                    event_hash(stream_id, version, event_id, type, schema_version, recorded_at, metadata, payload)
             from head, rows order by nth"
        }
        _ => {
            "insert into version_only
             select stream_id, version, event_id, type, schema_version, payload, metadata, recorded_at, sha256('') from rows order by nth"
        }
    };
    let kind = |events: &str| {
        format!(
            "case kind when 'submitted' then {} when 'placed' then {} else {} end",
            events.replace('#', "0"),
            events.replace('#', "1"),
            events.replace('#', "2")
        )
    };
    let (types, payloads) = (kind("($4::text[])[# + 1]"), kind("($5::text[])[# + 1]::json"));
    let function = format!(
        "create function fill(bigint, bigint, bigint, text[], text[]) returns void language sql as $fill$
             with rows as (
                 select nth, stream_id, version, event_id, {types} as type, 1::smallint as schema_version, {payloads} as payload,
                        format('{{\"command_id\":\"%s\",\"correlation_id\":\"%s\",\"causation_id\":null,\"actor\":\"client\"}}', event_id, event_id)::json as metadata,
                        timestamptz 'epoch' + ($3 + nth / 1000) * interval '1 millisecond' as recorded_at
                 from shop_events($1, $2, $3)
             ){}
         $fill$",
        insert.replacen("with head", ", head", 1).replacen("insert into version_only", " insert into version_only", 1)
    );
    sqlx::raw_sql(AssertSqlSafe(function)).execute(&mut connection).await?;
    Ok(())
}

/// Fills the log in `table` up with `size` events.
async fn fill(database: &PgConnectOptions, table: &str, size: i64) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(database).await?;
    let there: i64 = sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {table}"))).fetch_one(&mut connection).await?;
    if size <= there {
        return Ok(());
    }
    let started = Instant::now();
    let stock = format!(
        "truncate stock_versions;
         insert into stock_versions
         select nth, 'stock-SKU' || nth, coalesce((select max(version) from {table} e where e.stream_id = 'stock-SKU' || nth), 0)
         from generate_series(0, 1023) nth; analyze stock_versions;
         set synchronous_commit = off"
    );
    sqlx::raw_sql(AssertSqlSafe(stock)).execute(&mut connection).await?;
    let at = Timestamp::from(chrono::Utc::now());
    let (types, payloads) = samples(at)?;
    let many = size - there;
    for first in (0..many).step_by(usize::try_from(BATCH).unwrap_or(1)) {
        sqlx::query("select fill($1, $2, $3, $4, $5)")
            .bind(first)
            .bind(BATCH.min(many - first))
            .bind(at.micros() / 1_000)
            .bind(&types)
            .bind(&payloads)
            .execute(&mut connection)
            .await?;
    }
    sqlx::query(AssertSqlSafe(format!("vacuum analyze {table}"))).execute(&mut connection).await?;
    eprintln!("{table} filled up to {size} events in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Types and payloads of what is filled in: submitted, placed, received.
fn samples(at: Timestamp) -> Result<(Vec<&'static str>, Vec<String>), Error> {
    let submitted = order::OrderSubmitted { cart: event_schemas::ids::CartId(Uuid::now_v7()), ..draft::submitted()? };
    let events = [
        event_schemas::Event::Order(submitted.into()),
        event_schemas::Event::Order(order::OrderPlaced { payment_deadline: at }.into()),
        event_schemas::Event::Stock(stock::StockReceived { quantity: 1, reference: "PO-1".into() }.into()),
    ];
    let payloads = events.iter().map(event_schemas::Event::payload).collect::<Result<_, _>>()?;
    Ok((events.iter().map(event_schemas::Event::event_type).collect(), payloads))
}
