//! The Postgres that is measured on: a throw-away cluster with `fsync` on, or one that is given.

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix::unistd::{User, geteuid};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, postgres::PgConnectOptions};
use tempfile::TempDir;

use crate::error::Error;

/// The same for the baseline and for Merx, and what `merx serve` gives its own cluster.
const SETTINGS: &str = "
listen_addresses = ''
max_connections = 200
fsync = on
synchronous_commit = on
full_page_writes = on
shared_buffers = 128MB
effective_cache_size = 1GB
work_mem = 16MB
jit = off
random_page_cost = 1.1
wal_level = minimal
max_wal_senders = 0
wal_buffers = 16MB
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 10min
autovacuum_naptime = 30s
autovacuum_vacuum_insert_scale_factor = 0.1
";

/// Where packages put the servers, a folder for each version.
const PACKAGED: &str = "/usr/lib/postgresql";

/// A Postgres, and the databases that were made on it.
pub struct Server {
    options: PgConnectOptions,
    cluster: Option<Cluster>,
}

impl Server {
    /// Connects to the Postgres at `url`, or starts one.
    pub async fn start(url: Option<&str>) -> Result<Self, Error> {
        let (options, cluster) = if let Some(url) = url {
            (url.parse()?, None)
        } else {
            let cluster = Cluster::start()?;
            (PgConnectOptions::new().socket(cluster.data()).username("postgres").database("postgres"), Some(cluster))
        };
        let server = Self { options: options.disable_statement_logging(), cluster };
        let version: String = sqlx::query_scalar("show server_version").fetch_one(&mut server.connect().await?).await?;
        eprintln!("Postgres {version}, {}", if server.cluster.is_some() { "a throw-away cluster" } else { "as given" });
        Ok(server)
    }

    /// A new, empty database.
    pub async fn database(&self, name: &str) -> Result<PgConnectOptions, Error> {
        let mut connection = self.connect().await?;
        let name = database_name(name);
        sqlx::query(AssertSqlSafe(format!("create database {name}"))).execute(&mut connection).await?;
        Ok(self.options.clone().database(&name))
    }

    /// The URL of a database of [`Self::database`], for other programs.
    pub fn url(&self, name: &str) -> String {
        self.options.clone().database(&database_name(name)).to_url_lossy().to_string()
    }

    /// Writes out what turns before have left, so that each turn begins alike.
    pub async fn checkpoint(&self) -> Result<(), Error> {
        sqlx::query("checkpoint").execute(&mut self.connect().await?).await?;
        Ok(())
    }

    /// The roots of the processes that work in a benchmark: this one and its Postgres. `None` where that is not its own.
    pub fn processes(&self) -> Option<Vec<u32>> {
        let cluster = self.cluster.as_ref()?;
        Some(vec![std::process::id(), cluster.pid])
    }

    /// Removes what was made. Failures are told and change nothing about what was measured.
    pub async fn stop(self) {
        if self.cluster.is_some() {
            return;
        }
        if let Err(error) = self.drop_databases().await {
            eprintln!("bench: dropping its databases: {error}");
        }
    }

    async fn drop_databases(&self) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        let prefix = database_name("");
        let names: Vec<String> = sqlx::query_scalar("select datname::text from pg_database where starts_with(datname, $1)")
            .bind(prefix)
            .fetch_all(&mut connection)
            .await?;
        for name in names {
            sqlx::query(AssertSqlSafe(format!("drop database {name} with (force)"))).execute(&mut connection).await?;
        }
        Ok(())
    }

    async fn connect(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect_with(&self.options).await?)
    }
}

fn database_name(name: &str) -> String {
    format!("bench_{}_{name}", std::process::id())
}

/// A cluster in a folder of its own, which is stopped and removed when this is dropped.
struct Cluster {
    folder: TempDir,
    binaries: PathBuf,
    account: Option<User>,
    pid: u32,
}

impl Cluster {
    fn start() -> Result<Self, Error> {
        let folder = TempDir::with_prefix("merx-bench-").map_err(|error| Error::io("making a temporary folder", error))?;
        let account = account()?;
        if let Some(user) = &account {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))
                .map_err(|error| Error::io("giving the folder away", error))?;
        }
        let mut cluster = Self { folder, binaries: binaries()?, account, pid: 0 };
        let data = cluster.data();
        cluster
            .run("initdb", |command| command.arg("-D").arg(&data).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale"]))?;
        let mut settings = format!("{SETTINGS}unix_socket_directories = '{}'\n", data.display());
        if cluster.knows_lz4() {
            settings += "wal_compression = lz4\n";
        }
        let path = data.join("postgresql.auto.conf");
        fs::write(&path, settings).map_err(|error| Error::io(format!("writing {}", path.display()), error))?;
        cluster.run("pg_ctl", |command| command.arg("-D").arg(&data).arg("-l").arg(data.join("log")).args(["-w", "start"]))?;
        cluster.pid = pid_of(&data)?;
        Ok(cluster)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.env("LC_ALL", "C").stdin(Stdio::null()).current_dir("/");
        if let Some(user) = &self.account {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command
    }

    /// Runs `program` to its end. What it says goes into a file: the server inherits it, and a pipe would stay open.
    fn run(&self, program: &str, with: impl FnOnce(&mut Command) -> &mut Command) -> Result<(), Error> {
        let path = self.folder.path().join(format!("{program}.log"));
        let failed = |error| Error::io(format!("running {program}"), error);
        let said = fs::File::create(&path).map_err(failed)?;
        let mut command = self.command(program);
        command.stdout(said.try_clone().map_err(failed)?).stderr(said);
        if with(&mut command).status().map_err(failed)?.success() {
            return Ok(());
        }
        let why = [path, self.data().join("log")].iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
        Err(Error::Program { program: program.into(), why })
    }

    /// Some packages build Postgres without it, and then it would not start.
    fn knows_lz4(&self) -> bool {
        let asked =
            self.command("postgres").arg("-D").arg(self.data()).args(["-C", "wal_compression", "-c", "wal_compression=lz4"]).output();
        asked.is_ok_and(|Output { status, .. }| status.success())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.pid > 0 {
            let data = self.data();
            if let Err(error) = self.run("pg_ctl", |command| command.arg("-D").arg(data).args(["-w", "-m", "immediate", "stop"])) {
                eprintln!("bench: {error}");
            }
        }
    }
}

/// Postgres will not be root: it runs as another user then.
fn account() -> Result<Option<User>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    user.map(Some)
        .ok_or_else(|| Error::Program { program: "postgres".into(), why: "it can't be run as root, and there is no user for it".into() })
}

/// The folder of the newest Postgres: of `MERX_POSTGRES_BIN`, of the packages, else of the path.
fn binaries() -> Result<PathBuf, Error> {
    if let Some(folder) = std::env::var_os("MERX_POSTGRES_BIN") {
        return Ok(folder.into());
    }
    let versions = fs::read_dir(PACKAGED).into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let packaged = newest.map(|version| Path::new(PACKAGED).join(version.to_string()).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = packaged.into_iter().chain(std::env::split_paths(&path));
    folders
        .find(|folder| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file())
        .ok_or_else(|| Error::Program { program: "initdb".into(), why: "Postgres is not installed, or set MERX_POSTGRES_BIN".into() })
}

fn pid_of(data: &Path) -> Result<u32, Error> {
    let path = data.join("postmaster.pid");
    let text = fs::read_to_string(&path).map_err(|error| Error::io(format!("reading {}", path.display()), error))?;
    text.lines()
        .next()
        .and_then(|line| line.trim().parse().ok())
        .ok_or_else(|| Error::Program { program: "postgres".into(), why: format!("{} has no process id", path.display()) })
}
