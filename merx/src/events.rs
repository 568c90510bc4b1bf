//! `merx events`: the log, one JSON event a line.

use std::{
    error::Error,
    io::{self, Write},
    time::Duration,
};

use event_schemas::StreamId;
use event_store::{
    StoredEvent,
    read::{self, Filter},
};
use sqlx::PgPool;

use crate::{Location, database::Database};

/// The most events of one read.
const PAGE: i64 = 1_000;

/// Which events to print.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Only what comes after this position.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(i64).range(0..))]
    after: i64,
    /// Only of this stream.
    #[arg(long)]
    stream: Option<StreamId>,
    /// Wait for more, until interrupted.
    #[arg(long)]
    follow: bool,
}

/// Prints the events that `options` name.
pub async fn run(location: &Location, options: Options) -> Result<(), Box<dyn Error>> {
    let database = Database::to_read(location).await?;
    let printed = tokio::select! {
        printed = print(&database, &options) => printed,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    database.close().await;
    printed
}

async fn print(database: &Database, options: &Options) -> Result<(), Box<dyn Error>> {
    let mut after = Place { position: options.after, version: 0 };
    loop {
        let page = page(&database.pool, options, &after).await?;
        let is_last = !read::is_full(&page, PAGE);
        for event in page {
            after = Place { position: event.position, version: event.version };
            if event.position <= options.after {
                continue;
            }
            let line = query_api::event_json(event)?;
            match writeln!(io::stdout().lock(), "{line}") {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
        if is_last {
            if !options.follow {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// How far has been printed.
struct Place {
    position: i64,
    version: i64,
}

async fn page(pool: &PgPool, options: &Options, after: &Place) -> Result<Vec<StoredEvent>, event_store::Error> {
    match &options.stream {
        None => read::log_page(pool, after.position, i64::MAX, &Filter::default(), PAGE).await,
        Some(stream) => read::stream_page(pool, stream.as_str(), after.version + 1, i64::MAX, PAGE).await,
    }
}
