//! A Postgres of the campaign's own, which may be restarted, and whose disk may be filled.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::process::Command;

/// The size of the disk that may be filled. Its image has holes: it takes of the real disk what Postgres writes.
const VOLUME_BYTES: u64 = 3 << 30;
/// What `fallocate` leaves for the bookkeeping of the file system.
const FILL_STEPS_BYTES: [u64; 3] = [16 << 20, 256 << 10, 4 << 10];
const UP_LIMIT: Duration = Duration::from_mins(1);
/// Write-ahead log that is kept: little, so that a full disk soon lacks room for it.
const MAX_WAL_SIZE: &str = "128MB";

/// Ends with all that is in it.
pub struct Postgres {
    /// Where it is reached directly.
    pub url: String,
    directory: PathBuf,
    volume: Option<Volume>,
    folder: TempDir,
}

impl Postgres {
    pub async fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        // As root Postgres runs as another user, which must be able to come here.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its permissions");
        let volume = Volume::mount(folder.path()).await;
        if let Err(reason) = &volume {
            crate::database::skipped(&format!("a file system of its own to fill Postgres's disk: {reason}"));
        }
        let volume = volume.ok();
        let directory = volume.as_ref().map_or_else(|| folder.path().to_owned(), |volume| volume.path.clone()).join("postgres");
        let mut postgres = Self { url: String::new(), directory, volume, folder };
        assert!(postgres.script("start", &[]).await, "Postgres does not start");
        let written = fs::read_to_string(postgres.directory.join("url")).expect("the URL of Postgres");
        written.trim().clone_into(&mut postgres.url);
        let mut connection = postgres.connect().await;
        let settings = format!("alter system set max_wal_size = '{MAX_WAL_SIZE}'; select pg_reload_conf()");
        for statement in settings.split("; ") {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut connection).await.expect("a setting");
        }
        postgres
    }

    /// A standby of it that has all that was committed before.
    pub async fn standby(&self) -> Standby {
        let directory = self.folder.path().join("standby");
        let output = Command::new("bash")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/throwaway-postgres.sh"))
            .args(["standby".as_ref(), directory.as_os_str(), self.directory.as_os_str()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.folder.path().join("standby.log")).expect("a log"))
            .status()
            .await
            .expect("bash");
        assert!(output.success(), "{}", fs::read_to_string(self.folder.path().join("standby.log")).unwrap_or_default());
        let url = fs::read_to_string(directory.join("url")).expect("the URL of the standby");
        Standby { url: url.trim().to_owned(), directory }
    }

    pub fn port(&self) -> u16 {
        let address = self.url.rsplit_once(':').and_then(|(_, rest)| rest.split_once('/')).expect("a port in the URL").0;
        address.parse().expect("a port")
    }

    /// The URL through another port.
    pub fn url_through(&self, port: u16) -> String {
        self.url.replace(&format!(":{}/", self.port()), &format!(":{port}/"))
    }

    /// A connection past the proxy, as soon as there is one to be had.
    pub async fn connect(&self) -> PgConnection {
        let limit = Instant::now() + UP_LIMIT;
        loop {
            match PgConnection::connect(&self.url).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < limit, "Postgres does not answer: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// As a crash of the machine would: nothing is finished, and what was not on disk is gone.
    pub async fn restart_immediately(&self) {
        assert!(self.script("ctl", &["restart", "--mode", "immediate", "--log", &self.log()]).await, "Postgres does not restart");
    }

    /// Starts it where it gave up.
    pub async fn see_that_it_runs(&self) {
        let limit = Instant::now() + UP_LIMIT;
        while PgConnection::connect(&self.url).await.is_err() {
            assert!(Instant::now() < limit, "Postgres does not come back");
            if !self.script("ctl", &["status"]).await {
                self.script("ctl", &["start", "--log", &self.log()]).await;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub fn can_be_filled(&self) -> bool {
        self.volume.is_some()
    }

    /// Takes the last byte of its disk.
    pub async fn fill_disk(&self) {
        let Some(volume) = &self.volume else { panic!("there is no disk to fill") };
        for (number, step) in FILL_STEPS_BYTES.into_iter().enumerate() {
            // Each file is as large as there is room for, down to a step; so several of them leave less than the smallest step.
            let mut piece = VOLUME_BYTES;
            let mut part = 0;
            while piece >= step {
                let file = volume.path.join(format!("ballast-{number}-{part}"));
                if succeeds("fallocate", &["--length", &piece.to_string(), &file.display().to_string()]).await {
                    part += 1;
                } else {
                    let _ = fs::remove_file(&file);
                    piece /= 2;
                }
            }
        }
    }

    /// Gives it back.
    pub fn free_disk(&self) {
        let Some(volume) = &self.volume else { return };
        for entry in fs::read_dir(&volume.path).expect("the disk") {
            let path = entry.expect("an entry").path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ballast-")) {
                fs::remove_file(path).expect("no ballast");
            }
        }
    }

    fn log(&self) -> String {
        self.directory.join("cluster/server.log").display().to_string()
    }

    async fn script(&self, action: &str, arguments: &[&str]) -> bool {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/throwaway-postgres.sh");
        let mut command = Command::new("bash");
        command.arg(script).arg(action).arg(&self.directory).args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        // Postgres would keep a pipe of ours open.
        let told = fs::File::options().create(true).append(true).open(self.folder.path().join("script.log")).expect("a log");
        command.stderr(told).status().await.expect("bash").success()
    }
}

/// A server that follows another and may only be read.
pub struct Standby {
    url: String,
    directory: PathBuf,
}

impl Standby {
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        if !stop(&self.directory) {
            eprintln!("the standby in {} did not stop", self.directory.display());
        }
    }
}

/// Stops what was started in `directory`; whether that went well.
fn stop(directory: &Path) -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/throwaway-postgres.sh");
    let mut command = std::process::Command::new("bash");
    command.arg(script).arg("stop").arg(directory).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the log of Postgres ends:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        self.free_disk();
        if !stop(&self.directory) {
            eprintln!("Postgres in {} did not stop", self.directory.display());
        }
    }
}

/// A file that is mounted as a file system, so that it can be full.
struct Volume {
    path: PathBuf,
}

impl Volume {
    async fn mount(folder: &Path) -> Result<Self, String> {
        let (image, path) = (folder.join("disk.image"), folder.join("disk"));
        fs::create_dir(&path).map_err(|error| error.to_string())?;
        fs::File::create(&image).and_then(|file| file.set_len(VOLUME_BYTES)).map_err(|error| error.to_string())?;
        let (image, place) = (image.display().to_string(), path.display().to_string());
        // No blocks that only root may use: the server runs as another user, the ballast is root's.
        let made: [(&str, &[&str]); 2] = [("mkfs.ext4", &["-q", "-F", "-m", "0", &image]), ("mount", &["-o", "loop", &image, &place])];
        for (program, arguments) in made {
            if !succeeds(program, arguments).await {
                return Err(format!("`{program} {}` failed", arguments.join(" ")));
            }
        }
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(|error| error.to_string())?;
        Ok(Self { path })
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("--lazy").arg(&self.path).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} is still mounted", self.path.display());
        }
    }
}

async fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
