//! Measures Merx beside a baseline, in turns, on the same Postgres with the same durability.
//!
//! - [`append`]: single events onto many streams, beside a version-checked function for each event
//! - [`hot_sku`]: reservations of one SKU, beside a statement that locks its row
//! - [`growth`]: the same on a shop's mix of streams, as the log grows
//! - [`load_stream`]: cold loads of streams of 10, 1,000 and 100,000 events, beside a plain fold
//! - [`rebuild`]: read models built anew from the log, beside a fold that commits each event by itself
//! - [`searching`]: the embedded search index with 100,000 products, while they change
//! - [`search_quality`]: how good search is, on a set of queries with answers
//! - [`checkout`]: whole journeys over HTTP, from the empty cart to the confirmed order
//! - [`freshness`]: from the accepted command to the read model, on the log and over Kafka, and while a publisher is killed
//! - [`long_polls`]: writes while a thousand requests wait for events
//! - [`publish`]: a backlog of events to Kafka
//!
//! They share [`server`] (a throw-away Postgres), [`kafka`] (a throw-away broker), [`process`] (a server), [`http`], [`load`] (callers in a closed loop), [`cpu`] and [`report`].

mod append;
mod checkout;
mod cpu;
mod error;
mod freshness;
mod growth;
mod hot_sku;
mod http;
mod kafka;
mod load;
mod load_stream;
mod long_polls;
mod process;
mod publish;
mod random;
mod rebuild;
mod report;
mod search_quality;
mod searching;
mod server;
mod shop_log;

use std::{process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use error::Error;
use report::Report;
use server::Server;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Measures Merx beside a baseline, in turns, on the same Postgres with the same durability.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Arguments {
    /// What to measure.
    name: Name,
    /// Print one line of JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// How often to measure; what is reported are medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    runs: u32,
    /// How long each turn of a run takes, after a warm-up of a quarter of that.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Measure on this Postgres, in databases of its own that are dropped again, instead of on a throw-away one.
    #[arg(long, env = "BENCH_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    #[command(flatten)]
    checkout: checkout::Options,
    #[command(flatten)]
    growth: growth::Options,
    #[command(flatten)]
    set: search_quality::set::Options,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Name {
    /// Single events from 64 callers.
    #[value(name = "append-64")]
    Append64,
    /// Single events from 1,024 callers, beside 64 callers of the baseline.
    #[value(name = "append-1024")]
    Append1024,
    /// Single events from 64 callers on a shop's mix of streams, on an empty log and on large ones.
    Growth,
    /// Reservations of one SKU from 64 callers.
    HotSku,
    /// Cold loads of streams of 10, 1,000 and 100,000 events.
    LoadStream,
    /// Rebuilds of read models.
    Rebuild,
    /// Whole checkouts over HTTP.
    Checkout,
    /// From the accepted command to the read model, on the log and over Kafka.
    EndToEnd,
    /// Writes at 20 a second, while nobody and while 1,000 long polls wait for events.
    LongPolls,
    /// A backlog of a million events to Kafka.
    Publish,
    /// The longest that readers wait while the leading publisher is killed.
    Failover,
    /// Queries on 100,000 products at 200 a second, while 100 a second change.
    Search,
    /// How good search is: nDCG@10 and mistyped titles.
    SearchQuality,
}

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    runs: u32,
    turn: Duration,
}

impl Extent {
    fn warm_up(self) -> Duration {
        self.turn / 4
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&Error::io("starting the runtime", error)),
    };
    match runtime.block_on(run(&arguments)) {
        Ok(report) => {
            report.print(arguments.json);
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> ExitCode {
    eprintln!("bench: {error}");
    ExitCode::FAILURE
}

async fn run(arguments: &Arguments) -> Result<Report, Error> {
    let extent = Extent { runs: arguments.runs, turn: Duration::from_secs(arguments.seconds) };
    let append = async |name, server: &Server, callers, with_gap_free| {
        append::run(name, server, extent, append::Comparison { callers, with_gap_free }).await
    };
    match arguments.name {
        Name::Append64 => on_postgres(arguments, async |server| append("append-64", server, 64, true).await).await,
        Name::Append1024 => on_postgres(arguments, async |server| append("append-1024", server, 1_024, false).await).await,
        Name::Growth => on_postgres(arguments, async |server| growth::run(server, extent, arguments.growth).await).await,
        Name::HotSku => on_postgres(arguments, async |server| hot_sku::run(server, extent).await).await,
        Name::LoadStream => on_postgres(arguments, async |server| load_stream::run(server, extent).await).await,
        Name::Rebuild => on_postgres(arguments, async |server| rebuild::run(server, extent).await).await,
        Name::Search => Signals::listen()?.or(searching::run(extent)).await,
        Name::SearchQuality => Signals::listen()?.or(search_quality::run(&arguments.set)).await,
        // What it starts is stopped when it is dropped, so also on a signal.
        Name::EndToEnd => Signals::listen()?.or(freshness::end_to_end::run(arguments.checkout.merx.as_deref(), extent)).await,
        Name::LongPolls => Signals::listen()?.or(long_polls::run(arguments.checkout.merx.as_deref(), extent)).await,
        Name::Publish => on_postgres(arguments, async |server| publish::run(server, extent).await).await,
        Name::Failover => {
            let program = arguments.checkout.merx.as_deref();
            on_postgres(arguments, async |server| freshness::failover::run(server, program, extent).await).await
        }
        Name::Checkout => Signals::listen()?.or(checkout::run(&arguments.checkout, extent)).await,
    }
}

async fn on_postgres(arguments: &Arguments, measure: impl AsyncFnOnce(&Server) -> Result<Report, Error>) -> Result<Report, Error> {
    let signals = Signals::listen()?;
    let server = Server::start(arguments.database_url.as_deref()).await?;
    let measured = signals.or(Box::pin(measure(&server))).await;
    server.stop().await;
    measured
}

/// Being told to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(|error| Error::io("listening for signals", error));
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    /// What `measuring` gives, unless a signal comes first.
    async fn or(mut self, measuring: impl Future<Output = Result<Report, Error>>) -> Result<Report, Error> {
        tokio::select! {
            measured = measuring => measured,
            _ = self.interrupt.recv() => Err(Error::Interrupted),
            _ = self.terminate.recv() => Err(Error::Interrupted),
        }
    }
}
