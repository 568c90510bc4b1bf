//! A private Postgres cluster under the data directory, for a shop that has no database server of its own.
//!
//! - **Who may get in.** It listens on a Unix socket inside its own folder (0700), never on a port: nobody on the network, in a
//!   container beside it or on another account can reach it, two shops on one machine can't collide, and a socket costs less CPU
//!   than loopback TCP. Postgres then asks the kernel who calls (`peer`): the account it runs as, and root. No password to keep.
//! - **Who runs it.** Postgres refuses to run as root, so root hands it to `postgres` or `nobody`; anybody else runs it as themselves.
//! - **How long it lives.** It outlives a killed server, and the next process that starts takes it over. Every process that uses it
//!   holds a shared lock; the last one to [`Cluster::stop`] shuts it down. So `merx import` may run with or without a server.

mod account;
mod binaries;
mod directory;
mod error;
mod locks;
mod process;
mod settings;
mod socket;
#[cfg(test)]
mod tests;

pub use error::Error;
pub use locks::lock;

use std::path::Path;

use nix::fcntl::Flock;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};

use directory::Directory;
use process::Postmaster;
use socket::Socket;

/// The database in the cluster that a shop lives in.
pub const DATABASE: &str = "merx";

/// The cluster's only role.
const ROLE: &str = "merx";

/// A running cluster, in use by this process. Dropping it leaves Postgres running for the next one; [`Cluster::stop`] does not.
pub struct Cluster {
    directory: Directory,
    postmaster: Postmaster,
    socket: Socket,
    user: Flock<std::fs::File>,
}

/// The cluster under `data_dir`: made if there is none, taken over if it runs, started if it doesn't. Has a database [`DATABASE`].
pub async fn start(data_dir: &Path) -> Result<Cluster, Error> {
    let data_dir = directory::prepare(data_dir)?;
    let _gate = locks::gate(&data_dir).await?;
    let user = locks::join(&data_dir).await?;
    let found = binaries::find()?;
    let directory = match Directory::open(&data_dir)? {
        Some(directory) => directory,
        None => Directory::make(&data_dir, found.newest()).await?,
    };
    let binaries = found.for_cluster(&directory)?;
    let socket = Socket::of(&directory)?;
    let changed = settings::write(&directory, binaries).await?;
    let postmaster = process::ensure_running(&directory, binaries, &socket).await?;
    let cluster = Cluster { directory, postmaster, socket, user };
    cluster.prepare(changed).await?;
    if let Some(notice) = cluster.directory.notice() {
        tracing::warn!("{notice}");
    }
    Ok(cluster)
}

/// As [`start`], but where there is no cluster yet it says so, and makes nothing.
pub async fn attach(data_dir: &Path) -> Result<Cluster, Error> {
    if !directory::exists(data_dir) {
        return Err(Error::NoCluster { data_dir: data_dir.to_owned() });
    }
    start(data_dir).await
}

/// As [`attach`], for whoever only reads: a server that runs is left as it is, and no database is made.
pub async fn visit(data_dir: &Path) -> Result<Cluster, Error> {
    if !directory::exists(data_dir) {
        return Err(Error::NoCluster { data_dir: data_dir.to_owned() });
    }
    let data_dir = directory::prepare(data_dir)?;
    let _gate = locks::gate(&data_dir).await?;
    let user = locks::join(&data_dir).await?;
    let directory = Directory::open(&data_dir)?.ok_or_else(|| Error::NoCluster { data_dir: data_dir.clone() })?;
    let found = binaries::find()?;
    let binaries = found.for_cluster(&directory)?;
    let socket = Socket::of(&directory)?;
    if !process::is_running(&directory)? {
        // Without them it would listen where others can reach it.
        settings::write(&directory, binaries).await?;
    }
    let postmaster = process::ensure_running(&directory, binaries, &socket).await?;
    Ok(Cluster { directory, postmaster, socket, user })
}

impl Cluster {
    /// How sqlx connects to `database`. Good while this `Cluster` lives.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        self.socket.options(database)
    }

    /// The same as a URL, which psql understands too.
    pub fn url(&self, database: &str) -> String {
        self.socket.url(database)
    }

    /// Stops using the cluster, and shuts it down if no other process uses it. Close the pools first: what is under way is cut off.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { directory, mut postmaster, socket, user } = self;
        let _gate = locks::gate(&directory.data_dir).await?;
        drop(user);
        let Some(_alone) = locks::alone(&directory.data_dir)? else {
            tracing::info!("another merx process uses the database in {}: left running", directory.data_dir.display());
            return Ok(());
        };
        postmaster.shut_down(&directory).await?;
        drop(socket);
        Ok(())
    }

    async fn prepare(&self, settings_changed: bool) -> Result<(), Error> {
        let failed = |doing: &'static str| move |source| Error::Database { doing, source };
        let mut admin: PgConnection = self.options("postgres").connect().await.map_err(failed("connecting to"))?;
        if settings_changed {
            sqlx::query("select pg_reload_conf()").execute(&mut admin).await.map_err(failed("reloading the settings of"))?;
        }
        let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(DATABASE)
            .fetch_one(&mut admin)
            .await
            .map_err(failed("listing the databases of"))?;
        if !exists {
            sqlx::query("create database merx").execute(&mut admin).await.map_err(failed("creating the database `merx` in"))?;
        }
        admin.close().await.map_err(failed("leaving"))
    }
}
