//! Reservations of one SKU: `Handler::<Stock>` beside a statement that locks the SKU's row.

use std::{sync::Arc, time::Duration};

use chrono::Utc;
use command_api::handler::{Context, Failure, Handler};
use domain::stock::{Command, Refusal, State, Stock};
use event_schemas::{
    StreamId, Timestamp,
    ids::{OrderId, Sku},
};
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection, postgres::PgConnectOptions};
use uuid::Uuid;

use crate::{
    Extent, append,
    error::Error,
    load::{Caller, Load},
    report::{Report, Run},
    server::Server,
};

const CALLERS: usize = 64;
/// More than can be reserved in any run.
const PLENTY: u32 = 1_000_000_000;
/// Units that too many callers want at the end.
const SCARCE: u32 = 5_000;
const HOLD: Duration = Duration::from_mins(15);
/// Streams that the handler keeps in memory.
const KEPT_STREAMS: usize = 1_000;

/// Measures reservations in turns with the baseline; fails where more is reserved than there is.
pub async fn run(server: &Server, extent: Extent) -> Result<Report, Error> {
    let baseline = server.database("baseline").await?;
    create_baseline(&baseline).await?;
    let store = append::open(server.database("merx").await?).await?;
    let handler = Arc::new(Handler::<Stock>::new(store.clone(), KEPT_STREAMS));
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let locked = against_row_lock(server, extent, &baseline, &format!("HOT-{nth}")).await?;
        let counter = Counter::receive(&handler, &format!("HOT-{nth}"), PLENTY).await?;
        let ours = append::turn(server, extent, (0..CALLERS).map(|_| Reserver(counter.clone())).collect()).await?;
        eprintln!("run {nth}: baseline {:.0}/s, merx {:.0}/s", locked.per_second(), ours.per_second());
        runs.push(row(&ours, &locked));
    }
    let accepted = exhaust(&Counter::receive(&handler, "SCARCE", SCARCE).await?).await?;
    let logged: i64 = sqlx::query_scalar("select count(*) from events where stream_id = 'stock-SCARCE' and type = 'StockReserved'")
        .fetch_one(store.pool())
        .await?;
    if accepted != u64::from(SCARCE) || logged != i64::from(SCARCE) {
        return Err(Error::Wrong(format!("of {SCARCE} units {accepted} were said to be reserved, and {logged} are in the log")));
    }
    eprintln!("of {SCARCE} units that {CALLERS} callers fought for, exactly {accepted} were reserved");
    Ok(Report::of("hot-sku", runs))
}

fn row(ours: &Load, locked: &Load) -> Run {
    vec![
        ("per_second", Some(ours.per_second())),
        ("baseline_per_second", Some(locked.per_second())),
        ("p50_ms", Some(ours.quantile_ms(500))),
        ("p99_ms", Some(ours.quantile_ms(990))),
        ("cpu_ms_each", ours.cpu_ms_each()),
        ("baseline_p99_ms", Some(locked.quantile_ms(990))),
        ("baseline_cpu_ms_each", locked.cpu_ms_each()),
    ]
}

/// The stock of a SKU, and who decides on it.
#[derive(Clone)]
struct Counter {
    handler: Arc<Handler<Stock>>,
    stream: StreamId,
}

impl Counter {
    async fn receive(handler: &Arc<Handler<Stock>>, sku: &str, quantity: u32) -> Result<Self, Error> {
        let sku: Sku = sku.parse().map_err(|malformed: event_schemas::ids::MalformedCode| Error::Wrong(malformed.to_string()))?;
        let counter = Self { handler: Arc::clone(handler), stream: StreamId::stock(&sku) };
        match counter.decide(&Command::Receive { quantity, reference: "bench".into() }).await? {
            Ok(()) => Ok(counter),
            Err(refusal) => Err(Error::Wrong(refusal.to_string())),
        }
    }

    /// One unit, for an order that nobody else has.
    async fn reserve(&self) -> Result<Result<(), Refusal>, Error> {
        let until = now().plus(chrono::Duration::from_std(HOLD).unwrap_or_default());
        let order = OrderId(Uuid::now_v7());
        self.decide(&Command::Reserve { order, quantity: 1, until, customer: "ada@example.com".into(), sale: None }).await
    }

    async fn decide(&self, command: &Command) -> Result<Result<(), Refusal>, Error> {
        match self.handler.run(&self.stream, command, &Context::new(now(), "client"), |_: &State, _| ()).await {
            Ok(_) => Ok(Ok(())),
            Err(Failure::Refused(refusal)) => Ok(Err(refusal)),
            Err(Failure::Store(failure)) => Err(failure.0.into()),
            Err(moved @ Failure::VersionMismatch(_)) => Err(Error::Wrong(moved.to_string())),
        }
    }
}

fn now() -> Timestamp {
    Utc::now().into()
}

/// Reserves one unit with each call.
struct Reserver(Counter);

impl Caller for Reserver {
    async fn call(&mut self) -> Result<(), Error> {
        self.0.reserve().await?.map_err(|refusal| Error::Wrong(refusal.to_string()))
    }
}

/// All callers reserve until they are refused; how many units they were told that they have.
async fn exhaust(counter: &Counter) -> Result<u64, Error> {
    let greedy = (0..CALLERS).map(|_| {
        let counter = counter.clone();
        async move {
            let mut accepted = 0;
            loop {
                match counter.reserve().await? {
                    Ok(()) => accepted += 1,
                    Err(Refusal::OutOfStock { .. }) => return Ok::<u64, Error>(accepted),
                    Err(refusal) => return Err(Error::Wrong(refusal.to_string())),
                }
            }
        }
    });
    Ok(try_join_all(greedy).await?.into_iter().sum())
}

/// The least that a shop must write down: how much there is, and who holds it.
async fn create_baseline(database: &PgConnectOptions) -> Result<(), Error> {
    let mut connection = PgConnection::connect_with(database).await?;
    let schema = r#"
        create table stock (
            sku text collate "C" primary key,
            available bigint not null
        ) with (fillfactor = 10);
        create table reservations (
            order_id uuid primary key,
            sku text collate "C" not null,
            quantity int not null,
            reserved_until timestamptz not null,
            customer text not null
        );
    "#;
    sqlx::raw_sql(schema).execute(&mut connection).await?;
    Ok(())
}

async fn against_row_lock(server: &Server, extent: Extent, database: &PgConnectOptions, sku: &str) -> Result<Load, Error> {
    let mut callers = Vec::new();
    for _ in 0..CALLERS {
        callers.push(RowLocker { connection: PgConnection::connect_with(database).await?, sku: sku.to_owned() });
    }
    if let Some(first) = callers.first_mut() {
        let stock = sqlx::query("insert into stock values ($1, $2)").bind(sku).bind(i64::from(PLENTY));
        stock.execute(&mut first.connection).await?;
    }
    append::turn(server, extent, callers).await
}

/// Takes one unit off the SKU's row and writes the reservation, in one statement and so in one transaction.
struct RowLocker {
    connection: PgConnection,
    sku: String,
}

impl Caller for RowLocker {
    async fn call(&mut self) -> Result<(), Error> {
        let statement = "
            with taken as (update stock set available = available - 1 where sku = $1 and available >= 1 returning sku)
            insert into reservations select $2, sku, 1, $3, $4 from taken
        ";
        let reserved = sqlx::query(statement).bind(&self.sku).bind(Uuid::now_v7()).bind(Utc::now() + HOLD).bind("ada@example.com");
        match reserved.execute(&mut self.connection).await?.rows_affected() {
            1 => Ok(()),
            _ => Err(Error::Wrong(format!("the baseline has run out of {}", self.sku))),
        }
    }
}
