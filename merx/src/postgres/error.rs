use std::path::PathBuf;

/// Why there is no private cluster: what, where, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "no Postgres server of version 15 or newer found in {searched}. Install one (Debian, Ubuntu: `apt-get install postgresql`; \
         Fedora: `dnf install postgresql-server`; macOS: `brew install postgresql@17`), name the folder of `postgres` and `initdb` in \
         MERX_POSTGRES_BIN, or set DATABASE_URL to use a running server"
    )]
    NoBinaries { searched: String },

    #[error(
        "the cluster in {} was made by Postgres {cluster}, and only {found} was found. Install Postgres {cluster} (Debian: \
         `postgresql-{cluster}`), or dump it there and restore it into a new data directory", path.display()
    )]
    OtherVersion { path: PathBuf, cluster: u32, found: String },

    #[error("{} is not a Postgres cluster: {why}. Move it away to start with an empty shop", path.display())]
    NotACluster { path: PathBuf, why: String },

    #[error("there is no shop in {}: start one with `merx serve`, or name its folder with --data-dir or MERX_DATA_DIR", data_dir.display())]
    NoCluster { data_dir: PathBuf },

    #[error(
        "Postgres runs as `{account}`, which may not enter {}, a folder above the cluster {}. Let it pass (`chmod o+x {}`), or move the \
         data directory", folder.display(), cluster.display(), folder.display()
    )]
    Closed { account: String, folder: PathBuf, cluster: PathBuf },

    #[error("the cluster in {} belongs to {owner}: run merx as that user or as root, or use another --data-dir", path.display())]
    NotOurs { path: PathBuf, owner: String },

    #[error("Postgres can't run as {who}: {why}")]
    NoAccount { who: String, why: &'static str },

    #[error("another merx server{} runs on {}: stop it first, or use another --data-dir", pid.map(|p| format!(" (pid {p})")).unwrap_or_default(), data_dir.display())]
    Locked { data_dir: PathBuf, pid: Option<i32> },

    #[error("another process has been starting or stopping the database in {} for {waited_s} seconds; try again when it is done", data_dir.display())]
    Busy { data_dir: PathBuf, waited_s: u64 },

    #[error("{} failed: {detail}", program.display())]
    Command { program: PathBuf, detail: String },

    #[error("Postgres did not start on {} ({status}). Its log ends:\n{log}", path.display())]
    DidNotStart { path: PathBuf, status: String, log: String },

    #[error(
        "Postgres on {} does not answer after {waited_s} seconds: {why}. It was left running; if it is recovering, start again in a \
         while. Its log is in {}", path.display(), path.join("log").display()
    )]
    NoAnswer { path: PathBuf, waited_s: u64, why: String },

    #[error("Postgres (pid {pid}) on {} has not stopped after {waited_s} seconds and was left to it", path.display())]
    DidNotStop { path: PathBuf, pid: i32, waited_s: u64 },

    #[error("{doing} the private cluster: {source}")]
    Database { doing: &'static str, source: sqlx::Error },

    #[error("{doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
}

impl Error {
    /// For `map_err`: what was being done, and to what.
    pub(super) fn io<E: Into<std::io::Error>>(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        move |source| Self::Io { doing, path: path.into(), source: source.into() }
    }
}
