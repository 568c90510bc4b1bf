//! Where the cluster is reached.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use tempfile::TempDir;

use super::directory::Directory;
use super::{Error, ROLE};

/// The end of the socket's name.
pub(super) const PORT: u16 = 5432;

/// What fits into a socket's address everywhere: Linux has 107 bytes, macOS 103.
const LONGEST_PATH: usize = 103;

/// The folder of the cluster's socket. Postgres names it relatively (`.`), so its path may be of any length; where it is too long for
/// an address, this process goes through a short link of its own, removed with this.
#[derive(Debug)]
pub(super) struct Socket {
    folder: PathBuf,
    _link: Option<TempDir>,
}

impl Socket {
    pub fn of(cluster: &Directory) -> Result<Self, Error> {
        let name = format!("/.s.PGSQL.{PORT}");
        if cluster.path.as_os_str().len() + name.len() <= LONGEST_PATH {
            return Ok(Self { folder: cluster.path.clone(), _link: None });
        }
        let short = Path::new("/tmp"); // TMPDIR may be long itself
        let private = Permissions::from_mode(0o700);
        let link = tempfile::Builder::new()
            .prefix("merx-")
            .permissions(private)
            .tempdir_in(short)
            .map_err(Error::io("creating a folder in", short))?;
        let folder = link.path().join("postgres");
        symlink(&cluster.path, &folder).map_err(Error::io("creating", &folder))?;
        Ok(Self { folder, _link: Some(link) })
    }

    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .socket(&self.folder)
            .port(PORT)
            .username(ROLE)
            .database(database)
            .ssl_mode(PgSslMode::Disable)
            .application_name("merx")
    }

    pub fn url(&self, database: &str) -> String {
        let escaped: String = self.folder.as_os_str().as_encoded_bytes().iter().map(|&byte| escape(byte)).collect();
        format!("postgres://{ROLE}@localhost:{PORT}/{database}?host={escaped}")
    }
}

fn escape(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}
