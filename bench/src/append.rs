//! Single events onto many streams, half of them new: `EventStore::append` beside functions in the database that check the version.

pub mod baseline;
pub mod draft;

use event_store::{EventStore, Lineage, MIGRATIONS, Part, Unit};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    Extent,
    error::Error,
    load::{Caller, Load, drive},
    report::{Report, Run},
    server::Server,
};
use baseline::Law;
use draft::{Draft, Drafts};

/// Callers of the baseline, each with a connection of its own.
const BASELINE_CALLERS: usize = 64;

/// What is compared with what.
#[derive(Debug, Clone, Copy)]
pub struct Comparison {
    /// Callers of Merx.
    pub callers: usize,
    /// Whether to measure the function that gives gap-free positions too.
    pub with_gap_free: bool,
}

/// Measures appends in turns with the baseline.
pub async fn run(name: &'static str, server: &Server, extent: Extent, comparison: Comparison) -> Result<Report, Error> {
    let baseline = server.database("baseline").await?;
    baseline::create(&baseline).await?;
    let merx = server.database("merx").await?;
    let store = open(merx).await?;
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let checked = against_function(server, extent, &baseline, Law::VersionOnly).await?;
        let gap_free = if comparison.with_gap_free { Some(against_function(server, extent, &baseline, Law::GapFree).await?) } else { None };
        let ours = against_merx(server, extent, &store, comparison.callers).await?;
        eprintln!("run {nth}: baseline {:.0}/s, merx {:.0}/s", checked.per_second(), ours.per_second());
        runs.push(row(&ours, &checked, gap_free.as_ref()));
    }
    whole(&store).await?;
    Ok(Report::of(name, runs))
}

/// An event store on a migrated database.
pub async fn open(options: PgConnectOptions) -> Result<EventStore, Error> {
    let pool = PgPoolOptions::new().max_connections(8).connect_with(options).await?;
    MIGRATIONS.run(&pool).await?;
    Ok(EventStore::open(pool).await?)
}

fn row(ours: &Load, checked: &Load, gap_free: Option<&Load>) -> Run {
    let mut run = vec![
        ("per_second", Some(ours.per_second())),
        ("baseline_per_second", Some(checked.per_second())),
        ("p50_ms", Some(ours.quantile_ms(500))),
        ("p99_ms", Some(ours.quantile_ms(990))),
        ("cpu_ms_each", ours.cpu_ms_each()),
        ("baseline_p99_ms", Some(checked.quantile_ms(990))),
        ("baseline_cpu_ms_each", checked.cpu_ms_each()),
    ];
    if let Some(gap_free) = gap_free {
        run.push(("gap_free_baseline_per_second", Some(gap_free.per_second())));
        run.push(("gap_free_baseline_p99_ms", Some(gap_free.quantile_ms(990))));
    }
    run
}

async fn against_function(server: &Server, extent: Extent, database: &PgConnectOptions, law: Law) -> Result<Load, Error> {
    let mut callers = Vec::new();
    for seed in 0..BASELINE_CALLERS {
        callers.push(baseline::Appender::connect(database, law, Drafts::new(seed as u64)?).await?);
    }
    turn(server, extent, callers).await
}

async fn against_merx(server: &Server, extent: Extent, store: &EventStore, callers: usize) -> Result<Load, Error> {
    let appender = |seed| Ok(Appender { store: store.clone(), drafts: Drafts::new(seed as u64)? });
    let callers: Result<Vec<Appender>, Error> = (0..callers).map(appender).collect();
    turn(server, extent, callers?).await
}

/// A turn: all begin with an empty write-ahead log, and warm.
pub async fn turn<C: Caller>(server: &Server, extent: Extent, callers: Vec<C>) -> Result<Load, Error> {
    server.checkpoint().await?;
    let (_, callers) = drive(callers, extent.warm_up(), None).await?;
    let (load, _) = drive(callers, extent.turn, server.processes().as_deref()).await?;
    Ok(load)
}

/// Appends through Merx.
pub struct Appender {
    store: EventStore,
    drafts: Drafts,
}

impl Appender {
    /// Appends `drafts` to `store`.
    pub fn new(store: EventStore, drafts: Drafts) -> Self {
        Self { store, drafts }
    }
}

impl Caller for Appender {
    async fn call(&mut self) -> Result<(), Error> {
        let Draft { stream, expected_version, event, metadata, at } = self.drafts.next();
        let part = Part::new(stream, expected_version, vec![event], metadata, at, Lineage::new(expected_version, 0))?;
        self.store.append(Unit::of(part)).await?;
        Ok(())
    }
}

/// Whether the log has what it says it has: positions and versions without gaps.
pub async fn whole(store: &EventStore) -> Result<(), Error> {
    let (head, count, last, streams_whole): (i64, i64, i64, bool) = sqlx::query_as(
        "select (select position from log_head), count(*), coalesce(max(position), 0),
                not exists (select from events group by stream_id having max(version) <> count(*))
         from events",
    )
    .fetch_one(store.pool())
    .await?;
    if count == head && last == head && streams_whole {
        return Ok(());
    }
    Err(Error::Wrong(format!("the head of the log is {head}, the last position {last}, and it has {count} events")))
}
