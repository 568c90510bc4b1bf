//! Limits on the connections of a server: their number, and how long they are kept.

use std::time::Duration;

use gateway::listener::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Files that a server needs besides its connections: those to the database, the search index, logs.
const OTHER_FILES: usize = 512;

/// The limits that may be set.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connections")]
#[group(id = "connections")] // the options it is part of have the name of this type, too
pub struct Options {
    /// The most clients that may be connected at once. Where all have asked something, one more is refused with 503; an idle one gives up
    /// its place.
    #[arg(long, env = "MERX_MAX_CONNECTIONS", value_name = "NUMBER", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    max_connections: u32,
    /// Time that a connection is kept that asks nothing, in seconds. Longer than a load balancer in front keeps it.
    #[arg(long, env = "MERX_IDLE_TIMEOUT_S", value_name = "SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    idle_timeout_s: u64,
}

impl Options {
    /// Limits on connections, their number as far as the system lets this process have as many files.
    pub fn limits(&self) -> Limits {
        let wanted = usize::try_from(self.max_connections).unwrap_or(usize::MAX);
        let files = raise_files(wanted.saturating_add(OTHER_FILES));
        let connections = wanted.min(files.saturating_sub(OTHER_FILES).max(files / 2));
        if connections < wanted {
            tracing::warn!(wanted, connections, "fewer connections than wanted: the system lets this process open {files} files");
        }
        Limits { connections, idle: Duration::from_secs(self.idle_timeout_s), ..Limits::default() }
    }
}

/// Asks for at least `wanted` open files; how many there may be.
fn raise_files(wanted: usize) -> usize {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return usize::MAX };
    let raised = wanted.min(hard).max(soft);
    let now = if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    usize::try_from(now).unwrap_or(usize::MAX)
}
