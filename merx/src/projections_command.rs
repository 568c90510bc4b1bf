//! `merx projections`: how far the consumers of the log have come, rebuilds, and what is done about parked streams.

use std::{error::Error, sync::Arc};

use ::search::Index;
use command_api::{Shop, handler::Context, shop::now};
use domain::projection::Command;
use event_store::{
    EventStore,
    parked::{self, Mended, Mending},
    progress,
};
use gateway::IfMatch;
use projections::Projection;
use tokio_util::sync::CancellationToken;

use crate::{
    Location,
    database::Database,
    import::progress as bar,
    search,
    tending::{self, Mender, Outcome},
};

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
        /// The stream [default: all that are parked].
        stream: Option<String>,
    },
    /// Leave out for ever the event that a stream is parked for, and go on with the stream.
    Skip {
        /// The consumer that has parked it.
        name: String,
        /// The stream.
        stream: String,
        /// Why, for whoever reads the log.
        #[arg(long)]
        reason: Option<String>,
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
        Action::Rebuild { name } => rebuild(&database.log().await?, &tending::projection(&name)?).await,
        Action::Retry { name, stream } => mend(&database.log().await?, search, &name, stream.as_deref(), Mending::Retry, None).await,
        Action::Skip { name, stream, reason } => mend(&database.log().await?, search, &name, Some(&stream), Mending::Skip, reason).await,
    }
}

/// Actor at the command line, as events say: `operator:` and the account, under sudo that of its caller.
pub fn operator() -> String {
    let (given, uid) = (std::env::var("SUDO_USER").ok().filter(|name| !name.is_empty()), nix::unistd::getuid());
    let known = || nix::unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    format!("operator:{}", given.or_else(known).unwrap_or_else(|| uid.to_string()))
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
    projections::rebuild::require_possible(store, &**projection).await?;
    let shop = Shop::new(store.clone(), command_api::Settings::default());
    tending::record(&shop, projection.name(), &Command::Rebuild, &Context::new(now(), operator())).await?;
    let bar = bar::bar();
    bar.set_message(projection.name());
    let cancelled = CancellationToken::new();
    let told = bar.clone();
    let rebuilding = projections::rebuild::rebuild(store, projection, &cancelled, move |position, head| {
        told.set_length(head.unsigned_abs());
        told.set_position(position.unsigned_abs());
    });
    tokio::pin!(rebuilding);
    let rebuilt = tokio::select! {
        rebuilt = &mut rebuilding => rebuilt,
        _ = tokio::signal::ctrl_c() => {
            cancelled.cancel();
            rebuilding.await
        }
    };
    bar.finish_and_clear();
    println!("{} was rebuilt up to position {}", projection.name(), rebuilt?);
    Ok(())
}

async fn mend(
    store: &EventStore,
    search: &search::Options,
    name: &str,
    stream: Option<&str>,
    how: Mending,
    reason: Option<String>,
) -> Result<(), Box<dyn Error>> {
    let shop = Shop::new(store.clone(), command_api::Settings::default());
    let index = if name == search::NAME { search.meilisearch()? } else { None };
    let actor = operator();
    let mender = Mender { shop: &shop, index: index.as_ref().map(|index| index as &dyn Index), actor: &actor, if_match: IfMatch(None) };
    let Some(stream) = stream else { return retry_all(&mender, name).await };
    let Mended { events, parked_again } = mender.mend(name, stream, how, reason).await?.mended;
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

async fn retry_all(mender: &Mender<'_>, name: &str) -> Result<(), Box<dyn Error>> {
    let streams = mender.parked(name).await?;
    let all = streams.len();
    let mut left = 0;
    for stream in streams {
        match mender.mend(name, &stream, Mending::Retry, None).await {
            Ok(Outcome { mended: Mended { events, parked_again: None }, .. }) => {
                println!("{stream} goes on in {name}: {events} events taken");
            }
            Ok(Outcome { mended: Mended { parked_again: Some(bad), .. }, .. }) => {
                left += 1;
                println!("{stream} is parked again in {name}, at version {}: {}", bad.version, bad.reason);
            }
            Err(tending::Error::Log(event_store::Error::NotParked { .. })) => {} // somebody else was faster
            Err(tending::Error::Log(error @ event_store::Error::StillBad { .. })) => {
                left += 1;
                println!("{error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
    if left > 0 { Err(format!("{left} of {all} streams stay parked in {name}").into()) } else { Ok(()) }
}
