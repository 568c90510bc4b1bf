//! An Apache Kafka of a test's own, which may be killed and started again on its data and port: `script/kafka` says how.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::database::skipped;

/// Ends with all that is on it.
pub struct Kafka {
    pub brokers: String,
    directory: PathBuf,
    _folder: TempDir,
}

impl Kafka {
    /// A new one; none, and a line that says so, where Java or Maven can't be had.
    pub async fn start() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let directory = folder.path().join("kafka");
        if !script("start", &directory).await {
            skipped("Apache Kafka, which script/kafka could not start");
            return None;
        }
        let written = fs::read_to_string(directory.join("brokers")).expect("its address");
        let brokers = written.trim().strip_prefix("KAFKA_BROKERS=").expect("its address").to_owned();
        Some(Self { brokers, directory, _folder: folder })
    }

    /// The variables for a listener that asks who is there: those in `file`.
    pub fn variables(&self, file: &str) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.directory.join(file)).expect("the variables");
        text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// As an operator would.
    pub async fn restart(&self) {
        assert!(script("restart", &self.directory).await, "Kafka does not restart");
    }

    /// SIGKILL.
    pub async fn kill(&self) {
        assert!(script("kill", &self.directory).await, "Kafka is not killed");
    }

    /// After it was killed.
    pub async fn start_again(&self) {
        assert!(script("start", &self.directory).await, "Kafka does not start again");
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
            let lines: Vec<_> = log.lines().collect();
            eprintln!("the log of Kafka ends:\n{}", lines[lines.len().saturating_sub(30)..].join("\n"));
        }
        if !command("stop", &self.directory).status().is_ok_and(|status| status.success()) {
            eprintln!("Kafka in {} did not stop", self.directory.display());
        }
    }
}

async fn script(action: &'static str, directory: &Path) -> bool {
    let mut command = tokio::process::Command::from(command(action, directory));
    command.status().await.expect("bash").success()
}

fn command(action: &str, directory: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/kafka")).arg(action).arg(directory);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}
