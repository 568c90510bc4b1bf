//! The server that is measured: `merx serve` in a folder of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    error::Error,
    http::{Connection, Request},
};

const START_LIMIT: Duration = Duration::from_mins(1);
const STOP_LIMIT: Duration = Duration::from_mins(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What would make it use something else than what it brings along.
const UNSET: [&str; 10] = [
    "DATABASE_URL",
    "KAFKA_BROKERS",
    "KAFKA_TOPIC_PREFIX",
    "KAFKA_PARTITIONS",
    "MEILI_URL",
    "MEILI_KEY",
    "MERX_LISTEN",
    "MERX_DATA_DIR",
    "MERX_PAYMENT_DEADLINE_S",
    "RUST_LOG",
];

/// A server, which is stopped and whose data is removed when this is dropped.
pub struct Merx {
    child: Child,
    address: SocketAddr,
    key: String,
    folder: TempDir,
}

impl Merx {
    /// Starts `program`, by default the `merx` beside this program, with more `arguments` and `settings`, and waits until it is ready.
    pub async fn start(program: Option<&Path>, arguments: &[&str], settings: &[(&str, &str)]) -> Result<Self, Error> {
        let program = match program {
            Some(program) => program.to_owned(),
            None => std::env::current_exe().map_err(|error| Error::io("looking for merx", error))?.with_file_name("merx"),
        };
        let folder = TempDir::with_prefix("merx-bench-").map_err(|error| Error::io("making a temporary folder", error))?;
        let starting = |error| Error::io(format!("starting {} (cargo build --release -p merx makes it)", program.display()), error);
        let address = free_address().map_err(starting)?;
        let key = Uuid::now_v7().to_string();
        let said = fs::File::create(folder.path().join("merx.log")).map_err(starting)?;
        let mut command = Command::new(&program);
        for name in UNSET {
            command.env_remove(name);
        }
        command.env("MERX_RATE_LIMIT", "0").env("MERX_ADMIN_KEY", &key).stdin(Stdio::null());
        command.arg("serve").arg("--listen").arg(address.to_string()).arg("--data-dir").arg(folder.path().join("data"));
        command.args(arguments).envs(settings.iter().copied());
        command.stdout(said.try_clone().map_err(starting)?).stderr(said);
        // In a group of its own: Ctrl-C is for the benchmark, which then stops it.
        let child = command.process_group(0).spawn().map_err(starting)?;
        let mut merx = Self { child, address, key, folder };
        merx.until_ready().await?;
        Ok(merx)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A credential that may do everything.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The process that all of its processes stand below.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as an operator would, and fails unless it ends well.
    pub async fn stop(mut self) -> Result<(), Error> {
        self.terminate();
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            match self.child.try_wait().map_err(|error| Error::io("waiting for merx", error))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failed(&format!("it ended with {status}"))),
                None => sleep(LOOK_INTERVAL).await,
            }
        }
        Err(self.failed("it did not stop within a minute"))
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) -> Result<(), Error> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map(drop).map_err(|error| Error::io("killing merx", error))
    }

    async fn until_ready(&mut self) -> Result<(), Error> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            if self.is_ready().await.unwrap_or(false) {
                return Ok(());
            }
            sleep(LOOK_INTERVAL).await;
        }
        Err(self.failed("it was not ready within a minute"))
    }

    async fn is_ready(&self) -> Result<bool, Error> {
        let mut connection = Connection::open(self.address).await?;
        let answer = connection.send(Request { method: "GET", path: "/readyz", bearer: None, body: None, min_position: None }).await?;
        Ok(answer.status == 200)
    }

    fn failed(&self, why: &str) -> Error {
        let log = fs::read_to_string(self.folder.path().join("merx.log")).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().take(20).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        Error::Program { program: "merx serve".into(), why: format!("{why}\n{}", last.join("\n")) }
    }

    fn terminate(&self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
}

impl Drop for Merx {
    fn drop(&mut self) {
        let asked = Instant::now();
        let runs = |child: &mut Child| child.try_wait().is_ok_and(|status| status.is_none());
        if runs(&mut self.child) {
            self.terminate();
        }
        while asked.elapsed() < STOP_LIMIT && runs(&mut self.child) {
            std::thread::sleep(LOOK_INTERVAL);
        }
    }
}

/// A port that nobody listens on now.
fn free_address() -> Result<SocketAddr, std::io::Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}
