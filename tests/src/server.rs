//! A `merx serve` process, killed when it is dropped; where the test fails, the end of its log is printed.

use std::{
    io::Read as _,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::NamedTempFile;

use crate::client::{ADMIN_KEY, Client};

const READY_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_mins(1);
const LOG_TAIL_LINES: usize = 60;
const REVIVALS: u32 = 60;

/// The binary under test.
pub fn binary() -> PathBuf {
    if let Some(named) = std::env::var_os("MERX_BIN") {
        return PathBuf::from(named).canonicalize().unwrap_or_else(|error| panic!("MERX_BIN: {error}"));
    }
    // target/release/deps/tests-… stands beside target/release/merx.
    let own = std::env::current_exe().expect("the test's own path");
    let beside = own.ancestors().nth(3).map(|target| target.join("release/merx"));
    let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/release/merx");
    let found = beside.into_iter().chain([usual]).find(|path| path.is_file());
    found.expect("there is no merx to test: build it with `cargo build --release -p merx`, or name one in MERX_BIN")
}

/// `merx` with nothing of the caller's settings, and with those of a test.
pub fn merx(arguments: &[&str]) -> Command {
    merx_of(&binary(), arguments)
}

/// The most resident memory that `process` has had so far, in bytes; none where it has ended.
pub fn most_resident_bytes(process: &Child) -> Option<u64> {
    memory_bytes(process, "VmHWM")
}

fn memory_bytes(process: &Child, name: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1_024)
}

/// The same of another binary.
pub fn merx_of(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_setting = ["MERX_", "KAFKA_", "MEILI_", "DATABASE_URL"].iter().any(|start| text.starts_with(start));
        if is_setting && text != "MERX_POSTGRES_BIN" {
            command.env_remove(&name);
        }
    }
    command.env("MERX_ADMIN_KEY", ADMIN_KEY).env("MERX_RATE_LIMIT", "0");
    command
}

/// How a server is started.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Another binary than the one under test.
    pub program: Option<PathBuf>,
}

impl Launch {
    pub fn on_database(url: &str) -> Self {
        let data = std::env::temp_dir().join(format!("merx-tests-{}", std::process::id()));
        let environment = [("DATABASE_URL", url.to_owned()), ("MERX_DATA_DIR", data.display().to_string())];
        Self { environment: environment.map(|(name, value)| (name.to_owned(), value)).to_vec(), ..Self::default() }
    }

    pub fn in_directory(path: &Path) -> Self {
        Self { arguments: vec!["--data-dir".to_owned(), path.display().to_string()], ..Self::default() }
    }

    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn program(self, path: PathBuf) -> Self {
        Self { program: Some(path), ..self }
    }

    pub fn flag(mut self, name: &str) -> Self {
        self.arguments.push(name.to_owned());
        self
    }

    pub fn argument(mut self, name: &str, value: &str) -> Self {
        self.arguments.extend([name.to_owned(), value.to_owned()]);
        self
    }
}

pub struct Server {
    child: Child,
    pub port: u16,
    launch: Launch,
    log: NamedTempFile,
}

impl Server {
    /// Starts one on a free port and waits until it is ready, degraded or not.
    pub async fn start(launch: Launch) -> Self {
        for _ in 0..3 {
            let (port, log) = (free_port(), NamedTempFile::new().expect("a file for the log"));
            let mut server = Self { child: spawn(&launch, port, &log), port, launch: launch.clone(), log };
            if server.becomes_ready().await {
                return server;
            }
            // Somebody else may have taken the port meanwhile.
            assert!(server.log().contains("can't be listened on"), "the server did not start:\n{}", server.log_tail());
        }
        panic!("no free port in three tries");
    }

    /// Starts it again on its port, after it was stopped or killed.
    pub async fn start_again(&mut self) {
        self.start_again_as(self.launch.clone()).await;
    }

    /// The same with other settings.
    pub async fn start_again_as(&mut self, launch: Launch) {
        assert!(self.child.try_wait().expect("the server's status").is_some(), "the server still runs");
        self.child = spawn(&launch, self.port, &self.log);
        self.launch = launch;
        assert!(self.becomes_ready().await, "the server did not start again:\n{}", self.log_tail());
    }

    /// The same, as often as it takes, as a supervisor would: while its database is away a server may give up before it is ready.
    pub async fn revive_as(&mut self, launch: Launch) {
        self.launch = launch;
        self.revive().await;
    }

    /// The same with the settings that it has.
    pub async fn revive(&mut self) {
        for _ in 0..REVIVALS {
            if self.is_running() {
                return;
            }
            self.child = spawn(&self.launch, self.port, &self.log);
            if self.becomes_ready().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        panic!("the server did not start again in {REVIVALS} tries:\n{}", self.log_tail());
    }

    async fn becomes_ready(&mut self) -> bool {
        let client = self.client();
        let limit = Instant::now() + READY_LIMIT;
        while Instant::now() < limit {
            if client.get("/readyz").try_send().await.is_ok_and(|answer| answer.status == 200) {
                return true;
            }
            if self.child.try_wait().expect("the server's status").is_some() {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the server was not ready in time:\n{}", self.log_tail());
    }

    pub fn client(&self) -> Client {
        Client::new(self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// As a crash would end it.
    pub fn kill(&mut self) {
        self.child.kill().expect("SIGKILL");
        self.child.wait().expect("the server's end");
    }

    /// The same, whether it runs or not.
    pub fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM, and the status it exits with.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let limit = Instant::now() + STOP_LIMIT;
        while Instant::now() < limit {
            if let Some(status) = self.child.try_wait().expect("the server's status") {
                return status;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not stop in time:\n{}", self.log_tail());
    }

    /// Stops the process as it stands (SIGSTOP): it keeps its connections and believes in its leases.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    /// Lets it go on (SIGCONT).
    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("the server's status").is_none()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("the signal");
    }

    /// Its resident memory in bytes.
    pub fn resident_bytes(&self) -> u64 {
        memory_bytes(&self.child, "VmRSS").expect("the server's status")
    }

    /// The most of it that there has been.
    pub fn most_resident_bytes(&self) -> u64 {
        most_resident_bytes(&self.child).expect("the server's status")
    }

    /// The number of its threads with that name, which Linux cuts to 15 bytes.
    pub fn threads(&self, name: &str) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the server's threads");
        // One that ends meanwhile has no name.
        let names = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
        names.filter(|found| found.trim_end() == name).count()
    }

    pub fn log(&self) -> String {
        let mut text = Vec::new();
        std::fs::File::open(self.log.path()).and_then(|mut file| file.read_to_end(&mut text)).expect("the log");
        String::from_utf8_lossy(&text).into_owned()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of the server ends:\n{}", self.log_tail());
        }
        self.end();
    }
}

fn spawn(launch: &Launch, port: u16, log: &NamedTempFile) -> Child {
    let output = || std::fs::OpenOptions::new().append(true).open(log.path()).expect("the log");
    let program = launch.program.clone().unwrap_or_else(binary);
    let mut command = merx_of(&program, &["serve", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(&launch.arguments).envs(launch.environment.iter().map(|(name, value)| (name, value)));
    command.stdout(output()).stderr(output()).spawn().expect("a server")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}
