//! The Apache Kafka that is measured on: a throw-away one of `script/kafka`.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::error::Error;

/// A broker, which is stopped and whose data is removed when this is dropped.
pub struct Kafka {
    /// Where it listens.
    pub brokers: String,
    directory: PathBuf,
    _folder: TempDir,
}

impl Kafka {
    /// Starts one.
    pub fn start() -> Result<Self, Error> {
        let folder = TempDir::with_prefix("merx-bench-kafka-").map_err(|error| Error::io("making a temporary folder", error))?;
        let directory = folder.path().join("kafka");
        let output = script("start", &directory).output().map_err(|error| Error::io("running script/kafka", error))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let brokers = said.trim().strip_prefix("KAFKA_BROKERS=").filter(|_| output.status.success());
        let why = || Error::Program { program: "script/kafka".into(), why: String::from_utf8_lossy(&output.stderr).into_owned() };
        Ok(Self { brokers: brokers.ok_or_else(why)?.to_owned(), directory, _folder: folder })
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if !script("stop", &self.directory).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            eprintln!("bench: Kafka in {} did not stop", self.directory.display());
        }
    }
}

fn script(action: &str, directory: &Path) -> Command {
    let mut command = Command::new("bash");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../script/kafka")).arg(action).arg(directory).stdin(Stdio::null());
    command
}
