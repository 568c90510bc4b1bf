//! `merx projections`: how far the consumers of the log have come, rebuilds, and what is done about parked streams.

use std::{error::Error, sync::Arc};

use ::search::Index;
use command_api::{Shop, payment_gateway, process};
use event_store::{
    EventStore,
    parked::{self, Mended, Mending},
    progress,
};
use projections::Projection;
use tokio_util::sync::CancellationToken;

use crate::{Location, database::Database, import::progress as bar, search};

/// The most parked streams that are listed of a consumer.
const MOST_PARKED: i64 = 1_000;

/// What to do.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[command(flatten)]
    search: search::Options,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Action {
    /// Say how far each consumer of the log has come, and which streams it has parked.
    List,
    /// Build the read model of a projection anew beside the one in use, and swap it in.
    Rebuild {
        /// The projection.
        name: String,
    },
    /// Try again the event that a stream is parked for, and go on with the stream.
    Retry {
        /// The consumer that has parked it.
        name: String,
        /// The stream.
        stream: String,
    },
    /// Leave out for ever the event that a stream is parked for, and go on with the stream.
    Skip {
        /// The consumer that has parked it.
        name: String,
        /// The stream.
        stream: String,
    },
}

/// Does what `options` say.
pub async fn run(location: &Location, options: Options) -> Result<(), Box<dyn Error>> {
    let action = options.action.unwrap_or(Action::List);
    let database = match action {
        Action::List => Database::to_read(location).await?,
        _ => Database::existing(location).await?,
    };
    let done = act(&database, &options.search, action).await;
    database.close().await;
    done
}

async fn act(database: &Database, search: &search::Options, action: Action) -> Result<(), Box<dyn Error>> {
    match action {
        Action::List => list(database).await,
        Action::Rebuild { name } => rebuild(&database.log().await?, &named(&name)?).await,
        Action::Retry { name, stream } => mend(&database.log().await?, search, &name, &stream, Mending::Retry).await,
        Action::Skip { name, stream } => mend(&database.log().await?, search, &name, &stream, Mending::Skip).await,
    }
}

/// The projection of that name.
fn named(name: &str) -> Result<Arc<dyn Projection>, String> {
    let all = projections::all();
    let names: Vec<&str> = all.iter().map(|projection| projection.name()).collect();
    let unknown = format!("there is no projection {name}; there are {}", names.join(", "));
    all.into_iter().find(|projection| projection.name() == name).ok_or(unknown)
}

async fn list(database: &Database) -> Result<(), Box<dyn Error>> {
    println!("{:<24} {:>7} {:>12} {:>12} {:>10}  STATE", "NAME", "VERSION", "POSITION", "LAG", "SECONDS");
    for consumer in progress::read(&database.pool).await?.consumers {
        let progress::Consumer { name, version, position, lag, lag_seconds, state, .. } = &consumer;
        println!("{name:<24} {version:>7} {position:>12} {lag:>12} {lag_seconds:>10.1}  {}", state.name());
        if let Some(failure) = consumer.failure {
            println!("  failing: {failure}");
        }
    }
    for listed in parked::all(&database.pool, MOST_PARKED).await? {
        let parked::Parked { stream, position, version, event_type, reason } = listed.parked;
        println!(
            "parked: {} {stream} since {} at version {version} ({event_type}, position {position}): {reason}",
            listed.consumer, listed.since
        );
    }
    Ok(())
}

async fn rebuild(store: &EventStore, projection: &Arc<dyn Projection>) -> Result<(), Box<dyn Error>> {
    let bar = bar::bar();
    bar.set_message(projection.name());
    let stop = CancellationToken::new();
    let told = bar.clone();
    let rebuilding = projections::rebuild::rebuild(store, projection, &stop, move |position, head| {
        told.set_length(head.unsigned_abs());
        told.set_position(position.unsigned_abs());
    });
    tokio::pin!(rebuilding);
    let rebuilt = tokio::select! {
        rebuilt = &mut rebuilding => rebuilt,
        _ = tokio::signal::ctrl_c() => {
            stop.cancel();
            rebuilding.await
        }
    };
    bar.finish_and_clear();
    println!("{} was rebuilt up to position {}", projection.name(), rebuilt?);
    Ok(())
}

async fn mend(store: &EventStore, search: &search::Options, name: &str, stream: &str, how: Mending) -> Result<(), Box<dyn Error>> {
    let shop = || Shop::new(store.clone(), command_api::Settings::default());
    let Mended { events, parked_again } = match name {
        process::NAME => process::mend(&shop(), stream, how).await?,
        payment_gateway::worker::NAME => payment_gateway::worker::mend(&shop(), stream, how).await?,
        search::NAME => {
            let index = search.meilisearch()?;
            search::mend(index.as_ref().map(|index| index as &dyn Index), store.pool(), stream, how).await?
        }
        name => {
            let others = [process::NAME, payment_gateway::worker::NAME, search::NAME].join(", ");
            let projection = named(name).map_err(|unknown| format!("{unknown}; besides {others}"))?;
            projections::mend::mend(store, &*projection, stream, how).await?
        }
    };
    match parked_again {
        None => {
            println!("{stream} goes on in {name}: {events} events taken");
            Ok(())
        }
        Some(bad) => {
            Err(format!("{stream} went on by {events} events and is parked again, at version {}: {}", bad.version, bad.reason).into())
        }
    }
}
