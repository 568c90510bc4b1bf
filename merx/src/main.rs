//! The one binary of Merx: a server of any roles, the importers, and a window on the log.

mod database;
mod events;
mod import;
mod import_command;
mod kafka;
mod postgres;
mod projections_command;
mod publish_command;
mod search;
mod serve;
mod tending;
mod verify;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt, util::SubscriberInitExt};

/// The allocator of the system keeps much of what was freed, once for each thread: `docs/decisions/0024-bounded-in-bytes.md`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The version of this program, as databases remember it.
pub const VERSION: &str =
    if cfg!(feature = "newer-events") { concat!(env!("CARGO_PKG_VERSION"), "+newer-events") } else { env!("CARGO_PKG_VERSION") };

/// An event-sourced commerce engine.
#[derive(Debug, Parser)]
#[command(name = "merx", version, about)]
struct Arguments {
    #[command(flatten)]
    location: Location,
    #[command(subcommand)]
    command: Command,
}

/// Location of the shop's log: a database server's, or a private one under the data directory. Taken at any place of the command line.
#[derive(Debug, Clone, clap::Args)]
struct Location {
    /// The folder of the private Postgres cluster, where DATABASE_URL is not set.
    #[arg(long, env = "MERX_DATA_DIR", default_value = ".merx", global = true)]
    data_dir: PathBuf,
    /// The database of a Postgres server of one's own.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the HTTP API.
    Serve(serve::Options),
    /// Import orders or products from a file, with the server running or not.
    Import(import_command::Options),
    /// Look after the read models and the other consumers of the log.
    Projections(projections_command::Options),
    /// Send again to Kafka what has been published, for topics that were lost.
    Publish(publish_command::Options),
    /// Print the log, one JSON event a line.
    Events(events::Options),
    /// Read the whole log and say whether it is whole: guarded, without gaps, every hash and digest right, no checkpoint beyond its end.
    Verify(verify::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let location = &arguments.location;
    let outcome = runtime.block_on(async {
        match arguments.command {
            Command::Serve(options) => serve::run(location, options).await.map_err(|error| failed(&error)),
            Command::Import(options) => import_command::run(location, options).await.map_err(|error| failed(&*error)),
            Command::Projections(options) => projections_command::run(location, options).await.map_err(|error| failed(&*error)),
            Command::Publish(options) => publish_command::run(location, options).await.map_err(|error| failed(&*error)),
            Command::Events(options) => events::run(location, options).await.map_err(|error| failed(&*error)),
            Command::Verify(options) => verify::run(location, &options).await.map_err(|error| failed(&*error)),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome.err().unwrap_or(ExitCode::SUCCESS)
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("merx: {error}");
    ExitCode::FAILURE
}

/// Logs go to stderr: `RUST_LOG` says how much, `MERX_LOG=json` makes them JSON.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=error,meilisearch_sdk=off"));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    if std::env::var("MERX_LOG").is_ok_and(|format| format == "json") {
        registry.with(layer.json()).init();
    } else {
        registry.with(layer.with_target(false)).init();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_directory_is_taken_at_any_place_of_every_command() {
        for line in [
            "serve",
            "serve --role query-api",
            "import catalogue FILE",
            "import catalogue FILE --delimiter ;",
            "import online-retail FILE",
            "import online-retail --stock 5 FILE",
            "projections",
            "projections list",
            "projections rebuild NAME",
            "projections retry NAME STREAM",
            "projections skip NAME STREAM",
            "publish --from 1",
            "events",
            "events --after 5",
            "verify",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            let mut places = 0;
            for place in 0..=words.len() {
                // What belongs to an option must follow it.
                if place > 0 && words[place - 1].starts_with("--") {
                    continue;
                }
                let (before, after) = words.split_at(place);
                let told =
                    [&["merx"], before, &["--data-dir", "/elsewhere", "--database-url", "postgres://nobody@nowhere/x"], after].concat();
                let arguments = Arguments::try_parse_from(&told).unwrap_or_else(|error| panic!("{told:?}: {error}"));
                assert_eq!(arguments.location.data_dir, PathBuf::from("/elsewhere"), "{told:?}");
                assert_eq!(arguments.location.database_url.as_deref(), Some("postgres://nobody@nowhere/x"), "{told:?}");
                places += 1;
            }
            assert!(places >= 2, "{line}");
        }
    }
}
