//! The cluster's settings, written before every start, so that a newer merx changes them.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::binaries::Binaries;
use super::directory::Directory;
use super::socket::PORT;
use super::{Error, ROLE};

/// Who the kernel says calls, and who that is in the database.
const MAP: &str = "merx";

/// Writes the settings; answers whether they are others than before.
pub(super) async fn write(cluster: &Directory, binaries: &Binaries) -> Result<bool, Error> {
    let before = fs::read_to_string(cluster.path.join("postgresql.conf")).unwrap_or_default();
    let compression = if knows_lz4(cluster, binaries).await? { "lz4" } else { "on" };
    let settings = settings(compression);
    let changed = before != settings;
    if changed {
        replace(cluster, "postgresql.conf", &settings)?;
    }
    // The folder of the socket lets in the account and root only; this says the same again.
    replace(cluster, "pg_hba.conf", &format!("local all,replication all peer map={MAP}\n"))?;
    replace(cluster, "pg_ident.conf", &format!("{MAP} root {ROLE}\n{MAP} \"{}\" {ROLE}\n", cluster.account.name))?;
    Ok(changed)
}

/// Some packages build Postgres without it, and then it would not start.
async fn knows_lz4(cluster: &Directory, binaries: &Binaries) -> Result<bool, Error> {
    let postgres = binaries.postgres();
    let output = cluster
        .account
        .command(&postgres)
        .arg("-D")
        .arg(&cluster.path)
        .args(["-C", "wal_compression", "-c", "wal_compression=lz4"])
        .output();
    Ok(output.await.map_err(Error::io("running", postgres))?.status.success())
}

/// A new file under the old name. It is never opened where another account could have put a link.
fn replace(cluster: &Directory, name: &str, text: &str) -> Result<(), Error> {
    let new = cluster.path.join(format!("{name}.new"));
    let path = cluster.path.join(name);
    create_for(cluster, &new)?.write_all(text.as_bytes()).map_err(Error::io("writing", &new))?;
    fs::rename(&new, &path).map_err(Error::io("writing", path))
}

/// An empty file at `path` that the account of Postgres owns.
pub(super) fn create_for(cluster: &Directory, path: &Path) -> Result<fs::File, Error> {
    let _ = fs::remove_file(path); // most often there is none; any other failure shows in the next line
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path).map_err(Error::io("creating", path))?;
    cluster.account.give(path)?;
    Ok(file)
}

fn settings(wal_compression: &str) -> String {
    format!(
        "# Written by merx before each start: changes here are lost. Put yours into local.conf beside this file.

# Only a socket in this folder, see pg_hba.conf. The port is no more than a part of the socket's name.
listen_addresses = ''
unix_socket_directories = '.'
unix_socket_permissions = 0700
port = {PORT}
max_connections = 100
cluster_name = 'merx'

# What is acknowledged is on disk.
fsync = on
synchronous_commit = on
full_page_writes = on

# A laptop with two cores and other things to do.
shared_buffers = 128MB
effective_cache_size = 1GB
work_mem = 16MB
maintenance_work_mem = 128MB
huge_pages = try
jit = off
random_page_cost = 1.1
effective_io_concurrency = 0
max_worker_processes = 4
max_parallel_workers_per_gather = 1

# Enough for pg_basebackup, which copies the cluster without holding a snapshot.
wal_level = replica
max_wal_senders = 4

# Checkpoints seldom enough to pass unnoticed, often enough that recovery takes less than a minute.
wal_compression = {wal_compression}
wal_buffers = 16MB
max_wal_size = 2GB
min_wal_size = 256MB
checkpoint_timeout = 10min
checkpoint_completion_target = 0.9

# The log is only ever added to: vacuum comes for its new rows, to freeze them early and in small pieces. Read models are small
# and change all the time: they are kept from growing.
autovacuum = on
autovacuum_max_workers = 2
autovacuum_naptime = 30s
autovacuum_vacuum_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1

# Seven files in log/, one for each day of the week; a new week writes over them.
log_destination = 'stderr'
logging_collector = on
log_directory = 'log'
log_filename = 'postgres-%a.log'
log_truncate_on_rotation = on
log_rotation_age = 1d
log_rotation_size = 0
log_line_prefix = '%m [%p] '
log_checkpoints = off

timezone = 'UTC'
log_timezone = 'UTC'
datestyle = 'iso, ymd'
default_text_search_config = 'pg_catalog.simple'

include_if_exists = 'local.conf'
"
    )
}
