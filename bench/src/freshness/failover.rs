//! How long readers wait at most when the leading publisher is killed under load, and another takes over.

use std::{path::Path, time::Duration};

use tokio::time::sleep;

use super::Writers;
use crate::{
    Extent,
    error::Error,
    kafka::Kafka,
    process::Merx,
    report::{Report, Run},
    server::Server,
};

/// Commands a second.
const RATE: u32 = 200;
/// Longer than it takes a server to start, and another to see that a lease has ended.
const TURN: Duration = Duration::from_secs(20);
const BEFORE_KILL: Duration = Duration::from_secs(4);
const ALL_BUT_PUBLISHER: &str = "command-api,query-api,projector,payment-worker,process-manager";

/// Kills the leader once in each run.
pub async fn run(server: &Server, program: Option<&Path>, extent: Extent) -> Result<Report, Error> {
    let kafka = Kafka::start()?;
    server.database("merx").await?;
    let url = server.url("merx");
    let settings = [("KAFKA_BROKERS", kafka.brokers.as_str()), ("DATABASE_URL", url.as_str())];
    let shop = Merx::start(program, &["--role", ALL_BUT_PUBLISHER], &settings).await?;
    // The first one has the lease when it is ready.
    let mut leader = Merx::start(program, &["--role", "publisher"], &settings).await?;
    let mut writers = Writers::open(&shop, RATE).await?;
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let next = Merx::start(program, &["--role", "publisher"], &settings).await?;
        let killing = async {
            sleep(BEFORE_KILL).await;
            leader.kill()
        };
        let (seen, killed) = tokio::join!(writers.turn(TURN), killing);
        killed?;
        let seen = seen?;
        let longest = seen.latencies.quantile_ms(1_000);
        eprintln!("run {nth}: readers waited {longest:.0} ms at most");
        runs.push(Run::from([
            ("per_second", Some(seen.per_second())),
            ("p50_ms", Some(seen.latencies.quantile_ms(500))),
            ("longest_ms", Some(longest)),
        ]));
        leader = next;
    }
    leader.stop().await?;
    shop.stop().await?;
    Ok(Report::of("failover", runs))
}
