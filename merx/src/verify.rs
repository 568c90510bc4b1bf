//! `merx verify`: whether the log is whole, and the read models what it makes.

use std::{error::Error, time::Instant};

use event_store::{
    Digest,
    verify::{Finding, Progress, Whole},
};

use crate::{Location, database::Database, import::progress};

/// All that is read besides the log.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// A digest of the log that was printed before and noted elsewhere: the log must still be the same up to there.
    #[arg(long, value_name = "POSITION:DIGEST")]
    digest: Option<Digest>,
    /// Compare each read model with a fold of the log, too, by way of temporary tables.
    #[arg(long)]
    read_models: bool,
}

/// Reads the whole log at `location` and says whether it is whole, or else what is wrong first; the read models likewise, where `options` want it.
pub async fn run(location: &Location, options: &Options) -> Result<(), Box<dyn Error>> {
    let database = Database::to_read(location).await?;
    let verified = tokio::select! {
        verified = verify(&database, options) => verified,
        _ = tokio::signal::ctrl_c() => Err("interrupted before the end: nothing is known of the log".into()),
    };
    database.close().await;
    verified
}

async fn verify(database: &Database, options: &Options) -> Result<(), Box<dyn Error>> {
    verify_log(database, options.digest).await?;
    if options.read_models { compare_read_models(database).await } else { Ok(()) }
}

async fn compare_read_models(database: &Database) -> Result<(), Box<dyn Error>> {
    let store = database.log().await?;
    for projection in projections::all() {
        let name = projection.name();
        let bar = progress::bar();
        bar.set_message(name);
        let told = bar.clone();
        let compared = projections::compare::compare(&store, &projection, move |position, head| {
            told.set_length(head.unsigned_abs());
            told.set_position(position.unsigned_abs());
        })
        .await;
        bar.finish_and_clear();
        match compared.map_err(|error| format!("the read model {name} can't be compared: {error}"))? {
            Ok(position) => println!("{name}: what the log makes, up to position {position}"),
            Err(difference) => return Err(format!("the read model {name} is not what the log makes: {difference}").into()),
        }
    }
    Ok(())
}

async fn verify_log(database: &Database, noted: Option<Digest>) -> Result<(), Box<dyn Error>> {
    let bar = progress::bar();
    bar.set_message("events");
    let started = Instant::now();
    let told = bar.clone();
    let verified = event_store::verify::verify_against(&database.pool, noted, move |Progress { events, all }| {
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

fn said(Whole { events, streams, digest }: Whole, seconds: f64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let per_second = events as f64 / seconds.max(0.001);
    format!("{events} events, {streams} streams, digest {digest}, {per_second:.0} events/s: the log is whole")
}

fn broken(finding: &Finding) -> String {
    format!("the log is not whole: {finding}")
}
