//! `merx publish`: what has been published is sent again, for topics that were lost.

use std::error::Error;

use event_store::kafka::publisher;

use crate::{Location, database::Database};

/// What to send again.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The first event to send again; 1 is the whole log.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
}

/// Has the publisher begin again where `options` say. Running servers need not be stopped.
pub async fn run(location: &Location, options: Options) -> Result<(), Box<dyn Error>> {
    let database = Database::existing(location).await?;
    let told = publisher::send_again(&database.pool, options.from).await;
    database.close().await;
    let events = told?;
    println!("{events} events from position {} on are sent to Kafka again, by the server with the role publisher", options.from);
    Ok(())
}
