//! Which Postgres servers this machine has.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Error;
use super::directory::Directory;

const OLDEST_MAJOR: u32 = 15;

/// Where packages put the servers; `*` is a version.
const FOLDERS: [&str; 5] = [
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",
    "/usr/local/pgsql/bin",
];

/// `postgres` and `initdb` of one version, in one folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Binaries {
    pub major: u32,
    minor: u32,
    folder: PathBuf,
}

impl Binaries {
    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    fn of(folder: &Path) -> Option<Self> {
        let postgres = folder.join("postgres").canonicalize().ok()?;
        let folder = postgres.parent()?.to_owned();
        if !folder.join("initdb").is_file() {
            return None;
        }
        let output = Command::new(&postgres).arg("--version").output().ok()?;
        let (major, minor) = version(str::from_utf8(&output.stdout).ok()?)?;
        (major >= OLDEST_MAJOR).then_some(Self { major, minor, folder })
    }
}

/// All that were found, never none.
#[derive(Debug)]
pub(super) struct Found {
    newest: Binaries,
    others: BTreeSet<Binaries>,
}

impl Found {
    pub fn newest(&self) -> &Binaries {
        &self.newest
    }

    /// Those of the version that made the cluster; no other can open it.
    pub fn for_cluster(&self, cluster: &Directory) -> Result<&Binaries, Error> {
        let newest_first = || std::iter::once(&self.newest).chain(self.others.iter().rev());
        newest_first().find(|b| b.major == cluster.major).ok_or_else(|| Error::OtherVersion {
            path: cluster.path.clone(),
            cluster: cluster.major,
            found: newest_first().map(|b| b.major.to_string()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// Looks in MERX_POSTGRES_BIN alone if that is set, else in PATH and where packages put them.
pub(super) fn find() -> Result<Found, Error> {
    let (folders, searched) = match std::env::var_os("MERX_POSTGRES_BIN") {
        Some(folder) => (vec![PathBuf::from(&folder)], format!("{} (MERX_POSTGRES_BIN)", folder.display())),
        None => (packaged().chain(on_path()).collect(), format!("PATH, {}", FOLDERS.join(", "))),
    };
    let mut others: BTreeSet<Binaries> = folders.iter().filter_map(|folder| Binaries::of(folder)).collect();
    let newest = others.pop_last().ok_or(Error::NoBinaries { searched })?;
    Ok(Found { newest, others })
}

fn on_path() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect::<Vec<_>>().into_iter()
}

fn packaged() -> impl Iterator<Item = PathBuf> {
    FOLDERS.iter().flat_map(|pattern| match pattern.split_once('*') {
        None => vec![PathBuf::from(pattern)],
        Some((before, after)) => {
            let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
            let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
            let versions = entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()));
            versions.map(|entry| entry.path().join(after.trim_start_matches('/'))).collect()
        }
    })
}

/// `postgres (PostgreSQL) 15.12 (Debian 15.12-1)`, `postgres (PostgreSQL) 18beta2`.
fn version(text: &str) -> Option<(u32, u32)> {
    let number = text.strip_prefix("postgres (PostgreSQL) ")?;
    let (major, rest) = number.split_at(number.find(|c: char| !c.is_ascii_digit()).unwrap_or(number.len()));
    let minor = rest.strip_prefix('.').map_or("0", |rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or("0"));
    Some((major.parse().ok()?, minor.parse().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_read_as_every_distribution_writes_them() {
        use super::version;
        assert_eq!(version("postgres (PostgreSQL) 15.12 (Debian 15.12-0+deb12u2)\n"), Some((15, 12)));
        assert_eq!(version("postgres (PostgreSQL) 17.4\n"), Some((17, 4)));
        assert_eq!(version("postgres (PostgreSQL) 19devel\n"), Some((19, 0)));
        assert_eq!(version("postgres (PostgreSQL) 18beta2"), Some((18, 0)));
        assert_eq!(version("BusyBox"), None);
    }
}
