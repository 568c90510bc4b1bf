//! From the accepted command to the read model, with the log as the feed and with Kafka, in turns on servers of their own.

use std::path::Path;

use super::Writers;
use crate::{
    Extent,
    error::Error,
    kafka::Kafka,
    process::Merx,
    report::{Report, Run},
};

/// Commands a second.
const RATE: u32 = 500;

/// Measures both feeds.
pub async fn run(program: Option<&Path>, extent: Extent) -> Result<Report, Error> {
    let kafka = Kafka::start()?;
    let on_log = Merx::start(program, &[], &[]).await?;
    let on_kafka = Merx::start(program, &[], &[("KAFKA_BROKERS", &kafka.brokers)]).await?;
    let mut writers = [Writers::open(&on_log, RATE).await?, Writers::open(&on_kafka, RATE).await?];
    let mut runs = Vec::new();
    for nth in 1..=extent.runs {
        let mut run = Run::new();
        for (writers, columns) in
            writers.iter_mut().zip([["log_per_second", "log_p50_ms", "log_p99_ms"], ["kafka_per_second", "kafka_p50_ms", "kafka_p99_ms"]])
        {
            writers.turn(extent.warm_up()).await?;
            let seen = writers.turn(extent.turn).await?;
            let values = [seen.per_second(), seen.latencies.quantile_ms(500), seen.latencies.quantile_ms(990)];
            run.extend(columns.into_iter().zip(values.map(Some)));
            eprintln!(
                "run {nth}: {}",
                columns.iter().zip(values).map(|(name, value)| format!("{name} {value:.1}")).collect::<Vec<_>>().join(", ")
            );
        }
        runs.push(run);
    }
    on_log.stop().await?;
    on_kafka.stop().await?;
    Ok(Report::of("end-to-end", runs))
}
