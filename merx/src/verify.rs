//! `merx verify`: whether the log is whole.

use std::{error::Error, time::Instant};

use event_store::verify::{Finding, Progress, Whole};

use crate::{Location, database::Database, import::progress};

/// Reads the whole log at `location` and says whether it is whole, or else what is wrong first.
pub async fn run(location: &Location) -> Result<(), Box<dyn Error>> {
    let database = Database::to_read(location).await?;
    let verified = tokio::select! {
        verified = verify(&database) => verified,
        _ = tokio::signal::ctrl_c() => Err("interrupted before the end: nothing is known of the log".into()),
    };
    database.close().await;
    verified
}

async fn verify(database: &Database) -> Result<(), Box<dyn Error>> {
    let bar = progress::bar();
    bar.set_message("events");
    let started = Instant::now();
    let told = bar.clone();
    let verified = event_store::verify::verify(&database.pool, move |Progress { events, all }| {
        told.set_length(all);
        told.set_position(events);
    })
    .await;
    bar.finish_and_clear();
    match verified? {
        Ok(whole) => {
            println!("{}", said(whole, started.elapsed().as_secs_f64()));
            Ok(())
        }
        Err(finding) => Err(broken(&finding).into()),
    }
}

fn said(Whole { events, streams }: Whole, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = events as f64 / seconds.max(0.001);
    format!("{events} events, {streams} streams, {per_second:.0} events/s: the log is whole")
}

fn broken(finding: &Finding) -> String {
    format!("the log is not whole: {finding}")
}
