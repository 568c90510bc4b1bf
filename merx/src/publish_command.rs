//! `merx publish`: what has been published is sent again, for topics that were lost.

use std::{error::Error, time::Duration};

use command_api::{Shop, handler::Context, shop::now};
use domain::projection::Command;
use event_store::{
    kafka::publisher::{
        self,
        again::{self, Progress},
    },
    lease,
};
use sqlx::PgPool;
use tokio::time::Instant;

use crate::{Location, database::Database, import::progress, projections_command::operator, tending};

/// Time between two looks at how far it has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// The longest that a server with the role publisher is waited for.
const PUBLISHER_LIMIT: Duration = Duration::from_secs(15);

/// What to send again.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// The first event to send again; 1 is the whole log.
    #[arg(long, value_name = "POSITION", value_parser = clap::value_parser!(i64).range(1..))]
    from: i64,
}

/// Has the server that publishes send again what `options` name, beside what is new, and shows how far it is.
pub async fn run(location: &Location, options: Options) -> Result<(), Box<dyn Error>> {
    let database = Database::existing(location).await?;
    let done = send(&database, options.from).await;
    database.close().await;
    done
}

async fn send(database: &Database, from: i64) -> Result<(), Box<dyn Error>> {
    let pool = &database.pool;
    again::require_published(pool, from).await?;
    let shop = Shop::new(database.log().await?, command_api::Settings::default());
    tending::record(&shop, publisher::NAME, &Command::Publish { from }, &Context::new(now(), operator())).await?;
    publisher::send_again(pool, from).await?;
    let Some(asked) = again::progress(pool).await? else { return Err("what is sent again is not known any more".into()) };
    tokio::select! {
        watched = watch(pool, asked) => watched,
        _ = tokio::signal::ctrl_c() => {
            let position = again::stop(pool, asked.request).await?.unwrap_or(asked.position);
            Err(format!("interrupted: sent again up to position {position}; `merx publish --from {}` goes on", position + 1).into())
        }
    }
}

/// Waits until it has come to what is new.
async fn watch(pool: &PgPool, asked: Progress) -> Result<(), Box<dyn Error>> {
    let bar = progress::bar();
    bar.set_message("events");
    let mut published_at = Instant::now();
    loop {
        let Some(now) = again::progress(pool).await?.filter(|now| now.request == asked.request) else {
            return Err("somebody else has asked for other events, and these are not sent again any more".into());
        };
        let head: i64 = sqlx::query_scalar!("select position from log_head").fetch_one(pool).await?;
        bar.set_length((head - now.from + 1).max(0).unsigned_abs());
        bar.set_position((now.position - now.from + 1).unsigned_abs());
        if now.has_ended {
            bar.finish_and_clear();
            println!("{} events from position {} on were sent to Kafka again", now.position - now.from + 1, now.from);
            return Ok(());
        }
        if lease::is_held(pool, publisher::NAME).await? {
            published_at = Instant::now();
        } else if published_at.elapsed() > PUBLISHER_LIMIT {
            return Err("no server with the role publisher is at work: this is kept, and done as soon as one is".into());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}
