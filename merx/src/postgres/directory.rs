//! The data directory and the cluster in it.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::account::Account;
use super::binaries::Binaries;
use super::{Error, ROLE};

const CLUSTER: &str = "postgres";
/// A cluster in the making. It gets its name by one rename when it is whole, so whatever bears this one is a leftover.
const UNFINISHED: &str = "postgres.new";
/// Where root keeps clusters of data directories that the account of Postgres can't reach, such as those in root's home.
const ELSEWHERE: &str = "/var/lib/merx";

/// A whole cluster, running or not.
#[derive(Debug)]
pub(super) struct Directory {
    pub data_dir: PathBuf,
    /// Canonical, without symbolic links.
    pub path: PathBuf,
    pub account: Account,
    /// The version of Postgres that made it.
    pub major: u32,
}

/// Whether `data_dir` has a cluster.
pub(super) fn exists(data_dir: &Path) -> bool {
    data_dir.join(CLUSTER).symlink_metadata().is_ok()
}

/// Creates `data_dir` if need be; answers its canonical path. What root creates, others may pass through but not list: the
/// account that Postgres runs as has to get to the cluster.
pub(super) fn prepare(data_dir: &Path) -> Result<PathBuf, Error> {
    let absolute = std::path::absolute(data_dir).map_err(Error::io("finding", data_dir))?;
    let mut missing: Vec<&Path> = absolute.ancestors().take_while(|folder| !folder.exists()).collect();
    while let Some(folder) = missing.pop() {
        let mode = if geteuid().is_root() { 0o711 } else { 0o700 };
        match DirBuilder::new().mode(mode).create(folder) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => continue, // another process was faster
            created => created.map_err(Error::io("creating", folder))?,
        }
        fs::set_permissions(folder, Permissions::from_mode(mode)).map_err(Error::io("setting the permissions of", folder))?;
    }
    if !absolute.is_dir() {
        return Err(Error::io("creating", absolute)(std::io::Error::from(ErrorKind::NotADirectory)));
    }
    absolute.canonicalize().map_err(Error::io("finding", absolute))
}

impl Directory {
    /// The cluster of a prepared data directory, if there is one.
    pub fn open(data_dir: &Path) -> Result<Option<Self>, Error> {
        let link = data_dir.join(CLUSTER);
        if !exists(data_dir) {
            return Ok(None);
        }
        let path = link.canonicalize().map_err(Error::io("finding the cluster behind", link))?;
        let account = Account::for_cluster(&path)?;
        let parent = path.parent().unwrap_or(&path);
        if account.closed_folder(parent)?.is_some_and(|closed| closed == data_dir) {
            open_to_others(data_dir)?;
        }
        if let Some(folder) = account.closed_folder(parent)? {
            return Err(Error::Closed { account: account.name, folder, cluster: path });
        }
        let not_a_cluster = |why: String| Error::NotACluster { path: path.clone(), why };
        let version =
            fs::read_to_string(path.join("PG_VERSION")).map_err(|e| not_a_cluster(format!("its file PG_VERSION can't be read ({e})")))?;
        let major = version.trim().parse().map_err(|_| not_a_cluster(format!("PG_VERSION says {:?}", version.trim())))?;
        Ok(Some(Self { data_dir: data_dir.to_owned(), path, account, major }))
    }

    /// Notice to an operator who copies the data directory, that the shop is not in it; none where it is.
    pub fn notice(&self) -> Option<String> {
        let is_inside = self.path.starts_with(&self.data_dir);
        (!is_inside).then(|| {
            format!(
                "the shop's database is not in {}, which has only a link to it, but in {}: a backup of the data directory does not save it. \
                 Back it up with pg_dump, or copy both folders while merx is stopped",
                self.data_dir.display(),
                self.path.display()
            )
        })
    }

    /// Makes the cluster of a prepared data directory that has none.
    pub async fn make(data_dir: &Path, binaries: &Binaries) -> Result<Self, Error> {
        let account = Account::for_new_cluster()?;
        let unfinished = data_dir.join(UNFINISHED);
        discard(&unfinished)?;
        place(data_dir, &unfinished, &account)?;
        let path = unfinished.canonicalize().map_err(Error::io("finding", &unfinished))?;
        tracing::info!("making a private Postgres {} cluster in {} as user {}", binaries.major, path.display(), account.name);
        initdb(&path, binaries, &account).await?;
        let whole = data_dir.join(CLUSTER);
        fs::rename(&unfinished, &whole).map_err(Error::io("naming", &whole))?;
        File::open(data_dir).and_then(|folder| folder.sync_all()).map_err(Error::io("syncing", data_dir))?;
        let path = whole.canonicalize().map_err(Error::io("finding", &whole))?;
        Ok(Self { data_dir: data_dir.to_owned(), path, account, major: binaries.major })
    }
}

/// An empty folder for initdb, in the data directory if its account gets there, else elsewhere with a link to it.
fn place(data_dir: &Path, unfinished: &Path, account: &Account) -> Result<(), Error> {
    if account.closed_folder(data_dir)?.is_some_and(|closed| closed == data_dir) {
        open_to_others(data_dir)?;
    }
    let Some(closed) = account.closed_folder(data_dir)? else {
        DirBuilder::new().mode(0o700).create(unfinished).map_err(Error::io("creating", unfinished))?;
        return account.give(unfinished);
    };
    let elsewhere = prepare(Path::new(ELSEWHERE))?;
    if let Some(folder) = account.closed_folder(&elsewhere)? {
        return Err(Error::Closed { account: account.name.clone(), folder, cluster: elsewhere });
    }
    let folder = tempfile::Builder::new()
        .prefix("cluster-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir_in(&elsewhere)
        .map_err(Error::io("creating a folder in", &elsewhere))?;
    symlink(folder.path(), unfinished).map_err(Error::io("creating", unfinished))?;
    let folder = folder.keep();
    tracing::warn!(
        "the user {}, who runs Postgres, may not enter {}: its files go to {}, and {} is a link to them",
        account.name,
        closed.display(),
        folder.display(),
        data_dir.join(CLUSTER).display()
    );
    account.give(&folder)
}

async fn initdb(path: &Path, binaries: &Binaries, account: &Account) -> Result<(), Error> {
    // Bytewise order is the fastest, the same on every machine, and can't change under the indexes when the system is upgraded.
    // Letter case still follows Unicode where the system can.
    let mut failure = String::new();
    for ctype in ["C.UTF-8", "C"] {
        let output = account
            .command(&binaries.initdb())
            .arg("--pgdata")
            .arg(path)
            .args(["--username", ROLE, "--auth-local=peer", "--auth-host=reject", "--encoding=UTF8", "--data-checksums"])
            .args(["--locale=C", &format!("--lc-ctype={ctype}")])
            .output()
            .await
            .map_err(Error::io("running", binaries.initdb()))?;
        if output.status.success() {
            return Ok(());
        }
        failure = format!("{}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        if !failure.contains("locale") {
            break;
        }
    }
    Err(Error::Command { program: binaries.initdb(), detail: failure })
}

/// Removes what an interrupted [`Directory::make`] left.
fn discard(unfinished: &Path) -> Result<(), Error> {
    let Ok(meta) = unfinished.symlink_metadata() else { return Ok(()) };
    tracing::warn!("{} is a cluster whose making was interrupted: made again", unfinished.display());
    if meta.is_symlink() {
        let target = fs::read_link(unfinished).map_err(Error::io("reading", unfinished))?;
        if target.starts_with(ELSEWHERE) && target.is_dir() {
            fs::remove_dir_all(&target).map_err(Error::io("removing", &target))?;
        }
        return fs::remove_file(unfinished).map_err(Error::io("removing", unfinished));
    }
    fs::remove_dir_all(unfinished).map_err(Error::io("removing", unfinished))
}

/// The data directory itself is ours to open; the folders above it are not.
fn open_to_others(data_dir: &Path) -> Result<(), Error> {
    let mode = data_dir.metadata().map_err(Error::io("reading", data_dir))?.mode() & 0o7777;
    fs::set_permissions(data_dir, Permissions::from_mode(mode | 0o001)).map_err(Error::io("opening to the user of Postgres", data_dir))
}
